"""A folder put into place whole or not at all, whatever kills the process that writes it.

A data set is written to `.building-NAME-...` beside the place where it will lie, and moved there by one rename. One
that is replaced is moved aside first; a process killed between the two renames leaves the new one whole, and whoever
looks next puts it into place. Writers hold a lock that the system frees when they die, so that leftovers which the
holder of the lock finds belong to nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from absl import logging

_ASIDE = "replaced"  # name of the older folder while the newer one takes its place


def check_writable(root: Path) -> None:
    """Raises an error where nothing can be written, before anybody waits for pictures to be read.

    Args:
      root: the folder for prepared data sets; may be absent.

    Raises:
      OSError: it is a file, or below one, or its permissions or its file system forbid it.
    """
    place = next(path for path in (root, *root.parents) if path.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        reason = "cannot be written to" if place.is_dir() else "is no folder"
        raise OSError(f"{place} {reason}: give another --data_dir")


@contextlib.contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Holds the right to write `root/name`; waits for a process that has it.

    Args:
      root: the folder for prepared data sets; made if absent.
      name: of the data set.

    Raises:
      OSError: `root` is not writable, or its file system has no locks.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / f".{name}.lock"
    while True:
        with path.open("w") as file:
            _lock(file.fileno(), root, name)
            # The one before deletes the file; then this lock is one on a file that nobody else will find.
            if not _is(path, file.fileno()):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _lock(file: int, root: Path, name: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.warning("another process is writing %s in %s: waiting for it", name, root)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise OSError(
            f"{root} is on a file system without locks ({error.strerror}): "
            "prepare the data set in a local folder and copy it"
        ) from error


def _is(path: Path, file: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def scratch(root: Path, name: str) -> Iterator[Path]:
    """A folder to write in, removed in the end; for the holder of the lock.

    Args:
      root: the folder for prepared data sets.
      name: of the data set.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=_prefix(name)) as folder:
        yield Path(folder)


def put(written: Path, place: Path) -> None:
    """Moves a finished folder to its place, and what was there aside; for the holder of the lock.

    Args:
      written: SCRATCH/NAME/VERSION, with SCRATCH from `scratch`.
      place: ROOT/NAME/VERSION.
    """
    for path in sorted(written.rglob("*")):
        if path.is_file():
            _to_disk(path)
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.rename(written.parent.parent / _ASIDE)
    written.rename(place)


def recover(root: Path, name: str) -> None:
    """Ends a replacement that was killed between its two renames; costs a look into `root` if there is none.

    Args:
      root: the folder for prepared data sets; may be absent.
      name: of the data set.
    """
    if any((leftover / _ASIDE).exists() for leftover in _leftovers(root, name)):
        with locked(root, name):
            tidy(root, name)


def tidy(root: Path, name: str) -> None:
    """Removes what killed writers left, after putting into place what they had finished; for the holder of the lock.

    Args:
      root: the folder for prepared data sets.
      name: of the data set.
    """
    for leftover in _leftovers(root, name):
        if (leftover / _ASIDE).exists():
            for written in sorted((leftover / name).glob("*")):  # none if it was removing the rest that was killed
                if not (root / name / written.name).exists():
                    written.rename(root / name / written.name)
        shutil.rmtree(leftover)


def _prefix(name: str) -> str:
    return f".building-{name}-"


def _leftovers(root: Path, name: str) -> list[Path]:
    return sorted(root.glob(f"{_prefix(name)}*"))


def _to_disk(path: Path) -> None:
    """Waits until the file has left the system's memory: a rename may otherwise outlive a power cut that it did not."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
