"""Search by the compiled engine: the nearest entries of a probe, each certified, and no more coded than that takes.

One product gives the correlations of all positions of the gallery. They alone bound every distance from below, and
guess it closely enough to look at the likely entries first. These are coded; the k-th smallest upper bound so far is
the bar, and every other entry is coded column by column only until its lower bound exceeds it. What is left out is
proven to be farther than the k-th: the answer is that of coding everything.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.matching import _pair_kernel
from dsr_jax.matching._pair_kernel import Bar, Columns, Products, Work
from dsr_jax.matching._window_kernel import Grams
from dsr_jax.matching.positions import Tile
from dsr_jax.solvers import certificate

if TYPE_CHECKING:
    from dsr_jax.matching import compiled

ROUND = 64  # entries coded before the bar is looked at again, at first; doubled every round, to this many times 16


class Nearest(NamedTuple):
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


class Bounds(NamedTuple):
    """What correlations alone say of the probe and the entries of a tile.

    Attributes:
      floors: (E, N) certified lower bounds of the columns' squared errors.
      guess: (E,) of the distance.
      order: the columns with a direction, those first whose coding should raise the bound most.
    """

    floors: np.ndarray
    guess: np.ndarray
    order: np.ndarray


def nearest(engine: "compiled.Engine", k: int) -> Nearest:
    """The k nearest entries of the engine's only probe.

    Args:
      engine: of one probe; Gram matrices are kept for the next search where they fit into its ``max_bytes``.
      k: how many, at most as many as there are.

    Returns:
      The `Nearest`. Equal distances are in the order of the entries.
    """
    probe, gallery, max_bytes = engine.probes, engine.gallery, engine.max_bytes
    tallest, columns = int(gallery.heights.max()), int(probe.directed[0])
    cached = gallery.grams if 4 * int(np.sum(gallery.heights**2)) <= max_bytes // 2 else None
    copied = 4 * gallery.channels * tallest if len(gallery.rows.parts) > 1 else 0
    at_once = max(1, max_bytes // (8 * int(probe.heights[0]) * tallest + 64 * int(probe.maps.counts[0]) + copied))
    most = 16 * ROUND if cached is not None else max(1, min(16 * ROUND, max_bytes // (16 * tallest**2)))
    beyond, coded = np.inf, 0
    entries, figures = np.zeros(0, np.int64), np.zeros((4, 0))
    for tile in gallery.tiles(at_once):
        products = engine.products(probe.tile(0, 1), tile)
        bounds = _bounds(engine, tile, products)
        floors = bounds.floors.sum(axis=1) / columns
        left, size = np.argsort(bounds.guess, kind="stable"), min(ROUND, most)
        while left.size:
            bar = np.partition(figures[2], k - 1)[k - 1] if entries.size >= k else np.inf
            out = floors[left] > bar
            beyond = min(beyond, np.min(floors[left[out]], initial=np.inf))
            left = left[~out]
            chosen, left, size = left[:size], left[size:], min(2 * size, most)
            grams = tile.grams(chosen) if cached is None else Grams(cached.flat, cached.places[tile.members])
            sums = _coded(engine, tile, grams, products, chosen, bounds, bar)
            coded += int(sums.coded.sum())
            inside = sums.coded == columns
            beyond = min(beyond, sums.figures[1, ~inside].min(initial=np.inf))
            entries = np.append(entries, chosen[inside] + tile.members.start)
            figures = np.append(figures, sums.figures[:4, inside], axis=1)
    ranked = of_figures(figures.astype(np.float32), k, entries)
    return ranked._replace(beyond=min(beyond, ranked.beyond), coded=coded / (columns * len(gallery)))


def of_figures(figures: np.ndarray, k: int, entries: np.ndarray | None = None) -> Nearest:
    """The nearest by (4, n) distance, lower, upper and gap, of the named entries or of all; every column was coded."""
    numbers = np.arange(figures.shape[1]) if entries is None else entries
    order = np.lexsort((numbers, figures[0]))
    best, rest = order[:k], order[k:]
    return Nearest(numbers[best], figures[:, best], float(figures[1, rest].min(initial=np.inf)), 1.0)


def _bounds(engine: "compiled.Engine", tile: Tile, products: Products) -> Bounds:
    """What correlations alone say: a column's error is at least (l1 / c)^2, c its largest, and about 1 - c^2 + l1^2."""
    probe, gallery, l1 = engine.probes, engine.gallery, engine.limits.l1
    top = np.empty((len(tile.maps.counts), int(probe.maps.counts[0])), np.float32)
    nothing = np.zeros(0, np.int64)
    columns = Columns(probe.inverse, nothing, nothing, nothing)
    no_grams = Grams(np.empty(0, np.float32), nothing)
    work = Work(products, no_grams, probe.maps, columns, tile.maps, Bar(np.inf, np.empty((0, 0), np.float32)))
    firsts, inverse = np.cumsum([0, *tile.maps.counts]), gallery.inverse[tile.blocks]

    def part(start: int, stop: int) -> None:
        with engine.space() as space:
            _pair_kernel.largest(space, work, firsts, inverse, start, stop, top)

    cores.each(part, len(top), threads=engine.sizes.threads)
    doubt = max(16 * certificate.EPS, certificate.slack(probe.channels) / 2)
    floors = np.where(top <= l1, 1, np.square(l1 / (top + doubt))) * (1 - doubt)
    guess = np.where(top <= l1, 1, 1 - np.square(top) + l1**2)
    floors[:, probe.inverse == 0] = guess[:, probe.inverse == 0] = 0
    order = np.argsort((floors - guess).mean(axis=0), kind="stable")
    return Bounds(floors, guess.mean(axis=1), order[probe.inverse[order] > 0])


def _coded(
    engine: "compiled.Engine",
    tile: Tile,
    grams: Grams,
    products: Products,
    chosen: np.ndarray,
    bounds: Bounds,
    bar: float,
) -> _pair_kernel.Sums:
    """Codes the chosen entries of a tile, each until it is proven to be farther than the bar."""
    columns = engine.every.columns._replace(order=bounds.order, firsts=np.array([0, bounds.order.size]))
    pairs = np.stack([chosen, np.zeros_like(chosen)], axis=1)
    some = Products(pairs, products.flat, products.places[chosen], products.strides)
    height = bar * bounds.order.size
    return engine.code(engine.every._replace(columns=columns), tile, grams, some, Bar(height, bounds.floors))
