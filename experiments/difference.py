"""Paired comparison of two evaluations on the same probes and draws: is the one better than the other?

    python -m experiments.difference --first=RUN --second=RUN

Every evaluation leaves `per_probe.npz` in its workdir: rank-k and average precision of each probe, averaged over the
gallery draws. Two runs with the same data, crops, draws and seed are compared probe by probe: mean difference, 95 %
interval by bootstrap over identities, two-sided p-value.
"""

from dataclasses import dataclass
from pathlib import Path

from data.binding import setting
from experiments import run
from experiments.evaluation import paired


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
    (one, other), identities = paired.read_alike((first, second))
    if not set(one) & set(other):
        raise ValueError(f"nothing is in both: {first} has {', '.join(one)}, {second} {', '.join(other)}")
    print(paired.table(one, other, identities, title=f"{Path(first).name} - {Path(second).name}"))


if __name__ == "__main__":
    run.main(main, Settings)
