"""A thread that does one thing after the other for requests, with a limit on how many wait.

The event loop stays free meanwhile, and a request that is given up leaves the queue with all that it holds, unless it
is at work already: that one counts until it is done.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from experiments.webpage.refusal import Refused

T = TypeVar("T")
RECENT = 0.2  # weight of the last job in the mean of their times
END = 10  # seconds for the job at work at the end


class Worker:
    """The thread; ``waiting`` jobs may wait beside the one at work."""

    def __init__(self, name: str, waiting: int) -> None:
        self.name, self._waiting, self._at_work, self._closed, self._mean = name, waiting, 0, False, 0.5
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)  # one that hangs ends with the rest
        self._thread.start()

    async def do(self, job: Callable[[], T]) -> T:
        """The result of a job.

        Raises:
          Refused: if too many wait, saying after how many seconds there may be room.
        """
        future: Future[T] = Future()
        waits = future, job
        with self._changed:
            inside = len(self._queue) + self._at_work
            if inside > self._waiting or self._closed:
                again = max(1, math.ceil(inside * self._mean))
                raise Refused(503, f"Many are searching just now: try again in {again} seconds.", again=again)
            self._queue.append(waits)
            self._changed.notify()
        try:
            return await asyncio.wrap_future(future)
        finally:
            with self._changed:
                if waits in self._queue:
                    self._queue.remove(waits)

    def close(self, seconds: float = END) -> None:
        """Ends the thread after the job at work, waited for as long as this; those that wait are dropped."""
        with self._changed:
            self._closed = True
            dropped = [future for future, _ in self._queue]
            self._queue.clear()
            self._changed.notify()
        for future in dropped:
            future.cancel()
        self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
            self._one()

    def _one(self) -> None:
        """The next job, of which nothing is held afterwards."""
        with self._changed:
            if not self._queue:  # given up just now
                return
            future, job = self._queue.popleft()
            self._at_work = 1
        begun, result, failed = time.monotonic(), None, None
        wanted = future.set_running_or_notify_cancel()
        try:
            result = job() if wanted else None
        except BaseException as error:
            failed = error
        with self._changed:
            self._at_work = 0
            if wanted:
                self._mean += RECENT * (time.monotonic() - begun - self._mean)
        if wanted and failed is not None:
            future.set_exception(failed)
        elif wanted:
            future.set_result(result)
        del failed  # its traceback holds this frame
