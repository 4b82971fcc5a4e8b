"""A training with several seeds: each in a folder of its own, then mean and range of what they came to.

The folder `seedN` of the workdir is an ordinary workdir with --seed=N, and goes on where it was like any other. Where
--weights names a workdir that was trained with several seeds, each seed starts from its own network.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data import binding
from dsr_jax import report
from experiments.settings.training import Training
from experiments.workdir import opened, read_json

ENDS = ("_mean", "_min", "_max")
S = TypeVar("S", bound=Training)


def each(runner: str, settings: S, job: Callable[[S], None]) -> None:
    """Does a runner's job once per seed of --seeds, and writes mean, least and most of each figure."""
    if settings.seeds.seeds == 1:
        job(settings)
        return
    workdir = opened(settings, runner, partial=settings.searched.partial)
    workdir.claim()
    first, found = settings.seeds.seed, {}
    for seed in range(first, first + settings.seeds.seeds):
        one = _one(settings, workdir.path, seed)
        print(f"seed {seed}: {one.place.workdir}", flush=True)
        job(one)
        found[seed] = read_json(Path(one.place.folder()) / "metrics.json")
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


def _one(settings: S, folder: Path, seed: int) -> S:
    """The settings of one seed: its folder, its network to start from where there is one, its frozen outputs."""
    weights, cache = settings.network.weights, settings.frozen.frozen_cache
    if weights and (Path(weights) / f"seed{seed}").is_dir():
        weights = str(Path(weights) / f"seed{seed}")
    return binding.replaced(
        settings,
        seed=seed,
        seeds=1,
        workdir=str(folder / f"seed{seed}"),
        weights=weights,
        frozen_cache=None if cache is None else str(Path(cache) / f"seed{seed}"),
    )
