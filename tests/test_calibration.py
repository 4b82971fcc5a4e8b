"""Calibration: curves against scikit-learn and by hand, thresholds over galleries, saving, what it is refused for."""

import inspect
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.isotonic import IsotonicRegression

from dsr_jax import calibration
from dsr_jax.evaluation import nearest_strangers
from dsr_jax.evaluation.reliability import reliability

GRID = np.linspace(-0.5, 1.5, 201)


def people(probes=40, entries=60, seed=0):
    """Distances with overlap, and which pairs are of one person: one entry per probe."""
    rng = np.random.default_rng(seed)
    same = np.arange(entries)[None] == np.arange(probes)[:, None]
    return np.where(same, rng.normal(0.3, 0.1, same.shape), rng.normal(0.6, 0.1, same.shape)), same


DISTANCES, SAME = people()


# Probabilities of pairs


def test_isotonic_is_scikit_learns():
    fitted = calibration.fit(DISTANCES, SAME)
    expected = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(DISTANCES.ravel(), SAME.ravel())
    np.testing.assert_allclose(fitted.probability(GRID), expected.predict(GRID), atol=1e-12)


def test_isotonic_by_hand():
    """Two neighbours in the wrong order are pooled; equal distances are one."""
    fitted = calibration.fit([0.1, 0.2, 0.3, 0.4, 0.4], [True, False, True, False, False])
    assert fitted.probability([0.1, 0.2, 0.25, 0.3, 0.4]).tolist() == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert fitted.pairs == (2, 3) and fitted.prior == 0.4


def test_logistic_finds_the_curve_that_labels_were_drawn_from():
    rng = np.random.default_rng(1)
    distances = rng.random(20_000)
    same = rng.random(20_000) < 1 / (1 + np.exp(12 * distances - 5))
    fitted = calibration.fit(distances, same, method="logistic")
    np.testing.assert_allclose(fitted.curve[:, 0], [-12, 5], rtol=0.05)


def test_logistic_is_finite_where_the_pairs_are_apart():
    fitted = calibration.fit([0.1, 0.2, 0.8, 0.9], [True, True, False, False], method="logistic")
    assert 0.5 < fitted.probability(0.1) < 1 and 0 < fitted.probability(0.9) < 0.5
    np.testing.assert_allclose(fitted.probability([-1e9, 1e9]), [1, 0], atol=1e-300)


@given(
    arrays.arrays(np.float64, (4, 5), elements=st.floats(0, 1, width=16)),
    arrays.arrays(np.bool_, (4, 5)),
    st.sampled_from(calibration.METHODS),
    st.sampled_from([None, 1, 3, 1000]),
)
def test_probabilities_never_rise_and_are_probabilities(distances, same, method, entries):
    same[0, 0], same[1, 0] = True, False
    distances[0, 0], distances[1, 0] = -1.0, 2.0  # so that a falling curve is the likeliest
    same[distances > 0.5] = False
    fitted = calibration.fit(distances, same, method=method)
    found = fitted.probability(GRID, entries=entries)
    assert np.all((found >= 0) & (found <= 1)) and np.all(np.diff(found) <= 1e-12)
    assert fitted.probability(0.25) == fitted.probability([0.25])[0], "equal distances have one probability"
    first = fitted.first_probability(GRID)
    assert np.all((first >= 0) & (first <= 1)) and np.all(np.diff(first) <= 1e-12)


def test_a_larger_gallery_has_smaller_probabilities_by_the_rule_of_bayes():
    fitted = calibration.fit(DISTANCES, SAME, method="logistic")
    assert fitted.prior == pytest.approx(1 / 60)
    found, larger = fitted.probability(0.4), fitted.probability(0.4, entries=600)
    odds = found / (1 - found)
    ratio = (1 / 600 / (1 - 1 / 600)) / (1 / 60 / (1 - 1 / 60))
    assert larger / (1 - larger) == pytest.approx(odds * ratio)
    assert fitted.probability(0.4, entries=60) == pytest.approx(found)
    assert fitted.probability(GRID, entries=1).max() < 1, "one entry is as likely the person as not"


