"""Threads for compiled loops and matrix products, on the cores that this process may use.

Threads are started once and kept. Matrix products are shared out among them, each on one thread of BLAS: BLAS's own
threads wait for each other at every product, which is nothing alone and most of the time where cores are shared.
"""

import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import threadpoolctl


def count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    call: Callable[[int, int], None], total: int, *, threads: int | None = None, parts: int = 4, least: int = 1
) -> None:
    """Calls ``call(start, stop)`` for parts of 0 ... total, in parallel, and returns when none of them runs any more.

    Args:
      call: lets other threads run while it works, and writes to places of its own. Within it, `each` uses no threads.
      total: how much there is to do.
      threads: how many; default: the cores that this process may use. With one, or one part, none is used.
      parts: parts per thread: several even out that some take longer.
      least: smallest part that is worth a thread.
    """
    crew = threads or count()
    pieces = min(total // least, parts * crew)
    if pieces < 2 or crew < 2 or getattr(_THREAD, "busy", False):
        call(0, total)
        return
    edges = [total * i // pieces for i in range(pieces + 1)]
    pool = _pool(crew)
    futures = [pool.submit(call, start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    try:
        for future in futures:
            future.result()
    finally:  # what has begun still writes
        for future in futures:
            future.cancel()
        concurrent.futures.wait(futures)


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Writes the product ``a @ b`` to ``out``, on all cores: of matrices, or of two stacks of as many matrices."""

    def part(start: int, stop: int) -> None:
        np.matmul(a[start:stop], b if b.ndim == 2 else b[start:stop], out=out[start:stop])

    with _blas().alone():
        each(part, len(a), parts=1)


def products(triples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Writes ``a @ b`` to ``out`` for every triple (a, b, out) of matrices, the triples shared out among the cores."""

    def part(start: int, stop: int) -> None:
        for a, b, out in triples[start:stop]:
            np.matmul(a, b, out=out)

    with _blas().alone():
        each(part, len(triples), least=8)


_THREAD = threading.local()  # whether it is one of the pool's


@functools.cache
def _pool(threads: int) -> concurrent.futures.ThreadPoolExecutor:
    def begin() -> None:
        _THREAD.busy = True

    return concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="dsr_jax", initializer=begin)


class _Blas:
    """Holds the BLAS of the whole process at one thread while at least one caller needs that."""

    def __init__(self) -> None:
        self._controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
        self._lock, self._users = threading.Lock(), 0
        self._before = contextlib.ExitStack()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before.enter_context(self._controller.limit(limits=1))
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._before.close()


@functools.cache
def _blas() -> _Blas:
    return _Blas()


def _forget() -> None:
    """After `fork` the child inherits the pool without its threads, and locks in an unknown state: start afresh."""
    _pool.cache_clear()
    _blas.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
