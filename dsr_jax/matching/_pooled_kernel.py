"""Compiled pooling of products: multi-scale problems from single-scale ones (docs/mathematics.md, "Pooling").

A block is the sum of the positions in its window, divided by its length. So with A the 0/1 matrix of the windows and D
the lengths' inverses, the Gram matrix and the correlations of the blocks are window sums of those of the positions,

    Y'Y = D_y A_y' (Y1'Y1) A_y D_y,      Y'X = D_y A_y' (Y1'X1) A_x D_x,

and so are the lengths, the root of the Gram matrix's diagonal before D. Per pair that is a few additions per block in
place of a dot product over d channels. `pairs` takes the single-scale products of a tile, and for one pair after
another sums the windows and codes the columns with `active_set_kernel`, all in the cache of one core.

A map is a row of the ``maps`` tables: first row in its matrix, height, width, first block, and whether it is cut
already (its rows are unit blocks, taken as they are).
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.compiled import kernel
from dsr_jax.solvers._active_set_kernel import LANES, System, column, mask, padded
from dsr_jax.solvers._active_set_kernel import space as column_space

ROW, HEIGHT, WIDTH, BLOCK, CUT = range(5)


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
def positions(maps, begin, end):
    """Number of positions of the maps begin ... end."""
    return np.uint64(maps[end - 1, ROW] - maps[begin, ROW] + maps[end - 1, HEIGHT] * maps[end - 1, WIDTH])


@kernel()
@no_type_check
def _sum_row(numbers, start, maps, k, scales, row, square, out, o):
    """Window sums of one number per position of map k: out[o ...], all scales stacked."""
    width, height = np.uint64(maps[k, WIDTH]), np.uint64(maps[k, HEIGHT])
    n = width * height
    if maps[k, CUT]:
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
def _sum_rows(mixed, maps, k, scales, first, m, across, out):
    """Window sums of one vector of m numbers per position of map k: a vector per block, at its place in ``out``."""
    width, height, b = np.uint64(maps[k, WIDTH]), np.uint64(maps[k, HEIGHT]), np.uint64(maps[k, BLOCK])
    start, o = (np.uint64(maps[k, ROW]) - first) * m, b * m
    if maps[k, CUT]:
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
def _mix(numbers, start, stride, rows, maps, begin, end, scales, atoms, m, space):
    """Positions x blocks: the numbers of each row summed over the windows of the maps begin ... end."""
    first = np.uint64(maps[begin, ROW])
    for i in range(rows):
        for k in range(begin, end):
            o = i * m + np.uint64(maps[k, BLOCK])
            at = start + i * stride + np.uint64(maps[k, ROW]) - first
            _sum_row(numbers, at, maps, k, scales, space.row, space.square, space.mixed, o)
        for j in range(atoms, m):
            space.mixed[i * m + j] = 0


@kernel()
@no_type_check
def gram_of(gram, start, rows, maps, begin, end, scales, atoms, m, space):
    """Gram matrix of the unit blocks into ``space.table``, inverse lengths into ``space.lengths``."""
    _mix(gram, start, rows, rows, maps, begin, end, scales, atoms, m, space)
    for k in range(begin, end):
        _sum_rows(space.mixed, maps, k, scales, np.uint64(maps[begin, ROW]), m, space.across, space.table)
    table, lengths = space.table, space.lengths
    for j in range(m):
        lengths[j] = 0
    for j in range(atoms):
        square = table[j * m + j]
        lengths[j] = np.float32(1 / math.sqrt(np.float64(square))) if square > 0 else np.float32(0)
    for i in range(atoms):
        factor = lengths[i]
        for j in range(m):
            table[i * m + j] *= factor * lengths[j]


@kernel()
@no_type_check
def correlations(correlation, start, stride, probes, p, maps, begin, end, scales, atoms, m, space):
    """Correlations of probe p's blocks, none divided by its length yet, into ``space.columns`` (N, m)."""
    rows = np.uint64(probes[p, HEIGHT]) * np.uint64(probes[p, WIDTH])
    _mix(correlation, start, stride, rows, maps, begin, end, scales[0], atoms, m, space)
    _sum_rows(space.mixed, probes, p, scales[1], np.uint64(probes[p, ROW]), m, space.across, space.columns)


