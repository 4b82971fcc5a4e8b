"""Results and the page: figures, tables, ranked lists, the paper's numbers, remarks on what averages hide."""

import dataclasses

import numpy as np
import pytest

from dsr_jax.evaluation import intervals, protocols
from experiments.evaluation import choosing, comparison, methods, page, paper, pictures, showing

DSR = methods.named("dsr_multi", methods.Options())


def result(distances, identities=(1, 2, 3), *, label="", method="dsr_multi", shots=1):
    """A result of one trial, an entry per person in the order of the identities."""
    known = np.array(sorted(set(identities)))
    images = tuple(np.array([i]) for i in range(len(known)))
    trial = protocols.Trial(0, -1, np.arange(len(identities)), protocols.Draw(known, images, (), ()), "cross")
    named = methods.named(method, methods.Options())
    return comparison.Result(label, named, shots, [trial], [np.asarray(distances)], np.array(identities))


CLEAR = result([[0.1, 0.5, 0.6], [0.7, 0.2, 0.9], [0.4, 0.3, 0.35]])


def test_figures_are_ranking_and_verification_in_per_cent():
    figures = CLEAR.figures
    assert figures["rank1"].value == pytest.approx(200 / 3) and figures["rank3"].value == 100.0
    assert figures["TPR@0.1"].value == pytest.approx(200 / 3)  # 0.3 is a wrong pair, nearer than 0.35
    assert set(figures) == {*page.RANKING, *page.VERIFICATION}


def test_flat_metrics_are_figures_with_intervals_and_counts():
    flat, figure = page.flat([CLEAR]), CLEAR.figures["rank1"]
    assert [flat[f"dsr_multi/shots1/rank1{end}"] for end in ("", "_low", "_high")] == list(figure)
    assert flat["dsr_multi/shots1/ties"] == 0 and flat["dsr_multi/shots1/EER"] == CLEAR.figures["EER"].value


def test_the_papers_figures_stand_beside_ours_only_on_its_data_sets():
    assert "[43.0]" in page.text([CLEAR], dataset="partial_reid")
    assert "[" not in page.text([CLEAR], dataset="cuhk03")
    again = dataclasses.replace(CLEAR, method=dataclasses.replace(DSR, reranked=True))
    assert "[" not in page.text([again], dataset="partial_reid"), "the paper re-ranks nothing"
    short = dataclasses.replace(CLEAR, method=dataclasses.replace(DSR, shortlist=2))
    assert "[43.0]" in page.text([short], dataset="partial_reid")
    assert paper.figure("partial_ilids", "dsr_multi", 3, "rank1") == 55.46
    assert paper.figure("partial_reid", "ridge_single", 1, "rank1") is None
    assert paper.figure("market1501_dsr", "dsr_multi", comparison.WHOLE, "mAP") == 64.25


def test_the_tables_of_the_paper_are_as_printed(shared):
    assert all(set(rows) <= set(methods.METHODS) for rows in paper.TABLES.values())
    names = {"Resizing": "resizing", "SWM": "swm", "AMC": "amc", "AMC+SWM": "amc_swm"}
    scales = {"single": "dsr_single", "multi": "dsr_multi"}
    text = shared("paper/dsr_paper.md").read_text().replace("<b>", "").replace("</b>", "")
    for shots, table in ((1, "Table 1."), (3, "Table 2.")):
        lines = [line.split("\t") for line in text[text.index(table) :].splitlines()[2:] if line.count("\t") == 8][2:8]
        printed = {}
        for name, *values in lines:
            method = names.get(name.split()[0]) or scales[name.split("(")[1].split("-")[0]]
            printed[method] = tuple(float(value) for value in values)
        for at, dataset in enumerate(("partial_reid", "partial_ilids")):
            expected = {method: values[4 * at : 4 * at + 4] for method, values in printed.items()}
            assert paper.TABLES[dataset, shots] == expected
    lines = [line.split("\t") for line in text[text.index("Table 4.") :].splitlines() if line.startswith("Resnet50-")]
    printed = [tuple(float(value) for value in line[1:]) for line in lines]
    names = ("global_average", "dsr_single", "dsr_multi")
    assert paper.TABLES["market1501_softmax", comparison.WHOLE] == dict(zip(names, printed[:3], strict=True))
    assert paper.TABLES["market1501_dsr", comparison.WHOLE] == dict(zip(names[1:], printed[3:], strict=True))


