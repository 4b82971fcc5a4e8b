"""CMC curves as SVG (Fig. 8, 9 and 13): rank against the share of probes found by then.

Lines are told apart by colour (from Okabe and Ito's palette, safe for colour-blind readers), marker and dash, and
named at their right end instead of in a legend. Two conditions of one method, before and after fine-tuning, share
colour and marker. The drawing holds stand-in colours: `for_page` turns them into CSS variables, so that the curves
follow the reader's light or dark theme, `for_paper` into fixed colours on white.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LIGHT = ("#0072b2", "#b84700", "#00785a", "#a04582", "#766000", "#4a5560")
DARK = ("#5cb8f2", "#ff9257", "#35cfa2", "#ea9fcf", "#e3c04a", "#aeb9c4")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_STAND_INS = tuple(f"#0{i}0a0b" for i in range(len(LIGHT)))
_INK, _GRID = "#090a0b", "#080a0b"
_STYLE: Any = {"svg.fonttype": "none", "font.size": 10.5, "font.family": "sans-serif"}
_MARKED_RANKS = (1, 5, 10, 20, 50)
_LINE_HEIGHT = 0.052  # of the axes' height, for one line of a label


@dataclass(frozen=True)
class Curve:
    """One method's CMC: `values[k - 1]` is rank-k in per cent; `group` is its condition, such as "fine-tuned"."""

    label: str
    values: tuple[float, ...]
    group: str = ""

    @property
    def name(self) -> str:
        """Label and condition together."""
        return f"{self.label}, {self.group}" if self.group else self.label


@dataclass(frozen=True)
class Plot:
    """Curves that share axes, with a caption."""

    caption: str
    curves: tuple[Curve, ...]


def draw(plot: Plot) -> str:
    """Draws the curves of a plot.

    Args:
        plot: at least one `Curve`, each with at least one finite value.

    Returns:
        The `<svg>` element, in stand-in colours; equal plots give equal text.

    Raises:
        ValueError: if the plot has no curve, or a curve no value or one that is not finite.

    Example:
        >>> svg = draw(Plot("CMC", (Curve("DSR", (24.2, 31.0, 37.5)),)))
        >>> svg.startswith("<svg"), "DSR" in for_paper(svg)
        (True, True)
    """
    _check(plot)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": plot.caption}):
        figure = Figure(figsize=(5.4, 3.7))
        axes = figure.add_axes((0.105, 0.135, 0.545, 0.83))
        _draw_axes(axes, plot)
        for curve, (colour, marker, dash) in zip(plot.curves, _styles(plot.curves), strict=True):
            ranks = np.arange(1, len(curve.values) + 1)
            marked = [k - 1 for k in _MARKED_RANKS if k <= len(ranks)]
            axes.plot(ranks, curve.values, color=colour, linestyle=dash)
            axes.plot(ranks[marked], np.array(curve.values)[marked], marker, color=colour, markersize=5, clip_on=False)
        _draw_names(axes, plot)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def for_page(svg: str, *, prefix: str) -> str:
    """Colours as CSS variables --curve-0, ..., --grid and that of the text around; ids begin with `prefix`."""
    names = [f"var(--curve-{i})" for i in range(len(LIGHT))]
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
    return _recoloured(svg, [*names, "currentColor", "var(--grid)"])


def for_paper(svg: str) -> str:
    """Fixed colours, for a file that stands alone."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _recoloured(svg, [*LIGHT, "#1b2430", "#dde2e8"])


def describe(plot: Plot) -> str:
    """The plot in words, for those who hear it: each curve's first and last value."""
    parts = [
        f"{curve.name}: {curve.values[0]:.1f} % at rank 1, {curve.values[-1]:.1f} % at rank {len(curve.values)}"
        for curve in plot.curves
    ]
    return "; ".join(parts) + "."


def _check(plot: Plot) -> None:
    if not plot.curves:
        raise ValueError(f"plot {plot.caption!r} has no curves; leave it out.")
    for curve in plot.curves:
        if not curve.values or not np.all(np.isfinite(curve.values)):
            raise ValueError(f"curve {curve.name!r} has values {curve.values}; it needs finite per cents from rank 1.")


def _recoloured(svg: str, colours: Sequence[str]) -> str:
    for stand_in, colour in zip((*_STAND_INS, _INK, _GRID), colours, strict=True):
        svg = svg.replace(stand_in, colour)
    return svg


def _styles(curves: Sequence[Curve]) -> list[tuple[str, str, Any]]:
    """Colour and marker by label; dash by condition where there are several, else by label."""
    labels = list(dict.fromkeys(curve.label for curve in curves))
    groups = list(dict.fromkeys(curve.group for curve in curves))
    styles = []
    for curve in curves:
        i = labels.index(curve.label)
        j = len(groups) - 1 - groups.index(curve.group) if len(groups) > 1 else i  # the last condition is solid
        styles.append((_STAND_INS[i % len(_STAND_INS)], _MARKERS[i % len(_MARKERS)], _DASHES[j % len(_DASHES)]))
    return styles


def _draw_axes(axes: Axes, plot: Plot) -> None:
    last = max(len(curve.values) for curve in plot.curves)
    top = max(max(curve.values) for curve in plot.curves)
    axes.set_xlim(1, max(last, 2))
    axes.set_ylim(0, min(100.0, max(5.0, 10 * np.ceil(top * 1.05 / 10))))
    axes.set_xticks(sorted({k for k in _MARKED_RANKS if k <= last}))
    axes.set_xlabel("rank", color=_INK)
    axes.set_ylabel("probes found (%)", color=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)


def _draw_names(axes: Axes, plot: Plot) -> None:
    """Names to the right of the lines' ends, moved apart where they would overlap."""
    names = [_wrapped(curve) for curve in plot.curves]
    top = axes.get_ylim()[1]
    heights = [_LINE_HEIGHT * (name.count("\n") + 1) + 0.015 for name in names]
    places = _apart([curve.values[-1] / top for curve in plot.curves], heights)
    first, last = axes.get_xlim()
    for curve, name, place, (colour, _, _) in zip(plot.curves, names, places, _styles(plot.curves), strict=True):
        axes.annotate(
            name,
            xy=((len(curve.values) - first) / (last - first), curve.values[-1] / top),
            xytext=(1.06, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            linespacing=1.1,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "shrinkA": 2,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _wrapped(curve: Curve) -> str:
    """A curve's name in lines that fit beside the axes, its condition on a line of its own."""
    parts = [curve.label, curve.group] if curve.group else [curve.label]
    return "\n".join(textwrap.fill(part, 23, break_on_hyphens=False) for part in parts)


def _apart(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres as near as possible to `places` in [0, 1], in their order, at least the mean height apart."""
    order = sorted(range(len(places)), key=lambda i: (places[i], -i))
    centres = [places[i] for i in order]
    gaps = [(heights[i] + heights[j]) / 2 for i, j in pairwise(order)]
    for i, gap in enumerate(gaps):
        centres[i + 1] = max(centres[i + 1], centres[i] + gap)
    centres[-1] = min(centres[-1], 1.0 - heights[order[-1]] / 3)
    for i in reversed(range(len(gaps))):
        centres[i] = min(centres[i], centres[i + 1] - gaps[i])
    moved = dict(zip(order, centres, strict=True))
    return [moved[i] for i in range(len(places))]
