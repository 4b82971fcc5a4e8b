"""Ranking figures from distances: CMC, mAP and mINP by the rules of the benchmarks (Sec. 4.1), and the effect of ties.

For each probe the gallery entries that `evaluation.candidates` leaves are sorted by distance; `first_hit` is the place
of the first right answer, rank-k (CMC) the share of probes with first_hit < k, AP the mean over the right answers of
the precision at their places, mAP its mean; INP measures how far down the last right answer is, mINP is its mean. A
probe without a right answer is counted and not averaged. Without ties AP and INP are those of fast-reid and torchreid
to the last bit (of their Python; their compiled code rounds to float32). With ties a figure depends on an arbitrary
order, and `Scores` says how far. (scikit-learn's average precision treats ties in another way than the benchmarks do.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation.candidates import Labels, candidates

__all__ = ["RANKS", "Scores", "cmc", "mean_average_precision", "ranks", "regroup", "remarks"]

RANKS = (1, 3, 5, 10, 20)

_FIELDS = np.dtype("i8, f8, f8, i8, i8, ?")  # of Scores, in their order


@dataclass(frozen=True)
class Scores:
    """Ranking figures of each probe.

    Attributes:
      first_hit: (P,) 0-based place of the first right answer; -1 for a probe without one.
      average_precision: (P,) in [0, 1]; NaN for a probe without a right answer.
      inverse_negative_penalty: (P,) in [0, 1]; NaN for a probe without a right answer.
      nearer: (P,) wrong entries strictly nearer than the nearest right answer; -1 for a probe without one.
      tied: (P,) wrong entries exactly as far as the nearest right answer; -1 for a probe without one. Over all
        orders of the ties, first_hit goes from nearer to nearer + tied.
      constant: (P,) whether the probe is equally far from all of its two or more entries.
    """

    first_hit: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    nearer: NDArray[np.int64]
    tied: NDArray[np.int64]
    constant: NDArray[np.bool_]

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

    @property
    def ties(self) -> int:
        """Number of probes whose first right answer is tied with a wrong entry."""
        return int(np.count_nonzero(self.tied > 0))

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

    @property
    def mINP(self) -> float:
        """The mean inverse negative penalty in per cent, over the probes that have a right answer."""
        return 100.0 * float(np.mean(self.inverse_negative_penalty[self._some_valid()]))

    def cmc_range(self, k: int = 1) -> tuple[float, float]:
        """The smallest and the largest rank-k in per cent over all orders of ties."""
        valid = self._some_valid()
        if k < 1:
            raise ValueError(f"k is {k}; ranks count from 1.")
        worst, best = self.nearer[valid] + self.tied[valid] < k, self.nearer[valid] < k
        return 100.0 * float(np.mean(worst)), 100.0 * float(np.mean(best))

    def _some_valid(self) -> NDArray[np.bool_]:
        if not np.any(self.valid):
            raise ValueError(
                f"none of the {self.probes} probes has a right answer in the gallery; "
                "see protocols.check_identities for what they share."
            )
        return self.valid


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

        first_hit = r_1,   AP = 1/m sum_j j / (r_j + 1),   INP = m / (r_m + 1)

    Equal distances keep the order of the gallery (a stable sort, which is what fast-reid and torchreid mean; their
    sort leaves it open). The order must therefore not depend on the right answers: sort the gallery by label, not by
    probe, and look at `Scores.ties` and `Scores.cmc_range`.

    Args:
      distances: (P, G) distances, smaller is nearer; +inf is allowed and comes last.
      probe_identities: (P,) integers; -1 is nobody and has no right answer.
      gallery_identities: (G,) integers; -1 is junk and removed.
      probe_cameras: (P,) integers, -1 unknown; None where the gallery was already drawn by camera.
      gallery_cameras: (G,) integers, -1 unknown.
      camera_rule: "cross" removes gallery entries of the probe's identity and camera; "any" removes none.

    Returns:
      The `Scores` of the probes.

    Raises:
      ValueError: if the shapes disagree, a distance is NaN or -inf, only one side has cameras or the rule is unknown.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015; for INP Ye et al., Deep Learning for
        Person Re-identification: A Survey and Outlook, TPAMI 2021, Sec. 4.1.

    Example:
      >>> scores = ranks([[0.1, 0.2, 0.3], [0.5, 0.4, 0.9]], [1, 2], [1, 2, 1])
      >>> scores.first_hit.tolist(), scores.average_precision.round(3).tolist()
      ([0, 0], [0.833, 1.0])
    """
    labels = Labels(probe_identities, gallery_identities, probe_cameras, gallery_cameras, camera_rule)
    left = candidates(distances, labels)
    table = np.array([_figures(row, right) for row, right in left], _FIELDS)
    return Scores(*(table[name].copy() for name in table.dtype.names or ()))


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
    return ranks(
        distances, probe_identities, gallery_identities, probe_cameras, gallery_cameras, camera_rule=camera_rule
    ).cmc(ks)


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
    return ranks(
        distances, probe_identities, gallery_identities, probe_cameras, gallery_cameras, camera_rule=camera_rule
    ).mAP


