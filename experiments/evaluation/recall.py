"""Recall of shortlists: the share of probes whose first answer, of all entries, a coarse distance keeps on its list.

The first answer is the nearest entry by DSR over all entries that may answer the probe, right or wrong: a list of K
entries must hold it for rank-1 to stay what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax import report
from dsr_jax.evaluation import candidates, intervals
from dsr_jax.matching import coarse, visibility
from experiments.evaluation import comparison, page
from experiments.evaluation.features import Sides
from experiments.evaluation.methods import Method, some

STORED = "shortlist"  # begins the names of the stored coarse distances; those of "coarse" knew no masks
LENGTHS = (10, 20, 50, 100)
COLUMNS = tuple(f"K = {length}" for length in LENGTHS)
CAPTION = "Shortlists: probes whose first answer, of all entries, is among the K nearest by a coarse distance, per cent"


@dataclass(frozen=True)
class Recall:
    """Recall of one coarse distance for one method's first answers."""

    result: comparison.Result  # of a method that compared all entries
    by: str  # the coarse distance, of `shortlist.BY`
    figures: Mapping[int, intervals.Interval]  # by length of the list, in per cent; lengths below the gallery's

    @property
    def row(self) -> report.Row:
        """A row of the table."""
        cells = tuple(self.figures.get(length) for length in LENGTHS)
        return report.Row(f"{self.result.key} by {self.by}", cells)


def method(by: str) -> Method:
    """The coarse distance as a method, whose distances can be stored."""

    def compare(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        ends = np.cumsum([len(entry) for entry in entries])
        groups = [list(range(end - len(entry), end)) for end, entry in zip(ends.tolist(), entries, strict=True)]
        images = [g for entry in entries for g in entry]
        masks, masked = visibility.some(sides.masks[0], probes), visibility.some(sides.masks[1], images)
        how: dict[str, Any] = {"scales": (1,)}  # positions; the coarse distances know no blocks
        own = coarse.Checked("probe_maps", some(sides.probe, probes), masks=masks, called="probe_masks", **how)
        gallery = some(sides.gallery, images)
        others = coarse.Checked("gallery_maps", gallery, masks=masked, called="gallery_masks", **how)
        return coarse.distances(by, own, others, groups)

    return Method(compare, name=f"{STORED}_{by}")


def exhaustive(of: Method) -> bool:
    """Whether a method could have a shortlist and compares all entries."""
    return of.listed is not None and not of.shortlist


def of(result: comparison.Result, coarse_distances: Sequence[np.ndarray], by: str) -> Recall:
    """The recall of a coarse distance.

    Args:
      result: of a method that compared all entries.
      coarse_distances: (probes, entries) of every trial of the result.
      by: the coarse distance.
    """
    kept, counts = np.zeros((len(result.identities), len(LENGTHS))), np.zeros((len(result.identities), 1))
    fewest = np.inf
    for trial, exact, near in zip(result.trials, result.distances, coarse_distances, strict=True):
        allowed = candidates.allowed(trial.labels(result.identities))
        fewest = min(fewest, int(np.min(allowed.sum(axis=1))))
        places = [place(*rows) for rows in zip(exact, near, allowed, strict=True)]
        kept[trial.probes] += np.array(places)[:, None] < np.array(LENGTHS)
        counts[trial.probes] += 1
    shares = 100 * kept / counts
    figures = {
        length: intervals.bootstrap_interval(shares[:, column], result.identities)
        for column, length in enumerate(LENGTHS)
        if length < fewest
    }
    return Recall(result, by, figures)


def place(exact: np.ndarray, near: np.ndarray, allowed: np.ndarray) -> int:
    """Place, from 0, of the entry with the smallest exact distance in the order of the coarse ones.

    Args:
      exact: (G,) distances.
      near: (G,) coarse distances.
      allowed: (G,) whether the entry may answer; others take no place.

    Example:
      >>> place(np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.7, 0.6]), np.array([False, True, True]))
      1
    """
    first = int(np.argmin(np.where(allowed, exact, np.inf)))
    ahead = (near < near[first]) | ((near == near[first]) & (np.arange(len(near)) < first))
    return int(np.count_nonzero(ahead & allowed))


def part(recalls: Sequence[Recall]) -> page.Part:
    """Table and metrics, "<key>/recall_<coarse distance>@<K>" with `_low` and `_high`."""
    note = "The first answer is the nearest entry, right or wrong; under each number its 95 % interval."
    rows = tuple(one.row for one in recalls)
    metrics = {
        f"{one.result.key}/recall_{one.by}@{length}{end}": value
        for one in recalls
        for length, interval in one.figures.items()
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }
    return page.Part(report.Table(CAPTION, "first answer kept", COLUMNS, rows, note=note), metrics)
