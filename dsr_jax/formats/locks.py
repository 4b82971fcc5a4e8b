"""File locks between processes on one disk; the system frees the locks of a process that dies."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dsr_jax.formats import atomic


class NoLocks(OSError):
    """The file system has no locks."""


@contextlib.contextmanager
def held(path: Path, *, busy: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock within the block; the file is there meanwhile, and names the holder.

    Args:
      path: the file of the lock, in a folder that is there.
      busy: called with the holder, "process 12 on host", when another has the lock; if it returns, that is waited for.

    Raises:
      NoLocks: the file system has none.
      OSError: the file cannot be written.
    """
    while True:
        with atomic.named(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _taken(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                busy(os.pread(file, 500, 0).decode(errors="replace") or "another process")
                _taken(file, fcntl.LOCK_EX)
            # The holder before deletes the file; then this lock is one on a file that nobody else will find.
            if not _is(path, file):
                continue
            try:
                with atomic.named(path):
                    os.ftruncate(file, 0)
                    os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(file)


def _taken(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocks(error.errno, f"no locks here: {error.strerror}") from error
    return True


def _is(path: Path, file: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
