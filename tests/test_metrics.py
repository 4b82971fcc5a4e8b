"""CMC, mAP and intervals against implementations written from the definitions, one probe and one entry at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax import metrics, protocols

SMALL = settings(max_examples=150, deadline=None)


def slow_scores(distances, probe_ids, gallery_ids, probe_cams, gallery_cams):
    """Place of the first right answer and AP of each probe, by the Market-1501 rules, without NumPy."""
    results = []
    for row, identity, camera in zip(distances, probe_ids, probe_cams, strict=True):
        listed = []
        for place, (distance, other, seen) in enumerate(zip(row, gallery_ids, gallery_cams, strict=True)):
            junk = other == -1
            same_photo_side = other == identity and seen == camera and camera != -1
            if not junk and not same_photo_side:
                listed.append((float(distance), place, other == identity))
        listed.sort()
        found, precisions = 0, []
        for place, (_, _, right) in enumerate(listed):
            if right:
                found += 1
                precisions.append(found / (place + 1))
        first = next((place for place, (_, _, right) in enumerate(listed) if right), -1)
        results.append((first, sum(precisions) / found if found else math.nan))
    return results


@st.composite
def rankings(draw):
    """Small rankings with many ties, junk entries, unknown cameras and people missing from the gallery."""
    probes, gallery = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    column = st.integers(0, 4) | st.just(math.inf)
    distances = draw(st.lists(st.lists(column, min_size=gallery, max_size=gallery), min_size=probes, max_size=probes))
    labels = lambda n, low, high: draw(st.lists(st.integers(low, high), min_size=n, max_size=n))  # noqa: E731
    return (
        np.array(distances, np.float32),
        labels(probes, -1, 3),
        labels(gallery, -1, 3),
        labels(probes, -1, 2),
        labels(gallery, -1, 2),
    )


@SMALL
@given(rankings())
def test_ranks_follow_the_definition(ranking):
    scores = metrics.ranks(*ranking)
    expected = slow_scores(*ranking)
    assert scores.first_hit.tolist() == [first for first, _ in expected]
    np.testing.assert_allclose(scores.average_precision, [ap for _, ap in expected], rtol=1e-12)


@SMALL
@given(rankings())
def test_any_camera_rule_ignores_cameras(ranking):
    distances, probe_ids, gallery_ids, *cameras = ranking
    anywhere = metrics.ranks(distances, probe_ids, gallery_ids, *cameras, camera_rule="any")
    without = metrics.ranks(distances, probe_ids, gallery_ids)
    np.testing.assert_array_equal(anywhere.first_hit, without.first_hit)
    np.testing.assert_array_equal(anywhere.average_precision, without.average_precision)


@SMALL
@given(rankings())
def test_cmc_and_map_are_means_over_answerable_probes(ranking):
    scores = metrics.ranks(*ranking)
    firsts = [(first, ap) for first, ap in slow_scores(*ranking) if first >= 0]
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


def test_worked_example_by_hand():
    # Sorted: 2, 1 (same camera as the probe: removed), junk (removed), 1, 3, 1: right answers at places 1 and 3.
    scores = metrics.ranks(
        [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], [1], [2, 1, -1, 1, 3, 1], [0], [0, 0, 1, 1, 1, 2], camera_rule="cross"
    )
    assert scores.first_hit.tolist() == [1]
    assert scores.average_precision[0] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_ties_keep_the_gallery_order():
    scores = metrics.ranks(np.zeros((3, 3)), [5, 6, 7], [5, 6, 7])
    assert scores.first_hit.tolist() == [0, 1, 2]


def test_float32_and_float64_give_the_same_ranks():
    rng = np.random.default_rng(3)
    distances = rng.random((20, 50), dtype=np.float32)
    labels = rng.integers(0, 6, 20), rng.integers(0, 6, 50)
    single, double = metrics.ranks(distances, *labels), metrics.ranks(distances.astype(np.float64), *labels)
    np.testing.assert_array_equal(single.first_hit, double.first_hit)
    np.testing.assert_array_equal(single.average_precision, double.average_precision)


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
        ({"probe_identities": [1]}, r"probe_identities has shape \(1,\)"),
        ({"gallery_identities": [1, 2]}, r"gallery_identities has shape \(2,\)"),
        ({"probe_cameras": [0, 0]}, "both or neither"),
        ({"probe_cameras": [0, 0], "gallery_cameras": [0]}, r"gallery_cameras has shape \(1,\)"),
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


def test_regroup_restores_the_order_of_the_probes():
    rng = np.random.default_rng(1)
    distances, ids = rng.random((7, 5)), rng.integers(0, 5, 7)
    whole = metrics.ranks(distances, ids, np.arange(5))
    groups = [np.array([6, 1, 3]), np.array([0, 5]), np.array([2, 4])]
    parts = [(at, metrics.ranks(distances[at], ids[at], np.arange(5))) for at in groups]
    again = metrics.regroup(parts)
    np.testing.assert_array_equal(again.first_hit, whole.first_hit)
    np.testing.assert_array_equal(again.average_precision, whole.average_precision)
    with pytest.raises(ValueError, match="once"):
        metrics.regroup(parts[:2])


def slow_bootstrap(values, identities, *, samples, seed):
    """Means over literally repeated clusters, from the same multinomial counts."""
    people = sorted(set(identities))
    counts = np.random.default_rng(seed).multinomial(len(people), [1 / len(people)] * len(people), size=samples)
    means = []
    for row in counts:
        drawn = [
            v for person, n in zip(people, row, strict=True) for _ in range(n) for v in values[identities == person]
        ]
        means.append(sum(drawn) / len(drawn))
    return np.array(means)


def test_bootstrap_equals_repeating_the_clusters():
    rng = np.random.default_rng(5)
    identities = rng.integers(0, 9, 40)
    values = rng.random(40)
    means = slow_bootstrap(values, identities, samples=200, seed=4)
    interval = metrics.bootstrap_interval(values, identities, samples=200, level=0.9, seed=4)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(11)
    identities = np.repeat(np.arange(60), 3)
    covered = 0
    for trial in range(300):
        person = rng.random(60) < 0.5  # a person is easy or hard for all her probes
        interval = metrics.bootstrap_interval(person[identities], identities, samples=300, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_probes_of_one_person_are_not_counted_as_independent():
    person = np.random.default_rng(0).random(50) < 0.4
    repeated = np.repeat(np.arange(50), 8)
    once = metrics.bootstrap_interval(person, np.arange(50), seed=2)
    eight = metrics.bootstrap_interval(person[repeated], repeated, seed=2)
    naive = metrics.bootstrap_interval(person[repeated], np.arange(400), seed=2)
    assert (eight.low, eight.high) == pytest.approx((once.low, once.high))
    assert (naive.high - naive.low) < 0.5 * (eight.high - eight.low)


def test_unanswerable_probes_are_left_out_of_the_interval():
    values, identities = np.array([1.0, np.nan, 0.0, 1.0]), np.array([1, 1, 2, 3])
    kept = ~np.isnan(values)
    assert metrics.bootstrap_interval(values, identities) == metrics.bootstrap_interval(values[kept], identities[kept])


@pytest.mark.parametrize("labels", [["ann", "bob"], [1.2, 1.9]])
def test_identities_that_are_no_integers_are_named(labels):
    with pytest.raises(ValueError, match="gallery_identities must be integers.*np.unique"):
        metrics.ranks([[0.1, 0.2]], [1], labels)
    with pytest.raises(ValueError, match="probe_identities must be integers"):
        protocols.check_identities(labels, [1, 2])


def test_a_single_identity_has_no_interval():
    interval = metrics.bootstrap_interval([1.0, 0.0], [4, 4])
    assert interval.value == 0.5 and math.isnan(interval.low) and math.isnan(interval.high)
    assert math.isnan(metrics.paired_difference([1.0, 0.0], [0.0, 0.0], [4, 4]).p_value)


def test_bad_bootstrap_input_is_named():
    with pytest.raises(ValueError, match="identities"):
        metrics.bootstrap_interval([1.0, 0.0], [1])
    with pytest.raises(ValueError, match="none of 1 values"):
        metrics.bootstrap_interval([np.nan], [1])
    with pytest.raises(ValueError, match="level"):
        metrics.bootstrap_interval([1.0, 0.0], [1, 2], level=95)
    with pytest.raises(ValueError, match="same probes"):
        metrics.paired_difference([1.0], [1.0, 0.0], [1, 2])


def test_paired_difference_is_the_bootstrap_of_the_difference():
    rng = np.random.default_rng(7)
    identities = np.repeat(np.arange(30), 2)
    a, b = rng.random(60), rng.random(60)
    paired = metrics.paired_difference(a, b, identities, seed=9)
    alone = metrics.bootstrap_interval(a - b, identities, seed=9)
    assert paired[:3] == alone
    swapped = metrics.paired_difference(b, a, identities, seed=9)
    assert swapped.value == pytest.approx(-paired.value)
    assert swapped.p_value == paired.p_value


def test_paired_p_value_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(13)
    identities = np.arange(80)
    common = rng.normal(size=(200, 80))
    noise = rng.normal(size=(2, 200, 80)) * 0.3
    p_values = [
        metrics.paired_difference(c + n[0], c + n[1], identities, samples=199, seed=i).p_value
        for i, (c, n) in enumerate(zip(common, noise.swapaxes(0, 1), strict=True))
    ]
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.11
    # 0.2 is invisible beside the spread of 1 between people, and plain once the people are paired.
    better = metrics.paired_difference(common[0] + noise[0, 0] + 0.2, common[0] + noise[1, 0], identities)
    assert better.p_value < 0.01 and better.low > 0
    assert metrics.paired_difference([1.0] * 5, [0.0] * 5, range(5), samples=199).p_value == pytest.approx(2 / 200)
    assert metrics.paired_difference(common[0], common[0], identities).p_value == 1.0
