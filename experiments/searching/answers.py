"""Answers of a search: the nearest pictures of a probe, what is proven of them, and whether it is anybody at all."""

import dataclasses
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from dsr_jax import shortlist
from dsr_jax.gallery.stored import StoredGallery
from experiments.searching.probes import Seen
from experiments.settings.searching import Compared, Filters

SECOND, FIRST = 256, 4096  # entries of the stages, where k is not larger
WHOLE = 1000  # entries that are searched whole


class Hit(NamedTuple):
    """One place of an answer."""

    rank: int
    name: str
    identity: str | None
    camera: int
    time: float | None
    distance: float
    lower: float
    upper: float
    proven: str
    probability: float | None


class Answer(NamedTuple):
    """The answer to a probe; ``nobody`` is None where no calibration says it, for the reason in ``remarks``."""

    probe: Seen
    gallery: StoredGallery
    found: shortlist.Searched
    nobody: bool | None
    remarks: tuple[str, ...]

    @property
    def hits(self) -> list[Hit]:
        """The places, nearest first."""
        hits, gallery = self.found.hits, self.gallery
        probabilities = [None] * len(hits.entries) if hits.probability is None else hits.probability.tolist()
        found = []
        for place, entry in enumerate(hits.entries.tolist()):
            time = float(gallery.times[entry])
            found.append(
                Hit(
                    place + 1,
                    gallery.names[entry],
                    None if gallery.people is None else str(gallery.people[entry]),
                    int(gallery.cameras[entry]),
                    None if math.isnan(time) else time,
                    float(hits.distance[place]),
                    float(hits.lower[place]),
                    float(hits.upper[place]),
                    self.found.proven[place],
                    probabilities[place],
                )
            )
        return found


def filtered(gallery: StoredGallery, how: Filters) -> StoredGallery:
    """What the filters leave of a gallery.

    Raises:
      ValueError: if that is nothing, or a filter is none.
    """
    conditions: dict[str, Any] = {"cameras": how.cameras, "identities": how.identities}
    if how.identities is not None and gallery.people is not None and not isinstance(gallery.people[0], str):
        if not all(re.fullmatch(r"-?\d+", one, re.ASCII) for one in how.identities):
            raise ValueError(f"identities of this gallery are whole numbers, got {','.join(how.identities)}")
        conditions["identities"] = [int(one) for one in how.identities]
    conditions |= {"after": moment("after", how.after), "before": moment("before", how.before)}
    return gallery if all(value is None for value in conditions.values()) else gallery.where(**conditions)


def moment(flag: str, text: str | None) -> float | None:
    """A time in seconds since 1970; a date without a zone is of the local one.

    Raises:
      ValueError: naming the flag.

    Example:
      >>> moment("after", "2026-11-27T14:30+00:00"), moment("after", "12.5")
      (1795789800.0, 12.5)
    """
    if text is None:
        return None
    for read in (float, lambda text: datetime.fromisoformat(text).timestamp()):
        try:
            return read(text)
        except ValueError:
            continue
    raise ValueError(f"{flag} must be a date such as 2026-11-27, a time such as 2026-11-27T14:30, or seconds: {text!r}")


def answer(
    probes: Sequence[Seen], gallery: StoredGallery, *, k: int, matching: Compared, rate: float, insist: bool
) -> list[Answer]:
    """The answers to the probes, through the stages of `shortlist.search`.

    Args:
      probes: the probes.
      gallery: what may answer.
      k: how many places; fewer where the gallery has fewer.
      matching: how is compared.
      rate: false-positive rate of "nobody".
      insist: whether it is an error if the calibration does not know this rate.

    Raises:
      ValueError: as `shortlist.search`, naming the probe.
    """
    how: dict[str, Any] = {"whole": WHOLE, "second": max(SECOND, k), "first": max(FIRST, k)}
    how |= matching.how
    answers = []
    for probe in probes:
        try:
            found = shortlist.search(probe.map, gallery, k, probe_masks=probe.mask, **how)
        except ValueError as error:
            raise ValueError(f"probe {probe.name}: {error}") from error
        remarks = [f"k is {k}, and {len(gallery.maps)} pictures may answer"] if k > len(gallery.maps) else []
        nobody = None
        if found.hits.calibration is not None:
            try:
                nobody = found.hits.nobody(rate)
            except ValueError as error:
                if insist:
                    raise
                of_pairs = "the calibration is of pairs of pictures alone, not of searches"
                reason = error if found.hits.calibration.searches else of_pairs
                remarks.append(f"whether it is nobody is not known: {reason}")
        answers.append(Answer(probe, gallery, found, nobody, tuple(remarks)))
    return answers


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer for programs, see docs/search.md."""
    height, width = answer.probe.picture.shape[:2]
    return {
        "probe": answer.probe.name,
        "matched_size": [height, width],
        "searched": answer.found.hits.searched,
        "stages": [dataclasses.asdict(stage) for stage in answer.found.stages],
        "hits": [hit._asdict() for hit in answer.hits],
        "first_probability": answer.found.hits.first_probability,
        "nobody": answer.nobody,
        "remarks": list(answer.remarks),
    }