def test_of_a_larger_gallery_the_probabilities_are_right():
    """Pairs of a gallery of 50 say how likely those of one of 1,000 are."""
    fitted = calibration.fit(*people(400, 50, seed=2), method="logistic")
    assert fitted.pairs == (50, 400 * 50 - 50)
    fitted = calibration.fit(*people(50, 50, seed=2), method="logistic")
    distances, same = people(1000, 1000, seed=3)
    kept, moved = (
        reliability(fitted.probability(distances, entries=entries).ravel(), same.ravel()).expected_error
        for entries in (None, 1000)
    )
    assert moved < 0.1 * kept


# The first answer


def test_first_answers_have_a_curve_of_their_own():
    fitted = calibration.fit(DISTANCES, SAME)
    at = DISTANCES.argmin(axis=1)
    nearest, right = DISTANCES[range(40), at], SAME[range(40), at]
    expected = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(nearest, right)
    np.testing.assert_allclose(fitted.first_probability(GRID), expected.predict(GRID), atol=1e-12)


def test_of_entries_equally_near_the_wrong_one_is_first():
    distances = [[0.1, 0.1, 0.5], [0.3, 0.2, 0.6]]
    fitted = calibration.fit(distances, [[True, False, False], [False, True, False]])
    assert fitted.first_probability(0.1) == fitted.first_probability(0.2) == 0.5, "0 at 0.1 and 1 at 0.2 are pooled"


@pytest.mark.parametrize("method", calibration.METHODS)
def test_where_all_first_answers_are_right_they_are_likely(method):
    fitted = calibration.fit([[0.1, 0.8], [0.8, 0.2]], [[True, False], [False, True]], method=method)
    assert np.all(fitted.first_probability(GRID) >= 0.75)


def test_first_answers_are_more_often_right_than_pairs_where_probes_differ():
    """Some probes are far from everybody: the reason for a curve of their own."""
    rng = np.random.default_rng(9)
    same = np.eye(300, dtype=bool)
    distances = np.where(same, 0.4, 0.7) + rng.normal(0, 0.06, (300, 300)) + rng.normal(0, 0.15, (300, 1))
    fitted = calibration.fit(distances[:150], same[:150])
    nearest = distances[150:].argmin(axis=1)
    likely, right = distances[150:][range(150), nearest], same[150:][range(150), nearest]
    as_pairs, as_first = (
        reliability(of(likely), right).expected_error for of in (fitted.probability, fitted.first_probability)
    )
    assert as_first < 0.15 < as_pairs


# Nobody in a gallery


def test_a_threshold_is_fitted_on_the_smallest_distances_to_others():
    fitted = calibration.fit(DISTANCES, SAME)
    smallest = np.sort(np.where(SAME, np.inf, DISTANCES).min(axis=1))
    assert (fitted.searches, fitted.entries) == (40, 59)
    for count in (1, 2, 10):  # of 40 probes
        assert fitted.threshold(count / 40) == smallest[count - 1]
    assert fitted.threshold(0.049) == smallest[0] and fitted.threshold(0.999) == smallest[38]


def test_probes_of_pairs_need_not_have_equally_many():
    """The fewest entries are those of the gallery; of probes with more each subset of so many counts."""
    left = np.random.default_rng(4).random(DISTANCES.shape) < 0.8
    pairs = DISTANCES[left], SAME[left]
    fitted = calibration.fit(*pairs, probes=np.nonzero(left)[0])
    assert fitted.entries == (left & ~SAME).sum(axis=1).min()
    whole = calibration.fit(DISTANCES.ravel(), SAME.ravel(), probes=np.repeat(np.arange(40), 60))
    np.testing.assert_array_equal(whole.smallest, calibration.fit(DISTANCES, SAME).smallest)


def test_a_smaller_gallery_is_counted_over_all_its_draws():
    values = np.random.default_rng(5).random((3, 6))
    found = nearest_strangers.smallest(values.ravel(), np.repeat([0, 1, 2], 6), entries=4)
    every = [min(drawn) for row in values for drawn in itertools.combinations(row, 4)]
    distances, shares = found.curve
    np.testing.assert_allclose(shares, [np.mean(np.array(every) <= d) for d in distances], atol=1e-12)
    assert set(every) <= set(distances.tolist())


