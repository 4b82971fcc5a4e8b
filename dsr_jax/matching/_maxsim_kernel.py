"""The largest cosine of every probe block to a dictionary's blocks, compiled: one pair after another, in cache.

Window sums of products are the products of blocks (`_window_kernel`), here one scale of the entry at a time and not
packed: the window whose first position is j has place j, and the places that are no window's first count for nothing.
"""

from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel
from dsr_jax.matching._window_kernel import BLOCK, CUT, HEIGHT, ROW, WIDTH
from dsr_jax.solvers._residual_kernel import bits, number, same

# Places of a scale are padded to whole multiples of this: four registers of 8 float32.
LANES = 32
BAND = 8  # rows that are summed before the next, to stay in the fastest cache
NONE = np.float32(-3e38)  # below every cosine, whatever length it is times


class Atoms(NamedTuple):
    """The blocks of some entries as places: those of each scale of an entry, of the next scale, of the next entry.

    Attributes:
      factor: one over the length of the block; 0 where there is none, or it has no direction.
      firsts: (E + 1,) first place of each entry.
      offsets: (E + 1,) first position of each entry.
    """

    factor: np.ndarray
    firsts: np.ndarray
    offsets: np.ndarray


class Space(NamedTuple):
    """Working memory of one thread, for at most R positions of a probe, M of an entry (m: padded) and N columns.

    Two rows more are read where nothing counts any more.
    """

    raw: np.ndarray  # ((BAND + 2) m,) positions x positions
    wide: np.ndarray  # ((BAND + 2) m,) the same, summed over some neighbours in a row of the entry
    mixed: np.ndarray  # (R M,) positions x places, each times the factor of the place
    row: np.ndarray  # (M,) a row of them, summed over a window of the probe
    best: np.ndarray  # (N,) largest cosines, each times the length of the probe's block


def lengths(positions: int, places: int, scales: int, columns: int) -> tuple[int, ...]:
    """Lengths of the parts of `Space` for pairs of so many positions of the probe and of the entry, and columns."""
    m = padded(places)
    return *[(BAND + 2) * m] * 2, positions * scales * m, scales * m, columns


