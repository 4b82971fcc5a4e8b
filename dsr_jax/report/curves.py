"""Curves as SVG: CMC (Fig. 8, 9, 13), ROC, and a figure against a setting (Fig. 10, 11).

Lines differ in colour, marker and dash, and named at their right end instead of in a legend. Two conditions of
one method, before and after fine-tuning, share colour and marker. Colours are stand-ins, see `svg`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.axes
import numpy as np
from matplotlib.ticker import MaxNLocator

from dsr_jax.report import svg
from dsr_jax.report.svg import LIGHT

__all__ = ["CMC", "LIGHT", "ROC", "Axes", "Curve", "Plot", "describe", "draw", "sweep"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one more than colours: no two methods share both
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_MARKER = 0.025  # size of a marker, of the axes' height
_DIGIT = 0.03  # width of a digit in a tick's label, of the axes' width


@dataclass(frozen=True)
class Axes:
    """The axes of a plot."""

    x: str  # label of the places
    y: str  # label of the values, which are per cents
    log: bool = False  # whether places are shown logarithmically; points at 0 are then not shown
    # Places with a tick and a marker on every curve; empty: the places of the curves themselves.
    marks: tuple[float, ...] = ()
    ticks: tuple[float, ...] = ()  # places with a tick; empty: the marks, or else the places of the curves
    # Places of the values in `describe`; empty: the first, the best and the last of each curve.
    described: tuple[float, ...] = ()
    words: tuple[str, str] = ("", "")  # text before and after a place in `describe`


CMC = Axes("rank", "probes found (%)", marks=(1, 5, 10, 20, 50), words=("rank ", ""))
ROC = Axes(
    "false positives (%)",
    "true positives (%)",
    log=True,
    marks=(0.001, 0.01, 0.1, 1, 10, 100),
    described=(0.1, 1, 10),
    words=("", " % false positives"),
)


def sweep(setting: str, *, y: str = "rank-1 (%)", log: bool = False) -> Axes:
    """Axes of a figure against the value of a setting, such as the weight l1 or the visible share of a probe.

    Example:
      >>> describe(Plot("The weight", (Curve("DSR", (20.0, 25.0), places=(0.1, 0.4)),), sweep("l1", log=True)))
      'DSR: 20.0 % at l1 0.1, 25.0 % at l1 0.4.'
    """
    return Axes(setting, y, log=log, words=(f"{setting} ", ""))


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    label: str  # the method
    values: tuple[float, ...]  # per cents; of a CMC `values[k - 1]` is rank-k
    group: str = ""  # the condition, such as "fine-tuned"
    places: tuple[float, ...] = ()  # where the values are, not falling; by default 1, 2,
    # (low, high) around each value, drawn as a band; NaN where there is none.
    intervals: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """Label and condition together."""
        return f"{self.label}, {self.group}" if self.group else self.label

    @property
    def at(self) -> tuple[float, ...]:
        """The places, also where none were given."""
        return self.places or tuple(range(1, len(self.values) + 1))


@dataclass(frozen=True)
class Plot:
    """Curves that share axes, with a caption."""

    caption: str
    curves: tuple[Curve, ...]
    axes: Axes = CMC


def draw(plot: Plot) -> str:
    """The curves of a plot as an `<svg>` element in stand-in colours; equal plots give equal text.

    Raises:
      ValueError: if the plot has no curve, or a curve no value, a number that is not finite, not as many places or
        intervals as values, falling places, or nothing that a logarithmic axis can show.
    """
    _check(plot)
    return svg.drawn(lambda axes: _paint(axes, plot), name=plot.caption)


def describe(plot: Plot) -> str:
    """The plot in words, for screen readers: each curve at a few places."""
    return "; ".join(f"{curve.name}: {_words(curve, plot.axes)}" for curve in plot.curves) + "."


def _check(plot: Plot) -> None:
    if not plot.curves:
        raise ValueError(f"plot {plot.caption!r} has no curves; leave it out.")
    for curve in plot.curves:
        if not curve.values or not np.all(np.isfinite(curve.values)):
            raise ValueError(f"curve {curve.name!r} has values {curve.values}; it needs finite per cents.")
        for what, count in (("places", len(curve.at)), ("intervals", len(curve.intervals or curve.values))):
            if count != len(curve.values):
                raise ValueError(f"curve {curve.name!r} has {len(curve.values)} values and {count} {what}.")
        if not np.all(np.isfinite(curve.at)) or np.any(np.diff(curve.at) < 0):
            raise ValueError(f"curve {curve.name!r} has places {curve.at}; they must be finite and in order.")
        if plot.axes.log and (curve.at[0] < 0 or curve.at[-1] <= 0):
            raise ValueError(f"curve {curve.name!r} has places {curve.at}; a logarithmic axis shows what is above 0.")


def _shown(curve: Curve, axes: Axes) -> np.ndarray:
    """(4, n): place, value, low and high of every point that the axes can show."""
    ends = np.array(curve.intervals or [(np.nan, np.nan)] * len(curve.values), np.float64)
    points = np.stack([np.array(curve.at, np.float64), np.array(curve.values, np.float64), ends[:, 0], ends[:, 1]])
    return points[:, points[0] > 0] if axes.log else points


def _between(curve: Curve, axes: Axes, wanted: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Those of the wanted places that the curve covers, and its heights there."""
    places, values, _, _ = _shown(curve, axes)
    inside = np.array([place for place in wanted if places[0] <= place <= places[-1]], np.float64)
    scale = np.log if axes.log else np.asarray
    return inside, np.interp(scale(inside), scale(places), values)


