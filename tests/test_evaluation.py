"""Every method side by side: what an evaluation keeps, says, draws and shows; sweeps of one setting."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import data.prepare
from dsr_jax import intervals, match, metrics, reranking, weights
from dsr_jax.baselines import fusion
from experiments import comparison, difference, evaluate, features, methods, page, paper, run, showing, sweep
from tests.runners import (
    COMPARE,
    PARAMS,
    SMALL,
    call,
    contents,
    evaluated,
    finished,
    listing,
    metrics_of,
    prepared,
    start,
    write_people,
)

ROOT = Path(__file__).resolve().parent.parent
EVERY = f"--methods={','.join(methods.METHODS)}"


def swept(data_dir, network, workdir, *arguments, code=0):
    common = ("--dataset=folder", f"--data_dir={data_dir}", f"--weights={network}", f"--workdir={workdir}")
    small = ("--size=64,32", "--output_stride=16", "--noprogress", "--trials=1", "--methods=resizing,dsr_single")
    assert call(sweep, *common, *small, *arguments) == code
    return metrics_of(workdir) if code == 0 else {}


# Every method


def test_every_method_is_scored_and_its_distances_are_kept(tmp_path, network):
    folder = prepared(tmp_path, listing(shots=3))
    found = evaluated(folder, network, tmp_path / "out", EVERY, "--shots=1,3", "--trials=2", "--partial=crop")
    keys = {f"{name}/shots{n}" for name in methods.METHODS for n in (1, 3)}
    assert {key.rpartition("/")[0] for key in found if "/" in key} == keys
    assert {path.stem for path in (tmp_path / "out" / "distances").iterdir()} == {key.replace("/", "-") for key in keys}
    with np.load(tmp_path / "out" / "distances" / "dsr_multi-shots1.npz") as file:
        identities = np.arange(5)  # of the probes, in their order
        each = [
            metrics.ranks(file[f"distances_{i}"], identities[file[f"probes_{i}"]], file[f"identities_{i}"])
            for i in range(2)
        ]
    expected = np.mean([scores.cmc()[1] for scores in each])
    assert found["dsr_multi/shots1/rank1"] == pytest.approx(expected)


def test_the_whole_gallery_is_ranked_image_by_image_by_the_benchmarks_rule(tmp_path, network, capsys):
    listed = listing(gallery=(0, 1, 2, 3, 4, 7), shots=2)  # 7 is a distractor: nobody asks for her
    listed += [(f"own/{i}.png", i, 0, "gallery", 1.0) for i in (0, 3)]  # by the probe's own camera: removed
    listed += [("junk/0.png", -1, 1, "gallery", 1.0), ("junk/1.png", 9, 0, "gallery", 1.0)]
    folder = prepared(tmp_path, listed)
    found = evaluated(folder, network, tmp_path / "out", "--methods=dsr_single,resizing", "--shots=whole,1")
    assert {key.rpartition("/")[0] for key in found if "/" in key} == {
        f"{name}/{shots}" for name in ("dsr_single", "resizing") for shots in ("whole", "shots1")
    }
    gallery = data.load("folder", "gallery", data_dir=folder)
    with np.load(tmp_path / "out" / "distances" / "dsr_single-whole.npz") as file:
        matrix, known = file["distances_0"], file["identities_0"]
    assert matrix.shape == (5, len(gallery)) and known.tolist() == gallery.identities.tolist()
    expected = metrics.ranks(matrix, np.arange(5), known, np.zeros(5, int), gallery.cameras)
    for name, value in (("rank1", expected.cmc()[1]), ("mAP", expected.mAP), ("mINP", expected.mINP)):
        assert found[f"dsr_single/whole/{name}"] == pytest.approx(value)
    assert found["dsr_single/whole/mAP"] != found["dsr_single/whole/mINP"]
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "CMC, whole gallery" in text and "ranked" in text.lower()


def test_re_ranked_distances_stand_beside_the_first(tmp_path, network, capsys):
    folder = prepared(tmp_path, listing(shots=2))
    asked = ("--methods=dsr_single,resizing", "--shots=whole", "--rerank=3,2,0.3")
    found = evaluated(folder, network, tmp_path / "out", *asked)
    assert "dsr_single_reranked/whole/mAP" in found and "resizing_reranked/whole/mAP" not in found
    kept = {}
    for name in ("dsr_single", "dsr_single_reranked"):
        with np.load(tmp_path / "out" / "distances" / f"{name}-whole.npz") as file:
            kept[name] = file["distances_0"]
    chosen = selection_of(folder, network)
    within = [match.distances(side, side, scales=(1,)).distance for side in chosen]
    expected = reranking.k_reciprocal(kept["dsr_single"], *within, k1=3, k2=2)
    np.testing.assert_allclose(kept["dsr_single_reranked"], expected, atol=1e-5)
    for wrong, message in (
        (("--shots=3", "--rerank=3,2,0.3"), "use --shots=whole or --shots=1"),
        (("--rerank=3,2",), "rerank must be k1,k2,weight such as 20,6,0.3, got 3,2"),
        (("--rerank=3,2,0.3", "--methods=amc"), "rerank is for methods that compare maps, not amc"),
    ):
        evaluated(folder, network, tmp_path / "wrong", *wrong, code=1)
        assert message in capsys.readouterr().err and not (tmp_path / "wrong").exists()


def selection_of(folder, network):
    """Probe and gallery maps as an evaluation at the tests' size has them."""
    probes, gallery = (data.load("folder", split, data_dir=folder) for split in ("probe", "gallery"))
    made = features.Network(weights.load(network), weights.read_card(network).preprocessing, 16, (64, 32))
    return made.maps([example.image for example in probes]), made.maps([example.image for example in gallery])


