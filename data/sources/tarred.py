"""Tar reader: the members of a .tar, and of a .tar.gz unpacked once to an unnamed file; see `data.sources.archive`."""

import functools
import gzip
import io
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data.sources.members import BLOCK, DAMAGED, Index, Limits, Member


def members(path: Path, *, limits: Limits) -> dict[str, Member]:
    """The files in a .tar, or of a .tar.gz once it is unpacked."""
    content = _Content(path, None if path.name.lower().endswith(".tar") else _unpacked(path, limits))
    index = Index(path, limits)
    with content.opened() as file:
        for member in _headers(path, file):
            kind = "folder" if member.isdir() else "file" if member.isreg() else "a link or a device"
            kind = "a sparse file" if member.sparse else "of negative size" if member.size < 0 else kind
            blocks = functools.partial(content.blocks, member.offset_data, member.size)
            index.add(member.name, member.size, kind=kind, blocks=blocks)
    return index.members


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
    except (*DAMAGED, tarfile.TarError, OverflowError) as error:
        raise ValueError(f"{path} is not a tar file that can be read ({error}): copy it again") from error


class Unnamed(io.BufferedRandom):
    """Unnamed file in the temporary folder, removed with its last reference."""

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
            while block := packed.read(BLOCK):
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
    """Bytes of a tar file: on disk, or unpacked in an unnamed file."""

    def __init__(self, path: Path, spool: Unnamed | None) -> None:
        self._path, self._spool, self._lock = path, spool, threading.Lock()

    def opened(self) -> IO[bytes]:
        """A stream over all bytes; closing it leaves the unpacked file open."""
        if self._spool is None:
            return self._path.open("rb")
        file = open(self._spool.fileno(), "rb", closefd=False)
        file.seek(0)  # the place is shared
        return file

    def blocks(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes of a member; thread-safe."""
        end = offset + size
        while offset < end:
            with self._lock, self.opened() as file:
                file.seek(offset)
                block = file.read(min(BLOCK, end - offset))
            if not block:
                raise ValueError(f"{self._path} has become shorter since it was opened: copy it again")
            offset += len(block)
            yield block


class _Headers(io.RawIOBase):
    """File for tarfile that refuses large headers; tarfile reads one of any announced length into memory."""

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
