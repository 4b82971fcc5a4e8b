"""Validation during training: single-scale DSR or MaxSim on cropped pictures of the --holdout identities.

Every so many steps the network searches as `evaluate --subset=heldout --methods=dsr_single` does (`maxsim_single`, if
that distance is trained), with the same crops and a few single-shot gallery draws. The network with the highest mAP is
the one that training gives; training stops early when it has not been beaten `--patience` times in a row. What frozen
blocks make of the pictures is kept from one validation to the next.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from data import decoded
from dsr_jax import extract, fcn, report
from experiments.evaluation import comparison, features, methods, selection
from experiments.settings.training import Training

TRIALS = 5  # gallery draws; each pair of images is matched once, however many draw it


class Validated(NamedTuple):
    """What a validation came to, in per cent."""

    step: int
    rank1: float
    mean_average_precision: float


class History(NamedTuple):
    """The validations of a training so far, in order."""

    entries: tuple[Validated, ...] = ()

    def after(self, validated: Validated) -> "History":
        """The history with one more."""
        return History((*self.entries, validated))

    @property
    def best(self) -> Validated | None:
        """The one with the highest mAP, of equals the first."""
        return max(self.entries, key=lambda entry: entry.mean_average_precision, default=None)

    def exhausted(self, patience: int) -> bool:
        """Whether the last ``patience`` validations have not beaten the best before them."""
        if not patience or self.best is None:
            return False
        return len(self.entries) - 1 - self.entries.index(self.best) >= patience

    def table(self) -> str:
        """All validations for the terminal."""
        rows = [
            (f"{step}{' *' if self.best and step == self.best.step else ''}", rank1, precision)
            for step, rank1, precision in self.entries
        ]
        return report.text_table(rows, ["step (* kept)", "rank-1", "mAP"])

    def metrics(self) -> dict[str, Any]:
        """The best for `metrics.json`; nothing where nothing was validated."""
        if self.best is None:
            return {}
        return {
            "validation_step": self.best.step,
            "validation_rank1": self.best.rank1,
            "validation_mAP": self.best.mean_average_precision,
        }

    @classmethod
    def of(cls, entries: Iterable[Iterable[Any]]) -> "History":
        """The history that a checkpoint holds."""
        return cls(tuple(Validated(*entry) for entry in entries))


class Validation:
    """Searches with a network among the held-out identities; reads and crops the pictures once.

    Args:
      settings: of the training: its data, its held-out people, its seed, the memory for what frozen blocks gave.
    """

    def __init__(self, settings: Training, size: tuple[int, int], *, convention: str, output_stride: int):
        blocks, memory = settings.frozen.frozen_blocks, settings.batches.image_memory * decoded.MEGABYTE
        kept = extract.Prefix(blocks, limit=memory) if blocks else None
        self._how: dict[str, Any] = {"convention": convention, "output_stride": output_stride, "size": size}
        self._how |= {"dtype": settings.network.compute, "prefix": kept}
        searched = settings.searched.held_out()
        self._found = selection.Selection(searched, size)
        print("\n".join([f"validation: {self._found.caption()}", *self._found.remarks]), flush=True)
        how: dict[str, Any] = {"trials": TRIALS, "camera_rule": searched.camera_rule, "seed": settings.seeds.seed}
        self._method = methods.named(settings.validated_by, methods.Options())
        self._trials = comparison.draws(self._found.probes, self._found.gallery, shots=1, **how)

    def __call__(self, params: fcn.Params, step: int) -> Validated:
        """What the network comes to."""
        found, trials = self._found, self._trials
        network = features.Network(params, **self._how)
        sides = features.Features(network, found.probes, found.gallery, comparison.used(trials))
        method = self._method
        distances = comparison.distances(method, sides, trials, label="validation", progress=False)
        result = comparison.Result("", method, 1, trials, distances, found.probes.identities)
        return Validated(step, *(float(np.mean(result.per_probe[name])) for name in ("rank1", "mAP")))
