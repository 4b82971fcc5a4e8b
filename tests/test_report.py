"""The page: read back with a parser and held to what a reader, a keyboard and a screen reader need."""

import dataclasses
import html.parser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsr_jax import report
from dsr_jax.evaluation.intervals import Interval
from dsr_jax.report.curves import Curve, Plot

VOID = {"meta", "link", "img", "br", "input", "path", "use"}
NAN = float("nan")


class Page(html.parser.HTMLParser):
    """Elements in order as (tag, attributes, text), and a check that tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        assert [tag for tag, _, _ in self._open] == []

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        assert len(dict(attrs)) == len(attrs)
        self.elements.append(element)
        if tag not in VOID or self.get_starttag_text().endswith("/>"):
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, texts in self._open:
            texts.append(data)

    def all(self, *tags):
        return [(attrs, " ".join("".join(texts).split())) for tag, attrs, texts in self.elements if tag in tags]


def coloured(seed, height=60, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def evaluation(**change):
    table = report.Table(
        caption="Rank-k",
        heading="method",
        columns=("rank-1", "mAP"),
        rows=(
            report.Row("resizing", (Interval(9.2, 5.0, 13.5), 11.0), "before"),
            report.Row("DSR", (Interval(24.21, 17.0, 32.0), None), "before"),
            report.Row("DSR", (Interval(33.0, NAN, NAN), -2.0), "after"),
        ),
        note="Per cent.",
        mark_best=True,
    )
    hits = tuple(report.Hit(coloured(i), i, 0.1 * i, i == 2) for i in range(4))
    arguments = {
        "title": "A run",
        "tables": [table],
        "curves": [Plot("CMC", (Curve("DSR", (24.0, 30.0, 33.0)),))],
        "ranked": [report.RankedList("Probe 7", coloured(9, 40, 24), 2, hits, 2)],
        "distances": [report.DistancePlot("Distances", (0.0, 0.5, 1.0), (3, 1), (1, 9), (("equal error", 0.5),))],
        "config": {"l1": 0.4, "scales": (1, 2, 3), "weights": Path("vgg16.npz")},
        "summary": "Two methods.",
    }
    return arguments | change


def written(folder, **change):
    path = report.write_evaluation(folder, **evaluation(**change))
    return Page(path.read_text(encoding="utf-8"))


def test_page_has_the_structure_a_screen_reader_needs(tmp_path):
    page = written(tmp_path)
    assert page.all("h1") == [({}, "A run")] and page.all("title")[0][1] == "A run"
    assert page.all("html")[0][0]["lang"] == "en"
    assert all(attrs["alt"] for attrs, _ in page.all("img")) and len(page.all("img")) == 5
    assert {attrs.get("scope") for attrs, _ in page.all("th")} == {"col", "row", "rowgroup"}
    assert page.all("caption")[0][1].startswith("Rank-k Per cent.")
    regions = [attrs for attrs, _ in page.all("div") if attrs.get("role") == "region"]
    assert all(attrs["tabindex"] == "0" for attrs in regions) and regions
    drawings = [attrs["aria-label"] for attrs, _ in page.all("div") if attrs.get("role") == "img"]
    assert drawings[0] == "DSR: 24.0 % at rank 1, 33.0 % at rank 3."
    assert drawings[1].startswith("same person: half of the pairs below") and len(drawings) == 2


def test_ids_are_unique_and_every_reference_to_one_is_met(tmp_path):
    page = written(tmp_path, curves=[Plot(name, (Curve("DSR", (1.0, 2.0)),)) for name in ("CMC", "CMC", "other")])
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    named = [attrs["aria-labelledby"] for _, attrs, _ in page.elements if "aria-labelledby" in attrs]
    linked = [attrs["href"][1:] for attrs, _ in page.all("a") if attrs["href"].startswith("#")]
    assert len(ids) == len(set(ids))
    assert set(named) | set(linked) <= set(ids)


def test_page_needs_nothing_from_outside_its_folder(tmp_path):
    page = written(tmp_path)
    references = [
        attrs[key] for tag, attrs, _ in page.elements for key in ("src", "href", "xlink:href", "srcset") if key in attrs
    ]
    files = [name for name in references if not name.startswith(("#", "data:,"))]
    assert len(files) == 7 and all((tmp_path / name).is_file() for name in files)
    assert {path.name for path in tmp_path.iterdir()} == {*files, "index.html"}
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not page.all("script") and "@import" not in text and "url(http" not in text


def test_table_shows_values_intervals_groups_and_the_best(tmp_path):
    page = written(tmp_path)
    cells = [text for _, text in page.all("td")]
    assert cells[:6] == [
        "9.2 5.0\N{EN DASH}13.5",
        "11.0",
        "24.2 17.0\N{EN DASH}32.0",
        "\N{EN DASH}",
        "33.0",
        "\N{MINUS SIGN}2.0",
    ]
    assert [text for attrs, text in page.all("th") if attrs.get("scope") == "rowgroup"] == ["before", "after"]
    assert [text for _, text in page.all("strong")] == ["11.0", "33.0"]


def test_numbers_of_the_paper_stand_beside_ours(tmp_path):
    cells = (
        report.Compared(Interval(24.2, 17.0, 32.0), 19.33),
        report.Compared(None, "43.00"),
        report.Compared(3, None),
    )
    table = report.Table("T", "method", ("r", "s", "t"), (report.Row("DSR", cells), report.Row("x", (1.0, 2.0, 3))))
    page = written(tmp_path, tables=[table])
    assert [text for _, text in page.all("td")][:3] == [
        "24.2 17.0\N{EN DASH}32.0 paper 19.33",
        "\N{EN DASH} paper 43.00",
        "3",
    ]
    assert "the number that the paper prints" in page.all("caption")[0][1]
    marked = written(tmp_path, tables=[dataclasses.replace(table, mark_best=True)])
    assert [text for _, text in marked.all("strong")] == ["24.2", "3", "2.0", "3"]  # the paper's take no part


def test_best_is_marked_only_where_asked_and_where_it_can_be_compared(tmp_path):
    rows = (report.Row("a", (NAN, "x-y", 3)), report.Row("b", (None, "z", 3)))
    table = report.Table("T", "method", ("r", "s", "t"), rows)
    assert written(tmp_path, tables=[table]).all("strong") == []
    marked = written(tmp_path, tables=[report.Table("T", "method", ("r", "s", "t"), rows, mark_best=True)])
    assert [text for _, text in marked.all("strong")] == ["3", "3"]
    assert [text for _, text in marked.all("td")][:3] == ["\N{EN DASH}", "x-y", "3"]


def test_right_answers_are_marked_by_more_than_colour(tmp_path):
    page = written(tmp_path)
    entries = page.all("li")
    hits = [(attrs.get("class"), text) for attrs, text in entries if "right" in text or "other" in text]
    assert hits == [
        (None, "1 ✗ other 0.000"),
        (None, "2 ✗ other 0.100"),
        ("right", "3 ✓ right 0.200"),
        (None, "4 ✗ other 0.300"),
    ]
    assert [attrs["alt"] for attrs, _ in page.all("img")][3] == "Rank 3, person 2, the right person"
    assert any(text == "First right answer at rank 3." for _, text in page.all("p"))
    lost = written(tmp_path, ranked=[report.RankedList("Probe", coloured(0), 1, (), -1)])
    assert any(text == "No right answer in the gallery." for _, text in lost.all("p"))


def test_pictures_keep_their_pixels_shape_and_are_stored_once(tmp_path):
    flat = np.full((60, 24, 3), (200, 30, 90), np.uint8)
    large = np.full((1200, 600, 3), 77, np.uint8)
    hits = tuple(report.Hit(flat, i, 0.5, False) for i in range(3))
    page = written(tmp_path, ranked=[report.RankedList("Probe", large, 0, hits, -1)])
    probe, *others = (attrs for attrs, _ in page.all("img"))
    assert len({attrs["src"] for attrs in others}) == 1
    assert (probe["width"], probe["height"]) == ("192", "384")
    with Image.open(tmp_path / others[0]["src"]) as picture:
        assert picture.size == (24, 60)
        assert np.abs(np.asarray(picture).astype(int) - flat).max() <= 4


def test_configuration_is_complete_and_names_are_escaped(tmp_path):
    evil = "<script>alert('x')</script> & $x_1$"
    row = report.Row(evil, (1.0,))
    page = written(
        tmp_path,
        title=evil,
        tables=[report.Table(evil, evil, (evil,), (row,))],
        curves=[Plot(evil, (Curve(evil, (1.0, 2.0), evil),))],
        config={evil: evil, "l1": 0.4, "scales": (1, 2), "weights": Path("vgg16.npz"), "none": None},
    )
    assert not page.all("script") and page.all("h1")[0][1] == evil
    codes = [text for _, text in page.all("code")]
    assert codes == [evil, evil, "l1", "0.4", "scales", "[1, 2]", "weights", '"vgg16.npz"', "none", "null"]


def test_an_evaluation_with_nothing_to_show_has_no_empty_sections(tmp_path):
    page = written(tmp_path, tables=[], curves=[], ranked=[], distances=[], summary="")
    assert [text for _, text in page.all("h2")] == ["Configuration"]


def test_writing_again_is_identical_and_removes_what_is_no_longer_shown(tmp_path):
    folder = tmp_path / "a" / "report"
    written(folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "notes.txt").write_text("mine")
    written(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.txt"} == first
    written(folder, curves=[], ranked=[], distances=[])
    assert {path.name for path in folder.iterdir()} == {"index.html", "notes.txt"}


def test_a_failed_write_leaves_the_old_page_whole(tmp_path):
    written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    short = report.Table("T", "method", ("a", "b"), (report.Row("DSR", (1.0,)),))
    grey = report.RankedList("Probe", np.zeros((4, 4), np.uint8), 0, ())
    for change, message in (
        ({"tables": [short]}, "'DSR' of 'T' has 1 cells for 2 columns"),
        ({"ranked": [grey]}, r"a picture is \(4, 4\) uint8"),
        ({"curves": [Plot("empty", ())]}, "'empty' has no curves"),
        ({"distances": [report.DistancePlot("empty", (0.0, 1.0), (0,), (1,))]}, "'empty': same is"),
    ):
        with pytest.raises(ValueError, match=message):
            report.write_evaluation(tmp_path, **evaluation(**change))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_text_table_aligns_numbers_right_and_text_left():
    rows = [["resizing", 9.25, 120, Interval(9.0, 5.0, 13.5)], ["DSR", None, 7, Interval(24.2, NAN, NAN)]]
    assert report.text_table(rows, ["method", "mAP", "images", "rank-1"]).splitlines() == [
        "method    mAP  images          rank-1",
        "--------  ---  ------  --------------",
        "resizing  9.2     120  9.0 (5.0-13.5)",
        "DSR         -       7            24.2",
    ]


def test_text_table_has_the_papers_number_behind_ours():
    rows = [["DSR", report.Compared(Interval(24.2, 17.0, 32.0), 43.0)], ["SWM", report.Compared(None, 24.33)]]
    assert report.text_table(rows, ["method", "rank-1"]).splitlines()[2:] == [
        "DSR     24.2 (17.0-32.0) [43.0]",
        "SWM                   - [24.33]",
    ]


def test_text_table_without_rows_and_with_a_short_one():
    assert report.text_table([], ["split", "images"]) == "split  images\n-----  ------"
    with pytest.raises(ValueError, match="1 cells"):
        report.text_table([["probe"]], ["split", "images"])
