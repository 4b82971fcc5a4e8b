"""A thread that does one thing after the other for requests, with a limit on how many wait.

The event loop stays free meanwhile, and a request that is given up leaves the queue, unless it is at work already.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from experiments.webpage.refusal import Refused

T = TypeVar("T")
RECENT = 0.2  # weight of the last job in the mean of their times


class Worker:
    """The thread; ``waiting`` jobs may wait beside the one at work."""

    def __init__(self, name: str, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting, self._inside, self._mean = waiting, 0, 0.5

    async def do(self, job: Callable[[], T]) -> T:
        """The result of a job.

        Raises:
          Refused: if too many wait, saying after how many seconds there may be room.
        """
        if self._inside > self._waiting:
            again = max(1, math.ceil(self._inside * self._mean))
            raise Refused(503, f"Many are searching just now: try again in {again} seconds.", again=again)
        loop = asyncio.get_running_loop()
        self._inside += 1
        future: Future[T] = self._pool.submit(self._timed, job)

        def ended(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the page ends
                loop.call_soon_threadsafe(self._out)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Ends the thread after the job at work; those that wait are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _out(self) -> None:
        self._inside -= 1

    def _timed(self, job: Callable[[], T]) -> T:
        begun = time.monotonic()
        try:
            return job()
        finally:
            self._mean += RECENT * (time.monotonic() - begun - self._mean)
