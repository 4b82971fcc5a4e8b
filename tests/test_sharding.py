"""One, two, four and eight devices: the same distances, maps and losses; nothing whole on any; no word in between."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import extract
from dsr_jax.matching import programs, xla
from dsr_jax.matching.entries import Entries
from dsr_jax.parallel import sharding
from experiments.training import checkpoint
from tests import joined, quick, test_steps

COUNTS = (2, 4, 8)
# What a program of several devices exchanges, by its names in StableHLO and HLO.
COLLECTIVE = re.compile(
    r"all[-_]reduce|all[-_]gather|all[-_]to[-_]all|collective[-_]|reduce[-_]scatter|partition[-_]id"
)
OPTIONS = {"l1": 0.4, "tol": 1e-6, "max_bytes": 1 << 28}


def over(count):
    return sharding.mesh(jax.devices()[:count])


def sides():
    """Three probes and six entries of one size: one program for all of them."""
    maps = joined.drawn(9, 3, heights=(3,))
    return tuple(Entries.single(part, scales=(1,), pooling="average") for part in (maps[:3], maps[3:]))


@functools.cache
def solved(coder, count):
    return xla.Engine(*sides(), coder=coder, mesh=over(count), **OPTIONS).distances()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("coder", quick.only(["ridge"], ["homotopy", "feature_sign", "ridge"]))
def test_devices_share_a_gallery(coder, count):
    """Six entries: none of the numbers of devices but 2 divides them, and 8 are more than there are."""
    found, alone = solved(coder, count), solved(coder, 1)
    np.testing.assert_allclose(found[0], alone[0], atol=1e-6)
    np.testing.assert_allclose(found[1:], alone[1:], atol=2e-5)  # an interval is as wide as the root of a gap


def test_no_device_holds_the_whole_gallery(monkeypatch):
    placed = []
    real = sharding.entries
    monkeypatch.setattr(sharding, "entries", lambda *given: placed.append(real(*given)) or placed[-1])
    probes, gallery = (Entries.single(joined.drawn(n, n, (3,)), scales=(1,), pooling="average") for n in (2, 11))
    xla.Engine(probes, gallery, coder="ridge", mesh=over(4), **OPTIONS).distances()
    held = {}
    for array in (array for array in placed if array.dtype == np.float32):  # their positions
        for shard in array.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + int(np.any(shard.data, axis=(1, 2)).sum())
    assert sorted(held.values()) == [2, 3, 3, 3]


@functools.cache
def matching(count):
    """The programs of a matching's inner loop, as given to the compiler and, of several devices, as they come out."""
    mesh = over(count)
    place = sharding.everywhere(mesh) and jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(sharding.AXIS))
    entries, atoms, depth = max(6, 2 * count), 9, joined.SHAPE[2]  # those of `sides()`, compiled once

    def side(entries, place):
        shapes = ((atoms, depth), np.float32), ((atoms, 3), np.int32), ((atoms, 4), np.int32), ((atoms,), np.float32)
        return programs.Side(*(jax.ShapeDtypeStruct((entries, *shape), kind, sharding=place) for shape, kind in shapes))

    dictionaries, probes = side(entries, place), side(3, sharding.everywhere(mesh))
    gram = jax.ShapeDtypeStruct((entries, atoms, atoms), jnp.float32, sharding=place)
    correlation = jax.ShapeDtypeStruct((entries, atoms, 34), jnp.float32, sharding=place)
    energy = jax.ShapeDtypeStruct((34,), jnp.float32)
    how = {"l1": 0.4, "tol": 1e-6, "mesh": mesh}
    lowered = [
        programs.coded.lower(gram, correlation, energy, coder="feature_sign", **how),
        programs.uncertified.lower(gram, dictionaries, probes, coder="ridge", mesh=mesh),
        programs.correlations.lower(dictionaries, probes, columns=34, mesh=mesh),
        programs.gram.lower(dictionaries, mesh=mesh),
    ]
    longest = programs.coded.lower(gram, correlation, energy, coder="homotopy", **how)
    found = [program.as_text() for program in (longest, *lowered)]
    return found + [program.compile().as_text() for program in lowered if count > 1]


@pytest.mark.slow
def test_matching_is_computed_without_a_word_between_devices():
    for text in matching(4):
        assert "num_partitions = 4" in text or "num_partitions=4" in text
        assert not COLLECTIVE.search(text)


def test_the_words_looked_for_are_those_of_a_training_step():
    mesh = over(4)

    def loss(params, frozen, batch, share):
        value = share.mean(params * jnp.sum(share.gathered(batch["x"])) * batch["x"])
        return value, {}

    step = jax.jit(sharding.value_and_grad(loss, mesh))
    given = jnp.ones(()), {}, sharding.spread({"x": np.ones(4, np.float32)}, mesh)
    lowered = step.lower(*given)
    assert COLLECTIVE.search(lowered.as_text()) and COLLECTIVE.search(lowered.compile().as_text())