def test_ranked_lists_of_the_whole_gallery_leave_out_what_may_not_answer():
    from dsr_jax import protocols
    from experiments import pictures

    trial = protocols.whole_gallery([0], [1, 1, 2, -1], [0, 1, 0, 1])
    whole = comparison.Result("", "dsr_multi", 0, [trial], [np.array([[0.1, 0.4, 0.3, 0.2]])], np.array([1]))
    grey = [np.full((4, 4, 3), i, np.uint8) for i in range(4)]
    gallery = pictures.Images(grey, np.array([1, 1, 2, -1]), np.array([0, 1, 0, 1]), list("abcd"))
    listed = showing.ranked_list(whole, 0, gallery.only(np.arange(4) == 0), gallery)
    assert [(hit.identity, hit.right) for hit in listed.hits] == [(2, False), (1, True)] and listed.first_hit == 1
    assert whole.key == "dsr_multi/whole" and whole.figures["rank1"].value == 0.0


def test_another_method_is_added_without_computing_the_first_again(people, network, tmp_path, monkeypatch):
    first = evaluated(people, network, tmp_path / "out", "--methods=dsr_single")
    before = contents(tmp_path / "out" / "distances")
    computed = []
    original = comparison.distances

    def counted(*arguments, label, **options):
        computed.append(label)
        return original(*arguments, label=label, **options)

    monkeypatch.setattr(comparison, "distances", counted)
    both = evaluated(people, network, tmp_path / "out", "--methods=dsr_single,resizing", "--ranked_lists=0")
    assert computed == ["resizing/shots1"]
    assert both | first == both and "resizing/shots1/rank1" in both
    after = contents(tmp_path / "out" / "distances")
    assert {name: after[name] for name in before} == before


def test_a_fused_method_takes_the_distances_of_its_parts(people, network, tmp_path, monkeypatch):
    computed = []
    original = comparison.distances

    def counted(*arguments, label, **options):
        computed.append(label)
        return original(*arguments, label=label, **options)

    monkeypatch.setattr(comparison, "distances", counted)
    evaluated(people, network, tmp_path / "out", "--methods=amc_swm,amc")
    assert computed == ["amc/shots1", "swm/shots1"]
    kept = {}
    for name in ("amc", "swm", "amc_swm"):
        with np.load(tmp_path / "out" / "distances" / f"{name}-shots1.npz") as file:
            kept[name] = file["distances_0"]
    np.testing.assert_array_equal(kept["amc_swm"], fusion.distances(kept["amc"], kept["swm"]))


def test_another_weight_of_the_penalty_needs_another_workdir(people, network, tmp_path, capsys):
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single")
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single", "--match_l1=0.2", code=1)
    assert "--match_l1: 0.4 before, 0.2 now" in capsys.readouterr().err


