"""Re-association of lost tracks: which new track of a tracker continues which lost one, and what of that is certain.

    found = tracks.reassociate({7: maps_of_7, 9: maps_of_9}, {12: maps_of_12}, threshold=0.4)
    found.links                 # {12: 7}, or {12: None}: a new person

For trackers that give crops: a track is some maps of its crops, of any sizes, so also of half a person. All maps of a
lost track are one dictionary (the paper's multi-shot); the distance of a new track is the mean over its crops. A lost
track is continued by at most one new one: of all such assignments of distances up to the threshold, the one with the
smallest sum of distances, where a new person costs as much as the threshold. Since distances come with intervals, a
decision can be proven: no distances inside the intervals would change it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from dsr_jax.calibration import Calibration
from dsr_jax.matching import checks
from dsr_jax.matching.comparison import compared

__all__ = ["Reassociation", "assign", "reassociate"]

NEW = -1  # number of the lost track that a new person continues
WITHIN = 1e-9  # what a link at just the threshold is better than none
ROUNDING = 1e-12  # of sums of distances


@dataclass(frozen=True, eq=False)
class Reassociation:
    """Which new track continues which lost one; see `reassociate`.

    Attributes:
      links: for each new track the lost one that it continues, or None: a new person.
      certified: for each new track whether the intervals prove the decision, about it and those that compete with it.
      distance: (N, L) of new to lost tracks, in the order of the mappings.
      lower: (N, L) certified lower bound.
      upper: (N, L) certified upper bound.
      threshold: the distance up to which tracks are linked.
      probability: (N, L) that they are one person, or None without a calibration.
    """

    links: dict[Any, Any]
    certified: dict[Any, bool]
    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    threshold: float
    probability: np.ndarray | None = None


def reassociate(
    lost: Any,
    new: Any,
    *,
    threshold: float | None = None,
    calibration: Calibration | None = None,
    false_positive_rate: float = 0.01,
    allowed: Any = None,
    coder: str = "auto",
    l1: float = 0.4,
    scales: Sequence[int] = (1, 2, 3),
    probe_weights: str | None = None,
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
) -> Reassociation:
    """Links new tracks to lost ones by appearance.

    Args:
      lost: L lost tracks, a dict from a track's number or name to its map (h, w, d), or several. May be empty.
      new: N new tracks, the same.
      threshold: largest distance of a link; default: the calibration's.
      calibration: gives the threshold and the probabilities, see `dsr_jax.calibration`; fitted on distances such as
        these. (It knows single crops: of the mean of several the rate is usually lower.)
      false_positive_rate: share of new persons who may be linked all the same; without ``threshold``.
      allowed: (N, L) whether the link is possible at all (time, place); default: all are.
      coder: as for `match.distances`, like all below.
      l1: weight of the L1 penalty.
      scales: sides of the windows whose averages are blocks.
      probe_weights: None or "norm".
      tol: largest duality gap of a column; a large one is faster, and certifies less.
      max_bytes: memory ceiling, beside the maps.

    Returns:
      The `Reassociation`.

    Raises:
      ValueError: without threshold and calibration, for a threshold that is no number, a calibration of other
        distances, ``allowed`` of another shape, and for maps as `match.distances`, naming the track.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.adapters import tracks
      >>> ann, bob, cy = np.random.default_rng(0).random((3, 3, 6, 3, 32)) ** 3
      >>> ann[2], bob[2] = ann[0], bob[0]
      >>> found = tracks.reassociate({7: ann[:2], 9: bob[:2]}, {12: bob[2, 2:], 13: cy[:1]}, threshold=0.4)
      >>> found.links, found.certified
      ({12: 9, 13: None}, {12: True, 13: True})
    """
    sides = checks.as_scales("scales", scales)
    seen, fresh = _crops("lost", lost, sides), _crops("new", new, sides)
    shape = len(fresh), len(seen)
    possible = np.ones(shape, bool) if allowed is None else np.asarray(allowed)
    if possible.shape != shape or possible.dtype != bool:
        raise ValueError(f"allowed must be {shape} of bool, new x lost, got shape {possible.shape} of {possible.dtype}")
    entries = max(1, len(seen))
    limit = _limit(threshold, calibration, false_positive_rate, entries)
    how: dict[str, Any] = {"coder": coder, "l1": l1, "scales": sides, "probe_weights": probe_weights}
    distance, lower, upper, settings = _compared(fresh, seen, tol=tol, max_bytes=max_bytes, **how)
    numbers, proven = assign(distance, lower, upper, threshold=limit, allowed=possible)
    names = [*lost, None]
    links = {track: names[i] for track, i in zip(new, numbers.tolist(), strict=True)}
    certified = dict(zip(new, proven.tolist(), strict=True))
    probability = None
    if calibration is not None:
        calibration.check(**{k: v for k, v in settings.items() if k not in ("images_per_entry", "multi_shot")})
        probability = calibration.probability(distance, entries=entries if calibration.searches else None)
    return Reassociation(links, certified, distance, lower, upper, limit, probability)


def assign(
    distance: np.ndarray, lower: np.ndarray, upper: np.ndarray, *, threshold: float, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best assignment, and which parts of it hold for all distances inside the intervals.

    With the chosen links at their upper and all others at their lower bounds, the chosen assignment is at its worst: if
    it is still the best, it is so everywhere. Tracks that share no possible link do not compete, and are judged apart.

    Args:
      distance: (N, L) distances.
      lower: (N, L) lower bounds, NaN where none is known.
      upper: (N, L) upper bounds, the same.
      threshold: largest distance of a link.
      allowed: (N, L) whether the link is possible.

    Returns:
      numbers: (N,) the lost track of each new one, -1: none.
      certified: (N,) whether that is proven.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.adapters import tracks
      >>> distance, all_of = np.array([[0.1, 0.2], [0.11, 0.6]]), np.ones((2, 2), bool)
      >>> tracks.assign(distance, distance - 0.01, distance + 0.01, threshold=0.5, allowed=all_of)
      (array([1, 0]), array([ True,  True]))
    """
    count = len(distance)
    numbers = np.full(count, NEW)
    gain = _gain(distance, threshold, allowed)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    linked = gain[rows, columns] > 0
    rows, columns = rows[linked], columns[linked]
    numbers[rows] = columns
    worst = np.array(np.nan_to_num(lower, nan=0.0), np.float64)
    worst[rows, columns] = np.nan_to_num(upper[rows, columns], nan=np.inf)
    least = _gain(worst, threshold, allowed)
    others = linear_sum_assignment(least, maximize=True)
    # New tracks and, after them, lost ones, as a graph of links that are possible.
    graph = np.zeros((sum(distance.shape),) * 2, bool)
    graph[:count, count:] = (gain > 0) | (least > 0)
    _, part = connected_components(graph, directed=False)
    behind = np.zeros(len(graph))
    np.add.at(behind, part[others[0]], least[others])
    np.add.at(behind, part[rows], -least[rows, columns])
    np.add.at(behind, part[rows[least[rows, columns] == 0]], np.inf)  # may be beyond the threshold
    return numbers, behind[part[:count]] <= ROUNDING


