"""SIGTERM, which schedulers send before they take a machine away: training saves, and the run has an exit code for it.

Outside of training the signal raises `Terminated` at once, as Ctrl-C raises KeyboardInterrupt. Training notes it, ends
the step, saves a checkpoint, and only then raises. A run that was asked to end exits with `EXIT_CODE`, so that a
supervisor can tell "start it again" from failure (1), from Ctrl-C (130), and from a process that a signal killed before
it could save (143 to a shell).
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, try again


class Terminated(BaseException):
    """The process was asked to end by SIGTERM."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handled(stop):
        yield


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM is only noted; `Terminated` is raised on leaving it.

    Yields:
      Whether the signal has come, to any of the processes of a training: a question that all of them must ask together.
    """
    came, agreed = threading.Event(), threading.Event()

    def told() -> bool:
        if _anywhere(came.is_set()):
            agreed.set()
        return agreed.is_set()

    with _handled(lambda number, frame: came.set()):
        yield told
    if came.is_set() or agreed.is_set():
        raise Terminated


def _anywhere(here: bool) -> bool:
    if jax.process_count() == 1:
        return here
    return bool(np.any(multihost_utils.process_allgather(np.array([here]))))


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
