"""Padded tiles of blocks: the maps of some entries as one array, which is what XLA's engine multiplies.

Entries are sorted by their number of blocks, so that a tile of consecutive ones wastes little padding, and block counts
are rounded up to a coarse grid, so that the number of compiled shapes stays small whatever the sizes of the maps.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from dsr_jax import blocks
from dsr_jax.matching.gallery import Entries


class Padded(NamedTuple):
    """Some entries as one padded array of blocks.

    Attributes:
      members: (T,) numbers of the entries.
      values: (S, n, d) float32 unit or zero blocks of S >= T slots, zero beyond the entries and their blocks.
      counts: (T,) true blocks of each entry.
    """

    members: np.ndarray
    values: np.ndarray
    counts: np.ndarray


def tiles(entries: Entries, limit: int, *, multiple: int = 1, least: int = 1) -> Iterator[Padded]:
    """All entries in tiles of equal padded size, at most ``limit`` entries and one grid size per tile.

    A tile has at least ``least`` slots and a multiple of ``multiple``; trailing slots may be empty.
    """
    sizes = np.array([grid(n) for n in entries.counts.tolist()])
    order = np.argsort(sizes, kind="stable")
    for size in np.unique(sizes):
        members = order[sizes[order] == size]
        for start in range(0, len(members), limit):
            chosen = members[start : start + limit]
            slots = max(least, -(-min(limit, grid(len(chosen))) // multiple) * multiple)
            yield tile(entries, chosen, size=int(size), slots=slots)


def tile(entries: Entries, members: np.ndarray, *, size: int, slots: int) -> Padded:
    """Some entries, which may occur again, in ``slots`` slots of ``size`` blocks."""
    values = np.zeros((slots, size, entries.channels), np.float32)
    numbers = [i for member in members for i in entries.groups[member]]
    parts = iter(_cut([entries.maps[i] for i in numbers], entries.scales, entries.pooling))
    counts = np.zeros(len(members), np.int64)
    for row, member in enumerate(members):
        for _ in entries.groups[member]:
            part = next(parts)
            values[row, counts[row] : counts[row] + len(part)] = part
            counts[row] += len(part)
    return Padded(members, values, counts)


def grid(n: int) -> int:
    """``n`` rounded up to 1, 2, ..., 16, 18, 20, ..., 32, 36, ...: eight sizes per doubling, at most 1/8 waste.

    Example:
      >>> from dsr_jax.matching.padded import grid
      >>> [grid(n) for n in (1, 5, 17, 33, 57, 300)]
      [1, 5, 18, 36, 60, 320]
    """
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def _cut(maps: Sequence[np.ndarray], scales: tuple[int, ...], pooling: str) -> Iterator[np.ndarray]:
    """Blocks of every map, in order, without padding: (n_i, d) each.

    XLA may round sums that cancel, and flushes subnormal numbers: where it gives or takes a direction, NumPy cuts.
    """
    shapes = sorted({m.shape for m in maps})
    cut: dict[int, np.ndarray] = {}
    for shape in shapes:
        members = [i for i, m in enumerate(maps) if m.shape == shape]
        padded = np.zeros((grid(len(members)), *shape), np.float32)
        padded[: len(members)] = [maps[i] for i in members]
        values = np.asarray(_cut_batch(padded, scales=scales, pooling=pooling))
        for i, part in zip(members, values, strict=False):
            solid = blocks.directed(maps[i], scales=scales, pooling=pooling)
            exact = np.array_equal(part.any(axis=1), solid)
            cut[i] = part if exact else blocks.cut_exactly(maps[i], scales=scales, pooling=pooling).astype(np.float32)
    return (cut[i] for i in range(len(maps)))


@functools.partial(jax.jit, static_argnames=("scales", "pooling"))
def _cut_batch(maps: jax.Array, *, scales: tuple[int, ...], pooling: str) -> jax.Array:
    return jax.vmap(lambda m: blocks.cut(m, scales=scales, pooling=pooling)[0])(maps)
