"""Members of an archive: their index, and the limits beyond which it refuses them by name."""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = 1 << 20  # bytes read at once

# Errors of zipfile, tarfile and their decoders for a damaged archive.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, RuntimeError, IndexError),
)


class Limits(NamedTuple):
    """Largest content of an archive."""

    members: int = 1_000_000  # number of members; the largest data sets have some 200,000 pictures
    picture: int = 128 << 20  # bytes of a file that is read whole
    total: int = 64 << 30  # bytes of all members unpacked
    ratio: int = 100  # factor by which an archive may grow when unpacked; pictures hardly grow, and a bomb does
    small: int = 64 << 20  # bytes up to which the ratio does not matter

    def unpacked(self, packed: int) -> int:
        """Largest number of unpacked bytes of an archive of `packed` bytes."""
        return min(self.total, max(self.small, self.ratio * packed))


class Member(NamedTuple):
    """A file of a source: its size as announced, its bytes in blocks, and the file on disk that holds it."""

    size: int
    blocks: Callable[[], Iterator[bytes]]
    file: Path


class Index:
    """Index of an archive, built member by member; a member that breaks a rule is an error."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self.members: dict[str, Member] = {}
        self._count = self._total = 0
        self._most = limits.unpacked(path.stat().st_size)

    def add(self, name: str, size: int, *, kind: str, blocks: Callable[[], Iterator[bytes]]) -> None:
        """Adds a member; `kind` is "file", "folder", or words for anything else."""
        self._count += 1
        self._total += max(0, size)
        if self._count > self.limits.members:
            raise ValueError(f"{self.path} has more than {self.limits.members:,} members: no data set has, not read")
        if self._total > self._most:
            raise ValueError(
                f"{self.path} would hold more than {self._most:,} bytes when unpacked, at {_shown(name)}: "
                "not read; if it is honest, unpack it and give the folder"
            )
        place = _inside(name)
        if (not place and kind != "folder") or place is None:
            kind = "outside the archive, by its path"
        if kind not in ("file", "folder") or place is None:
            raise ValueError(f"{_shown(name)} in {self.path} is {kind}: not read; unpack it with care, give the folder")
        if kind == "file":
            if place in self.members:
                raise ValueError(f"{self.path} holds {place} twice: which one is meant? Unpack it, give the folder")
            self.members[place] = Member(size, blocks, self.path)


def _inside(name: str) -> str | None:
    """The path of a member below the archive's root; None if it would lie elsewhere, on some system."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts or "\\" in name:
        return None
    return "/".join(part for part in parts if part not in ("", "."))


def _shown(name: str) -> str:
    return ascii(name) if is_unreadable(name) else name


def is_unreadable(name: str) -> bool:
    """Whether a name has control characters or is no Unicode, so that it can be neither printed nor stored.

    Example:
      >>> is_unreadable("a b.jpg"), is_unreadable("a" + chr(0) + ".jpg")
      (False, True)
    """
    return re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name) is not None
