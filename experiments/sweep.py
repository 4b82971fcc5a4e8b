"""A figure against a setting: the evaluation again and again with one flag varied (Sec. 4.3, and beyond the paper).

    python -m experiments.sweep --flagfile=experiments/flags/sweep_l1.flags --weights=runs/finetune --workdir=runs/l1
    python -m experiments.sweep --vary=probe_factor --values="0.7;1;1.4" --weights=vgg16.npz --workdir=runs/scale

Every flag of `experiments.evaluate` holds for all points; --vary names the one that does not. Prints a table per
figure, writes `metrics.json` with keys "<flag>=<value>/<method>/shots<N>/<figure>", and `report/index.html` with a plot
of rank-1, rank-10 and mAP against the setting, the 95 % intervals as bands. A stopped sweep goes on where it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from dsr_jax.report import curves
from experiments import evaluate, run, settings
from experiments.evaluation import comparison, features, page, selection

FLAGS = flags.FLAGS
# Flags that change what is done with maps, or which pictures there are; they need no other network.
MATCHING = ("match_l1", "coder", "multi_shot")
VARIED = (*MATCHING, "crop_height", "crop_width", "probe_factor", "probe_scale", "trials")
SHOWN = ("rank1", "rank10", "mAP")
flags.DEFINE_enum("vary", None, VARIED, "The flag that is varied.")
flags.DEFINE_string("values", None, "Its values, with semicolons between: 0.1;0.2;0.4 or 0.3,0.3;0.5,0.5.")
flags.DEFINE_string("setting", None, "What the varied flag is called in the plot; default: its name.")


def places(values: Sequence[str]) -> list[float]:
    """Where the values are in the plot: the numbers themselves, of a range their mean.

    Raises:
      ValueError: for values that are no numbers, or that do not rise.

    Example:
      >>> from experiments import sweep
      >>> sweep.places(["0.25,0.75", "1"])
      [0.5, 1.0]
    """
    try:
        found = [float(np.mean([float(part) for part in value.split(",")])) for value in values]
    except ValueError:
        found = list(range(1, len(values) + 1))  # names, in the order given
    if any(later <= earlier for earlier, later in zip(found[:-1], found[1:], strict=True)):
        raise ValueError(f"values must rise, got {';'.join(values)}")
    return found


def main() -> None:
    """The runner."""
    settings.refuse(("maps", "ranked_lists", "reconstructions", "paper"))
    values = _values()
    at = places(values)
    folder = settings.workdir_given()
    if not FLAGS.weights:
        raise ValueError("weights is missing: give --weights=FILE or a training run's workdir")
    workdir = run.Workdir(folder, selection.flag_values("sweep"), free=evaluate.ADDED | {"values"})
    workdir.claim()
    if FLAGS.vary in selection.CROPPING and selection.partial() == "none":
        raise ValueError(f"vary={FLAGS.vary} changes nothing where probes are not cropped: give --partial=crop with it")
    for value in values:  # all are checked before the first is computed
        _set(value)
        evaluate.check()
    network = evaluate.network()
    results: list[comparison.Result] = []
    sides: features.Features | None = None
    told: dict[str, list[str]] = {}
    counts: dict[str, Any] = {}
    for number, value in enumerate(values, start=1):
        _set(value)
        print(f"{number} of {len(values)}: {FLAGS.vary} = {value}", flush=True)
        if sides is None or FLAGS.vary not in MATCHING:
            found = selection.Selection(network.size)
            trials = evaluate.draws(found)
            for line in evaluate.remarks(found, trials, FLAGS.methods, network.size):
                told.setdefault(line, []).append(value)
            # The gallery's pictures are the same for all values, unless more of them are drawn.
            known = sides if FLAGS.vary != "trials" else None
            sides = known.with_probes(found.probes) if known else evaluate.prepared(network, found, trials)
        label = f"{FLAGS.vary}={value}"
        counts |= {f"{label}/{name}": count for name, count in found.metrics.items()}
        results += evaluate.compared(workdir, label, network, sides, found, trials, evaluate.check())
    figures = page.flat(results)
    caption = evaluate.caption(found, FLAGS.vary)
    print(f"\n{caption}\n{page.text(figures)}")
    remarks = _remarks(told, [values[0]] if FLAGS.vary in MATCHING else values)
    for line in [*remarks, *(f"{result.key}: {remark}" for result in results for remark in result.remarks)]:
        print(line, flush=True)
    workdir.begin()  # nothing is written before the figures are seen
    counts |= {"probes": len(found.probes.names), "gallery": len(found.gallery.names), "trials": FLAGS.trials}
    written = page.write(
        workdir.path / "report",
        results,
        title=f"{FLAGS.setting or FLAGS.vary}: {FLAGS.dataset}",
        caption=caption,
        summary=" ".join(
            [f"One flag varied, --{FLAGS.vary}, everything else alike.", *(f"{line}." for line in remarks)]
        ),
        config=workdir.flags,
        plots=_plots(results, values, at),
    )
    print(f"report: {written}")
    workdir.write_metrics(figures | counts)


def _remarks(told: Mapping[str, Sequence[str]], prepared: Sequence[str]) -> list[str]:
    """What was told of all ``prepared`` values, or of some, which are then named."""
    return [line if len(of) == len(prepared) else f"{FLAGS.vary}={', '.join(of)}: {line}" for line, of in told.items()]


def _plots(results: Sequence[comparison.Result], values: Sequence[str], at: Sequence[float]) -> list[curves.Plot]:
    """One plot per figure and number of shots: a line per method."""
    axes = {name: _axes(name, at) for name in SHOWN}
    plots = []
    for shots in dict.fromkeys(result.shots for result in results):
        of_shots = [result for result in results if result.shots == shots]
        for name in SHOWN:
            lines = tuple(
                _curve(method, [result for result in of_shots if result.method == method], name, at)
                for method in dict.fromkeys(result.method for result in of_shots)
            )
            plots.append(curves.Plot(f"{name}, {comparison.described(shots)}", lines, axes[name]))
    return plots


def _curve(method: str, results: Sequence[comparison.Result], figure: str, at: Sequence[float]) -> curves.Curve:
    found = [result.figures[figure] for result in results]
    ends = tuple((interval.low, interval.high) for interval in found)
    return curves.Curve(method, tuple(interval.value for interval in found), places=tuple(at), intervals=ends)


def _axes(figure: str, at: Sequence[float]) -> curves.Axes:
    return curves.sweep(FLAGS.setting or FLAGS.vary, y=f"{figure} (%)", log=min(at) > 0 and max(at) / min(at) > 8)


def _values() -> list[str]:
    if not FLAGS.vary or not FLAGS.values:
        raise ValueError("vary and values are needed, such as --vary=match_l1 --values='0.1;0.2;0.4'; see --help")
    values = [value.strip() for value in FLAGS.values.split(";") if value.strip()]
    if len(values) < 2:
        raise ValueError(f"values must be two or more with semicolons between, got {FLAGS.values!r}")
    return values


def _set(value: str) -> None:
    """Gives the varied flag a value, as the command line would.

    Raises:
      ValueError: if the flag does not take it.
    """
    try:
        flag: Any = FLAGS[FLAGS.vary]
        flag.parse(value)
    except flags.IllegalFlagValueError as error:
        raise ValueError(f"values: {FLAGS.vary} cannot be {value!r}: {error}") from error


if __name__ == "__main__":
    run.main(main)
