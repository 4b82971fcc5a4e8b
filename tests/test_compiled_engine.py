"""Pooling commutes with correlation: window sums of single-scale products give the blocks' own, or the map is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import match
from dsr_jax.matching import _window_kernel, compiled
from dsr_jax.matching.entries import Entries
from dsr_jax.solvers import active_set

from . import oracles

D = 5
KINDS = ["non-negative", "sparse", "signed", "cancelling", "tiny", "huge", "equal"]


def feature_map(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((height, width, D))
    if kind in ("non-negative", "tiny", "huge"):
        values = np.abs(values) * {"tiny": 1e-20, "huge": 1e20}.get(kind, 1)
    if kind == "sparse":
        values = np.maximum(values - 1, 0)  # many positions are zero
    if kind == "cancelling":
        values[:, 1:] = 1e-3 * values[:, 1:] - values[:, :-1]
    if kind == "equal":
        values = np.ones_like(values)
    return values.astype(np.float32)


sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))
sides = st.sampled_from([(1,), (1, 2), (1, 2, 3), (3, 1), (1, 2, 4), (2, 2, 1)])


@given(st.lists(st.tuples(sizes, st.sampled_from(KINDS)), min_size=2, max_size=5), sides, sides, st.booleans())
def test_products_of_blocks(given_maps, scales, probe_scales, maximum):
    """Gram matrix and correlations of every pair of a probe and an entry, some entries of two maps."""
    pooling = "max" if maximum else "average"
    maps = [feature_map(kind, *size, seed) for seed, (size, kind) in enumerate(given_maps)]
    groups = [[len(maps) - 1, 1], [0]]
    probes = Entries.single(maps, scales=probe_scales, pooling=pooling).positions
    gallery = Entries(maps, groups, scales, pooling).positions
    for p, g in np.ndindex(len(maps), 2):
        gram, correlation, energy = compiled.problem(probes, gallery, p, g)
        x = oracles.blocks(maps[p], scales=sorted(probe_scales), pooling=pooling)
        y = np.concatenate([oracles.blocks(maps[i], scales=sorted(scales), pooling=pooling) for i in groups[g]])
        np.testing.assert_allclose(gram, y @ y.T, atol=2e-6)
        np.testing.assert_allclose(correlation, x @ y.T, atol=2e-6)
        np.testing.assert_array_equal(energy, (x != 0).any(axis=1))


def test_what_is_cut():
    """Only what window sums could not give: the rest would cost several times as much for nothing."""
    for kind in KINDS:
        entries = Entries.single([feature_map(kind, 4, 4, 0)], scales=(1, 2, 3), pooling="average")
        cut = bool(entries.positions.maps.table[0, _window_kernel.CUT])
        assert cut == (kind in ("cancelling", "tiny", "huge")) or kind == "signed", kind
    for scales, pooling, cut in [((1,), "max", False), ((1, 2), "max", True)]:
        entries = Entries.single([feature_map("non-negative", 4, 4, 0)], scales=scales, pooling=pooling)
        assert bool(entries.positions.maps.table[0, _window_kernel.CUT]) == cut


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("max_bytes", [1 << 17, 1 << 26])
def test_neither_threads_nor_tiles_change_the_answer(threads, max_bytes):
    rng = np.random.default_rng(0)
    shapes = [(h, w) for h in (2, 4, 7) for w in (2, 3)]
    maps = [np.abs(rng.standard_normal((*shapes[i % 6], D))).astype(np.float32) for i in range(40)]
    entries = Entries.single(maps, scales=(1, 2, 3), pooling="average")
    how = {"l1": 0.2, "tol": 1e-6}
    expected = compiled.Engine(entries, entries, max_bytes=1 << 26, threads=2, **how).distances()
    found = compiled.Engine(entries, entries, max_bytes=max_bytes, threads=threads, **how).distances()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_difficult_columns_are_coded_again():
    """With l1 so small that more atoms are active than the first attempt has places for."""
    rng = np.random.default_rng(1)
    probe, image = (np.abs(rng.standard_normal((6, 20, 150))).astype(np.float32) for _ in range(2))
    gram, correlation, energy = (
        a[None] if i < 2 else a for i, a in enumerate(compiled.problem(*one_pair(probe, image, scales=(1, 2)), 0, 0))
    )
    few = active_set.errors(gram, correlation, energy, l1=1e-3, max_active=active_set.PLACES)
    assert few.gap.max() > 1e-3, "the first attempt is not enough"
    found = match.distances(probe, image, scales=(1, 2), l1=1e-3, tol=1e-5)
    expected = oracles.distance(probe, [image], scales=(1, 2), l1=1e-3)
    np.testing.assert_allclose(found.distance, expected, atol=2e-5)
    assert found.lower <= expected <= found.upper


def one_pair(probe: np.ndarray, image: np.ndarray, *, scales: tuple[int, ...]):
    return [Entries.single([m], scales=scales, pooling="average").positions for m in (probe, image)]


@pytest.mark.slow
@pytest.mark.parametrize("length", [64, 512, 2048])
def test_intervals_allow_for_the_rounding_of_long_products(length):
    """Equal terms round alike: their sum is off by tens of units, and the interval must know."""
    rng = np.random.default_rng(length)
    for _ in range(40):
        probe = np.full((1, 1, length), rng.uniform(0.5, 2), np.float32)
        image = np.repeat(probe, 3, axis=1)
        image[0, 1] *= rng.integers(1, 3, length)
        image[0, 2] *= rng.random(length, np.float32)
        exact = oracles.distance(probe, [image], l1=0.4)
        found = match.distances(probe, image, scales=(1,))
        assert found.lower <= exact <= found.upper
        hits = match.search(probe, [image, image[:, :2]], 1, scales=(1,))
        assert (hits.lower <= found.upper).all() and (found.lower <= hits.upper).all()


def test_memory_decides_the_number_of_threads():
    maps = [np.random.default_rng(i).random((8, 6, D)).astype(np.float32) for i in range(12)]
    entries = Entries(maps, [list(range(12))], (1, 2, 3), "average")
    both = Entries.single(maps[:2], scales=(1,), pooling="average").positions, entries.positions
    with pytest.raises(ValueError, match="all maps of an identity are one dictionary") as least:
        compiled.sizes(*both, max_bytes=1, threads=64)
    smallest = int(str(least.value).split("at least ")[1].split()[0])
    assert compiled.sizes(*both, max_bytes=smallest, threads=64)[:3] == (1, 1, 1)
    assert compiled.sizes(*both, max_bytes=1 << 40, threads=64).threads == 64


@pytest.mark.parametrize("pooling", ["average", "max"])  # the latter cuts
@pytest.mark.parametrize("identities", [None, [0, 1, 0, 1, 1, 2, 2]])
def test_a_gallery_that_is_not_copied_gives_the_same(pooling, identities):
    maps = [feature_map("non-negative", 2 + i % 3, 3, i) for i in range(7)]
    options = {"pooling": pooling, "identities": identities}
    own, borrowed = (match.Gallery.build(maps, copy=copy, **options) for copy in (True, False))
    assert borrowed.maps[4] is maps[4] and not np.shares_memory(own.maps[4], maps[4])
    assert len(own.as_entries.positions.rows.parts) == 1
    assert len(borrowed.as_entries.positions.rows.parts) == (7 if pooling == "average" else 1)
    for one, other in zip(own.as_entries.positions.tiles(2), borrowed.as_entries.positions.tiles(2), strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
    right, found = (match.distances(maps[:3], gallery) for gallery in (own, borrowed))
    np.testing.assert_array_equal(found.distance, right.distance)
    right, found = (match.search(maps[1], gallery, 3) for gallery in (own, borrowed))
    np.testing.assert_array_equal(found.entries, right.entries)


def test_lengths_are_those_of_kept_gram_matrices_too():
    maps = [feature_map("non-negative", 3, 4, i) for i in range(4)]
    alone, kept = (Entries(maps, [[0, 3], [1], [2]], (1, 2), "average").positions for _ in range(2))
    assert kept.grams.flat.size == 24**2 + 2 * 12**2
    np.testing.assert_allclose(kept.inverse, alone.inverse, rtol=1e-6)
