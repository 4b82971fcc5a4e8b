"""Decoded pictures of a source, made at their first use and held in memory up to a limit.

Training comes back to every image once an epoch. Images that fit into the limit are decoded and resized once; the
others, and all with a limit of 0, each time, which threads do while the network works. Which images are held changes no
value. Held images stay: with images in random order no choice of which to give up would be better.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from data import views
from data.source import Source

MEGABYTE = 1_000_000


class Decoded(Sequence[np.ndarray]):
    """The images at some positions of a source; thread-safe; without its images when pickled.

    Args:
      source: the images.
      positions: (n,) positions in the source, in order.
      size: (height, width) to which they are resized; None: they are not.
      limit: largest number of bytes that is held.

    Raises:
      ValueError: for a negative limit; on reading, for a picture that cannot be decoded, which is named.
    """

    def __init__(self, source: Source, positions: Sequence[int] | np.ndarray, *, size: Any, limit: int):
        if limit < 0:
            raise ValueError(f"limit must be a number of bytes of at least 0, got {limit}")
        self._source, self._positions = source, [int(position) for position in positions]
        self._size, self._limit = size, limit
        self._images: dict[int, np.ndarray] = {}
        self._lock, self.held = threading.Lock(), 0

    def __len__(self) -> int:
        """Number of images."""
        return len(self._positions)

    def __getitem__(self, i: SupportsIndex) -> np.ndarray:  # type: ignore[override]  # no slices
        """Image i, (H, W, 3) uint8, read-only."""
        at = range(len(self))[i.__index__()]
        image = self._images.get(at)
        if image is None:
            image = self._read(at)
            with self._lock:
                if at not in self._images and self.held + image.nbytes <= self._limit:
                    self._images[at] = image
                    self.held += image.nbytes
        return image

    def __reduce__(self) -> tuple[Callable[..., "Decoded"], tuple[Any, ...]]:
        """Locks cannot be pickled, and held images need not be."""
        return functools.partial(Decoded, size=self._size, limit=self._limit), (self._source, self._positions)

    def _read(self, at: int) -> np.ndarray:
        position = self._positions[at]
        try:
            image = self._source[position].image
        except (ValueError, OSError) as error:
            raise ValueError(
                f"image {self._source.names[position]!r} of {self._source.title} cannot be read: {error}; "
                "replace it and prepare the data set again, or leave it out with --skip_bad"
            ) from error
        image = image if self._size is None else views.resize(image, self._size)
        image.flags.writeable = False
        return image
