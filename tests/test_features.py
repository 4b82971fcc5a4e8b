"""What a network makes of both sides: each kind computed when it is asked for, once, for what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import fcn, osnet
from dsr_jax.baselines import amc, swm
from experiments.evaluation import comparison, features
from tests.people import GALLERY, NETWORK, QUERIES, SHAPE, SIZE, drawn


def prepared(probes, gallery, used, **options):
    return features.Features(NETWORK, probes, gallery, used, **options)


@pytest.mark.slow
def test_maps_are_those_of_single_pictures():
    probes, gallery = drawn([(40, 33), (33, 48)], [0, 1], [0, 0]), drawn([SIZE], [0], [1])
    sides = prepared(probes, gallery, [0])
    assert [m.shape[:2] for m in sides.probe] == [(2, 2), (2, 3)] and sides.gallery[0].shape[:2] == SHAPE
    assert [m.shape[:2] for m in sides.resized] == [SHAPE, SHAPE]
    alone, _ = fcn.apply(NETWORK.params, fcn.preprocess(probes.pictures[1][None], "torch"), output_stride=16)
    np.testing.assert_allclose(sides.probe[1], alone[0], atol=1e-4)


def test_each_kind_is_computed_once_and_only_when_asked_for(monkeypatch):
    seen = []
    original = features.Network.maps

    def counted(self, images, **options):
        seen.append(len(images))
        return original(self, images, **options)

    monkeypatch.setattr(features.Network, "maps", counted)
    sides = prepared(drawn([(40, 33)] * 3, [0, 1, 2], [0] * 3), drawn([SIZE] * 2, [0, 1], [1, 1]), [0, 1])
    assert seen == []
    assert sides.probe is sides.probe and seen == [3]
    assert sides.gallery is sides.gallery and seen == [3, 2]
    for kind in ("resized", "windows", "patches"):
        first, calls = getattr(sides, kind), len(seen)
        assert getattr(sides, kind) is first and len(seen) == calls > 2


def test_own_vectors_are_those_of_the_same_maps():
    network = features.Network(osnet.init(jax.random.key(0), width=0.0625), "torch", 16, SIZE)
    probes, gallery = drawn([(40, 33), (33, 48)], [0, 1], [0, 0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 1])
    sides = features.Features(network, probes, gallery, [2, 0])

    def alone(values):
        """The network's vector of one map, unpadded."""
        return osnet.vector(network.params, jnp.asarray(values)[None], jnp.array([values.shape[:2]]))[0]

    own, others = sides.vectors
    resized, same = sides.resized_vectors
    assert own.shape == (2, 512) and same is others and not others[1].any()
    for p in (0, 1):
        np.testing.assert_allclose(own[p], alone(sides.probe[p]), rtol=2e-6, atol=1e-4)
        np.testing.assert_allclose(resized[p], alone(sides.resized[p]), rtol=2e-6, atol=1e-4)
    np.testing.assert_allclose(others[2], alone(sides.gallery[2]), rtol=2e-6, atol=1e-4)
    known, other = sides.gallery, sides.with_probes(probes.only(np.array([False, True])))
    np.testing.assert_allclose(other.vectors[0], own[1:], rtol=2e-6, atol=1e-4)
    assert other.gallery is known


def test_own_vectors_of_zeros_are_named():
    params = osnet.init(jax.random.key(0), width=0.0625)
    params["vector_norm"]["bias"] -= 1e6  # the last ReLU leaves nothing
    silent = features.Network(params, "torch", 16, SIZE)
    sides = features.Features(silent, drawn([(40, 33)], [0], [0]), drawn([SIZE], [0], [1]), [0])
    with pytest.raises(ValueError, match=r"own vectors of 0\.png are zero"):
        _ = sides.vectors


