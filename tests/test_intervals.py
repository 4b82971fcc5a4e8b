"""Bootstrap intervals and paired tests against literally repeated clusters, coverage and uniform p-values."""

import math

import numpy as np
import pytest

from dsr_jax.evaluation import intervals


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
    interval = intervals.bootstrap_interval(values, identities, samples=200, seed=4)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(11)
    identities = np.repeat(np.arange(60), 3)
    covered = 0
    for trial in range(300):
        person = rng.random(60) < 0.5  # a person is easy or hard for all her probes
        interval = intervals.bootstrap_interval(person[identities], identities, samples=300, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_probes_of_one_person_are_not_counted_as_independent():
    person = np.random.default_rng(0).random(50) < 0.4
    repeated = np.repeat(np.arange(50), 8)
    once = intervals.bootstrap_interval(person, np.arange(50), seed=2)
    eight = intervals.bootstrap_interval(person[repeated], repeated, seed=2)
    naive = intervals.bootstrap_interval(person[repeated], np.arange(400), seed=2)
    assert (eight.low, eight.high) == pytest.approx((once.low, once.high))
    assert (naive.high - naive.low) < 0.5 * (eight.high - eight.low)


def test_unanswerable_probes_are_left_out_of_the_interval():
    values, identities = np.array([1.0, np.nan, 0.0, 1.0]), np.array([1, 1, 2, 3])
    kept = ~np.isnan(values)
    assert intervals.bootstrap_interval(values, identities) == intervals.bootstrap_interval(
        values[kept], identities[kept]
    )


def test_a_single_identity_has_no_interval():
    interval = intervals.bootstrap_interval([1.0, 0.0], [4, 4])
    assert interval.value == 0.5 and math.isnan(interval.low) and math.isnan(interval.high)
    assert math.isnan(intervals.paired_difference([1.0, 0.0], [0.0, 0.0], [4, 4]).p_value)


def test_bad_bootstrap_input_is_named():
    with pytest.raises(ValueError, match="identities"):
        intervals.bootstrap_interval([1.0, 0.0], [1])
    with pytest.raises(ValueError, match="none of 1 values"):
        intervals.bootstrap_interval([np.nan], [1])
    with pytest.raises(ValueError, match="same probes"):
        intervals.paired_difference([1.0], [1.0, 0.0], [1, 2])


def test_paired_difference_is_the_bootstrap_of_the_difference():
    rng = np.random.default_rng(7)
    identities = np.repeat(np.arange(30), 2)
    a, b = rng.random(60), rng.random(60)
    paired = intervals.paired_difference(a, b, identities, seed=9)
    alone = intervals.bootstrap_interval(a - b, identities, seed=9)
    assert paired[:3] == alone
    swapped = intervals.paired_difference(b, a, identities, seed=9)
    assert swapped.value == pytest.approx(-paired.value)
    assert swapped.p_value == paired.p_value


def test_paired_p_value_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(13)
    identities = np.arange(80)
    common = rng.normal(size=(200, 80))
    noise = rng.normal(size=(2, 200, 80)) * 0.3
    p_values = [
        intervals.paired_difference(c + n[0], c + n[1], identities, samples=199, seed=i).p_value
        for i, (c, n) in enumerate(zip(common, noise.swapaxes(0, 1), strict=True))
    ]
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.11
    # 0.2 is invisible beside the spread of 1 between people, and plain once the people are paired.
    better = intervals.paired_difference(common[0] + noise[0, 0] + 0.2, common[0] + noise[1, 0], identities)
    assert better.p_value < 0.01 and better.low > 0
    assert intervals.paired_difference([1.0] * 5, [0.0] * 5, range(5), samples=199).p_value == pytest.approx(2 / 200)
    assert intervals.paired_difference(common[0], common[0], identities).p_value == 1.0


def test_resampling_draws_as_many_identities_as_there_are():
    cluster, counts = intervals.resample([30, 10, 10, 20], samples=50, seed=1)
    assert cluster.tolist() == [2, 0, 0, 1]
    assert counts.shape == (50, 3) and set(counts.sum(axis=1)) == {3.0} and counts.min() == 0
    np.testing.assert_array_equal(counts, intervals.resample([7, 8, 9], samples=50, seed=1).counts)
    assert np.isnan(intervals.resample([4, 4], samples=2, seed=0).counts).all()
    with pytest.raises(ValueError, match="samples is 0"):
        intervals.resample([1, 2], samples=0, seed=0)


def test_one_sample_without_a_figure_leaves_no_interval():
    for found in (intervals.interval(1.0, [0.0, np.nan]), intervals.difference(1.0, [0.0, np.nan])):
        assert found.value == 1.0 and all(math.isnan(end) for end in found[1:])


def test_p_value_counts_the_samples_beyond_no_difference():
    assert intervals.difference(0.5, [-1.0, 1.0, 2.0, 3.0]).p_value == 2 * (1 + 1) / (4 + 1)
    assert intervals.difference(-0.5, [-1.0, -1.0, -2.0, -3.0]).p_value == 2 * (0 + 1) / (4 + 1)
    assert intervals.difference(0.0, [0.0, 0.0]).p_value == 1.0
