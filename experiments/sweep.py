"""Sweep of a setting: the evaluation again and again with one flag varied (Sec. 4.3, and beyond the paper).

    python -m experiments.sweep --flagfile=experiments/flags/sweep_l1.flags --weights=runs/finetune --workdir=runs/l1
    python -m experiments.sweep --vary=probe_factor --values="0.7;1;1.4" --weights=vgg16.npz --workdir=runs/scale
    python -m experiments.sweep --vary=spoil --values="none;occluder;gap" --weights=vgg16.npz --workdir=runs/spoil

Every flag of `experiments.evaluate` about a data set holds for all points; --vary names the one that does not. Prints
a table per figure, writes `metrics.json` with keys "<flag>=<value>/<method>/shots<N>/<figure>", and
`report/index.html` with a plot of rank-1, rank-10 and mAP against the setting, the 95 % intervals as bands. A stopped
sweep goes on where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data import binding
from dsr_jax.report import curves
from experiments import evaluate, run
from experiments.evaluation import comparison, features, looks, page, publishing, scoring, selection
from experiments.settings.evaluation import Compared
from experiments.settings.pictures import CROPPING
from experiments.workdir import Workdir, opened

# Settings that change what is done with maps; they need no other maps. "match_l1" is an earlier name of l1.
MATCHING = ("l1", "match_l1", "coder", "multi_shot")
VARIED = (*MATCHING, "crop_height", "crop_width", "probe_factor", "probe_multiple", "probe_scale", "spoil", "trials")
SHOWN = ("rank1", "rank10", "mAP")


@dataclass(frozen=True)
class Sweep:
    """Sweep."""

    vary: str | None = binding.setting(None, "The flag that is varied.", choices=VARIED)
    values: str | None = binding.setting(
        None, "Its values, with semicolons between: 0.1;0.2;0.4 or 0.3,0.3;0.5,0.5.", free=True
    )
    setting: str | None = binding.setting(None, "What the varied flag is called in the plot; default: its name.")


@dataclass(frozen=True)
class Settings(Compared):
    """Settings of the runner: those of an evaluation, and what is varied."""

    sweep: Sweep = Sweep()


@dataclass(frozen=True)
class Point:
    """One value of the setting: its text, its place in the plot, and the settings of its evaluation."""

    text: str
    place: float
    settings: Settings
    label: str


def points(settings: Settings) -> tuple[Point, ...]:
    """The points of a sweep."""
    vary, given = settings.sweep.vary, settings.sweep.values
    if not vary or not given:
        raise ValueError("vary and values are needed, such as --vary=l1 --values='0.1;0.2;0.4'; see --help")
    values = [value.strip() for value in given.split(";") if value.strip()]
    if len(values) < 2:
        raise ValueError(f"values must be two or more with semicolons between, got {given!r}")
    name = binding.aliases(Settings).get(vary, vary)
    at = []
    for text, place in zip(values, places(values), strict=True):
        try:
            value = binding.parsed(Settings, name, text)
        except ValueError as error:
            raise ValueError(f"values: {vary} cannot be {text!r}: {error}") from error
        at.append(Point(text, place, binding.replaced(settings, **{name: value}), f"{vary}={text}"))
    return tuple(at)


def places(values: Sequence[str]) -> list[float]:
    """Where the values are in the plot: the numbers themselves, of a range their mean.

    Example:
      >>> places(["0.25,0.75", "1"])
      [0.5, 1.0]
    """
    try:
        numbers = [float(np.mean([float(part) for part in value.split(",")])) for value in values]
    except ValueError:
        numbers = list(range(1, len(values) + 1))  # names, in the order given
    if any(later <= earlier for earlier, later in zip(numbers[:-1], numbers[1:], strict=True)):
        raise ValueError(f"values must rise, got {';'.join(values)}")
    return numbers


def main(settings: Settings) -> None:
    """The runner."""
    at, vary = points(settings), settings.sweep.vary or ""
    first = at[0].settings
    settings.place.folder()
    network = evaluate.described(settings)  # without --weights no data set is drawn
    if vary in CROPPING and first.searched.partial == "none":
        raise ValueError(f"vary={vary} changes nothing where probes are not cropped: give --partial=crop with it")
    for point in at:  # all are checked before the first is computed
        evaluate.check(point.settings, network.params)
    workdir = opened(settings, "sweep", free=evaluate.ADDED, partial=first.searched.partial)
    workdir.claim()
    swept = sweep(workdir, network, at, vary)
    conditions, trials = settings.comparison.conditions, at[-1].settings.comparison.trials
    caption = page.caption(swept.selected.caption(vary), conditions, trials, vary)
    print(f"\n{caption}\n{page.text(swept.results)}")
    remarks = publishing.say(_remarks(vary, swept.remarks, 1 if vary in MATCHING else len(at)))
    publishing.say([f"{result.key}: {remark}" for result in swept.results for remark in result.remarks])
    workdir.begin()  # nothing is written before the figures are seen
    title = settings.sweep.setting or vary
    written = page.write(
        workdir.path / "report",
        swept.results,
        title=f"{title}: {settings.data.dataset}",
        caption=caption,
        summary=" ".join([f"One flag varied, --{vary}, everything else alike.", *(f"{line}." for line in remarks)]),
        config=workdir.configuration,
        plots=_plots(swept.results, at, title),
    )
    print(f"report: {written}")
    sizes = {name: count for name, count in swept.selected.sizes.items() if name != "probes_without_answer"}
    workdir.write_metrics(page.flat(swept.results) | swept.counts | sizes | {"trials": trials})


class Swept(NamedTuple):
    """Results of all points, the points of every remark, counts for `metrics.json`, and the last selection."""

    results: list[comparison.Result]
    remarks: dict[str, list[str]]
    counts: dict[str, Any]
    selected: selection.Selection


def sweep(workdir: Workdir, network: features.Network, at: Sequence[Point], vary: str) -> Swept:
    """Evaluates every point; pictures and maps that are the same for all are prepared once."""
    results: list[comparison.Result] = []
    sides: Any = None  # of the first point, then with the probes of each
    remarks: dict[str, list[str]] = {}
    counts: dict[str, Any] = {}
    for number, point in enumerate(at, start=1):
        print(f"{number} of {len(at)}: {vary} = {point.text}", flush=True)
        now = point.settings
        if sides is None or vary not in MATCHING:
            selected = selection.Selection(now.searched, network.size)
            trials = scoring.draws(selected, now)
            for line in scoring.remarks(selected, trials, now, network.size):
                remarks.setdefault(line, []).append(point.text)
            if sides is None or vary == "trials":  # more trials may draw more of the gallery
                sides = scoring.sides(selected, trials, now, network)
            else:
                sides = looks.with_probes(sides, now.looking.looks, selected.probes, network.output_stride)
        counts |= {f"{point.label}/{name}": count for name, count in selected.metrics.items()}
        results += scoring.Scoring(workdir, now, network, sides, selected, trials, point.label).results()
    return Swept(results, remarks, counts, selected)


def _remarks(vary: str, remarks: Mapping[str, Sequence[str]], prepared: int) -> list[str]:
    """Remarks on all values that were ``prepared``, and on some of them, which are then named."""
    return [line if len(of) == prepared else f"{vary}={', '.join(of)}: {line}" for line, of in remarks.items()]


def _plots(results: Sequence[comparison.Result], at: Sequence[Point], title: str) -> list[curves.Plot]:
    """One plot per figure and number of shots: a line per method."""
    plots = []
    for shots in dict.fromkeys(result.shots for result in results):
        of_shots = [result for result in results if result.shots == shots]
        for name in SHOWN:
            lines = tuple(
                _curve(method, [result for result in of_shots if result.method.title == method], name, at)
                for method in dict.fromkeys(result.method.title for result in of_shots)
            )
            plots.append(curves.Plot(f"{name}, {comparison.described(shots)}", lines, _axes(name, at, title)))
    return plots


def _curve(method: str, results: Sequence[comparison.Result], figure: str, at: Sequence[Point]) -> curves.Curve:
    intervals = [result.figures[figure] for result in results]
    ends = tuple((interval.low, interval.high) for interval in intervals)
    values = tuple(interval.value for interval in intervals)
    return curves.Curve(method, values, places=tuple(point.place for point in at), intervals=ends)


def _axes(figure: str, at: Sequence[Point], title: str) -> curves.Axes:
    low, high = min(point.place for point in at), max(point.place for point in at)
    return curves.sweep(title, y=f"{figure} (%)", log=low > 0 and high / low > 8)


if __name__ == "__main__":
    run.main(main, Settings)