@kernel(threads=True)
@no_type_check
def lengths(space, grams, places, maps, entries, counts, scales, out):
    """Inverse lengths of the blocks of all entries of a tile, one after another, 0 for a block that is zero."""
    o = 0
    for g in range(counts.size):
        begin, end, atoms = entries[g], entries[g + 1], np.uint64(counts[g])
        rows = positions(maps, begin, end)
        gram_of(grams, np.uint64(places[g]), rows, maps, begin, end, scales, atoms, padded(atoms), space)
        for j in range(atoms):
            out[o] = space.lengths[j]
            o += 1


@kernel(threads=True)
@no_type_check
def pair(space, correlation, gram, probes, maps, scales, inverse, atoms, table, columns):
    """Gram matrix (M, M) and correlations (N, M) of the blocks of one probe and one gallery entry."""
    atoms, m, end = np.uint64(atoms), padded(atoms), len(maps)
    rows = positions(maps, 0, end)
    gram_of(gram, np.uint64(0), rows, maps, 0, end, scales[0], atoms, m, space)
    correlations(correlation, np.uint64(0), rows, probes, 0, maps, 0, end, scales, atoms, m, space)
    for j in range(atoms):
        for i in range(atoms):
            table[i, j] = space.table[i * m + j]
        for n in range(inverse.size):
            columns[n, j] = space.columns[np.uint64(n) * m + j] * space.lengths[j] * inverse[n]


@kernel(threads=True)
@no_type_check
def pairs(
    space,
    correlation,
    places,
    strides,
    who,
    grams,
    starts,
    probes,
    inverse,
    probe_blocks,
    maps,
    entries,
    counts,
    scales,
    l1,
    eps,
    units,
    tol,
    start,
    stop,
    figures,
):
    """Figures of the pairs start ... stop, sorted by entry: (5, n) sums over the columns, largest gaps.

    ``who`` (n, 2) are entry and probe of each pair; of flat ``correlation`` the pair's begin at ``places`` and each of
    the probe's positions has ``strides`` numbers, by entry. Flat ``grams`` with the ``starts`` of each entry's,
    ``probes`` with the ``inverse`` lengths of their blocks and where those begin, ``maps`` of the entries (``BLOCK``
    counts within an entry) and where each entry's begin, ``counts`` of their blocks, ``scales`` a pair (gallery's,
    probes').
    """
    s, work = space.system, space.work
    last = -1
    limit = 20 * space.work.size + 100
    for i in range(start, stop):
        g, p = who[i, 0], who[i, 1]
        begin, end = entries[g], entries[g + 1]
        atoms = np.uint64(counts[g])
        m = padded(atoms)
        if g != last:
            rows = positions(maps, begin, end)
            gram_of(grams, np.uint64(starts[g]), rows, maps, begin, end, scales[0], atoms, m, space)
            high = mask(work[0], m)
            last = g
        at, stride = np.uint64(places[i]), np.uint64(strides[g])
        correlations(correlation, at, stride, probes, p, maps, begin, end, scales, atoms, m, space)
        error, lower, upper, gap, short = 0.0, 0.0, 0.0, 0.0, 0.0
        for n in range(probe_blocks[p], probe_blocks[p + 1]):
            factor = inverse[n]
            if factor == 0:
                continue
            o = np.uint64(n - probe_blocks[p]) * m
            for j in range(m):
                work[j] = space.columns[o + j] * space.lengths[j] * factor
            found, _, _ = column(s, space.table, np.uint64(0), work, m, atoms, high, 1.0, l1, eps, units, tol, limit)
            error += found[0]
            lower += found[1]
            upper += found[2]
            gap, short = max(gap, found[3]), max(short, found[4])
        figures[0, i], figures[1, i], figures[2, i], figures[3, i], figures[4, i] = error, lower, upper, gap, short
