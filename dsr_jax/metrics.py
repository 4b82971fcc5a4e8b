"""Ranking figures from distances: CMC and mAP by the rules of the benchmarks (Sec. 4.1), with 95 % intervals.

For each probe the gallery is sorted by distance; `first_hit` is the place of the first right answer, rank-k (CMC) the
share of probes with first_hit < k, AP the mean over the right answers of the precision at their places, mAP its mean.
The rules are those of the Market-1501 evaluation as torchreid and fast-reid write it: gallery entries of the probe's
own identity *and* camera are removed, so are junk entries (identity -1); a probe with no right answer left is
counted and not averaged. Work goes row by row, so that memory grows with the gallery and not with probes x gallery.
Intervals resample identities, not probes, because two probes of one person are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.protocols import UNKNOWN, check_camera_rule, integers

RANKS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Scores:
    """What the ranking of each probe comes to.

    Attributes:
        first_hit: (P,) 0-based place of the first right answer; -1 for a probe without one.
        average_precision: (P,) in [0, 1]; NaN for a probe without a right answer.
    """

    first_hit: NDArray[np.int64]
    average_precision: NDArray[np.float64]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(P,) whether the probe has a right answer in the gallery."""
        return self.first_hit >= 0

    @property
    def probes(self) -> int:
        """Number of probes."""
        return len(self.first_hit)

    @property
    def without_answer(self) -> int:
        """Number of probes without a right answer, which no average includes."""
        return int(self.probes - np.count_nonzero(self.valid))

    def hits(self, k: int) -> NDArray[np.float64]:
        """(P,) 1.0 where a right answer is among the first k, else 0.0; NaN for a probe without one."""
        return np.where(self.valid, (self.first_hit < k).astype(np.float64), np.nan)

    def cmc(self, ks: Sequence[int] = RANKS) -> dict[int, float]:
        """Rank-k in per cent for each k, over the probes that have a right answer."""
        if min(ks) < 1:
            raise ValueError(f"ks is {tuple(ks)}; ranks count from 1.")
        first_hit = self.first_hit[self._some_valid()]
        return {int(k): 100.0 * float(np.mean(first_hit < k)) for k in ks}

    @property
    def mAP(self) -> float:
        """The mean average precision in per cent, over the probes that have a right answer."""
        return 100.0 * float(np.mean(self.average_precision[self._some_valid()]))

    def _some_valid(self) -> NDArray[np.bool_]:
        if not np.any(self.valid):
            raise ValueError(
                f"none of the {self.probes} probes has a right answer in the gallery; "
                "see protocols.check_identities for what they share."
            )
        return self.valid


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