def regroup(groups: Sequence[tuple[ArrayLike, Scores]]) -> Scores:
    """Puts the scores of groups of probes (`protocols.trials` yields them by camera) back into the probes' order.

    Args:
      groups: (indices of the probes, their scores) for each group; the indices together are 0 ... P - 1, each once.

    Example:
      >>> near, far = ranks([[0.1, 0.2]], [1], [1, 2]), ranks([[0.1, 0.2]], [2], [1, 2])
      >>> regroup([([1], far), ([0], near)]).first_hit.tolist()
      [0, 1]
    """
    indices = np.concatenate([np.asarray(at, np.int64) for at, _ in groups])
    order = np.argsort(indices, kind="stable")
    if not np.array_equal(indices[order], np.arange(len(indices))):
        raise ValueError(f"groups: their indices must be each of 0 ... {len(indices) - 1} once.")
    names = [field.name for field in fields(Scores)]
    return Scores(**{name: np.concatenate([getattr(scores, name) for _, scores in groups])[order] for name in names})


def remarks(trials: Sequence[Scores], ks: Sequence[int] = RANKS) -> list[str]:
    """Sentences on what the averages do not show: no right answer, ties, constant distances; often none.

    A probe is counted where it holds in any trial. The range of a rank over all orders of ties is given where it is
    wider than 0.05 (mean over trials).

    Example:
      >>> remarks([ranks([[0.5, 0.5], [0.1, 0.2]], [2, 3], [1, 2])])
      ['1 of 2 probes have no right answer in the gallery and are in no average',
       '1 of 2 probes have ties at their first right answer: rank-1 is between 0.0 and 100.0 whatever their order',
       '1 of 2 probes are equally far from everybody']
    """
    unanswered = np.any([~scores.valid for scores in trials], axis=0)
    tied = np.any([scores.tied > 0 for scores in trials], axis=0)
    constant = np.any([scores.constant for scores in trials], axis=0)
    findings = [(unanswered, "have no right answer in the gallery and are in no average")]
    if tied.any():
        findings.append((tied, f"have ties at their first right answer: {_open(trials, ks)}"))
    findings.append((constant, "are equally far from everybody"))
    return [f"{which.sum():,} of {len(which):,} probes {what}" for which, what in findings if which.any()]


def _open(trials: Sequence[Scores], ks: Sequence[int]) -> str:
    """The range of each rank over all orders of ties, as text."""
    ranges = {k: np.mean([scores.cmc_range(k) for scores in trials if scores.valid.any()], axis=0) for k in ks}
    wide = {k: (worst, best) for k, (worst, best) in ranges.items() if best - worst > 0.05}
    spans = [f"rank-{k} is between {worst:.1f} and {best:.1f}" for k, (worst, best) in wide.items()]
    names = ", ".join(str(k) for k in ks)
    return f"{', '.join(spans)} whatever their order" if spans else f"rank-{names} do not depend on their order"


def _figures(row: NDArray, right: NDArray[np.bool_]) -> tuple[int, float, float, int, int, bool]:
    """The fields of `Scores` for one probe."""
    constant = row.size > 1 and bool((row == row[0]).all())
    if not right.any():
        return -1, np.nan, np.nan, -1, -1, constant
    order = np.argsort(row, kind="stable")
    ranked = right[order]
    places = np.flatnonzero(ranked)
    # Summed with the zeros in between, as fast-reid and torchreid do: another order of summing moves the last bit.
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1) * ranked
    nearest, wrong = row[order[places[0]]], row[~right]
    nearer, tied = int((wrong < nearest).sum()), int((wrong == nearest).sum())
    average, penalty = float(precision.sum() / len(places)), len(places) / int(places[-1] + 1)
    return int(places[0]), average, penalty, nearer, tied, constant
