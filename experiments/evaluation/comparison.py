"""Comparison of methods on the same probes, gallery draws and network (Sec. 4.2 to 4.4).

Trials of random gallery draws are turned into distances by each method, distances into scores. Results are means over
trials with 95 % intervals by bootstrap over identities.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from dsr_jax import metrics
from dsr_jax.evaluation import candidates, intervals, protocols, verification, verification_intervals
from experiments.evaluation import reliance
from experiments.evaluation.features import Sides
from experiments.evaluation.methods import DSR, STRETCHED, Method
from experiments.evaluation.pictures import Images, some

WHOLE = 0  # shots, where every gallery image is an entry of its own
FPRS = (0.001, 0.01, 0.1)  # false-positive rates at which the true-positive rate is given


def draws(
    probes: Images, gallery: Images, *, shots: int, trials: int, camera_rule: str, seed: int
) -> list[protocols.Trial]:
    """The gallery draws of all trials, of so many shots per identity; the whole gallery for `WHOLE`."""
    labels = probes.cameras, gallery.identities, gallery.cameras
    if shots == WHOLE:
        return [protocols.whole_gallery(*labels, camera_rule=camera_rule)]
    return list(protocols.trials(*labels, shots=shots, count=trials, seed=seed, camera_rule=camera_rule))


def condition(shots: int) -> str:
    """Name of a number of shots in keys: "shots<N>" or "whole".

    Example:
      >>> condition(3), condition(WHOLE)
      ('shots3', 'whole')
    """
    return "whole" if shots == WHOLE else f"shots{shots}"


def described(shots: int) -> str:
    """Name of a number of shots in tables and plots."""
    return "whole gallery" if shots == WHOLE else f"N = {shots}"


def key(label: str, method: Method, shots: int) -> str:
    """Name of a result in files and tables: "<label>/<method>/shots<N>", or ".../whole"."""
    return "/".join(part for part in (label, method.title, condition(shots)) if part)


def used(trials: Sequence[protocols.Trial]) -> list[int]:
    """The gallery images that some trial draws, ascending."""
    return sorted({int(i) for trial in trials for images in trial.draw.images for i in images})


def shortages(trials: Sequence[protocols.Trial], *, shots: int) -> list[str]:
    """Remarks on the draws: identities with too few images, or with none for some camera."""
    lines = []
    for trial in trials:
        of_camera = "" if trial.camera == protocols.UNKNOWN else f" for probes of camera {trial.camera}"
        if trial.number == 0 and trial.draw.short:
            short = trial.draw.short
            lines.append(f"{shots} shots{of_camera}: {len(short)} identities have fewer images: {some(short)}")
        if trial.number == 0 and trial.draw.absent:
            absent = trial.draw.absent
            lines.append(f"{shots} shots{of_camera}: {len(absent)} gallery identities have none: {some(absent)}")
    return lines


def distances(
    method: Method,
    sides: Sides,
    trials: Sequence[protocols.Trial],
    *,
    label: str,
    progress: bool,
    identities: np.ndarray | None = None,
) -> list[np.ndarray]:
    """(probes, entries) distances of every trial.

    With one shot, each pair of probe and gallery image is matched once however many trials draw it, unless the method
    looks at all entries together, or at a shortlist of them.

    Args:
      identities: (P,) of all probes, which a shortlist needs: junk and entries that the camera rule removes take no
        place in it.
    """
    matrices: list[np.ndarray] = [np.empty(0)] * len(trials)
    # Of one draw, the whole gallery for example, the method's own bar says more.
    with tqdm(total=len(trials), desc=label, unit="draw", disable=not progress or len(trials) == 1) as bar:
        for camera in sorted({trial.camera for trial in trials}):
            numbers = [i for i, trial in enumerate(trials) if trial.camera == camera]
            of = _lookup(method, sides, [trials[i] for i in numbers], identities)
            for i in numbers:
                matrices[i] = of(trials[i])
                bar.update()
    return matrices


@dataclass(frozen=True)
class Result:
    """Figures of one method on one network."""

    label: str  # the network's condition, "before" or "after"; empty for the only one
    method: Method
    shots: int  # gallery images per identity, or `WHOLE`
    trials: Sequence[protocols.Trial]
    distances: Sequence[np.ndarray]
    identities: np.ndarray

    @property
    def key(self) -> str:
        """Its name in `metrics.json`: "<label>/<method>/shots<N>", or ".../whole"."""
        return key(self.label, self.method, self.shots)

    @functools.cached_property
    def scores(self) -> list[metrics.Scores]:
        """Scores of all probes for every trial number."""
        groups: dict[int, list[tuple[np.ndarray, metrics.Scores]]] = {}
        for trial, matrix in self._groups:
            scores = metrics.ranks(matrix, **trial.labels(self.identities)._asdict())
            groups.setdefault(trial.number, []).append((trial.probes, scores))
        return [metrics.regroup(groups[number]) for number in sorted(groups)]

    @property
    def pairs(self) -> verification.Pairs:
        """All pairs of probe and entry, of all trials; not cached, as they take more memory than the distances."""
        return verification.concatenate(
            [
                (trial.probes, verification.pairs(matrix, trial.labels(self.identities)))
                for trial, matrix in self._groups
            ]
        )

    @functools.cached_property
    def per_probe(self) -> dict[str, np.ndarray]:
        """ "rank1" ... "rank20", "mAP" and "mINP" of every probe in per cent, (P,) each: means over trials."""
        values = {f"rank{k}": np.mean([s.hits(k) for s in self.scores], axis=0) for k in metrics.RANKS}
        values["mAP"] = np.mean([s.average_precision for s in self.scores], axis=0)
        values["mINP"] = np.mean([s.inverse_negative_penalty for s in self.scores], axis=0)
        return {name: 100 * value for name, value in values.items()}

    @functools.cached_property
    def figures(self) -> dict[str, intervals.Interval]:
        """Means over the probes, and the figures of verification, in per cent with their 95 % intervals.

        Without pairs of one person, or of two people, there is no verification: its figures are NaN.
        """
        ranking = {name: intervals.bootstrap_interval(value, self.identities) for name, value in self.per_probe.items()}
        nothing = intervals.Interval(np.nan, np.nan, np.nan)
        if not self.verifiable:
            return ranking | dict.fromkeys(("EER", *(f"TPR@{fpr:g}" for fpr in FPRS)), nothing)
        rates = verification_intervals.bootstrap_intervals(self.pairs, self.identities, fprs=FPRS)
        return ranking | {name: intervals.Interval(*(100 * end for end in rate)) for name, rate in rates.items()}

    @functools.cached_property
    def verifiable(self) -> bool:
        """Whether there are both pairs of one person and pairs of two people."""
        pairs = self.pairs
        return bool(len(pairs.same) and len(pairs.different))

    @property
    def remarks(self) -> list[str]:
        """Remarks on what averages hide: no right answer, ties, constant distances, only one person."""
        few = min(len(np.unique(trial.draw.identities)) for trial in self.trials)
        lines = metrics.remarks(self.scores)
        if not self.verifiable:
            lines.append("no verification: it needs pairs of one person and pairs of two people")
        if few <= max(metrics.RANKS):
            lines.append(f"the gallery has {few} people: rank-{few} and beyond are 100 by themselves")
        if self.method.name in STRETCHED:
            lines.append("every probe has a scale of its own: verification says little")
        if self.method.name in DSR and (count := self._rebuild_nothing):
            lines.append(f"{count} gallery entries are at distance 1 from every probe: maps of zeros, or like none")
        return lines + (self.reliance.remarks if self.reliance else [])

    @property
    def _rebuild_nothing(self) -> int:
        """Gallery entries of a trial that rebuild nothing of any probe, the most of all trials."""
        each = [np.all(np.abs(matrix - 1) < 1e-6, axis=0) for _, matrix in self._groups if len(matrix) > 1]
        return max((int(np.count_nonzero(columns)) for columns in each), default=0)

    @functools.cached_property
    def reliance(self) -> reliance.Reliance | None:
        """Figures that rest on the coarse distance which chose a shortlist; None without one."""
        if not self.method.shortlist:
            return None
        left = [
            (trial.probes, candidates.candidates(matrix, trial.labels(self.identities)))
            for trial, matrix in self._groups
        ]
        threshold = {}
        if self.verifiable:
            roc = verification.roc(self.pairs)
            threshold = {"EER": roc.equal_error_threshold} | {f"TPR@{fpr:g}": roc.threshold_at(fpr) for fpr in FPRS}
        return reliance.of(left, len(self.identities), self.method.shortlist, self.method.by, threshold)

    @property
    def counts(self) -> dict[str, int]:
        """Probes with ties at their first right answer, and probes equally far from all entries, in any trial."""
        return {
            "ties": int(np.any([s.tied > 0 for s in self.scores], axis=0).sum()),
            "equally_far": int(np.any([s.constant for s in self.scores], axis=0).sum()),
        }

    def rivals(self, results: Sequence["Result"]) -> list["Result"]:
        """The other methods under the same condition, with as many shots."""
        alike, title = (self.label, self.shots), self.method.title
        return [one for one in results if (one.label, one.shots) == alike and one.method.title != title]

    @property
    def _groups(self) -> list[tuple[protocols.Trial, np.ndarray]]:
        return list(zip(self.trials, self.distances, strict=True))


def _lookup(
    method: Method, sides: Sides, trials: Sequence[protocols.Trial], identities: np.ndarray | None
) -> Callable[[protocols.Trial], np.ndarray]:
    """Distances of the trials of one camera; the union of single images is matched once."""
    listed = method.listed
    if listed and identities is not None and any(0 < method.shortlist < len(trial.draw.images) for trial in trials):
        return lambda trial: listed(
            sides,
            trial.probes,
            [images.tolist() for images in trial.draw.images],
            method.shortlist,
            method.by,
            candidates.allowed(trial.labels(identities)),
        )
    several = any(len(images) > 1 for trial in trials for images in trial.draw.images)
    if several or method.together:
        return lambda trial: method.compare(sides, trial.probes, [images.tolist() for images in trial.draw.images])
    union = np.unique(np.concatenate([np.concatenate(trial.draw.images) for trial in trials]))
    matrix = method.compare(sides, trials[0].probes, [[g] for g in union.tolist()])
    return lambda trial: matrix[:, np.searchsorted(union, np.concatenate(trial.draw.images))]
