"""Disks that are full or refuse to be written, for a while and for this process."""

import contextlib
import errno
import os
import resource
import signal
import tempfile
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def full(room: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks finds a disk that is mounted read-only; root may write everywhere but on such a one."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