def test_only_gallery_images_that_are_drawn_are_looked_at():
    used = comparison.used(comparison.draws(QUERIES, GALLERY, shots=1, trials=1, camera_rule="cross", seed=0))
    assert {int(i) for i in GALLERY.identities[used]} == {1, 2, 3} and len(used) <= 5
    sides = prepared(drawn([(40, 33)], [0], [0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 1]), [2])
    assert [m.size > 0 for m in sides.gallery] == [False, False, True]
    assert np.isfinite(sides.windows).tolist() == [[False, False, True]]
    assert [len(vectors) > 0 for vectors in sides.patches[1]] == [False, False, True]


def test_the_order_in_which_images_were_drawn_does_not_matter():
    probes, gallery = drawn([(40, 33)], [0], [0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 1])
    found, expected = prepared(probes, gallery, [2, 0, 2]), prepared(probes, gallery, [0, 2])
    np.testing.assert_array_equal(found.windows, expected.windows)
    for own, others in ((found.gallery, expected.gallery), (found.patches[1], expected.patches[1])):
        assert all(np.array_equal(a, b) for a, b in zip(own, others, strict=True))


def test_windows_and_patches_are_the_baselines():
    probes, gallery = drawn([(40, 33), (64, 48)], [0, 1], [0, 0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    sides = prepared(probes, gallery, [0, 1], window_stride=8)
    expected = swm.distances(NETWORK.maps, sides.probe, gallery.pictures, output_stride=16, stride=8)
    np.testing.assert_allclose(sides.windows, expected, rtol=1e-5)
    own = amc.vectors(NETWORK.maps(amc.patches(probes.pictures[0], output_stride=16)))
    np.testing.assert_allclose(sides.patches[0][0], own, atol=1e-6)


@pytest.mark.slow
def test_a_probe_larger_than_the_gallery_is_scaled_to_fit_and_counted():
    probes = drawn([(40, 33), (80, 48), (64, 96)], [0, 1, 2], [0] * 3)
    sides = prepared(probes, drawn([SIZE], [0], [1]), [0])
    assert features.larger(probes, SIZE) == [1, 2] and np.isfinite(sides.windows).all()
    assert [m.shape[:2] for m in sides.probe] == [(2, 2), (5, 3), (4, 6)]  # what others are shown stays as it is


def test_other_probes_find_the_gallery_as_it_is():
    first = prepared(drawn([(40, 33)], [0], [0]), drawn([SIZE] * 2, [0, 1], [1, 1]), [0, 1])
    known, _ = first.gallery, (first.probe, first.resized, first.windows, first.patches)
    probes = drawn([(33, 48), (80, 48)], [0, 1], [0, 0])
    other, alone = first.with_probes(probes), prepared(probes, drawn([SIZE] * 2, [0, 1], [1, 1]), [0, 1])
    assert other.gallery is known
    for mine, expected in ((other.probe, alone.probe), (other.resized, alone.resized), (other.windows, alone.windows)):
        for a, b in zip(mine, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(other.patches[0]) == 2 and len(first.probe) == 1
    with pytest.raises(ValueError, match="smaller than one output cell"):
        first.with_probes(drawn([(8, 8)], [0], [0]))


def test_pictures_below_one_cell_are_named():
    probes, gallery = drawn([(40, 33), (15, 48)], [0, 1], [0, 0]), drawn([SIZE], [0], [1])
    with pytest.raises(ValueError, match=r"1 probe pictures.*1\.png of 15 x 48.*smallest legal size is 16 x 16"):
        prepared(probes, gallery, [0])


def test_maps_that_are_no_numbers_are_named():
    wrong = NETWORK._replace(params=jax.tree.map(lambda x: x * np.float32(1e20), NETWORK.params))
    sides = features.Features(wrong, drawn([(40, 33)], [0], [0]), drawn([SIZE], [0], [1]), [0])
    with pytest.raises(ValueError, match=r"maps of 0\.png \(probe\) hold NaN or infinity"):
        _ = sides.probe
