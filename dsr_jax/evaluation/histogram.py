"""Histograms of the distances of pairs of one person and of two people, with common edges (Sec. 3.3)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsr_jax.evaluation.verification import Pairs


class Histogram(NamedTuple):
    """Counts of distances in bins."""

    edges: NDArray[np.float64]  # (B + 1,) edges of the bins
    same: NDArray[np.int64]  # (B,) pairs of one person in each bin
    different: NDArray[np.int64]  # (B,) pairs of two people in each bin


def histogram(pairs: Pairs, *, bins: int = 50) -> Histogram:
    """Counts same and different pairs in bins of equal width from the smallest to the largest finite distance.

    Raises:
      ValueError: if `bins` < 1 or no distance is finite.

    Example:
      >>> from dsr_jax.evaluation import candidates, verification
      >>> pairs = verification.pairs([[0.0, 1.0, 0.9]], candidates.Labels([1], [1, 2, 3]))
      >>> found = histogram(pairs, bins=2)
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
