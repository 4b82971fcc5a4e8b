"""Drawings as SVG with colours that are decided later: by the page's light or dark theme, or fixed for a file.

Colours are from Okabe and Ito's palette, safe for colour-blind readers, darkened or lightened until they are readable
as text on their theme. A drawing holds stand-ins for them: `for_page` turns these into CSS variables, so that it
follows the reader's theme, `for_paper` into fixed colours on white.
"""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.axes
from matplotlib.figure import Figure

LIGHT = ("#0072b2", "#b84700", "#00785a", "#a04582", "#766000", "#4a5560")
DARK = ("#5cb8f2", "#ff9257", "#35cfa2", "#ea9fcf", "#e3c04a", "#aeb9c4")
STAND_INS = tuple(f"#0{i}0a0b" for i in range(len(LIGHT)))
INK, GRID = "#090a0b", "#080a0b"
WIDTH, HEIGHT = 5.4, 3.7  # inches
LEFT, RIGHT, BOTTOM, TOP = 0.57, 1.88, 0.5, 0.13  # inches around the axes; to the right are names
AXES_HEIGHT = HEIGHT - BOTTOM - TOP
LINE_HEIGHT = 0.165  # inches, for one line of a name
_STYLE: Any = {"svg.fonttype": "none", "font.size": 10.5, "font.family": "sans-serif"}


def drawn(paint: Callable[[matplotlib.axes.Axes], None], *, name: str, above: float = 0.0) -> str:
    """A drawing in stand-in colours.

    Args:
      paint: draws into the axes, with `STAND_INS`, `INK` and `GRID` as colours.
      name: the ids in the drawing are derived from it; equal drawings of equal names are equal text.
      above: room above the axes, in inches.

    Example:
      >>> svg = drawn(lambda axes: axes.text(0, 0, "DSR", color=INK), name="CMC")
      >>> svg.startswith("<svg"), "DSR" in for_paper(svg)
      (True, True)
    """
    height = HEIGHT + above
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height))
        box = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (BOTTOM + TOP + above) / height)
        axes = figure.add_axes(box)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        paint(axes)
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


def wrapped(*parts: str) -> str:
    """A name in lines that fit beside the axes; each part begins a line."""
    return "\n".join(textwrap.fill(part, 22, break_on_hyphens=False) for part in parts if part)


def apart(places: Sequence[float], names: Sequence[str]) -> list[float]:
    """Heights for names beside the axes: near `places`, in their order, and none over another.

    Places and heights are shares of the axes' height, of the names' middles; the topmost is at most 1.
    """
    if not places:
        return []
    line = LINE_HEIGHT / AXES_HEIGHT
    heights = [line * (name.count("\n") + 1) + 0.015 for name in names]
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


def _recoloured(svg: str, colours: Sequence[str]) -> str:
    for stand_in, colour in zip((*STAND_INS, INK, GRID), colours, strict=True):
        svg = svg.replace(stand_in, colour)
    return svg
