"""Spoiled probes: how much is changed, by what, and that it is the same again."""

import numpy as np
import pytest

from dsr_jax import match
from experiments.evaluation import comparison, features, looks, methods, showing, spoiling
from experiments.evaluation.pictures import Images
from experiments.settings import pictures
from tests.people import NETWORK, SIZE, drawn

RNG = np.random.default_rng(0)
PICTURES = [
    RNG.integers(0, 256, (90, 40, 3), np.uint8),
    RNG.integers(0, 256, (61, 33, 3), np.uint8),
    np.full((8, 5, 3), 7, np.uint8),
]
PROBES = Images(PICTURES, np.array([1, 1, 2]), np.zeros(3, int), ["a", "b", "c"])
ONE = PROBES.only(np.array([True, False, False]))


def test_the_flag_has_all_ways():
    assert pictures.Probes().spoil == "none"
    assert spoiling.spoiled(PROBES, "none", seed=0) is PROBES


@pytest.mark.parametrize("way", ["occluder", "occluder_masked", "coarse", "gap", "gap_masked"])
def test_size_stays_and_the_same_comes_again(way):
    once, again = (spoiling.spoiled(PROBES, way, seed=3).pictures for _ in range(2))
    for picture, spoiled, repeated in zip(PICTURES, once, again, strict=True):
        assert spoiled.shape == picture.shape and spoiled.dtype == np.uint8
        np.testing.assert_array_equal(spoiled, repeated)
    assert any(np.any(spoiled != picture) for picture, spoiled in zip(PICTURES, once, strict=True))


def test_an_occluder_is_a_box_of_another_person():
    """The two of one person are covered by the third picture alone, which is of one colour."""
    for picture, spoiled in zip(PICTURES[:2], spoiling.spoiled(PROBES, "occluder", seed=0).pictures[:2], strict=True):
        covered = np.all(spoiled == 7, axis=2)
        np.testing.assert_array_equal(spoiled[~covered], picture[~covered])
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        box = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all() and 0.18 < covered.mean() < 0.42
    with pytest.raises(ValueError, match="spoil=occluder"):
        spoiling.spoiled(PROBES.only(PROBES.identities == 1), "occluder", seed=0)


def test_a_gap_leaves_the_ends_and_coarse_keeps_the_mean():
    picture = PICTURES[0]
    gap, coarse = (spoiling.spoiled(ONE, way, seed=0).pictures[0] for way in ("gap", "coarse"))
    np.testing.assert_array_equal(gap[:30], picture[:30])
    np.testing.assert_array_equal(gap[60:], picture[60:])
    assert len(np.unique(gap[30:60].reshape(-1, 3), axis=0)) == 1
    assert abs(coarse.mean() - picture.mean()) < 3 and coarse.std() < 0.5 * picture.std()


@pytest.mark.parametrize("way", ["occluder", "gap"])
def test_masks_are_the_pixels_that_were_spoiled(way):
    plain, masked = (spoiling.spoiled(PROBES, name, seed=1) for name in (way, f"{way}_masked"))
    assert plain.shown is None
    for picture, spoiled, same, shown in zip(PICTURES, masked.pictures, plain.pictures, masked.shown, strict=True):
        np.testing.assert_array_equal(spoiled, same)
        np.testing.assert_array_equal(spoiled[shown], picture[shown])
        assert 0.45 < shown.mean() < 0.85
    hidden = ~masked.shown[0]  # of a picture of noise nearly every pixel is another one
    assert np.mean(np.any(masked.pictures[0] != PICTURES[0], axis=2)[hidden]) > 0.9


def test_a_mask_in_a_mirror_and_in_another_size():
    """The mask of a map is the same in every size, and mirrored with the picture."""
    masked = spoiling.spoiled(PROBES, "occluder_masked", seed=1).only(np.array([True, False, False]))
    plain = features.visible(masked.shown[0], (9, 4, 3))
    assert 0 < plain.mean() < 1 and np.any(plain != plain[:, ::-1])
    for look in (looks.Look(1.5), looks.Look(1.5, mirrored=True)):
        seen = looks.seen(masked, look, 8)
        assert seen.pictures[0].shape != PICTURES[0].shape
        expected = plain[:, ::-1] if look.mirrored else plain
        np.testing.assert_array_equal(features.visible(seen.shown[0], (9, 4, 3)), expected)


def test_visible_positions_are_those_at_least_half_shown():
    shown = np.ones((32, 48), bool)
    shown[:16, 20:48] = False  # of the second cell three quarters, of the third all
    shown[16:24, :16] = False  # half of the cell
    np.testing.assert_array_equal(features.visible(shown, (2, 3, 5)), [[True, False, False], [True, True, True]])


@pytest.mark.parametrize("name", ["maxsim_single", "dsr_single", "global_average"])
def test_methods_do_not_see_what_is_masked(name):
    """Distances of a gap that is masked are those of maps without its positions, and others without the masks."""
    probes, gallery = drawn([(96, 64)] * 2, [0, 1], [0, 0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 1])
    method = methods.named(name, methods.Options())
    found = {}
    for way in ("gap", "gap_masked"):
        seen = features.Features(NETWORK, spoiling.spoiled(probes, way, seed=0), gallery, range(3))
        found[way] = method.compare(seen, np.arange(2), [[0], [1], [2]])
        if way == "gap_masked":
            masks = [np.repeat([True, True, False, False, True, True], 4).reshape(6, 4)] * 2
            np.testing.assert_array_equal(seen.masks[0], masks)
            shown = [np.where(mask[..., None], values, 0) for mask, values in zip(masks, seen.probe, strict=True)]
            if name != "global_average":
                how = {"coder": "maxsim"} if name == "maxsim_single" else {}
                expected = match.distances(shown, seen.gallery, scales=(1,), **how).distance
            else:
                means = [values[mask].mean(axis=0) for mask, values in zip(masks, seen.probe, strict=True)]
                others = [values.mean(axis=(0, 1)) for values in seen.gallery]
                own, others = (np.stack(side) / np.linalg.norm(side, axis=1, keepdims=True) for side in (means, others))
                expected = np.sqrt(2 - 2 * own @ others.T)  # of unit vectors
    np.testing.assert_allclose(found["gap_masked"], expected, atol=2e-6)
    assert np.abs(found["gap_masked"] - found["gap"]).max() > 1e-4


def test_a_masked_probe_is_rebuilt_without_what_is_masked():
    """The distance under a reconstruction on the page is that of the table."""
    probes, gallery = drawn([(96, 64)] * 2, [0, 1], [0, 0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    masked = spoiling.spoiled(probes, "gap_masked", seed=0)
    method = methods.named("dsr_single", methods.Options())
    trials = comparison.draws(masked, gallery, shots=1, trials=1, camera_rule="cross", seed=0)
    sides = features.Features(NETWORK, masked, gallery, range(2))
    distances = comparison.distances(method, sides, trials, label="", progress=False, identities=masked.identities)
    result = comparison.Result("", method, 1, trials, distances, masked.identities)
    right, wrong = showing.reconstructed(result, NETWORK, 1, masked, gallery, l1=0.4)
    assert right.right and not wrong.right
    np.testing.assert_allclose([right.distance, wrong.distance], distances[0][1][[1, 0]], atol=1e-5)
