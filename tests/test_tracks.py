"""Re-association of lost tracks: the assignment, what of it is proven, and stand-ins for a tracker's crops."""

import itertools

import numpy as np
import pytest

from dsr_jax import calibration, match
from dsr_jax.adapters import tracks


def people(count: int, crops: int = 3, seed: int = 0) -> list[list[np.ndarray]]:
    """Maps of some crops of each person, whole ones first, then lower halves."""
    rng = np.random.default_rng(seed)
    whole = rng.random((count, 6, 3, 32)) ** 3
    return [[m[3 * (i > 1) :] + 0.2 * rng.random((6 - 3 * (i > 1), 3, 32)) for i in range(crops)] for m in whole]


def test_new_tracks_continue_lost_ones_or_are_new():
    ann, bob, cy = people(3)
    found = tracks.reassociate({"a": ann[:2], 7: bob[:2]}, {12: bob[2], 13: [cy[2]], 14: ann[2:]}, threshold=0.4)
    assert found.links == {12: 7, 13: None, 14: "a"} and found.threshold == 0.4
    assert found.certified == {12: True, 13: True, 14: True} and found.probability is None


def test_distance_is_the_mean_over_crops_to_all_crops_of_a_lost_track():
    ann, bob, cy = people(3)
    found = tracks.reassociate({0: ann[:2], 1: bob[:1]}, {2: ann[1:], 3: cy[:3]}, threshold=0.4)
    single = match.distances([*ann[1:], *cy], [*ann[:2], *bob[:1]], identities=[0, 0, 1])
    for name in ("distance", "lower", "upper"):
        expected = [getattr(single, name)[rows].mean(axis=0, dtype=float) for rows in (slice(2), slice(2, 5))]
        assert np.allclose(getattr(found, name), expected, atol=1e-7)


def test_one_lost_track_is_continued_once():
    ann, bob, _ = people(3)
    found = tracks.reassociate({7: ann[:2]}, {1: ann[:1], 2: ann[2], 3: bob[0]}, threshold=0.9)
    assert [track for track, lost in found.links.items() if lost == 7] == [int(found.distance.argmin()) + 1]


def test_links_that_are_not_allowed():
    ann, bob, _ = people(3)
    lost, new = {7: ann[:2], 8: bob[:2]}, {12: ann[2]}
    found = tracks.reassociate(lost, new, threshold=0.4, allowed=np.array([[False, True]]))
    assert found.links == {12: None} and found.certified == {12: True}


@pytest.mark.parametrize("lost, new", [({}, {1: 0}), ({1: 0}, {}), ({}, {})])
def test_nothing_lost_or_nothing_new(lost, new):
    (ann,) = people(1)
    found = tracks.reassociate(dict.fromkeys(lost, ann), dict.fromkeys(new, ann), threshold=0.4)
    assert found.links == dict.fromkeys(new) and found.certified == dict.fromkeys(new, True)
    assert found.distance.shape == (len(new), len(lost))


def best(distance: np.ndarray, threshold: float, allowed: np.ndarray) -> set[tuple[int, ...]]:
    """The assignments of the smallest sum, by trying all."""
    count, lost = distance.shape
    sums: dict[tuple[int, ...], float] = {}
    for numbers in itertools.product(range(-1, lost), repeat=count):
        taken = [(i, j) for i, j in enumerate(numbers) if j >= 0]
        if len({j for _, j in taken}) == len(taken) and all(allowed[p] and distance[p] <= threshold for p in taken):
            sums[numbers] = sum(distance[p] - threshold for p in taken)
    return {numbers for numbers, value in sums.items() if value <= min(sums.values()) + 1e-9}


@pytest.mark.parametrize("width", [0.0, 0.02, 0.2])
def test_assignment_is_the_best_and_certified_where_intervals_prove_it(width):
    rng = np.random.default_rng(0)
    proven = other = 0
    for _ in range(60):
        shape = tuple(rng.integers(1, 4, 2))
        distance, allowed = rng.random(shape), rng.random(shape) < 0.8
        lower, upper = distance - width * rng.random(shape), distance + width * rng.random(shape)
        numbers, certified = tracks.assign(distance, lower, upper, threshold=0.6, allowed=allowed)
        assert tuple(numbers) in best(distance, 0.6, allowed)
        changed = np.zeros(shape[0], bool)
        for _ in range(30):
            exact = np.where(rng.random(shape) < 0.5, lower, upper)
            changed |= [all(numbers[i] != a[i] for a in best(exact, 0.6, allowed)) for i in range(shape[0])]
        assert not (certified & changed).any()
        proven, other = proven + certified.sum(), other + (~certified).sum()
    assert proven and (other > 0) == (width > 0)


