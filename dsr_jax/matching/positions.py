"""Maps as matrices of positions, entry by entry: what the matcher of the CPU multiplies.

Blocks are never cut where window sums of products give the same to rounding. Maps for which they would not (pooled by
maximum, signed ones whose averages cancel, positions near the ends of float32's range) are cut into unit blocks here
and taken as they are: the table says which.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching import _pooled_kernel
from dsr_jax.matching._pooled_kernel import BLOCK, CUT, HEIGHT, ROW, WIDTH
from dsr_jax.matching.entries import Entries

# The largest number of a position must lie between these, or be 0, for products of positions to be safe.
SMALLEST, LARGEST = 1e-12, 1e12
SMALL = 1 << 23  # bytes of Gram matrices and positions while lengths are computed


class Tile(NamedTuple):
    """Some entries side by side.

    Attributes:
      rows: (R, d) positions.
      table: per map: first row, height, width, first block of its entry, whether it is cut.
      firsts: (E + 1,) first map of each entry.
      counts: (E,) blocks of each entry.
      offsets: (E + 1,) first row of each entry.
      scales: sides of the windows, ascending.
      members: which of all entries these are.
      blocks: which of all entries' blocks these have.
    """

    rows: np.ndarray
    table: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    scales: np.ndarray
    members: slice
    blocks: slice

    def grams(self, who: np.ndarray | None = None) -> "Grams":
        """Of all entries, or of those named."""
        chosen = np.arange(len(self.counts)) if who is None else who
        sizes = np.diff(self.offsets)[chosen]
        places = np.cumsum([0, *(sizes * sizes)])
        flat = np.empty(places[-1], np.float32)
        for size, start, place in zip(sizes.tolist(), self.offsets[chosen].tolist(), places.tolist(), strict=False):
            part = self.rows[start : start + size]
            np.matmul(part, part.T, out=flat[place : place + size * size].reshape(size, size))
        return Grams(flat, places[:-1])


class Grams(NamedTuple):
    """The Gram matrices of entries' positions, one after another, and where each begins."""

    flat: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Positions:
    """All entries of one side.

    Attributes:
      rows: (R, d) positions of all maps in the entries' order, or unit blocks of maps that had to be cut; copied tile
        by tile where the maps lie apart.
      table: as in `Tile`, rows counted within the entry.
      firsts: (E + 1,) first map of each entry.
      counts: (E,) blocks of each entry.
      heights: (E,) positions of each entry.
      scales: sides of the windows, ascending.
    """

    rows: "Rows"
    table: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    heights: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, entries: Entries) -> "Positions":
        """Puts the maps in the entries' order, and cuts those that must be."""
        scales = tuple(sorted(entries.scales))
        maps = [entries.maps[i] for group in entries.groups for i in group]
        rows = [m.reshape(-1, m.shape[2]) for m in maps]
        table = np.zeros((len(maps), 5), np.int64)
        table[:, [HEIGHT, WIDTH]] = [m.shape[:2] for m in maps]
        amounts = np.array([blocks.count(*m.shape[:2], scales=scales) for m in maps])
        table[:, CUT] = [not _poolable(m, scales, entries.pooling) for m in maps]
        for i in np.flatnonzero(table[:, CUT]):
            rows[i] = blocks.cut_exactly(maps[i], scales=scales, pooling=entries.pooling).astype(np.float32)
            table[i, HEIGHT], table[i, WIDTH] = len(rows[i]), 1
        firsts = np.cumsum([0, *map(len, entries.groups)])
        totals = []
        for column, each in ((ROW, table[:, HEIGHT] * table[:, WIDTH]), (BLOCK, amounts)):
            before = np.cumsum([0, *each])
            table[:, column] = before[:-1] - np.repeat(before[firsts[:-1]], np.diff(firsts))
            totals.append(np.diff(before[firsts]))
        together = Rows.of([np.concatenate(rows)] if table[:, CUT].any() else rows)
        return cls(together, table, firsts, totals[1], totals[0], np.array(scales))

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.counts)

    @property
    def channels(self) -> int:
        """Length d of a position."""
        return self.rows.parts[0].shape[1]

    @functools.cached_property
    def inverse(self) -> np.ndarray:
        """One over the length of every block, 0 where it is zero, all entries one after another."""
        found = np.empty(int(self.counts.sum()), np.float32)
        if self.scales.tolist() == [1]:  # a block is a position
            for tile in self.tiles(max(1, SMALL // (4 * int(self.heights.max()) * self.channels))):
                squares = np.einsum("rd,rd->r", tile.rows, tile.rows)
                found[tile.blocks] = np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0)
            return found
        kept = "grams" in vars(self)
        each = self if kept else self.maps()  # products across the maps of an entry are not needed
        space = _pooled_kernel.space(int(each.heights.max()), 1, int(each.counts.max()), 1)
        tallest = int(each.heights.max())
        for tile in each.tiles(len(each) if kept else max(1, SMALL // (4 * tallest * (tallest + self.channels)))):
            grams = self.grams if kept else tile.grams()
            _pooled_kernel.lengths(space, *grams, tile.table, tile.firsts, tile.counts, tile.scales, found[tile.blocks])
        return found

    @functools.cached_property
    def solid(self) -> np.ndarray:
        """(E,) number of blocks of each entry that have a direction."""
        return np.add.reduceat(self.inverse > 0, np.cumsum([0, *self.counts[:-1]]), dtype=np.int64)

    def maps(self) -> "Positions":
        """The same with every map an entry of its own."""
        table = self.table.copy()
        heights = table[:, HEIGHT] * table[:, WIDTH]
        total = np.repeat(self.counts, np.diff(self.firsts))
        ends = np.append(table[1:, BLOCK], 0)
        counts = np.where(ends > 0, ends, total) - table[:, BLOCK]
        table[:, [ROW, BLOCK]] = 0
        return Positions(self.rows, table, np.arange(len(table) + 1), counts, heights, self.scales)

    @functools.cached_property
    def grams(self) -> Grams:
        """The Gram matrices of all entries' positions, kept once asked for: 4 bytes x the sum of heights squared."""
        return self.tile(0, len(self)).grams()

    def tiles(self, limit: int) -> Iterator[Tile]:
        """All entries, at most ``limit`` at a time."""
        for start in range(0, len(self), limit):
            yield self.tile(start, min(start + limit, len(self)))

    def tile(self, start: int, stop: int) -> Tile:
        """The entries start ... stop side by side."""
        firsts = self.firsts[start : stop + 1]
        offsets = np.cumsum([0, *self.heights[start:stop]])
        table = self.table[firsts[0] : firsts[-1]].copy()
        table[:, ROW] += np.repeat(offsets[:-1], np.diff(firsts))
        above = int(self.heights[:start].sum())
        rows = self.rows.between(above, above + int(offsets[-1]))
        before = int(self.counts[:start].sum())
        own = slice(before, before + int(self.counts[start:stop].sum()))
        return Tile(
            rows, table, firsts - firsts[0], self.counts[start:stop], offsets, self.scales, slice(start, stop), own
        )


class Rows(NamedTuple):
    """Arrays (n_i, d) as if below each other.

    Attributes:
      parts: the arrays, or one that holds them all where they follow each other in memory.
      starts: where each begins.
    """

    parts: Sequence[np.ndarray]
    starts: np.ndarray

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> "Rows":
        """Nothing is copied.

        Example:
          >>> import numpy as np
          >>> from dsr_jax.matching.positions import Rows
          >>> whole = np.arange(8.0).reshape(4, 2)
          >>> len(Rows.of([whole[:3], whole[3:]]).parts), len(Rows.of([whole[3:], whole[:3]]).parts)
          (1, 2)
        """
        ends = [array.ctypes.data + array.nbytes for array in arrays]
        follow = all(end == after.ctypes.data for end, after in zip(ends, arrays[1:], strict=False))
        owner = arrays[0].base
        if follow and owner is not None and all(a.base is owner and a.flags.c_contiguous for a in arrays):
            shape = sum(map(len, arrays)), arrays[0].shape[1]
            arrays = [np.lib.stride_tricks.as_strided(arrays[0], shape, arrays[0].strides)]
        return cls(arrays, np.cumsum([0, *map(len, arrays)]))

    def between(self, start: int, stop: int) -> np.ndarray:
        """The rows start ... stop; a copy if they lie apart."""
        first, last = (np.searchsorted(self.starts, [start, stop - 1], side="right") - 1).tolist()
        parts, offset = self.parts[first : last + 1], int(self.starts[first])
        return (parts[0] if first == last else np.concatenate(parts))[start - offset : stop - offset]


def _poolable(feature_map: np.ndarray, scales: tuple[int, ...], pooling: str) -> bool:
    """Whether window sums of products are as exact as products of blocks."""
    largest = np.abs(feature_map).max(axis=2)
    if not ((largest == 0) | ((largest > SMALLEST) & (largest < LARGEST))).all():
        return False
    if scales == (1,):
        return True
    return pooling == "average" and (bool(feature_map.min() >= 0) or not _cancels(feature_map, scales))


def _cancels(feature_map: np.ndarray, scales: tuple[int, ...]) -> bool:
    """Whether some block is shorter, against its positions' lengths, than one of non-negative positions can be."""
    lengths = np.linalg.norm(feature_map, axis=2, keepdims=True)
    for s in scales:
        total = np.linalg.norm(blocks.windows(feature_map, s).sum(axis=(-1, -2)), axis=-1)
        if (blocks.windows(lengths, s).sum(axis=(-1, -2))[..., 0] > 1.001 * s * total).any():
            return True
    return False