def test_a_larger_gallery_finds_no_more_strangers_than_asked_for():
    """Probes differ, some are near everybody: the bound holds and is not tight."""
    rng = np.random.default_rng(6)

    def strangers(entries):
        return rng.normal(0.6, 0.1, (4000, entries)) + rng.normal(0, 0.05, (4000, 1))

    fit = strangers(51)
    fit[:, 0] = 0.1
    fitted = calibration.fit(fit, np.arange(51)[None] == np.zeros((4000, 1)))
    smallest = strangers(500).min(axis=1)
    threshold = fitted.threshold(0.05, entries=500)
    assert 0.02 < np.mean(smallest <= threshold) < 0.055
    assert np.mean(smallest <= fitted.threshold(0.05)) > 0.2, "the fit's own size would find far more"
    assert fitted.threshold(0.05, entries=10) == fitted.threshold(0.05)


def test_many_points_are_thinned_to_thresholds_that_are_no_larger(monkeypatch):
    values, probes = np.random.default_rng(7).random(3000), np.arange(3000)
    whole = nearest_strangers.smallest(values, probes).curve
    monkeypatch.setattr(nearest_strangers, "POINTS", 100)
    thinned = nearest_strangers.smallest(values, probes).curve
    assert thinned.shape[1] <= 101
    assert {tuple(point) for point in thinned.T} <= {tuple(point) for point in whole.T}


def test_the_threshold_of_ties_is_below_all_of_them():
    fitted = calibration.fit([[0.1, 0.5], [0.1, 0.5]], [[True, False], [True, False]])
    assert fitted.threshold(0.5) == np.nextafter(0.5, 0)


def test_a_rate_that_the_probes_are_too_few_for_is_refused():
    fitted = calibration.fit(DISTANCES, SAME)
    with pytest.raises(ValueError, match=r"false_positive_rate=0\.01 needs 100 probes, it was fitted on 40"):
        fitted.threshold()
    with pytest.raises(ValueError, match=r"in a gallery of 590 entries, 0\.0051 in one of 59 needs 196 probes"):
        fitted.threshold(0.05, entries=590)
    for wrong in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="false_positive_rate must be in"):
            fitted.threshold(wrong)
    for wrong in ("x", None, [0.1]):
        with pytest.raises(ValueError, match="false_positive_rate must be in"):
            inspect.unwrap(type(fitted).threshold)(fitted, wrong)


def test_pairs_without_probes_have_no_gallery():
    fitted = calibration.fit(DISTANCES.ravel(), SAME.ravel())
    for call in (
        lambda: fitted.threshold(0.1),
        lambda: fitted.first_probability(0.1),
        lambda: fitted.probability(0.2, entries=5),
    ):
        with pytest.raises(ValueError, match="fitted on pairs without their probes"):
            call()
    for entries in (0, -3):
        with pytest.raises(ValueError, match="entries must be a whole number"):
            calibration.fit(DISTANCES, SAME).probability(0.2, entries=entries)


def test_a_probe_that_is_drawn_often_counts_once_for_the_rates():
    many = 60
    distances, same = people(4, 4)
    pairs = np.tile(distances.ravel(), many), np.tile(same.ravel(), many)
    probes, draws = np.tile(np.repeat(np.arange(4), 4), many), np.repeat(np.arange(many), 16)
    fitted, once = calibration.fit(*pairs, probes=probes, draws=draws), calibration.fit(distances, same)
    assert (fitted.searches, fitted.probes, fitted.entries) == (4 * many, 4, 3)
    with pytest.raises(ValueError, match=r"false_positive_rate=0\.01 needs 100 probes, it was fitted on 4"):
        fitted.threshold(0.01)
    assert fitted.threshold(0.25) == once.threshold(0.25)
    np.testing.assert_allclose(fitted.probability(GRID, entries=9), once.probability(GRID, entries=9))


def test_right_entries_are_counted_over_all_probes():
    """Of 30 probes 20 have no stranger: there is one right entry per probe all the same."""
    kept = SAME[:30] | (np.arange(30) < 10)[:, None]
    pairs = DISTANCES[:30][kept], SAME[:30][kept]
    fitted = calibration.fit(*pairs, probes=np.nonzero(kept)[0])
    assert (fitted.searches, fitted.probes, fitted.pairs[0]) == (30, 10, 30)
    found, moved = fitted.probability(0.45), fitted.probability(0.45, entries=100)
    ratio = (1 / 99) / (fitted.prior / (1 - fitted.prior))
    assert 0 < found < 1 and moved / (1 - moved) == pytest.approx(found / (1 - found) * ratio)


