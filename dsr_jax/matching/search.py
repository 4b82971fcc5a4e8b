"""The nearest entries of a probe, each certified, and no more coded than that takes.

One product gives the correlations of all positions of the gallery. They alone bound every distance from below, and
guess it closely enough to look at the likely entries first. These are coded; the k-th smallest upper bound so far is
the bar, and every other entry is coded column by column only until its lower bound exceeds it. What is left out is
proven to be farther than the k-th: the answer is that of coding everything.
"""

from typing import Any, NamedTuple

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.cpu._product_kernel import product
from dsr_jax.matching import _search_kernel, pooled
from dsr_jax.matching.pooled import EPS, Workers
from dsr_jax.matching.positions import Grams, Positions, Tile
from dsr_jax.solvers import certificate

ROUND = 64  # entries coded before the bar is looked at again, at first; doubled every round, to this many times 16


class Found(NamedTuple):
    """The nearest k entries, nearest first, and what the search did.

    Attributes:
      entries: (k,) numbers of the entries.
      figures: (4, k) distance, lower, upper, gap.
      beyond: certified lower bound of the distance of every entry that is not among them.
      coded: share of all columns (probe blocks x entries) that were coded.
    """

    entries: np.ndarray
    figures: np.ndarray
    beyond: float
    coded: float


class _Pairs(NamedTuple):
    """The probe and some entries: what their correlations say."""

    given: tuple[Any, ...]  # what both kernels are given of them
    tile: Tile
    floors: np.ndarray  # (G, N) certified lower bounds of the squared errors
    guess: np.ndarray  # (G,) of the distance
    order: np.ndarray  # of the columns with a direction, those first whose coding should raise the bound most


def nearest(
    probe: Positions, gallery: Positions, k: int, *, l1: float, tol: float, max_bytes: int, threads: int | None = None
) -> Found:
    """The k nearest entries of a gallery.

    Args:
      probe: one entry of one map.
      gallery: the entries. Their Gram matrices are kept for the next search where they fit into ``max_bytes``.
      k: how many, at most as many as there are.
      l1: weight of the L1 penalty.
      tol: largest duality gap of a column.
      max_bytes: memory ceiling, beside the maps.
      threads: number of threads; default: the cores that this process may use.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.

    Returns:
      What was `Found`. Equal distances are in the order of the entries.
    """
    crew = pooled.limits(probe, gallery, max_bytes=max_bytes, threads=threads or cores.count())[2]
    tallest = int(gallery.heights.max())
    kept = gallery.grams if 4 * int(np.sum(gallery.heights**2)) <= max_bytes // 2 else None
    copied = 4 * gallery.channels * tallest if len(gallery.rows.parts) > 1 else 0
    at_once = max(1, max_bytes // (8 * int(probe.heights[0]) * tallest + 64 * int(probe.counts[0]) + copied))
    most = 16 * ROUND if kept is not None else max(1, min(16 * ROUND, max_bytes // (16 * tallest**2)))
    columns, beyond, coded = int(probe.solid[0]), np.inf, 0
    entries, figures = np.zeros(0, np.int64), np.zeros((4, 0))
    workers = Workers(probe, gallery, crew)
    for tile in gallery.tiles(at_once):
        pairs = _bounds(workers, probe, gallery, tile, l1=l1)
        left, size, floors = (
            np.argsort(pairs.guess, kind="stable"),
            min(ROUND, most),
            pairs.floors.sum(axis=1) / columns,
        )
        while left.size:
            bar = np.partition(figures[2], k - 1)[k - 1] if entries.size >= k else np.inf
            out = floors[left] > bar
            beyond = min(beyond, floors[left[out]].min(initial=np.inf))
            left = left[~out]
            who, left, size = left[:size], left[size:], min(2 * size, most)
            grams = tile.grams(who) if kept is None else Grams(kept.flat, kept.places[tile.members][who])
            sums, done = _until(workers, probe, gallery, pairs, grams, who, bar=bar, l1=l1, tol=tol)
            coded += int(done.sum())
            inside = done == columns
            beyond = min(beyond, sums[1, ~inside].min(initial=np.inf))
            entries = np.append(entries, who[inside] + tile.members.start)
            figures = np.append(figures, sums[:, inside], axis=1)
    figures = figures.astype(np.float32)
    ranked = np.lexsort((entries, figures[0]))
    best, rest = ranked[:k], ranked[k:]
    beyond = min(beyond, float(figures[1, rest].min(initial=np.inf)))
    return Found(entries[best], figures[:, best], beyond, coded / (columns * len(gallery)))


def first(figures: tuple[np.ndarray, ...], k: int) -> Found:
    """The same from all figures (1, G) of one probe: distance, lower, upper, gap."""
    all_of = np.stack([figure[0] for figure in figures])
    ranked = np.argsort(all_of[0], kind="stable")
    beyond = float(all_of[1, ranked[k:]].min(initial=np.inf))
    return Found(ranked[:k], all_of[:, ranked[:k]], beyond, 1.0)


def _bounds(workers: Workers, probe: Positions, gallery: Positions, tile: Tile, *, l1: float) -> _Pairs:
    """What correlations alone say: a column's error is at least (l1 / c)^2, c its largest, and about 1 - c^2 + l1^2."""
    given = (
        product(probe.tile(0, 1).rows, tile.rows, threads=workers.count).reshape(-1),
        len(tile.rows),
        probe.table,
        probe.inverse,
        tile.table,
        tile.firsts,
        tile.counts,
        (tile.scales, probe.scales),
    )
    top = np.empty((len(tile.counts), int(probe.counts[0])), np.float32)
    own = np.cumsum([0, *tile.counts]), gallery.inverse[tile.blocks]
    workers.each(lambda space, start, stop: _search_kernel.largest(space, *given, *own, start, stop, top), len(top))
    doubt = max(16, 2 * certificate.rounding(probe.channels)) * EPS
    floors = np.where(top <= l1, 1, np.square(l1 / (top + doubt))) * (1 - doubt)
    guess = np.where(top <= l1, 1, 1 - np.square(top) + l1**2)
    floors[:, probe.inverse == 0] = guess[:, probe.inverse == 0] = 0
    order = np.argsort((floors - guess).mean(axis=0), kind="stable")
    return _Pairs(given, tile, floors, guess.mean(axis=1), order[probe.inverse[order] > 0])


def _until(
    workers: Workers,
    probe: Positions,
    gallery: Positions,
    pairs: _Pairs,
    grams: Grams,
    who: np.ndarray,
    *,
    bar: float,
    l1: float,
    tol: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Figures (4, G) of the entries ``who``, means over the columns, and how many columns were coded of each."""
    tile, columns = pairs.tile, len(pairs.order)
    sums, done = np.empty((5, who.size)), np.zeros(who.size, np.int64)
    units = certificate.rounding(probe.channels)
    arguments = *pairs.given, *grams, pairs.order, pairs.floors, bar * columns, l1, EPS, units, tol, who
    workers.each(lambda space, start, stop: _search_kernel.until(space, *arguments, start, stop, sums, done), who.size)
    for i in np.flatnonzero((done == columns) & ~(sums[4] <= tol)).tolist():
        pair = pooled.problem(probe, gallery, 0, tile.members.start + int(who[i]))
        sums[:4, i] = pooled.again(*pair, l1=l1, tol=tol, length=probe.channels)
    return np.concatenate([sums[:3] / columns, sums[3:4]]), done
