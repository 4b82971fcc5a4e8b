"""A calibration from marks: how probable it is that an answer at some distance is right.

It is of pairs that were shown and marked: those nearest to their probes. So it says how often answers such as these are
right, and not when a probe is nobody in the gallery; that wants a calibration of `experiments.evaluate --calibrate`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax import calibration
from experiments.webpage.kept import Mark
from experiments.webpage.refusal import Refused

NEEDED = 20  # marks of each kind


def usable(marks: Sequence[Mark], settings: Mapping[str, Any]) -> list[Mark]:
    """The marks whose distances are those of these settings."""
    return [mark for mark in marks if dict(mark.settings) == dict(settings)]


def counts(marks: Sequence[Mark]) -> tuple[int, int]:
    """How many say right, and how many wrong."""
    right = sum(bool(mark.verdict) for mark in marks)
    return right, len(marks) - right


def fitted(marks: Sequence[Mark], settings: Mapping[str, Any]) -> calibration.Calibration:
    """The calibration of the marks, logistic.

    Raises:
      Refused: for too few, and where right answers are no nearer than wrong ones.
    """
    chosen = usable(marks, settings)
    right, wrong = counts(chosen)
    if min(right, wrong) < NEEDED:
        others = len(marks) - len(chosen)
        beside = f" {others} marks are of other settings, and do not count." if others else ""
        raise Refused(
            409,
            f"{right} answers are marked right and {wrong} wrong; {NEEDED} of each are needed: mark more.{beside}",
        )
    distances = np.array([mark.distance for mark in chosen])
    same = np.array([bool(mark.verdict) for mark in chosen])
    try:
        return calibration.fit(distances, same, method="logistic", fitted_on=settings)
    except ValueError as error:
        raise Refused(409, f"No calibration fits the marks ({error}): look at them again, or mark more.") from error
