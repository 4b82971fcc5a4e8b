"""SIGTERM and SIGHUP: training saves, and the run has an exit code for it.

Schedulers send SIGTERM before they take a machine away, a terminal that is closed sends SIGHUP; where SIGHUP is
ignored, as under `nohup`, it stays so. Outside of training the signal raises `Terminated` at once, as Ctrl-C raises
KeyboardInterrupt. Training notes it, ends the step, saves a checkpoint, and only then raises. A run that was asked to
end exits with `EXIT_CODE`, so that a supervisor can tell "start it again" from failure (1), from Ctrl-C (130), and from
a process that a signal killed before it could save (143 to a shell).
"""

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

HANG_UP = getattr(signal, "SIGHUP", None)
SIGNALS = [signal.SIGTERM, *([HANG_UP] if HANG_UP else [])]
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, try again


class Terminated(BaseException):
    """The process was asked to end by SIGTERM or SIGHUP."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Terminated`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handled(stop):
        yield


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM and SIGHUP are only noted; `Terminated` is raised on leaving it.

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

    def handle(number: int, frame: FrameType | None) -> None:
        hang_up()
        handler(number, frame)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number in SIGNALS if number != HANG_UP or before[number] != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL if before[number] is None else before[number])


def hang_up() -> None:
    """Turns output and errors away from a terminal that is no longer there: to write there would be an error."""
    for file in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(file).st_mode) and not os.isatty(file):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, file)
                os.close(nowhere)
