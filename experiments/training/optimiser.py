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
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_enum("schedule", "cosine", ["constant", "step", "cosine"], "How the learning rate goes after the warm-up.")
flags.DEFINE_float("warm_up", 0.05, "Share of the updates over which the learning rate rises from 0.", lower_bound=0.0)
flags.DEFINE_list("milestones", ["0.5", "0.75"], "Shares of the updates after which --schedule=step lowers the rate.")
flags.DEFINE_float("milestone_factor", 0.1, "By what --schedule=step multiplies the rate there.", lower_bound=0.0)
flags.DEFINE_float("clip", 1.0, "Largest norm of the whole gradient; 0: not clipped.", lower_bound=0.0)
flags.DEFINE_integer(
    "accumulate", 1, "Batches whose mean gradient makes one update; steps still count batches.", lower_bound=1
)
flags.DEFINE_float("weight_decay", 5e-4, "Weight decay, of AdamW's decoupled kind or added to SGD's gradient.")
flags.DEFINE_float("momentum", 0.9, "Momentum of SGD.", lower_bound=0.0, upper_bound=1.0)


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


def from_flags(name: str, learning_rate: float, *, count: int, head_factor: float = 1.0) -> Optimiser:
    """The optimiser that the flags describe.

    Raises:
      ValueError: for shares that are none, or ``count`` that `--accumulate` does not divide.
    """
    try:
        milestones = tuple(float(share) for share in FLAGS.milestones)
    except ValueError:
        milestones = (-1.0,)
    if not all(0 < share < 1 for share in milestones) or list(milestones) != sorted(set(milestones)):
        raise ValueError(f"milestones must be rising shares such as 0.5,0.75, got {','.join(FLAGS.milestones)}")
    if not FLAGS.warm_up < 1:
        raise ValueError(f"warm_up is a share of the updates, in [0, 1), got {FLAGS.warm_up}")
    if FLAGS.schedule == "step" and milestones and FLAGS.warm_up >= milestones[0]:
        raise ValueError(
            f"warm_up={FLAGS.warm_up} reaches beyond the first of --milestones={','.join(FLAGS.milestones)}"
        )
    return build(
        name,
        learning_rate,
        count=count,
        head_factor=head_factor,
        clip=FLAGS.clip,
        decay=FLAGS.weight_decay,
        momentum=FLAGS.momentum,
        accumulate=FLAGS.accumulate,
        schedule=Schedule(FLAGS.schedule, FLAGS.warm_up, milestones, FLAGS.milestone_factor),
    )
