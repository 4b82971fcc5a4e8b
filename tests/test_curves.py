"""The curves: what is drawn and said, that lines can be told apart without colour, and that names do not overlap."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax.report import curves, svg

NAN = float("nan")
SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing):
    return [element.text for element in ET.fromstring(svg.for_paper(drawing).encode()).iter(f"{SVG}text")]


def plot(count=3, groups=("",)):
    lines = tuple(curves.Curve(f"method {i}", (5.0 + i, 9.0 + i, 12.0 + i), g) for i in range(count) for g in groups)
    return curves.Plot("CMC", lines)


def test_every_curve_is_named_in_text():
    shown = texts(curves.draw(plot(3, ("before", "after"))))
    for i in range(3):
        assert shown.count(f"method {i}") == 2
    assert shown.count("before") == shown.count("after") == 3


def test_names_are_shown_as_written():
    name = "a_b $x$ <&> fine-tuned"
    assert name in texts(curves.draw(curves.Plot("CMC", (curves.Curve(name, (1.0, 2.0)),))))


def test_curves_differ_in_more_than_colour():
    for drawn in (plot(4), plot(3, ("before", "after"))):
        styles = curves._styles(drawn.curves)
        assert len({(marker, dash) for _, marker, dash in styles}) == len(drawn.curves)
    before, after = curves._styles(plot(1, ("before", "after")).curves)
    assert before[:2] == after[:2] and after[2] == "-" != before[2]


def contrast(first, second):
    """WCAG contrast ratio of two #rrggbb colours."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_names_are_readable_on_both_themes():
    assert min(contrast(colour, "#ffffff") for colour in svg.LIGHT) >= 4.5
    assert min(contrast(colour, "#181d24") for colour in svg.DARK) >= 4.5


def test_page_follows_the_theme_and_paper_does_not():
    drawing = curves.draw(plot(6))
    page, paper = svg.for_page(drawing, prefix="a-"), svg.for_paper(drawing)
    assert all(f"var(--curve-{i})" in page for i in range(6)) and "currentColor" in page
    assert all(colour in paper for colour in svg.LIGHT) and "var(" not in paper
    for stand_in in (*svg.STAND_INS, svg.INK, svg.GRID):
        assert stand_in in drawing and stand_in not in page and stand_in not in paper
    ids, used = set(re.findall(r' id="([^"]*)"', page)), set(re.findall(r'(?:url\(|href=")#([^")]*)', page))
    assert used and used <= ids and all(name.startswith("a-") for name in ids)
    assert not re.search(r"#[0-9a-fA-F]{6}\b(?=;|\"|')", page)  # no colour was left fixed


def test_drawing_is_reproducible():
    assert curves.draw(plot()) == curves.draw(plot())


@pytest.mark.parametrize("values", [(3.0,), (0.0, 0.0), (100.0,) * 30, tuple(float(i) for i in range(60))])
def test_short_flat_and_long_curves_are_drawn(values):
    assert "DSR" in texts(curves.draw(curves.Plot("CMC", (curves.Curve("DSR", values),))))


def test_bad_curves_are_named():
    with pytest.raises(ValueError, match="'CMC' has no curves"):
        curves.draw(curves.Plot("CMC", ()))
    for curve, message in (
        (curves.Curve("DSR", (), "after"), "'DSR, after' has values"),
        (curves.Curve("DSR", (1.0, NAN), "after"), "'DSR, after' has values"),
        (curves.Curve("DSR", (1.0, 2.0), places=(1.0,)), "'DSR' has 2 values and 1 places"),
        (curves.Curve("DSR", (1.0,), intervals=((0.0, 1.0),) * 2), "'DSR' has 1 values and 2 intervals"),
        (curves.Curve("DSR", (1.0, 2.0), places=(2.0, 1.0)), "must be finite and in order"),
        (curves.Curve("DSR", (1.0, 2.0), places=(1.0, NAN)), "must be finite and in order"),
    ):
        with pytest.raises(ValueError, match=message):
            curves.draw(curves.Plot("CMC", (curve,)))
    for places in ((0.0,), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="shows what is above 0"):
            curves.draw(curves.Plot("ROC", (curves.Curve("DSR", (1.0,) * len(places), places=places),), curves.ROC))


def roc(*labels):
    lines = tuple(curves.Curve(name, (2.0, 10.0, 40.0, 100.0), places=(0.0, 0.05, 2.0, 100.0)) for name in labels)
    return curves.Plot("ROC", lines, curves.ROC)


def test_roc_is_logarithmic_begins_above_zero_and_is_said_at_powers_of_ten():
    shown = texts(curves.draw(roc("DSR", "resizing")))
    assert {"false positives (%)", "true positives (%)", "0.1", "1", "10", "100"} <= set(shown)
    assert not {"0.001", "0.01"} & set(shown)
    by_hand = [10 + 30 * math.log(x / 0.05) / math.log(40) for x in (0.1, 1)]
    assert curves.describe(roc("DSR")) == (
        f"DSR: {by_hand[0]:.1f} % at 0.1 % false positives, {by_hand[1]:.1f} % at 1 % false positives, "
        f"{40 + 60 * math.log(5) / math.log(50):.1f} % at 10 % false positives."
    )


