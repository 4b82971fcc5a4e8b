"""Pre-training with the identification signal (Sec. 3.3, Fig. 5a): softmax over the training identities.

    python -m experiments.pretrain --dataset=cuhk03 --data_dir=DATA --weights=vgg16.npz --workdir=OUT

Writes `network.safetensors` (network, classifier, card), `log.jsonl`, `config.json` and `metrics.json` into the
workdir. Started again with the same flags it goes on where it was.
"""

import functools
from dataclasses import dataclass

from data import binding
from experiments import run
from experiments.settings import training
from experiments.training import batches, loop, optimiser, seeds, steps, validation
from experiments.training.start import Start, check, finish, finished
from experiments.workdir import Workdir, opened


@dataclass(frozen=True)
class Settings(training.Training):
    """Settings of pre-training."""

    views: training.Views = training.Views()


def rule(settings: training.Training) -> optimiser.Optimiser:
    """The update of the parameters."""
    how = settings.identification
    return optimiser.build(
        how.pretrain_optimizer,
        how.pretrain_rate,
        settings.update,
        count=how.pretrain_steps,
        head_factor=how.pretrain_head_factor,
    )


def train(workdir: Workdir, start: Start, *, patch_share: float = 0.0) -> tuple[steps.State, validation.History]:
    """Identification training from ``start``; returns the final or best state, and the validations."""
    how, update = start.settings.identification, rule(start.settings)
    step = functools.partial(
        steps.identification_step, optimiser=update.transform, trunk=start.trunk, smoothing=how.smoothing
    )
    dataset = batches.identification(
        start.views, start.people.classes, start.batching(how.pretrain_batch_size), patch_share=patch_share
    )
    amount = {"count": how.pretrain_steps, "rows": how.pretrain_batch_size}
    return loop.fit(start.mixing(step), start, dataset, update, workdir, phase="identification", **amount)


def main(settings: Settings) -> None:
    """The runner."""
    if not settings.watch.validate_every:
        for name in sorted({"camera_rule", "partial"} & settings.given):
            raise ValueError(f"{name} is for the probes of a validation: give --validate_every=STEPS with it")
    seeds.each("pretrain", settings, one_seed)


def one_seed(settings: Settings) -> None:
    """Pre-training with one seed."""
    workdir = opened(settings, "pretrain", partial=settings.searched.partial)
    if finished(workdir):
        return
    check(settings)
    rule(settings)  # its errors come before anything is written, as those of check
    workdir.claim()
    sizes = {"pretrain_batch_size": settings.identification.pretrain_batch_size}
    start = Start(settings, workdir, batch_sizes=sizes, buckets=settings.views.buckets)
    state, history = train(workdir, start, patch_share=settings.views.patch_share)
    trained = start.after(state)
    finish(workdir, trained, phase="identification", scores=history.metrics(), free=binding.free(Settings))
    workdir.write_metrics({"steps": int(state.step), "identities": start.identities, **history.metrics()})


if __name__ == "__main__":
    run.main(main, Settings)