def test_probes_larger_than_the_gallery_are_counted(tmp_path, network, capsys):
    folder = prepared(tmp_path, [(*row[:4], 1.0) for row in listing()])
    evaluated(folder, network, tmp_path / "out", "--methods=swm", "--probe_factor=1.5")
    told = "swm: 5 probes are larger than the gallery&#39;s size and are scaled to fit"
    assert told.replace("&#39;", "'") in capsys.readouterr().out
    assert told in (tmp_path / "out" / "report" / "index.html").read_text()


def test_black_pictures_are_told_before_the_figures(tmp_path, network, capsys):
    """Of grey of 10 bits in files of 16, which nothing says: by the evaluation too, not by `prepare` alone."""
    write_people(tmp_path, listing())
    for path in (tmp_path / "gallery").iterdir():
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L")).astype(np.uint16) << 2
        Image.fromarray(grey).save(path)
    data.prepare.prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    evaluated(tmp_path / "data", network, tmp_path / "out", "--methods=dsr_single")
    told = "5 of 10 pictures are of (nearly) one colour, gallery/gallery/0_0.png"
    assert told in capsys.readouterr().out and told in (tmp_path / "out" / "report" / "index.html").read_text()


def test_probes_that_search_their_own_picture_are_told(tmp_path, network, capsys):
    listed = listing()
    write_people(tmp_path, listed)
    rows = (tmp_path / "people.csv").read_text().splitlines()
    (tmp_path / "people.csv").write_text("\n".join([*rows, "probe/3.png,3,1,gallery"]) + "\n")
    data.prepare.prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    evaluated(tmp_path / "data", network, tmp_path / "out", "--methods=dsr_single")
    told = "1 probes search a gallery that holds their own picture, which no method can miss: probe/3.png"
    assert told in capsys.readouterr().out and told in (tmp_path / "out" / "report" / "index.html").read_text()


# Bad input


def test_equal_distances_are_told_and_not_averaged_away(people, tmp_path, capsys):
    """A network of nothing but biases: all maps are alike, everybody is equally far."""
    np.savez(tmp_path / "alike.npz", **deaf(1))
    found = evaluated(people, tmp_path / "alike.npz", tmp_path / "out", "--methods=dsr_multi,resizing")
    assert found["dsr_multi/shots1/ties"] == 5 and found["resizing/shots1/equally_far"] == 5
    said = capsys.readouterr().out
    assert "5 of 5 probes have ties at their first right answer: rank-1 is between 0.0 and 100.0" in said
    assert "5 of 5 probes are equally far from everybody" in said
    assert "equally far from everybody" in (tmp_path / "out" / "report" / "index.html").read_text()


def deaf(bias):
    """Parameters of a network that does not look at its pictures."""
    named = [(name, part, values) for name, leaf in PARAMS.items() for part, values in leaf.items()]
    return {f"{name}/{part}": 0 * values + bias * (part == "bias") for name, part, values in named}


def test_a_network_of_zeros_is_an_error(people, tmp_path, capsys):
    np.savez(tmp_path / "zeros.npz", **deaf(0))
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={tmp_path / 'zeros.npz'}", *SMALL, *COMPARE)
    assert call(evaluate, *common, "--methods=dsr_multi", f"--workdir={tmp_path / 'out'}") == 1
    assert (
        "the maps of 5 probes are zero everywhere, there is nothing to compare: probe/0.png" in capsys.readouterr().err
    )


def test_a_single_identity_has_no_verification(tmp_path, network, capsys):
    folder = prepared(tmp_path, listing(probes=(2,), gallery=(2,)))
    found = evaluated(folder, network, tmp_path / "out", "--methods=dsr_single")
    assert found["dsr_single/shots1/EER"] is None and found["dsr_single/shots1/rank1"] == 100.0
    assert "no verification: it needs pairs of one person and pairs of two people" in capsys.readouterr().out


def test_shortages_are_on_the_page(tmp_path, network):
    folder = prepared(tmp_path, listing(shots=2))
    evaluated(folder, network, tmp_path / "out", "--shots=3", "--methods=dsr_single")
    assert "5 identities have fewer images" in (tmp_path / "out" / "report" / "index.html").read_text()


def test_without_the_flag_the_data_set_says_which_cameras_count(tmp_path, network, monkeypatch):
    folder = prepared(tmp_path, listing(cameras=(1, 1)))
    evaluated(folder, network, tmp_path / "out", "--methods=resizing", code=1)
    monkeypatch.setattr(data.DATASETS["folder"], "CAMERA_RULE", "any")
    assert evaluated(folder, network, tmp_path / "out", "--methods=resizing")["probes"] == 5


