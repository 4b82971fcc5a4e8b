"""Batches of the coming steps, made by threads while a step runs, and how long the step had to wait for them."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import grain

# What `Stream.timing` puts into a log entry. These differ between two runs of the same training: whoever compares logs
# leaves them out.
TIMING = ("waiting", "images_per_second")


class Stream:
    """The batches of the steps start to stop - 1, in order.

    What they hold is ``dataset``'s alone: number of threads and what is made ahead change nothing.

    Args:
      threads: threads that make batches; with 0 each is made when it is asked for.
    """

    def __init__(self, dataset: grain.MapDataset, *, start: int, stop: int, threads: int):
        if threads < 0:
            raise ValueError(f"threads must be at least 0, got {threads}")
        # What is made ahead bounds the memory that it takes.
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(4, 2 * threads) if threads else 0)
        # An empty slice of an endless dataset is an error of Grain's.
        self._batches = iter(dataset[start:stop].to_iter_dataset(options)) if start < stop else None
        self._since, self._waited, self._images = time.perf_counter(), 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._batches is not None:
            self._batches.close()

    def __iter__(self) -> Iterator[Any]:
        """The batches; the time in which none is ready is counted as waiting."""
        self._since = time.perf_counter()
        while self._batches is not None:
            asked = time.perf_counter()
            try:
                batch = next(self._batches)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            self._images += images(batch)
            yield batch

    def timing(self) -> dict[str, float]:
        """Since the last call, or the first batch: the share of the time spent waiting, and images per second."""
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        found = dict(zip(TIMING, (round(self._waited / seconds, 4), round(self._images / seconds, 1)), strict=True))
        self._since, self._waited, self._images = now, 0.0, 0
        return found


def images(batch: Any) -> int:
    """The number of images in a batch: each has a true size."""
    return sum(len(part) for name, part in batch.items() if name.endswith("sizes")) if isinstance(batch, dict) else 0
