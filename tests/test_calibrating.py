"""Calibrations in an evaluation: halves of the people, figures by hand, an earlier run's, what is refused."""

import json

import numpy as np
import pytest

from dsr_jax import calibration, map_file, weights
from dsr_jax.evaluation import protocols
from experiments import evaluate
from experiments.evaluation import calibrating, calibration_people, comparison, features, methods
from tests.runners import PARAMS, call, evaluated, listing, prepared

OPTIONS = methods.Options()
MAPS = features.Network({}, "maps of a file", 0, (0, 0))


def result(distances, identities, gallery, *, trials=1):
    """A result of draws that are all alike, an entry per gallery image."""
    images = tuple(np.array([g]) for g in range(len(gallery)))
    draw = protocols.Draw(np.array(gallery), images, (), ())
    each = [protocols.Trial(i, -1, np.arange(len(identities)), draw, "any") for i in range(trials)]
    named = methods.named("dsr_multi", OPTIONS)
    return comparison.Result("", named, 1, each, [np.asarray(distances)] * trials, np.array(identities))


def test_halves_are_of_people_and_share_nobody():
    people = np.array([-1, 3, 3, 5, 8, 9, 12, 12])
    first, second = calibration_people.halves(people, 0)
    assert len(first) == 2 and len(second) == 3 and {*first.tolist(), *second.tolist()} == {3, 5, 8, 9, 12}
    assert any(calibration_people.halves(people, seed)[0].tolist() != first.tolist() for seed in range(1, 6))


def test_searches_are_of_the_people_on_both_sides():
    distances = np.arange(12.0).reshape(3, 4)
    found = calibrating.searches(result(distances, [1, 2, 3], [1, 2, 3, -1], trials=2), np.array([1, 3]))
    assert found.distances.tolist() == [0, 2, 8, 10] * 2
    assert found.same.tolist() == [True, False, False, True] * 2
    assert found.numbers.tolist() == [0, 0, 2, 2, 3, 3, 5, 5], "a draw is a search of its own"
    assert found.probes.tolist() == [0, 0, 2, 2] * 2


def test_what_is_fitted_and_what_is_judged_share_no_person():
    rng = np.random.default_rng(0)
    of = result(rng.random((20, 20)), np.arange(20), np.arange(20))
    fit_on, judged_on = calibration_people.halves(np.arange(20), 3)
    pairs = [{*calibrating.searches(of, people).distances.tolist()} for people in (fit_on, judged_on)]
    assert len(pairs[0]) == len(pairs[1]) == 100 and not pairs[0] & pairs[1]


def test_a_calibration_is_judged_by_hand():
    """Four searches among three entries; 0.3 is the threshold of a quarter."""
    distances = np.array([[0.1, 0.5, 0.6], [0.4, 0.2, 0.7], [0.3, 0.8, 0.5], [0.45, 0.9, 0.35]])
    of = calibrating.searches(result(distances, [0, 1, 2, 2], [0, 1, 2]), np.arange(3))
    searches = np.where(np.arange(3)[None] == np.array([0, 1, 2, 2])[:, None], 0.0, [[0.3], [0.5], [0.5], [0.5]])
    fitted = calibration.fit(np.repeat(searches, 3, axis=0), np.repeat(searches == 0, 3, axis=0))
    found = calibrating.judge(fitted, of, key="x", source="given", people=3)
    assert found.rates[0.01] is None, "12 probes know no rate of one in a hundred"
    remarks = calibrating.part([found]).remarks
    assert "fitted on 12 probes, too few" in remarks[0] and "does not say which people" in remarks[1]
    # At the threshold of 0.1 (below 0.3, of three of twelve probes) two are right, nobody else is found.
    assert fitted.threshold(0.1, entries=2) == np.nextafter(0.3, 0)
    assert found.rates[0.1] == (0.0, 50.0)
    likely = fitted.probability(distances, entries=3)
    same = np.arange(3)[None] == np.array([0, 1, 2, 2])[:, None]
    assert found.pairs.number.sum() == 12 and found.first.number.sum() == 4
    expected = calibrating.reliability(likely.ravel(), same.ravel()).expected_error
    assert found.pairs.expected_error == pytest.approx(expected)
    nearest = np.array([0, 1, 0, 2])
    expected = calibrating.reliability(likely[range(4), nearest], same[range(4), nearest]).expected_error
    assert found.first_as_pairs.expected_error == pytest.approx(expected)
    likely = fitted.first_probability(distances[range(4), nearest])
    expected = calibrating.reliability(likely, same[range(4), nearest]).expected_error
    assert found.first.expected_error == pytest.approx(expected)


