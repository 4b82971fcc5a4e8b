"""Shards of a gallery, each searched by itself, and the exact merge of their answers.

Every answer has certified intervals, and a bound of what it leaves out. So the k nearest of all shards are among the k
nearest of each, and a place is proven as in one search: if the intervals of all shards prove it. What a shard left out
in a stage is bounded by nothing; the places are then proven against that stage alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import shortlist
from dsr_jax.calibration import Calibration
from dsr_jax.matching import search
from dsr_jax.matching.cascade import GALLERY, NOTHING, STAGE, Searched, Stage
from dsr_jax.matching.comparison import compared
from dsr_jax.matching.gallery import Gallery
from dsr_jax.matching.results import Hits

STAGES = ("whole", "first", "second")  # options of a search that no distance depends on


class About(NamedTuple):
    """A shard, as far as others must be like it.

    Attributes:
      where: how errors call it.
      entries: how many it has.
      labels: identities of its entries that no other shard may have; may be empty.
      network: what made its maps, or None where that is not said.
      channels: the d of its maps.
      scales: sides of the windows.
      pooling: "average" or "max".
      calibration: the text of its gallery's calibration, or None.
    """

    where: str
    entries: int
    labels: tuple[Any, ...]
    network: dict[str, Any] | None
    channels: int
    scales: tuple[int, ...]
    pooling: str
    calibration: str | None


@dataclass(frozen=True)
class Answer:
    """The answer of one shard to one probe.

    Attributes:
      found: the nearest entries, by their numbers in the shard; without probabilities, which are of all shards.
      asked: what the gallery's calibration must have been fitted on, by name; empty without one.
    """

    found: Searched
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """The nearest entries of all shards.

    Attributes:
      hits: as of one search; ``entries`` are numbers of the shards' entries one after another, of what a filter left.
      shards: (k,) the shard of each.
      places: (k,) its number there, of what a filter left there; ``hits.names`` tell entries apart in any case.
      stages: of every shard its stages; none of a shard in which a filter left nothing.
    """

    hits: Hits
    shards: np.ndarray
    places: np.ndarray
    stages: tuple[tuple[Stage, ...], ...]

    @property
    def staged(self) -> tuple[int, ...]:
        """The shards that left entries out in a stage before the last."""
        return tuple(number for number, stages in enumerate(self.stages) if len(stages) > 1)

    @property
    def proven(self) -> tuple[str, ...]:
        """What each place is proven against: the whole "gallery", a "stage" of the shards `staged`, or "nothing"."""
        against = STAGE if self.staged else GALLERY
        return tuple(against if certified else NOTHING for certified in self.hits.certified)


class Shard:
    """Some entries of a gallery, or all, kept open.

    Args:
      gallery: the gallery.
      entries: which of its entries; default: all.
    """

    def __init__(self, gallery: Gallery, entries: Sequence[int] | None = None) -> None:
        """See the class."""
        self.calibration = gallery.calibration
        self.gallery = gallery.part(np.arange(gallery.entries) if entries is None else np.asarray(entries, np.int64))

    def answer(
        self, probe_map: Any, k: int, *, where: Mapping[str, Any] | None = None, **options: Any
    ) -> Answer | None:
        """The k nearest entries of the shard, or None if the filter leaves none.

        Args:
          probe_map: one (h, w, d) array.
          k: how many, as of the merged answer.
          where: conditions of `StoredGallery.where`.
          **options: those of `shortlist.search`.
        """
        gallery = self.gallery
        if where is not None:
            from dsr_jax.gallery.filters import NothingLeft  # its packages are an extra

            if not hasattr(gallery, "where"):
                raise ValueError("where needs a gallery on disk (Gallery.open), which has cameras and times")
            try:
                gallery = gallery.where(**where)
            except NothingLeft:
                return None
        found = shortlist.search(probe_map, gallery, k, **options)
        if self.calibration is None:
            return Answer(found)
        how = {name: value for name, value in options.items() if name not in STAGES}
        return Answer(found, compared(probe_map, gallery, **how).asked(self.calibration))


def check(about: Sequence[About]) -> None:
    """Raises ValueError, naming the shards, where they do not belong together."""
    first, seen = about[0], dict[Any, str]()
    for number, one in enumerate(about):
        for name in ("network", "channels", "scales", "pooling", "calibration"):
            a, b = getattr(first, name), getattr(one, name)
            if a != b:
                raise ValueError(
                    f"{name} of shard {number} ({one.where}) is another one than of shard 0 ({first.where}): {b!r:.80} "
                    f"and {a!r:.80}; their distances cannot be ranked together"
                )
        for label in one.labels:
            if label in seen:
                raise ValueError(
                    f"identity {label!r} is in {seen[label]} and in {one.where}: its maps form one dictionary, keep "
                    "them in one shard, or open with grouped=False"
                )
        seen |= dict.fromkeys(one.labels, one.where)


def merge(answers: Sequence[Answer | None], k: int, *, calibration: Calibration | None = None) -> Merged:
    """The k nearest entries of all shards, as of one search of them all.

    Args:
      answers: of every shard, with k entries each, or all that were compared; None where a filter left nothing.
      k: how many; all, if there are fewer.
      calibration: that of the whole gallery.

    Returns:
      The `Merged`. Equal distances are in the order of the shards.

    Raises:
      ValueError: if no shard has an entry, one has too few, coders differ, or the calibration is of other distances.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> from dsr_jax.matching import shards
      >>> maps = np.random.default_rng(0).random((30, 6, 3, 32))
      >>> parts = [shards.Shard(match.Gallery.build(part)) for part in (maps[:20], maps[20:])]
      >>> found = shards.merge([part.answer(maps[23, :4], 2) for part in parts], 2)
      >>> int(found.hits.entries[0]), int(found.shards[0]), int(found.places[0]), found.proven[0]
      (23, 1, 3, 'gallery')
    """
    there = [(number, answer) for number, answer in enumerate(answers) if answer is not None]
    if not there:
        raise ValueError(f"where leaves no entry in any of the {len(answers)} shards")
    for number, answer in there:
        compared_entries = answer.found.stages[-1].entries
        if len(answer.found.hits.entries) < min(k, compared_entries):
            raise ValueError(
                f"answers[{number}] has {len(answer.found.hits.entries)} of {compared_entries} entries, and k={k} are "
                "wanted: search each shard with the same k"
            )
    found = [answer.found for _, answer in there]
    if len(coders := sorted({one.hits.coder for one in found})) > 1:
        raise ValueError(f"coder must be the same in all shards, got {', '.join(coders)}: name one")
    if calibration is not None:
        most = max((answer.asked for _, answer in there), key=lambda asked: asked.get("images_per_entry", 0))
        calibration.check(**most)
    sizes = [one.hits.searched for one in found]
    best = search.merged(
        zip(sizes, map(_nearest, found), strict=True), min(k, sum(len(one.hits.entries) for one in found))
    )
    ends = np.cumsum(sizes)
    part = np.searchsorted(ends, best.entries, side="right")
    places = best.entries - (ends[part] - np.array(sizes)[part])
    at = [int(np.flatnonzero(found[p].hits.entries == place)[0]) for p, place in zip(part, places, strict=True)]
    _, lower, upper, _ = best.figures
    columns = np.array([one.stages[-1].entries for one in found])
    hits = Hits(
        best.entries,
        _labels([one.hits.identities for one in found], part, at),
        _labels([one.hits.names for one in found], part, at),
        best.figures[0],
        lower,
        upper,
        search.certified(best),
        float(np.dot([one.hits.coded for one in found], columns) / columns.sum()),
        coders[0],
        found[0].hits.counted,
        int(ends[-1]),
        calibration,
        best.beyond,
    )
    numbers = np.array([number for number, _ in there])
    stages = tuple(() if answer is None else answer.found.stages for answer in answers)
    return Merged(hits, numbers[part], places, stages)


def _nearest(found: Searched) -> search.Nearest:
    hits = found.hits
    figures = np.stack([hits.distance, hits.lower, hits.upper, np.full_like(hits.distance, np.nan)])
    return search.Nearest(hits.entries, figures, hits.beyond, hits.coded)


def _labels(each: Sequence[tuple[Any, ...] | None], shards: np.ndarray, at: Sequence[int]) -> tuple[Any, ...] | None:
    """The labels of the entries, or None unless all shards have some."""
    return tuple((each[shard] or ())[i] for shard, i in zip(shards, at, strict=True)) if None not in each else None