@pytest.mark.slow
def test_on_one_device_programs_are_as_without_a_mesh():
    mesh = over(1)
    values, batch = np.ones((2, 3, 4), np.float32), joined.compared(0, 3, 16)
    assert sharding.entries(values, mesh).sharding == jnp.asarray(values).sharding
    assert sharding.by_rows(max, mesh, shared=1) is sharding.by_rows(max, None, shared=1) is max
    assert sharding.spread(batch, mesh) is batch and sharding.replicated(batch, mesh) is batch
    assert sharding.everywhere(mesh) is None
    for text in matching(1):
        assert "manual_computation" not in text and "shmap" not in text and not COLLECTIVE.search(text)
    with jax.numpy_dtype_promotion("standard"):
        state, step = test_steps.prepared(verification="ranked")
        given = state, test_steps.frozen(), test_steps.batch()
        alone = jax.jit(functools.partial(step.__wrapped__, mesh=mesh)).lower(*given).as_text()
        assert alone == jax.jit(step.__wrapped__).lower(*given).as_text()


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("form", joined.FORMS)
def test_devices_share_a_batch(form, count):
    """Five rows: no number of devices here divides them, and 8 are more than there are."""
    found, expected = trained(form, count)[1], trained(form, 1)[1]
    assert found.shape[0] == joined.STEPS and np.ptp(expected, axis=0).max() > 1e-2  # it learns
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@functools.cache
def trained(form, count):
    return joined.trained(form, over(count))


@pytest.mark.slow
@pytest.mark.parametrize("form", joined.FORMS)
def test_parameters_end_up_the_same_on_every_device(form):
    ends = [(state.params, state.statistics) for state in (trained(form, count)[0] for count in (1, 4))]
    for alone, shared in zip(*map(jax.tree.leaves, ends), strict=True):
        assert shared.sharding.is_fully_replicated and len(shared.addressable_shards) == 4
        np.testing.assert_allclose(shared, alone, atol=1e-5)
        for shard in shared.addressable_shards:
            np.testing.assert_array_equal(shard.data, shared.addressable_shards[0].data)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(8, 2), (4, 1), (1, 8)])
def test_training_goes_on_on_another_number_of_devices(tmp_path, counts):
    before, after = map(over, counts)
    half, losses = joined.trained("signed", before, count=joined.HALF)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(joined.HALF, half)
        wanted = sharding.replicated(jax.tree.map(np.zeros_like, half), after)
        restored, _, step = checkpoints.restore(wanted)
    for leaf, old in zip(*map(jax.tree.leaves, (restored, half)), strict=True):
        assert leaf.sharding.device_set == set(after.devices.flat)
        np.testing.assert_array_equal(leaf, old)
    later = joined.trained("signed", after, count=joined.HALF, state=restored, first=step)[1]
    np.testing.assert_allclose(np.concatenate([losses, later]), trained("signed", 1)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [2, 8])
def test_devices_share_images(count):
    images = joined.images()
    options = {"output_stride": 16, "max_buckets": 2, "batch_size": 2}
    alone = extract.maps(joined.network()[0], images, mesh=over(1), **options)
    found = extract.maps(joined.network()[0], images, mesh=over(count), **options)
    for one, other in zip(found, alone, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_many_batches_are_one_compilation():
    mesh, seen = over(4), []

    def loss(params, frozen, batch, share):
        seen.append(batch["x"].shape)  # once per trace
        return share.mean(params * batch["x"]), {}

    step = jax.jit(sharding.value_and_grad(loss, mesh))
    for number in range(3):
        step(jnp.ones(()), {}, sharding.spread({"x": np.full(6, number, np.float32)}, mesh))
    assert step._cache_size() == 1 and set(seen) == {(2,)}


@pytest.mark.parametrize(("total", "count"), [(1, 8), (5, 2), (5, 4), (8, 8), (9, 8), (16, 4)])
def test_rows_are_all_there_once(total, count):
    numbers, real = sharding.rows(total, over(count))
    assert len(numbers) == count * -(-total // count)
    assert numbers[real].tolist() == list(range(total)) and set(numbers[~real]) <= {total - 1}


@pytest.mark.parametrize("total", [1, 5, 8, 13])
def test_means_and_counts_are_of_the_real_rows(total):
    mesh = over(4)
    rng = np.random.default_rng(total)
    x, flags = rng.random(total).astype(np.float32), rng.random(total) < 0.5

    def loss(weight, frozen, batch, share):
        x, flags = batch["x"] * weight, batch["flags"]
        twice = share.mean(jnp.concatenate([x, 3 * x]))
        pairs = share.only_real(flags[:, None] & share.gathered(flags)[None, :])
        far = jnp.min(
            jnp.where(share.only_real(flags | True)[:, None], share.within(x[:, None] + frozen[None]), jnp.inf)
        )
        figures = {
            "once": share.mean(x),
            "flags": jnp.sum(share.only_real(flags)).astype(jnp.float32),
            "pairs": jnp.sum(pairs).astype(jnp.float32),
            "count": share.count(share.only_real(flags)).astype(jnp.float32) / mesh.size,
            "infinite": jnp.isinf(far).astype(jnp.float32),
        }
        return twice, figures

    batch = sharding.spread({"x": x, "flags": flags}, mesh)
    rows = np.zeros(batch["x"].shape[0], np.float32)
    (value, figures), gradient = jax.jit(sharding.value_and_grad(loss, mesh))(jnp.ones(()), rows, batch)
    assert float(value) == pytest.approx(2 * x.mean(), rel=1e-6) and float(gradient) == pytest.approx(float(value))
    assert float(figures["once"]) == pytest.approx(x.mean(), rel=1e-6)
    assert float(figures["flags"]) == float(figures["count"]) == flags.sum()
    assert float(figures["pairs"]) == flags.sum() ** 2


def test_the_mesh_is_of_all_devices_or_of_those_given():
    assert list(sharding.mesh().devices) == jax.devices()
    assert list(sharding.mesh(jax.devices()[3:0:-1]).devices) == jax.devices()[1:4]
    assert list(sharding.own_mesh().devices) == jax.local_devices()[:1]  # a CPU's virtual devices share its cores
    with pytest.raises(ValueError, match="devices must name at least one device"):
        sharding.mesh([])
    with pytest.raises(ValueError, match="total must be at least 1 row, got 0"):
        sharding.rows(0, over(2))
