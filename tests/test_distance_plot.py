"""The histogram of distances: shares of their own pairs, told apart without colour, thresholds with clear labels."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from dsr_jax.report import distance_plot, svg
from dsr_jax.report.distance_plot import DistancePlot

SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")


def plot(**change):
    arguments = {
        "caption": "Distances",
        "edges": (0.0, 0.25, 0.5, 0.75, 1.0),
        "same": (5, 3, 1, 1),
        "different": (0, 100, 400, 500),
        "thresholds": (("equal error 18.2 %", 0.5), ("1 % false positives", 0.3)),
    }
    return DistancePlot(**(arguments | change))


def elements(drawing, tag="text"):
    return list(ET.fromstring(svg.for_paper(drawing).encode()).iter(f"{SVG}{tag}"))


def test_both_kinds_axes_and_thresholds_are_named():
    shown = {element.text for element in elements(distance_plot.draw(plot(label="distance $d$")))}
    assert {"same person", "different people", "equal error 18.2 %", "1 % false positives"} <= shown
    assert {"distance $d$", "share of its pairs (%)"} <= shown


def test_labels_of_thresholds_are_in_rows_of_their_own_above_the_axes():
    near = tuple((f"threshold {i}", 0.5 + 0.01 * i) for i in range(4))
    texts = {element.text: element for element in elements(distance_plot.draw(plot(thresholds=near)))}
    places = [(float(texts[name].get("x")), float(texts[name].get("y"))) for name, _ in near]
    assert places == sorted(places)  # further right is further down, so that no line crosses a label
    rows = np.diff([y for _, y in places])
    assert np.all(rows > 12)  # points; a label is 10.5 high


def test_the_kinds_differ_in_more_than_colour():
    drawing = distance_plot.draw(plot())
    assert len(elements(drawing, "pattern")) == 2  # hatchings
    assert len(set(re.findall(r"stroke-dasharray: ([^;\"]+)", drawing))) == 1  # one of both outlines is dashed


def test_scale_of_a_kind_does_not_change_the_drawing():
    many = plot(different=tuple(7 * count for count in (0, 100, 400, 500)))
    assert distance_plot.draw(many) == distance_plot.draw(plot())


def test_arrays_of_numpy_are_drawn_as_they_are():
    counts, edges = np.histogram([0.1, 0.2, 0.9], bins=5)
    other, _ = np.histogram([0.8, 0.9, 0.9], bins=edges)
    assert "same person" in distance_plot.draw(DistancePlot("Distances", edges, counts, other))


def test_colours_follow_the_theme_and_ids_are_met():
    page = svg.for_page(distance_plot.draw(plot()), prefix="d-")
    ids, used = set(re.findall(r' id="([^"]*)"', page)), set(re.findall(r'(?:url\(|href=")#([^")]*)', page))
    assert used and used <= ids and all(name.startswith("d-") for name in ids)
    assert not re.search(r"#[0-9a-fA-F]{6}\b(?=;|\"|')", page)


def test_it_is_said_in_words():
    assert distance_plot.describe(plot()) == (
        "same person: half of the pairs below 0.25; different people: half of the pairs below 0.75; "
        "equal error 18.2 % at 0.50; 1 % false positives at 0.30."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": (0.0, 0.5, 0.4, 0.75, 1.0)}, "do not rise in equal steps"),
        ({"edges": (0.0, 0.5, 0.6, 0.75, 1.0)}, "do not rise in equal steps"),
        ({"edges": (0.0,)}, "do not rise in equal steps"),
        ({"edges": (0.0, NAN, 0.5, 0.75, 1.0)}, "do not rise in equal steps"),
        ({"same": (1, 2)}, "same is .* it must be 4 counts"),
        ({"same": (0, 0, 0, 0)}, "same is .* not all of them zero"),
        ({"different": (1, 2, -1, 0)}, "different is"),
        ({"different": (1, 2, NAN, 0)}, "different is"),
        ({"thresholds": (("equal error", NAN),)}, "thresholds .* must be finite"),
    ],
)
def test_bad_histograms_are_named(change, message):
    with pytest.raises(ValueError, match=f"'Distances': .*{message}"):
        distance_plot.draw(plot(**change))
