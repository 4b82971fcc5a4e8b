"""The loop of every training.

In this order: restore the newest checkpoint; make the batch of each step (a function of seed and step alone); step;
stop on NaN or divergence naming the step; validate every so often; log; draw; save every so often, after a validation,
and on SIGTERM. So a run that was killed goes on as if it had not been.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import grain
import jax
from tqdm import tqdm

from dsr_jax.parallel import hosts, sharding
from experiments.training import divergence, plots, steps, termination
from experiments.training.checkpoint import Checkpoints
from experiments.training.optimiser import Optimiser
from experiments.training.start import Start
from experiments.training.stream import Stream
from experiments.training.validation import History
from experiments.workdir import WEIGHTS_CONTENT, Workdir


def fit(
    step: Callable[..., tuple[steps.State, steps.Figures]],
    begin: Start,
    dataset: grain.MapDataset,
    update: Optimiser,
    workdir: Workdir,
    *,
    phase: str,
    count: int,
    rows: int,
) -> tuple[steps.State, History]:
    """Runs ``step`` until ``count`` steps are done, from the newest checkpoint of this phase on.

    Args:
      step: (state, frozen parameters, batch) to (next state, figures); compiled here, and its state donated.
      begin: the network to start from, and how it is saved, drawn and validated.
      dataset: the batch of each step.
      update: of the parameters.
      workdir: where checkpoints and log go.
      phase: what this training is called in log and checkpoints.
      count: number of steps.
      rows: of a batch, of all processes together.

    Returns:
      The state after ``count`` steps, or the best of those validated, and the validations.

    Raises:
      ValueError: when training diverges; the message names the step. When the checkpoint is another configuration's.
      termination.Terminated: after SIGTERM, once a checkpoint is saved.
    """
    settings, frozen, validate = begin.settings, begin.frozen(), begin.validation()
    watch, mesh, defined = settings.watch, sharding.mesh(), _defined(workdir)
    state = steps.init(begin.params, begin.head, update.transform, frozen_blocks=begin.trunk.frozen_blocks)
    step = jax.jit(functools.partial(step, mesh=mesh), donate_argnums=0, out_shardings=sharding.everywhere(mesh))
    state = jax.device_put(state, may_alias=False)  # a copy: what is donated is nobody else's
    state, frozen = sharding.replicated(state, mesh), sharding.replicated(frozen, mesh)
    with termination.noted() as told, Checkpoints(workdir.path / "checkpoints" / phase) as checkpoints:
        start, history = checkpoints.latest() or 0, History()
        if start:
            stored, extra, start = checkpoints.restore(state.stored())
            state = steps.State.of(stored)
            workdir.check(extra.get("flags", defined))
            history = History.of(extra.get("validations", ()))
        over = start == count or history.exhausted(watch.patience)
        if start:
            print(f"{phase}: {_restored(start, count, over)} from {workdir.path}", flush=True)
        hosts.agree("the checkpoint that they go on from", {"step": start})
        workdir.forget(phase=phase, after=start)
        live = plots.Live(workdir, seconds=watch.plot_every)
        with Stream(
            dataset, start=count if over else start, stop=count, threads=settings.batches.reading_threads
        ) as stream:
            bar = tqdm(stream, initial=start, total=count, desc=phase, unit="step", disable=not settings.place.progress)
            for number, batch in enumerate(bar, start=start + 1):
                state, figures = step(state, frozen, sharding.spread(batch, mesh, total=rows))
                values = {name: float(value) for name, value in figures.items()}
                values["learning_rate"] = update.rate(number)
                divergence.check(values, batch, phase=phase, step=number, limit=watch.loss_limit, workdir=workdir)
                validated = None
                if validate and (number % watch.validate_every == 0 or number == count):
                    validated = validate({**frozen, **state.network}, number)
                    history = history.after(validated)
                    values |= {"validation_rank1": validated.rank1, "validation_mAP": validated.mean_average_precision}
                workdir.log(phase=phase, step=number, **values, **stream.timing())
                bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
                live.update()
                stop = told() or (validated is not None and history.exhausted(watch.patience))
                if number % watch.checkpoint_every == 0 or number == count or validated or stop:
                    # The batches are a function of seed and step, so their key and position are these two numbers.
                    data_state = {"seed": settings.seeds.seed, "next_batch": number}
                    extra = {"phase": phase, "data": data_state, "flags": defined, "validations": history.entries}
                    score = validated.mean_average_precision if validated else None
                    checkpoints.save(number, state.stored(), extra, score=score)
                if stop:
                    break
        if not over:
            live.update(over=True)
        if history.best:
            stored, _, kept = checkpoints.restore(state.stored(), best=True)
            state = steps.State.of(stored)
    if history.best:
        print(f"{phase}: the network of step {kept} is kept\n{history.table()}", flush=True)
    return state, history


def _defined(workdir: Workdir) -> dict[str, Any]:
    """What a checkpoint of this run belongs to: its flags, and what is in the weights file, whose name says little."""
    return json.loads(json.dumps({WEIGHTS_CONTENT: None, **workdir.configuration}, default=str))


def _restored(start: int, count: int, over: bool) -> str:
    if over:
        return f"all {count} steps restored" if start == count else f"early stop at step {start} of {count} restored"
    return f"resumed at step {start} of {count}"
