"""Paired comparison of two evaluations on the same probes and draws: is the one better than the other?

    python -m experiments.difference --first=RUN --second=RUN

Every evaluation leaves `per_probe.npz` in its workdir: rank-k and average precision of each probe, averaged over the
gallery draws. Two runs with the same data, crops, draws and seed are compared probe by probe: mean difference, 95 %
interval by bootstrap over identities, two-sided p-value.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.binding import setting
from experiments import run
from experiments.evaluation import paired
from experiments.settings import former
from experiments.workdir import read_json

# What decides the probes and the gallery draws.
SAME = (
    *("data", "subset", "holdout", "holdout_from", "identities", "probes_per_identity", "partial", "crop_height"),
    *("crop_width", "crop_seed", "probe_scale", "probe_factor", "probe_multiple", "spoil", "camera_rule", "trials"),
    "seed",
)


@dataclass(frozen=True)
class Pair:
    """The two evaluations."""

    first: str | None = setting(None, "Workdir of the one evaluation.", path=True)
    second: str | None = setting(None, "Workdir of the other.", path=True)


@dataclass(frozen=True)
class Settings:
    """Settings of the runner."""

    pair: Pair = Pair()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """The runner."""
    first, second = settings.pair.first, settings.pair.second
    if not first or not second:
        raise ValueError("first and second are needed: the workdirs of two evaluations")
    (one, identities), (other, others) = paired.read(first), paired.read(second)
    _check_same_probes(first, second)
    if not np.array_equal(identities, others):
        raise ValueError(f"{first} and {second} evaluated different probes: use the same data and flags")
    if not set(one) & set(other):
        raise ValueError(f"nothing is in both: {first} has {', '.join(one)}, {second} {', '.join(other)}")
    print(paired.table(one, other, identities, title=f"{Path(first).name} - {Path(second).name}"))


def _check_same_probes(first: str, second: str) -> None:
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


if __name__ == "__main__":
    run.main(main, Settings)