# Figures and the page


def result(distances, identities=(1, 2, 3), *, label="", method="dsr_multi", shots=1):
    """A result of one trial, everybody's entry in the order of the identities."""
    from dsr_jax import protocols

    known = np.array(sorted(set(identities)))
    images = tuple(np.array([i]) for i in range(len(known)))
    trial = protocols.Trial(0, -1, np.arange(len(identities)), protocols.Draw(known, images, (), ()))
    return comparison.Result(label, method, shots, [trial], [np.asarray(distances)], np.array(identities))


CLEAR = result([[0.1, 0.5, 0.6], [0.7, 0.2, 0.9], [0.4, 0.3, 0.35]])


def test_figures_are_ranking_and_verification_in_per_cent():
    figures = CLEAR.figures
    assert figures["rank1"].value == pytest.approx(200 / 3) and figures["rank3"].value == 100.0
    assert figures["TPR@0.1"].value == pytest.approx(200 / 3)  # 0.3 is a wrong pair, nearer than 0.35
    assert set(figures) == {*page.RANKING, *page.VERIFICATION}


def test_flat_metrics_are_undone_by_rows():
    flat = page.flat([CLEAR])
    assert page.rows(flat)["dsr_multi/shots1"][0] == CLEAR.figures["rank1"]
    assert flat["dsr_multi/shots1/ties"] == 0


def test_the_papers_figures_stand_beside_ours_only_on_its_data_sets():
    text = page.text(page.flat([CLEAR]), dataset="partial_reid")
    assert "[43.0]" in text and "[" not in page.text(page.flat([CLEAR]), dataset="cuhk03")
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
    table = page.paired([CLEAR, other, later], "dsr_multi")
    assert [row.label for row in table.rows] == ["dsr_multi - swm"]
    expected = intervals.paired_difference(CLEAR.per_probe["rank1"], other.per_probe["rank1"], [1, 2, 3])
    assert table.rows[0].cells[0] == intervals.Interval(*expected[:3])
    assert table.rows[0].cells[-2] == f"{expected.p_value:.3f}"
    assert evaluate.champion(["resizing", "dsr_multi", "amc"]) == "dsr_multi"
    assert evaluate.champion(["resizing", "amc"]) == "amc" and page.paired_text([later], "swm") == ""


def test_a_ranked_list_is_the_row_of_the_probe():
    from experiments import pictures

    grey = [np.full((4, 4, 3), i, np.uint8) for i in range(3)]
    images = pictures.Images(grey, np.array([1, 2, 3]), np.zeros(3, int), ["a", "b", "c"])
    listed = showing.ranked_list(CLEAR, 2, images, images)
    assert [hit.identity for hit in listed.hits] == [2, 3, 1] and listed.first_hit == 1
    assert [hit.right for hit in listed.hits] == [False, True, False]


def test_reconstructions_are_of_a_right_and_a_wrong_image(people, network, tmp_path):
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single,dsr_multi", "--reconstructions=2")
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert text.count("right</") + text.count("other</") >= 4 and "reconstruction" in text
    evaluated(people, network, tmp_path / "none", "--methods=resizing")
    assert "Reconstruction maps" not in (tmp_path / "none" / "report" / "index.html").read_text()


def test_intervals_of_a_missing_figure_are_nan():
    assert np.isnan(page.rows({"dsr/shots1/rank1": None})["dsr/shots1"][0].value)
    assert isinstance(CLEAR.figures["EER"], intervals.Interval)


def test_what_the_figures_hide_is_told():
    few = result([[0.1, 0.5, 0.6]] * 3, method="amc_swm").remarks
    assert "the gallery has 3 people: rank-3 and beyond are 100 by themselves" in few
    assert "every probe has a scale of its own: verification says little" in few
    assert not any("scale of its own" in remark for remark in CLEAR.remarks)


def test_a_missing_p_value_is_no_number_on_the_page():
    alone = {"rank1": np.ones(2), "rank5": np.ones(2), "rank10": np.ones(2), "mAP": np.ones(2)}
    assert difference.cells(alone, alone, np.array([1, 1]))[-2:] == (None, None)


# Sweeps


