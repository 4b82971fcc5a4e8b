"""The engine in XLA: memory within what it reckons with, few programs for many sizes, galleries that stay there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import match, shortlist
from dsr_jax.matching import memory, padded, programs, xla
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.padded import Size
from dsr_jax.parallel import sharding
from dsr_jax.solvers import homotopy, table

from . import quick

# homotopy with the stages of accelerators, which take more.
CODERS = [name + ", wide" * (name == "homotopy") for name, solver in table.SOLVERS.items() if "xla" in solver.engines]
# (dictionaries, its positions and blocks, probes, their positions and blocks, length): few columns of many atoms, many
# of few.
SHAPES = [(8, Size(128, 128), 1, Size(16, 16), 128), (8, Size(16, 32), 20, Size(8, 16), 64)]
ONE = sharding.mesh(jax.devices()[:1])


def sides(entries: int, size: Size, channels: int) -> programs.Side:
    """Shapes of some entries on a device."""
    kinds = [((size.rows, channels), jnp.float32), ((size.rows, 3), jnp.int32), ((size.blocks, 4), jnp.int32)]
    each = [jax.ShapeDtypeStruct((entries, *shape), kind) for shape, kind in kinds]
    return programs.Side(*each, jax.ShapeDtypeStruct((entries, size.blocks), jnp.float32))


def used(lowered) -> int:
    """Bytes that the compiler sets aside."""
    memory = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes


@pytest.mark.parametrize("shape", quick.only(SHAPES[:1], SHAPES), ids=str)
@pytest.mark.parametrize("coder", quick.only(["ridge", "maxsim"], CODERS))
def test_memory_of_a_tile(coder, shape, monkeypatch):
    if "wide" in coder:
        monkeypatch.setattr(homotopy, "STAGES", homotopy.WIDE)
        programs.coded.clear_cache()
    coder = coder.split(",")[0]
    count, size, probes, image, length = shape
    columns = memory.columns(probes * image.blocks)
    taken = memory.taken(image, size, length, coder)
    entries, images = sides(count, size, length), sides(probes, image, length)
    correlation, gram, energy = (
        jax.ShapeDtypeStruct(given, jnp.float32)
        for given in [(count, size.blocks, columns), (count, size.blocks, size.blocks), (columns,)]
    )
    kept = count * (taken.entry + taken.dictionary)
    assert used(programs.gram.lower(entries, mesh=ONE)) <= kept
    figure = table.SOLVERS[coder].figure
    if figure != "residual":
        products = programs.correlations.lower(entries, images, columns=columns, mesh=ONE)
        assert used(products) <= kept + columns * (count * taken.product + taken.common)
    if figure == "residual":
        coded = programs.uncertified.lower(gram, entries, images, coder=coder, mesh=ONE)
    elif figure == "cosine":
        coded = programs.cosines.lower(entries.inverse, correlation, energy, mesh=ONE)
    else:
        coded = programs.coded.lower(gram, correlation, energy, coder=coder, l1=0.4, tol=1e-6, mesh=ONE)
    assert used(coded) <= kept + columns * (count * taken.column + taken.common)


def maps(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [np.maximum(rng.standard_normal((*shape, 24)), 0).astype(np.float32) for shape in shapes]


def test_few_programs_for_many_sizes():
    """The coder is compiled once for all of them, and a second call compiles nothing."""
    shapes = [(11, 3), (5, 7), (6, 6), (4, 9), (19, 2), (3, 13), (5, 8), (4, 10)]
    programs.coded.clear_cache()
    options = {"scales": (1, 2), "coder": "homotopy"}
    match.distances(maps(shapes), maps(shapes[::-1], 1), **options)
    assert programs.coded._cache_size() == 1
    compiled = programs.correlations._cache_size()
    match.distances(maps(shapes, 2), maps(shapes[::-1], 3), **options)
    assert programs.coded._cache_size() == 1 and programs.correlations._cache_size() == compiled


def test_a_size_of_its_own_only_where_it_saves_enough():
    given = Entries.single(maps([(4, 3), (2, 2), (2, 2), (4, 3)]), scales=(1,), pooling="average").positions
    for worth, expected in ((16, [[0, 3], [1, 2]]), (17, [[0, 1, 2, 3]])):  # two entries of 4 instead of 12 blocks
        found = list(padded.groups(given, worth))
        assert [members.tolist() for _, members in found] == expected
        assert found[0][0] == Size(12, 12)


def test_a_gallery_stays_on_the_device():
    gallery = match.Gallery.build(maps([(4, 3)] * 5))
    first = match.distances(maps([(3, 2)] * 2, 1), gallery, coder="homotopy")
    [held] = gallery.as_entries.kept.values()
    second = match.distances(maps([(3, 2)] * 2, 1), gallery, coder="homotopy")
    assert held is next(iter(gallery.as_entries.kept.values()))
    np.testing.assert_array_equal(first.distance, second.distance)


@pytest.mark.parametrize(("count", "stays"), [(5, True), (200, False)])
def test_a_gallery_stays_where_it_fits(count, stays):
    gallery = match.Gallery.build(maps([(4, 3)] * count), scales=(1,))
    match.distances(maps([(3, 2)] * 2, 1), gallery, coder="maxsim", max_bytes=1 << 18)  # compiled: nothing is kept
    assert not gallery.as_entries.kept
    match.distances(maps([(3, 2)] * 2, 1), gallery, coder="proximal", tol=1e-2, max_bytes=1 << 18)
    assert bool(gallery.as_entries.kept) == stays


@pytest.mark.parametrize("count", quick.only([3], [1, 3]))
def test_lists_are_those_of_all_pairs(count):
    """Entries with many pairs and with none, maps of several identities, on one device or several."""
    sizes = [(4, 3), (3, 3), (6, 2), (2, 2), (3, 4)]
    probes = Entries.single(maps(sizes[:4], 1), scales=(1, 2), pooling="average")
    gallery = Entries(maps(sizes), [[0, 2], [1], [3], [4]], (1, 2), "average")
    engine = xla.Engine(
        probes,
        gallery,
        coder="homotopy",
        l1=0.3,
        tol=1e-6,
        max_bytes=1 << 26,
        mesh=sharding.mesh(jax.devices()[:count]),
    )
    pairs = np.array([[3, 0], [0, 2], [1, 0], [2, 0], [0, 0], [1, 2], [3, 3]])
    np.testing.assert_allclose(engine.listed(pairs), engine.distances()[:, pairs[:, 0], pairs[:, 1]], atol=1e-5)


def test_search_leaves_out_and_a_shortlist_is_exact():
    rng = np.random.default_rng(0)
    images = maps([(6, 3)] * 200, 5)
    probe = images[100][:3].copy()
    for i in range(0, 200, 25):
        images[i][1:4] = probe + 0.3 * np.abs(rng.standard_normal(probe.shape)).astype(np.float32)
    options = {"coder": "homotopy", "scales": (1,)}
    hits = match.search(probe, images, 4, **options)
    every = match.distances(probe, images, **options).distance[0]
    np.testing.assert_array_equal(hits.entries, np.argsort(every, kind="stable")[:4])
    assert hits.coded < 0.6
    listed = shortlist.distances([probe], images, 6, **options)
    np.testing.assert_allclose(listed.distance[0], every[listed.entries[0]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", MemoryError, r"max_bytes .* got 536870912"),
        ("INTERNAL: device is lost", RuntimeError, "the device failed during the call"),
    ],
)
def test_a_device_that_fails(monkeypatch, text, kind, told):
    """Told in the caller's words; the gallery is as good as before."""
    gallery, probe = match.Gallery.build(maps([(4, 3)] * 5)), maps([(3, 2)], 1)
    expected = match.distances(probe, gallery, coder="homotopy")

    def fails(*_, **__):
        raise jax.errors.JaxRuntimeError(text)

    with monkeypatch.context() as patch:
        patch.setattr(programs, "coded", fails)
        for call in (match.distances, lambda *given, **how: match.search(given[0][0], given[1], **how)):
            with pytest.raises(kind, match=told):
                call(probe, gallery, coder="homotopy")
    assert not gallery.as_entries.kept, "what a lost device held is not asked for again"
    np.testing.assert_array_equal(match.distances(probe, gallery, coder="homotopy").distance, expected.distance)