def test_tracks_that_do_not_compete_are_certified_apart():
    distance = np.array([[0.1, 0.9], [0.9, 0.5]])
    upper = distance + np.array([[0.01, 0.01], [0.01, 0.2]])
    numbers, certified = tracks.assign(distance, distance, upper, threshold=0.6, allowed=np.ones((2, 2), bool))
    assert numbers.tolist() == [0, 1] and certified.tolist() == [True, False]


def test_distance_of_just_the_threshold_is_a_link():
    at = np.array([[0.25]])
    numbers, certified = tracks.assign(at, at, at, threshold=0.25, allowed=np.ones((1, 1), bool))
    assert numbers.tolist() == [0] and certified.tolist() == [True]


def test_distances_without_intervals_certify_nothing():
    ann, bob, cy = people(3)
    found = tracks.reassociate({7: ann[:2], 9: bob[:2]}, {12: bob[2], 13: cy[2]}, threshold=0.5, coder="ridge")
    assert found.links[12] == 9 and found.certified == {12: False, 13: False}


def test_wide_intervals_certify_nothing():
    ann, bob, cy = people(3)
    found = tracks.reassociate({7: ann[:2], 9: bob[:2]}, {12: bob[2], 13: cy[2]}, threshold=0.4, tol=0.1)
    assert (found.upper - found.lower).max() > 0.1 and found.certified == {12: False, 13: False}


def fitted(**settings):
    """A calibration on single crops of labelled people."""
    persons = people(20, seed=1)
    distance = match.distances([p[2] for p in persons], [p[0] for p in persons], **settings).distance
    return calibration.fit(distance, np.eye(20, dtype=bool), fitted_on=calibration.settings("auto", **settings))


def test_calibration_gives_threshold_and_probability():
    known = fitted()
    ann, bob, cy = people(3)
    lost, new = {7: ann[:1], 9: bob[:1]}, {12: bob[2], 13: cy[2]}
    found = tracks.reassociate(lost, new, calibration=known, false_positive_rate=0.1)
    assert found.threshold == known.threshold(0.1, entries=2) and found.links == {12: 9, 13: None}
    assert (found.probability == known.probability(found.distance, entries=2)).all()
    assert found.probability[0, 1] > 0.9 and found.probability[1].max() < 0.1
    assert tracks.reassociate(lost, new, calibration=known, threshold=0.01).links == {12: None, 13: None}
    assert tracks.reassociate({}, new, calibration=known, false_positive_rate=0.1).probability.shape == (2, 0)


def test_calibration_of_other_distances_is_refused():
    ann, bob, _ = people(3)
    with pytest.raises(ValueError, match="calibration"):
        tracks.reassociate({7: ann}, {12: bob}, calibration=fitted(l1=0.2), false_positive_rate=0.1)


@pytest.mark.parametrize(
    "argument, given",
    [
        ("threshold", {"threshold": None}),
        ("threshold", {"threshold": float("nan")}),
        ("threshold", {"threshold": float("inf")}),
        ("allowed", {"allowed": np.ones((2, 1), bool)}),
        ("allowed", {"allowed": np.ones((1, 2))}),
        ("scales", {"scales": (0,)}),
        ("l1", {"l1": 0}),
        (r"lost\[7\]", {"lost": {7: np.ones((4, 32)), 9: np.ones((4, 2, 32))}}),
        ("lost.*None", {"lost": {None: np.ones((4, 2, 32))}}),
        ("new", {"new": [np.ones((4, 2, 32))]}),
        (r"new\['x'\]\[1\]", {"new": {"x": [np.ones((4, 2, 32)), np.full((4, 2, 32), np.nan)]}}),
    ],
)
def test_wrong_argument_is_named(argument, given):
    ann, bob, cy = people(3)
    with pytest.raises(ValueError, match=argument):
        tracks.reassociate(**({"lost": {7: ann, 9: bob}, "new": {12: cy}, "threshold": 0.4} | given))
