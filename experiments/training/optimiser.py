"""How parameters are updated: SGD with momentum (the paper) or AdamW, clipped, accumulated, at a scheduled rate.

The rate of update u of U rises linearly over the first ``warm_up`` share of the updates, then follows a form:

    constant   rate
    step       rate times ``factor`` for every share of ``milestones`` that u / U has passed
    cosine     rate (1 + cos(pi (u - w) / (U - w))) / 2, w the updates of the warm-up

With ``accumulate`` = k the mean gradient of k batches makes one update: the same as a batch k times as large where the
loss is a mean over its examples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from experiments.settings.training import Update


class Schedule(NamedTuple):
    """How the learning rate goes; see the module.

    Attributes:
      form: "constant", "step" or "cosine".
      warm_up: share of the updates.
      milestones: shares of the updates, of "step".
      factor: by what "step" multiplies there.
    """

    form: str = "cosine"
    warm_up: float = 0.05
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def over(self, count: int, rate: float) -> optax.Schedule:
        """The learning rate of each of ``count`` updates.

        Example:
          >>> rate = Schedule("step", warm_up=0.2, milestones=(0.5,)).over(10, 1.0)
          >>> [round(float(rate(u)), 2) for u in range(10)]
          [0.0, 0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1]
        """
        warm = max(1, int(self.warm_up * count)) if self.warm_up else 0
        if self.form == "constant":
            after = optax.constant_schedule(rate)
        elif self.form == "step":
            places = [int(share * count) - warm for share in self.milestones]
            after = optax.piecewise_constant_schedule(rate, {place: self.factor for place in places})
        else:
            after = optax.cosine_decay_schedule(rate, max(count - warm, 1))
        return optax.join_schedules([optax.linear_schedule(0.0, rate, warm), after], [warm]) if warm else after


class Optimiser(NamedTuple):
    """A gradient transformation and the learning rate that the network has at a step (1, 2, ...)."""

    transform: optax.GradientTransformation
    rate: Callable[[int], float]


def build(
    name: str,
    learning_rate: float,
    *,
    count: int,
    head_factor: float = 1.0,
    clip: float = 1.0,
    decay: float = 5e-4,
    momentum: float = 0.9,
    accumulate: int = 1,
    schedule: Schedule = Schedule(),  # noqa: B008  # immutable
) -> Optimiser:
    """An optimiser of {"network": ..., "head": ...}.

    Args:
      name: "sgd" (with momentum) or "adam" (AdamW).
      learning_rate: the highest.
      count: number of steps, each one batch.
      head_factor: the head's learning rate relative to the network's.
      clip: largest norm of the whole gradient; 0: not clipped.
      decay: weight decay.
      momentum: of SGD.
      accumulate: batches per update.
      schedule: how the rate goes.

    Raises:
      ValueError: if ``count`` is not a multiple of ``accumulate``.
    """
    if count % accumulate:
        raise ValueError(
            f"accumulate={accumulate} does not divide the {count} steps: the last batches would be for nothing"
        )
    updates = count // accumulate

    def rule(rate: float) -> optax.GradientTransformation:
        scheduled = schedule.over(updates, rate)
        if name == "adam":
            return optax.adamw(scheduled, weight_decay=decay)
        return optax.chain(optax.add_decayed_weights(decay), optax.sgd(scheduled, momentum=momentum))

    rules = {"network": rule(learning_rate), "head": rule(learning_rate * head_factor)}

    def labels(params: dict[str, Any]) -> dict[str, Any]:
        return {name: jax.tree.map(lambda _, name=name: name, part) for name, part in params.items()}

    transform = optax.partition(rules, labels)
    if clip:
        transform = optax.chain(optax.clip_by_global_norm(clip), transform)
    if accumulate > 1:
        transform = optax.MultiSteps(transform, accumulate).gradient_transformation()
    rates = jax.jit(schedule.over(updates, learning_rate))
    return Optimiser(transform, lambda step: float(rates((step - 1) // accumulate)))


def of(name: str, learning_rate: float, update: Update, *, count: int, head_factor: float = 1.0) -> Optimiser:
    """The optimiser that settings describe.

    Raises:
      ValueError: for ``count`` steps that `--accumulate` does not divide.
    """
    return build(
        name,
        learning_rate,
        count=count,
        head_factor=head_factor,
        clip=update.clip,
        decay=update.weight_decay,
        momentum=update.momentum,
        accumulate=update.accumulate,
        schedule=Schedule(update.schedule, update.warm_up, update.milestones, update.milestone_factor),
    )
