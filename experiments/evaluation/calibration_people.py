"""People of an evaluation that calibrations are fitted on, and other people that they are judged on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import calibration
from dsr_jax.evaluation import protocols
from experiments.evaluation import calibration_files, comparison, selection
from experiments.settings.evaluation import Settings

FEWEST = 4  # of two there are pairs of either kind


class People(NamedTuple):
    """The identities of a data set that are fitted on, and those that are judged on."""

    data: Any  # what it is known by
    fit_on: np.ndarray
    judged_on: np.ndarray


def chosen(settings: Settings, selected: selection.Selection, trials: Sequence[protocols.Trial], data: Any) -> People:
    """The people to fit and to judge on, before any distance is computed.

    Args:
      settings: the runner's.
      selected: probes and gallery.
      trials: the draws of one number of shots.
      data: what the data set, whose numbers the identities are, is known by.

    Raises:
      ValueError: for fewer than `FEWEST` people, and where a calibration of an earlier run was fitted on some of those
        that it is to be judged on.
    """
    how = settings.calibrating
    everybody = np.unique(np.concatenate([selected.probes.identities, *(t.draw.identities for t in trials)]))
    known = everybody[everybody >= 0]
    if how.calibrate == "none":
        found = People(data, known[:0], known)
    elif len(known) < FEWEST:
        raise ValueError(
            f"calibrate={how.calibrate} needs at least {FEWEST} people, half to fit and half to judge on, got "
            f"{len(known)}: leave it out, or give more"
        )
    else:
        found = People(data, *halves(known, settings.seed.seed))
    if how.calibration is not None:
        for shots in settings.comparison.conditions:
            for method in settings.calibrated:
                _check_people(how.calibration, comparison.key("", method, shots), found)
    return found


def halves(people: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the people, by identity; of an odd number the second has one more."""
    known = np.unique(people[people >= 0])
    mixed = np.random.default_rng(seed).permutation(known)
    return np.sort(mixed[: len(known) // 2]), np.sort(mixed[len(known) // 2 :])


def _check_people(folder: str, key: str, people: People) -> None:
    """Raises ValueError where a calibration was fitted on people that it is to be judged on."""
    on = calibration.load(calibration_files.path(Path(folder), key)).fitted_on.get("people")
    if not on or on["data"] != people.data:
        return
    both = np.intersect1d(on["identities"], people.judged_on)
    if len(both):
        raise ValueError(
            f"calibration {folder}, {key}: it was fitted on {len(both)} of the {len(people.judged_on)} people that it "
            "is to be judged on here, so that it would look better than it is: judge it on another data set, or with "
            "--calibrate and that run's --seed on the other half"
        )
