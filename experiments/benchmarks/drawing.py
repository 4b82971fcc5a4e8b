"""The plot of a run, from its flat figures: how many times longer others take, and how time and memory grow."""

import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsr_jax.formats import atomic
from dsr_jax.report.curves import LIGHT
from experiments.benchmarks.outcome import Figures

COLOURS = dict(zip(("coder", "identification", "network", "steps", "growth"), LIGHT, strict=False))


def write(path: Path, figures: Figures, *, title: str) -> Path:
    """Bars of the ratios (of SPAMS its best setting's) from a line at 1, and the curves of growth."""
    keys = [key.removesuffix("/ratio") for key in figures if key.endswith("/ratio")]
    bars = {key: float(figures[f"{key}/ratio"]) for key in keys if not re.search(r"/spams_(?!best)", key)}
    sizes = sorted(int(key.split("/")[2]) for key in figures if _is_curve(key))
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(11 if sizes else 7, max(3.5, 0.17 * len(bars) + 1.2)), layout="constrained")
        figure.suptitle(title)
        grid = figure.add_gridspec(2, 3 if sizes else 2)
        _bars(figure.add_subplot(grid[:, :2]), figures, bars)
        if sizes:
            _curve(figure.add_subplot(grid[0, 2]), figures, sizes, "seconds_per_probe", "seconds per probe", "log")
            _curve(figure.add_subplot(grid[1, 2]), figures, sizes, "peak_mb", "peak memory, MB", "linear")
        with atomic.opened(path) as file:
            figure.savefig(file, dpi=120, format="png")
    return path


def _is_curve(key: str) -> bool:
    return key.startswith("growth/gallery/") and key.endswith("/peak_mb")


def _bars(axes: Axes, figures: Figures, bars: dict[str, float]) -> None:
    names = list(bars)
    for place, name in enumerate(reversed(names)):
        low, high = (float(figures[f"{name}/ratio_{end}"]) for end in ("low", "high"))
        around = [[max(bars[name] - low, 0)], [max(high - bars[name], 0)]]
        colour, thin = COLOURS[name.partition("/")[0]], {"linewidth": 0.7}
        axes.barh(place, bars[name] - 1, left=1, color=colour, xerr=around, error_kw=thin)
    axes.set_yticks(range(len(names)), list(reversed(names)))
    if bars:
        axes.set_xscale("log")
    axes.axvline(1, color="#1b2430", linewidth=0.8)
    axes.set_xlabel("time of what is named / ours (identification: / DSR single), median and range of the rounds")
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def _curve(axes: Axes, figures: Figures, sizes: list[int], figure: str, label: str, scale: str) -> None:
    axes.plot(
        sizes, [float(figures[f"growth/gallery/{size}/{figure}"]) for size in sizes], "o-", color=COLOURS["growth"]
    )
    if figure == "peak_mb":
        before = [float(figures[f"growth/gallery/{size}/before_mb"]) for size in sizes]
        axes.plot(sizes, before, "s--", color=LIGHT[5])
        axes.legend(["at the peak", "before: imported, and the maps"], frameon=False)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_yscale(scale)
    if scale == "linear":
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("gallery images")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
