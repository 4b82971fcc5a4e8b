"""Calibrations in an evaluation: fitted on one half of the people, or by an earlier run, and judged on other people.

A probe and its gallery count for a half where both are of its people, so that no pair is judged by a calibration that
it had a part in. Judged are the probabilities of all pairs, those of first answers (by their own curve, and as if they
were pairs like others), and the thresholds: how many strangers are found all the same, and how many people still are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import calibration, networks, report, weights
from dsr_jax.calibration import Calibration
from dsr_jax.evaluation import candidates
from dsr_jax.evaluation.reliability import Reliability, reliability
from dsr_jax.parallel import hosts
from dsr_jax.report import curves
from experiments.evaluation import calibration_files, comparison, features, page, selection
from experiments.evaluation.calibration_people import People
from experiments.evaluation.methods import Method
from experiments.settings.evaluation import Settings
from experiments.workdir import Workdir

RATES = (0.01, 0.1)  # false-positive rates of the thresholds
FIGURES = (
    "ECE",
    "ECE_first",
    "ECE_first_as_pairs",
    *(f"{what}@{rate:g}" for rate in RATES for what in ("strangers", "found")),
)
COLUMNS = tuple(name.replace("_", " ") for name in FIGURES)
AXES = curves.Axes("probability (%)", "of one person (%)", ticks=(0, 20, 40, 60, 80, 100), words=("", " % probability"))
EXACT = curves.Curve("as it should be", (0.0, 100.0), places=(0.0, 100.0))
BOTH = "fitted here", "given"


class Searches(NamedTuple):
    """Pairs of a probe and an entry, (n,) each; every draw of a probe's gallery is a search of its own."""

    distances: np.ndarray
    same: np.ndarray
    numbers: np.ndarray  # of the search
    probes: np.ndarray


@dataclass(frozen=True)
class Judged:
    """A calibration judged on people that it was not fitted on.

    Attributes:
      key: the result's.
      source: one of `BOTH`.
      fitted: the calibration.
      people: how many it is judged on.
      pairs: of all pairs.
      first: of every search's nearest entry, by the curve of first answers.
      first_as_pairs: the same by the curve of pairs.
      rates: by false-positive rate: strangers and people found, in per cent; None where the fit is too small for it.
    """

    key: str
    source: str
    fitted: Calibration
    people: int
    pairs: Reliability
    first: Reliability
    first_as_pairs: Reliability
    rates: dict[float, tuple[float, float] | None]

    @property
    def cells(self) -> tuple[float | None, ...]:
        """The numbers of `FIGURES`."""
        errors = [100 * of.expected_error for of in (self.pairs, self.first, self.first_as_pairs)]
        return (*errors, *(value for rate in RATES for value in self.rates[rate] or (None, None)))


def about(
    method: Method, shots: int, network: features.Network, multi_shot: str, *, weighted: str = "norm"
) -> dict[str, Any]:
    """What a calibration of a method's distances belongs to; of maps of a file the network is not known.

    Args:
      method: the method.
      shots: gallery images per identity.
      network: the network.
      multi_shot: what becomes of several shots.
      weighted: by what methods that weight blocks do so, "norm" or, with weights of a file, "given".
    """
    known = method.settings(images_per_entry=max(shots, 1), multi_shot=multi_shot, probe_weights=weighted)
    if network.output_stride:
        known |= {"network": weights.digest(network.params), "preprocessing": network.convention}
        known |= {"output_stride": network.output_stride, "size": network.size, "maps": networks.MAPS}
    return known


