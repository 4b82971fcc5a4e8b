"""Near misses of known names: `camid`, `CameraID`, `camara` for camera.

A name has words, which capitals, digits and signs part. Those that only say how a thing is called (`id`, `number`,
`name`) do not matter; if all others mean the same thing, as a synonym or but for a slip of the pen, so does the name.
"""

import difflib
import re
import unicodedata

_SYNONYMS = {
    "camera": ("camera", "cameras", "cam", "cams", "kamera", "cid", "cids"),
    "identity": (
        *("identity", "identities", "ident", "person", "persons", "people", "pid", "pids", "subject", "reid"),
        *("pedestrian", "individual"),
    ),
    "track": ("track", "tracks", "trk", "tid", "tracklet", "trajectory", "instance", "instances", "object", "obj"),
    "video": ("video", "videos", "vid", "vids", "sequence", "seq", "clip"),
    "path": ("path", "paths", "file", "files", "filename", "filepath", "fname", "image", "img", "picture", "impath"),
    "role": ("role", "roles", "split", "splits", "subset", "set", "partition", "phase", "usage"),
}
LOOSE = {"id": "identity", "label": "identity", "class": "identity", "target": "identity", "name": "path"}
_CALLED = ("id", "ids", "no", "nr", "num", "number", "name", "names", "idx", "index", "label", "key", "code")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MEANING = {word: meaning for meaning, words in _SYNONYMS.items() for word in words}
_MEANING |= {word + called: meaning for word, meaning in _MEANING.items() for called in _CALLED}
_LONG = [word for word in _MEANING if len(word) > 4]  # short words are too near to others
_NEAR = 0.82  # of difflib's ratio: one letter in six


def meaning(name: str) -> str | None:
    """The meaning of a name that is nearly known: camera, identity, track, video, path or role; None for anything else.

    Example:
      >>> [meaning(name) for name in ("camid", "Camera ID", "personId", "camara", "img_path", "age", "camera_height")]
      ['camera', 'camera', 'identity', 'camera', 'path', None, None]
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    words = [word.lower() for word in _WORDS.findall(plain)]
    whole = "".join(words)
    if whole in _MEANING:
        return _MEANING[whole]
    meanings = {_of_word(word) for word in words if word not in _CALLED}
    return meanings.pop() if len(meanings) == 1 else None


def _of_word(word: str) -> str | None:
    if word in _MEANING:
        return _MEANING[word]
    near = difflib.get_close_matches(word, _LONG, n=1, cutoff=_NEAR) if len(word) > 4 else []
    return _MEANING[near[0]] if near else None
