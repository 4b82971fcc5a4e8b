"""Coding of pairs of a probe and a gallery entry, compiled: the columns of one pair after another, in one core's cache.

`code` is the loop over pairs of the compiled engine, whichever pairs they are: all, listed, or searched. The products
of the pair's blocks come from `_window_kernel`, the codes of each column from `_active_set_kernel`.
"""

from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel
from dsr_jax.matching._window_kernel import HEIGHT, ROW, WIDTH, Grams, Maps, entry, gram, mix, sum_rows
from dsr_jax.solvers._active_set_kernel import column
from dsr_jax.solvers._residual_kernel import Dictionary, mask


class Products(NamedTuple):
    """Correlations of the positions of n pairs, those of one entry side by side.

    Attributes:
      pairs: (n, 2) entry and probe of each.
      flat: the correlations.
      places: (n,) where each pair's begin.
      strides: (E,) numbers from one position of the probe to the next, by entry.
    """

    pairs: np.ndarray
    flat: np.ndarray
    places: np.ndarray
    strides: np.ndarray


class Columns(NamedTuple):
    """The blocks of P probes as columns to code.

    Attributes:
      inverse: one over the length of each block, all probes one after another; 0 where it is zero.
      weights: of each block in its probe's mean, float64.
      blocks: (P + 1,) first block of each probe.
      order: the blocks with a direction, probe by probe, in the order in which they are coded.
      firsts: (P + 1,) first place of each probe in ``order``.
    """

    inverse: np.ndarray
    weights: np.ndarray
    blocks: np.ndarray
    order: np.ndarray
    firsts: np.ndarray


class Bar(NamedTuple):
    """When a pair is given up: as soon as its sum of lower bounds exceeds ``height``.

    Attributes:
      height: of the bar; infinite: every column is coded.
      floors: (E, N) lower bounds of each entry's columns before they are coded, times their weights; (0, 0): there
        are none.
    """

    height: float
    floors: np.ndarray


class Work(NamedTuple):
    """Everything that some pairs are coded from."""

    products: Products
    grams: Grams
    probes: Maps
    columns: Columns
    entries: Maps
    bar: Bar


class Sums(NamedTuple):
    """What coding gives of n pairs.

    Attributes:
      figures: (5, n) weighted sums over the columns of error, lower and upper; the largest gap, with and without its
        allowance for rounding.
      coded: (n,) columns that were coded: fewer than there are if the pair was given up.
    """

    figures: np.ndarray
    coded: np.ndarray


@kernel()
@no_type_check
def _correlations(products, i, probes, maps, e, space):
    """Correlations of the blocks of pair i, none divided by its length yet, into ``space.columns`` (N, m)."""
    g, p = products.pairs[i, 0], products.pairs[i, 1]
    rows = np.uint64(probes.table[p, HEIGHT]) * np.uint64(probes.table[p, WIDTH])
    mix(products.flat, np.uint64(products.places[i]), np.uint64(products.strides[g]), rows, maps, e, space)
    sum_rows(space, probes, p, np.uint64(probes.table[p, ROW]), e.m, space.columns)


@kernel(threads=True)
@no_type_check
def pair(space, work, out, correlation):
    """Gram matrix ``out`` (M, M) and correlations (N, M) of the blocks of the only pair."""
    e = entry(work.entries, 0)
    gram(work.grams, 0, work.entries, e, space)
    _correlations(work.products, 0, work.probes, work.entries, e, space)
    for j in range(e.atoms):
        for i in range(e.atoms):
            out[i, j] = space.table[i * e.m + j]
        for n in range(work.columns.inverse.size):
            correlation[n, j] = space.columns[np.uint64(n) * e.m + j] * space.lengths[j] * work.columns.inverse[n]


@kernel(threads=True)
@no_type_check
def largest(space, work, blocks, inverse, start, stop, top):
    """The largest |Y_j'x_n| of each column of the pairs start ... stop, all of one probe: (n, N).

    ``inverse`` has one over the lengths of all entries' blocks, entry g's from ``blocks[g]`` on.
    """
    for i in range(start, stop):
        g = work.products.pairs[i, 0]
        e = entry(work.entries, g)
        _correlations(work.products, i, work.probes, work.entries, e, space)
        for j in range(e.atoms):
            space.lengths[j] = inverse[np.uint64(blocks[g]) + j]
        for n in range(work.columns.inverse.size):
            highest, o = np.float32(0), np.uint64(n) * e.m
            for j in range(e.atoms):
                highest = max(highest, abs(space.columns[o + j] * space.lengths[j]))
            top[i, n] = highest * work.columns.inverse[n]


@kernel(threads=True)
@no_type_check
def code(space, work, limits, start, stop, sums):
    """Codes the columns of the pairs start ... stop, each pair until it is given up."""
    s, room, pairs, columns, floors = space.system, space.work, work.products.pairs, work.columns, work.bar.floors
    last = -1
    for i in range(start, stop):
        g, p = pairs[i, 0], pairs[i, 1]
        e = entry(work.entries, g)
        if g != last:
            gram(work.grams, g, work.entries, e, space)
            last = g
        d = Dictionary(space.table, np.uint64(0), e.atoms, e.m, mask(room[0], e.m))
        _correlations(work.products, i, work.probes, work.entries, e, space)
        error, lower, upper, gap, short, coded = 0.0, 0.0, 0.0, 0.0, 0.0, 0
        if floors.size:
            for place in range(columns.firsts[p], columns.firsts[p + 1]):
                lower += floors[g, columns.order[place]]
        for place in range(columns.firsts[p], columns.firsts[p + 1]):
            if lower > work.bar.height:
                break
            n = columns.order[place]
            factor, weight, o = columns.inverse[n], columns.weights[n], np.uint64(n - columns.blocks[p]) * e.m
            for j in range(e.m):
                room[j] = space.columns[o + j] * space.lengths[j] * factor
            figures, _, _ = column(s, d, room, 1.0, limits)
            error += weight * figures[0]
            lower += weight * max(figures[1], 0.0) - (floors[g, n] if floors.size else np.float32(0))
            upper += weight * figures[2]
            gap, short = max(gap, figures[3]), max(short, figures[4])
            coded += 1
        sums.figures[0, i], sums.figures[1, i], sums.figures[2, i] = error, lower, upper
        sums.figures[3, i], sums.figures[4, i], sums.coded[i] = gap, short, coded
