"""Maps as matrices of positions, entry by entry: what the engines multiply.

Blocks are never cut where window sums of products give the same to rounding. Maps for which they would not (pooled by
maximum, signed ones whose averages cancel, positions near the ends of float32's range) are cut into unit blocks here,
and each block is taken for a position.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching import _window_kernel
from dsr_jax.matching._window_kernel import BLOCK, CUT, HEIGHT, ROW, WIDTH, Grams, Maps

# The largest number of a position must lie between these, or be 0, for products of positions to be safe.
SMALLEST, LARGEST = 1e-12, 1e12
SMALL = 1 << 23  # bytes of Gram matrices and positions while lengths are computed


class Tile(NamedTuple):
    """Some entries side by side.

    Attributes:
      rows: (R, d) positions.
      maps: where each entry's are.
      offsets: (E + 1,) first row of each entry.
      members: which of all entries these are.
      blocks: which of all entries' blocks these have.
    """

    rows: np.ndarray
    maps: Maps
    offsets: np.ndarray
    members: slice
    blocks: slice

    def grams(self, chosen: np.ndarray | None = None) -> Grams:
        """Gram matrices of the positions of all entries, or of the chosen ones alone."""
        entries = np.arange(len(self.maps.counts)) if chosen is None else chosen
        sizes = np.diff(self.offsets)[entries]
        ends = np.cumsum([0, *(sizes * sizes)])
        flat, places = np.empty(ends[-1], np.float32), np.zeros(len(self.maps.counts), np.int64)
        places[entries] = ends[:-1]
        for g, size in zip(entries.tolist(), sizes.tolist(), strict=True):
            part = self.rows[self.offsets[g] : self.offsets[g] + size]
            np.matmul(part, part.T, out=flat[places[g] : places[g] + size * size].reshape(size, size))
        return Grams(flat, places)


@dataclass(frozen=True, eq=False)
class Positions:
    """All entries of one side.

    Attributes:
      rows: (R, d) positions of all maps in the entries' order, or unit blocks of maps that had to be cut; copied tile
        by tile where the maps lie apart.
      maps: where each entry's are, rows counted within the entry.
      heights: (E,) positions of each entry.
      given: weights of all blocks, all entries one after another, if any were given.
    """

    rows: "Rows"
    maps: Maps
    heights: np.ndarray
    given: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        maps: Sequence[np.ndarray],
        groups: Sequence[Sequence[int]],
        *,
        scales: Sequence[int],
        pooling: str,
        masks: Sequence[np.ndarray] | None = None,
        weights: Sequence[np.ndarray] | None = None,
    ) -> "Positions":
        """Puts maps (h, w, d) in the order of their groups, one per entry, and cuts those that must be.

        Args:
          maps: the maps, zero where masked.
          groups: for each entry, the numbers of its maps.
          scales: sides of the windows.
          pooling: "average" or "max".
          masks: (h, w) of each map, True where visible; default: all of them.
          weights: (n,) of the blocks of each map; default: 1 of every block with a direction.
        """
        sides = tuple(sorted(scales))
        numbers = [i for group in groups for i in group]
        ordered = [maps[i] for i in numbers]
        rows = [m.reshape(-1, m.shape[2]) for m in ordered]
        table = np.zeros((len(ordered), 5), np.int64)
        table[:, [HEIGHT, WIDTH]] = [m.shape[:2] for m in ordered]
        amounts = np.array([blocks.count(*m.shape[:2], scales=sides) for m in ordered])
        table[:, CUT] = [not _poolable(m, sides, pooling) for m in ordered]
        for i in np.flatnonzero(table[:, CUT]):
            visible = None if masks is None else masks[numbers[i]]
            cut = blocks.cut_exactly(ordered[i], scales=sides, pooling=pooling, visible=visible)
            rows[i] = cut.astype(np.float32)
            table[i, HEIGHT], table[i, WIDTH] = len(rows[i]), 1
        firsts = np.cumsum([0, *map(len, groups)])
        totals = []
        for column, each in ((ROW, table[:, HEIGHT] * table[:, WIDTH]), (BLOCK, amounts)):
            before = np.cumsum([0, *each])
            table[:, column] = before[:-1] - np.repeat(before[firsts[:-1]], np.diff(firsts))
            totals.append(np.diff(before[firsts]))
        together = Rows.of([np.concatenate(rows)] if table[:, CUT].any() else rows)
        given = None if weights is None else np.concatenate([weights[i] for i in numbers])
        return cls(together, Maps(table, firsts, totals[1], np.array(sides)), totals[0], given)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.heights)

    @functools.cached_property
    def plain(self) -> bool:
        """Whether every block is one position."""
        return self.maps.scales.tolist() == [1] or bool(self.maps.table[:, CUT].all())

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """(E + 1,) first position of each entry among those of all."""
        return np.cumsum([0, *self.heights])

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """(E + 1,) first block of each entry among those of all."""
        return np.cumsum([0, *self.maps.counts])

    @property
    def channels(self) -> int:
        """Length d of a position."""
        return self.rows.parts[0].shape[1]

    @functools.cached_property
    def inverse(self) -> np.ndarray:
        """One over the length of every block, 0 where it is zero or weighs nothing, all entries one after another."""
        lengths = self._inverse()
        return lengths if self.given is None else np.where(self.given > 0, lengths, np.float32(0))

    def _inverse(self) -> np.ndarray:
        """The same whatever the blocks weigh."""
        inverse = np.empty(int(self.maps.counts.sum()), np.float32)
        if self.maps.scales.tolist() == [1]:  # a block is a position
            for tile in self.tiles(max(1, SMALL // (4 * int(self.heights.max()) * self.channels))):
                squares = np.einsum("rd,rd->r", tile.rows, tile.rows)
                inverse[tile.blocks] = np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0)
            return inverse
        at_hand = "grams" in vars(self)
        each = self if at_hand else self._apart()  # products across the maps of an entry are not needed
        tallest = int(each.heights.max())
        space = _window_kernel.space(tallest, 1, int(each.maps.counts.max()), 1)
        for tile in each.tiles(len(each) if at_hand else max(1, SMALL // (4 * tallest * (tallest + self.channels)))):
            _window_kernel.lengths(space, self.grams if at_hand else tile.grams(), tile.maps, inverse[tile.blocks])
        return inverse

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Weights of all blocks in the mean over a probe's, float64: 1 if none were given; 0 without a direction."""
        return (self.inverse > 0).astype(np.float64) if self.given is None else self.given * (self.inverse > 0)

    @functools.cached_property
    def directed(self) -> np.ndarray:
        """(E,) number of blocks of each entry that have a direction and weigh anything."""
        return np.add.reduceat(self.inverse > 0, self.edges[:-1], dtype=np.int64)

    @functools.cached_property
    def total(self) -> np.ndarray:
        """(E,) sum of the blocks' weights."""
        return np.add.reduceat(self.weights, self.edges[:-1])

    @functools.cached_property
    def grams(self) -> Grams:
        """The Gram matrices of all entries' positions, kept from then on: 4 bytes x the sum of heights squared."""
        return self.tile(0, len(self)).grams()

    def tiles(self, limit: int) -> Iterator[Tile]:
        """All entries, at most ``limit`` at a time."""
        for start in range(0, len(self), limit):
            yield self.tile(start, min(start + limit, len(self)))

    def tile(self, start: int, stop: int) -> Tile:
        """The entries start ... stop side by side."""
        firsts = self.maps.firsts[start : stop + 1]
        offsets = np.cumsum([0, *self.heights[start:stop]])
        table = self.maps.table[firsts[0] : firsts[-1]].copy()
        table[:, ROW] += np.repeat(offsets[:-1], np.diff(firsts))
        counts, above = self.maps.counts[start:stop], int(self.starts[start])
        rows = self.rows.between(above, above + int(offsets[-1]))
        before = int(self.edges[start])
        maps = Maps(table, firsts - firsts[0], counts, self.maps.scales)
        return Tile(rows, maps, offsets, slice(start, stop), slice(before, before + int(counts.sum())))

    def _apart(self) -> "Positions":
        """The same with every map an entry of its own."""
        table, firsts = self.maps.table.copy(), self.maps.firsts
        heights = table[:, HEIGHT] * table[:, WIDTH]
        total = np.repeat(self.maps.counts, np.diff(firsts))
        ends = np.append(table[1:, BLOCK], 0)
        counts = np.where(ends > 0, ends, total) - table[:, BLOCK]
        table[:, [ROW, BLOCK]] = 0
        return Positions(self.rows, Maps(table, np.arange(len(table) + 1), counts, self.maps.scales), heights)


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
