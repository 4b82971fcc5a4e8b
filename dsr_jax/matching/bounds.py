"""Parts of a gallery as the compiled engine searches it: correlations bound distances, column by column.

An entry is given up in the midst of its columns, as soon as what was coded and the bounds of the others exceed the bar.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.matching import _pair_kernel
from dsr_jax.matching._pair_kernel import Bar, Columns, Products, Work
from dsr_jax.matching._window_kernel import Grams
from dsr_jax.matching.positions import Tile
from dsr_jax.matching.search import ROUND, Coded, Part
from dsr_jax.solvers import certificate

if TYPE_CHECKING:
    from dsr_jax.matching import compiled


class Bounds(NamedTuple):
    """What correlations alone say of the probe and the entries of a tile.

    Attributes:
      floors: (E, N) certified lower bounds of the columns' squared errors, times the columns' weights.
      guess: (E,) of the distance.
      order: the columns with a direction, those first whose coding should raise the bound most.
    """

    floors: np.ndarray
    guess: np.ndarray
    order: np.ndarray


def parts(engine: "compiled.Engine") -> Iterator[Part]:
    """The engine's gallery for its only probe; Gram matrices are kept for the next search where they fit."""
    probe, gallery, max_bytes = engine.probes, engine.gallery, engine.max_bytes
    tallest, columns, total = int(gallery.heights.max()), int(probe.directed[0]), float(probe.total[0])
    cached = gallery.grams if 4 * int(np.sum(gallery.heights**2)) <= max_bytes // 2 else None
    copied = 4 * gallery.channels * tallest if len(gallery.rows.parts) > 1 else 0
    at_once = max(1, max_bytes // (8 * int(probe.heights[0]) * tallest + 64 * int(probe.maps.counts[0]) + copied))
    most = 16 * ROUND if cached is not None else max(1, min(16 * ROUND, max_bytes // (16 * tallest**2)))
    for tile in gallery.tiles(at_once):
        products = engine.products(probe.tile(0, 1), tile)
        bounds = _bounds(engine, tile, products)

        def code(
            chosen: np.ndarray, bar: float, tile: Tile = tile, products: Products = products, bounds: Bounds = bounds
        ) -> Coded:
            grams = tile.grams(chosen) if cached is None else Grams(cached.flat, cached.places[tile.members])
            sums = _coded(engine, tile, grams, products, chosen, bounds, bar)
            return Coded(sums.figures[:4], sums.coded == columns, int(sums.coded.sum()))

        members = np.arange(tile.members.start, tile.members.stop)
        yield Part(members, bounds.floors.sum(axis=1) / total, bounds.guess, code, most)


def _bounds(engine: "compiled.Engine", tile: Tile, products: Products) -> Bounds:
    """What correlations alone say: a column's error is at least (l1 / c)^2, c its largest, and about 1 - c^2 + l1^2."""
    probe, gallery, l1 = engine.probes, engine.gallery, engine.limits.l1
    top = np.empty((len(tile.maps.counts), int(probe.maps.counts[0])), np.float32)
    nothing = np.zeros(0, np.int64)
    columns = Columns(probe.inverse, probe.weights, nothing, nothing, nothing)
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
    weights = probe.weights.astype(floors.dtype)  # 0 without a direction
    if probe.given is not None:
        floors *= 1 - 4 * certificate.EPS  # of their rounding
    floors, guess = floors * weights, guess * weights
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
    height = bar * float(engine.probes.total[0])
    return engine.code(engine.every._replace(columns=columns), tile, grams, some, Bar(height, bounds.floors))
