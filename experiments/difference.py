"""Is the one better than the other? A paired comparison of two evaluations on the same probes and draws.

    python -m experiments.difference --first=RUN --second=RUN

Every evaluation leaves `per_probe.npz` in its workdir: rank-k and average precision of each probe, averaged over the
gallery draws. Two runs with the same data, crops, draws and seed are compared probe by probe: mean difference, 95 %
interval by bootstrap over identities, two-sided p-value.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from data import command
from dsr_jax import report
from dsr_jax.evaluation import intervals
from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts
from experiments import run

FLAGS = flags.FLAGS
FILE = "per_probe.npz"
FIGURES = ("rank1", "rank5", "rank10", "mAP")
# What decides the probes and the gallery draws.
SAME = (
    *(
        "data",
        "subset",
        "holdout",
        "identities",
        "probes_per_identity",
        "partial",
        "crop_height",
        "crop_width",
        "crop_seed",
    ),
    *("probe_scale", "probe_factor", "camera_rule", "trials", "seed"),
)
COLUMNS = (*FIGURES, "p rank1", "p rank10")
Figures = dict[str, np.ndarray]  # of every probe, (P,) each
Probed = dict[str, Figures]


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
    """What `write` wrote into a run's workdir.

    Raises:
      ValueError: if there is no such file.
    """
    path = Path(workdir) / FILE
    if not path.is_file():
        raise ValueError(f"{workdir} has no {FILE}: name the workdir of an evaluation that has finished")
    probed: Probed = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            if name != "identities":
                key, _, figure = name.rpartition("/")
                probed.setdefault(key, {})[figure] = file[name]
        return probed, file["identities"]


def cells(first: Figures, second: Figures, identities: np.ndarray) -> tuple[report.Cell, ...]:
    """First minus second for each of `COLUMNS`: differences with intervals, then two p-values."""
    found = {name: intervals.paired_difference(first[name], second[name], identities) for name in FIGURES}
    differences = (intervals.Interval(d.value, d.low, d.high) for d in found.values())
    p_values = (found[name].p_value for name in ("rank1", "rank10"))
    return (*differences, *(None if np.isnan(p) else f"{p:.3f}" for p in p_values))


def table(first: Probed, second: Probed, identities: np.ndarray, *, title: str) -> str:
    """First minus second for every key that both have, as text."""
    rows = [(key, *cells(first[key], second[key], identities)) for key in first if key in second]
    return report.text_table(rows, [title, *COLUMNS])


def _check_same_probes(first: str, second: str) -> None:
    """Raises ValueError where the two runs' configurations give other probes or other gallery draws."""
    one, other = (
        json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))["flags"] for path in (first, second)
    )
    changed = [f"{name} ({one.get(name)!r}, {other.get(name)!r})" for name in SAME if one.get(name) != other.get(name)]
    if changed:
        raise ValueError(
            f"{first} and {second} differ in {', '.join(changed)}: evaluate both on the same probes and draws"
        )


def main() -> None:
    """The runner."""
    if not FLAGS.first or not FLAGS.second:
        raise ValueError("first and second are needed: the workdirs of two evaluations")
    (first, identities), (second, others) = read(FLAGS.first), read(FLAGS.second)
    _check_same_probes(FLAGS.first, FLAGS.second)
    if not np.array_equal(identities, others):
        raise ValueError(f"{FLAGS.first} and {FLAGS.second} evaluated different probes: use the same data and flags")
    if not set(first) & set(second):
        raise ValueError(
            f"nothing is in both: {FLAGS.first} has {', '.join(first)}, {FLAGS.second} {', '.join(second)}"
        )
    print(table(first, second, identities, title=f"{Path(FLAGS.first).name} - {Path(FLAGS.second).name}"))


if __name__ == "__main__":  # here, so that runners that import this file do not have its flags
    command.define_path("first", None, "Workdir of the one evaluation.")
    command.define_path("second", None, "Workdir of the other.")
    run.main(main)
