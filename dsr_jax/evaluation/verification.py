"""Verification: one person or two, decided by a threshold on the distance (cf. Sec. 3.3).

Every probe is paired with every gallery entry that `candidates` leaves; a pair is accepted where its distance is at
most the threshold. With the distances of the S pairs of one person and of the D pairs of two people,

    TPR(t) = #(same <= t) / S,    FPR(t) = #(different <= t) / D,    EER = FPR(t) where FPR(t) = 1 - TPR(t).

fast-reid pairs alike and has a figure of the same name, TPR@FPR, which is another: it takes the *different* pairs for
the positive class, so that its FPR is the share of same pairs refused, and it takes the point nearest to the given rate
from either side. It is `roc` of the pairs with roles exchanged and signs turned. (scikit-learn's `roc_curve` needs all
pairs in one array with labels, several times the memory.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation.candidates import Labels, candidates

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)


class Pairs(NamedTuple):
    """All pairs of a probe and a gallery entry."""

    same: NDArray  # (S,) distances of the pairs of one person
    different: NDArray  # (D,) distances of the pairs of two people
    same_probe: NDArray[np.int32]  # (S,) index of the probe of each
    different_probe: NDArray[np.int32]  # (D,) index of the probe of each


@dataclass(frozen=True)
class Roc:
    """The receiver operating characteristic: its points, from accepting no pair to accepting all."""

    threshold: NDArray  # (T,) ascending: -inf, then every distance that occurs
    false_positive_rate: NDArray[np.float64]  # (T,) FPR in [0, 1] where distances <= threshold are accepted, ascending
    true_positive_rate: NDArray[np.float64]  # (T,) TPR in [0, 1], ascending
    same: int  # number of pairs of one person
    different: int  # number of pairs of two people; an FPR below 1 / different is not resolved and acts as 0

    def threshold_at(self, fpr: float) -> float:
        """The largest distance up to which at most `fpr` of the different pairs are accepted; -inf if none."""
        return float(self.threshold[self._last(fpr)])

    def true_positive_rate_at(self, fpr: float) -> float:
        """The largest TPR of a threshold with an FPR of at most `fpr`; nothing is interpolated."""
        return float(self.true_positive_rate[self._last(fpr)])

    def figures(self, fprs: Sequence[float] = FALSE_POSITIVE_RATES) -> dict[str, float]:
        """The figures by name, in [0, 1]: "EER", and "TPR@<fpr>" for each false-positive rate."""
        return {"EER": self.equal_error_rate} | {f"TPR@{fpr:g}": self.true_positive_rate_at(fpr) for fpr in fprs}

    @property
    def equal_error_rate(self) -> float:
        """FPR where it equals 1 - TPR, on the straight line between the two points on either side."""
        return float(crossing(self.false_positive_rate[None], self.true_positive_rate[None])[0])

    @property
    def equal_error_threshold(self) -> float:
        """The threshold of the point where FPR and 1 - TPR differ least; of two such points the smaller."""
        return float(self.threshold[np.argmin(np.abs(self.false_positive_rate + self.true_positive_rate - 1.0))])

    def thinned(self, points: int = 300) -> "Roc":
        """Some of the points, to be drawn: evenly spaced in log FPR and in TPR, both ends and the crossing kept.

        Half of the points by FPR and half by TPR, at most points + 5 in all. The equal error rate stays, and at other
        FPRs the TPR is at most this one's.
        """
        if points < 2:
            raise ValueError(f"points is {points}; it must be at least 2.")
        fpr, tpr = self.false_positive_rate, self.true_positive_rate
        above = int(np.argmax(fpr + tpr >= 1.0))
        rates = np.append(0.0, np.geomspace(1.0 / self.different, 1.0, points // 2))
        by_fpr = np.searchsorted(fpr, rates, side="right") - 1
        by_tpr = np.searchsorted(tpr, np.linspace(0.0, 1.0, points - points // 2), side="right") - 1
        at = np.unique(np.concatenate([by_fpr, by_tpr, np.array([0, above - 1, above, len(fpr) - 1])]))
        return Roc(self.threshold[at], fpr[at], tpr[at], self.same, self.different)

    def _last(self, fpr: float) -> int:
        """The last point with an FPR of at most `fpr`."""
        if not 0.0 < fpr <= 1.0:
            raise ValueError(f"fpr is {fpr}; a false-positive rate must be in (0, 1], for example 0.01.")
        return int(np.searchsorted(self.false_positive_rate, fpr, side="right")) - 1


def pairs(distances: ArrayLike, labels: Labels) -> Pairs:
    """Pairs every probe with every gallery entry that the camera rule leaves it.

    Arguments and errors are those of `candidates.candidates`; the dtype of the distances stays. A probe without its
    person in the gallery has different pairs only.

    Example:
      >>> found = pairs([[0.1, 0.2, 0.3]], Labels([1], [1, 1, 2], [0], [0, 1, 0]))
      >>> found.same.tolist(), found.different.tolist()
      ([0.2], [0.3])
    """
    split = [(row[right], row[~right]) for row, right in candidates(distances, labels)]
    numbers = np.arange(len(split), dtype=np.int32)
    same, different = ([np.zeros(0, np.asarray(distances).dtype), *(side[at] for side in split)] for at in (0, 1))
    probes = [np.repeat(numbers, [len(row) for row in side[1:]]) for side in (same, different)]
    return Pairs(np.concatenate(same), np.concatenate(different), *probes)


def concatenate(groups: Sequence[tuple[ArrayLike, Pairs]]) -> Pairs:
    """Joins the pairs of groups of probes and of trials: (indices of the probes among all probes, their pairs) of each.

    Example:
      >>> one = pairs([[0.1, 0.2]], Labels([7], [7, 8]))
      >>> concatenate([([4], one), ([2], one)]).same_probe.tolist()
      [4, 2]
    """
    if not groups:
        raise ValueError("groups is empty; give the pairs of at least one group of probes.")
    numbered = [(np.asarray(at, np.int32), found) for at, found in groups]
    return Pairs(
        np.concatenate([found.same for _, found in numbered]),
        np.concatenate([found.different for _, found in numbered]),
        np.concatenate([at[found.same_probe] for at, found in numbered]),
        np.concatenate([at[found.different_probe] for at, found in numbered]),
    )


def roc(pairs: Pairs) -> Roc:
    """TPR and FPR at every threshold that makes a difference, 20 bytes per distinct float32 distance.

    Raises:
      ValueError: if there are no pairs of one person, or none of two people.

    References:
        Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006.

    Example:
      >>> curve = roc(pairs([[0.1, 0.2], [0.3, 0.4]], Labels([1, 2], [1, 2])))
      >>> curve.true_positive_rate_at(0.01), curve.equal_error_rate, curve.threshold_at(0.5)
      (0.5, 0.5, 0.2)
    """
    _check_both(pairs)
    points = np.unique(np.concatenate([pairs.same, pairs.different]))
    points = points if np.issubdtype(points.dtype, np.floating) else points.astype(np.float64)
    accepted = [np.searchsorted(np.sort(side), points, side="right") for side in (pairs.same, pairs.different)]
    true, false = (np.append(0.0, count / count[-1]) for count in accepted)
    threshold = np.append(points.dtype.type(-np.inf), points)
    return Roc(threshold, false, true, len(pairs.same), len(pairs.different))


def crossing(false_positive_rate: NDArray, true_positive_rate: NDArray) -> NDArray[np.float64]:
    """The equal error rates (n,) of curves: FPR where FPR = 1 - TPR, on straight lines between points (n, T).

    Example:
      >>> crossing(np.array([[0.0, 0.2, 1.0]]), np.array([[0.0, 0.8, 1.0]])).round(6).tolist()
      [0.2]
    """
    excess = false_positive_rate + true_positive_rate - 1.0
    above = np.argmax(excess >= 0.0, axis=-1)[:, None]
    low, high = (np.take_along_axis(excess, at, axis=-1) for at in (above - 1, above))
    start, end = (np.take_along_axis(false_positive_rate, at, axis=-1) for at in (above - 1, above))
    return (start + (end - start) * low / (low - high))[:, 0]


def _check_both(pairs: Pairs) -> None:
    """Raises ValueError unless there are pairs of one person and pairs of two people."""
    if not len(pairs.same):
        raise ValueError(
            f"pairs: none of {len(pairs.different)} is of one person; the probes' people are not in the gallery, or "
            "only under the probes' own cameras: see protocols.check_identities."
        )
    if not len(pairs.different):
        raise ValueError(f"pairs: none of {len(pairs.same)} is of two people; the gallery needs a second identity.")