def ranks(
    distances: ArrayLike,
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> Scores:
    """Ranks the gallery for each probe.

    With the right answers of a probe at 0-based places r_1 < ... < r_m:

        first_hit = r_1,   AP = 1/m sum_j j / (r_j + 1)

    Equal distances keep the order of the gallery (a stable sort, which is what fast-reid and torchreid mean; their
    sort leaves it open). The order must therefore not tell who is right: sort the gallery by label, not by probe.

    Args:
        distances: (P, G) distances, smaller is nearer; +inf is allowed and comes last.
        probe_identities: (P,) integers.
        gallery_identities: (G,) integers; -1 is junk and removed.
        probe_cameras: (P,) integers, -1 unknown; None where the gallery was already drawn by camera.
        gallery_cameras: (G,) integers, -1 unknown.
        camera_rule: "cross" removes gallery entries of the probe's identity and camera; "any" removes none.

    Returns:
        The `Scores` of the probes.

    Raises:
        ValueError: if the shapes disagree, a distance is NaN, only one side has cameras or the rule is unknown.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Example:
        >>> scores = ranks([[0.1, 0.2, 0.3], [0.5, 0.4, 0.9]], [1, 2], [1, 2, 1])
        >>> scores.first_hit.tolist(), scores.average_precision.round(3).tolist()
        ([0, 0], [0.833, 1.0])
    """
    check_camera_rule(camera_rule)
    rows = np.asarray(distances)
    probes = _vector(probe_identities, "probe_identities", rows, 0)
    gallery = _vector(gallery_identities, "gallery_identities", rows, 1)
    if (probe_cameras is None) != (gallery_cameras is None):
        raise ValueError("probe_cameras and gallery_cameras: give both or neither.")
    probe_cams = _cameras(probe_cameras, "probe_cameras", rows, 0, camera_rule)
    gallery_cams = _cameras(gallery_cameras, "gallery_cameras", rows, 1, camera_rule)
    first_hit = np.full(len(probes), -1, np.int64)
    precision = np.full(len(probes), np.nan)
    for i, row in enumerate(rows):
        if np.isnan(row).any():
            raise ValueError(f"distances: row {i} has NaN; every distance must be a number or +inf.")
        right = gallery == probes[i]
        same_camera = (gallery_cams == probe_cams[i]) & (gallery_cams != UNKNOWN)
        kept = (gallery != UNKNOWN) & ~(right & same_camera)
        places = np.flatnonzero(right[kept][np.argsort(row[kept], kind="stable")])
        if places.size:
            first_hit[i] = places[0]
            precision[i] = np.mean(np.arange(1, places.size + 1) / (places + 1))
    return Scores(first_hit, precision)


def cmc(
    distances: ArrayLike,
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
    ks: Sequence[int] = RANKS,
) -> dict[int, float]:
    """The cumulative match characteristic at `ks`, in per cent; other arguments and errors as `ranks`.

    Example:
        >>> cmc([[0.1, 0.2], [0.1, 0.2]], [1, 2], [1, 2], ks=(1, 2))
        {1: 50.0, 2: 100.0}
    """
    scores = ranks(
        distances, probe_identities, gallery_identities, probe_cameras, gallery_cameras, camera_rule=camera_rule
    )
    return scores.cmc(ks)


def mean_average_precision(
    distances: ArrayLike,
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> float:
    """The mean average precision in per cent; arguments and errors as `ranks`.

    Example:
        >>> mean_average_precision([[0.1, 0.2], [0.1, 0.2]], [1, 2], [1, 2])
        75.0
    """
    scores = ranks(
        distances, probe_identities, gallery_identities, probe_cameras, gallery_cameras, camera_rule=camera_rule
    )
    return scores.mAP


def regroup(groups: Sequence[tuple[ArrayLike, Scores]]) -> Scores:
    """Puts the scores of groups of probes (`protocols.trials` yields them by camera) back into the probes' order.

    Args:
        groups: (indices of the probes, their scores) for each group; the indices together are 0 ... P - 1.

    Returns:
        The `Scores` of all P probes.

    Raises:
        ValueError: if a probe is missing or occurs twice.

    Example:
        >>> one = Scores(np.array([4]), np.array([0.2]))
        >>> two = Scores(np.array([0]), np.array([1.0]))
        >>> regroup([([1], one), ([0], two)]).first_hit.tolist()
        [0, 4]
    """
    indices = np.concatenate([np.asarray(at, np.int64) for at, _ in groups])
    order = np.argsort(indices, kind="stable")
    if not np.array_equal(indices[order], np.arange(len(indices))):
        raise ValueError(f"groups: their indices must be each of 0 ... {len(indices) - 1} once.")
    first_hit = np.concatenate([scores.first_hit for _, scores in groups])
    precision = np.concatenate([scores.average_precision for _, scores in groups])
    return Scores(first_hit[order], precision[order])


def bootstrap_interval(
    values_per_probe: ArrayLike,
    identities: ArrayLike,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over probes, resampling identities with all their probes.

    Args:
        values_per_probe: (P,) values, for example `Scores.hits(1)` or `average_precision`, averaged over trials
            first where there are several; NaN (no right answer) is left out.
        identities: (P,) identity of each probe: the clusters.
        samples: bootstrap samples.
        level: coverage of the interval.
        seed: seed of the resampling; equal seeds and identities resample alike.

    Returns:
        The `Interval` in the unit of the values; its ends are NaN for a single identity, which has no spread.

    Raises:
        ValueError: if the shapes differ, no value is left, `samples` < 1 or `level` is not in (0, 1).

    References:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, Sec. 3.8.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0], [7, 7, 9])
        Interval(value=1.0, low=1.0, high=1.0)
    """
    values, ids = _clustered(values_per_probe, identities, "values_per_probe")
    means = _resampled_means(values, ids, samples=samples, level=level, seed=seed)
    return Interval(float(np.mean(values)), *_percentiles(means, level))


def paired_difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    identities: ArrayLike,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Interval and test of the mean of a - b, two methods on the same probes and draws.

    The same resampling of identities as in `bootstrap_interval`, applied to the difference of each probe. With B
    samples and resampled differences d, the p-value is 2 min(#(d <= 0) + 1, #(d >= 0) + 1) / (B + 1), at most 1.

    Args:
        values_a: (P,) values of method a; NaN (no right answer, in either) is left out.
        values_b: (P,) values of method b on the same probes.
        identities: (P,) identity of each probe.
        samples: bootstrap samples; the smallest p-value is 2 / (samples + 1).
        level: coverage of the interval.
        seed: seed of the resampling.

    Returns:
        The `Difference`; its ends and p-value are NaN for a single identity.

    Raises:
        ValueError: as `bootstrap_interval`.

    Example:
        >>> paired_difference([1.0, 1.0], [0.0, 0.0], [1, 2], samples=999)
        Difference(value=1.0, low=1.0, high=1.0, p_value=0.002)
    """
    a, b = np.asarray(values_a, np.float64), np.asarray(values_b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"values_a has shape {a.shape} and values_b {b.shape}; they must be the same probes.")
    values, ids = _clustered(a - b, identities, "values_a - values_b")
    means = _resampled_means(values, ids, samples=samples, level=level, seed=seed)
    extreme = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p_value = np.nan if np.isnan(means).any() else min(1.0, 2.0 * (extreme + 1) / (samples + 1))
    return Difference(float(np.mean(values)), *_percentiles(means, level), float(p_value))


def _resampled_means(
    values: NDArray, identities: NDArray, *, samples: int, level: float, seed: int
) -> NDArray[np.float64]:
    """(samples,) means under resampled identities: how often each is drawn is one multinomial count."""
    if samples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"samples is {samples} and level {level}; they must be >= 1 and within (0, 1).")
    _, cluster = np.unique(identities, return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    if len(sizes) == 1:
        return np.full(samples, np.nan)
    sums = np.bincount(cluster, weights=values)
    chances = np.full(len(sizes), 1.0 / len(sizes))
    counts = np.random.default_rng(seed).multinomial(len(sizes), chances, size=samples)
    return (counts @ sums) / (counts @ sizes)


def _percentiles(means: NDArray, level: float) -> tuple[float, float]:
    """Both ends of the central interval of that coverage."""
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _clustered(values: ArrayLike, identities: ArrayLike, name: str) -> tuple[NDArray[np.float64], NDArray]:
    """Values and their identities, without NaN."""
    numbers, ids = np.asarray(values, np.float64), np.asarray(identities)
    if numbers.ndim != 1 or numbers.shape != ids.shape:
        raise ValueError(f"{name} has shape {numbers.shape} and identities {ids.shape}; both must be (P,).")
    kept = ~np.isnan(numbers)
    if not kept.any():
        raise ValueError(f"{name}: none of {len(numbers)} values is a number; no probe has a right answer.")
    return numbers[kept], ids[kept]


def _vector(labels: ArrayLike, name: str, distances: NDArray, axis: int) -> NDArray[np.int64]:
    """Labels as an int64 vector along one axis of the (P, G) distances."""
    if distances.ndim != 2:
        raise ValueError(f"distances has shape {distances.shape}; it must be (probes, gallery).")
    vector = integers(labels, name)
    if vector.shape != (distances.shape[axis],):
        raise ValueError(
            f"{name} has shape {vector.shape}; distances {distances.shape} needs ({distances.shape[axis]},)."
        )
    return vector


def _cameras(
    cameras: ArrayLike | None, name: str, distances: NDArray, axis: int, camera_rule: str
) -> NDArray[np.int64]:
    """Cameras along one axis, all unknown where there are none or the rule ignores them."""
    if cameras is None or camera_rule == "any":
        return np.full(distances.shape[axis], UNKNOWN, np.int64)
    return _vector(cameras, name, distances, axis)