def searches(result: comparison.Result, people: np.ndarray) -> Searches:
    """The pairs of a probe and an entry that are both of these people, of all draws."""
    parts, before = [], 0
    for trial, matrix in zip(result.trials, result.distances, strict=True):
        labels = trial.labels(result.identities)
        probes, gallery = labels.probes[0], labels.gallery[0]
        kept = candidates.allowed(labels) & np.isin(probes, people)[:, None] & np.isin(gallery, people)[None]
        rows, columns = np.nonzero(kept)
        parts.append((matrix[kept], probes[rows] == gallery[columns], rows + before, trial.probes[rows]))
        before += len(probes)
    return Searches(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def judge(fitted: Calibration, found: Searches, *, key: str, source: str, people: int) -> Judged:
    """What a calibration is worth for some searches, whose galleries' size is known."""
    order = np.lexsort((found.distances, found.numbers))
    distances, same, searched = (values[order] for values in found[:3])
    starts = np.flatnonzero(np.diff(searched, prepend=-1))
    likely = fitted.probability(distances, entries=max(1, round(len(searched) / len(starts))))
    rates: dict[float, tuple[float, float] | None] = {}
    numbers = np.cumsum(np.diff(searched, prepend=-1) > 0) - 1
    strangers = np.full(len(starts), np.inf)
    np.minimum.at(strangers, numbers[~same], distances[~same])
    answered = np.bincount(numbers, weights=same) > 0
    size = max(1, round(int((~same).sum()) / int(np.isfinite(strangers).sum())))
    for rate in RATES:
        try:
            threshold = fitted.threshold(rate, entries=size)
        except ValueError:  # too few people for the rate, which the remarks say
            rates[rate] = None
            continue
        right = (same[starts] & (distances[starts] <= threshold))[answered]
        rates[rate] = 100 * float(np.mean(strangers[np.isfinite(strangers)] <= threshold)), 100 * float(np.mean(right))
    first, right = fitted.first_probability(distances[starts]), same[starts]
    of = reliability(likely, same), reliability(first, right), reliability(likely[starts], right)
    return Judged(key, source, fitted, people, *of, rates)


def judged(
    settings: Settings,
    results: Sequence[comparison.Result],
    network: features.Network,
    selected: selection.Selection,
    people: People,
) -> list[Judged]:
    """Every calibration that the settings want, of the results that can have one."""
    how, found = settings.calibrating, []
    titles = {method.title for method in settings.calibrated}
    for result in results:
        if result.method.title not in titles:
            continue
        known = about(result.method, result.shots, network, settings.variants.multi_shot, weighted=selected.weighted)
        calibrations = []
        if how.calibrate != "none":
            fit_on = people.fit_on
            on = known | {"people": {"data": people.data, "identities": fit_on.tolist()}}
            calibrations.append((BOTH[0], _fitted(searches(result, fit_on), how.calibrate, on, len(fit_on))))
        if how.calibration is not None:
            calibrations.append((BOTH[1], calibration_files.given(how.calibration, result.key, known)))
        of = searches(result, people.judged_on)
        count = len(people.judged_on)
        if not (of.same.any() and not of.same.all()):
            raise ValueError(
                f"calibrate: {count} people have no pairs of one person or none of two to judge by: give more"
            )
        found += [judge(one, of, key=result.key, source=source, people=count) for source, one in calibrations]
    return found


def check(settings: Settings, network: features.Network, *, weighted: str = "norm") -> None:
    """Errors of the settings and of the files of an earlier run, before any long work."""
    settings.check_calibrated()
    if (folder := settings.calibrating.calibration) is not None:
        if Path(folder).resolve() == Path(settings.place.folder()).resolve():
            raise ValueError(
                f"calibration {folder} is this run's own workdir, whose people the calibrations were fitted on: give "
                "that of an evaluation of other people"
            )
        for shots in settings.comparison.conditions:
            for method in settings.calibrated:
                known = about(method, shots, network, settings.variants.multi_shot, weighted=weighted)
                calibration_files.given(folder, comparison.key("", method, shots), known)


def part(judged: Sequence[Judged]) -> page.Part:
    """Table, reliability diagrams, metrics and remarks."""
    rows = tuple(report.Row(one.key, one.cells, one.source) for one in judged)
    note = (
        "ECE: expected calibration error in per cent, of all pairs, of first answers by the curve that was fitted for "
        "them, and of first answers by the curve of pairs. strangers@F: probes that "
        "are found although their person is left out of the gallery, at the threshold for 100 F per cent; found@F: "
        "probes whose first answer is right and within it."
    )
    caption = "Calibration: probabilities and thresholds, judged on people that they were not fitted on"
    table = report.Table(caption, "calibration", COLUMNS, rows, note=note)
    metrics = {
        f"{one.key}/{_called(one)}/{name}": value
        for one in judged
        for name, value in (*zip(FIGURES, one.cells, strict=True), *_counts(one))
    }
    remarks = [
        f"{one.key}, calibration {one.source}: it was fitted on {one.fitted.probes} probes, too few for a "
        f"false-positive rate of {', '.join(f'{rate:g}' for rate, of in one.rates.items() if of is None)} here"
        for one in judged
        if None in one.rates.values()
    ]
    remarks += [
        f"{one.key}, calibration {one.source}: it does not say which people it was fitted on; if some of them are "
        "here, it looks better than it is"
        for one in judged
        if not one.fitted.fitted_on.get("people")
    ]
    return page.Part(table, metrics, tuple(_diagrams(judged)), tuple(remarks))


def save(workdir: Workdir, judged: Sequence[Judged]) -> None:
    """Writes the calibrations that were fitted here; of several processes the first does it."""
    for one in judged:
        if one.source == BOTH[0] and hosts.first():
            one.fitted.save(calibration_files.path(workdir.path, one.key))


def _fitted(found: Searches, method: str, known: dict[str, Any], people: int) -> Calibration:
    """A calibration of half of the people."""
    try:
        return calibration.fit(
            found.distances, found.same, method=method, probes=found.probes, draws=found.numbers, fitted_on=known
        )
    except ValueError as error:
        raise ValueError(f"calibrate={method}, on {people} people, half of all: {error}") from error


def _called(one: Judged) -> str:
    return calibration_files.FOLDER if one.source == BOTH[0] else f"{calibration_files.FOLDER}_given"


def _counts(one: Judged) -> list[tuple[str, Any]]:
    sizes = {"people": one.people, "fitted_pairs_same": one.fitted.pairs[0], "fitted_entries": one.fitted.entries}
    return list((sizes | {"fitted_probes": one.fitted.probes}).items())


def _diagrams(judged: Sequence[Judged]) -> Iterator[curves.Plot]:
    """Reliability diagrams, of every number of shots one of all pairs and one of first answers."""
    several = len({one.source for one in judged}) > 1
    for condition in dict.fromkeys(one.key.rpartition("/")[2] for one in judged):
        for what, name in (("all pairs", "pairs"), ("first answers", "first")):
            lines = [EXACT]
            for one in judged:
                title, _, shown = one.key.rpartition("/")
                if shown == condition:
                    of: Reliability = getattr(one, name)
                    places, values = (tuple((100 * part).round(1).tolist()) for part in (of.probability, of.share))
                    lines.append(curves.Curve(title, values, one.source if several else "", places))
            yield curves.Plot(f"Reliability of probabilities, {what}, {condition}", tuple(lines), AXES)
