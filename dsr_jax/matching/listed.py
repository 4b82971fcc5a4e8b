"""Chosen pairs of probes and gallery entries on the CPU, and no others (Algorithm 1): what a shortlist codes.

`pooled` multiplies all probes of a tile with all entries of a tile. Where each probe has entries of her own that would
be mostly in vain: here every pair has a small product of its own, and shares its entry's Gram matrix with the probes
that list it. The rest, windows, codes and certificates, is the same compiled loop.
"""

import numpy as np
from tqdm import tqdm

from dsr_jax.cpu import cores
from dsr_jax.matching import pooled
from dsr_jax.matching.pooled import COMFORT, WIDE
from dsr_jax.matching.positions import Positions, Tile


def solve(
    probes: Positions,
    gallery: Positions,
    pairs: np.ndarray,
    *,
    l1: float,
    tol: float,
    max_bytes: int,
    progress: tqdm | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Distance, lower, upper (means over the probe's blocks with a direction), largest gap of n pairs: (4, n) float32.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      pairs: (n, 2) numbers of probe and entry, in any order.
      l1: weight of the L1 penalty.
      tol: pairs with a column whose gap is larger are coded once more in float64.
      max_bytes: memory ceiling, beside the maps and the result.
      progress: a bar to tell the pairs that are done.
      threads: number of threads; default: the cores that this process may use.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """
    each = pooled.needs(probes, gallery, max_bytes=max_bytes)
    room = max_bytes - sum(each)  # half of it is for threads
    crew = pooled.crew_of(each, max_bytes=max_bytes, threads=threads or cores.count())
    at_once = 1 + min(COMFORT, room // 4) // each.pair
    workers = pooled.Workers(probes, gallery, crew)
    columns = pooled.Columns(probes.table, probes.inverse, np.cumsum([0, *probes.counts]), probes.scales)
    starts = np.cumsum([0, *probes.heights])
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    figures = np.empty((4, len(pairs)), np.float32)
    for entries in gallery.tiles(1 + min(WIDE, room // 4) // each.entry):
        begin, end = np.searchsorted(pairs[order, 1], [entries.members.start, entries.members.stop]).tolist()
        if begin == end:
            continue
        grams = entries.grams()
        for first in range(begin, end, at_once):
            own = order[first : min(first + at_once, end)]
            who = np.stack([pairs[own, 1] - entries.members.start, pairs[own, 0]], axis=1)
            products = _products(probes, starts, entries, who)
            sums = pooled.summed(workers, columns, entries, grams, products, l1=l1, tol=tol)
            for i in np.flatnonzero(~(sums[4] <= tol)).tolist():
                again = pooled.problem(probes, gallery, int(pairs[own[i], 0]), int(pairs[own[i], 1]))
                sums[:4, i] = pooled.again(*again, l1=l1, tol=tol, length=probes.channels)
            sums[:3] /= probes.solid[who[:, 1]]
            figures[:, own] = sums[:4]
            if progress is not None:
                progress.update(len(own))
    return figures


def _products(probes: Positions, starts: np.ndarray, entries: Tile, who: np.ndarray) -> pooled.Products:
    """One small product per pair, of the positions of its probe with those of its entry."""
    strides, heights = np.diff(entries.offsets), probes.heights
    sizes = heights[who[:, 1]] * strides[who[:, 0]]
    places = np.cumsum([0, *sizes])
    flat = np.empty(places[-1], np.float32)
    triples = []
    for (g, p), place, size in zip(who.tolist(), places.tolist(), sizes.tolist(), strict=False):
        own = probes.rows.between(int(starts[p]), int(starts[p + 1]))
        other = entries.rows[entries.offsets[g] : entries.offsets[g + 1]]
        triples.append((own, other.T, flat[place : place + size].reshape(len(own), len(other))))
    cores.products(triples)
    return pooled.Products(flat, places[:-1], strides, who)
