"""Verification against the definitions in loops and fractions, and against scikit-learn."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from dsr_jax import metrics
from dsr_jax.evaluation import histogram, protocols, verification
from dsr_jax.evaluation.candidates import Labels
from tests.rankings import listed, rankings

SMALL = settings(max_examples=150, deadline=None)
RATES = st.sampled_from([1e-4, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])


@st.composite
def both(draw):
    """Distances of same pairs and of different pairs, with many ties."""
    column = st.integers(0, 6) | st.just(math.inf)
    side = st.lists(column, min_size=1, max_size=12)
    return draw(side), draw(side)


def paired(same, different):
    """`Pairs` of one probe."""
    return verification.Pairs(
        np.array(same, np.float32),
        np.array(different, np.float32),
        np.zeros(len(same), np.int32),
        np.zeros(len(different), np.int32),
    )


def accepted(distances, threshold):
    """The share of distances up to a threshold."""
    return Fraction(sum(d <= threshold for d in distances), len(distances))


def slow_points(same, different):
    """(threshold, FPR, TPR) of every threshold that makes a difference, after the one that accepts nobody."""
    thresholds = [-math.inf, *sorted({*same, *different})]
    return [(t, accepted(different, t), accepted(same, t)) for t in thresholds]


def slow_equal_error_rate(same, different):
    """Where the line from a point with FPR < 1 - TPR to the next meets FPR = 1 - TPR, in fractions."""
    points = slow_points(same, different)
    for (_, f, t), (_, f_next, t_next) in zip(points, points[1:], strict=False):
        if f_next >= 1 - t_next:
            share = (1 - t - f) / ((f_next - f) + (t_next - t))
            return f + share * (f_next - f)
    raise AssertionError("accepting everybody has FPR 1 and TPR 1")


@SMALL
@given(rankings(), st.sampled_from(["cross", "any"]))
def test_pairs_follow_the_definition(ranking, rule):
    found = verification.pairs(ranking[0], Labels(*ranking[1:], camera_rule=rule))
    cameras = ([-1] * len(side) if rule == "any" else side for side in ranking[3:])
    expected = list(listed(*ranking[:3], *cameras))
    for side, probe, wanted in ((found.same, found.same_probe, True), (found.different, found.different_probe, False)):
        assert side.tolist() == [d for entries in expected for d, _, her in entries if her == wanted]
        assert probe.tolist() == [p for p, entries in enumerate(expected) for *_, her in entries if her == wanted]
        assert side.dtype == np.float32


@SMALL
@given(rankings())
def test_pairs_and_ranks_keep_the_same_entries(ranking):
    found, scores = verification.pairs(ranking[0], Labels(*ranking[1:])), metrics.ranks(*ranking)
    for probe in np.flatnonzero(scores.valid):
        nearest = found.same[found.same_probe == probe].min()
        wrong = found.different[found.different_probe == probe]
        assert scores.nearer[probe] == np.count_nonzero(wrong < nearest)
        assert scores.tied[probe] == np.count_nonzero(wrong == nearest)
    assert set(found.same_probe.tolist()) == set(np.flatnonzero(scores.valid).tolist())


@SMALL
@given(both())
def test_roc_follows_the_definition(sides):
    curve = verification.roc(paired(*sides))
    expected = slow_points(*sides)
    assert curve.threshold.tolist() == [t for t, _, _ in expected] and curve.threshold.dtype == np.float32
    assert curve.false_positive_rate.tolist() == [float(f) for _, f, _ in expected]
    assert curve.true_positive_rate.tolist() == [float(t) for _, _, t in expected]
    assert (curve.same, curve.different) == tuple(len(side) for side in sides)
    assert curve.equal_error_rate == pytest.approx(float(slow_equal_error_rate(*sides)), abs=1e-15)
    least = min(abs(f + t - 1) for _, f, t in expected)
    closest = [threshold for threshold, f, t in expected if abs(f + t - 1) <= least + 1e-12]
    assert curve.equal_error_threshold in closest


@SMALL
@given(both(), RATES)
def test_rate_and_threshold_at_a_false_positive_rate(sides, fpr):
    curve = verification.roc(paired(*sides))
    allowed = [(threshold, t) for threshold, f, t in slow_points(*sides) if float(f) <= fpr]
    assert curve.threshold_at(fpr) == max(threshold for threshold, _ in allowed)
    assert curve.true_positive_rate_at(fpr) == float(max(t for _, t in allowed))
    assert float(accepted(sides[1], curve.threshold_at(fpr))) <= fpr
    assert accepted(sides[0], curve.threshold_at(fpr)) == Fraction(curve.true_positive_rate_at(fpr)).limit_denominator(
        99
    )


@SMALL
@given(both())
def test_roc_is_that_of_scikit_learn(sides):
    same, different = (np.nan_to_num(np.array(side, np.float64), posinf=9.0) for side in sides)
    curve = verification.roc(paired(same, different))
    labels = np.repeat([1, 0], [len(same), len(different)])
    scores = -np.concatenate([same, different])
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.false_positive_rate, fpr)
    np.testing.assert_array_equal(curve.true_positive_rate, tpr)
    np.testing.assert_array_equal(curve.threshold, -thresholds)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@SMALL
@given(both(), RATES)
def test_what_fast_reid_calls_tpr_at_fpr_is_the_roc_of_the_exchanged_pairs(sides, rate):
    same, different = (np.nan_to_num(np.array(side, np.float64), posinf=9.0) for side in sides)
    # Its labels: 0 for same, 1 for different, the distance as the score, and the nearest point from either side.
    labels = np.repeat([0.0, 1.0], [len(same), len(different)])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([same, different]), drop_intermediate=False)
    exchanged = verification.roc(paired(-different, -same))
    at = np.argmin(np.abs(exchanged.false_positive_rate - rate))
    assert exchanged.true_positive_rate[at] == tpr[np.argmin(np.abs(fpr - rate))]
    refused = [sum(d >= -t for d in same) / len(same) for t in exchanged.threshold]
    np.testing.assert_allclose(exchanged.false_positive_rate, refused)


@SMALL
@given(both())
def test_monotone_distances_give_the_same_rates(sides):
    one, two = (verification.roc(paired(*side)) for side in (sides, [np.array(s) * 8 - 5 for s in sides]))
    np.testing.assert_array_equal(one.false_positive_rate, two.false_positive_rate)
    np.testing.assert_array_equal(one.true_positive_rate, two.true_positive_rate)
    exchanged = verification.roc(paired([-d for d in sides[1]], [-d for d in sides[0]]))
    # Turned around, a tie counts as refused where it counted as accepted: the line between points is the same.
    assert exchanged.equal_error_rate == pytest.approx(one.equal_error_rate, abs=1e-12)


def test_thinned_points_are_points_of_the_curve():
    rng = np.random.default_rng(1)
    curve = verification.roc(paired(rng.normal(0, 1, 700), rng.normal(1.5, 1, 40_000)))
    points = {*zip(curve.threshold, curve.false_positive_rate, curve.true_positive_rate, strict=True)}
    for count in (2, 3, 60, 300):
        few = curve.thinned(count)
        assert {*zip(few.threshold, few.false_positive_rate, few.true_positive_rate, strict=True)} <= points
        assert len(few.threshold) <= count + 5 and np.all(np.diff(few.threshold) > 0)
        assert few.threshold[0] == -np.inf and few.threshold[-1] == curve.threshold[-1]
        assert few.equal_error_rate == curve.equal_error_rate
        assert (few.same, few.different) == (700, 40_000)
    few = curve.thinned()
    for fpr in np.geomspace(1 / 40_000, 1, 150):
        assert few.true_positive_rate_at(fpr) == curve.true_positive_rate_at(fpr)
    for fpr in rng.random(100):
        assert 0 <= curve.true_positive_rate_at(fpr) - few.true_positive_rate_at(fpr) < 0.02
    short = verification.roc(paired([0.0], [1.0]))
    assert short.thinned().threshold.tolist() == short.threshold.tolist() == [-np.inf, 0.0, 1.0]


def test_pairs_of_trials_are_joined_by_probe():
    probe_cams, gallery_ids, gallery_cams = np.array([0, 1, 0, 1]), np.array([5, 6, 7] * 2), np.repeat([0, 1], 3)
    probe_ids = np.array([5, 6, 9, 7])
    distances = np.random.default_rng(2).random((4, 6), dtype=np.float32)
    groups, expected = [], []
    for trial in protocols.trials(probe_cams, gallery_ids, gallery_cams, shots=1, count=3, seed=0):
        entries = np.concatenate(trial.draw.images)
        rows = distances[np.ix_(trial.probes, entries)]
        found = verification.pairs(rows, Labels(probe_ids[trial.probes], trial.draw.identities, camera_rule="any"))
        groups.append((trial.probes, found))
        expected += [
            (p, probe_ids[p] == gallery_ids[e], distances[p, e])
            for p in trial.probes.tolist()
            for e in entries.tolist()
        ]
    joined = verification.concatenate(groups)
    assert [*zip(joined.same_probe, joined.same, strict=True)] == [(p, d) for p, her, d in expected if her]
    assert [*zip(joined.different_probe, joined.different, strict=True)] == [
        (p, d) for p, her, d in expected if not her
    ]
    assert joined.same.dtype == np.float32 and joined.same_probe.dtype == np.int32
    with pytest.raises(ValueError, match="groups is empty"):
        verification.concatenate([])


def test_all_distances_equal_verify_nobody():
    curve = verification.roc(verification.pairs(np.ones((2, 2)), Labels([1, 2], [1, 2])))
    assert curve.equal_error_rate == 0.5
    assert curve.true_positive_rate_at(0.99) == 0.0 and curve.threshold_at(0.99) == -np.inf
    assert curve.true_positive_rate_at(1.0) == 1.0 and curve.threshold_at(1.0) == 1.0


def test_separated_distances_make_no_error():
    curve = verification.roc(verification.pairs([[0.1, 0.8], [0.9, 0.2]], Labels([1, 2], [1, 2])))
    assert curve.figures((1e-6, 0.5)) == {"EER": 0.0, "TPR@1e-06": 1.0, "TPR@0.5": 1.0}
    assert curve.equal_error_threshold == 0.2 and curve.threshold_at(1e-6) == 0.2 and curve.threshold_at(0.5) == 0.8


def test_whole_numbers_are_distances_too():
    curve = verification.roc(verification.pairs([[1, 3], [2, 4]], Labels([1, 2], [1, 2])))
    assert curve.threshold.tolist() == [-np.inf, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (([[0.1, 0.2]], [3], [1, 2]), "none of 2 is of one person.*check_identities"),
        (([[0.1, 0.2]], [1], [1, 2], [0], [0, 0]), "none of 1 is of one person.*own cameras"),
        (([[0.1, 0.2]], [1], [1, 1]), "none of 2 is of two people.*second identity"),
        (([[0.1, 0.2]], [-1], [1, -1]), "none of 0 is of one person"),
        ((np.zeros((0, 2)), np.zeros(0, int), [1, 2]), "none of 0 is of one person"),
    ],
)
def test_pairs_that_verify_nothing_are_refused(ranking, message):
    with pytest.raises(ValueError, match=message):
        verification.roc(verification.pairs(ranking[0], Labels(*ranking[1:])))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="row 1 has NaN"):
        verification.pairs([[0.1, 0.2], [0.1, np.nan]], Labels([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="camera_rule is 'other'"):
        verification.pairs([[0.1]], Labels([1], [1], camera_rule="other"))
    with pytest.raises(ValueError, match="both or neither"):
        verification.pairs([[0.1]], Labels([1], [1], [0]))
    curve = verification.roc(paired([0.1], [0.2]))
    for fpr in (0.0, -0.1, 1.5, math.nan):
        for figure in (curve.threshold_at, curve.true_positive_rate_at):
            with pytest.raises(ValueError, match=rf"fpr is {fpr}.*\(0, 1\]"):
                figure(fpr)
    with pytest.raises(ValueError, match="points is 1"):
        curve.thinned(1)


@SMALL
@given(both(), st.integers(1, 7))
def test_histogram_counts_every_finite_distance_once(sides, bins):
    finite = [[d for d in side if d < math.inf] for side in sides]
    assume(any(finite))
    found = histogram.histogram(paired(*sides), bins=bins)
    low, high = min(map(min, filter(None, finite))), max(map(max, filter(None, finite)))
    assert len(found.edges) == bins + 1 and np.allclose(np.diff(found.edges), found.edges[1] - found.edges[0])
    assert found.edges[0] <= low and high <= found.edges[-1]
    for counts, side in zip(found[1:], finite, strict=True):
        assert counts.sum() == len(side)
        assert counts.tolist() == np.histogram(side, bins=found.edges)[0].tolist() or low == high


def test_histogram_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 distances of the pairs are finite"):
        histogram.histogram(paired([math.inf], [math.inf]))
    with pytest.raises(ValueError, match="bins is 0"):
        histogram.histogram(paired([0.1], [0.2]), bins=0)
