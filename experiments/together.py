"""Several networks asked together: what the mean of their distances finds.

    python -m experiments.together --first=RUN --second=RUN

Every evaluation keeps its distances in its workdir. Of two or three with the same data, crops, draws and seed, for
instance of networks that were trained apart, the distances of each method are averaged probe by probe and entry by
entry. The table has the figures of each run and of the mean, with 95 % intervals by bootstrap over identities; below it
are the differences of the mean and each run, paired. Searching so costs as much as all the networks together.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.binding import setting
from dsr_jax import report
from dsr_jax.evaluation import protocols
from experiments import run
from experiments.evaluation import comparison, methods, paired, store

COLUMNS = ("rank1", "rank5", "rank10", "mAP", "EER", "TPR@0.01")
MEAN = "mean of all"
# Methods without distances of all entries: behind a shortlist the others have places, and of the whole gallery the file
# does not say which entries the camera rule removes.
LEFT_OUT = re.compile(rf"_top\d+|/{comparison.condition(comparison.WHOLE)}$")


@dataclass(frozen=True)
class Runs:
    """The evaluations."""

    first: str | None = setting(None, "Workdir of the one evaluation.", path=True)
    second: str | None = setting(None, "Workdir of the other.", path=True)
    third: str | None = setting(None, "Workdir of one more, if there is one.", path=True)


@dataclass(frozen=True)
class Settings:
    """Settings of the runner."""

    runs: Runs = Runs()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """The runner."""
    given = settings.runs
    if not given.first or not given.second:
        raise ValueError("first and second are needed: the workdirs of two evaluations")
    runs = [given.first, given.second, *([given.third] if given.third else [])]
    places = [Path(workdir).resolve() for workdir in runs]
    if twice := [workdir for workdir, place in zip(runs, places, strict=True) if places.count(place) > 1]:
        raise ValueError(f"{twice[0]} is given twice: give evaluations of networks that were trained apart")
    probed, identities = paired.read_alike(runs)
    keys = [key for key in probed[0] if all(key in other for other in probed[1:])]
    if not keys:
        held = "; ".join(f"{one} has {', '.join(found)}" for one, found in zip(runs, probed, strict=True))
        raise ValueError(f"nothing is in all of them: {held}")
    chosen = [key for key in keys if not LEFT_OUT.search(key)]
    if not chosen:
        raise ValueError(
            f"they have {', '.join(keys)} in common: give evaluations with a number of --shots and no --shortlist, "
            "whose distances can be averaged"
        )
    for key in tqdm(chosen, desc="together", unit="method", leave=False):
        tqdm.write(_of_method(key, runs, identities), file=sys.stdout)


def _of_method(key: str, runs: Sequence[str], identities: np.ndarray) -> str:
    """The tables of one method."""
    found = [store.read(Path(workdir), key) for workdir in runs]
    for workdir, (trials, _) in zip(runs[1:], found[1:], strict=True):
        if not _alike(found[0][0], trials):
            raise ValueError(f"{runs[0]} and {workdir} drew other galleries for {key}: use the same data and flags")
    trials = found[0][0]
    names = [Path(workdir).name for workdir in runs]
    if len(set(names)) < len(names):
        names = list(runs)
    means = [np.mean(of_trial, axis=0) for of_trial in zip(*(distances for _, distances in found), strict=True)]
    every = {**dict(zip(names, (distances for _, distances in found), strict=True)), MEAN: means}
    method = methods.named("maxsim_single", methods.Options())  # any whose figures rest on all distances
    results = {name: comparison.Result("", method, 1, trials, matrices, identities) for name, matrices in every.items()}
    rows: list[tuple[report.Cell, ...]] = [
        (name, *(result.figures[column] for column in COLUMNS)) for name, result in results.items()
    ]
    less: list[tuple[report.Cell, ...]] = [
        (f"{MEAN} - {name}", *paired.cells(results[MEAN].per_probe, results[name].per_probe, identities))
        for name in names
    ]
    return "\n".join(
        [report.text_table(rows, [key, *COLUMNS]), "", report.text_table(less, ["paired", *paired.COLUMNS]), ""]
    )


def _alike(first: Sequence[protocols.Trial], second: Sequence[protocols.Trial]) -> bool:
    """Whether two runs made the same draws."""
    return len(first) == len(second) and all(
        np.array_equal(one.probes, other.probes)
        and np.array_equal(one.draw.identities, other.draw.identities)
        and all(np.array_equal(a, b) for a, b in zip(one.draw.images, other.draw.images, strict=True))
        for one, other in zip(first, second, strict=True)
    )


if __name__ == "__main__":
    run.main(main, Settings)
