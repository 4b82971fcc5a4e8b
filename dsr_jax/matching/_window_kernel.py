"""Window sums, compiled: Gram matrices and correlations of blocks from those of positions.

Pooling commutes with correlation. A block is the sum of the positions in its window, divided by its length, so the
products of blocks are window sums of the products of positions, and the lengths are the root of the Gram matrix's
diagonal (see `docs/mathematics.md`). Per pair that is a few additions per block in place of a dot product over d
channels.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel
from dsr_jax.solvers._active_set_kernel import space as column_space
from dsr_jax.solvers._residual_kernel import LANES, padded
from dsr_jax.solvers._system_kernel import System

ROW, HEIGHT, WIDTH, BLOCK, CUT = range(5)


class Maps(NamedTuple):
    """Where the maps of E entries lie in a matrix of positions, and where their blocks lie.

    Attributes:
      table: per map: first row, height, width, first block of its entry, and whether it is cut already (its rows are
        unit blocks then, taken as they are). A row of ``table`` is a map; its columns are ``ROW`` to ``CUT``.
      firsts: (E + 1,) first map of each entry.
      counts: (E,) blocks of each entry.
      scales: sides of the windows, ascending.
    """

    table: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    scales: np.ndarray


class Grams(NamedTuple):
    """Gram matrices of the positions of E entries.

    Attributes:
      flat: the matrices, one after another.
      places: (E,) where each entry's begins.
    """

    flat: np.ndarray
    places: np.ndarray


class Entry(NamedTuple):
    """One entry: its maps ``begin`` to ``end``, their first row and number of rows, its atoms, padded to ``m``."""

    begin: int
    end: int
    first: int
    rows: int
    atoms: int
    m: int


class Space(NamedTuple):
    """Working memory of one thread, for at most R positions, N columns and M atoms (m: M padded)."""

    system: System
    work: np.ndarray  # (3 m,) one column and two partial results
    table: np.ndarray  # (M m,) Gram matrix of the blocks
    lengths: np.ndarray  # (m,) their inverse lengths
    mixed: np.ndarray  # (R m,) positions x blocks
    across: np.ndarray  # (R m,) the same, summed over some neighbours in a row
    columns: np.ndarray  # (N m,) blocks x blocks
    row: np.ndarray  # (R,) one row, summed over some neighbours
    square: np.ndarray  # (R,) the same, summed over lines too


def space(positions: int, columns: int, atoms: int, places: int) -> Space:
    """Working memory for pairs of at most so many positions per map, columns and atoms."""
    m = -(-atoms // LANES) * LANES
    system, work, _ = column_space(m, places, np.dtype(np.float32))

    def zeros(size: int) -> np.ndarray:
        return np.zeros(size, np.float32)

    mixed, across = zeros(positions * m), zeros(positions * m)
    row, square = zeros(positions), zeros(positions)
    return Space(system, work, zeros(atoms * m), zeros(m), mixed, across, zeros(columns * m), row, square)


@kernel()
@no_type_check
def entry(maps, g):
    """Entry number g."""
    begin, end = maps.firsts[g], maps.firsts[g + 1]
    first, last, atoms = maps.table[begin, ROW], end - 1, np.uint64(maps.counts[g])
    rows = maps.table[last, ROW] - first + maps.table[last, HEIGHT] * maps.table[last, WIDTH]
    return Entry(begin, end, np.uint64(first), np.uint64(rows), atoms, padded(atoms))


@kernel()
@no_type_check
def _sum_row(numbers, start, maps, k, space, o):
    """Window sums of one number per position of map k, all scales stacked, into ``space.mixed`` from ``o`` on."""
    row, square, out = space.row, space.square, space.mixed
    table, scales = maps.table, maps.scales
    width, height = np.uint64(table[k, WIDTH]), np.uint64(table[k, HEIGHT])
    n = width * height
    if table[k, CUT]:
        for p in range(n):
            out[o + p] = numbers[start + p]
        return
    done = np.uint64(1)
    for i in range(scales.size):
        s = np.uint64(scales[i])
        if s > height or s > width:
            break
        if s == 1:
            for p in range(n):
                out[o + p] = numbers[start + p]
            o += n
            continue
        # Sums over neighbours in a line, then over lines, of the map as one long row: what crosses the end of a line
        # is wrong, and left out at the end.
        while done < s:
            if done == 1:
                for p in range(n - done):
                    row[p] = numbers[start + p] + numbers[start + p + done]
            else:
                for p in range(n - done):
                    row[p] += numbers[start + p + done]
            done += np.uint64(1)
        below = n - (s - np.uint64(1)) * width
        for p in range(below):
            square[p] = row[p] + row[p + width]
        for down in range(np.uint64(2), s):
            for p in range(below):
                square[p] += row[p + down * width]
        for y in range(height - s + np.uint64(1)):
            for x in range(width - s + np.uint64(1)):
                out[o + x] = square[y * width + x]
            o += width - s + np.uint64(1)


@kernel()
@no_type_check
def sum_rows(space, maps, k, first, m, out):
    """Window sums of the rows of ``space.mixed`` that belong to map k: a vector per block, at its place in ``out``."""
    mixed, across = space.mixed, space.across
    table, scales = maps.table, maps.scales
    width, height, b = np.uint64(table[k, WIDTH]), np.uint64(table[k, HEIGHT]), np.uint64(table[k, BLOCK])
    start, o = (np.uint64(table[k, ROW]) - first) * m, b * m
    if table[k, CUT]:
        for j in range(width * height * m):
            out[o + j] = mixed[start + j]
        return
    done = np.uint64(1)
    for i in range(scales.size):
        s = np.uint64(scales[i])
        if s > height or s > width:
            break
        if s == 1:
            for j in range(width * height * m):
                out[o + j] = mixed[start + j]
            o += width * height * m
            continue
        while done < s:
            shift = done * m
            if done == 1:
                for j in range((width * height - done) * m):
                    across[j] = mixed[start + j] + mixed[start + j + shift]
            else:
                for j in range((width * height - done) * m):
                    across[j] += mixed[start + j + shift]
            done += np.uint64(1)
        line = width * m
        for y in range(height - s + np.uint64(1)):
            for x in range(width - s + np.uint64(1)):
                place = (y * width + x) * m
                for j in range(m):
                    out[o + j] = across[place + j] + across[place + line + j]
                for down in range(np.uint64(2), s):
                    below = place + down * line
                    for j in range(m):
                        out[o + j] += across[below + j]
                o += m


@kernel()
@no_type_check
def mix(numbers, start, stride, rows, maps, e, space):
    """Positions x blocks: the numbers of each row summed over the windows of the entry's maps, into ``space.mixed``."""
    for i in range(rows):
        for k in range(e.begin, e.end):
            at = start + i * stride + np.uint64(maps.table[k, ROW]) - e.first
            _sum_row(numbers, at, maps, k, space, i * e.m + np.uint64(maps.table[k, BLOCK]))
        for j in range(e.atoms, e.m):
            space.mixed[i * e.m + j] = 0


@kernel()
@no_type_check
def gram(grams, g, maps, e, space):
    """Gram matrix of the unit blocks into ``space.table``, one over their lengths into ``space.lengths``."""
    m, table, lengths = e.m, space.table, space.lengths
    mix(grams.flat, np.uint64(grams.places[g]), e.rows, e.rows, maps, e, space)
    for k in range(e.begin, e.end):
        sum_rows(space, maps, k, e.first, m, table)
    for j in range(m):
        lengths[j] = 0
    for j in range(e.atoms):
        square = table[j * m + j]
        lengths[j] = np.float32(1 / math.sqrt(np.float64(square))) if square > 0 else np.float32(0)
    for i in range(e.atoms):
        factor = lengths[i]
        for j in range(m):
            table[i * m + j] *= factor * lengths[j]


@kernel(threads=True)
@no_type_check
def lengths(space, grams, maps, inverse):
    """One over the lengths of the blocks of all entries, one after another, 0 for a block that is zero."""
    o = 0
    for g in range(maps.counts.size):
        e = entry(maps, g)
        gram(grams, g, maps, e, space)
        for j in range(e.atoms):
            inverse[o] = space.lengths[j]
            o += 1
