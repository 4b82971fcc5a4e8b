"""Reliability of probabilities: how often what is said to be 30 % likely is so, and the expected calibration error.

ECE = sum over bins of (n_b / n) |mean probability - share that is so|
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Reliability(NamedTuple):
    """The points of a reliability diagram: bins that hold something, from small probabilities to large ones."""

    probability: NDArray[np.float64]  # (B,) mean probability in the bin
    share: NDArray[np.float64]  # (B,) share of what is in the bin that is so
    number: NDArray[np.int64]  # (B,) how many are in the bin

    @property
    def expected_error(self) -> float:
        """The expected calibration error, in [0, 1]."""
        return float(np.sum(self.number * np.abs(self.probability - self.share)) / int(np.sum(self.number)))


def reliability(probability: ArrayLike, so: ArrayLike, *, bins: int = 10) -> Reliability:
    """Counts probabilities in bins of equal width; a probability on the border belongs to the upper bin.

    Args:
      probability: (n,) in [0, 1].
      so: (n,) booleans, whether it is so.
      bins: how many bins.

    Raises:
      ValueError: for shapes that do not fit, probabilities outside [0, 1] or NaN, and none at all.

    References:
        Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Example:
      >>> from dsr_jax.evaluation.reliability import reliability
      >>> found = reliability([0.05, 0.05, 0.9, 0.7], [False, True, True, True])
      >>> found.number.tolist(), round(found.expected_error, 3)
      ([2, 1, 1], 0.325)
    """
    values, right = np.asarray(probability, np.float64), np.asarray(so, bool)
    if values.ndim != 1 or values.shape != right.shape or not values.size:
        raise ValueError(f"probability and so must be (n,), n at least 1, got {values.shape} and {right.shape}")
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"probability must be in [0, 1], got {np.min(values):g} to {np.max(values):g}")
    if not (isinstance(bins, int | np.integer) and bins >= 1):
        raise ValueError(f"bins must be a whole number >= 1, got {bins!r}; 10 is usual")
    at = np.minimum((values * bins).astype(np.int64), bins - 1)
    count = np.bincount(at, minlength=bins)
    some = count > 0
    means, shares = (np.bincount(at, of, minlength=bins)[some] / count[some] for of in (values, right))
    return Reliability(means, shares, count[some])
