"""Atomic file writes: temporary file, fsync, rename; and checks that a place can be written.

Every file that must not be seen half written goes through `opened`, `write` or `write_together`. If the system refuses
(a full disk, a missing permission), one error names file and reason, and nothing is left behind.
"""

import contextlib
import errno
import io
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def opened(file: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream to a temporary file, which takes the place of ``file`` when the block is left without an error.

    The stream can be written to and sought in; the folder is made if missing.

    Raises:
      OSError: if it cannot be written, naming file and reason; an older file then stays as it is.

    Example:
      >>> import pathlib
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with opened(f"{folder}/deep/file") as stream:
      ...         _ = stream.write(b"all "), stream.write(b"of it")
      ...     pathlib.Path(f"{folder}/deep/file").read_bytes()
      b'all of it'
    """
    target = Path(file)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with named(target):
        _check_ordinary(target, "name another file")
        _nearest(target.parent, "name another file")
        target.parent.mkdir(parents=True, exist_ok=True)
        raw = _Raw(temporary, target)
    try:
        with io.BufferedWriter(raw) as stream:
            yield stream
            stream.flush()
            with named(target):
                os.fsync(stream.fileno())
        with named(target):
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write(file: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file whole or not at all, and returns it; arguments and errors are those of `opened`.

    Example:
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write(f"{folder}/deep/file", b"all of it").read_bytes()
      b'all of it'
    """
    with opened(file) as stream:
        stream.write(content)
    return Path(file)


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files of one folder: all of them beside the older ones first, then each into its place, in their order.

    Args:
      folder: made if missing.
      files: name and content; of the last one alone a reader may expect that the others are there.

    Raises:
      OSError: if they cannot be written, naming the last one and the reason; older files then stay as they are.
    """
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with named(folder / list(files)[-1]), tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as staging:
        for name, content in files.items():
            with open(Path(staging) / name, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for name in files:
            (Path(staging) / name).replace(folder / name)


@contextlib.contextmanager
def named(file: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block, errors of the system become errors of the same class that name the file and the reason."""
    try:
        yield
    except OSError as error:
        raise _unwritten(file, error) from error


def check_file(file: str | os.PathLike[str], *, remedy: str = "name another file") -> None:
    """Checks that a file, which may be absent as may its folder, can be written, before its content is computed.

    Raises:
      OSError: if it is a folder or a device, or its folder cannot be written to or made; it ends with the remedy.
    """
    _check_ordinary(Path(file), remedy)
    check_folder(Path(file).parent, remedy=remedy)


def check_folder(folder: str | os.PathLike[str], *, remedy: str = "name another folder") -> None:
    """Checks that a folder, or the nearest existing one above, can be written to: by writing a file and removing it.

    Raises:
      OSError: if they cannot, naming the place and the reason; it ends with the remedy.
    """
    place = _nearest(Path(folder), remedy)
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".tried-") as file:
            file.write(b"\n")
            file.flush()
    except OSError as error:
        raise _worded(error, f"{place} cannot be written to ({_reason(error)}): {remedy}") from error


def _check_ordinary(target: Path, remedy: str) -> None:
    """A folder cannot be replaced by a file, and a device must not be."""
    if target.exists() and not target.is_file():
        raise OSError(f"{target} is {'a folder' if target.is_dir() else 'no ordinary file'}: {remedy}")


def _nearest(folder: Path, remedy: str) -> Path:
    """The folder, or the nearest one above it that is there."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not place.is_dir():
        raise OSError(f"{place} {'is no folder' if place.exists() else 'is a link that leads nowhere'}: {remedy}")
    return place


class _Raw(io.FileIO):
    """A new file whose errors name the one that it will become."""

    def __init__(self, temporary: Path, target: Path):
        super().__init__(temporary, "x")
        self._target = target

    def write(self, content: Any, /) -> int:
        with named(self._target):
            return super().write(content)


def _unwritten(file: str | os.PathLike[str], error: OSError) -> OSError:
    """An error of the same class and number that names the file."""
    if error.strerror is None:  # it says what is wrong already
        return error
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space there, or name another place" if full else "name a place that can be written to"
    return _worded(error, f"{os.fspath(file)} cannot be written ({_reason(error)}): {remedy}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _worded(error: OSError, message: str) -> OSError:
    worded = type(error)(message)
    worded.errno = error.errno
    return worded
