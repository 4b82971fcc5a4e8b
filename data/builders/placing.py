"""Atomic replacement of a folder: scratch folder, fsync, rename; recovery after a kill.

A data set is written to `.building-NAME-...` beside its place and moved there by one rename. An older one is moved
aside first. After a kill between the two renames the new one is whole, and the next process that looks moves it into
place. Writers hold a lock that the system frees when they die: leftovers found under the lock belong to no process.

In all functions `root` is the folder of the prepared data sets and `name` that of the data set.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from dsr_jax.formats import atomic, locks

_ASIDE = "replaced"  # name of the older folder while the newer one takes its place


@contextlib.contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Holds the lock on `root/name`, made if absent; waits for a process that has it.

    Raises:
      OSError: `root` is not writable, or its file system has no locks.
    """
    with atomic.named(root):
        root.mkdir(parents=True, exist_ok=True)

    def busy(holder: str) -> None:
        logging.warning("%s is writing %s in %s: waiting for it", holder, name, root)

    try:
        with locks.held(root / f".{name}.lock", busy=busy):
            yield
    except locks.NoLocks as error:
        raise OSError(
            f"{root} is on a file system without locks ({os.strerror(error.errno or 0)}): "
            "prepare the data set in a local folder and copy it"
        ) from error


@contextlib.contextmanager
def scratch(root: Path, name: str) -> Iterator[Path]:
    """A folder to write in, removed in the end; for the holder of the lock."""
    with tempfile.TemporaryDirectory(dir=root, prefix=f".building-{name}-") as folder:
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
    """Completes a replacement that was killed between its two renames; otherwise costs one look into `root`."""
    if any((leftover / _ASIDE).exists() for leftover in _leftovers(root, name)):
        with locked(root, name):
            tidy(root, name)


def tidy(root: Path, name: str) -> None:
    """Removes what killed writers left, after moving finished folders into place; for the holder of the lock."""
    for leftover in _leftovers(root, name):
        if (leftover / _ASIDE).exists():
            for written in sorted((leftover / name).glob("*")):  # none if it was removing the rest that was killed
                if not (root / name / written.name).exists():
                    written.rename(root / name / written.name)
        shutil.rmtree(leftover)


def _leftovers(root: Path, name: str) -> list[Path]:
    return sorted(root.glob(f".building-{name}-*"))


def _to_disk(path: Path) -> None:
    """Flushes a file to disk: after a power cut the rename may be there and the content not."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