@pytest.mark.slow
def test_an_evaluation_fits_judges_and_is_read_by_another(tmp_path, network, capsys):
    first = prepared(tmp_path / "first", listing(range(12), range(12)))
    out = tmp_path / "out"
    found = evaluated(first, network, out, "--methods=dsr_multi,maxsim_multi,resizing", "--calibrate=isotonic")
    for name in ("dsr_multi", "maxsim_multi", "resizing"):
        assert 0 <= found[f"{name}/shots1/calibration/ECE"] <= 100
        assert found[f"{name}/shots1/calibration/people"] == 6
        assert found[f"{name}/shots1/calibration/fitted_pairs_same"] == 6
        assert found[f"{name}/shots1/calibration/strangers@0.01"] is None
    assert {path.stem for path in (out / "calibration").iterdir()} == {
        f"{name}-shots1" for name in ("dsr_multi", "maxsim_multi", "resizing")
    }
    fitted = calibration.load(out / "calibration" / "dsr_multi-shots1.json")
    fitted.check(network=weights.digest(PARAMS), **calibration.settings("auto"))
    with np.load(out / "distances" / "dsr_multi-shots1.npz") as file:
        distances, people = file["distances_0"], np.arange(12)
    half = np.isin(people, calibration_people.halves(people, 0)[0])
    expected = calibration.fit(distances[np.ix_(half, half)], np.eye(6, dtype=bool))
    np.testing.assert_array_equal(fitted.curve, expected.curve)
    page = (out / "report" / "index.html").read_text()
    assert "Reliability of probabilities, first answers, shots1" in page and "strangers@0.1" in page
    assert "dsr_multi/shots1 fitted here" in (out / "tables.txt").read_text()
    assert "too few for a false-positive rate of 0.01" in capsys.readouterr().out

    other = prepared(tmp_path / "other", listing(range(10), range(10)))
    both = ("--methods=dsr_multi,maxsim_multi", f"--calibration={out}")
    found = evaluated(other, network, tmp_path / "given", *both)
    assert found["dsr_multi/shots1/calibration_given/people"] == 10, "all are others than those of the fit"
    assert "dsr_multi/shots1/calibration/ECE" not in found and not (tmp_path / "given" / "calibration").exists()
    found = evaluated(other, network, tmp_path / "both", *both, "--calibrate=isotonic")
    assert found["dsr_multi/shots1/calibration_given/people"] == found["dsr_multi/shots1/calibration/people"] == 5


