"""Pre-training with the identification signal (Sec. 3.3, Fig. 5a): softmax over the training identities.

    python -m experiments.pretrain --dataset=cuhk03 --data_dir=DATA --weights=vgg16.npz --workdir=OUT

Writes `network.safetensors` (network, classifier, card), `log.jsonl`, `config.json` and `metrics.json` into the
workdir. Started again with the same flags it goes on where it was.
"""

import functools

from absl import flags

from experiments import run, settings
from experiments.evaluation import selection
from experiments.training import batches, loop, optimiser, seeds, starting, steps, validation

FLAGS = flags.FLAGS
flags.DEFINE_integer("pretrain_steps", 1000, "Steps of identification training.", lower_bound=0)
flags.DEFINE_integer("pretrain_batch_size", 32, "Views per step of identification training.", lower_bound=1)
flags.DEFINE_float("pretrain_rate", 3e-4, "Learning rate of identification training.", lower_bound=0.0)
flags.DEFINE_enum("pretrain_optimizer", "adam", ["sgd", "adam"], "SGD with momentum, or AdamW.")
flags.DEFINE_float("pretrain_head_factor", 10.0, "Learning rate of the classifier relative to the network's.")
flags.DEFINE_float("patch_share", 0.0, "Share of the views that are patches; the paper pre-trains on whole images: 0.")
flags.DEFINE_integer(
    "buckets", 0, "Training images keep their own size, padded to so many shapes; 0: all are brought to --size.",
    lower_bound=0,
)  # fmt: skip


def rule() -> optimiser.Optimiser:
    """How parameters are updated, as the flags say."""
    return optimiser.from_flags(
        FLAGS.pretrain_optimizer,
        FLAGS.pretrain_rate,
        count=FLAGS.pretrain_steps,
        head_factor=FLAGS.pretrain_head_factor,
    )


def train(workdir: run.Workdir, start: starting.Start) -> tuple[steps.State, validation.History]:
    """Identification training from ``start``; returns the final or best state, and the validations."""
    updates = rule()
    step = functools.partial(
        steps.identification_step, optimiser=updates.transform, trunk=start.trunk, smoothing=FLAGS.smoothing
    )
    state = steps.init(start.params, start.head, updates.transform, frozen_blocks=FLAGS.frozen_blocks)
    dataset = batches.identification(
        start.views,
        start.people.classes,
        batch_size=FLAGS.pretrain_batch_size,
        patch_share=FLAGS.patch_share,
        seed=FLAGS.seed,
        per_identity=start.per_identity,
        share=starting.share(FLAGS.pretrain_batch_size),
    )
    return loop.fit(
        step,
        state,
        start.frozen(),
        dataset,
        phase="identification",
        count=FLAGS.pretrain_steps,
        workdir=workdir,
        rate=updates.rate,
        rows=FLAGS.pretrain_batch_size,
        validate=start.validation(),
    )


def main() -> None:
    """The runner."""
    validation.refuse()
    seeds.each("pretrain", one_seed)


def one_seed() -> None:
    """Pre-training with one seed."""
    workdir = run.Workdir(settings.workdir_given(), selection.flag_values("pretrain"))
    if starting.finished(workdir):
        return
    rule()  # flags are checked before anything is written
    validation.check()
    workdir.claim()
    start = starting.Start(workdir, batch_sizes=["pretrain_batch_size"], buckets=FLAGS.buckets)
    state, history = train(workdir, start)
    starting.finish(workdir, start.after(state), phase="identification", scores=history.metrics())
    workdir.write_metrics({"steps": int(state.step), "identities": start.identities, **history.metrics()})


if __name__ == "__main__":
    run.main(main)
