"""Training that goes wrong: it stops, and keeps the batch.

A figure is no number, a loss is beyond any good, or the network is dead: its maps are zero everywhere, whatever it is
shown, so nothing can be learnt any more.
"""

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
      figures: its figures, of which "loss" must stay within ``limit`` and "alive", where there is one, above 0.
      batch: what it was computed from.
      limit: largest absolute value of a sound loss.
      workdir: where `bad_batch.npz` goes: the arrays of the batch by name, with "phase" and "step".

    Raises:
      ValueError: when a figure is not finite, the loss beyond the limit or no map alive; the message names step and
        figure.
    """
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if not bad and abs(figures.get("loss", 0.0)) > limit:
        bad = [f"loss is {figures['loss']:g}, beyond --loss_limit={limit:g},"]
    if not bad and figures.get("alive") == 0:
        bad = ["the maps of all images are zero everywhere, the network is dead"]
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