def test_marks_lie_on_the_line():
    plot = roc("DSR")
    places, heights = curves._between(plot.curves[0], plot.axes, (0.05, 2.0, 100.0, 200.0))
    assert places.tolist() == [0.05, 2.0, 100.0] and heights.tolist() == [10.0, 40.0, 100.0]


def test_curves_that_end_together_are_named_beside_their_markers_in_their_order():
    lines = tuple(
        curves.Curve(name, values, places=(0.1, 1.0, 100.0))
        for name, values in (("low", (1.0, 5.0, 100.0)), ("high", (20.0, 60.0, 100.0)), ("middle", (9.0, 30.0, 100.0)))
    )
    together = curves.draw(curves.Plot("ROC", lines, curves.ROC))
    heights = {
        element.text: float(element.get("y"))
        for element in ET.fromstring(svg.for_paper(together).encode()).iter(f"{SVG}text")
        if element.text in ("low", "middle", "high")
    }
    assert sorted(heights, key=heights.__getitem__) == ["high", "middle", "low"]


def test_sweeps_have_their_places_bands_and_words():
    line = curves.Curve(
        "DSR", (20.0, 30.0, 25.0), places=(0.1, 0.4, 0.8), intervals=((15.0, 26.0), (NAN, NAN), (20.0, 31.0))
    )
    plot = curves.Plot("l1", (line,), curves.sweep("l1", log=True))
    shown = texts(curves.draw(plot))
    assert {"l1", "rank-1 (%)", "0.1", "0.4", "0.8", "DSR"} <= set(shown)
    assert (
        curves.describe(plot)
        == "DSR: 20.0 % (15.0 to 26.0) at l1 0.1, 30.0 % at l1 0.4, 25.0 % (20.0 to 31.0) at l1 0.8."
    )
    bare = curves.Plot("l1", (curves.Curve("DSR", line.values, places=line.places),), plot.axes)
    assert curves.draw(bare).count("fill-opacity") == 0 < curves.draw(plot).count("fill-opacity")
    alone = curves.Plot(
        "share", (curves.Curve("DSR", (20.0,), places=(0.5,)),), curves.sweep("visible share", y="mAP (%)")
    )
    assert curves.describe(alone) == "DSR: 20.0 % at visible share 0.5." and "mAP (%)" in texts(curves.draw(alone))


@pytest.mark.parametrize("log", [False, True])
def test_labels_of_close_places_are_left_out(log):
    places = tuple(0.1 + 0.01 * i for i in range(60))
    shown = texts(
        curves.draw(curves.Plot("x", (curves.Curve("DSR", (5.0,) * 60, places=places),), curves.sweep("x", log=log)))
    )
    labels = [text for text in shown if text in {f"{place:g}" for place in places}]
    assert "0.1" in labels and 3 <= len(labels) <= 10


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["DSR", "DSR\nafter"])), min_size=1, max_size=7),
)
def test_names_are_moved_apart_in_their_order(ends):
    places, names = zip(*ends, strict=True)
    centres = svg.apart(places, names)
    assert max(centres) <= 1.0
    placed = sorted(range(len(centres)), key=centres.__getitem__)
    for lower, upper in pairwise(placed):
        assert places[lower] <= places[upper]
        lines = 1 + (names[lower].count("\n") + names[upper].count("\n")) / 2
        assert centres[upper] - centres[lower] >= lines * svg.LINE_HEIGHT / svg.AXES_HEIGHT
    assert svg.apart([], []) == []


def test_a_dozen_methods_are_told_apart_by_colour_and_marker():
    styles = curves._styles([curves.Curve(f"method {i}", (1.0,)) for i in range(12)])
    assert len({(colour, marker) for colour, marker, _ in styles}) == 12


def test_heights_are_marked_in_whole_per_cents():
    """Longer labels would push the name of the axis out of the drawing."""
    svg_text = curves.draw(
        curves.Plot("l1", (curves.Curve("DSR", (17.9, 12.0), places=(0.1, 0.7)),), curves.sweep("l1"))
    )
    assert "17.5" not in svg_text


def test_ticks_may_be_elsewhere_than_the_points():
    curve = curves.Curve("DSR", (10.0, 40.0), places=(0.0, 100.0))
    for ticks, middle in (((0.0, 55.0, 100.0), 1), ((), 0)):
        axes = dataclasses.replace(curves.sweep("probability"), ticks=ticks)
        assert texts(curves.draw(curves.Plot("Reliability", (curve,), axes))).count("55") == middle
