"""The rivals, each against a slow loop written from the paper."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import extract, fcn
from dsr_jax.baselines import amc, euclidean, fusion, global_average, resizing, swm, windows

PARAMS = fcn.init(jax.random.key(0), width=0.05)
NETWORK = functools.partial(extract.maps, PARAMS, output_stride=16)


def noise(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


def colours(images):
    """A stand-in for a network: the mean colour of each 4 x 4 pixels."""
    return [
        image[: h * 4, : w * 4].reshape(h, 4, w, 4, 3).mean((1, 3))
        for image in images
        for h, w in [(image.shape[0] // 4, image.shape[1] // 4)]
    ]


# Distances of vectors


def test_euclidean_distances_of_all_pairs():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 7))
    expected = [[np.linalg.norm(a - b) for b in y[:3]] for a in x]
    np.testing.assert_allclose(euclidean.distances(x, y[:3]), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="one n, got shapes"):
        euclidean.distances(x, y[:, :3])


def test_the_resizing_model_compares_every_number_of_the_last_layer():
    maps = list(np.random.default_rng(0).random((5, 10, 3, 8)).astype(np.float32))
    expected = [[np.sqrt(((a - b) ** 2).sum()) for b in maps[2:]] for a in maps[:2]]
    np.testing.assert_allclose(resizing.distances(maps[:2], maps[2:]), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="must be of one size"):
        resizing.distances(maps[:2], [maps[0][:4]])


def test_pooled_features_rank_as_the_cosine_does():
    rng = np.random.default_rng(0)
    probes, gallery = [rng.random((3, 2, 8)), rng.random((5, 4, 8))], list(rng.random((6, 10, 3, 8)))
    found = global_average.distances(probes, gallery)
    x, y = (np.array([m.mean((0, 1)) / np.linalg.norm(m.mean((0, 1))) for m in side]) for side in (probes, gallery))
    np.testing.assert_allclose(found**2, 2 - 2 * x @ y.T, atol=1e-5)
    assert np.isfinite(global_average.distances([np.zeros((2, 2, 8))], gallery)).all()


# Windows


def test_windows_cover_the_image_and_the_last_is_flush():
    assert windows.starts(160, 96, 32) == [0, 32, 64] and windows.starts(100, 64, 32) == [0, 32, 36]
    (image,) = noise((20, 14))
    cut = windows.cut(image, (8, 6), (5, 3))
    places = [(i, j) for i in (0, 5, 10, 12) for j in (0, 3, 6, 8)]
    assert len(cut) == len(places)
    for window, (i, j) in zip(cut, places, strict=True):
        np.testing.assert_array_equal(window, image[i : i + 8, j : j + 6])
    for wrong in ((21, 6, 1), (8, 6, 0), (0, 6, 1)):
        with pytest.raises(ValueError, match="window must be 1 to"):
            windows.cut(image, wrong[:2], (wrong[2], 1))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))
def test_starts_go_from_one_end_to_the_other(length, window, stride):
    window = min(length, window)
    found = windows.starts(length, window, stride)
    assert found[0] == 0 and found[-1] == length - window and found == sorted(set(found))
    assert all(gap <= stride for gap in np.diff(found)) and found[:-1] == list(range(0, length - window, stride))


# Sliding window matching


def by_hand(network, probe, image, cell, stride):
    """Smallest root mean square distance of the probe's map to that of a window of its whole cells."""
    own = network([probe])[0]
    height, width = own.shape[0] * cell, own.shape[1] * cell
    tops = sorted({*range(0, image.shape[0] - height + 1, stride), image.shape[0] - height})
    lefts = sorted({*range(0, image.shape[1] - width + 1, stride), image.shape[1] - width})
    found = []
    for top in tops:
        for left in lefts:
            (window,) = network([image[top : top + height, left : left + width]])
            found.append(np.sqrt(((own - window) ** 2).sum() / own[..., 0].size))
    return min(found)


@pytest.mark.parametrize("stride", [4, 3, 16])
def test_sliding_windows_are_all_windows(stride, monkeypatch):
    probes = noise((12, 8), (8, 16), (13, 9), (24, 16))
    images = noise((24, 16), (28, 21), seed=1)
    maps = colours(probes)
    found = swm.distances(colours, maps, images, output_stride=4, stride=stride)
    expected = [[by_hand(colours, probe, image, 4, stride) for image in images] for probe in probes]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    monkeypatch.setattr(swm, "CHUNK", 1)
    np.testing.assert_array_equal(swm.distances(colours, maps, images, output_stride=4, stride=stride), found)


def test_sliding_windows_run_the_real_network():
    probes, images = noise((40, 33), (64, 48)), noise((64, 48), (96, 48), seed=1)
    found = swm.distances(NETWORK, NETWORK(probes), images, output_stride=16)
    expected = [[by_hand(NETWORK, probe, image, 16, 16) for image in images] for probe in probes]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_window_that_the_probe_was_cut_from_is_found():
    (image,) = noise((64, 48))
    found = swm.distances(
        NETWORK, NETWORK([image[16:48, 16:48], image]), [*noise((64, 48), seed=1), image], output_stride=16
    )
    scale = np.sqrt(np.mean(NETWORK([image])[0] ** 2) * 25)
    assert (found[:, 1] <= 2e-3 * scale).all() and (found[:, 0] > 10 * found[:, 1]).all()


