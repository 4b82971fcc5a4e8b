"""Scoring of every method on one network: gallery draws, remarks on them, distances from the store or computed."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax.evaluation import protocols
from experiments.evaluation import comparison, features, store
from experiments.evaluation.methods import Method, Options
from experiments.evaluation.selection import Selection
from experiments.workdir import Workdir

Trials = Mapping[int, Sequence[protocols.Trial]]  # by number of shots


def draws(selected: Selection, conditions: Sequence[int], count: int, seed: int) -> Trials:
    """The gallery draws of all trials, for every number of shots."""
    how: dict[str, Any] = {"trials": count, "camera_rule": selected.camera_rule, "seed": seed}
    return {shots: comparison.draws(selected.probes, selected.gallery, shots=shots, **how) for shots in conditions}


def drawn(trials: Trials) -> list[int]:
    """The gallery images that some trial draws, ascending."""
    return comparison.used([trial for of_shots in trials.values() for trial in of_shots])


def remarks(selected: Selection, trials: Trials, methods: Sequence[Method], size: tuple[int, int]) -> list[str]:
    """Remarks on probes, gallery and draws, to be printed before the first number."""
    lines = [*selected.remarks]
    for shots, of_shots in trials.items():
        lines += comparison.shortages(of_shots, shots=shots)
    if {"swm", "amc_swm"} & {method.name for method in methods}:
        scaled = len(features.larger(selected.probes, size))
        lines += [f"swm: {scaled} probes are larger than the gallery's size and are scaled to fit"] * bool(scaled)
    return lines


def results(
    workdir: Workdir,
    network: features.Network,
    sides: features.Sides,
    selected: Selection,
    trials: Trials,
    methods: Sequence[Method],
    *,
    label: str,
    coding: Options,
    window_stride: int,
) -> list[comparison.Result]:
    """Every method on one network, for every number of shots; stored distances are not computed again.

    Args:
      sides: its maps, or whatever else the methods compare.
      label: the network's condition; empty for the only one.
      window_stride: pixels from window to window, for `swm`; 0: one output cell.
    """
    identities = selected.probes.identities
    stored = store.Store(workdir, store.digest(network, selected.probes, selected.gallery, coding, window_stride))

    def distances(method: Method, shots: int) -> list[np.ndarray]:
        compute = functools.partial(computed, method, shots)
        return stored.get(comparison.key(label, method, shots), trials[shots], compute)

    def computed(method: Method, shots: int) -> list[np.ndarray]:
        if method.fuse:
            parts = [distances(part, shots) for part in method.parts]
            return [method.fuse(*of_trial) for of_trial in zip(*parts, strict=True)]
        name, progress = comparison.key(label, method, shots), coding.progress
        return comparison.distances(method, sides, trials[shots], label=name, progress=progress, identities=identities)

    return [
        comparison.Result(label, method, shots, trials[shots], distances(method, shots), identities)
        for shots in trials
        for method in methods
    ]
