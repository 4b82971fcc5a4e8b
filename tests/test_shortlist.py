"""The shortlist: exact where it codes, in the cheap order where it does not, and never silent about which is which."""

import json

import numpy as np
import pytest

from dsr_jax import match, shortlist
from dsr_jax.baselines import global_average
from experiments import evaluate

from .runners import SMALL, call

MAPS = list(np.random.default_rng(0).random((9, 4, 2, 8)).astype(np.float32))


def test_listed_entries_are_coded_and_the_others_follow_in_their_order():
    first = global_average.distances(MAPS[:4], MAPS)
    found = shortlist.distances(MAPS[:4], MAPS, first, 3, scales=(1,))
    exact = match.distances(MAPS[:4], MAPS, scales=(1,)).distance
    for row, cheap, values in zip(found, first, exact, strict=True):
        listed = np.argsort(cheap, kind="stable")[:3]
        assert set(np.flatnonzero(row < shortlist.BEYOND)) == set(listed)
        np.testing.assert_allclose(row[listed], values[listed], atol=1e-6)
        rest = np.setdiff1d(np.arange(9), listed)
        np.testing.assert_array_equal(np.argsort(row[rest], kind="stable"), np.argsort(cheap[rest], kind="stable"))


@pytest.mark.parametrize("k", [9, 10, 1000])
def test_a_list_of_everybody_is_the_exhaustive_answer(k):
    first = global_average.distances(MAPS[:4], MAPS)
    np.testing.assert_array_equal(
        shortlist.distances(MAPS[:4], MAPS, first, k), match.distances(MAPS[:4], MAPS).distance
    )


def test_people_are_listed_with_all_their_images():
    who = ["a", "b", "a", "c", "b", "c", "a", "d", "d"]
    exact = match.distances(MAPS[:3], MAPS, identities=who).distance
    first = np.array([[3.0, 1, 2, np.inf], [0, 0, 0, 0], [np.inf, np.inf, 1, np.inf]])
    found = shortlist.distances(MAPS[:3], MAPS, first, 2, identities=who)
    assert (found < shortlist.BEYOND).tolist() == [
        [False, True, True, False],
        [True, True, False, False],
        [True, False, True, False],
    ]
    np.testing.assert_allclose(found[found < 2], exact[found < 2], atol=1e-6)
    assert found[0, 0] == 3 and found[0, 3] == np.inf and found[1].tolist()[2:] == [2, 2]


@pytest.mark.parametrize(
    ("first", "k", "options", "message"),
    [
        (np.zeros((2, 9)), 0, {}, "must be a whole number >= 1, got 0"),
        (np.zeros((2, 8)), 3, {}, r"first must be \(probes, entries\), 2 x 9, got \(2, 8\)"),
        (np.full((2, 9), np.nan), 3, {}, r"first must be numbers or \+inf"),
        (np.zeros((2, 9)), 3, {"dictionary": "joint"}, "dictionary must be 'image' here"),
        (np.zeros((2, 9)), 3, {"l1": -1}, "l1 must be a positive number"),
    ],
)
def test_what_makes_no_sense_is_refused(first, k, options, message):
    with pytest.raises(ValueError, match=message):
        shortlist.distances(MAPS[:2], MAPS, first, k, **options)


# In an evaluation


def evaluated(people, network, workdir, *arguments):
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={network}", *SMALL, "--partial=none")
    return call(
        evaluate, *common, "--trials=1", "--ranked_lists=1", "--reconstructions=1", f"--workdir={workdir}", *arguments
    )


def test_an_evaluation_says_what_rests_on_the_list(people, network, tmp_path, capsys):
    methods = "--methods=resizing,global_average,dsr_single"
    assert evaluated(people, network, tmp_path / "some", methods, "--shortlist=2") == 0
    text = capsys.readouterr().out
    assert text.count("in the lists") == 1, "of the other methods, whose distances may be large, nothing is said"
    assert "dsr_single_top2/shots1: ranks up to 2 are by this method for every probe, ranks beyond 2 by pooled" in text
    page = (tmp_path / "some" / "report" / "index.html").read_text()
    assert "dsr_single_top2" in page and "of the right answers are in the lists" in page
    kept = np.load(tmp_path / "some" / "distances" / "dsr_single_top2-shots1.npz")["distances_0"]
    assert ((kept < shortlist.BEYOND).sum(axis=1) == 2).all()


def test_a_list_as_long_as_the_gallery_changes_no_figure(people, network, tmp_path, capsys):
    methods = "--methods=global_average,dsr_single"
    for name, extra in (("all", ()), ("list", ("--shortlist=1000",))):
        assert evaluated(people, network, tmp_path / name, methods, "--shots=1,whole", *extra) == 0
    assert "in the lists" not in capsys.readouterr().out, "nothing rests on pooled features"
    every, listed = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("all", "list"))
    assert {key.replace("dsr_single", "dsr_single_top1000"): value for key, value in every.items()} == listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--methods=resizing,global_average", "--shortlist=5"),
            "shortlist is for DSR, one dictionary per entry, not",
        ),
        (("--methods=joint_single", "--shortlist=5"), "shortlist is for DSR"),
        (("--methods=dsr_single", "--shortlist=5", "--rerank=5,2,0.3"), "shortlist and rerank exclude each other"),
    ],
)
def test_flags_that_make_no_sense_are_refused(people, network, tmp_path, capsys, arguments, message):
    assert evaluated(people, network, tmp_path / "out", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
