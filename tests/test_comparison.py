"""Draws, distances and scores of a comparison, each draw against itself alone."""

import numpy as np
import pytest

from dsr_jax import metrics
from experiments.evaluation import comparison, features, methods
from tests.people import GALLERY, QUERIES, maps

SIDES = features.Given(maps(3, 0, (2, 3)), maps(6, 1))


def nearest_first(sides, probes, entries):
    """A stand-in method: the mean of given distances."""
    each = np.random.default_rng(9).random((3, 6))
    return np.stack([each[probes][:, entry].mean(axis=1) for entry in entries], axis=1)


def by_number(sides, probes, entries):
    """A stand-in for methods that look at everybody: how many entries there are decides."""
    return nearest_first(sides, probes, entries) / len(entries)


def compared(method, trials):
    matrices = comparison.distances(method, SIDES, trials, label="", progress=False)
    return comparison.Result("", method, 1, trials, matrices, QUERIES.identities)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("shots", [1, 2])
def test_distances_and_scores_are_those_of_each_draw_alone(shots, together):
    protocol = {"shots": shots, "trials": 4, "camera_rule": "cross", "seed": 3}
    trials = comparison.draws(QUERIES, GALLERY, **protocol)
    compare = by_number if together else nearest_first
    found = compared(methods.Method(compare, together), trials)
    for trial, matrix in zip(trials, found.distances, strict=True):
        alone = compare(SIDES, trial.probes, [list(images) for images in trial.draw.images])
        np.testing.assert_array_equal(matrix, alone)
        expected = metrics.ranks(alone, QUERIES.identities[trial.probes], trial.draw.identities, camera_rule="any")
        np.testing.assert_array_equal(found.scores[trial.number].first_hit[trial.probes], expected.first_hit)


def test_single_images_are_matched_once_however_many_draws_take_them():
    calls = []

    def counted(sides, probes, entries):
        calls.append(len(entries))
        return nearest_first(sides, probes, entries)

    trials = comparison.draws(QUERIES, GALLERY, shots=1, trials=5, camera_rule="cross", seed=0)
    compared(methods.Method(counted), trials)
    assert len(calls) == 2  # once per camera of the probes
    calls.clear()
    compared(methods.Method(counted, together=True), trials)
    assert len(calls) == len(trials)


@pytest.mark.parametrize("name", ["dsr_single", "global_average", "joint_single", "joint_authors"])
def test_draws_of_real_methods_do_not_depend_on_each_other(name):
    trials = comparison.draws(QUERIES, GALLERY, shots=1, trials=3, camera_rule="cross", seed=0)
    method = methods.METHODS[name](methods.Options())
    for trial, matrix in zip(trials, compared(method, trials).distances, strict=True):
        np.testing.assert_allclose(compared(method, [trial]).distances[0], matrix, atol=1e-6)


def test_figures_are_means_over_trials_then_over_probes():
    trials = comparison.draws(QUERIES, GALLERY, shots=1, trials=6, camera_rule="cross", seed=0)
    found = compared(methods.Method(nearest_first), trials)
    hits = np.mean([scores.first_hit < 1 for scores in found.scores], axis=0)
    np.testing.assert_allclose(found.per_probe["rank1"], 100 * hits)
    assert found.figures["rank1"].value == pytest.approx(100 * hits.mean())
    assert found.per_probe["mAP"] == pytest.approx(found.per_probe["mINP"])  # one entry per person: one right answer


def test_pairs_are_all_probes_with_all_entries_of_all_draws():
    trials = comparison.draws(QUERIES, GALLERY, shots=1, trials=3, camera_rule="cross", seed=0)
    pairs = compared(methods.Method(nearest_first), trials).pairs
    assert len(pairs.same) + len(pairs.different) == sum(t.probes.size * t.draw.identities.size for t in trials)
    assert len(pairs.same) == sum(np.isin(QUERIES.identities[t.probes], t.draw.identities).sum() for t in trials)


def test_short_and_absent_identities_are_told_once():
    protocol = {"shots": 2, "trials": 3, "camera_rule": "cross", "seed": 0}
    lines = comparison.shortages(comparison.draws(QUERIES, GALLERY, **protocol), shots=2)
    assert lines == [
        "2 shots for probes of camera 0: 2 identities have fewer images: 2, 3",
        "2 shots for probes of camera 2: 1 identities have fewer images: 3",
    ]
    seen_from_1 = QUERIES._replace(cameras=np.array([1, 1, 1]))
    lines = comparison.shortages(comparison.draws(seen_from_1, GALLERY, **protocol), shots=2)
    assert lines[1] == "2 shots for probes of camera 1: 2 gallery identities have none: 1, 3"
