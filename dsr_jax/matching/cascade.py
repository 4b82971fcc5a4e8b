"""A search through stages: stripes of all entries, all positions of some thousands, certified distances of the best.

The first two stages are MaxSim, in products alone; only the last codes (Sec. 3.2, Eq. 4). What a stage leaves out is
not looked at again, so the answer says what is proven against the whole gallery and what against a stage. Masks and
weights count in every stage: in the first two by position, in the last by block.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax import match
from dsr_jax.matching import stripes, weighting
from dsr_jax.matching.comparison import compared
from dsr_jax.matching.gallery import Gallery
from dsr_jax.solvers import table

GALLERY, STAGE, NOTHING = "gallery", "stage", "nothing"  # what a rank can be proven against


@dataclass(frozen=True)
class Stage:
    """A stage of a search.

    Attributes:
      by: the distance, "stripes", "maxsim" or "dsr"; of the last stage "dsr" by every coder but "maxsim".
      entries: how many entries it compared.
      kept: how many of them went on; of the last stage, into the answer.
    """

    by: str
    entries: int
    kept: int


@dataclass(frozen=True)
class Searched:
    """The answer of a search through stages.

    Attributes:
      hits: the nearest entries of those that reached the last stage; numbers are those of the whole gallery, as is
        ``searched``, and ``certified`` says whether the place is proven among them. With a calibration probabilities
        are those of pairs among all entries of the gallery; `Hits.nobody` and ``first_probability`` are about the
        nearest entry that was found: where a stage lost a nearer one, it may say nobody wrongly.
      stages: the stages, in their order.
    """

    hits: match.Hits
    stages: tuple[Stage, ...]

    @property
    def proven(self) -> tuple[str, ...]:
        """What each place is proven against: the whole "gallery", the last "stage", or "nothing"."""
        against = GALLERY if len(self.stages) == 1 else STAGE
        return tuple(against if certified else NOTHING for certified in self.hits.certified)


def search(
    probe_map: Any,
    gallery: Gallery,
    k: int,
    *,
    whole: int,
    first: int,
    second: int,
    probe_weights: Any = None,
    probe_masks: Any = None,
    max_bytes: int,
    **options: Any,
) -> Searched:
    """The k nearest entries by stages; see `shortlist.search`."""
    how: dict[str, Any] = {"probe_weights": probe_weights, "probe_masks": probe_masks, "max_bytes": max_bytes}
    comparison = compared(probe_map, gallery, certified=True, **how, **options)
    if len(comparison.probes) != 1:
        raise ValueError(
            f"probe_map must be one (h, w, d) array, got {len(comparison.probes)}: search for one at a time"
        )
    fitted = gallery.calibration
    if fitted is not None:
        comparison.check(fitted)
    count, remaining, stages = gallery.entries, np.arange(gallery.entries), list[Stage]()
    if count > whole and count > first:
        probe, seen = comparison.probes.maps[0], comparison.probes.masks
        weights = None
        if probe_weights is not None:
            each: dict[str, Any] = {"scales": (1,), "pooling": gallery.pooling, "visible": seen and seen[0]}
            weights = weighting.one("probe_weights", weighting.planes(probe_weights, 1)[0], probe, **each)
        remaining = _nearest(stripes.distances(probe, gallery, weights=weights), first)
        stages.append(Stage("stripes", count, first))
    if count > whole and len(remaining) > second:
        part = gallery.part(remaining, scales=(1,))
        distance = match.distances(probe_map, part, coder="maxsim", probe_scales=(1,), **how).distance[0]
        stages.append(Stage("maxsim", len(remaining), second))
        remaining = remaining[_nearest(distance, second)]
    last = gallery if len(remaining) == count else gallery.part(remaining)
    hits = match.search(probe_map, last, k, **how, **options)
    by = "maxsim" if table.SOLVERS[comparison.coder].figure == "cosine" else "dsr"
    stages.append(Stage(by, len(remaining), len(hits.entries)))
    of_all: dict[str, Any] = {"searched": count, "calibration": fitted}
    return Searched(dataclasses.replace(hits, entries=remaining[hits.entries], **of_all), tuple(stages))


def _nearest(distance: np.ndarray, count: int) -> np.ndarray:
    """The numbers, ascending, of the smallest distances, equal ones in their order."""
    bar = np.partition(distance, count - 1)[count - 1]
    nearer, equal = np.flatnonzero(distance < bar), np.flatnonzero(distance == bar)
    return np.sort(np.append(nearer, equal[: count - len(nearer)]))
