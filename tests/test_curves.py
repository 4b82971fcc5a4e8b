"""The curves: what is drawn, that lines can be told apart without colour, and that names do not overlap."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax import curves

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ET.fromstring(curves.for_paper(svg).encode()).iter(f"{SVG}text")]


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
    assert min(contrast(colour, "#ffffff") for colour in curves.LIGHT) >= 4.5
    assert min(contrast(colour, "#181d24") for colour in curves.DARK) >= 4.5


def test_page_follows_the_theme_and_paper_does_not():
    svg = curves.draw(plot(6))
    page, paper = curves.for_page(svg, prefix="a-"), curves.for_paper(svg)
    assert all(f"var(--curve-{i})" in page for i in range(6)) and "currentColor" in page
    assert all(colour in paper for colour in curves.LIGHT) and "var(" not in paper
    for stand_in in (*curves._STAND_INS, curves._INK, curves._GRID):
        assert stand_in in svg and stand_in not in page and stand_in not in paper
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
    for values in ((), (1.0, float("nan"))):
        with pytest.raises(ValueError, match="'DSR, after' has values"):
            curves.draw(curves.Plot("CMC", (curves.Curve("DSR", values, "after"),)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.06, 0.12])), min_size=1, max_size=7))
def test_names_are_moved_apart_in_their_order(ends):
    places, heights = zip(*ends, strict=True)
    centres = curves._apart(places, heights)
    assert max(centres) <= 1.0
    placed = sorted(range(len(centres)), key=centres.__getitem__)
    for lower, upper in zip(placed, placed[1:], strict=False):
        assert places[lower] <= places[upper]
        assert centres[upper] - centres[lower] >= (heights[lower] + heights[upper]) / 2 - 1e-9
