"""Smallest distances of probes to the entries of other people: what decides how often a gallery finds a stranger.

In open-set identification a probe of somebody who is not in the gallery is wrongly found where the smallest of its
distances is at or below a threshold. Of a probe whose person *is* in the gallery the other entries are such a gallery.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

POINTS = 20_000  # most that are kept of the curve


class Smallest(NamedTuple):
    """Smallest distances over galleries of strangers."""

    entries: int  # how many strangers each is compared with
    curve: NDArray[np.float64]  # (2, n): distances, ascending, and the share of probes with the smallest up to each


def smallest(distances: NDArray, probes: NDArray, *, entries: int | None = None) -> Smallest:
    """The distribution of each probe's smallest distance to so many strangers.

    Of m strangers, the k-th smallest distance (k from 0) is the smallest of n that are drawn without replacement with
    the probability C(m - 1 - k, n - 1) / C(m, n).

    Args:
      distances: (D,) of pairs of two people.
      probes: (D,) which probe each is of.
      entries: n, at most the fewest strangers of a probe; default: just that.

    Raises:
      ValueError: for another n.

    Example:
      >>> found = smallest(np.array([0.3, 0.2, 0.6, 0.5]), np.array([0, 0, 1, 1]))
      >>> found.curve.tolist(), smallest(np.array([0.3, 0.2]), np.array([0, 0]), entries=1).curve.tolist()
      ([[0.2, 0.5], [0.5, 1.0]], [[0.2, 0.3], [0.5, 1.0]])
    """
    order = np.lexsort((distances, probes))
    values, (_, starts, counts) = distances[order], np.unique(probes[order], return_index=True, return_counts=True)
    fewest = int(np.min(counts))
    chosen = fewest if entries is None else entries
    if not (isinstance(chosen, int | np.integer) and 1 <= chosen <= fewest):
        raise ValueError(f"entries must be 1 to {fewest}, the fewest other entries of a probe, got {entries!r}")
    parts, weights = [], []
    for count in np.unique(counts).tolist():
        shares = _shares(count, int(chosen))
        at = starts[counts == count][:, None] + np.arange(len(shares))
        parts.append(values[at].ravel())
        weights.append(np.tile(shares, len(at)))
    return Smallest(int(chosen), _curve(np.concatenate(parts), np.concatenate(weights) / len(counts)))


def check(name: str, curve: NDArray[np.float64]) -> None:
    """Raises ValueError, naming it, for what is no `Smallest.curve`."""
    if not curve.size or not np.isfinite(curve).all():
        raise ValueError(f"{name} must be finite numbers, got {curve.size} of which some are not")
    distances, shares = curve
    if np.any(np.diff(distances) < 0) or np.any(np.diff(shares) < 0) or shares[0] <= 0 or shares[-1] > 1 + 1e-6:
        raise ValueError(f"{name} must be ascending distances with shares of probes that do not fall")


def _shares(count: int, chosen: int) -> NDArray[np.float64]:
    """How often each of ``count`` sorted distances is the smallest of ``chosen`` drawn ones."""
    shares = np.ones(count - chosen + 1)
    for k in range(count - chosen):
        shares[k + 1] = shares[k] * (count - chosen - k) / (count - 1 - k)
    return shares * (chosen / count)


def _curve(values: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, kind="stable")
    distances, shares = values[order].astype(np.float64), np.cumsum(weights[order])
    last = np.append(np.flatnonzero(np.diff(distances)), len(distances) - 1)  # of equal ones
    if len(last) > POINTS:  # fewer points give smaller thresholds, never larger ones
        at = np.searchsorted(shares[last], np.linspace(0, 1, POINTS), side="right") - 1
        last = last[np.unique(np.clip(at, 0, None))]
    return np.stack([distances[last], shares[last]])