def test_calibrations_of_others_are_refused(people, network, tmp_path, capsys):
    known = {**methods.named("dsr_multi", OPTIONS).settings(), "network": weights.digest(PARAMS), "images_per_entry": 1}
    fitted = calibration.fit([[0.1, 0.2], [0.3, 0.1]], [[True, False], [False, True]], fitted_on=known)
    file = tmp_path / "run" / "calibration" / "dsr_multi-shots1.json"
    for about, message in (
        ({**known, "network": "other"}, "calibration belongs to network='other' and is asked for network="),
        ({**known, "l1": 0.2}, "calibration belongs to l1=0.2 and is asked for l1=0.4"),
        ({**known, "images_per_entry": 3}, "belongs to images_per_entry=3 and is asked for images_per_entry=1"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(json.loads(fitted.text) | {"fitted_on": about}))
        evaluated(people, network, tmp_path / "out", f"--calibration={tmp_path / 'run'}", "--methods=dsr_multi", code=1)
        error = capsys.readouterr().err
        assert message in error and "dsr_multi/shots1" in error and not (tmp_path / "out").exists()
    evaluated(people, network, tmp_path / "out", f"--calibration={tmp_path / 'run'}", "--methods=resizing", code=1)
    assert "has no resizing-shots1.json, it has dsr_multi-shots1" in capsys.readouterr().err
    evaluated(people, network, tmp_path / "out", f"--calibration={tmp_path / 'none'}", "--methods=resizing", code=1)
    assert "has no resizing-shots1.json, it has none" in capsys.readouterr().err


def test_what_has_no_pairs_is_refused(people, network, tmp_path, capsys):
    asked = ("--methods=dsr_multi", "--shortlist=3", "--calibrate=isotonic")
    evaluated(people, network, tmp_path / "out", *asked, code=1)
    assert "calibrate is for distances of all pairs, got methods dsr_multi_top3" in capsys.readouterr().err
    few = prepared(tmp_path, listing((0, 1), (0, 1)))
    evaluated(few, network, tmp_path / "few", "--methods=dsr_single", "--calibrate=isotonic", code=1)
    assert "calibrate=isotonic needs at least 4 people" in capsys.readouterr().err
    assert not (tmp_path / "few" / "distances").exists(), "before anything is compared"


@pytest.mark.parametrize("name", ["dsr_multi", "maxsim_single", "joint_authors", "amc_swm", "dsr_multi+own_vector"])
def test_what_decides_a_distance_is_known_by_name(name):
    found = methods.named(name, OPTIONS).settings()
    assert found == methods.named(name, OPTIONS).settings()
    json.dumps(found)
    assert found != methods.named("dsr_single", OPTIONS).settings()
    assert ("dictionary", "joint") in found.items() or "joint" not in name
    assert methods.named(name, OPTIONS).settings(images_per_entry=3)["images_per_entry"] == 3
    if "dsr" in name:
        assert found != methods.named(name, OPTIONS._replace(l1=0.3)).settings()


def test_weights_of_a_file_are_given():
    for name, expected in (("dsr_multi_weighted", "given"), ("dsr_multi", "equal")):
        found = calibrating.about(methods.named(name, OPTIONS), 1, MAPS, "stack", weighted="given")
        assert found["probe_weights"] == expected
    fused = methods.named("dsr_multi_weighted+maxsim_multi", OPTIONS)
    parts = calibrating.about(fused, 1, MAPS, "stack", weighted="given")["parts"]
    assert [part["probe_weights"] for part in parts] == ["given", "equal"]
    assert methods.named("dsr_multi_weighted", OPTIONS).settings()["probe_weights"] == "norm"


@pytest.mark.parametrize("weighted", ["norm", "given"])
def test_a_calibration_of_a_file_of_maps_says_its_weights(tmp_path, weighted):
    rng = np.random.default_rng(1)
    gallery = [rng.random((5, 3, 8), np.float32) ** 3 for _ in range(8)]
    maps = [m[1:] + rng.normal(0, 0.05, (4, 3, 8)).astype(np.float32) for m in gallery] + gallery
    weights = [rng.random(m.shape[:2]) for m in maps] if weighted == "given" else None
    labels = {"identities": [*range(8)] * 2, "roles": ["probe"] * 8 + ["gallery"] * 8}
    map_file.write(tmp_path / "maps.npz", maps, weights=weights, **labels)
    common = (f"--maps={tmp_path / 'maps.npz'}", f"--workdir={tmp_path / 'out'}", "--noprogress", "--trials=2")
    more = ("--methods=dsr_single_weighted", "--calibrate=logistic", "--shortlist_recall")
    assert call(evaluate, *common, *more) == 0
    fitted = calibration.load(tmp_path / "out" / "calibration" / "dsr_single_weighted-shots1.json")
    assert fitted.fitted_on["probe_weights"] == weighted and fitted.probes == 4


@pytest.mark.slow
def test_the_people_of_the_fit_are_no_judges(tmp_path, network, capsys):
    folder, out = prepared(tmp_path, listing(range(12), range(12))), tmp_path / "out"
    asked = ("--methods=resizing", "--reconstructions=0")
    found = evaluated(folder, network, out, *asked, "--calibrate=logistic", "--trials=3")
    assert found["resizing/shots1/calibration/fitted_probes"] == 6, "however often they are drawn"
    evaluated(folder, network, out, *asked, "--trials=3", f"--calibration={out}", code=1)
    assert "own workdir" in capsys.readouterr().err
    evaluated(folder, network, tmp_path / "inner", *asked, f"--calibration={out / 'calibration'}", code=1)
    assert f"give the workdir, {out}" in capsys.readouterr().err
    evaluated(folder, network, tmp_path / "again", *asked, f"--calibration={out}", code=1)
    assert "it was fitted on 6 of the 12 people" in capsys.readouterr().err
    both = (*asked, f"--calibration={out}", "--calibrate=logistic")
    found = evaluated(folder, network, tmp_path / "both", *both)
    assert found["resizing/shots1/calibration_given/people"] == 6, "on the other half it may be judged"
    evaluated(folder, network, tmp_path / "seed", *both, "--seed=1", code=1)
    assert "people that it is to be judged on" in " ".join(capsys.readouterr().err.split())