# Files, and what it belongs to


@pytest.mark.parametrize("method", calibration.METHODS)
def test_a_file_holds_all_of_it(tmp_path, method):
    about = {"network": "abc", **calibration.settings("auto", scales=(1, 2))}
    fitted = calibration.fit(DISTANCES, SAME, method=method, fitted_on=about)
    fitted.save(tmp_path / "deep" / "pairs.json")
    again = calibration.load(tmp_path / "deep" / "pairs.json")
    np.testing.assert_array_equal(again.probability(GRID, entries=7), fitted.probability(GRID, entries=7))
    np.testing.assert_array_equal(again.first_probability(GRID), fitted.first_probability(GRID))
    assert again.threshold(0.1) == fitted.threshold(0.1) and again.text == fitted.text
    again.check(**about, preprocessing="torch")


def test_other_files_are_refused(tmp_path):
    path, content = tmp_path / "pairs.json", json.loads(calibration.fit(DISTANCES, SAME).text)
    with pytest.raises(ValueError, match=r"path must be a file that Calibration\.save wrote, got '.*pairs\.json'"):
        calibration.load(path)
    for wrong in ("{", "[]", "{}", json.dumps(content | {"calibration": 1}), json.dumps(content | {"curve": []})):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"path must be a file that Calibration\.save wrote"):
            calibration.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"pairs": [0, 0]},
        {"pairs": [40, 0]},
        {"smallest": []},
        {"smallest": [[0.1, 0.3, 0.2], [0.2, 0.5, 1.0]]},
        {"smallest": [[0.1, 0.2], [0.5, 0.4]]},
        {"first": []},
        {"first": [[0.1, 0.2], [0.3, 0.8]]},
        {"curve": [[0.2, 0.1], [0.8, 0.3]]},
        {"curve": [[0.1, 0.2], [0.3, 0.8]]},
        {"curve": [[0.1, 0.2], [1.3, 0.8]]},
        {"curve": [[0.1, 0.2], [0.8, float("nan")]]},
        {"method": "logistic"},
        {"method": "platt"},
        {"entries": 0},
        {"probes": 0},
        {"probes": 41},
    ],
)
def test_damaged_content_is_refused(damage):
    content = json.loads(calibration.fit(DISTANCES, SAME).text)
    calibration.from_text(json.dumps(content))
    with pytest.raises(ValueError, match="text is no calibration"):
        calibration.from_text(json.dumps(content | damage))


def test_a_rising_logistic_curve_is_refused():
    content = json.loads(calibration.fit(DISTANCES, SAME, method="logistic").text)
    calibration.from_text(json.dumps(content))
    with pytest.raises(ValueError, match="curve must be a slope"):
        calibration.from_text(json.dumps(content | {"curve": [[3.0], [1.0]]}))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"network": "b"}, "belongs to network='a' and is asked for network='b'"),
        ({"l1": 0.3, "scales": (1, 2, 3)}, r"belongs to l1=0\.4 and is asked for l1=0\.3"),
        ({"scales": (1,)}, r"belongs to scales=\[1, 2, 3\] and is asked for scales=\[1\]"),
        (
            calibration.settings("auto", dictionary="joint"),
            "belongs to dictionary='image' and is asked for dictionary=",
        ),
        ({"l1": 0.4001}, r"is asked for l1=0\.4001"),
        ({"netwrok": "a"}, "netwrok: nothing of that name"),
        (calibration.settings("maxsim"), "belongs to distance='lasso' and is asked for distance='cosine'"),
    ],
)
def test_another_network_or_distance_is_refused(asked, message):
    fitted = calibration.fit(DISTANCES, SAME, fitted_on={"network": "a", **calibration.settings("homotopy")})
    with pytest.raises(ValueError, match=message):
        fitted.check(**asked)
    fitted.check(network=None, images_per_entry=1)


