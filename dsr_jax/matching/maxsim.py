"""MaxSim on a CPU: the largest cosine of every probe block to any gallery block, from the same products of positions.

    distance = 1 - weighted mean over the probe's blocks x_n of max_j cos(x_n, y_j)

Nothing is coded, so there is nothing to certify but rounding: the interval is the distance widened by that, the gap 0.
Blocks without a direction take no part on either side; to an entry that has no other, every cosine is 0.
"""

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.matching import _maxsim_kernel, search, tiles
from dsr_jax.matching._maxsim_kernel import Atoms, Space
from dsr_jax.matching._pair_kernel import Products
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.positions import Positions, Tile
from dsr_jax.matching.tiles import Probes, Sizes
from dsr_jax.solvers import maxsim

COMFORT = 1 << 22  # bytes of a tile's correlations: what is left of them in a core's cache is read again at once


class Engine(tiles.Engine[Space]):
    """The engine of MaxSim for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      coder: "maxsim".
      l1: of no effect, like ``tol``: nothing is coded.
      tol: see ``l1``.
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
        coder: str = "maxsim",
        threads: int | None = None,
    ) -> None:
        """See the class."""
        sides = probes.positions, gallery.positions
        lengths = _lengths(*sides)
        super().__init__(
            probes,
            gallery,
            sizes=sizes(*sides, max_bytes=max_bytes, threads=threads or cores.count()),
            space=lambda: Space(*(np.zeros(n, np.float32) for n in lengths)),
        )

    def dictionaries(self, entries: Tile) -> Atoms:
        """Their blocks as places."""
        sizes, scales = np.diff(entries.offsets).tolist(), entries.maps.scales.size
        firsts = np.cumsum([0, *(scales * _maxsim_kernel.padded(size) for size in sizes)])
        atoms = Atoms(np.zeros(firsts[-1], np.float32), firsts, entries.offsets)
        _maxsim_kernel.place(entries.maps, atoms, self.gallery.inverse[entries.blocks])
        return atoms

    def compare(self, probes: Probes, entries: Tile, dictionaries: Atoms, products: Products) -> np.ndarray:
        """Distance, lower, upper, gap of the pairs: (4, n)."""
        sums = np.empty(len(products.pairs))

        def part(start: int, stop: int) -> None:
            with self.space() as space:
                _maxsim_kernel.sums(
                    space, products, probes.maps, probes.columns, entries.maps, dictionaries, start, stop, sums
                )

        cores.each(part, len(sums), threads=self.sizes.threads)
        total = self.probes.total[products.pairs[:, 1] + probes.start]
        return maxsim.widened(1 - sums / total, length=self.probes.channels)

    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe: the first of all distances."""
        return search.first(self.distances()[:, 0], k)


def sizes(probes: Positions, gallery: Positions, *, max_bytes: int, threads: int) -> Sizes:
    """How much is worked on at a time within ``max_bytes``.

    Raises:
      ValueError: if not even one pair on one thread fits.
    """
    thread = 4 * sum(_lengths(probes, gallery))
    return tiles.sizes(probes, gallery, max_bytes=max_bytes, threads=threads, thread=thread, comfort=COMFORT)


def _lengths(probes: Positions, gallery: Positions) -> tuple[int, ...]:
    """Lengths of the parts of a thread's working memory."""
    rows, places = int(probes.heights.max()), int(gallery.heights.max())
    return _maxsim_kernel.lengths(rows, places, gallery.maps.scales.size, int(probes.maps.counts.max()))
