"""Results of a matching: the `Distances` of all pairs, and the `Hits` of a search."""

from dataclasses import dataclass
from typing import Any

import numpy as np


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