def test_a_probe_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"probe_maps\[1\] is of 32 x 8 pixels.*gallery_images\[0\] of 24 x 16"):
        swm.distances(colours, colours(noise((8, 8), (32, 8))), noise((24, 16)), output_stride=4)


# Ambiguity-sensitive matching


def test_patches_are_squares_of_two_cells_with_half_overlap():
    assert len(amc.patches(*noise((320, 120)))) == 27 and len(amc.patches(noise((160, 64))[0], output_stride=16)) == 27
    assert [patch.shape for patch in amc.patches(noise((20, 40))[0], output_stride=16)] == [(20, 32, 3)] * 2
    vectors = amc.vectors(NETWORK(amc.patches(noise((64, 48))[0], output_stride=16)))
    assert vectors.shape == (6, 4 * NETWORK(noise((16, 16)))[0].size)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_an_image_below_one_patch_is_one_patch_with_its_borders_repeated():
    assert [patch.shape for patch in amc.patches(noise((17, 31))[0], output_stride=16)] == [(17, 31, 3)]
    a, b = np.random.default_rng(0).random((2, 3))
    found = amc.vectors([a.reshape(1, 1, 3), np.stack([a, b])[None], np.stack([a, b])[:, None]])
    expected = [np.concatenate(parts) for parts in ((a, a, a, a), (a, b, a, b), (a, a, b, b))]
    np.testing.assert_allclose(found, [v / np.linalg.norm(v) for v in expected], rtol=1e-6)
    assert not amc.vectors([np.zeros((2, 2, 3))]).any()


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_clarity_is_a_share(weight):
    found = amc.clarity(np.array(weight))
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()


def test_patches_of_more_cells_are_refused():
    with pytest.raises(ValueError, match="at most 2 x 2 positions"):
        amc.vectors([np.ones((2, 3, 4))])


def test_amc_is_the_weighted_mean_of_each_persons_own_errors():
    """Coding by scikit-learn over all patches, weights by the formula."""
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    probes = [amc.vectors(list(rng.random((n, 2, 2, 6)) ** 4)) for n in (3, 2)]
    gallery = [amc.vectors(list(rng.random((n, 2, 2, 6)) ** 4)) for n in (4, 3, 4, 2)]
    people = [0, 1, 0, 2]
    atoms, owners = np.concatenate(gallery), np.repeat(people, [4, 3, 4, 2])
    found = amc.distances(probes, gallery, identities=people, l1=0.2)
    for p, patches in enumerate(probes):
        errors, weights = [], []
        for x in patches.astype(np.float64):
            lasso = Lasso(alpha=0.2 / len(x), fit_intercept=False, tol=1e-12, max_iter=100000)
            codes = lasso.fit(atoms.T.astype(np.float64), x).coef_
            shares = np.array([np.abs(codes[owners == k]).sum() for k in range(3)])
            errors.append([((x - codes[owners == k] @ atoms[owners == k]) ** 2).sum() for k in range(3)])
            weights.append((3 * shares.max() / shares.sum() - 1) / 2)
        np.testing.assert_allclose(found[p], np.average(errors, axis=0, weights=weights), atol=1e-5)


def test_an_ambiguous_patch_counts_less_than_a_clear_one():
    """One patch is the first person's own, the other is equally like one of each person's."""
    own, *shared = np.eye(4, 8, dtype=np.float32)
    gallery = [np.stack([own, shared[0]]), shared[1][None], shared[2][None]]
    unclear = np.sum(shared, axis=0) / np.float32(np.sqrt(3))
    (found,) = amc.distances([np.stack([own, unclear])], gallery, l1=0.2)
    np.testing.assert_allclose(found, [0.04, 1, 1], atol=1e-5)  # as if the unclear patch were not there
    weights = amc.clarity(np.array([[0.6, 0.0, 0.0], [0.2, 0.2, 0.2], [0.4, 0.2, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(weights, [1, 0, 0.5, 0], atol=1e-12)


def test_nothing_coded_is_equally_far_and_one_person_is_no_ambiguity():
    x = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(amc.distances([x[:1]], [x[1:2], x[2:]]), [[1, 1]])
    assert amc.clarity(np.array([[0.3], [0.0]])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("identities", [[0, 2], [0], [1, 1]])
def test_identities_of_amc_must_be_numbers_from_zero(identities):
    x = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match=r"cover 0 \.\.\. K - 1"):
        amc.distances([x], [x[:1], x[1:]], identities=identities)


# Fusion


def test_the_fusion_does_not_depend_on_units_and_leaves_out_what_says_nothing():
    a, b = np.random.default_rng(0).random((2, 3, 5))
    found = fusion.distances(a, b)
    np.testing.assert_allclose(found, fusion.distances(7 * a + 3, b / 9 - 1), atol=1e-12)
    np.testing.assert_allclose(fusion.distances(a, b, weight=1.0).argsort(axis=1), a.argsort(axis=1))
    silent = fusion.distances(np.ones((3, 5)), b)
    np.testing.assert_array_equal(silent.argsort(axis=1), b.argsort(axis=1))
    assert np.isfinite(silent).all() and found.min() >= 0 and found.max() <= 1
    assert not fusion.distances(np.ones((3, 5)), np.zeros((3, 5))).any()
    for wrong, message in (((a, b[:2], 0.7), "both be"), ((a, b, 1.5), "weight must be")):
        with pytest.raises(ValueError, match=message):
            fusion.distances(*wrong[:2], weight=wrong[2])
