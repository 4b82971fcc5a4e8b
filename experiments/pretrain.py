"""Pre-training with the identification signal (Sec. 3.3, Fig. 5a): softmax over the training identities.

    python -m experiments.pretrain --dataset=cuhk03 --data_dir=DATA --weights=vgg16.npz --workdir=OUT

Writes `network.safetensors` (network, classifier, card), `log.jsonl`, `config.json` and `metrics.json` into the
workdir. Started again with the same flags it goes on where it was.
"""

import functools

from absl import flags

from experiments import batches, run, settings, steps, training

FLAGS = flags.FLAGS
flags.DEFINE_integer("pretrain_steps", 1000, "Steps of identification training.", lower_bound=0)
flags.DEFINE_integer("pretrain_batch_size", 32, "Views per step of identification training.", lower_bound=1)
flags.DEFINE_float("pretrain_rate", 3e-4, "Learning rate of identification training (AdamW).", lower_bound=0.0)
flags.DEFINE_float("pretrain_head_factor", 10.0, "Learning rate of the classifier relative to the network's.")
flags.DEFINE_float("patch_share", 0.0, "Share of the views that are patches; the paper pre-trains on whole images: 0.")
flags.DEFINE_integer(
    "buckets", 0, "Training images keep their own size, padded to so many shapes; 0: all are brought to --size.",
    lower_bound=0,
)  # fmt: skip


def train(workdir: run.Workdir, start: training.Start) -> steps.State:
    """Identification training from ``start``; returns the final state."""
    optimiser = training.optimiser(
        "adam", FLAGS.pretrain_rate, count=FLAGS.pretrain_steps, head_factor=FLAGS.pretrain_head_factor
    )
    step = functools.partial(
        steps.identification_step, optimiser=optimiser, trunk=start.trunk, smoothing=FLAGS.smoothing
    )
    state = steps.init(start.params, start.head, optimiser, frozen_blocks=FLAGS.frozen_blocks)
    dataset = batches.identification(
        start.views,
        start.people.classes,
        batch_size=FLAGS.pretrain_batch_size,
        patch_share=FLAGS.patch_share,
        seed=FLAGS.seed,
        per_identity=start.per_identity,
        share=start.share,
    )
    return training.fit(
        step, state, start.frozen(), dataset, phase="identification", count=FLAGS.pretrain_steps, workdir=workdir
    )


def main() -> None:
    """The runner."""
    workdir = run.Workdir(settings.workdir_given(), run.flag_values("pretrain"))
    if training.finished(workdir):
        return
    start = training.Start(workdir, batch_sizes=["pretrain_batch_size"], buckets=FLAGS.buckets)
    state = train(workdir, start)
    training.finish(workdir, start.after(state), phase="identification")
    workdir.write_metrics({"steps": int(state.step), "identities": start.identities})


if __name__ == "__main__":
    run.main(main)
