"""How parameters are updated: SGD with momentum (the paper) or AdamW, clipped, accumulated, at a scheduled rate.

The rate of update u of U rises linearly over the first `--warm_up` share of the updates, then follows `--schedule`:

    constant   rate
    step       rate times `--milestone_factor` for every share of `--milestones` that u / U has passed
    cosine     rate (1 + cos(pi (u - w) / (U - w))) / 2, w the updates of the warm-up

With `--accumulate` = k the mean gradient of k batches makes one update: the same as a batch k times as large where the
loss is a mean over its examples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from experiments.settings.training import Update


class Optimiser(NamedTuple):
    """A gradient transformation and the learning rate that the network has at a step (1, 2, ...)."""

    transform: optax.GradientTransformation
    rate: Callable[[int], float]


def scheduled(update: Update, count: int, rate: float) -> optax.Schedule:
    """The learning rate of each of ``count`` updates, ``rate`` at the most.

    Example:
      >>> at = scheduled(Update("step", warm_up=0.2, milestones=(0.5,)), 10, 1.0)
      >>> [round(float(at(u)), 2) for u in range(10)]
      [0.0, 0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1]
    """
    warm = max(1, int(update.warm_up * count)) if update.warm_up else 0
    if update.schedule == "constant":
        after = optax.constant_schedule(rate)
    elif update.schedule == "step":
        places = [int(share * count) - warm for share in update.milestones]
        after = optax.piecewise_constant_schedule(rate, {place: update.milestone_factor for place in places})
    else:
        after = optax.cosine_decay_schedule(rate, max(count - warm, 1))
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warm), after], [warm]) if warm else after


def build(name: str, learning_rate: float, update: Update, *, count: int, head_factor: float = 1.0) -> Optimiser:
    """An optimiser of {"network": ..., "head": ...}.

    Args:
      name: "sgd" (with momentum) or "adam" (AdamW).
      learning_rate: the highest.
      head_factor: the head's learning rate relative to the network's.
    """
    if count % update.accumulate:
        raise ValueError(
            f"accumulate={update.accumulate} does not divide the {count} steps: the last batches would be for nothing"
        )
    updates = count // update.accumulate

    def rule(rate: float) -> optax.GradientTransformation:
        at = scheduled(update, updates, rate)
        if name == "adam":
            return optax.adamw(at, weight_decay=update.weight_decay)
        return optax.chain(optax.add_decayed_weights(update.weight_decay), optax.sgd(at, momentum=update.momentum))

    rules = {"network": rule(learning_rate), "head": rule(learning_rate * head_factor)}

    def labels(params: dict[str, Any]) -> dict[str, Any]:
        return {name: jax.tree.map(lambda _, name=name: name, part) for name, part in params.items()}

    transform = optax.partition(rules, labels)
    if update.clip:
        transform = optax.chain(optax.clip_by_global_norm(update.clip), transform)
    if update.accumulate > 1:
        transform = optax.MultiSteps(transform, update.accumulate).gradient_transformation()
    rates = jax.jit(scheduled(update, updates, learning_rate))
    return Optimiser(transform, lambda step: float(rates((step - 1) // update.accumulate)))
