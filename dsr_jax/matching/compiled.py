"""The compiled engine, matching on the CPU: products of positions by BLAS, everything else pair by pair in cache.

Only positions are multiplied, tile by tile (`tiles`). Windows are summed, columns coded and certified pair by pair by
threads (`_pair_kernel`), which leave a few sums per pair. So multi-scale matching costs little more than single-scale.
"""

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.cpu._product_kernel import product
from dsr_jax.matching import _pair_kernel, _window_kernel, bounds, search, tiles
from dsr_jax.matching._pair_kernel import Bar, Products, Sums, Work
from dsr_jax.matching._window_kernel import Grams, Space
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.positions import Positions, Tile
from dsr_jax.matching.tiles import Probes, Sizes
from dsr_jax.solvers import active_set, certificate
from dsr_jax.solvers._residual_kernel import LANES
from dsr_jax.solvers._system_kernel import Limits

ALL = Bar(np.inf, np.empty((0, 0), np.float32))  # every column is coded


class Engine(tiles.Engine[Space]):
    """The compiled engine for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      coder: "active_set".
      l1: weight of the L1 penalty.
      tol: pairs with a column whose gap is larger are coded once more in float64.
      max_bytes: memory ceiling, beside the maps and the result.
      threads: number of threads; default: the cores that this process may use.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """

    def __init__(
        self,
        probes: Entries,
        gallery: Entries,
        *,
        l1: float,
        tol: float,
        max_bytes: int,
        coder: str = "active_set",
        threads: int | None = None,
    ) -> None:
        """See the class."""
        self.max_bytes, sides = max_bytes, (probes.positions, gallery.positions)
        counts, atoms = (int(side.maps.counts.max()) for side in sides)
        places = min(atoms, active_set.PLACES)
        positions = max(int(side.heights.max()) for side in sides)
        super().__init__(
            probes,
            gallery,
            sizes=sizes(*sides, max_bytes=max_bytes, threads=threads or cores.count()),
            space=lambda: _window_kernel.space(positions, counts, atoms, places),
        )
        steps = 20 * 3 * (-(-atoms // LANES) * LANES) + 100
        self.limits = Limits(l1, tol, certificate.EPS, certificate.rounding(self.gallery.channels), steps)

    def dictionaries(self, entries: Tile) -> Grams:
        """The Gram matrices of their positions."""
        return entries.grams()

    def compare(self, probes: Probes, entries: Tile, dictionaries: Grams, products: Products) -> np.ndarray:
        """Distance, lower, upper, gap of the pairs: (4, n)."""
        return self.code(probes, entries, dictionaries, products).figures[:4]

    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe, and no more coded than that takes."""
        return search.nearest(bounds.parts(self), k, columns=int(self.probes.directed[0]))

    def code(self, probes: Probes, entries: Tile, grams: Grams, products: Products, bar: Bar = ALL) -> Sums:
        """Codes pairs: the `Sums`, with weighted means over the columns in place of the sums of error, lower and upper.

        Where float32 does not settle a pair that was not given up, its columns are coded again in float64.
        """
        pairs = products.pairs
        sums = Sums(np.empty((5, len(pairs))), np.zeros(len(pairs), np.int64))
        work = Work(products, grams, probes.maps, probes.columns, entries.maps, bar)

        def part(start: int, stop: int) -> None:
            with self.space() as space:
                _pair_kernel.code(space, work, self.limits, start, stop, sums)

        cores.each(part, len(pairs), threads=self.sizes.threads)
        numbers = pairs[:, 1] + probes.start
        counted = self.probes.directed[numbers]
        for i in np.flatnonzero((sums.coded == counted) & ~(sums.figures[4] <= self.limits.tol)).tolist():
            g, p = pairs[i].tolist()
            sums.figures[:4, i] = self._again(probes.start + p, entries.members.start + g)
        sums.figures[:3] /= self.probes.total[numbers]
        return sums

    def _again(self, p: int, g: int) -> tuple[float, float, float, float]:
        """The sums of one pair, its difficult columns coded in float64 with room for every atom."""
        gram, correlation, energy = problem(self.probes, self.gallery, p, g)
        l1, tol, length = self.limits.l1, self.limits.tol, self.probes.channels
        columns = active_set.errors(gram[None], correlation[None], energy, l1=l1, tol=tol, length=length)
        error, lower, upper, gap, _ = columns
        weights = self.probes.weights[self.probes.edges[p] : self.probes.edges[p + 1]]
        sums = [float((weights * each).sum()) for each in (error, lower, upper)]
        return sums[0], sums[1], sums[2], float(gap.max())


def sizes(probes: Positions, gallery: Positions, *, max_bytes: int, threads: int) -> Sizes:
    """How much is worked on at a time within ``max_bytes``.

    Raises:
      ValueError: if not even one pair on one thread fits.
    """
    positions = max(int(probes.heights.max()), int(gallery.heights.max()))
    columns, atoms = int(probes.maps.counts.max()), int(gallery.maps.counts.max())
    thread = 4 * (-(-atoms // LANES) * LANES) * (2 * positions + columns + atoms)
    return tiles.sizes(probes, gallery, max_bytes=max_bytes, threads=threads, thread=thread)


def problem(probes: Positions, gallery: Positions, p: int, g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram matrix (M, M), correlations (N, M) and energies (N,) of the blocks of one pair, float32."""
    image, entry = probes.tile(p, p + 1), gallery.tile(g, g + 1)
    one, atoms = Probes.of(probes, image), int(entry.maps.counts[0])
    inverse = one.columns.inverse
    products = Products(
        np.zeros((1, 2), np.int64),
        product(image.rows, entry.rows, threads=1).reshape(-1),
        np.zeros(1, np.int64),
        np.diff(entry.offsets),
    )
    work = Work(products, entry.grams(), one.maps, one.columns, entry.maps, ALL)
    gram, correlation = np.empty((atoms, atoms), np.float32), np.empty((inverse.size, atoms), np.float32)
    space = _window_kernel.space(max(len(image.rows), len(entry.rows)), inverse.size, atoms, 1)
    _pair_kernel.pair(space, work, gram, correlation)
    return gram, correlation, (inverse > 0).astype(np.float32)
