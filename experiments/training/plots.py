"""`report/training.html`: how the figures of `log.jsonl` go, rewritten while a network is trained."""

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from dsr_jax import report
from experiments.workdir import Workdir

FILE = "training.html"
SHARE = 0.02  # of the time, at most, goes into drawing
PHASES = {"identification": "Identification training", "reconstruction": "Fine-tuning with DSR"}


class Drawn(NamedTuple):
    """Entries of the log that share a plot, by the names that they have there and those that are shown."""

    caption: str
    unit: str
    names: Mapping[str, str]
    log: bool = False


PLOTS = (
    Drawn("Loss", "loss", {"loss": "sum", "identification": "identification", "verification": "verification"}),
    Drawn("Accuracy of the classifier", "share of the batch", {"accuracy": "right"}),
    Drawn("Distances", "mean distance", {"positive_distance": "one person", "negative_distance": "two people"}),
    Drawn("Validation", "%", {"validation_rank1": "rank-1", "validation_mAP": "mAP"}),
    Drawn("Gradient", "norm", {"gradient_norm": "before clipping"}, log=True),
    Drawn("Learning rate", "rate", {"learning_rate": "network's"}),
    Drawn("Codes", "non-zero codes per block", {"nonzero_codes": "mean"}),
    Drawn("Duality gap of the codes", "gap", {"gap": "mean"}, log=True),
    Drawn("Maps", "share", {"alive": "of images, not zero everywhere", "counted": "of blocks, with a direction"}),
    Drawn("Speed", "images / s", {"images_per_second": "trained on"}),
    Drawn("Waiting for batches", "share of the time", {"waiting": "waiting"}),
)


class Live:
    """The page of a run in progress.

    Args:
      seconds: how long a page is left as it is; 0: none is written.
    """

    def __init__(self, workdir: Workdir, *, seconds: int):
        self._workdir, self._seconds, self._next = workdir, seconds, time.monotonic() + seconds

    def update(self, *, over: bool = False) -> None:
        """Writes the page if it is old; when all is ``over`` a last time, and then no reader needs to read it again."""
        if not self._seconds or jax.process_index() or not (over or time.monotonic() >= self._next):
            return
        begun = time.monotonic()
        write(self._workdir, refresh=0 if over else self._seconds)
        now = time.monotonic()
        self._next = now + max(self._seconds, (now - begun) / SHARE)


def write(workdir: Workdir, *, refresh: int = 0) -> None:
    """Writes the page of what the log holds."""
    entries = [json.loads(line) for line in (workdir.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    phases = dict.fromkeys(entry["phase"] for entry in entries)
    last = f"{PHASES.get(entries[-1]['phase'], entries[-1]['phase'])}: step {entries[-1]['step']}. " if entries else ""
    report.write_training(
        workdir.path / "report" / FILE,
        title=f"Training: {workdir.configuration.get('dataset', '')}",
        parts={
            PHASES.get(phase, phase): trends(entry for entry in entries if entry["phase"] == phase) for phase in phases
        },
        config=workdir.configuration,
        summary=f"{last}Lines are means over neighbouring steps, bands reach from the least to the most.",
        refresh=refresh,
    )


def trends(entries: Iterable[Mapping[str, Any]]) -> list[report.Trend]:
    """What the log's entries have to show; figures that are no numbers are left out."""
    listed = list(entries)
    found = []
    for drawn in PLOTS:
        traces = []
        for name, shown in drawn.names.items():
            points = [(entry["step"], entry[name]) for entry in listed if math.isfinite(entry.get(name, math.nan))]
            if points:
                steps, values = zip(*points, strict=True)
                traces.append(report.Trace(shown, steps, values))
        if traces:
            found.append(report.Trend(drawn.caption, drawn.unit, tuple(traces), drawn.log))
    return found
