"""CMC, mAP and mINP against an implementation written from the definitions, one probe and one entry at a time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from dsr_jax import metrics
from dsr_jax.evaluation import protocols
from dsr_jax.evaluation.candidates import Labels
from tests.rankings import listed, rankings

SMALL = settings(max_examples=150, deadline=None)
FIELDS = ("first_hit", "average_precision", "inverse_negative_penalty", "nearer", "tied", "constant")


def slow_scores(*ranking):
    """Every field of `Scores` for each probe, by the Market-1501 rules, without NumPy."""
    results = []
    for entries in listed(*ranking):
        constant = len(entries) > 1 and len({distance for distance, _, _ in entries}) == 1
        right = [place for place, (_, _, her) in enumerate(sorted(entries)) if her]
        if not right:
            results.append((-1, math.nan, math.nan, -1, -1, constant))
            continue
        precisions = [(found + 1) / (place + 1) for found, place in enumerate(right)]
        nearest = min(distance for distance, _, her in entries if her)
        wrong = [distance for distance, _, her in entries if not her]
        nearer, tied = sum(d < nearest for d in wrong), wrong.count(nearest)
        results.append(
            (right[0], math.fsum(precisions) / len(right), len(right) / (right[-1] + 1), nearer, tied, constant)
        )
    return results


def same(one, other):
    """Whether two `Scores` agree in every field, to the last bit."""
    return all(np.array_equal(getattr(one, f), getattr(other, f), equal_nan=f in FIELDS[1:3]) for f in FIELDS)


@SMALL
@given(rankings())
def test_ranks_follow_the_definition(ranking):
    scores = metrics.ranks(*ranking)
    for name, expected in zip(FIELDS, zip(*slow_scores(*ranking), strict=True), strict=True):
        np.testing.assert_allclose(getattr(scores, name), expected, rtol=1e-15, err_msg=name)


@SMALL
@given(rankings())
def test_any_camera_rule_ignores_cameras(ranking):
    distances, probe_ids, gallery_ids, *cameras = ranking
    anywhere = metrics.ranks(distances, probe_ids, gallery_ids, *cameras, camera_rule="any")
    without = metrics.ranks(distances, probe_ids, gallery_ids)
    assert same(anywhere, without)


@SMALL
@given(rankings())
def test_cmc_and_map_are_means_over_answerable_probes(ranking):
    scores = metrics.ranks(*ranking)
    firsts = [(first, ap) for first, ap, *_ in slow_scores(*ranking) if first >= 0]
    penalties = [inp for first, _, inp, *_ in slow_scores(*ranking) if first >= 0]
    assert scores.without_answer == len(ranking[1]) - len(firsts)
    if not firsts:
        with pytest.raises(ValueError, match="none of the"):
            scores.cmc()
        return
    curve = scores.cmc((1, 2, 20))
    for k, value in curve.items():
        assert value == pytest.approx(100 * sum(first < k for first, _ in firsts) / len(firsts))
        assert value == pytest.approx(100 * np.nanmean(scores.hits(k)))
    assert curve[1] <= curve[2] <= curve[20] == 100.0
    assert scores.mAP == pytest.approx(100 * sum(ap for _, ap in firsts) / len(firsts))
    assert scores.mINP == pytest.approx(100 * sum(penalties) / len(penalties))
    assert metrics.cmc(*ranking, ks=(1, 2, 20)) == curve
    assert metrics.mean_average_precision(*ranking) == scores.mAP


@SMALL
@given(rankings(), st.randoms(use_true_random=False))
def test_gallery_order_matters_only_between_ties(ranking, random):
    distances, probe_ids, gallery_ids, probe_cams, gallery_cams = ranking
    order = list(range(len(gallery_ids)))
    random.shuffle(order)
    untied = np.argsort(np.argsort(distances, axis=1, kind="stable"), axis=1)
    shuffled = metrics.ranks(
        untied[:, order], probe_ids, np.array(gallery_ids)[order], probe_cams, np.array(gallery_cams)[order]
    )
    np.testing.assert_array_equal(shuffled.first_hit, metrics.ranks(*ranking).first_hit)


@settings(max_examples=40, deadline=None)
@given(rankings(people=2))
def test_range_is_that_of_all_orders_of_the_gallery(ranking):
    distances, probe_ids, gallery_ids, probe_cams, gallery_cams = (np.asarray(part) for part in ranking)
    distances, gallery_ids, gallery_cams = distances[:, :5], gallery_ids[:5], gallery_cams[:5]
    scores = metrics.ranks(distances, probe_ids, gallery_ids, probe_cams, gallery_cams)
    places = [
        metrics.ranks(distances[:, at], probe_ids, gallery_ids[at], probe_cams, gallery_cams[at])
        for at in map(list, itertools.permutations(range(len(gallery_ids))))
    ]
    first_hit = np.array([found.first_hit for found in places])
    valid = scores.valid
    np.testing.assert_array_equal(first_hit.min(axis=0)[valid], scores.nearer[valid])
    np.testing.assert_array_equal(first_hit.max(axis=0)[valid], (scores.nearer + scores.tied)[valid])
    assert scores.ties == np.count_nonzero(first_hit.min(axis=0) < first_hit.max(axis=0))
    for k in (1, 2, 3) if valid.any() else ():
        worst, best = scores.cmc_range(k)
        assert worst <= scores.cmc((k,))[k] <= best
        assert (worst == best) == all(
            (first_hit[:, p] < k).any() == (first_hit[:, p] < k).all() for p in range(len(valid))
        )


@SMALL
@given(rankings())
def test_only_the_order_of_distances_matters(ranking):
    distances, *labels = ranking
    with np.errstate(over="ignore"):
        assert same(metrics.ranks(np.expm1(distances) - 7, *labels), metrics.ranks(distances, *labels))


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    distances, ids, gallery = rng.random((30, 80)), rng.integers(0, 9, 30), rng.integers(0, 9, 80)
    scores = metrics.ranks(distances, ids, gallery)
    expected = [average_precision_score(gallery == i, -row) for row, i in zip(distances, ids, strict=True)]
    np.testing.assert_allclose(scores.average_precision, expected, rtol=1e-13)


def test_worked_example_by_hand():
    # Sorted: 2, 1 (same camera as the probe: removed), junk (removed), 1, 3, 1: right answers at places 1 and 3.
    scores = metrics.ranks(
        [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], [1], [2, 1, -1, 1, 3, 1], [0], [0, 0, 1, 1, 1, 2], camera_rule="cross"
    )
    assert scores.first_hit.tolist() == [1]
    assert scores.average_precision[0] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert scores.inverse_negative_penalty[0] == 2 / 4 and scores.mINP == 50.0
    assert (scores.nearer[0], scores.tied[0], scores.constant[0]) == (1, 0, False)


def test_ties_keep_the_gallery_order():
    scores = metrics.ranks(np.zeros((3, 3)), [5, 6, 7], [5, 6, 7])
    assert scores.first_hit.tolist() == [0, 1, 2]


def test_ties_and_constant_distances_are_counted_and_told():
    everybody_alike = metrics.ranks(np.ones((3, 3)), [5, 6, 7], [5, 6, 7])
    assert everybody_alike.ties == 3 and everybody_alike.constant.all() and everybody_alike.cmc_range() == (0.0, 100.0)
    assert everybody_alike.cmc_range(3) == (100.0, 100.0)
    untied = metrics.ranks([[0.0, 0.5, 0.5]] * 3, [5, 5, 9], [5, 6, 7])
    assert untied.ties == 0 and not untied.constant.any() and untied.cmc_range() == (100.0, 100.0)
    assert metrics.remarks([untied]) == ["1 of 3 probes have no right answer in the gallery and are in no average"]
    assert metrics.remarks([everybody_alike, untied]) == [
        "1 of 3 probes have no right answer in the gallery and are in no average",
        "3 of 3 probes have ties at their first right answer: rank-1 is between 50.0 and 100.0 whatever their order",
        "3 of 3 probes are equally far from everybody",
    ]
    assert metrics.remarks([metrics.ranks([[0.1, 0.2]], [5], [5, 6])]) == []


def test_ties_are_told_for_every_rank_that_they_move():
    """The right one is among five that are all second."""
    row = [0.1, *[0.5] * 5]
    assert metrics.remarks([metrics.ranks([row], [6], range(1, 7))]) == [
        "1 of 1 probes have ties at their first right answer: rank-3 is between 0.0 and 100.0, rank-5 is between 0.0 "
        "and 100.0 whatever their order"
    ]
    (told,) = metrics.remarks([metrics.ranks([row], [6], range(1, 7))], ks=(1, 6))
    assert told.endswith("rank-1, 6 do not depend on their order")


def test_a_tie_between_right_answers_is_none():
    scores = metrics.ranks([[1.0, 1.0, 2.0]], [5], [5, 5, 6])
    assert scores.ties == 0 and scores.inverse_negative_penalty[0] == 1.0


def test_one_camera_for_all_leaves_no_answer():
    scores = metrics.ranks([[0.1, 0.2], [0.3, 0.4]], [1, 2], [1, 2], [0, 0], [0, 0])
    assert scores.without_answer == 2
    for figure in (lambda: scores.mAP, lambda: scores.mINP, scores.cmc, scores.cmc_range):
        with pytest.raises(ValueError, match="none of the 2 probes has a right answer"):
            figure()
    assert metrics.remarks([scores]) == ["2 of 2 probes have no right answer in the gallery and are in no average"]


def test_a_single_identity_is_always_right():
    scores = metrics.ranks(np.random.default_rng(0).random((3, 4)), [6] * 3, [6] * 4)
    assert scores.cmc((1,)) == {1: 100.0} and scores.mAP == 100.0 and scores.mINP == 100.0


def test_a_probe_of_nobody_is_not_answered_by_junk():
    scores = metrics.ranks([[0.1, 0.2]], [-1], [-1, 3])
    assert scores.without_answer == 1 and not scores.constant.any()


def test_no_probes_and_an_empty_gallery_are_no_crash():
    assert metrics.ranks(np.zeros((0, 3)), np.zeros(0, int), [1, 2, 3]).probes == 0
    assert metrics.ranks(np.zeros((2, 0)), [1, 2], np.zeros(0, int)).without_answer == 2


def test_float32_and_float64_give_the_same_ranks():
    rng = np.random.default_rng(3)
    distances = rng.random((20, 50), dtype=np.float32)
    labels = rng.integers(0, 6, 20), rng.integers(0, 6, 50)
    single, double = metrics.ranks(distances, *labels), metrics.ranks(distances.astype(np.float64), *labels)
    assert same(single, double)


def test_random_distances_give_chance_level():
    rng = np.random.default_rng(0)
    people = 20
    scores = metrics.ranks(rng.random((4000, people)), rng.integers(0, people, 4000), np.arange(people))
    assert scores.cmc((1,))[1] == pytest.approx(100 / people, abs=1.2)
    assert scores.mAP == pytest.approx(100 * np.mean(1 / np.arange(1, people + 1)), abs=1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": np.zeros(3)}, r"distances has shape \(3,\)"),
        ({"distances": np.array([[0.0, np.nan, 1.0], [0.0, 1.0, 2.0]])}, "row 0 has NaN"),
        ({"distances": np.array([[0.0, 0.0, 1.0], [0.0, -np.inf, 2.0]])}, "row 1 has NaN or -inf"),
        ({"probe_identities": [1]}, r"distances has shape \(2, 3\).*\(1, 3\).*probe_identities"),
        ({"gallery_identities": [1, 2]}, r"distances has shape \(2, 3\).*\(2, 2\).*gallery_identities"),
        ({"probe_cameras": [0, 0]}, "both or neither"),
        ({"probe_cameras": [0, 0], "gallery_cameras": [0]}, r"gallery_cameras \(1,\)"),
        ({"camera_rule": "other"}, "camera_rule is 'other'"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"distances": np.zeros((2, 3)), "probe_identities": [1, 2], "gallery_identities": [1, 2, 3]} | change
    with pytest.raises(ValueError, match=message):
        metrics.ranks(**arguments)


def test_rank_zero_is_refused():
    with pytest.raises(ValueError, match="ranks count from 1"):
        metrics.ranks([[0.0]], [1], [1]).cmc((0, 1))
    with pytest.raises(ValueError, match="k is 0"):
        metrics.ranks([[0.0]], [1], [1]).cmc_range(0)


def test_regroup_restores_the_order_of_the_probes():
    rng = np.random.default_rng(1)
    distances, ids = rng.random((7, 5)), rng.integers(0, 5, 7)
    whole = metrics.ranks(distances, ids, np.arange(5))
    groups = [np.array([6, 1, 3]), np.array([0, 5]), np.array([2, 4])]
    parts = [(at, metrics.ranks(distances[at], ids[at], np.arange(5))) for at in groups]
    again = metrics.regroup(parts)
    assert same(again, whole)
    with pytest.raises(ValueError, match="once"):
        metrics.regroup(parts[:2])


@pytest.mark.parametrize("labels", [["ann", "bob"], [1.2, 1.9]])
def test_identities_that_are_no_integers_are_named(labels):
    with pytest.raises(ValueError, match="gallery_identities must be integers.*np.unique"):
        metrics.ranks([[0.1, 0.2]], [1], labels)
    with pytest.raises(ValueError, match="probe_identities must be integers"):
        protocols.check_identities(Labels(labels, [1, 2]))
