"""What is asked of the library beside what this run measured: one line each."""

from typing import NamedTuple

from experiments.benchmarks import network
from experiments.benchmarks.outcome import Figures, Table, number

HEADER = ("what", "measured", "at least", "aim", "reached")


class Asked(NamedTuple):
    """A figure that is asked for; ``most`` where less is better."""

    what: str
    measured: float | None
    least: float
    aim: float
    most: bool = False

    @property
    def reached(self) -> str:
        """Which of the two bounds holds."""
        if self.measured is None:
            return "not measured"
        sign = -1 if self.most else 1
        if sign * self.measured >= sign * self.aim:
            return "aim"
        return "yes" if sign * self.measured >= sign * self.least else "no"


def table(figures: Figures) -> Table:
    """All of it, from the flat figures of a run."""

    def of(key: str) -> float | None:
        return float(figures[key]) if key in figures else None

    def ratio(key: str) -> float | None:
        return of(f"{key}/ratio")

    rows = [
        Asked(f"coder, {name}: time of the best SPAMS / ours", ratio(f"coder/{name}/spams_best"), 1.5, 4)
        for name in ("vgg_single", "vgg_multi", "osnet_single", "osnet_multi")
    ]
    rows.append(Asked("coder, vgg_multi: share of the floor", of("coder/vgg_multi/active_set/floor_share"), 0.3, 0.6))
    for shots in sorted({key.split("/")[1] for key in figures if key.startswith("identification/")}):
        for suffix, what in (("", "extraction included"), ("_matching", "matching only")):
            measured = ratio(f"identification/{shots}/dsr_multi{suffix}")
            rows.append(Asked(f"identification, {shots}: multi / single, {what}", measured, 1.3, 1.05, most=True))
    rows.append(
        Asked("network forward: torch's time / ours, slowest case", network.slowest(figures, "forward"), 0.9, 1.2)
    )
    rows.append(
        Asked("network train step: torch's time / ours, slowest case", network.slowest(figures, "step"), 0.8, 1.1)
    )
    rows += [
        Asked(f"search, {name}: all distances / search", ratio(f"growth/search/{name}"), 2, 10)
        for name in ("later", "first")
    ]
    for key in [key for key in figures if key.startswith("growth/large/") and key.endswith("/peak_mb")]:
        _, _, sizes, way, _ = key.split("/")
        what = f"peak memory, {sizes.replace('x', ' probes x ')} gallery images ({way}), GB"
        rows.append(Asked(what, float(figures[key]) * (1 << 20) / 1e9, 2, 1, most=True))
    return Table(
        "What is asked",
        HEADER,
        [(row.what, *_cells(row)) for row in rows],
        ["ratios are medians over the rounds; the tables above say their range and what was timed"],
    )


def _cells(row: Asked) -> tuple[str, ...]:
    sign = "<= " if row.most else ">= "
    measured = "" if row.measured is None else number(row.measured)
    return measured, sign + number(row.least), sign + number(row.aim), row.reached
