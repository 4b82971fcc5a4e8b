"""Plot of a run: how many times longer others take, and how time and memory grow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsr_jax.formats import atomic
from dsr_jax.report.curves import LIGHT
from experiments.benchmarks.alternating import Ratio
from experiments.benchmarks.outcome import Part
from experiments.benchmarks.settings import PARTS

COLOURS = dict(zip(PARTS, LIGHT, strict=False))


def write(path: Path, parts: Mapping[str, Part], *, title: str) -> Path:
    """Bars of the ratios from a line at 1, and the curves of growth.

    Args:
      path: the PNG file.
      parts: name to what was measured.
      title: of the whole.
    """
    bars = [
        (key, value, COLOURS[name])
        for name, part in parts.items()
        for key, value in part.figures.items()
        if isinstance(value, Ratio) and key not in part.unplotted
    ]
    sizes = sorted(size for part in parts.values() for size in part.sizes)
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(11 if sizes else 7, max(3.5, 0.17 * len(bars) + 1.2)), layout="constrained")
        figure.suptitle(title)
        grid = figure.add_gridspec(2, 3 if sizes else 2)
        _bars(figure.add_subplot(grid[:, :2]), bars)
        if sizes:
            images = [size.images for size in sizes]
            seconds, memory = figure.add_subplot(grid[0, 2]), figure.add_subplot(grid[1, 2])
            _curve(seconds, images, [size.seconds for size in sizes], "seconds per probe", "log")
            memory.plot(images, [size.before for size in sizes], "s--", color=LIGHT[5])
            _curve(memory, images, [size.peak for size in sizes], "peak memory, MB", "linear")
            memory.legend(["before: imported, and the maps", "at the peak"], frameon=False)
        with atomic.opened(path) as file:
            figure.savefig(file, dpi=120, format="png")
    return path


def _bars(axes: Axes, bars: Sequence[tuple[str, Ratio, str]]) -> None:
    for place, (_, ratio, colour) in enumerate(reversed(bars)):
        median, low, high = ratio.rounds
        around = [[max(median - low, 0)], [max(high - median, 0)]]
        axes.barh(place, median - 1, left=1, color=colour, xerr=around, error_kw={"linewidth": 0.7})
    axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)])
    if bars:
        axes.set_xscale("log")
    axes.axvline(1, color="#1b2430", linewidth=0.8)
    axes.set_xlabel("time of what is named / ours (identification: / DSR single), median and range of the rounds")
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def _curve(axes: Axes, sizes: Sequence[int], values: Sequence[float], label: str, scale: str) -> None:
    axes.plot(sizes, values, "o-", color=COLOURS["growth"])
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_yscale(scale)
    if scale == "linear":
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("gallery images")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