@pytest.mark.slow
def test_a_sweep_has_every_point_and_each_is_an_evaluation(people, network, tmp_path, capsys):
    found = swept(people, network, tmp_path / "sweep", "--vary=match_l1", "--values=0.2;0.4", "--partial=crop")
    alone = evaluated(people, network, tmp_path / "alone", "--methods=resizing,dsr_single", "--partial=crop")
    for key in ("dsr_single/shots1/mAP", "resizing/shots1/mAP"):
        assert found[f"match_l1=0.4/{key}"] == alone[key]
    page_text = (tmp_path / "sweep" / "report" / "index.html").read_text()
    assert "the gallery has 5 people" in page_text and "the gallery has 5 people" in capsys.readouterr().out
    assert "rank1, N = 1" in page_text and "Distances" not in page_text
    config = json.loads((tmp_path / "sweep" / "config.json").read_text())["flags"]
    assert config["vary"] == "match_l1" and config["values"] == "0.2;0.4"


@pytest.mark.slow
def test_a_sweep_of_the_pictures_prepares_them_anew(people, network, tmp_path):
    cropped = ("--partial=crop", "--crop_width=1,1")
    found = swept(people, network, tmp_path / "out", "--vary=crop_height", "--values=0.4,0.4;1,1", *cropped)
    whole = evaluated(people, network, tmp_path / "whole", "--methods=dsr_single", "--partial=none")
    with np.load(tmp_path / "out" / "distances" / "crop_height=1,1-dsr_single-shots1.npz") as one:
        with np.load(tmp_path / "out" / "distances" / "crop_height=0.4,0.4-dsr_single-shots1.npz") as other:
            assert not np.array_equal(one["distances_0"], other["distances_0"])
    assert "crop_height=1,1/dsr_single/shots1/mAP" in found and whole


@pytest.mark.slow
def test_a_sweep_goes_on_with_more_values(people, network, tmp_path):
    swept(people, network, tmp_path / "out", "--vary=probe_factor", "--values=0.8;1")
    before = contents(tmp_path / "out" / "distances")
    found = swept(people, network, tmp_path / "out", "--vary=probe_factor", "--values=0.8;1;1.2")
    assert "probe_factor=1.2/dsr_single/shots1/rank1" in found
    after = contents(tmp_path / "out" / "distances")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "vary and values are needed"),
        (("--vary=match_l1", "--values=0.4"), "two or more"),
        (("--vary=match_l1", "--values=0.4;0.2"), "must rise"),
        (("--vary=match_l1", "--values=-1;0.2"), "match_l1 must be positive"),
        (("--vary=match_l1", "--values=0.2;much"), "must rise|cannot be"),
        (("--vary=crop_height", "--values=0.5,0.6;0.9,2", "--partial=crop"), "crop_height must be two shares"),
        (("--vary=multi_shot", "--values=stack;nearest"), "multi_shot cannot be 'nearest'"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused_before_anything_is_computed(
    people, network, tmp_path, capsys, arguments, message
):
    swept(people, network, tmp_path / "out", *arguments, code=1)
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|")), error
    assert not (tmp_path / "out").exists()


def test_an_evaluation_is_the_same_in_any_number_of_pieces(people, network, tmp_path):
    """Stopped after the first method: what is left of it is enough to go on."""
    whole = evaluated(people, network, tmp_path / "whole", "--methods=resizing,dsr_single", "--shots=1")
    evaluated(people, network, tmp_path / "parts", "--methods=resizing")
    (tmp_path / "parts" / "metrics.json").unlink()
    again = evaluated(people, network, tmp_path / "parts", "--methods=resizing,dsr_single")
    assert again == whole
    assert run.FREE_FLAGS.isdisjoint(evaluate.ADDED) and jax.default_backend() == "cpu"


@pytest.mark.slow
def test_two_evaluations_are_compared_probe_by_probe_or_refused(people, network, tmp_path):
    for name, method in (("a", "resizing"), ("b", "resizing"), ("c", "dsr_single")):
        evaluated(people, network, tmp_path / name, f"--methods={method}")
    output, _ = finished(start("experiments.difference", f"--first={tmp_path / 'a'}", f"--second={tmp_path / 'b'}"))
    assert "resizing/shots1  0.0 (0.0-0.0)" in " ".join(output.split(" ")) and "a - b" in output
    apart = start("experiments.difference", f"--first={tmp_path / 'a'}", f"--second={tmp_path / 'c'}")
    _, errors = apart.communicate(timeout=600)
    assert apart.returncode == 1 and "nothing is in both" in errors and "dsr_single/shots1" in errors
