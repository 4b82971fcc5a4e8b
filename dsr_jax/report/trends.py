"""Curves of a training as SVG: losses, distances, gradient norm against the step.

Thousands of steps are drawn as a few hundred groups of neighbours: their mean as a line, least and most as a band
around it. Colours are stand-ins, see `svg`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.axes
import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from dsr_jax.report import svg

GROUPS = 200


@dataclass(frozen=True)
class Trace:
    """One figure at some steps."""

    name: str  # what it is
    steps: tuple[float, ...]  # ascending
    values: tuple[float, ...]  # as many, finite


@dataclass(frozen=True)
class Trend:
    """Figures of one unit, with a caption."""

    caption: str  # heading
    unit: str  # label of the values
    traces: tuple[Trace, ...]  # at least one, each with at least one value
    log: bool = False  # whether values are shown logarithmically; those not above 0 are then left out


def draw(trend: Trend) -> str:
    """Figures against the step as an `<svg>` element in stand-in colours; equal trends give equal text.

    Raises:
      ValueError: if there is no trace, or one has no values, not as many steps, or a value that is not finite.
    """
    if not trend.traces:
        raise ValueError(f"trend {trend.caption!r} has no traces; leave it out.")
    for trace in trend.traces:
        if not trace.values or len(trace.values) != len(trace.steps):
            raise ValueError(
                f"trace {trace.name!r} has {len(trace.values)} values and {len(trace.steps)} steps; it needs as many "
                "of each, and at least one."
            )
        if not np.all(np.isfinite(trace.values)):
            raise ValueError(f"trace {trace.name!r} has values that are not finite; leave them out.")
    return svg.drawn(lambda axes: _paint(axes, trend), name=trend.caption)


def describe(trend: Trend) -> str:
    """The trend in words, for screen readers: first and last value of each figure.

    Example:
      >>> describe(Trend("Loss", "loss", (Trace("loss", (1, 2, 3), (2.0, 1.5, 1.25)),)))
      'loss: 2 at step 1, 1.25 at step 3.'
    """
    parts = []
    for trace in trend.traces:
        ends = dict.fromkeys((0, len(trace.values) - 1))
        parts.append(f"{trace.name}: " + ", ".join(f"{trace.values[i]:.4g} at step {trace.steps[i]:g}" for i in ends))
    return "; ".join(parts) + "."


def _grouped(trace: Trace) -> tuple[np.ndarray, ...]:
    """Mean step, mean, least and most of at most `GROUPS` groups of neighbours."""
    parts = min(GROUPS, len(trace.values))
    steps, values = (np.array_split(np.asarray(x, np.float64), parts) for x in (trace.steps, trace.values))
    return (
        np.array([part.mean() for part in steps]),
        *(np.array([of(part) for part in values]) for of in (np.mean, np.min, np.max)),
    )


def _paint(axes: matplotlib.axes.Axes, trend: Trend) -> None:
    shown = [_positive(trace) if trend.log else trace for trace in trend.traces]
    drawn = [(place, _grouped(trace)) for place, trace in enumerate(shown) if trace.values]
    steps = np.concatenate([np.asarray(trace.steps, np.float64) for trace in trend.traces])
    axes.set_xlim(steps.min(), steps.max() if steps.max() > steps.min() else steps.min() + 1)
    if trend.log and drawn:
        axes.set_yscale("log")
    for place, (at, mean, least, most) in drawn:
        colour = svg.STAND_INS[place % len(svg.STAND_INS)]
        axes.fill_between(at, least, most, color=colour, alpha=0.18, linewidth=0)
        axes.plot(at, mean, color=colour, linewidth=1.4, marker="o" if len(at) < 20 else "", markersize=4)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_yscale() == "linear":
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        axes.yaxis.get_offset_text().set_color(svg.INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step", color=svg.INK)
    axes.set_ylabel(trend.unit, color=svg.INK, parse_math=False)
    _paint_names(axes, [(trend.traces[place].name, place, groups[1][-1]) for place, groups in drawn])


def _positive(trace: Trace) -> Trace:
    kept = [(step, value) for step, value in zip(trace.steps, trace.values, strict=True) if value > 0]
    return Trace(trace.name, tuple(step for step, _ in kept), tuple(value for _, value in kept))


def _paint_names(axes: matplotlib.axes.Axes, ends: Sequence[tuple[str, int, float]]) -> None:
    """Names with their last values to the right of the lines, moved apart where they would overlap."""
    axes.get_ylim()  # only now matplotlib looks at what was drawn
    names = [f"{svg.wrapped(name)}\n{value:.4g}" for name, _, value in ends]
    heights = [float((axes.transScale + axes.transLimits).transform((0.0, value))[1]) for _, _, value in ends]
    for (_, place, _), name, height in zip(ends, names, svg.apart(heights, names), strict=True):
        colour = svg.STAND_INS[place % len(svg.STAND_INS)]
        style: dict[str, Any] = {
            "color": colour,
            "va": "center",
            "linespacing": 1.1,
            "transform": axes.transAxes,
            "clip_on": False,
        }
        axes.text(1.04, height, name, parse_math=False, **style)
