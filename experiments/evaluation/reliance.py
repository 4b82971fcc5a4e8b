"""Reliance of a shortlist's figures: on DSR within the list, or on the coarse distance that chose and follows it.

A list of K leaves rank-1 to rank-K to DSR among those that the coarse distance chose; nothing is certified against the
whole gallery. Entries beyond the list come after it, by the coarse distance (`shortlist.Shortlist.extended`), so
rank-k beyond K does, and with right answers there AP and INP do, and verification where its threshold is so far.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax import metrics
from dsr_jax.shortlist import BEYOND

CALLED = {"pooled": "pooled features", "stripes": "MaxSim of stripes", "maxsim": "MaxSim of positions"}
Left = Iterable[tuple[np.ndarray, np.ndarray]]  # of `candidates.candidates`: distances and answers, probe by probe


@dataclass(frozen=True)
class Reliance:
    """Figures of a method with a shortlist that rest on entries beyond it."""

    shortlist: int
    by: str  # the coarse distance, of `shortlist.BY`
    coded: int  # pairs that DSR coded, of those that may answer; of all trials
    pairs: int  # how many may answer
    missed: np.ndarray  # (P,) whether none of the probe's right answers is on its list, in some trial
    beyond: np.ndarray  # (P,) whether some of them is not
    figures: tuple[str, ...]  # names of the figures that rest on the coarse distance, of entries beyond the list

    @property
    def counts(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "shortlist": self.shortlist,
            "pairs_coded": 100 * self.coded / self.pairs if self.pairs else 0.0,
            "probes_missed": int(self.missed.sum()),
            "probes_beyond": int(self.beyond.sum()),
            f"rest_on_{self.by}": ",".join(self.figures),
        }

    @property
    def remarks(self) -> list[str]:
        """Sentences to print."""
        if self.coded == self.pairs:
            return [f"the shortlist of {self.shortlist} holds everybody who may answer: all pairs are coded"]
        share, total = 100 * self.coded / self.pairs, len(self.missed)
        lines = [
            f"DSR codes {share:.2g} % of the pairs, the {self.shortlist} nearest by {CALLED[self.by]} of each probe; "
            f"rank-1 to rank-{self.shortlist} are DSR's among these, and not certified against the whole gallery",
            f"{self.missed.sum():,} of {total:,} probes have no right answer on the list, "
            f"{self.beyond.sum():,} have some beyond it",
        ]
        if self.figures:
            lines.append(f"resting on {CALLED[self.by]}, of what is not on the list: {', '.join(self.figures)}")
        return lines


def of(
    trials: Sequence[tuple[np.ndarray, Left]], probes: int, shortlist: int, by: str, thresholds: Mapping[str, float]
) -> Reliance:
    """Reliance of a method's figures.

    Args:
      trials: of each, the numbers of its probes and what may answer them.
      probes: how many there are in all.
      shortlist: length of the lists.
      by: the coarse distance that chose them.
      thresholds: the distance up to which a figure of verification accepts, by its name.
    """
    missed, beyond = np.zeros(probes, bool), np.zeros(probes, bool)
    coded = pairs = 0
    for numbers, left in trials:
        for p, (row, right) in zip(numbers.tolist(), left, strict=True):
            on = row < BEYOND
            coded, pairs = coded + int(on.sum()), pairs + len(row)
            beyond[p] |= bool((right & ~on).any())
            missed[p] |= bool(right.any()) and not (right & on).any()
    # With a right answer on the list, the first one is at a rank that no entry beyond the list can change.
    ranks = [f"rank{k}" for k in metrics.RANKS if k > shortlist and missed.any()]
    averages = ["mAP", "mINP"] if beyond.any() else []
    verified = [name for name, threshold in thresholds.items() if threshold >= BEYOND]
    return Reliance(shortlist, by, coded, pairs, missed, beyond, (*ranks, *averages, *verified))
