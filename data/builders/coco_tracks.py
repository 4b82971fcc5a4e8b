"""Identities of tracks: a track is one person in one video of one file; for more the user decides, see `people`."""

from collections.abc import Sequence

from data.builders.coco import Box
from data.builders.labels import is_missing, plain
from data.builders.listing import CAUTION
from data.source import NOBODY

WORDS = ("once", "same", "apart", "named")


def people(boxes: Sequence[Box], tracks: str) -> list[str]:
    """Label of each box's person over all videos of all files.

    Args:
      boxes: of all documents.
      tracks: "same" if a track number is one person in every video of every file, "apart" if not, "named" if only in
        videos of the same name, "once" if none is in two.

    Raises:
      ValueError: "once", but a number is in two; "apart" or "named", but a picture has no video.
    """
    if tracks == "once":
        _check_once(boxes)
    if tracks in ("once", "same"):
        return [box.person for box in boxes]
    return [box.person if _is_certain(box) else f"{_video(box, tracks)}/{plain(box.person)}" for box in boxes]


def remarks(boxes: Sequence[Box], tracks: str) -> list[str]:
    """A remark on files without videos, where a track is taken for one person in all pictures."""
    pictures: dict[str, set[str]] = {}
    for box in boxes if tracks == "once" else ():
        if not _is_certain(box) and box.video is None:
            pictures.setdefault(box.document, set()).add(box.frame)
    names = [name for name, frames in pictures.items() if len(frames) > 1]
    if not names:
        return []
    return [
        f"{CAUTION}the images of {', '.join(names)} have no video_id: a track is taken for one person in all of them."
    ]


def _is_certain(box: Box) -> bool:
    """Whether a number means the same wherever it stands."""
    return box.everywhere or _is_nobody(box)


def _is_nobody(box: Box) -> bool:
    return is_missing(box.person) or plain(box.person) == str(NOBODY)


def _video(box: Box, tracks: str) -> str:
    if box.video is None:
        raise ValueError(
            f"#tracks={tracks} needs to know the video of every picture, and image {box.image} of {box.document} has "
            "no video_id: add it to the images, or give person_id instead of track_id"
        )
    if tracks == "apart":
        return f"{box.document}/{box.video}"
    if not box.named:
        raise ValueError(
            f"#tracks=named needs a name for every video, and video {box.video} of {box.document} has none of its own: "
            "add it under videos"
        )
    return box.video


def _check_once(boxes: Sequence[Box]) -> None:
    place_of: dict[str, str] = {}
    for box in boxes:
        if _is_nobody(box):
            continue
        video = box.document if box.video is None else f"video {box.video} of {box.document}"
        place = "a person_id or identity" if box.everywhere else f"a track in {video}"
        first = place_of.setdefault(plain(box.person), place)
        if first != place:
            lacking = "" if box.everywhere or box.video is not None else " (needs a video_id in the images)"
            raise ValueError(
                f"{box.person} is {first}, and {place}: add #tracks=same to --source if it is the same person in both, "
                f"#tracks=apart if every video counts from new{lacking}, or #tracks=named if videos of the same name "
                "in two files are one"
            )