def padded(places: int) -> int:
    """Places of a scale, padded."""
    return -(-places // LANES) * LANES


@kernel(threads=True)
@no_type_check
def place(maps, atoms, inverse):
    """Fills the factors, which are 0 so far, from one over the lengths of all blocks."""
    first = np.uint64(0)
    for g in range(maps.counts.size):
        start, m = _places(atoms, maps, g)
        for k in range(maps.firsts[g], maps.firsts[g + 1]):
            height, width, cut = np.uint64(maps.table[k, HEIGHT]), np.uint64(maps.table[k, WIDTH]), maps.table[k, CUT]
            at, b = start + np.uint64(maps.table[k, ROW] - atoms.offsets[g]), first + np.uint64(maps.table[k, BLOCK])
            for i in range(maps.scales.size):
                s = np.uint64(1) if cut else np.uint64(maps.scales[i])
                if s > height or s > width or (cut and i > 0):
                    break
                for y in range(height - s + np.uint64(1)):
                    for x in range(width - s + np.uint64(1)):
                        atoms.factor[at + y * width + x] = inverse[b]
                        b += np.uint64(1)
                at += m
        first += np.uint64(maps.counts[g])


@kernel()
@no_type_check
def _places(atoms, maps, g):
    """First place of an entry, and places of each of its scales."""
    start, stop = np.uint64(atoms.firsts[g]), np.uint64(atoms.firsts[g + 1])
    lanes = np.uint64(LANES)  # by which the compiler sees that no remainder is left
    return start, (stop - start) // (lanes * np.uint64(maps.scales.size)) * lanes


@kernel()
@no_type_check
def _read(products, i, begin, rows, n, m, space):
    """Some rows of the products of one pair into ``space.raw``; what lies beyond an entry's positions never counts."""
    stride = np.uint64(products.strides[products.pairs[i, 0]])
    numbers, raw, start = products.flat, space.raw, np.uint64(products.places[i]) + begin * stride
    for r in range(rows):
        a, o = start + r * stride, r * m
        stop = m if a + m <= np.uint64(numbers.size) else n
        for j in range(stop):
            raw[o + j] = numbers[a + j]


@kernel()
@no_type_check
def _widen(numbers, out, size, m, done, s):
    """Sums over ``done`` neighbours, m numbers each, to sums over s of them."""
    while done < s:
        shift = done * m
        if done == 1:
            for j in range(size):
                out[j] = numbers[j] + numbers[j + shift]
        else:
            for j in range(size):
                out[j] += numbers[j + shift]
        done += np.uint64(1)


@kernel()
@no_type_check
def _mix(begin, rows, maps, g, scale, atoms, f, m, stride, space):
    """Sums over the windows of one scale of the entry, for every position of the probe, into ``space.mixed``."""
    mixed, factor, one, end = space.mixed, atoms.factor, np.uint64(1), maps.firsts[g + 1]
    for k in range(maps.firsts[g], end):
        height, width, cut = np.uint64(maps.table[k, HEIGHT]), np.uint64(maps.table[k, WIDTH]), maps.table[k, CUT]
        first, s = np.uint64(maps.table[k, ROW] - atoms.offsets[g]), np.uint64(maps.scales[scale])
        n = height * width if k + 1 < end else m - first  # whole registers of the last map
        if cut:
            s = one
        for r in range(rows):
            o, a, to = f + first, r * m + first, begin + r * stride + first
            if s > height or s > width or (cut and scale > 0):
                for j in range(n):
                    mixed[to + j] = 0
            elif s == one:
                for j in range(n):
                    mixed[to + j] = space.raw[a + j] * factor[o + j]
            elif s == 2:
                for j in range(n):
                    mixed[to + j] = (space.wide[a + j] + space.wide[a + width + j]) * factor[o + j]
            else:
                b, c = a + width, a + width + width
                for j in range(n):
                    mixed[to + j] = space.wide[a + j] + space.wide[b + j] + space.wide[c + j]
                for down in range(np.uint64(3), s):
                    for j in range(n):
                        mixed[to + j] += space.wide[a + down * width + j]
                for j in range(n):
                    mixed[to + j] *= factor[o + j]


@kernel()
@no_type_check
def _top(numbers, o, m, factor, f):
    """The largest of m numbers at places with a factor; `NONE` without any.

    As integers the bits of positive numbers order as they do, and above all others: their maximum is vectorised.
    """
    high = same(0, bits(factor[f]))
    for j in range(m):
        high = max(high, bits(numbers[o + j]))
    if high > 0:
        return number(high)
    top = NONE
    for j in range(m):
        if factor[f + j] > 0:
            top = max(top, numbers[o + j])
    return top


@kernel()
@no_type_check
def _one(space, o, m, s, width, factor, f):
    """The same of the sum of the s x s rows of a window, whose first begins at ``o``."""
    mixed, row = space.mixed, space.row
    for j in range(m):
        row[j] = 0
    for y in range(s):
        for x in range(s):
            at = o + (y * width + x) * m
            for j in range(m):
                row[j] += mixed[at + j]
    return _top(row, np.uint64(0), m, factor, f)


@kernel()
@no_type_check
def _two(numbers, o, m, s, width, like):
    """Largest bits of the sums of a window of 2 x 2 or 3 x 3 rows and of that below it: the lines between, once."""
    a, line, k, upper, lower = o, width * m, m + m, same(0, bits(like)), same(0, bits(like))
    b, c, d = a + line, a + line + line, a + line + line + line
    if s == 2:
        for j in range(m):
            both = numbers[b + j] + numbers[b + m + j]
            upper = max(upper, bits((numbers[a + j] + numbers[a + m + j]) + both))
            lower = max(lower, bits(both + (numbers[c + j] + numbers[c + m + j])))
    else:
        for j in range(m):
            second = numbers[b + j] + numbers[b + m + j] + numbers[b + k + j]
            both = second + (numbers[c + j] + numbers[c + m + j] + numbers[c + k + j])
            upper = max(upper, bits((numbers[a + j] + numbers[a + m + j] + numbers[a + k + j]) + both))
            lower = max(lower, bits(both + (numbers[d + j] + numbers[d + m + j] + numbers[d + k + j])))
    return upper, lower


@kernel()
@no_type_check
def _raise(atoms, f, m, maps, p, space):
    """The largest place of each block of the probe, into ``space.best``."""
    mixed, best, factor, b, one = space.mixed, space.best, atoms.factor, np.uint64(0), np.uint64(1)
    height, width, cut = np.uint64(maps.table[p, HEIGHT]), np.uint64(maps.table[p, WIDTH]), maps.table[p, CUT]
    for i in range(maps.scales.size):
        s = one if cut else np.uint64(maps.scales[i])
        if s > height or s > width or (cut and i > 0):
            break
        lines, across = height - s + one, width - s + one
        twice = lines > one and (s == 2 or s == 3)
        for y in range(lines):
            for x in range(across):
                o, at = (y * width + x) * m, b + y * across + x
                if s == one:
                    best[at] = _top(mixed, o, m, factor, f)
                elif not twice:
                    best[at] = _one(space, o, m, s, width, factor, f)
                elif y % np.uint64(2) == 0:
                    above = np.uint64(0) if y + one < lines else one  # the last line alone: again with that above
                    o, at = o - above * width * m, at - above * across
                    upper, lower = _two(mixed, o, m, s, width, mixed[0])
                    best[at] = number(upper) if upper > 0 else _one(space, o, m, s, width, factor, f)
                    at, o = at + across, o + width * m
                    best[at] = number(lower) if lower > 0 else _one(space, o, m, s, width, factor, f)
        b += lines * across


@kernel(threads=True)
@no_type_check
def sums(space, products, probes, columns, entries, atoms, start, stop, out):
    """Weighted sums of the largest cosines over the columns with a direction, of the pairs start ... stop."""
    best, one = space.best, np.uint64(1)
    for i in range(start, stop):
        g, p = products.pairs[i, 0], products.pairs[i, 1]
        rows = np.uint64(probes.table[p, HEIGHT]) * np.uint64(probes.table[p, WIDTH])
        f, m = _places(atoms, entries, g)
        count, block = probes.counts[p], columns.blocks[p]
        for b in range(count):
            best[b] = NONE
        n, total = np.uint64(atoms.offsets[g + 1] - atoms.offsets[g]), m * np.uint64(entries.scales.size)
        for begin in range(np.uint64(0), rows, np.uint64(BAND)):
            band, done = min(rows - begin, np.uint64(BAND)), one
            _read(products, i, begin, band, n, m, space)
            for t in range(entries.scales.size):
                s = np.uint64(entries.scales[t])
                _widen(space.raw, space.wide, band * m, one, done, s)
                done = s
                place = np.uint64(t) * m
                _mix(begin * total + place, band, entries, g, t, atoms, f + place, m, total, space)
        _raise(atoms, f, total, probes, p, space)
        mean = 0.0
        for b in range(count):
            if columns.inverse[block + b] > 0 and best[b] > NONE:
                mean += best[b] * columns.inverse[block + b] * columns.weights[block + b]
        out[i] = mean
