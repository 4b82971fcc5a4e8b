"""Fine-tuning with DSR (Sec. 3.3, Fig. 5b, Algorithm 2) or MaxSim, and the comparison before and after it (Fig. 13).

    python -m experiments.finetune --dataset=cuhk03 --data_dir=DATA --weights=PRETRAINED --workdir=OUT

Pairs of a whole image and a patch of another image at the same scale; the codes are solved exactly with the network
fixed, then one gradient step with the codes fixed (Eq. 7). With `--distance=maxsim` largest cosines stand in the place
of codes, all else alike: the control of what reconstruction brings to training. The identification loss can be kept by
weight. With `--pretrain_steps` above 0 identification training comes first, from `--weights` or from random
initialisation.

With `--evaluate` the probes and gallery are matched before and after, and a table and `report/index.html` are written.
"""

import functools
from dataclasses import dataclass

from data import binding
from experiments import evaluate, pretrain, run
from experiments.evaluation import publishing
from experiments.settings import matching, training
from experiments.training import batches, loop, optimiser, seeds, steps, validation
from experiments.training.start import Start, check, finish, finished
from experiments.workdir import Workdir, opened


@dataclass(frozen=True)
class Settings(training.Training):
    """Settings of fine-tuning."""

    identification: training.Identification = training.Identification(pretrain_steps=0)
    tuning: training.Tuning = training.Tuning()
    comparison: matching.Comparison = matching.Comparison()

    @property
    def evaluation(self) -> evaluate.Settings:
        """Settings of the comparison before and after; what is not a flag here is at its default."""
        return evaluate.Settings(
            place=self.place,
            data=self.data,
            network=self.network,
            seed=self.seeds,
            probes=self.searched.probes,
            matching=matching.Matching(l1=self.tuning.l1),
            comparison=self.comparison,
            given=self.given,
        )

    @property
    def validated_by(self) -> str:
        """The method of `--validate_every`: that of the distance which is trained."""
        return f"{self.tuning.distance}_single"

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Flag to value of the batches of this run."""
        first, then = self.identification, self.tuning
        sizes = {"batch_size": then.batch_size} if then.steps else {}
        return sizes | ({"pretrain_batch_size": first.pretrain_batch_size} if first.pretrain_steps else {})


def rule(settings: Settings) -> optimiser.Optimiser:
    """The update of the parameters."""
    how = settings.tuning
    return optimiser.build(how.optimizer, how.learning_rate, settings.update, count=how.steps)


def tune(settings: Settings, workdir: Workdir, start: Start) -> tuple[steps.State, validation.History]:
    """DSR fine-tuning from ``start``; returns the final or best state, and the validations."""
    how, update = settings.tuning, rule(settings)
    step = functools.partial(
        steps.reconstruction_step,
        optimiser=update.transform,
        trunk=start.trunk,
        smoothing=settings.identification.smoothing,
        how=how,
    )
    dataset = batches.pairs(
        start.views,
        start.people.classes,
        start.people.cameras,
        start.batching(how.batch_size),
        positives=how.positives,
        negatives=how.negatives,
    )
    return loop.fit(
        start.mixing(step),
        start,
        dataset,
        update,
        workdir,
        phase="reconstruction",
        count=how.steps,
        rows=how.batch_size,
    )


def main(settings: Settings) -> None:
    """The runner."""
    seeds.each("finetune", settings, one_seed)


def one_seed(settings: Settings) -> None:
    """Fine-tuning with one seed."""
    workdir = opened(settings, "finetune", partial=settings.searched.partial)
    if finished(workdir):
        print(publishing.tables_of(workdir.path))
        return
    settings.tuning.check()
    check(settings)
    rule(settings), pretrain.rule(settings)  # their errors come before anything is written, as those of check
    if settings.tuning.evaluate:
        evaluate.check(settings.evaluation)
    workdir.claim()
    before = Start(settings, workdir, batch_sizes=settings.batch_sizes)
    if settings.tuning.evaluate:
        evaluate.check_vectors(settings.evaluation.methods, before.params)
    if settings.identification.pretrain_steps:
        before = before.after(pretrain.train(workdir, before)[0])
    state, history = tune(settings, workdir, before)
    after = before.after(state)
    finish(workdir, after, phase="reconstruction", scores=history.metrics(), free=binding.free(Settings))
    figures = {"steps": int(state.step), "identities": before.identities, **history.metrics()}
    if settings.tuning.evaluate:
        starts = {"before": before, "after": after}
        networks = {name: evaluate.describe(one.params, one.card, settings.network) for name, one in starts.items()}
        figures |= evaluate.compare(workdir, settings.evaluation, networks)
    workdir.write_metrics(figures)


if __name__ == "__main__":
    run.main(main, Settings)
