"""95 % intervals of verification figures, by bootstrap over the probes' identities (cf. Sec. 3.3).

A resampled identity brings all pairs of all its probes; the gallery stays as it is. Sorting the pairs anew for every
sample would be slow, so each identity's pairs are counted once up to each threshold of a grid, and a sample's curve
is (how often each identity is drawn) @ (these counts). The grid is made of distances of same pairs, where alone TPR
moves: all of them if there are at most `grid`, and then TPR at an FPR is exact in every sample; else every n-th, and
it is low by at most one cell, about 1 / grid. EER is taken on a straight line inside a cell, where the curve itself is
flat and then steps up: low by at most the resampled share of the cell's same pairs, which is much where these are few
(with some twenty, the upper end may lie below the figure itself), and nothing to speak of with a thousand.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation import intervals
from dsr_jax.evaluation.verification import FALSE_POSITIVE_RATES, Pairs, crossing, roc

_CHUNK = 1 << 20  # pairs counted at a time: a million take 30 MB


def bootstrap_intervals(
    pairs: Pairs,
    identities: ArrayLike,
    *,
    fprs: Sequence[float] = FALSE_POSITIVE_RATES,
    samples: int = 1000,
    seed: int = 0,
    grid: int = 2000,
) -> dict[str, intervals.Interval]:
    """Percentile intervals of the equal error rate and of TPR at each FPR.

    Args:
      pairs: the `Pairs`, of one trial or of several joined.
      identities: (P,) identity of each probe that `pairs` counts: the clusters.
      fprs: false-positive rates in (0, 1].
      samples: bootstrap samples.
      seed: seed of the resampling, as in `intervals.resample`.
      grid: thresholds at which the samples are looked at; the figures themselves are exact.

    Returns:
      An `Interval` in [0, 1] for each of "EER" and "TPR@<fpr>", as `Roc.figures`. The ends are NaN for a single
      identity, and where some sample has no same or no different pairs: too few people to say.

    Raises:
      ValueError: if there are no same pairs or no different pairs, an index of a probe is beyond `identities`, an
        FPR is not in (0, 1], or `samples` or `grid` < 1.

    References:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, Sec. 3.8.
    """
    figures = roc(pairs).figures(fprs)
    values = _resampled(pairs, identities, fprs=fprs, samples=samples, seed=seed, grid=grid)
    return {name: intervals.interval(figures[name], values[name]) for name in figures}


def _resampled(
    pairs: Pairs, identities: ArrayLike, *, fprs: Sequence[float], samples: int, seed: int, grid: int
) -> dict[str, NDArray[np.float64]]:
    """(samples,) values of each figure; NaN in a sample without same or without different pairs."""
    cluster, counts = _clusters(pairs, identities, samples=samples, seed=seed)
    thresholds = _grid(pairs.same, grid)
    true, false = (
        counts @ _accepted(distances, cluster[probe], counts.shape[1], thresholds)
        for distances, probe in ((pairs.same, pairs.same_probe), (pairs.different, pairs.different_probe))
    )
    drawn = (true[:, -1:] > 0) & (false[:, -1:] > 0)
    tpr, fpr = (np.divide(side, side[:, -1:], out=np.full_like(side, np.nan), where=drawn) for side in (true, false))
    values = {"EER": crossing(fpr, tpr)}
    for rate in fprs:
        last = np.count_nonzero(fpr <= rate, axis=1) - 1  # -1, the last of NaN, in a sample without pairs
        values[f"TPR@{rate:g}"] = np.take_along_axis(tpr, last[:, None], axis=1)[:, 0]
    return values


def _clusters(pairs: Pairs, identities: ArrayLike, *, samples: int, seed: int) -> intervals.Resampling:
    """The identities resampled, once it is sure that every pair has one."""
    ids = np.asarray(identities)
    beyond = max(int(np.max(pairs.same_probe)), int(np.max(pairs.different_probe)))
    if ids.ndim != 1 or len(ids) <= beyond:
        raise ValueError(f"identities has shape {ids.shape}; pairs needs one for each of {beyond + 1} probes or more.")
    return intervals.resample(ids, samples=samples, seed=seed)


def _grid(same: NDArray, cells: int) -> NDArray:
    """-inf and at most `cells` distances of same pairs, evenly spaced in TPR, the largest among them."""
    if cells < 1:
        raise ValueError(f"grid is {cells}; it must be at least 1 threshold.")
    ascending = np.sort(same)
    at = np.ceil(np.linspace(0, len(same), min(cells, len(same)) + 1)[1:]).astype(int) - 1
    return np.unique(np.append(ascending.dtype.type(-np.inf), ascending[at]))


def _accepted(distances: NDArray, cluster: NDArray, clusters: int, thresholds: NDArray) -> NDArray[np.float64]:
    """(clusters, T + 1) pairs of each cluster up to each threshold, and all of them in the last column."""
    cells = len(thresholds) + 1
    counts = np.zeros(clusters * cells, np.int64)
    for start in range(0, len(distances), _CHUNK):
        part = slice(start, start + _CHUNK)
        cell = cluster[part] * cells + np.searchsorted(thresholds, distances[part])
        counts += np.bincount(cell, minlength=len(counts))
    return counts.reshape(clusters, cells).cumsum(axis=1).astype(np.float64)
