"""The cores that this process may use, and the threads that compiled loops run on, which are started once and kept."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    call: Callable[[int, int], None], total: int, *, threads: int | None = None, parts: int = 4, least: int = 1
) -> None:
    """Calls ``call(start, stop)`` for parts of 0 ... total, in parallel.

    Args:
      call: lets other threads run while it works, and writes to places of its own.
      total: how much there is to do.
      threads: how many; default: the cores that this process may use. With one, or one part, none is used.
      parts: parts per thread: several even out that some take longer.
      least: smallest part that is worth a thread.

    Example:
      >>> from dsr_jax import cores
      >>> done = []
      >>> cores.each(lambda start, stop: done.append((start, stop)), 10, threads=1)
      >>> done
      [(0, 10)]
    """
    crew = threads or count()
    pieces = min(total // least, parts * crew) if crew > 1 else 1
    if pieces < 2:
        call(0, total)
    else:
        edges = [total * i // pieces for i in range(pieces + 1)]
        list(_pool(crew).map(call, edges[:-1], edges[1:]))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dsr_jax")


if hasattr(os, "register_at_fork"):  # a child gets the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
