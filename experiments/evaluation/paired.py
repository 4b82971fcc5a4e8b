"""Paired comparison, probe by probe: the file of every probe's figures, and differences with interval and p-value."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsr_jax import report
from dsr_jax.evaluation import intervals
from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts
from experiments.settings import former
from experiments.workdir import read_json

# What decides the probes and the gallery draws.
SAME = (
    *("data", "subset", "holdout", "holdout_from", "identities", "probes_per_identity", "partial", "crop_height"),
    *("crop_width", "crop_seed", "probe_scale", "probe_factor", "probe_multiple", "spoil", "camera_rule", "trials"),
    "seed",
)
FILE = "per_probe.npz"
FIGURES = ("rank1", "rank5", "rank10", "mAP")
COLUMNS = (*FIGURES, "p rank1", "p rank10")
Figures = Mapping[str, np.ndarray]  # of every probe, (P,) each
Probed = Mapping[str, Figures]


def write(path: Path, probed: Probed, identities: np.ndarray) -> None:
    """Writes the figures of every probe, whole or not at all; of several processes the first does it."""
    if not hosts.first():
        return
    arrays: dict[str, Any] = {
        f"{key}/{name}": value for key, values in probed.items() for name, value in values.items()
    }
    with atomic.opened(path) as file:
        np.savez_compressed(file, identities=identities, **arrays)


def read(workdir: str) -> tuple[Probed, np.ndarray]:
    """Figures and identities that `write` wrote into a run's workdir."""
    path = Path(workdir) / FILE
    if not path.is_file():
        raise ValueError(f"{workdir} has no {FILE}: name the workdir of an evaluation that has finished")
    probed: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            if name != "identities":
                key, _, figure = name.rpartition("/")
                probed.setdefault(key, {})[figure] = file[name]
        return probed, file["identities"]


def read_alike(workdirs: Sequence[str]) -> tuple[list[Probed], np.ndarray]:
    """What `read` gives of several runs, and the identities of the probes, which are the same in all.

    Raises:
      ValueError: if a run has not finished, or they are of different probes or draws.
    """
    first, *others = workdirs
    probed, identities = read(first)
    every = [probed]
    for workdir in others:
        found, of_probes = read(workdir)
        check_same_probes(first, workdir)
        if not np.array_equal(identities, of_probes):
            raise ValueError(f"{first} and {workdir} evaluated different probes: use the same data and flags")
        every.append(found)
    return every, identities


def cells(first: Figures, second: Figures, identities: np.ndarray) -> tuple[report.Cell, ...]:
    """First minus second for each of `COLUMNS`: differences with intervals, then two p-values."""
    pairs = {name: intervals.paired_difference(first[name], second[name], identities) for name in FIGURES}
    differences = (intervals.Interval(d.value, d.low, d.high) for d in pairs.values())
    p_values = (pairs[name].p_value for name in ("rank1", "rank10"))
    return (*differences, *(None if np.isnan(p) else f"{p:.3f}" for p in p_values))


def table(first: Probed, second: Probed, identities: np.ndarray, *, title: str) -> str:
    """First minus second for every key that both have, as text."""
    rows = [(key, *cells(first[key], second[key], identities)) for key in first if key in second]
    return report.text_table(rows, [title, *COLUMNS])


def check_same_probes(first: str, second: str) -> None:
    """Raises ValueError where the two runs' configurations give other probes or other gallery draws."""
    one, other = (former.completed(read_json(Path(path) / "config.json")["flags"]) for path in (first, second))
    as_other, as_one = former.translated(one, other, {}), former.translated(other, one, {})  # either may be older
    changed = [
        f"{name} ({one.get(name)!r}, {other.get(name)!r})"
        for name in SAME
        if as_other.get(name) != other.get(name) and one.get(name) != as_one.get(name)
    ]
    if changed:
        raise ValueError(
            f"{first} and {second} differ in {', '.join(changed)}: evaluate both on the same probes and draws"
        )