def _mean(curve: Curve, axes: Axes) -> float:
    """Mean height at the marks, which are the same for every curve."""
    _, heights = _between(curve, axes, axes.marks)
    return float(np.mean(heights if heights.size else curve.values))


def _words(curve: Curve, axes: Axes) -> str:
    places, values, lows, highs = _shown(curve, axes)
    found = [(x, y, np.nan, np.nan) for x, y in zip(*_between(curve, axes, axes.described), strict=True)]
    some = sorted({0, int(np.argmax(values)), len(values) - 1})
    found = found or [(places[i], values[i], lows[i], highs[i]) for i in some]
    before, after = axes.words
    return ", ".join(
        f"{y:.1f} %{'' if np.isnan(low) else f' ({low:.1f} to {high:.1f})'} at {before}{x:g}{after}"
        for x, y, low, high in found
    )


def _styles(curves: Sequence[Curve]) -> list[tuple[str, str, Any]]:
    """Colour and marker by label; dash by condition where there are several, else by label."""
    labels = list(dict.fromkeys(curve.label for curve in curves))
    groups = list(dict.fromkeys(curve.group for curve in curves))
    styles = []
    for curve in curves:
        i = labels.index(curve.label)
        j = len(groups) - 1 - groups.index(curve.group) if len(groups) > 1 else i  # the last condition is solid
        styles.append((svg.STAND_INS[i % len(svg.STAND_INS)], _MARKERS[i % len(_MARKERS)], _DASHES[j % len(_DASHES)]))
    return styles


def _paint(axes: matplotlib.axes.Axes, plot: Plot) -> None:
    _paint_scales(axes, plot)
    for curve, (colour, marker, dash) in zip(plot.curves, _styles(plot.curves), strict=True):
        places, values, low, high = _shown(curve, plot.axes)
        axes.fill_between(places, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(places, values, color=colour, linestyle=dash)
        marked = _between(curve, plot.axes, plot.axes.marks) if plot.axes.marks else (places, values)
        axes.plot(*marked, marker, color=colour, markersize=5, clip_on=False)
    _paint_names(axes, plot)


def _paint_scales(axes: matplotlib.axes.Axes, plot: Plot) -> None:
    points = np.concatenate([_shown(curve, plot.axes) for curve in plot.curves], axis=1)
    first, last, top = points[0].min(), points[0].max(), np.nanmax(points[1:])
    if last == first:
        last = 10 * first if plot.axes.log else first + 1
    if plot.axes.log:
        axes.set_xscale("log")
    axes.set_xlim(first, last)
    axes.set_ylim(0, min(100.0, max(5.0, 10 * np.ceil(top * 1.05 / 10))))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    ticks = _ticks(
        [place for place in plot.axes.ticks or plot.axes.marks or sorted(set(points[0])) if first <= place <= last],
        axes,
    )
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(plot.axes.x, color=svg.INK, parse_math=False)
    axes.set_ylabel(plot.axes.y, color=svg.INK, parse_math=False)


def _ticks(places: Sequence[float], axes: matplotlib.axes.Axes) -> list[float]:
    """The places, without those whose labels would touch the one before."""
    ticks: list[float] = []
    for place in places:
        room = _share(axes, place, 0.0)[0] - _share(axes, ticks[-1], 0.0)[0] if ticks else np.inf
        if room >= _DIGIT * (1 + len(f"{place:g}") + len(f"{(ticks or [place])[-1]:g}")) / 2:
            ticks.append(place)
    return ticks


def _share(axes: matplotlib.axes.Axes, place: float, value: float) -> tuple[float, float]:
    """A point in shares of the axes' width and height."""
    x, y = (axes.transScale + axes.transLimits).transform((place, value))
    return float(x), float(y)


def _paint_names(axes: matplotlib.axes.Axes, plot: Plot) -> None:
    """Names to the right of the lines' ends, moved apart where they would overlap; with markers where ends meet."""
    points = [_shown(curve, plot.axes) for curve in plot.curves]
    ends = [_share(axes, places[-1], values[-1]) for places, values, _, _ in points]
    names = [svg.wrapped(curve.label, curve.group) for curve in plot.curves]
    # Curves that end together, as in an ROC, are named in the order in which they run.
    wanted = [end[1] + 1e-6 * _mean(curve, plot.axes) for end, curve in zip(ends, plot.curves, strict=True)]
    meet = np.diff(sorted(height for _, height in ends)).min(initial=1.0) < _MARKER
    free: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for end, name, height, (colour, marker, dash) in zip(
        ends, names, svg.apart(wanted, names), _styles(plot.curves), strict=True
    ):
        axes.plot((end[0], 1.05), (end[1], height), color=colour, linestyle=dash, linewidth=0.7, **free)
        if meet:
            axes.plot(1.055, height, marker, color=colour, markersize=5, **free)
        style: dict[str, Any] = {"color": colour, "va": "center", "linespacing": 1.1, "parse_math": False, **free}
        axes.text(1.08 if meet else 1.06, height, name, **style)
