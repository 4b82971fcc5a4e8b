"""The nearest entries are those of all distances, whatever is left out, and `explain` adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import match
from dsr_jax.matching import compiled
from dsr_jax.matching.entries import Entries

from . import oracles

D = 6
kinds = st.sampled_from(["non-negative", "signed", "zero", "part"])


def feature_map(kind: str, size: tuple[int, int], seed: int, probe: np.ndarray) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((*size, D)).astype(np.float32)
    if kind == "part":  # holds the probe, more or less
        height, width = min(size[0], probe.shape[0]), min(size[1], probe.shape[1])
        values[:height, :width] = probe[:height, :width] + 0.1 * values[:height, :width]
    return {"signed": values, "zero": 0 * values}.get(kind, np.abs(values))


def exhaustive(probe: np.ndarray, gallery: match.Gallery, **options) -> np.ndarray:
    return match.distances(probe, gallery, **options).distance[0]


@pytest.mark.slow
@given(
    st.lists(st.tuples(kinds, st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=12),
    st.integers(1, 14),
    st.sampled_from([(1,), (1, 2), (1, 2, 3)]),
    st.sampled_from([0.05, 0.4]),
    st.booleans(),
)
def test_the_same_as_of_all_distances(entries, k, scales, l1, shots):
    probe = np.abs(np.random.default_rng(99).standard_normal((3, 2, D))).astype(np.float32)
    maps = [feature_map(kind, (h, w), seed, probe) for seed, (kind, h, w) in enumerate(entries)]
    labels = [i // 2 for i in range(len(maps))] if shots else None
    gallery = match.Gallery.build(maps, identities=labels, scales=scales)
    hits = match.search(probe, gallery, k, l1=l1)
    distance = exhaustive(probe, gallery, l1=l1)
    count = min(k, gallery.entries)
    assert len(set(hits.entries.tolist())) == hits.distance.size == count
    np.testing.assert_allclose(hits.distance, distance[hits.entries], atol=1e-6)
    np.testing.assert_allclose(hits.distance, np.sort(distance)[:count], atol=1e-6)
    assert (np.diff(hits.distance) >= 0).all() and 0 <= hits.coded <= 1
    assert (hits.lower <= hits.distance).all() and (hits.distance <= hits.upper).all()


def many(count: int, *, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """A probe and so many images, a few of which hold something like it."""
    rng = np.random.default_rng(seed)
    images = [np.maximum(rng.standard_normal((6, 3, 48)), 0).astype(np.float32) for _ in range(count)]
    probe = images[count // 2][:3].copy()
    for i in range(0, count, max(1, count // 7)):
        images[i][1:4] = probe + 0.3 * np.abs(rng.standard_normal(probe.shape))
    return probe, images


@pytest.mark.parametrize("max_bytes", [1 << 18, 1 << 29])
def test_little_is_coded(max_bytes):
    """In one piece with kept Gram matrices, and piece by piece with none."""
    probe, images = many(400)
    gallery = match.Gallery.build(images)
    hits = match.search(probe, gallery, 5, max_bytes=max_bytes)
    distance = exhaustive(probe, gallery)
    np.testing.assert_array_equal(hits.entries, np.argsort(distance, kind="stable")[:5])
    assert hits.coded < 0.5
    assert ("grams" in vars(gallery.as_entries.positions)) == (max_bytes > 1 << 18)
    assert hits.certified.all() and (hits.upper - hits.lower).max() < 1e-4


def test_what_is_left_out_is_farther():
    probe, images = many(300, seed=1)
    sides = [Entries.single(maps, scales=(1, 2), pooling="average") for maps in ([probe], images)]
    found = compiled.Engine(*sides, l1=0.4, tol=1e-6, max_bytes=1 << 26).nearest(4)
    exact = np.array([oracles.distance(probe, [image], scales=(1, 2)) for image in images[:60]])
    rest = np.setdiff1d(np.arange(60), found.entries)
    assert (exact[rest] >= found.beyond).all()
    for entry, lower, upper in zip(found.entries, found.figures[1], found.figures[2], strict=True):
        if entry < 60:
            assert lower <= exact[entry] <= upper


def test_equal_entries_are_in_order_and_not_certified():
    probe, images = many(40)
    hits = match.search(probe, [*images, *images], 6, scales=(1,))
    assert (hits.entries[::2] + 40 == hits.entries[1::2]).all()
    assert not hits.certified.any()


def test_identities_and_names():
    probe, images = many(9)
    labels = ["a", "b", "a", "c", "c", "b", "d", "d", "d"]
    gallery = match.Gallery.build(images, identities=labels, names=[f"{i}.png" for i in range(9)])
    hits = match.search(probe, gallery, 2)
    result = match.distances(probe, gallery)
    assert hits.identities is not None and hits.names is not None
    assert hits.identities[0] == result.identities[result.distance[0].argmin()] == "c"
    assert hits.names[0] == "3.png", "the first map of the entry"


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["homotopy", "feature_sign"])
def test_other_coders_name_the_same(coder):
    probe, images = many(6)
    hits = match.search(probe, images, 3, scales=(1,), coder=coder)
    assert hits.coder == coder
    np.testing.assert_array_equal(hits.entries, match.search(probe, images, 3, scales=(1,)).entries)


def test_a_loose_tolerance_is_honest():
    probe, images = many(60)
    exact = match.distances(probe, images)
    loose = match.distances(probe, images, tol=0.02)
    assert np.abs(loose.distance - exact.distance).max() > 1e-5, "it changes something"
    assert (loose.gap <= 0.02 + 1e-5).all()
    assert (loose.lower <= exact.upper).all() and (exact.lower <= loose.upper).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number >= 1, got 0"),
        ({"coder": "ridge"}, "coder must not be 'ridge'"),
        ({"probe_map": np.ones((2, 3, 2, D))}, "probe_map must be one .* got 2 maps"),
        ({"gallery_maps": []}, "gallery_maps is empty"),
        ({"l1": 0}, "l1 must be a positive number"),
        ({"max_bytes": 1}, "max_bytes must be at least"),
    ],
)
def test_bad_searches(arguments, message):
    given = {"probe_map": np.ones((3, 2, D)), "gallery_maps": np.ones((4, 3, 2, D)), **arguments}
    with pytest.raises(ValueError, match=message):
        match.search(given.pop("probe_map"), given.pop("gallery_maps"), **given)


# Explanations


def test_single_scale_codes_are_the_codes():
    rng = np.random.default_rng(0)
    probe, image = (np.abs(rng.standard_normal(size)) for size in [(3, 2, D), (4, 3, D)])
    found = match.explain(probe, image, scales=(1,), l1=0.2)
    x, y = oracles.blocks(probe), oracles.blocks(image)
    residual = x - found.codes.reshape(6, 12) @ y
    expected = np.stack([oracles.residual(block, y, l1=0.2) for block in x])
    np.testing.assert_allclose(residual, expected, atol=1e-5)
    np.testing.assert_allclose(found.rebuilt.ravel(), 1 - (expected**2).sum(axis=1), atol=1e-5)
    assert found.distance == pytest.approx((expected**2).sum(axis=1).mean(), abs=1e-5)


def test_multi_scale_codes_are_shared_out():
    """A probe equal to one corner of the image is rebuilt from there, and all of every code is shared out."""
    rng = np.random.default_rng(1)
    image = np.maximum(rng.standard_normal((6, 5, 80)), 0)
    found = match.explain(image[2:5, 1:4], image, scales=(1, 2, 3))
    for y, x in np.ndindex(3, 3):
        assert np.unravel_index(found.codes[y, x].argmax(), (6, 5)) == (y + 2, x + 1)
    assert found.rebuilt.min() > 0.5
    pairs = match.explain(image[2:5, 1:4], image, scales=(3,))
    np.testing.assert_allclose(pairs.codes.sum(axis=(2, 3)), pairs.codes.sum(axis=(2, 3))[0, 0], rtol=1e-5)


def test_nothing_to_rebuild():
    probe = np.ones((2, 2, D))
    probe[0, 0] = 0
    found = match.explain(probe, np.ones((3, 3, D)), scales=(1,))
    assert np.isnan(found.rebuilt[0, 0]) and not found.codes[0, 0].any() and np.isfinite(found.rebuilt[1]).all()
    for two in ([probe, probe], match.Gallery.build([probe, probe], identities=[1, 1])):
        with pytest.raises(ValueError, match="gallery_map must be one .* got 2 maps"):
            match.explain(probe, two)
