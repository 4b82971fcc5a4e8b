"""Padded tiles of positions: the maps of some entries as arrays of one size, which is what XLA's engine multiplies.

Entries of many blocks and of few are in different tiles, where that saves more padding than the programs of another
size are worth, and all sizes are rounded up to a coarse grid. Where positions and blocks lie is data, not shape: maps
of any heights and widths share a program.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dsr_jax.matching._window_kernel import CUT, HEIGHT, ROW, WIDTH
from dsr_jax.matching.positions import Positions


class Padded(NamedTuple):
    """Some entries as padded arrays.

    Attributes:
      members: (T,) numbers of the entries.
      rows: (S, R, d) float32 positions of S >= T slots, zero beyond the entries and their positions.
      places: (S, R, 3) int32 map, line and column of each position; the map is -1 beyond. None where every block is a
        position.
      windows: (S, M, 4) int32 map, first line and column, and side of each block; the side is 0 beyond. None as above.
    """

    members: np.ndarray
    rows: np.ndarray
    places: np.ndarray | None
    windows: np.ndarray | None


class Size(NamedTuple):
    """What the entries of a tile are padded to: so many positions and blocks each."""

    rows: int
    blocks: int


def grid(n: int) -> int:
    """``n`` rounded up to 1, 2, ..., 8, 10, 12, ..., 16, 20, ...: four sizes per doubling, at most a quarter of waste.

    Example:
      >>> from dsr_jax.matching.padded import grid
      >>> [grid(n) for n in (1, 5, 17, 33, 56, 300)]
      [1, 5, 20, 40, 56, 320]
    """
    step = 1 << max(0, n.bit_length() - 3)
    return -(-n // step) * step


def groups(positions: Positions, worth: int = 1) -> Iterator[tuple[Size, np.ndarray]]:
    """The entries that are padded to one size, many blocks first: that size and their numbers.

    Args:
      positions: all entries.
      worth: what is padded less must be at least so many blocks in all for another size, which needs programs of its
        own.
    """
    counts = positions.maps.counts
    sizes = np.array([grid(n) for n in counts.tolist()])
    bound = int(sizes.max())
    for blocks in np.unique(sizes)[::-1].tolist():
        fewer = np.count_nonzero(sizes <= blocks)
        if fewer * (bound - blocks) >= worth:
            yield _group(positions, (sizes > blocks) & (sizes <= bound), bound)
            bound = blocks
    yield _group(positions, sizes <= bound, bound)


def _group(positions: Positions, chosen: np.ndarray, blocks: int) -> tuple[Size, np.ndarray]:
    members = np.flatnonzero(chosen)
    return Size(blocks if positions.plain else grid(int(positions.heights[members].max())), blocks), members


def largest(positions: Positions) -> Size:
    """The size that holds every entry."""
    return _group(positions, positions.heights > 0, grid(int(positions.maps.counts.max())))[0]


def tile(positions: Positions, members: np.ndarray, size: Size, *, slots: int) -> Padded:
    """Some entries, which may occur again, in as many slots."""
    rows = np.zeros((slots, size.rows, positions.channels), np.float32)
    for slot, member in enumerate(members.tolist()):
        start, height = int(positions.starts[member]), int(positions.heights[member])
        rows[slot, :height] = positions.rows.between(start, start + height)
    if positions.plain:
        return Padded(members, rows, None, None)
    places, windows = np.full((slots, size.rows, 3), -1, np.int32), np.zeros((slots, size.blocks, 4), np.int32)
    for slot, member in enumerate(members.tolist()):
        block, firsts = 0, positions.maps.firsts
        for number, one in enumerate(positions.maps.table[firsts[member] : firsts[member + 1]].tolist()):
            scales = (1,) if one[CUT] else tuple(positions.maps.scales.tolist())
            lines, cut = _lie(one[HEIGHT], one[WIDTH], scales)
            places[slot, one[ROW] : one[ROW] + len(lines), 0] = number
            places[slot, one[ROW] : one[ROW] + len(lines), 1:] = lines
            windows[slot, block : block + len(cut), 0] = number
            windows[slot, block : block + len(cut), 1:] = cut
            block += len(cut)
    return Padded(members, rows, places, windows)


@functools.lru_cache(1024)
def _lie(height: int, width: int, scales: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Line and column of each position of a map; first line, first column and side of each of its windows."""
    lines = np.indices((height, width)).reshape(2, -1).T
    fit = [s for s in scales if s <= min(height, width)]
    corners = [np.indices((height - s + 1, width - s + 1)).reshape(2, -1).T for s in fit]
    sides = [np.insert(each, 2, s, axis=1) for each, s in zip(corners, fit, strict=True)]
    return lines, np.concatenate(sides)