def test_the_champion_is_compared_with_every_rival_of_its_condition():
    other = result([[0.6, 0.5, 0.1], [0.7, 0.2, 0.9], [0.4, 0.3, 0.35]], method="swm")
    later = result([[0.6, 0.5, 0.1], [0.7, 0.2, 0.9], [0.4, 0.3, 0.35]], method="swm", label="after")
    table = page.against([CLEAR, other, later], DSR)
    assert [row.label for row in table.rows] == ["dsr_multi - swm"]
    expected = intervals.paired_difference(CLEAR.per_probe["rank1"], other.per_probe["rank1"], [1, 2, 3])
    assert table.rows[0].cells[0] == intervals.Interval(*expected[:3])
    assert table.rows[0].cells[-2] == f"{expected.p_value:.3f}"
    assert page.against_text([later], later.method) == ""


@pytest.mark.parametrize(
    ("names", "champion"),
    [(("resizing", "dsr_multi", "amc"), "dsr_multi"), (("resizing", "amc"), "amc"), (("dsr_single", "amc"), "amc")],
)
def test_the_champion_is_dsr_multi_or_the_last_method(names, champion):
    assert choosing.champion([methods.named(name, methods.Options()) for name in names]).title == champion


def test_titles_of_methods_say_what_was_done():
    assert DSR.title == "dsr_multi"
    assert dataclasses.replace(DSR, shortlist=100).title == "dsr_multi_top100"
    assert methods.reranked(DSR, k1=20, k2=6, weight=0.3).title == "dsr_multi_reranked"


def test_a_ranked_list_is_the_row_of_the_probe():
    grey = [np.full((4, 4, 3), i, np.uint8) for i in range(3)]
    images = pictures.Images(grey, np.array([1, 2, 3]), np.zeros(3, int), ["a", "b", "c"])
    listed = showing.ranked_list(CLEAR, 2, images, images)
    assert [hit.identity for hit in listed.hits] == [2, 3, 1] and listed.first_hit == 1
    assert [hit.right for hit in listed.hits] == [False, True, False]


def test_figures_of_verification_without_pairs_are_nan():
    alone = result([[0.1]], identities=(1,))
    assert np.isnan(alone.figures["EER"].value) and page.flat([alone])["dsr_multi/shots1/EER"] is None


def test_what_the_figures_hide_is_told():
    few = result([[0.1, 0.5, 0.6]] * 3, method="amc_swm").remarks
    assert "the gallery has 3 people: rank-3 and beyond are 100 by themselves" in few
    assert "every probe has a scale of its own: verification says little" in few
    assert not any("scale of its own" in remark for remark in CLEAR.remarks)


def test_ranked_lists_of_the_whole_gallery_leave_out_what_may_not_answer():
    trial = protocols.whole_gallery([0], [1, 1, 2, -1], [0, 1, 0, 1])
    whole = comparison.Result("", DSR, comparison.WHOLE, [trial], [np.array([[0.1, 0.4, 0.3, 0.2]])], np.array([1]))
    grey = [np.full((4, 4, 3), i, np.uint8) for i in range(4)]
    gallery = pictures.Images(grey, np.array([1, 1, 2, -1]), np.array([0, 1, 0, 1]), list("abcd"))
    listed = showing.ranked_list(whole, 0, gallery.only(np.arange(4) == 0), gallery)
    assert [(hit.identity, hit.right) for hit in listed.hits] == [(2, False), (1, True)] and listed.first_hit == 1
    assert whole.key == "dsr_multi/whole" and whole.figures["rank1"].value == 0.0
