"""Intervals of verification figures against literally repeated pairs, and coverage."""

import math

import numpy as np
import pytest

from dsr_jax.evaluation import intervals, verification
from dsr_jax.evaluation import verification_intervals as bootstrap
from dsr_jax.evaluation.candidates import Labels

RATES = (0.02, 0.1, 0.5)


def scene(seed, people=12, shift=1.2, spread=1.0):
    """Two probes of each person against everybody, people differing in how hard they are; values with ties."""
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), 2)
    distances = np.round(rng.normal(shift, 1.0, (2 * people, people)), 1).astype(np.float32)
    distances[np.arange(2 * people), identities] = np.round(
        rng.normal(0, 0.5, 2 * people) + spread * rng.normal(size=people)[identities], 1
    )
    return verification.pairs(distances, Labels(identities, np.arange(people))), identities


def population(pairs):
    """So many pairs of either kind, each of other people, drawn as in `scene`."""
    rng = np.random.default_rng(0)
    same = np.round(rng.normal(0, 0.5, pairs) + rng.normal(size=pairs), 1)
    different = np.round(rng.normal(1.2, 1.0, pairs), 1)
    return verification.Pairs(same, different, np.zeros(pairs, np.int32), np.zeros(pairs, np.int32))


def repeated(pairs, identities, drawn):
    """The pairs of identities drawn with repetition, in full."""
    people = np.unique(identities)
    at = [np.flatnonzero(identities == person) for person, n in zip(people, drawn, strict=True) for _ in range(int(n))]
    same = [pairs.same[pairs.same_probe == probe] for probes in at for probe in probes]
    different = [pairs.different[pairs.different_probe == probe] for probes in at for probe in probes]
    nobody = np.zeros(0, np.int32)
    return verification.Pairs(np.concatenate(same), np.concatenate(different), nobody, nobody)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_a_sample_is_the_roc_of_the_repeated_pairs(monkeypatch, chunk):
    monkeypatch.setattr(bootstrap, "_CHUNK", chunk)
    pairs, identities = scene(0)
    for seed in range(30):
        drawn = intervals.resample(identities, samples=1, seed=seed).counts[0]
        curve = verification.roc(repeated(pairs, identities, drawn))
        found = bootstrap.bootstrap_intervals(pairs, identities, fprs=RATES, samples=1, seed=seed)
        for fpr in RATES:
            assert found[f"TPR@{fpr:g}"].low == pytest.approx(curve.true_positive_rate_at(fpr), abs=1e-14)
        heaviest = np.max(np.diff(curve.true_positive_rate))
        assert abs(found["EER"].low - curve.equal_error_rate) <= heaviest


def test_figures_are_those_of_the_roc_and_ends_quantiles_of_the_samples():
    pairs, identities = scene(1)
    options = {"fprs": RATES, "samples": 60, "seed": 3}
    found = bootstrap.bootstrap_intervals(pairs, identities, **options)
    counts = intervals.resample(identities, samples=60, seed=3).counts
    curves = [verification.roc(repeated(pairs, identities, drawn)) for drawn in counts]
    assert {name: interval.value for name, interval in found.items()} == verification.roc(pairs).figures(RATES)
    for fpr in RATES:
        samples = [curve.true_positive_rate_at(fpr) for curve in curves]
        assert found[f"TPR@{fpr:g}"][1:] == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=1e-12)


def test_a_coarse_grid_is_low_by_at_most_a_cell():
    rng = np.random.default_rng(2)
    identities = np.arange(300)
    distances = rng.normal(1.5, 1, (300, 40))
    distances[:, 0] -= 1.5
    answers = np.append(0, np.arange(1000, 1039))
    pairs = verification.concatenate(
        [([p], verification.pairs(distances[p : p + 1], Labels([0], answers))) for p in range(300)]
    )
    exact, coarse = (
        bootstrap.bootstrap_intervals(pairs, identities, fprs=RATES, samples=50, grid=grid) for grid in (2000, 30)
    )
    for name in exact:
        for fine, rough in zip(exact[name], coarse[name], strict=True):
            assert abs(fine - rough) <= 2 / 30
            assert name == "EER" or rough <= fine
    assert exact["EER"].value == coarse["EER"].value


@pytest.mark.slow
def test_interval_covers_the_truth_as_often_as_it_says():
    truth = verification.roc(population(60_000)).equal_error_rate
    covered = 0
    for seed in range(150):
        pairs, identities = scene(seed, people=40)
        found = bootstrap.bootstrap_intervals(pairs, identities, samples=200, seed=seed)["EER"]
        covered += found.low <= truth <= found.high
    assert 0.86 <= covered / 150 <= 0.99


def test_probes_of_one_person_are_not_counted_as_independent():
    pairs, identities = scene(5, people=40, spread=2.0)
    people, probes = (
        bootstrap.bootstrap_intervals(pairs, ids)["EER"] for ids in (identities, np.arange(len(identities)))
    )
    assert people.high - people.low > 1.15 * (probes.high - probes.low)


def test_too_few_people_have_no_interval():
    one = verification.pairs([[0.1, 0.2], [0.3, 0.1]], Labels([1, 1], [1, 2]))
    found = bootstrap.bootstrap_intervals(one, [1, 1], fprs=[0.5])
    assert found["EER"].value == 0.5 and math.isnan(found["EER"].low) and math.isnan(found["TPR@0.5"].high)
    # The second person is absent from the gallery: a sample that draws only this one has no same pair.
    absent = verification.pairs([[0.1, 0.2], [0.3, 0.1]], Labels([1, 3], [1, 2]))
    found = bootstrap.bootstrap_intervals(absent, [1, 3], fprs=[0.5])
    assert found["TPR@0.5"].value == 1.0 and math.isnan(found["TPR@0.5"].low) and math.isnan(found["EER"].low)


def test_bad_input_is_named():
    pairs, identities = scene(0)
    with pytest.raises(ValueError, match=r"identities has shape \(2,\).*24 probes"):
        bootstrap.bootstrap_intervals(pairs, [1, 2])
    with pytest.raises(ValueError, match="fpr is 2"):
        bootstrap.bootstrap_intervals(pairs, identities, fprs=[2.0])
    with pytest.raises(ValueError, match="samples is 0"):
        bootstrap.bootstrap_intervals(pairs, identities, samples=0)
    with pytest.raises(ValueError, match="grid is 0"):
        bootstrap.bootstrap_intervals(pairs, identities, grid=0)
    with pytest.raises(ValueError, match="none of 0 is of one person"):
        bootstrap.bootstrap_intervals(verification.pairs([[0.1]], Labels([1], [-1])), [1])
