"""Train steps of a network with batch normalisation: whose statistics a batch has, and what moves them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsr_jax import blocks, losses, networks, reconstruction, resnet
from experiments.settings.training import Tuning, Update
from experiments.training import optimiser, steps

from . import test_steps

WIDTH, PEOPLE = 1 / 64, 3
TRUNK = steps.Trunk(output_stride=16, first_block=5, frozen_blocks=4, convention="torch")


@pytest.fixture(autouse=True)
def promotion():
    """Optax mixes integers and floats in its schedules and averages."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@functools.cache
def params():
    return resnet.init(jax.random.key(0), width=WIDTH)


@functools.cache
def head():
    return losses.init_head(jax.random.key(1), width=networks.channels(params()), identities=PEOPLE)


def frozen(number=4):
    return {name: layer for name, layer in params().items() if int(name[5]) <= number}


def batch(seed=0):
    """The pairs of the other tests as outputs of block 4, 3 x 2 and at most 3 x 2 cells, with the pairs' own sizes."""
    rng = np.random.default_rng(seed)
    depth = params()["block4f_conv3"]["kernel"].shape[3]
    sizes = np.array([[2, 2], [2, 1], [1, 2], [2, 2]], np.int32)
    patch = rng.random((4, 2, 2, depth)).astype(np.float32)
    for values, (height, width) in zip(patch, sizes, strict=True):
        values[height:], values[:, width:] = 0, 0
    others = {name: x for name, x in test_steps.batch().items() if "identities" in name or name == "sign"}
    return others | {
        "whole": rng.random((4, 3, 2, depth)).astype(np.float32),
        "whole_sizes": np.tile(np.array([3, 2], np.int32), (4, 1)),
        "patch": patch,
        "patch_sizes": sizes,
    }


def whole(values):
    return {"inputs": values["whole"], "sizes": values["whole_sizes"], "identities": values["whole_identities"]}


@functools.cache
def prepared(updates=None, **options):
    """The first state, and compiled steps on pairs and on whole images."""
    updates = updates or optax.sgd(1e-2)
    common = {"optimiser": updates, "trunk": TRUNK, "smoothing": 0.1}
    how = Tuning(**{"id_loss_weight": 0.5, "id_patches": True, **options})
    pairs = functools.partial(steps.reconstruction_step, how=how, **common)
    state = steps.init(params(), head(), updates, frozen_blocks=4)
    return state, jax.jit(pairs), jax.jit(functools.partial(steps.identification_step, **common))


def by_batch(inputs, sizes):
    """Maps and sizes of block 5, and the statistics after it."""
    block = jax.jit(functools.partial(resnet.train, last_stride=1, blocks=(5, 5)))
    return block(params(), jnp.asarray(inputs), jnp.asarray(sizes))


def both(values):
    """The same of both sides as one batch, padded here."""
    tall = np.pad(values["patch"], [(0, 0), (0, 1), (0, 0), (0, 0)])
    sizes = np.concatenate([values["whole_sizes"], values["patch_sizes"]])
    return by_batch(np.concatenate([values["whole"], tall]), sizes)


def test_the_optimiser_knows_nothing_of_statistics():
    state = prepared()[0]
    assert {name[5] for name in state.params["network"]} == {name[5] for name in state.statistics} == {"5"}
    assert all(set(leaves) == {"mean", "var"} for leaves in state.statistics.values()) and len(state.statistics) == 10
    assert not any(set(leaves) & {"mean", "var"} for leaves in state.params["network"].values())
    trained = {name: leaves for name, leaves in params().items() if name[5] == "5"}
    jax.tree.map(np.testing.assert_array_equal, state.network, trained)


@pytest.mark.slow
def test_whole_images_move_them_as_their_batch_says():
    state, _, step = prepared()
    values = batch()
    later, figures = step(state, frozen(), whole(values))
    found, sizes, expected = by_batch(values["whole"], values["whole_sizes"])
    for name, leaves in later.statistics.items():
        for leaf, value in leaves.items():
            np.testing.assert_allclose(value, expected[name][leaf], rtol=1e-4, atol=1e-6, err_msg=name)
            assert jnp.any(value != state.statistics[name][leaf])
    scores = losses.logits(head(), found, sizes)
    loss = losses.identification(scores, jnp.asarray(values["whole_identities"]), smoothing=0.1)
    np.testing.assert_allclose(figures["loss"], loss, rtol=1e-5)


