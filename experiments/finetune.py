"""Fine-tuning with DSR (Sec. 3.3, Fig. 5b, Algorithm 2), and the comparison before and after it (Fig. 13).

    python -m experiments.finetune --dataset=cuhk03 --data_dir=DATA --weights=PRETRAINED --workdir=OUT

Pairs of a whole image and a patch of another image at the same scale; the codes are solved exactly with the network
fixed, then one gradient step with the codes fixed (Eq. 7). The identification loss can be kept by weight. With
`--pretrain_steps` above 0 identification training comes first, from `--weights` or from random initialisation.

With `--evaluate` the probes and gallery are matched before and after, and a table and `report/index.html` are written.
"""

import functools

from absl import flags

from experiments import evaluate, pretrain, run, settings
from experiments.evaluation import page, selection
from experiments.training import batches, loop, optimiser, seeds, starting, steps, validation

FLAGS = flags.FLAGS
FLAGS.set_default("pretrain_steps", 0)  # here it is asked for; `pretrain` exists for nothing else
flags.DEFINE_integer("positives", 3000, "Positive pairs drawn (Sec. 3.3).", lower_bound=0)
flags.DEFINE_integer("negatives", 3000, "Negative pairs drawn.", lower_bound=0)
flags.DEFINE_integer("steps", 375, "Steps of fine-tuning; 375 of 16 pairs see 6,000 pairs once.", lower_bound=0)
flags.DEFINE_integer("batch_size", 16, "Pairs per step.", lower_bound=1)
flags.DEFINE_enum("optimizer", "sgd", ["sgd", "adam"], "SGD with momentum (the paper) or AdamW.")
flags.DEFINE_float("learning_rate", 1e-2, "Learning rate of fine-tuning.", lower_bound=0.0)
flags.DEFINE_enum(
    "verification",
    "signed",
    ["signed", "ranked"],
    "Eq. 5 on each pair; or every patch of the batch "
    "against every whole image of it, by softmax (use with --negatives=0).",
)
flags.DEFINE_enum(
    "mining",
    "none",
    ["none", "batch_hard"],
    "Which pairs count: those of --verification, or of every patch against every whole image of the batch each patch's "
    "hardest pair of one person and of two (more distances per step with --verification=signed).",
)
flags.DEFINE_float("verification_weight", 1.0, "Weight of the verification loss; 0 is the control.", lower_bound=0.0)
flags.DEFINE_float("id_loss_weight", 0.0, "Weight of the identification loss kept beside it.", lower_bound=0.0)
flags.DEFINE_bool("id_patches", False, "Whether the identification loss sees the patches as well.")
flags.DEFINE_float("l1", 0.4, "Weight of the L1 penalty, the paper's beta.", lower_bound=0.0)
flags.DEFINE_list("train_scales", ["1"], "Block scales of both sides in the verification loss.")
flags.DEFINE_enum("gradient", "envelope", ["envelope", "implicit"], "Eq. 7, or the exact gradient of Eq. 4.")
flags.DEFINE_float("ceiling", 1.0, "Negative pairs are pushed apart up to this distance; 1: without limit.")
flags.DEFINE_float("temperature", 0.1, "Softmax temperature of --verification=ranked, in distance.")
flags.DEFINE_bool("evaluate", True, "Match probes and gallery before and after, write table and report.")


def verification() -> steps.Verification:
    """How pairs are compared and what their losses weigh, as the flags say."""
    if not FLAGS.l1 > 0:
        raise ValueError(f"l1 must be positive, got {FLAGS.l1}; the paper uses 0.4")
    if not FLAGS.temperature > 0:
        raise ValueError(f"temperature must be positive, got {FLAGS.temperature}")
    if not FLAGS.verification_weight and not FLAGS.id_loss_weight:
        raise ValueError("verification_weight and id_loss_weight are both 0: nothing would be learnt, give one of them")
    if FLAGS.verification == "ranked" and FLAGS.negatives:
        raise ValueError("verification=ranked finds its negatives in the batch: give --negatives=0 with it")
    return steps.Verification(
        form=FLAGS.verification,
        weight=FLAGS.verification_weight,
        id_weight=FLAGS.id_loss_weight,
        id_patches=FLAGS.id_patches,
        l1=FLAGS.l1,
        scales=settings.integers("train_scales"),
        gradient=FLAGS.gradient,
        ceiling=FLAGS.ceiling,
        temperature=FLAGS.temperature,
        mining=FLAGS.mining,
    )


def rule() -> optimiser.Optimiser:
    """How parameters are updated, as the flags say."""
    return optimiser.from_flags(FLAGS.optimizer, FLAGS.learning_rate, count=FLAGS.steps)


def tune(
    workdir: run.Workdir, start: starting.Start, how: steps.Verification
) -> tuple[steps.State, validation.History]:
    """DSR fine-tuning from ``start``; returns the final or best state, and the validations."""
    updates = rule()
    step = functools.partial(
        steps.reconstruction_step,
        optimiser=updates.transform,
        trunk=start.trunk,
        smoothing=FLAGS.smoothing,
        verification=how,
    )
    state = steps.init(start.params, start.head, updates.transform, frozen_blocks=FLAGS.frozen_blocks)
    dataset = batches.pairs(
        start.views,
        start.people.classes,
        start.people.cameras,
        positives=FLAGS.positives,
        negatives=FLAGS.negatives,
        batch_size=FLAGS.batch_size,
        seed=FLAGS.seed,
        per_identity=start.per_identity,
        share=starting.share(FLAGS.batch_size),
    )
    return loop.fit(
        step,
        state,
        start.frozen(),
        dataset,
        phase="reconstruction",
        count=FLAGS.steps,
        workdir=workdir,
        rate=updates.rate,
        rows=FLAGS.batch_size,
        validate=start.validation(),
    )


def _batch_sizes() -> list[str]:
    """The flags of the batches of this run."""
    return ["batch_size"] * bool(FLAGS.steps) + ["pretrain_batch_size"] * bool(FLAGS.pretrain_steps)


def main() -> None:
    """The runner."""
    settings.refuse(("maps",))
    seeds.each("finetune", one_seed)


def one_seed() -> None:
    """Fine-tuning with one seed."""
    workdir = run.Workdir(settings.workdir_given(), selection.flag_values("finetune"))
    if starting.finished(workdir):
        print(page.text(workdir.metrics()))
        return
    how = verification()
    if FLAGS.buckets:
        raise ValueError("buckets keeps images at their own size and pairs need one scale: pre-train with it alone")
    rule(), pretrain.rule()  # flags are checked before anything is written
    validation.check()
    if FLAGS.evaluate:
        evaluate.check()
    workdir.claim()
    before = starting.Start(workdir, batch_sizes=_batch_sizes())
    if FLAGS.pretrain_steps:
        before = before.after(pretrain.train(workdir, before)[0])
    state, history = tune(workdir, before, how)
    after = before.after(state)
    starting.finish(workdir, after, phase="reconstruction", scores=history.metrics())
    figures = {"steps": int(state.step), "identities": before.identities, **history.metrics()}
    if FLAGS.evaluate:
        networks = {"before": before, "after": after}
        figures |= evaluate.compare(
            workdir, {name: evaluate.describe(part.params, part.card) for name, part in networks.items()}
        )
    workdir.write_metrics(figures)


if __name__ == "__main__":
    run.main(main)
