"""Results of a matching: the `Distances` of all pairs, and the `Hits` of a search."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax.calibration import Calibration


@dataclass(frozen=True)
class Distances:
    """Distances of P probes to G gallery entries.

    Attributes:
      distance: (P, G) float32, mean (weighted by ``probe_weights``) squared reconstruction error of the probe's blocks
        that have a direction, in [0, 1]. Of the joint dictionary it may exceed 1: an entry's coefficients count on
        those of others. Of MaxSim it is in [0, 2], beyond 1 only where cosines are negative, as those of signed maps
        may be.
      lower: (P, G) certified lower bound of the exact distance (NaN for ridge and for the joint dictionary, which have
        no certificate). MaxSim is exact but for rounding, by which alone its interval is wide.
      upper: (P, G) certified upper bound of the exact distance.
      gap: (P, G) largest duality gap of the pair's columns; 0 for MaxSim.
      identities: G labels of the entries, or None where none were given.
      coder: the coder that was used.
      counted: (P,) share of each probe's blocks that the distance is the mean over. A block of zeros (a masked
        position, dead features) has no direction and is left out, as is one of weight 0; far below 1, little of the
        probe was compared. How unevenly the others are weighted does not enter.
    """

    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gap: np.ndarray
    identities: tuple[Any, ...] | None
    coder: str
    counted: np.ndarray


@dataclass(frozen=True)
class Hits:
    """The gallery entries nearest to a probe, nearest first.

    Attributes:
      entries: (k,) numbers of the entries: of the maps, or of the identities in the order of their first appearance.
      identities: their k labels, or None where the gallery has none.
      names: k names, each of the entry's first map, or None where the gallery has none.
      distance: (k,) float32.
      lower: (k,) certified lower bound of the exact distance.
      upper: (k,) certified upper bound of the exact distance.
      certified: (k,) whether the intervals alone prove this place in the ranking of the whole gallery.
      coded: share of the columns (probe blocks x entries) that had to be coded; 1 is everything. MaxSim codes none.
      coder: the coder that was used.
      counted: share of the probe's blocks that the distance is the mean over, see `Distances`.
      searched: how many entries the gallery has.
      calibration: the gallery's, or None.
      beyond: certified lower bound of the distance of every compared entry that is not among them; inf where all are,
        -inf where it is not known.
    """

    entries: np.ndarray
    identities: tuple[Any, ...] | None
    names: tuple[str, ...] | None
    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    certified: np.ndarray
    coded: float
    coder: str
    counted: float
    searched: int = 1
    calibration: Calibration | None = None
    beyond: float = -np.inf

    @property
    def probability(self) -> np.ndarray | None:
        """(k,) that probe and entry are one person, pair by pair, or None of a gallery without a calibration.

        Among as many entries as the gallery has; see `Calibration.probability`. They are of pairs, whatever the other
        entries are: of two that are equally near, both have the same one.
        """
        if self.calibration is None:
            return None
        entries = self.searched if self.calibration.searches else None
        return self.calibration.probability(self.distance, entries=entries)

    @property
    def first_probability(self) -> float | None:
        """That the first entry is the probe's person; None of a gallery whose calibration does not know it.

        In a gallery of about the size that the calibration was fitted on, see `Calibration.first_probability`.
        """
        if self.calibration is None or not self.calibration.searches:
            return None
        return float(self.calibration.first_probability(self.distance[0]))

    def nobody(self, false_positive_rate: float = 0.01) -> bool:
        """Whether nobody in the gallery is the probe's person: even the nearest entry is too far.

        Args:
          false_positive_rate: share of the probes of strangers of which this is to be False all the same, see
            `Calibration.threshold`.

        Raises:
          ValueError: of a gallery without a calibration, or with one that knows no such rate.
        """
        if self.calibration is None:
            raise ValueError(
                "nobody needs a calibration, which this gallery has not: give match.Gallery.build calibration= or take "
                "gallery.calibrated(calibration.fit(...))"
            )
        # In float64: a threshold beside a float32 would be rounded to one.
        return float(self.distance[0]) > self.calibration.threshold(false_positive_rate, entries=self.searched)
