"""The members of a .zip, .tar or .tar.gz, read where they lie: nothing is ever unpacked to a path.

An archive from the internet is hostile until its index has been read. Refused by name, before a byte is unpacked:
paths that leave the archive (absolute, `..`, drives, backslashes), links, devices, encrypted or repeated members, more
members or more unpacked bytes than `Limits` allow. Sizes that lie are found while reading, and memory stays bounded.

A zip and a .tar are read at random. A .tar.gz cannot be, so that it is unpacked once, in one pass, to a file without
a name in the temporary folder (`TMPDIR`), which vanishes with the program; from then on it is a .tar.
"""

from __future__ import annotations

import functools
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_FOREIGN = (".rar", ".7z", ".tar.bz2", ".tar.xz", ".gz", ".xz", ".bz2")
_BLOCK = 1 << 20  # bytes read at once

# What zipfile, tarfile and their decoders raise for a damaged archive.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, RuntimeError, IndexError),
)


class Limits(NamedTuple):
    """What an archive may hold.

    Attributes:
      members: most members; the largest data sets have some 200,000 pictures.
      picture: most bytes of a file that is read whole.
      total: most bytes of everything unpacked.
      ratio: most times by which an archive may grow when unpacked; pictures hardly grow, and a bomb does.
      small: bytes up to which the ratio does not matter.
    """

    members: int = 1_000_000
    picture: int = 128 << 20
    total: int = 64 << 30
    ratio: int = 100
    small: int = 64 << 20

    def unpacked(self, packed: int) -> int:
        """Most bytes that an archive of `packed` bytes may hold."""
        return min(self.total, max(self.small, self.ratio * packed))


class Member(NamedTuple):
    """A file of a source: its size as announced, its bytes in blocks, and the file on disk that it lies in."""

    size: int
    blocks: Callable[[], Iterator[bytes]]
    file: Path


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive which is read.

    Example:
      >>> is_archive(Path("Market-1501.ZIP")), is_archive(Path("a.jpg"))
      (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def check_form(path: Path) -> None:
    """Refuses archives of other forms.

    Example:
      >>> check_form(Path("Partial-REID_Dataset.rar"))
      Traceback (most recent call last):
      ...
      ValueError: Partial-REID_Dataset.rar: .zip, .tar and .tar.gz are read; unpack it and give the folder
    """
    if path.name.lower().endswith(_FOREIGN) and not is_archive(path):
        raise ValueError(f"{path}: .zip, .tar and .tar.gz are read; unpack it and give the folder")


def members(path: Path, *, limits: Limits) -> dict[str, Member]:
    """The files in an archive by their names, in the archive's order.

    Args:
      path: the archive.
      limits: what it may hold.

    Raises:
      ValueError: it is damaged, or not to be trusted; the message names the member.
    """
    return _zip(path, limits) if path.name.lower().endswith(".zip") else _tar(path, limits)


class _Index:
    """The members found so far, and what speaks against them."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self.found: dict[str, Member] = {}
        self._count = self._total = 0
        self._most = limits.unpacked(path.stat().st_size)

    def add(self, name: str, size: int, *, kind: str, blocks: Callable[[], Iterator[bytes]]) -> None:
        """Takes a member: `kind` is "file", "folder" or what it is instead."""
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
            if place in self.found:
                raise ValueError(f"{self.path} holds {place} twice: which one is meant? Unpack it, give the folder")
            self.found[place] = Member(size, blocks, self.path)


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


def _zip(path: Path, limits: Limits) -> dict[str, Member]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise ValueError(f"{path} is not a zip file that can be read ({error}): copy it again") from error
    index = _Index(path, limits)
    for member in archive.infolist():
        form = stat.S_IFMT(member.external_attr >> 16)
        kind = "folder" if member.is_dir() else {0: "file", stat.S_IFREG: "file"}.get(form, "a link or a device")
        if member.flag_bits & 1:
            kind = "encrypted"
        # The name as it was stored: ZipFile cuts it at a zero byte.
        index.add(member.orig_filename, member.file_size, kind=kind, blocks=_zipped(archive, member))
    return index.found


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            with archive.open(member) as file:
                while block := file.read(_BLOCK):  # never more than was announced, and then the checksum fails
                    yield block
        except _DAMAGED as error:
            raise ValueError(f"{member.filename} in {archive.filename} is damaged ({error})") from error

    return blocks


def _tar(path: Path, limits: Limits) -> dict[str, Member]:
    """Index of a .tar, or of a .tar.gz once it is unpacked."""
    content = _Content(path, None if path.name.lower().endswith(".tar") else _unpacked(path, limits))
    index = _Index(path, limits)
    with content.opened() as file:
        for member in _headers(path, file):
            kind = "folder" if member.isdir() else "file" if member.isreg() else "a link or a device"
            kind = "a sparse file" if member.sparse else "of negative size" if member.size < 0 else kind
            blocks = functools.partial(content.blocks, member.offset_data, member.size)
            index.add(member.name, member.size, kind=kind, blocks=blocks)
    return index.found


def _headers(path: Path, file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file that is whole."""
    try:
        with tarfile.TarFile(fileobj=_Headers(file)) as archive:
            while member := archive.next():
                yield member
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends too early, or is damaged in the middle")
    except (*_DAMAGED, tarfile.TarError, OverflowError) as error:
        raise ValueError(f"{path} is not a tar file that can be read ({error}): copy it again") from error


class Unnamed(io.BufferedRandom):
    """A file without a name in the temporary folder, gone when nobody holds it any more."""

    def __init__(self) -> None:
        super().__init__(tempfile.TemporaryFile(buffering=0))

    def __del__(self) -> None:
        self.close()


def _unpacked(path: Path, limits: Limits) -> Unnamed:
    """The contents of a .gz."""
    most, written = limits.unpacked(path.stat().st_size), 0
    spool = Unnamed()
    try:
        with gzip.open(path) as packed:
            while block := packed.read(_BLOCK):
                written += len(block)
                if written > most:
                    raise ValueError(
                        f"{path} would hold more than {most:,} bytes when unpacked: "
                        "not read; if it is honest, unpack it and give the folder"
                    )
                spool.write(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a tar.gz file that can be read ({error}): copy it again") from error
    spool.flush()
    return spool


class _Content:
    """The bytes of a tar file, on disk under its own name or unpacked in a file without one."""

    def __init__(self, path: Path, spool: Unnamed | None) -> None:
        self._path, self._spool, self._lock = path, spool, threading.Lock()

    def opened(self) -> IO[bytes]:
        """For one pass over the headers; closing it leaves the unpacked file open."""
        if self._spool is None:
            return self._path.open("rb")
        file = open(self._spool.fileno(), "rb", closefd=False)
        file.seek(0)  # the place is shared
        return file

    def blocks(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes of a member; any number of threads may ask."""
        end = offset + size
        while offset < end:
            with self._lock, self.opened() as file:
                file.seek(offset)
                block = file.read(min(_BLOCK, end - offset))
            if not block:
                raise ValueError(f"{self._path} has become shorter since it was opened: copy it again")
            offset += len(block)
            yield block


class _Headers(io.RawIOBase):
    """A file for tarfile, which would read a header of any announced length into memory."""

    _most = 1 << 20

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
