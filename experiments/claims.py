"""A workdir is one run's at a time: looked at, made and locked before the long work, and let go when the run ends.

Several processes of one run share its workdir; the first of them claims it for all. Whoever only reads a workdir, as an
evaluation of a network that is being trained does, claims nothing.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from dsr_jax.formats import atomic, locks

LOCK = ".lock"
FOLDERS = ("checkpoints", "distances", "frozen", "report")  # that a run writes into
REMEDY = "give another --workdir"
_CLAIMS: ContextVar[contextlib.ExitStack | None] = ContextVar("claims", default=None)


@contextlib.contextmanager
def released() -> Iterator[None]:
    """What is claimed within the block is let go on leaving it, and folders that were made for nothing are removed."""
    with contextlib.ExitStack() as stack:
        before = _CLAIMS.set(stack)
        try:
            yield
        finally:
            _CLAIMS.reset(before)


def claim(workdir: Path) -> None:
    """Makes a workdir the run's own; outside of `released`, where there is no run, nothing is done."""
    stack = _CLAIMS.get()
    if stack is None:
        return
    for folder in (workdir, *(workdir / name for name in FOLDERS)):
        if folder == workdir or folder.exists():
            atomic.check_folder(folder, remedy=REMEDY)
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    stack.callback(_remove_empty, made)
    with atomic.named(workdir):
        workdir.mkdir(parents=True, exist_ok=True)

    def busy(holder: str) -> None:
        raise ValueError(
            f"workdir {workdir} is in use by another run, {holder}: wait until that has ended, or {REMEDY}"
        )

    try:
        stack.enter_context(locks.held(workdir / LOCK, busy=busy))
    except locks.NoLocks:
        print(
            f"workdir {workdir} is on a file system without locks: see to it that no other run uses it meanwhile",
            flush=True,
        )


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, the deepest first, until one holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # it is in use, or was never made
            return
