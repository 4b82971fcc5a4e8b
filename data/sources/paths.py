"""Paths written in tables, resolved to files: Windows's separators, `./`, `//`, and umlauts of either kind.

Macs write an umlaut as two characters (NFD), other systems as one (NFC), and a path may have some of each. A name as it
stands comes first, so that any name that a system allows can be given.
"""

import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath


def written(folder: str, path: str) -> list[str]:
    r"""The names that a path in a table in `folder` may mean: as it stands, with `/` for `\`, and without `..`.

    Example:
      >>> written("lists", "..\\a.jpg")
      ['lists/..\\a.jpg', 'lists/../a.jpg', 'a.jpg']
    """
    plain = [PurePosixPath(folder, one).as_posix() for one in (path, path.replace("\\", "/"))]
    return list(dict.fromkeys([*plain, *(posixpath.normpath(name) for name in plain)]))


class Names:
    """The names of a tree, found in either form of Unicode."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._composed: Mapping[str, str] = {composed(name): name for name in reversed(self._names)}

    def first(self, candidates: Iterable[str]) -> str | None:
        """The tree's name of the first candidate that is there."""
        for name in candidates:
            if name in self._names:
                return name
            if (other_form := self._composed.get(composed(name))) is not None:
                return other_form
        return None


def composed(name: str) -> str:
    """The name with every umlaut as one character."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def on_disk(folder: Path, name: str) -> str | None:
    """The name on disk of a file below a folder, umlauts in either form; None if there is no such file."""
    if name.isascii() or (folder / name).exists():
        return name if (folder / name).is_file() else None
    here, parts = folder, []
    for part in PurePosixPath(name).parts:
        if not (here / part).exists():
            entries = sorted(entry.name for entry in here.iterdir()) if here.is_dir() else []
            same = [entry for entry in entries if composed(entry) == composed(part)]
            if not same:
                return None
            part = same[0]
        here /= part
        parts.append(part)
    return PurePosixPath(*parts).as_posix() if here.is_file() else None
