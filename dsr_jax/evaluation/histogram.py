"""Histograms of the distances of pairs of one person and of two people, with common edges (Sec. 3.3)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsr_jax.evaluation.verification import Pairs


class Histogram(NamedTuple):
    """Counts of distances in bins.

    Attributes:
      edges: (B + 1,) edges of the bins.
      same: (B,) pairs of one person in each bin.
      different: (B,) pairs of two people in each bin.
    """

    edges: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]

    def densities(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both as densities, (B,) each: they integrate to 1, and to 0 where there is no finite distance."""
        widths = np.diff(self.edges)
        return self.same / (widths * max(1, int(self.same.sum()))), self.different / (
            widths * max(1, int(self.different.sum()))
        )


def histogram(pairs: Pairs, *, bins: int = 50) -> Histogram:
    """Counts same and different pairs in bins of equal width from the smallest to the largest finite distance.

    Args:
      pairs: the `Pairs`; those at an infinite distance are in no bin.
      bins: number of bins.

    Returns:
      The `Histogram`.

    Raises:
      ValueError: if `bins` < 1 or no distance is finite.

    Example:
      >>> from dsr_jax.evaluation import verification
      >>> found = histogram(verification.pairs([[0.0, 1.0, 0.9]], [1], [1, 2, 3]), bins=2)
      >>> found.edges.tolist(), found.same.tolist(), found.different.tolist()
      ([0.0, 0.5, 1.0], [1, 0], [0, 2])
    """
    finite = [side[np.isfinite(side)] for side in (pairs.same, pairs.different)]
    count = sum(side.size for side in finite)
    if bins < 1 or not count:
        raise ValueError(f"bins is {bins} and {count} distances of the pairs are finite; both must be at least 1.")
    low = min(float(side.min()) for side in finite if side.size)
    high = max(float(side.max()) for side in finite if side.size)
    edges = np.histogram_bin_edges(np.array([low, high], np.float64), bins=bins)
    same, different = (np.histogram(side.astype(np.float64), bins=edges)[0] for side in finite)
    return Histogram(edges, same, different)
