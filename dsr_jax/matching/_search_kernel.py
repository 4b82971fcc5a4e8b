"""The compiled half of `search`: what correlations alone say of a pair, and coding only until a pair is out.

`largest` gives, for every column, its largest correlation c with a block of the entry: the exact squared error is at
least (l1 / c)^2 (the dual point x l1 / c is feasible), and 1 where c <= l1. `until` codes an entry's columns one after
another, each replacing that bound by the certified one, and leaves the entry once the sum proves that it is too far.
"""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel
from dsr_jax.matching._pooled_kernel import ROW, correlations, gram_of, positions
from dsr_jax.solvers._active_set_kernel import column
from dsr_jax.solvers._residual_kernel import Dictionary, mask, padded
from dsr_jax.solvers._system_kernel import Limits


@kernel(threads=True)
@no_type_check
def largest(
    space, correlation, stride, probe, inverse, maps, entries, counts, scales, blocks, lengths, start, stop, out
):
    """(G, N) largest |Y_j'x_n| of each probe column on the entries start ... stop.

    ``lengths`` are the inverse lengths of all entries' blocks, which begin at ``blocks``; the other arguments are those
    of `pooled_kernel.pairs`, ``scales`` a pair (gallery's, probe's).
    """
    for g in range(start, stop):
        begin, end, atoms = entries[g], entries[g + 1], np.uint64(counts[g])
        m, at = padded(atoms), np.uint64(maps[begin, ROW])
        correlations(correlation, at, np.uint64(stride), probe, 0, maps, begin, end, scales, atoms, m, space)
        for j in range(atoms):
            space.lengths[j] = lengths[np.uint64(blocks[g]) + j]
        for n in range(inverse.size):
            top, o = np.float32(0), np.uint64(n) * m
            for j in range(atoms):
                top = max(top, abs(space.columns[o + j] * space.lengths[j]))
            out[g, n] = top * inverse[n]


@kernel(threads=True)
@no_type_check
def until(
    space,
    correlation,
    stride,
    probe,
    inverse,
    maps,
    entries,
    counts,
    scales,
    grams,
    places,
    order,
    floors,
    bar,
    l1,
    eps,
    units,
    tol,
    who,
    start,
    stop,
    figures,
    coded,
):
    """Codes the columns of the entries who[start ... stop], each until its sum of lower bounds exceeds ``bar``.

    ``order`` is that of the columns with a direction, ``floors`` (G, N) what is known of all already. Figures (5, G)
    as those of `pooled_kernel.pairs`; ``coded`` (G,) counts the columns: fewer than in ``order`` say that the entry is
    out, and its ``lower`` is the sum that proved it.
    """
    s, work, limit = space.system, space.work, 20 * space.work.size + 100
    for i in range(start, stop):
        g = who[i]
        begin, end, atoms = entries[g], entries[g + 1], np.uint64(counts[g])
        m = padded(atoms)
        high, stride_of = mask(work[0], m), np.uint64(stride)
        rows = positions(maps, begin, end)
        gram_of(grams, np.uint64(places[i]), rows, maps, begin, end, scales[0], atoms, m, space)
        correlations(
            correlation, np.uint64(maps[begin, ROW]), stride_of, probe, 0, maps, begin, end, scales, atoms, m, space
        )
        error, lower, upper, gap, short = 0.0, 0.0, 0.0, 0.0, 0.0
        for n in order:
            lower += floors[g, n]
        for done in range(order.size):
            if lower > bar:
                break
            n = order[done]
            factor, o = inverse[n], np.uint64(n) * m
            coded[i] += 1
            for j in range(m):
                work[j] = space.columns[o + j] * space.lengths[j] * factor
            d = Dictionary(space.table, np.uint64(0), atoms, m, high)
            found, _, _ = column(s, d, work, 1.0, Limits(l1, tol, eps, units, limit))
            error += found[0]
            lower += max(found[1], 0.0) - floors[g, n]
            upper += found[2]
            gap, short = max(gap, found[3]), max(short, found[4])
        figures[0, i], figures[1, i], figures[2, i], figures[3, i], figures[4, i] = error, lower, upper, gap, short
