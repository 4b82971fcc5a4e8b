"""The distances of pairs of one person and of different people as a histogram in SVG, with thresholds between them.

Each of the two is shown as shares of its own pairs, since there are far more pairs of different people. They differ
in colour, hatching and outline. Colours are stand-ins, see `svg`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.axes
import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dsr_jax.report import svg

Numbers = Sequence[float] | NDArray

_NAMES = ("same person", "different people")
_STEP = 0.2  # inches between the labels of thresholds
_LOOKS = (("-", "////"), ((0, (4, 1.5)), "...."))  # outline and hatching


@dataclass(frozen=True)
class DistancePlot:
    """Distances of pairs, counted; `DistancePlot(caption, *histogram.histogram(pairs))` draws those of pairs."""

    caption: str  # what was measured
    edges: Numbers  # the n + 1 edges of n equally wide bins, rising
    same: Numbers  # n counts of pairs of one person
    different: Numbers  # n counts of pairs of different people
    # (label, distance) of each line to draw, such as ("equal error 18.2 %", 0.43).
    thresholds: tuple[tuple[str, float], ...] = ()
    label: str = "distance"  # of the axis of distances


def draw(plot: DistancePlot) -> str:
    """A histogram as an `<svg>` element in stand-in colours; equal histograms give equal text.

    Raises:
      ValueError: if the edges do not rise in equal steps, there is not one finite count >= 0 per bin and at least
        one pair of each kind, or a threshold is not finite.
    """
    _check(plot)
    above = _STEP * len(plot.thresholds)
    return svg.drawn(lambda axes: _paint(axes, plot), name=plot.caption, above=above)


def describe(plot: DistancePlot) -> str:
    """The histogram in words, for screen readers: both medians and the thresholds.

    Example:
      >>> describe(DistancePlot("Distances", (0.0, 0.5, 1.0), (4, 0), (0, 9), (("even", 0.5),)))
      'same person: half of the pairs below 0.25; different people: half of the pairs below 0.75; even at 0.50.'
    """
    parts = [
        f"{name}: half of the pairs below {_median(plot.edges, counts):.2f}"
        for name, counts in zip(_NAMES, (plot.same, plot.different), strict=True)
    ]
    return "; ".join([*parts, *(f"{label} at {place:.2f}" for label, place in plot.thresholds)]) + "."


def _check(plot: DistancePlot) -> None:
    where = f"distance plot {plot.caption!r}:"
    steps = np.diff(np.asarray(plot.edges, np.float64))
    if not len(steps) or not np.all(steps > 0) or not np.allclose(steps, steps[0]):
        raise ValueError(f"{where} edges {plot.edges} do not rise in equal steps.")
    for name, given in (("same", plot.same), ("different", plot.different)):
        counts = np.asarray(given, np.float64)
        if len(counts) != len(steps) or not np.all(np.isfinite(counts) & (counts >= 0)) or not counts.sum() > 0:
            raise ValueError(f"{where} {name} is {given}; it must be {len(steps)} counts, not all of them zero.")
    if not np.all(np.isfinite([place for _, place in plot.thresholds])):
        raise ValueError(f"{where} thresholds {plot.thresholds} must be finite.")


def _median(edges: Numbers, counts: Numbers) -> float:
    """Where half of the pairs are below, evenly spread within each bin."""
    below = np.concatenate([[0.0], np.cumsum(counts)])
    return float(np.interp(0.5, below / below[-1], np.asarray(edges, np.float64)))


def _paint(axes: matplotlib.axes.Axes, plot: DistancePlot) -> None:
    edges = np.asarray(plot.edges, np.float64)
    shares = [100 * np.asarray(counts) / np.sum(counts) for counts in (plot.same, plot.different)]
    places = [edges[0], edges[-1], *(place for _, place in plot.thresholds)]
    axes.set_xlim(min(places), max(places))
    axes.set_ylim(0, 1.05 * max(share.max() for share in shares))
    axes.locator_params(nbins=6)
    axes.set_xlabel(plot.label, color=svg.INK, parse_math=False)
    axes.set_ylabel("share of its pairs (%)", color=svg.INK)
    for share, colour, (line, hatch) in zip(shares, svg.STAND_INS, _LOOKS, strict=False):
        axes.stairs(share, edges, fill=True, facecolor=colour, alpha=0.16, linewidth=0)
        axes.stairs(share, edges, fill=True, facecolor="none", edgecolor=colour, linewidth=0, hatch=hatch)
        axes.stairs(share, edges, color=colour, linestyle=line, linewidth=1.5, zorder=3)
    _paint_names(axes)
    _paint_thresholds(axes, plot)


def _paint_names(axes: matplotlib.axes.Axes) -> None:
    """Both names to the right, each after a sample of how it is drawn."""
    for height, name, colour, (line, hatch) in zip((0.95, 0.84), _NAMES, svg.STAND_INS, _LOOKS, strict=False):
        looks: tuple[dict[str, Any], ...] = (
            {"facecolor": colour, "alpha": 0.16, "linewidth": 0},
            {"facecolor": "none", "edgecolor": colour, "linewidth": 0, "hatch": hatch},
            {"facecolor": "none", "edgecolor": colour, "linestyle": line, "linewidth": 1.5},
        )
        for look in looks:
            sample = Rectangle((1.04, height - 0.03), 0.09, 0.06, transform=axes.transAxes, clip_on=False, **look)
            axes.add_patch(sample)
        axes.text(1.15, height, name, color=colour, va="center", transform=axes.transAxes)


def _paint_thresholds(axes: matplotlib.axes.Axes, plot: DistancePlot) -> None:
    """Lines that end in labels above the axes, the leftmost in the highest, so that none crosses another's label."""
    mixed = axes.get_xaxis_transform()
    for i, (label, place) in enumerate(sorted(plot.thresholds, key=lambda threshold: -threshold[1])):
        top = 1 + (i + 0.75) * _STEP / svg.AXES_HEIGHT
        axes.plot((place, place), (0, top), color=svg.INK, linewidth=1, transform=mixed, clip_on=False)
        style: dict[str, Any] = {"color": svg.INK, "va": "center", "parse_math": False}
        axes.annotate(label, (place, top), (4, 0), xycoords=mixed, textcoords="offset points", **style)
