"""Scoring of every method on one network: gallery draws, remarks on them, distances from the store or computed."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax import shortlist
from dsr_jax.evaluation import protocols
from experiments.evaluation import centred, comparison, features, looks, recall, store
from experiments.evaluation.methods import Method
from experiments.evaluation.selection import Selection
from experiments.settings.evaluation import Compared
from experiments.workdir import Workdir

Trials = Mapping[int, Sequence[protocols.Trial]]  # by number of shots


def draws(selected: Selection, settings: Compared) -> Trials:
    """The gallery draws of all trials, for every number of shots."""
    how: dict[str, Any] = {"trials": settings.comparison.trials, "seed": settings.seed.seed}
    how |= {"camera_rule": selected.camera_rule}
    return {
        shots: comparison.draws(selected.probes, selected.gallery, shots=shots, **how)
        for shots in settings.comparison.conditions
    }


def sides(
    selected: Selection, trials: Trials, settings: Compared, network: features.Network
) -> tuple[features.Sides, ...]:
    """What the network makes of the probes and of the gallery images that some trial draws, computed when needed.

    One of each look at the pictures.
    """
    drawn = comparison.used([trial for of_shots in trials.values() for trial in of_shots])
    how: dict[str, Any] = {"window_stride": settings.variants.window_stride, "progress": settings.place.progress}
    return selected.sides(network, drawn, looks=settings.looking.looks, centred=settings.looking.centred, **how)


def remarks(selected: Selection, trials: Trials, settings: Compared, size: tuple[int, int]) -> list[str]:
    """Remarks on probes, gallery and draws, to be printed before the first number."""
    lines = [*selected.remarks, *looks.remark(settings.looking.looks)]
    if settings.looking.centred is not None:
        lines += centred.remarks(selected.probes, selected.gallery, settings.looking.centred)
    for shots, of_shots in trials.items():
        lines += comparison.shortages(of_shots, shots=shots)
    if any("swm" in method.names for method in settings.methods):
        scaled = len(features.larger(selected.probes, size))
        lines += [f"swm: {scaled} probes are larger than the gallery's size and are scaled to fit"] * bool(scaled)
    return lines


@dataclass(frozen=True)
class Scoring:
    """Distances on one network, for every number of shots; stored ones are not computed again.

    Attributes:
      workdir: where distances are stored.
      settings: the methods, and how they code.
      network: the network.
      sides: its maps, or whatever else the methods compare, in each look at the pictures.
      selected: probes and gallery.
      trials: the draws.
      label: the network's condition; empty for the only one.
    """

    workdir: Workdir
    settings: Compared
    network: features.Network
    sides: Sequence[features.Sides]
    selected: Selection
    trials: Trials
    label: str

    def results(self) -> list[comparison.Result]:
        """Every method that the settings name."""
        identities = self.selected.probes.identities
        return [
            comparison.Result(self.label, method, shots, self.trials[shots], self.distances(method, shots), identities)
            for shots in self.trials
            for method in self.settings.methods
        ]

    def recalls(self, results: Sequence[comparison.Result]) -> list[recall.Recall]:
        """What each coarse distance would keep of the first answers of those that compared all entries."""
        return [
            recall.of(result, self.distances(recall.method(by), result.shots), by)
            for result in results
            if recall.exhaustive(result.method)
            for by in shortlist.BY
        ]

    def distances(self, method: Method, shots: int) -> list[np.ndarray]:
        """Distances of every trial."""
        key = comparison.key(self.label, method, shots)
        return self._stored.get(key, self.trials[shots], lambda: self._computed(method, shots))

    @functools.cached_property
    def _stored(self) -> store.Store:
        how: tuple[object, ...] = (self.settings.coding, self.settings.variants.window_stride)
        if self.settings.looking.looks != (looks.Look(),):
            how += (self.settings.looking.looks,)
        if self.settings.looking.centred is not None:
            how += ("centred", self.settings.looking.centred)
        return store.Store(self.workdir, store.digest(self.network, self.selected.probes, self.selected.gallery, *how))

    def _computed(self, method: Method, shots: int) -> list[np.ndarray]:
        if method.fuse:
            parts = [self.distances(part, shots) for part in method.parts]
            return [method.fuse(*of_trial) for of_trial in zip(*parts, strict=True)]
        of_looks = [
            comparison.distances(
                method,
                sides,
                self.trials[shots],
                label=comparison.key(self.label, method, shots),
                progress=self.settings.place.progress,
                identities=self.selected.probes.identities,
            )
            for sides in self.sides
        ]
        return [np.mean(of_trial, axis=0) for of_trial in zip(*of_looks, strict=True)]
