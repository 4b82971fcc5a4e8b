"""Evaluations: every method, stored distances, remarks, bad input."""

import jax
import numpy as np
import pytest
from PIL import Image

import data.prepare
from dsr_jax import match, metrics, osnet, weights
from dsr_jax.baselines import fusion
from dsr_jax.evaluation import reranking
from experiments import evaluate
from experiments.evaluation import comparison, features, methods, publishing
from tests.runners import (
    COMPARE,
    PARAMS,
    SMALL,
    call,
    contents,
    evaluated,
    listing,
    prepared,
    write_people,
)

OF_PICTURES = [name for name in methods.METHODS if name not in methods.OF_VECTORS]
EVERY = f"--methods={','.join(OF_PICTURES)}"


# Every method


@pytest.mark.slow
def test_every_method_is_scored_and_its_distances_are_kept(tmp_path, network):
    folder = prepared(tmp_path, listing(shots=3))
    found = evaluated(folder, network, tmp_path / "out", EVERY, "--shots=1,3", "--trials=2", "--partial=crop")
    keys = {f"{name}/shots{n}" for name in OF_PICTURES for n in (1, 3)}
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_osnet_is_compared_by_its_own_vectors(people, tmp_path):
    weights.save(tmp_path / "osnet.safetensors", *osnet_with_card())
    fusions = ("dsr_multi+own_vector", "maxsim_multi+own_vector_resized")
    names = ("own_vector", "own_vector_resized", *fusions)
    found = evaluated(people, tmp_path / "osnet.safetensors", tmp_path / "out", f"--methods={','.join(names)}")
    assert all(f"{name}/shots1/rank1" in found for name in names)
    kept = {}
    for path in (tmp_path / "out" / "distances").iterdir():
        with np.load(path) as file:
            kept[path.stem.removesuffix("-shots1")] = file["distances_0"]
    for name in fusions:
        parts = [kept[term] for term in name.split("+")]
        np.testing.assert_allclose(kept[name], fusion.standardised(*parts), atol=1e-6)
    assert np.abs(kept["own_vector"] - kept["own_vector_resized"]).max() > 1e-4


def osnet_with_card():
    """A small random OSNet and its card."""
    params = osnet.init(jax.random.key(0), width=0.0625)
    return params, weights.Card(architecture="osnet", width=0.0625, output_stride=16, preprocessing="torch")


def test_tables_are_printed_and_written(people, network, tmp_path, capsys):
    evaluated(people, network, tmp_path / "out", "--methods=resizing,dsr_single")
    tables = publishing.tables_of(tmp_path / "out")
    assert tables in capsys.readouterr().out and "dsr_single - resizing (N = 1)" in tables
    assert publishing.tables_of(tmp_path) == ""


def test_another_weight_of_the_penalty_needs_another_workdir(people, network, tmp_path, capsys):
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single")
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single", "--l1=0.2", code=1)
    assert "--l1: 0.4 before, 0.2 now" in capsys.readouterr().err


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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["own_vector", "dsr_multi+own_vector", "maxsim_multi+own_vector_resized"])
def test_a_network_without_own_vectors_is_refused(people, network, tmp_path, capsys, name):
    evaluated(people, network, tmp_path / "out", f"--methods=resizing,{name}", code=1)
    error = capsys.readouterr().err
    assert f"methods {name} compare own vectors" in error and "(vgg16)" in error and "global_average" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["dsr_multi+dsr_multi", "dsr_multi+vectors", "dsr_multi+"])
def test_fusions_of_what_is_no_method_are_refused(people, network, tmp_path, capsys, wrong):
    evaluated(people, network, tmp_path / "out", f"--methods={wrong}", code=1)
    error = capsys.readouterr().err
    assert "methods must be" in error and f"got {wrong}" in error and not (tmp_path / "out").exists()


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


def test_reconstructions_are_of_a_right_and_a_wrong_image(people, network, tmp_path):
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single,dsr_multi", "--reconstructions=2")
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert text.count("right</") + text.count("other</") >= 4 and "reconstruction" in text
    evaluated(people, network, tmp_path / "none", "--methods=resizing")
    assert "Reconstruction maps" not in (tmp_path / "none" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_an_evaluation_is_the_same_in_any_number_of_pieces(people, network, tmp_path):
    """Stopped after the first method: what is left of it is enough to go on."""
    whole = evaluated(people, network, tmp_path / "whole", "--methods=resizing,dsr_single", "--shots=1")
    evaluated(people, network, tmp_path / "parts", "--methods=resizing")
    (tmp_path / "parts" / "metrics.json").unlink()
    again = evaluated(people, network, tmp_path / "parts", "--methods=resizing,dsr_single")
    assert again == whole
