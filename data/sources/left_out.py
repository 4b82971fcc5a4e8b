"""Files of a source that are not taken: counted and named, each that may be a picture with the reason.

Files that may be pictures go into `Listing.left_out`, which `--check` counts as a caution and `prepare` prints. Files
that are no pictures by their names (lists, texts, tables) make one quiet remark, and those that operating systems
leave behind (`Thumbs.db`, `._a.jpg`) make none.
"""

import collections
from collections.abc import Collection, Mapping, Sequence

from data.sources.archive import is_packed
from data.sources.signatures import UNREAD
from data.sources.tree import Tree, extension
from data.sources.wording import few, plural

SAVE = "save them as .jpg or .png"
_SHOWN = 3  # names per reason
_PICTURES = "picture is", "pictures are"
_ENDS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
_NO_PICTURES = {
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".rtf", ".tex", ".bib", ".html", ".htm", ".log"),
    *(".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".xls", ".xlsx", ".ini", ".db", ".sqlite"),
    *(".mat", ".m", ".py", ".pyc", ".ipynb", ".sh", ".bat", ".c", ".cpp", ".h", ".npy", ".npz", ".pkl", ".h5", ".hdf5"),
    *(".pth", ".pt", ".onnx", ".safetensors", ".md5", ".sha1", ".sha256"),
}


def reasons(tree: Tree, taken: Collection[str]) -> dict[str, str]:
    """The files that may be pictures and are none of `tree.pictures`: name to the reason."""
    pictures = set(tree.pictures)
    others = [name for name in tree.members if name not in taken and name not in pictures]
    named = {name: _reason(name, tree.forms.get(name, "")) for name in others if name not in tree.unreadable}
    named |= {name: reason for name, reason in tree.unreadable.items() if extension(name) not in _NO_PICTURES}
    return {name: reason for name, reason in sorted(named.items()) if reason}


def _reason(name: str, form: str) -> str:
    end = extension(name)
    if form in UNREAD:
        return f"{form}, which is not read: {SAVE}"
    if form:
        return (
            f"{form} by the bytes, not by the name: let it end in {_ENDS.get(form, f'.{form.lower()}')} if it belongs"
        )
    return (
        "" if not end or end in _NO_PICTURES or is_packed(name) else f"{end} is not read: if they are pictures, {SAVE}"
    )


def outside(tree: Tree, taken: Collection[str]) -> list[str]:
    """The pictures that are not taken."""
    return [name for name in tree.pictures if name not in taken]


def remarks(tree: Tree, taken: Collection[str], *, unused: Sequence[str] = ()) -> list[str]:
    """The quiet remarks: pictures that this data set does not use, hidden ones, archives, and files of other kinds."""
    lines = []
    if unused:
        folders = collections.Counter(name.rpartition("/")[0] or "." for name in unused)
        lines.append(
            f"{plural(len(unused), *_PICTURES)} in folders that this data set does not use: {few(folders, _SHOWN)}."
        )
    if tree.hidden:
        hidden = plural(len(tree.hidden), *_PICTURES)
        lines.append(f"{hidden} hidden by a dot in the name and left out: {few(tree.hidden, _SHOWN)}.")
    if packed := [name for name in tree.members if is_packed(name)]:
        archives = f"{plural(len(packed), 'archive is', 'archives are')} not looked into"
        lines.append(f"{archives}, since pictures lie beside: {few(packed, _SHOWN)}. Unpack what belongs.")
    odd = set(packed) | set(taken) | set(tree.pictures) | set(tree.unreadable) | set(reasons(tree, taken))
    if others := [name for name in tree.members if name not in odd]:
        count = plural(len(others), "other file is no picture", "other files are no pictures")
        lines.append(f"{count}: {few(others, _SHOWN)}.")
    return lines


def sentences(left_out: Mapping[str, str]) -> list[str]:
    """One sentence per reason: the number of files, and the first of them.

    Example:
      >>> sentences({"a/1.heic": ".heic is not read", "a/2.heic": ".heic is not read"})
      ['Not taken: 2 files (.heic is not read): a/1.heic, a/2.heic.']
    """
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [
        f"Not taken: {plural(len(some), 'file', 'files')} ({reason}): {few(some, _SHOWN)}."
        for reason, some in names.items()
    ]
