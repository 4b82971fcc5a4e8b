"""Training that goes wrong, by a figure that is no number or a loss beyond any good: it stops, and keeps the batch."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dsr_jax.formats import atomic
from experiments.workdir import Workdir

FILE = "bad_batch.npz"


def check(
    figures: Mapping[str, float], batch: Mapping[str, Any], *, phase: str, step: int, limit: float, workdir: Workdir
) -> None:
    """Looks at what a step came to.

    Args:
      figures: its figures, of which "loss" must stay within ``limit``.
      batch: what it was computed from.
      limit: largest absolute value of a sound loss.
      workdir: where `bad_batch.npz` goes: the arrays of the batch by name, with "phase" and "step".

    Raises:
      ValueError: when a figure is not finite or the loss beyond the limit; the message names figure and step.
    """
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if not bad and abs(figures.get("loss", 0.0)) > limit:
        bad = [f"loss is {figures['loss']:g}, beyond --loss_limit={limit:g},"]
    if not bad:
        return
    file = workdir.path / FILE
    if jax.process_index() == 0:
        with atomic.opened(file) as target:
            np.savez(target, **{**batch, "phase": np.array(phase), "step": np.array(step)})
    raise ValueError(
        f"{phase}: {', '.join(bad)} at step {step}: lower the learning rate and use another --workdir; "
        f"nothing of this step was saved but its batch, {file}"
    )