def test_settings_are_compared_but_for_order_and_rounding():
    fitted = calibration.fit(DISTANCES, SAME, fitted_on=calibration.settings("auto", scales=(3, 1, 2)))
    fitted.check(**calibration.settings("auto", l1=float(np.float32(0.4)), probe_weights=None))
    fitted.check(scales=(2, 3, 1), l1=np.float32(0.4))
    own = calibration.fit(DISTANCES, SAME, fitted_on={"site": "north"})
    with pytest.raises(ValueError, match="belongs to site='north' and is asked for site='south'"):
        own.check(site="south")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"probe_weights": "norms"}, "probe_weights must be one of"),
        ({"probe_weights": np.ones((2, 2))}, "probe_weights must be one of"),
        ({"pooling": "mean"}, "pooling must be one of"),
        ({"dictionary": "all"}, "dictionary must be one of"),
        ({"scales": (0,)}, "scales must be"),
        ({"l1": -1.0}, "l1 must be"),
    ],
)
def test_settings_of_no_distance_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(calibration.settings)("auto", **wrong)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DISTANCES, SAME[:, :3], {}), "distances and same must both be"),
        ((DISTANCES[None], SAME[None], {}), "distances and same must both be"),
        ((DISTANCES, SAME.astype(int), {}), "same must be boolean"),
        ((np.where(SAME, np.nan, DISTANCES), SAME, {}), "distances has 40 values that are NaN"),
        ((DISTANCES, np.zeros_like(SAME), {}), "same: all 2400 pairs are of two people"),
        ((DISTANCES, np.ones_like(SAME), {}), "same: all 2400 pairs are of one person"),
        ((DISTANCES, SAME, {"method": "platt"}), "method must be one of"),
        ((DISTANCES, SAME, {"probes": np.arange(40)}), "probes belongs to"),
        ((DISTANCES.ravel(), SAME.ravel(), {"probes": np.arange(40)}), r"probes must be \(2400,\) whole numbers"),
        ((DISTANCES, SAME, {"entries": 60}), "entries must be 1 to 59"),
        ((DISTANCES.ravel(), SAME.ravel(), {"entries": 5}), "entries is about a probe's gallery"),
        ((DISTANCES.ravel(), SAME.ravel(), {"draws": np.arange(2400)}), "draws is about a probe's gallery"),
        ((DISTANCES, SAME, {"draws": np.arange(40)}), r"draws must be \(2400,\) whole numbers"),
        (([[0.1, 0.2], [0.3]], SAME, {}), "distances and same must both be"),
        ((-DISTANCES, SAME, {"method": "logistic"}), "are they similarities"),
        ((-DISTANCES, SAME, {"method": "isotonic"}), "are they similarities"),
    ],
)
def test_bad_input_is_named(arguments, message):
    distances, same, options = arguments
    with pytest.raises(ValueError, match=message):
        calibration.fit(distances, same, **options)


@pytest.mark.parametrize("wrong", ["net", {1: "net"}, ["network"]])
def test_what_is_no_mapping_is_no_fitted_on(wrong):
    with pytest.raises(ValueError, match="fitted_on must be a dictionary"):
        inspect.unwrap(calibration.fit)(DISTANCES, SAME, fitted_on=wrong)


# Reliability


def test_the_expected_calibration_error_by_hand():
    """Bins of 0.25: (0.1, 0.2) of which none is so, (0.5, 0.6, 0.7) two, 1.0 one."""
    found = reliability([0.1, 0.2, 0.5, 0.6, 0.7, 1.0], [False, False, True, False, True, True], bins=4)
    np.testing.assert_allclose(found.probability, [0.15, 0.6, 1.0])
    np.testing.assert_allclose(found.share, [0, 2 / 3, 1])
    assert found.number.tolist() == [2, 3, 1]
    assert found.expected_error == pytest.approx((2 * 0.15 + 3 * (2 / 3 - 0.6) + 0) / 6)


def test_probabilities_that_are_right_have_no_error():
    rng = np.random.default_rng(8)
    probability = rng.random(100_000)
    assert reliability(probability, rng.random(100_000) < probability).expected_error < 0.01
    assert reliability(probability, rng.random(100_000) < probability**3).expected_error > 0.2


@pytest.mark.parametrize("wrong", [([], []), ([0.5], [True, False]), ([1.5], [True]), ([np.nan], [True])])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="probability"):
        reliability(*wrong)
    with pytest.raises(ValueError, match="bins must be"):
        reliability([0.5], [True], bins=0)
