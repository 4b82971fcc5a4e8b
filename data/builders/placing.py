"""A folder put into place whole or not at all, whatever kills the process that writes it.

A data set is written to `.building-NAME-...` beside the place where it will lie, and moved there by one rename. One
that is replaced is moved aside first; a process killed between the two renames leaves the new one whole, and whoever
looks next puts it into place. Writers hold a lock that the system frees when they die, so that leftovers which the
holder of the lock finds belong to nobody.
"""

from __future__ import annotations

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
    """Holds the right to write `root/name`; waits for a process that has it.

    Args:
      root: the folder for prepared data sets; made if absent.
      name: of the data set.

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
