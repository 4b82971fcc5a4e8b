"""The maps of a gallery on disk as a sequence, read when they are needed."""

import functools
from typing import Any

import numpy as np

from dsr_jax.gallery import rows
from dsr_jax.gallery.table import Table
from dsr_jax.matching.parts import LazyMaps

MOST = 1024  # read at once: they are held in their type on disk beside the result


class StoredMaps(LazyMaps):
    """Maps of some rows of a table: (h, w, d) float32 arrays, read at every access and not cached."""

    def __init__(self, table: Table, numbers: np.ndarray, sizes: np.ndarray) -> None:
        """Maps that are read from a table.

        Args:
          table: the table.
          numbers: (n,) numbers of their rows.
          sizes: (n, 2) heights and widths.
        """
        self._table, self._numbers, self._sizes = table, numbers, sizes

    def __len__(self) -> int:
        """Number of maps."""
        return len(self._numbers)

    def __getitem__(self, i: Any) -> Any:
        """One map; of a slice those maps, unread.

        Raises:
          ValueError: if it is damaged, or cannot be read any more.
        """
        if isinstance(i, slice):
            return StoredMaps(self._table, self._numbers[i], self._sizes[i])
        return self.read([range(len(self))[i]])[0]

    @functools.cached_property
    def shapes(self) -> np.ndarray:
        """(n, 3) h, w and d of every map, unread."""
        channels = np.full((len(self), 1), self._table.description.channels)
        return np.concatenate([self._sizes, channels], axis=1)

    def read(self, numbers: Any) -> list[np.ndarray]:
        """Some of the maps, one after another in memory.

        Raises:
          ValueError: if one is damaged, or cannot be read any more.
        """
        wanted = np.asarray(numbers, np.int64)
        shapes = self.shapes[wanted]
        ends = np.cumsum([0, *shapes[:, :2].prod(axis=1)]).tolist()
        values = np.empty((ends[-1], self._table.description.channels), np.float32)
        for start in range(0, len(wanted), MOST):
            table = self._table.take(self._numbers[wanted[start : start + MOST]], rows.MAP)
            into = values[ends[start] : ends[min(start + MOST, len(wanted))]]
            rows.decode(self._table.description, table, into, where=self._table.where)
        return [values[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], shapes.tolist(), strict=False)]