@pytest.mark.slow
def test_both_sides_of_the_pairs_are_one_batch():
    """Distances and statistics are those of a batch of whole images and patches, each of its own size."""
    state, step, _ = prepared()
    values = batch()
    later, figures = step(state, frozen(), values)
    found, sizes, expected = both(values)
    distances = []
    for i in range(4):
        (y, _), (x, valid) = (blocks.cut(found[row], sizes[row], scales=(1,)) for row in (i, i + 4))
        distances.append(float(reconstruction.distance(x, y, valid=valid)))
    np.testing.assert_allclose(figures["verification"], np.mean(values["sign"] * distances), rtol=1e-4)
    for name, leaves in later.statistics.items():
        for leaf, value in leaves.items():
            np.testing.assert_allclose(value, expected[name][leaf], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_what_is_trained_moves_and_lowers_the_loss():
    state, step, _ = prepared()
    later, seen = state, []
    for _ in range(8):
        later, figures = step(later, frozen(), batch())
        seen.append(float(figures["loss"]))
    assert seen[-1] < seen[0] and step._cache_size() == 1
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), (state.params, state.statistics), later[1:4:2])
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
def test_every_batch_of_an_update_moves_them():
    """Accumulated gradients: parameters move once in two batches, statistics with each."""
    state, _, step = prepared(optimiser.build("sgd", 1e-2, Update("constant", 0.0, accumulate=2), count=4).transform)
    first, _ = step(state, frozen(), whole(batch(0)))
    jax.tree.map(np.testing.assert_array_equal, first.params, state.params)
    second, _ = step(first, frozen(), whole(batch(1)))
    for before, after in ((state, first), (first, second)):
        moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before.statistics, after.statistics)
        assert all(jax.tree.leaves(moved))
    assert jnp.any(second.params["head"]["kernel"] != state.params["head"]["kernel"])


@pytest.mark.slow
def test_what_is_normalised_by_a_batch_is_not_by_its_padding():
    """The patches' padded shape is that of the whole images, and nothing of it is left in maps or blocks."""
    values = batch()
    wider = dict(values, patch=np.pad(values["patch"], [(0, 0), (0, 1), (0, 0), (0, 0)]))
    state, step, _ = prepared()
    (a, figures), (b, others) = (step(state, frozen(), given) for given in (values, wider))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), a.params, b.params)
    np.testing.assert_allclose(figures["verification"], others["verification"], rtol=1e-5)
    (one, _), (other, _), _ = steps._both(
        state.params["network"], {**frozen(), **state.statistics}, values, TRUNK, steps.EVERYTHING
    )
    assert one.shape[1:3] == (3, 2) and other.shape[1:3] == (2, 2)


@pytest.mark.slow
def test_kept_outputs_of_the_frozen_blocks_train_as_the_images_do():
    """With the running statistics that the frozen blocks keep."""
    values = {name: x for name, x in test_steps.batch().items() if name.startswith("whole")}
    given = {"inputs": values["whole"], "sizes": values["whole_sizes"], "identities": values["whole_identities"]}
    state, _, step = prepared()
    images = functools.partial(
        steps.identification_step, optimiser=optax.sgd(1e-2), trunk=TRUNK._replace(first_block=1), smoothing=0.1
    )
    inputs = test_steps.fcn.preprocess(given["inputs"], "torch")
    kept, sizes = jax.jit(functools.partial(networks.apply, output_stride=16, blocks=(1, 4)))(
        params(), inputs, jnp.asarray(given["sizes"])
    )
    assert kept.shape[1:3] == (3, 2)
    a, figures = jax.jit(images)(state, frozen(), given)
    b, others = step(state, frozen(), given | {"inputs": kept, "sizes": sizes})
    np.testing.assert_allclose(figures["loss"], others["loss"], rtol=1e-4)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), a.statistics, b.statistics)


def test_a_checkpoint_holds_statistics_where_there_are_some():
    state = prepared()[0]
    assert set(state.stored()) == {"step", "params", "optimiser", "statistics"}
    assert steps.State.of(state.stored()) == state
    other = test_steps.prepared()[0]
    assert set(other.stored()) == {"step", "params", "optimiser"} and steps.State.of(other.stored()) == other
