"""95 % intervals and paired tests by bootstrap over identities (Sec. 4.2 to 4.4: methods compared on the same draws).

Intervals resample identities with all their probes, not probes, because two probes of one person are not independent.
The resampling depends on the identities and the seed alone, so that two methods on the same probes are resampled
alike and their difference has an interval and a test of its own. (scipy's `bootstrap` resamples single values, not
identities.)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """A mean and its interval, in the unit of the values."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """The mean of a - b, its interval and the two-sided bootstrap p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float


class Resampling(NamedTuple):
    """Identities drawn with replacement."""

    cluster: NDArray[np.int64]  # (n,) number of each item's identity, 0 ... C - 1.
    # (samples, C) how often each identity is drawn; NaN for a single identity, which has no spread, so that whatever is
    # computed from it is NaN.
    counts: NDArray[np.float64]


def resample(identities: ArrayLike, *, samples: int, seed: int) -> Resampling:
    """Draws as many identities as there are, with replacement, `samples` times.

    Args:
      identities: (n,) identity of each item; all items of an identity come and go together.
      samples: bootstrap samples.
      seed: seed of the resampling; equal seeds and equally many identities are drawn alike.

    Returns:
      The `Resampling`: sums over the items of sample b are counts[b] @ (sums over each identity).

    Raises:
      ValueError: if `samples` < 1.

    Example:
      >>> resample([7, 7, 9], samples=2, seed=0).cluster.tolist()
      [0, 0, 1]
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1.")
    people, cluster = np.unique(np.asarray(identities), return_inverse=True)
    if len(people) == 1:
        return Resampling(cluster, np.full((samples, 1), np.nan))
    chances = np.full(len(people), 1.0 / len(people))
    counts = np.random.default_rng(seed).multinomial(len(people), chances, size=samples)
    return Resampling(cluster, counts.astype(np.float64))


def interval(value: float, resampled: ArrayLike) -> Interval:
    """The 95 % percentile interval of a figure from its resampled values, (samples,); one NaN makes both ends NaN.

    Example:
      >>> interval(2.0, [1.0, 2.0, 3.0])
      Interval(value=2.0, low=1.05, high=2.95)
    """
    low, high = np.quantile(np.asarray(resampled, np.float64), [(1.0 - 0.95) / 2.0, (1.0 + 0.95) / 2.0])
    return Interval(float(value), float(low), float(high))


def difference(value: float, resampled: ArrayLike) -> Difference:
    """The interval and the two-sided test of a difference a - b from its resampled values.

    With B samples and resampled differences d, the p-value is 2 min(#(d <= 0) + 1, #(d >= 0) + 1) / (B + 1), at most
    1; the smallest possible is 2 / (B + 1). One NaN among them makes both ends and the p-value NaN.

    Example:
      >>> difference(1.0, [1.0] * 999)
      Difference(value=1.0, low=1.0, high=1.0, p_value=0.002)
    """
    differences = np.asarray(resampled, np.float64)
    extreme = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = np.nan if np.isnan(differences).any() else min(1.0, 2.0 * (extreme + 1) / (len(differences) + 1))
    return Difference(*interval(value, differences), float(p_value))


def bootstrap_interval(
    values_per_probe: ArrayLike, identities: ArrayLike, *, samples: int = 1000, seed: int = 0
) -> Interval:
    """Percentile interval of the mean over probes, resampling identities with all their probes.

    Args:
      values_per_probe: (P,) values, for example `Scores.hits(1)` or `average_precision`, averaged over trials
        first where there are several; NaN (no right answer) is left out.
      identities: (P,) identity of each probe: the clusters.
      samples: bootstrap samples.
      seed: seed of the resampling; equal seeds and identities resample alike.

    Returns:
      The `Interval` in the unit of the values; its ends are NaN for a single identity, which has no spread.

    Raises:
      ValueError: if the shapes differ, no value is left or `samples` < 1.

    References:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, Sec. 3.8.

    Example:
      >>> bootstrap_interval([1.0, 1.0, 1.0], [7, 7, 9])
      Interval(value=1.0, low=1.0, high=1.0)
    """
    values, ids = _clustered(values_per_probe, identities, "values_per_probe")
    return interval(float(np.mean(values)), _resampled_means(values, ids, samples=samples, seed=seed))


def paired_difference(
    values_a: ArrayLike, values_b: ArrayLike, identities: ArrayLike, *, samples: int = 1000, seed: int = 0
) -> Difference:
    """Interval and test of the mean of a - b, two methods on the same probes and draws.

    The same resampling of identities as in `bootstrap_interval`, applied to the difference of each probe; the p-value
    is that of `difference`.

    Args:
      values_a: (P,) values of method a; NaN (no right answer, in either) is left out.
      values_b: (P,) values of method b on the same probes.
      identities: (P,) identity of each probe.
      samples: bootstrap samples; the smallest p-value is 2 / (samples + 1).
      seed: seed of the resampling.

    Returns:
      The `Difference`; its ends and p-value are NaN for a single identity.

    Example:
      >>> paired_difference([1.0, 1.0], [0.0, 0.0], [1, 2], samples=999)
      Difference(value=1.0, low=1.0, high=1.0, p_value=0.002)
    """
    a, b = np.asarray(values_a, np.float64), np.asarray(values_b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"values_a has shape {a.shape} and values_b {b.shape}; they must be the same probes.")
    values, ids = _clustered(a - b, identities, "values_a - values_b")
    return difference(float(np.mean(values)), _resampled_means(values, ids, samples=samples, seed=seed))


def _resampled_means(values: NDArray, identities: NDArray, *, samples: int, seed: int) -> NDArray[np.float64]:
    """(samples,) means over the items of resampled identities."""
    cluster, counts = resample(identities, samples=samples, seed=seed)
    sizes, sums = np.bincount(cluster), np.bincount(cluster, weights=values)
    return (counts @ sums) / (counts @ sizes)


def _clustered(values: ArrayLike, identities: ArrayLike, name: str) -> tuple[NDArray[np.float64], NDArray]:
    """Values and their identities, without NaN."""
    numbers, ids = np.asarray(values, np.float64), np.asarray(identities)
    if numbers.ndim != 1 or numbers.shape != ids.shape:
        raise ValueError(f"{name} has shape {numbers.shape} and identities {ids.shape}; both must be (P,).")
    present = ~np.isnan(numbers)
    if not present.any():
        raise ValueError(f"{name}: none of {len(numbers)} values is a number; no probe has a right answer.")
    return numbers[present], ids[present]
