"""Scoring of every method on one network: gallery draws, remarks on them, distances from the store or computed."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax.evaluation import protocols
from experiments.evaluation import comparison, features, store
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


def sides(selected: Selection, trials: Trials, settings: Compared, network: features.Network) -> features.Sides:
    """What the network makes of the probes and of the gallery images that some trial draws, computed when needed."""
    drawn = comparison.used([trial for of_shots in trials.values() for trial in of_shots])
    return selected.sides(
        network, drawn, window_stride=settings.variants.window_stride, progress=settings.place.progress
    )


def remarks(selected: Selection, trials: Trials, settings: Compared, size: tuple[int, int]) -> list[str]:
    """Remarks on probes, gallery and draws, to be printed before the first number."""
    lines = [*selected.remarks]
    for shots, of_shots in trials.items():
        lines += comparison.shortages(of_shots, shots=shots)
    if {"swm", "amc_swm"} & {*settings.comparison.methods}:
        scaled = len(features.larger(selected.probes, size))
        lines += [f"swm: {scaled} probes are larger than the gallery's size and are scaled to fit"] * bool(scaled)
    return lines


def results(
    workdir: Workdir,
    settings: Compared,
    network: features.Network,
    sides: features.Sides,
    selected: Selection,
    trials: Trials,
    *,
    label: str,
) -> list[comparison.Result]:
    """Every method on one network, for every number of shots; stored distances are not computed again.

    Args:
      workdir: where distances are stored.
      settings: the methods, and how they code.
      network: the network.
      sides: its maps, or whatever else the methods compare.
      selected: probes and gallery.
      trials: the draws.
      label: the network's condition; empty for the only one.
    """
    identities, progress = selected.probes.identities, settings.place.progress
    how = settings.coding, settings.variants.window_stride
    stored = store.Store(workdir, store.digest(network, selected.probes, selected.gallery, *how))

    def distances(method: Method, shots: int) -> list[np.ndarray]:
        compute = functools.partial(computed, method, shots)
        return stored.get(comparison.key(label, method, shots), trials[shots], compute)

    def computed(method: Method, shots: int) -> list[np.ndarray]:
        if method.fuse:
            parts = [distances(part, shots) for part in method.parts]
            return [method.fuse(*of_trial) for of_trial in zip(*parts, strict=True)]
        name = comparison.key(label, method, shots)
        return comparison.distances(method, sides, trials[shots], label=name, progress=progress, identities=identities)

    return [
        comparison.Result(label, method, shots, trials[shots], distances(method, shots), identities)
        for shots in trials
        for method in settings.methods
    ]
