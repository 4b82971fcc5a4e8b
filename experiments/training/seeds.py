"""A training with several seeds: each in a folder of its own, then mean and range of what they came to.

The folder `seedN` of the workdir is an ordinary workdir with --seed=N, and goes on where it was like any other. Where
--weights names a workdir that was trained with several seeds, each seed starts from its own network.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from dsr_jax import report
from experiments import run, settings
from experiments.evaluation import selection

FLAGS = flags.FLAGS
flags.DEFINE_integer(
    "seeds",
    1,
    "Train with so many seeds, --seed and those after it, each in a folder seedN of the workdir; then tell mean and "
    "range.",
    lower_bound=1,
)
ENDS = ("_mean", "_min", "_max")


def each(runner: str, job: Callable[[], None]) -> None:
    """Does a runner's job once per seed of --seeds, and writes mean, least and most of each figure."""
    if FLAGS.seeds == 1:
        job()
        return
    workdir = run.Workdir(settings.workdir_given(), selection.flag_values(runner))
    workdir.claim()
    first, given = FLAGS.seed, {name: FLAGS[name].value for name in ("weights", "frozen_cache")}
    found = {}
    for seed in range(first, first + FLAGS.seeds):
        own = {"seed": seed, "seeds": 1, "workdir": str(workdir.path / f"seed{seed}"), **_own(given, seed)}
        print(f"seed {seed}: {own['workdir']}", flush=True)
        found[seed] = _done(job, own)
    workdir.begin()
    figures = summary(list(found.values()))
    workdir.write_metrics(figures)
    print(text(figures, found))


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean, least and most of every figure that is a number for all seeds, without their intervals.

    Example:
      >>> summary([{"rank1": 10.0, "rank1_low": 5.0}, {"rank1": 14.0, "rank1_low": 9.0}])
      {'rank1_mean': 12.0, 'rank1_min': 10.0, 'rank1_max': 14.0}
    """
    figures: dict[str, float] = {}
    for name in _names(found):
        values = [float(one[name]) for one in found]
        figures |= dict(
            zip((name + end for end in ENDS), (float(np.mean(values)), min(values), max(values)), strict=True)
        )
    return figures


def text(figures: Mapping[str, float], found: Mapping[int, Mapping[str, Any]]) -> str:
    """The summary and every seed's figures for the terminal."""
    rows: list[list[report.Cell]] = [
        [name, *(figures[f"{name}{end}"] for end in ENDS), *(float(one[name]) for one in found.values())]
        for name in _names(list(found.values()))
    ]
    return report.text_table(rows, ["figure", "mean", "min", "max", *(f"seed {seed}" for seed in found)])


def _names(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        name
        for name in found[0]
        if not name.endswith(("_low", "_high"))
        and all(isinstance(one.get(name), int | float) and not isinstance(one[name], bool) for one in found)
    ]


def _own(given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Each seed's own network to start from, where there is one, and its own frozen outputs, which differ by seed."""
    weights, cache = given["weights"], given["frozen_cache"]
    if weights and (Path(weights) / f"seed{seed}").is_dir():
        weights = str(Path(weights) / f"seed{seed}")
    return {"weights": weights, "frozen_cache": None if cache is None else str(Path(cache) / f"seed{seed}")}


def _done(job: Callable[[], None], own: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a job under some flags of its own; the flags are then what they were."""
    before = {name: FLAGS[name].value for name in own}
    try:
        for name, value in own.items():
            FLAGS[name].value = value
        job()
        return run.read_json(Path(own["workdir"]) / "metrics.json")
    finally:
        for name, value in before.items():
            FLAGS[name].value = value
