"""MaxSim in both engines, against float64 by hand: largest cosines of all kinds of maps, lists and searches."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dsr_jax import cpu, match
from dsr_jax.matching import maxsim, xla
from dsr_jax.matching.entries import Entries

from . import oracles, quick
from .test_compiled_engine import KINDS, D, feature_map

ENGINES = {"compiled": maxsim.Engine, "xla": xla.Engine}
parametrize_engine = pytest.mark.parametrize("engine", sorted(ENGINES))
# Of few numbers of blocks: in XLA each is a compilation.
sizes = st.sampled_from([(1, 1), (3, 2), (2, 5), (6, 3), (7, 4), (1, 4)])
sides = st.sampled_from([(1,), (1, 2, 3), (2, 1), (1, 1, 3), (1, 5, 2)])


def exact(probes, groups, **how) -> np.ndarray:
    return np.array([[oracles.maxsim(p, group, **how) for group in groups] for p in probes])


def compared(engine: str, probes, maps, groups, *, scales, probe_scales=None, pooling="average", **options):
    one = Entries.single(probes, scales=probe_scales or scales, pooling=pooling)
    options = {"l1": 0.4, "tol": 1e-6, "max_bytes": 1 << 26, **options}
    return ENGINES[engine](one, Entries(maps, groups, scales, pooling), coder="maxsim", **options)


def maps_of(given_maps, dead: bool) -> list[np.ndarray]:
    maps = [feature_map(kind, *size, seed) for seed, (size, kind) in enumerate(given_maps)]
    if dead:
        for m in maps[1:]:
            m[0] = 0
    return maps


def check(figures: np.ndarray, expected: np.ndarray) -> None:
    distance, lower, upper, gap = figures
    np.testing.assert_allclose(distance, expected, atol=2e-6)
    assert np.all(lower <= expected) and np.all(expected <= upper) and np.all(upper - lower < 1e-4)
    assert not gap.any()


kinds = st.lists(st.tuples(sizes, st.sampled_from(KINDS)), min_size=3, max_size=5)


@given(kinds, sides, sides, st.booleans(), st.booleans())
def test_largest_cosines_on_a_cpu(given_maps, scales, probe_scales, maximum, dead):
    """Ragged maps of every kind, of one position, with positions of zeros, some entries of several maps."""
    pooling, maps = "max" if maximum else "average", maps_of(given_maps, dead)
    assume(maps[0].any())
    groups, probes = [[2, 0], [1], [0], [2, 1, 0]], maps[:1]
    how = {"scales": scales, "probe_scales": probe_scales, "pooling": pooling}
    found = compared("compiled", probes, maps, groups, **how).distances()
    check(found, exact(probes, [[maps[i] for i in group] for group in groups], **how))


SEVERAL = [((1,), (1,)), ((1, 2, 3), (1, 2, 3)), ((1, 4, 2), (3, 1))]


@parametrize_engine
@pytest.mark.parametrize("scales", quick.only(SEVERAL[2:], SEVERAL))
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_engines_agree_with_the_definition(engine, scales, pooling):
    """All kinds of maps at once; the second entry has no direction, the last has maps of three sizes."""
    shapes = [(6, 3), (4, 4), (2, 5), (1, 1), (7, 2), (3, 3), (5, 1)]
    maps = [feature_map(kind, *shape, 7) for kind, shape in zip(KINDS, shapes, strict=True)]
    maps[4][:, 1] = 0
    maps.append(np.zeros((3, 3, D), np.float32))
    groups, probes = [[0], [7], [1, 7], [6], [4, 3], [2, 5, 1]], [*maps[:3], maps[4]]
    how = {"scales": scales[0], "probe_scales": scales[1], "pooling": pooling}
    one = compared(engine, probes, maps, groups, **how)
    expected = exact(probes, [[maps[i] for i in group] for group in groups], **how)
    check(one.distances(), expected)
    np.testing.assert_array_equal(one.distances()[:3, :, 1].round(4), 1)
    pairs = np.array([[3, 0], [0, 5], [1, 1], [1, 0], [0, 0], [2, 4], [3, 3]])
    check(one.listed(pairs), expected[pairs[:, 0], pairs[:, 1]])


@parametrize_engine
def test_nothing_is_nearer_than_itself(engine):
    """Of 20 maps some are at -6e-8 from themselves by rounding, which is a distance that re-ranking refuses."""
    maps = [feature_map("signed", 4, 3, seed) for seed in range(20)]
    one = compared(engine, maps, maps, [[i] for i in range(20)], scales=(1, 2))
    for found in (one.distances(), one.listed(np.array([[i, i] for i in range(20)]))):
        assert found[0].min() >= 0 and found[1].min() >= 0
    np.testing.assert_allclose(np.diagonal(one.distances()[0]), 0, atol=1e-6)


@parametrize_engine
def test_search_is_the_first_of_all(engine, monkeypatch):
    rng = np.random.default_rng(3)
    maps = [rng.standard_normal((4, 3, D)).astype(np.float32) for _ in range(9)]
    maps[6] = maps[2].copy()
    monkeypatch.setenv(cpu.SWITCH, str(int(engine == "xla")))
    every = match.distances(maps[2], maps, coder="maxsim")
    hits = match.search(maps[2], maps, 4, coder="maxsim")
    assert hits.entries[:2].tolist() == [2, 6] and hits.coder == every.coder == "maxsim" and hits.coded == 0
    np.testing.assert_allclose(hits.distance, np.sort(every.distance[0])[:4], atol=1e-6)
    assert hits.certified.tolist() == [False, False, True, True], "equal ones are not told apart, others are"


def test_distance_and_interval_of_opposite_maps():
    """Cosines below 0 count as such: distances reach 2."""
    x = np.eye(4, dtype=np.float32)[None, :1]
    found = match.distances([x], [x, -x, np.eye(4, dtype=np.float32)[None, 1:2], 0 * x], coder="maxsim", scales=(1,))
    np.testing.assert_allclose(found.distance, [[0, 2, 1, 1]], atol=1e-6)
    assert np.all(found.lower <= found.distance) and np.all(found.distance <= found.upper) and found.lower[0, 0] >= 0


def test_neither_penalty_nor_tolerance_counts():
    maps = [feature_map("non-negative", 4, 3, seed) for seed in range(4)]
    first, second = (
        match.distances(maps, maps, coder="maxsim", l1=l1, tol=tol).distance for l1, tol in [(0.1, 1e-6), (2.0, 0.5)]
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("max_bytes", [None, 1 << 26])
def test_memory_decides_tiles_and_not_distances(max_bytes):
    maps = [feature_map("non-negative", 2 + i % 4, 2 + i % 3, i) for i in range(30)]
    options = {"coder": "maxsim", "identities": [i // 2 for i in range(30)]}
    with pytest.raises(ValueError, match="max_bytes") as least:
        match.distances(maps, maps, max_bytes=1, **options)
    smallest = int(str(least.value).split("at least ")[1].split()[0])
    found = match.distances(maps, maps, max_bytes=max_bytes or smallest, **options)
    np.testing.assert_allclose(found.distance, match.distances(maps, maps, **options).distance, atol=1e-6)


def test_explanation_of_one_scale_is_the_largest_cosines():
    probe, image = (feature_map("signed", *size, 3) for size in [(3, 2), (4, 3)])
    probe[0, 0], image[1, 1] = 0, 0
    found = match.explain(probe, image, scales=(1,), coder="maxsim")
    x, y = oracles.blocks(probe), oracles.blocks(image)
    cosines = np.where(np.any(y, axis=1), x @ y.T, -2)
    expected = np.zeros((6, 12))
    expected[np.arange(1, 6), cosines[1:].argmax(axis=1)] = cosines[1:].max(axis=1)
    np.testing.assert_allclose(found.codes.reshape(6, 12), expected, atol=1e-6)
    np.testing.assert_allclose(found.rebuilt.ravel()[1:], cosines[1:].max(axis=1), atol=1e-6)
    assert np.isnan(found.rebuilt[0, 0])
    assert found.distance == pytest.approx(oracles.maxsim(probe, [image]), abs=1e-6)
    nothing = match.explain(probe, 0 * image, scales=(1,), coder="maxsim")
    assert nothing.distance == 1 and not nothing.codes.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda maps: match.explain(maps[0], maps[0], coder="ridge"), "coder must be 'auto'"),
        (lambda maps: match.distances(maps, maps, coder="maxsim", dictionary="joint"), "coder must be 'auto'"),
        (lambda maps: match.distances(maps, maps, coder="maxsim", boost=1.2), "boost"),
        (lambda maps: match.distances(maps, maps, coder="maxsim", l1=-1), "l1"),
        (lambda maps: match.distances(maps, maps, coder="MaxSim"), "coder must be .*'maxsim'"),
    ],
)
def test_where_it_does_not_belong(call, message):
    with pytest.raises(ValueError, match=message):
        call([np.ones((3, 3, 6), np.float32)])


@parametrize_engine
@pytest.mark.parametrize("length", quick.only([512], [512, 2048, 5000]))
def test_intervals_allow_for_the_rounding_of_long_products(engine, length):
    """Equal terms round alike, their sum is off by tens of units; several scales, and signs."""
    rng = np.random.default_rng(length)
    probes, maps = [], []
    for _ in range(8):
        probe = np.full((2, 3, length), rng.uniform(0.5, 2), np.float32)
        image = np.repeat(probe[:1], 3, axis=0)
        image[:2] *= rng.integers(1, 3, length)
        image[2] *= rng.standard_normal(length, np.float32)
        probes.append(probe)
        maps.append(image)
    groups = [[i] for i in range(8)]
    found = compared(engine, probes, maps, groups, scales=(1, 2)).distances()
    expected = exact(probes, [[m] for m in maps], scales=(1, 2))
    assert expected.min() > 1e-3
    assert np.all(found[1] <= expected) and np.all(expected <= found[2])