def _gain(distance: np.ndarray, threshold: float, allowed: np.ndarray) -> np.ndarray:
    """By how much a link is better than a new person; 0 where there can be none."""
    return np.where(allowed & (distance <= threshold), threshold - distance + WITHIN, 0.0)


def _crops(argument: str, tracks: Any, scales: tuple[int, ...]) -> list[list[np.ndarray]]:
    """The checked maps of every track."""
    if not isinstance(tracks, Mapping):
        raise ValueError(f"{argument} must be a dict from tracks to their maps, got {type(tracks).__name__}")
    if None in tracks:
        raise ValueError(f"{argument} has a track called None, which stands for no track: give it another name")
    each = (checks.as_maps(f"{argument}[{t!r}]", maps, scales=scales, pooling="average") for t, maps in tracks.items())
    return list(each)


def _compared(
    new: list[list[np.ndarray]], lost: list[list[np.ndarray]], **how: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """Distance, lower and upper bound (N, L), the means over each new track's crops, and what decides them."""
    if not (new and lost):
        distance, lower, upper = np.empty((3, len(new), len(lost)))
        return distance, lower, upper, {}
    identities = [i for i, crops in enumerate(lost) for _ in crops]
    comparison = compared(
        [m for crops in new for m in crops], [m for crops in lost for m in crops], identities=identities, **how
    )
    counts = np.array([len(crops) for crops in new])
    sums = np.add.reduceat(comparison.distances(progress=False), np.cumsum(counts) - counts, axis=1, dtype=np.float64)
    distance, lower, upper, _ = sums / counts[:, None]
    return distance, lower, upper, comparison.settings


def _limit(threshold: float | None, calibration: Calibration | None, rate: float, entries: int) -> float:
    """The largest distance of a link."""
    if threshold is not None:
        if not np.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, got {threshold!r}: the largest distance of a link")
        return float(threshold)
    if calibration is None:
        raise ValueError("threshold is missing: give one, or calibration=, which has one for a false_positive_rate")
    return calibration.threshold(rate, entries=entries)
