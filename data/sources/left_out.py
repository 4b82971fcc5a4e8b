"""What lies at a source beside the pictures that are taken: counted and named, so that none vanishes without a word.

A file that may be a picture has a reason why it is not taken: `Listing.left_out`, which `--check` counts as a caution
and `prepare` prints. What is nobody's picture by its name (lists, texts, tables) makes one quiet remark, and what
operating systems leave behind (`Thumbs.db`, `._a.jpg`) makes none.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Mapping, Sequence

from data.sources.archive import is_packed
from data.sources.signatures import UNREAD
from data.sources.tree import Tree, extension

SAVE = "save them as .jpg or .png"
_SHOWN = 3  # names per reason
_ENDS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
_NO_PICTURES = {
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".rtf", ".tex", ".bib", ".html", ".htm", ".log"),
    *(".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".xls", ".xlsx", ".ini", ".db", ".sqlite"),
    *(".mat", ".m", ".py", ".pyc", ".ipynb", ".sh", ".bat", ".c", ".cpp", ".h", ".npy", ".npz", ".pkl", ".h5", ".hdf5"),
    *(".pth", ".pt", ".onnx", ".safetensors", ".md5", ".sha1", ".sha256"),
}


def reasons(tree: Tree, taken: Collection[str]) -> dict[str, str]:
    """The files that may be pictures and are none of `tree.pictures`: name to the reason.

    Args:
      tree: the source.
      taken: names of what is used of it: pictures, and lists of them.
    """
    pictures = set(tree.pictures)
    found = {}
    for name in tree.members:
        if name not in taken and name not in pictures and name not in tree.unreadable:
            if reason := _reason(name, tree.forms.get(name, "")):
                found[name] = reason
    found |= {name: reason for name, reason in tree.unreadable.items() if extension(name) not in _NO_PICTURES}
    return dict(sorted(found.items()))


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
    """The quiet sentences: pictures that this data set does not use, hidden ones, archives, and what is no picture.

    Args:
      tree: the source.
      taken: as for `reasons`.
      unused: pictures that no caution is needed for, as in folders that belong to another data set.
    """
    said = []
    if unused:
        folders = collections.Counter(name.rpartition("/")[0] or "." for name in unused)
        said.append(f"{_pictures(len(unused))} in folders that this data set does not use: {_some(folders)}.")
    if tree.hidden:
        said.append(f"{_pictures(len(tree.hidden))} hidden by a dot in the name and left out: {_some(tree.hidden)}.")
    if packed := [name for name in tree.members if is_packed(name)]:
        are = "archive is" if len(packed) == 1 else "archives are"
        said.append(
            f"{len(packed):,} {are} not looked into, since pictures lie beside: {_some(packed)}. Unpack what belongs."
        )
    odd = set(packed) | set(taken) | set(tree.pictures) | set(tree.unreadable) | set(reasons(tree, taken))
    if others := [name for name in tree.members if name not in odd]:
        are = "other file is no picture" if len(others) == 1 else "other files are no pictures"
        said.append(f"{len(others):,} {are}: {_some(others)}.")
    return said


def sentences(left_out: Mapping[str, str]) -> list[str]:
    """One sentence per reason: how many files, and the first of them.

    Example:
      >>> sentences({"a/1.heic": ".heic is not read", "a/2.heic": ".heic is not read"})
      ['Not taken: 2 files (.heic is not read): a/1.heic, a/2.heic.']
    """
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [
        f"Not taken: {len(some):,} file{'s' * (len(some) > 1)} ({reason}): {_some(some)}."
        for reason, some in names.items()
    ]


def _pictures(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN:,} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
