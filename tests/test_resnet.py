"""ResNet-50: against float64 by hand, a padded batch against each image alone, statistics against their definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import fcn, losses, resnet

from .resnet_by_hand import ByHand
from .test_fcn import image, relative

WIDTH = 1 / 16
SIZES = [(97, 53), (64, 96), (33, 47), (128, 34)]  # odd ones, and ends of every kind inside the padding


@functools.cache
def params(width: float = WIDTH) -> fcn.Params:
    """Random parameters with scales, biases and statistics, which `init` has at 1 and 0: what padding could leak."""
    rng = np.random.default_rng(0)
    drawn = resnet.init(jax.random.key(0), width=width)
    draws = {
        "scale": lambda n: rng.uniform(0.5, 1.5, n),
        "bias": lambda n: rng.normal(0, 0.3, n),
        "mean": lambda n: rng.normal(0, 0.3, n),
        "var": lambda n: rng.uniform(0.5, 2.0, n),
    }
    return {
        name: {k: x if k == "kernel" else jnp.asarray(draws[k](x.size), jnp.float32) for k, x in leaves.items()}
        for name, leaves in drawn.items()
    }


@functools.partial(jax.jit, static_argnames=("last_stride", "blocks", "frozen_blocks", "dtype"))
def apply(weights, images, sizes=None, **options):
    return resnet.apply(weights, images, sizes, **options)


def batch(sizes, shape=(128, 96)) -> tuple[jax.Array, jax.Array]:
    """Images of these sizes, zero-padded to one shape, and their sizes."""
    images = np.zeros((len(sizes), *shape, 3), np.float32)
    for row, size in enumerate(sizes):
        images[row, : size[0], : size[1]] = image(*size)
    return jnp.asarray(images), jnp.array(sizes)


@pytest.mark.parametrize("last_stride", [2, 1])
def test_padded_batch_equals_each_image_alone(last_stride):
    stride = 16 * last_stride
    maps, map_sizes = apply(params(), *batch(SIZES), last_stride=last_stride)
    assert map_sizes.tolist() == [[-(-h // stride), -(-w // stride)] for h, w in SIZES]
    exact = ByHand(params(), last_stride=last_stride).maps([image(*size) for size in SIZES])
    for row, (height, width) in enumerate(map_sizes.tolist()):
        found = np.asarray(maps[row])
        assert exact[row].shape == (height, width, 128) and exact[row].max() > 0.1, "a dead network proves nothing"
        assert relative(found[:height, :width], exact[row]) <= 1e-5
        assert not found[height:].any() and not found[:, width:].any(), "maps are zero beyond their sizes"


@pytest.mark.slow
def test_an_image_alone_needs_no_sizes():
    x = image(65, 40)
    found, sizes = apply(params(), jnp.asarray(x)[None])
    assert sizes.tolist() == [[3, 2]] and relative(np.asarray(found[0]), ByHand(params()).maps([x])[0]) <= 1e-5
    middle, _ = apply(params(), jnp.asarray(x)[None], blocks=(1, 4))
    without_jit, _ = resnet.apply(params(), middle, blocks=(5, 5))
    np.testing.assert_allclose(without_jit, found, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_training_counts_true_positions_only():
    """Maps and moved statistics of a padded batch are those of its images, whatever the padding."""
    maps, map_sizes, statistics = jax.jit(resnet.train)(params(), *batch(SIZES))
    by_hand = ByHand(params(), momentum=0.1)
    exact = by_hand.maps([image(*size) for size in SIZES])
    for row, (height, width) in enumerate(map_sizes.tolist()):
        assert relative(np.asarray(maps[row, :height, :width]), exact[row]) <= 1e-4
        assert not maps[row, height:].any() and not maps[row, :, width:].any()
    assert statistics.keys() == by_hand.statistics.keys() and len(statistics) == 53
    for name, leaves in by_hand.statistics.items():
        for leaf, expected in leaves.items():
            assert relative(np.asarray(statistics[name][leaf]), expected) <= 1e-5, (name, leaf)


@pytest.mark.slow
def test_a_batch_on_several_devices_is_one_batch():
    """Shared out by rows and filled up with rows of no size: the same statistics, which all devices then have."""
    weights, (images, sizes) = params(1 / 64), batch(SIZES[:3])
    expected, _, moved = resnet.train(weights, images, sizes, blocks=(1, 2))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("rows",))
    filled = jnp.concatenate([images, images[:1]]), jnp.concatenate([sizes, jnp.zeros((1, 2), sizes.dtype)])
    rows, everywhere = jax.sharding.PartitionSpec("rows"), jax.sharding.PartitionSpec()

    def run(weights, images, sizes):
        return resnet.train(weights, images, sizes, blocks=(1, 2), total=lambda x: jax.lax.psum(x, "rows"))

    shared = jax.shard_map(run, mesh=mesh, in_specs=(everywhere, rows, rows), out_specs=(rows, rows, everywhere))
    found, found_sizes, statistics = jax.jit(shared)(weights, *filled)
    np.testing.assert_allclose(found[:3], expected, rtol=1e-4, atol=1e-5)
    assert not found[3].any() and found_sizes[3].tolist() == [0, 0]
    for name, leaves in moved.items():
        for leaf, value in leaves.items():
            np.testing.assert_allclose(statistics[name][leaf], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_frozen_blocks_keep_their_statistics_and_have_no_gradient():
    inputs, sizes = jnp.asarray(np.random.default_rng(0).random((2, 8, 6, 8), np.float32)), jnp.array([[8, 6], [5, 4]])
    inputs = fcn.zero_outside(inputs, sizes)

    def total(weights):
        maps, _, statistics = resnet.train(weights, inputs, sizes, blocks=(4, 5), frozen_blocks=4)
        return jnp.sum(jnp.square(maps)), statistics

    weights = params(1 / 64)
    (_, statistics), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(weights)
    for name, leaves in weights.items():
        moved = int(name[5]) == 5
        for leaf, x in leaves.items():
            has_slope = bool(jnp.abs(gradient[name][leaf]).max() > 0)
            assert has_slope == (moved and leaf not in resnet.STATISTICS), (name, leaf)
            if leaf in resnet.STATISTICS:
                assert bool((statistics[name][leaf] != x).any()) == moved, (name, leaf)


@pytest.mark.slow
def test_derivative_through_the_statistics_of_a_padded_batch(x64):
    """By finite differences along a line."""
    images, sizes = batch([(40, 33), (64, 64)], (64, 64))
    rng = np.random.default_rng(3)
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params(1 / 32))
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)) * jnp.std(leaf), weights)

    @jax.jit
    def along(t):
        moved = jax.tree.map(lambda a, b: a + t * b, weights, direction)
        options = {"blocks": (1, 2), "dtype": jnp.float64}  # each kind of layer is in them
        return jnp.sum(jnp.square(resnet.train(moved, images.astype(jnp.float64), sizes, **options)[0]))

    slope, h = jax.jit(jax.grad(along))(0.0), 1e-6
    np.testing.assert_allclose(slope, (along(h) - along(-h)) / (2 * h), rtol=1e-4)


@pytest.mark.slow
def test_no_gradient_reaches_the_running_statistics():
    """Fine-tuning with fixed statistics moves scales and biases alone."""
    inputs = jnp.ones((1, 64, 32, 3))
    slope = jax.jit(jax.grad(lambda weights: resnet.apply(weights, inputs, blocks=(1, 1))[0].sum()))(params(1 / 64))
    moving = {leaf: bool(jnp.abs(value).max() > 0) for leaf, value in slope["block1_norm"].items()}
    assert moving == {"scale": True, "bias": True, "mean": False, "var": False}


def test_statistics_are_set_apart_and_put_back():
    trained, statistics = resnet.split(params())
    assert {leaf for leaves in trained.values() for leaf in leaves} == {"kernel", "scale", "bias"}
    assert len(statistics) == 53 and set(statistics["block1_norm"]) == {"mean", "var"}
    joined = resnet.join(trained, statistics)
    assert jax.tree.structure(joined) == jax.tree.structure(params())
    with pytest.raises(ValueError, match=r"params are not those of a ResNet-50: .*block1_norm.mean.*resnet.join"):
        resnet.apply(trained, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="params are not those of a ResNet-50: they lack block1_conv.kernel"):
        resnet.apply(fcn.init(jax.random.key(0), width=0.03), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.slow
def test_blocks_joined_again_are_the_whole():
    x, sizes = batch([(50, 90)], (64, 96))
    whole, whole_sizes = apply(params(), x, sizes, last_stride=1)
    middle, middle_sizes = apply(params(), x, sizes, last_stride=1, blocks=(1, 3))
    joined, joined_sizes = apply(params(), middle, middle_sizes, last_stride=1, blocks=(4, 5))
    np.testing.assert_allclose(joined, whole, rtol=1e-5, atol=1e-5)
    assert joined_sizes.tolist() == whole_sizes.tolist() == [[4, 6]] and middle_sizes.tolist() == [[7, 12]]


@pytest.mark.slow
def test_block_strides_are_those_of_the_maps():
    shapes = jax.eval_shape(functools.partial(resnet.init, width=WIDTH), jax.random.key(0))
    for block, last_stride in ((1, 2), (3, 2), (5, 2), (5, 1)):
        whole = functools.partial(resnet.apply, blocks=(1, block), last_stride=last_stride)
        maps, _ = jax.eval_shape(whole, shapes, jax.ShapeDtypeStruct((1, 128, 64, 3), jnp.float32))
        stride = resnet.block_stride(block, last_stride)
        assert maps.shape[1:3] == (128 // stride, 64 // stride)


@pytest.mark.slow
def test_the_published_shapes():
    shapes = jax.eval_shape(resnet.init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(resnet.split(shapes)[0])) == 23_508_032  # torchvision's, without fc
    for last_stride, shape in {2: (8, 4, 2048), 1: (16, 8, 2048)}.items():
        run = functools.partial(resnet.apply, last_stride=last_stride)
        maps, _ = jax.eval_shape(run, shapes, jax.ShapeDtypeStruct((2, 256, 128, 3), jnp.float32))
        assert maps.shape == (2, *shape)


@pytest.mark.slow
def test_bfloat16_has_statistics_in_float32():
    x, sizes = batch(SIZES[:2])
    maps, _ = apply(params(), x, sizes, blocks=(1, 2), dtype=jnp.bfloat16)
    exact, _ = apply(params(), x, sizes, blocks=(1, 2))
    assert maps.dtype == jnp.bfloat16 and relative(np.asarray(maps, np.float32), np.asarray(exact)) <= 0.05
    _, _, statistics = jax.eval_shape(functools.partial(resnet.train, dtype=jnp.bfloat16), params(), x, sizes)
    assert {leaf.dtype for leaf in jax.tree.leaves(statistics)} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_pooled_is_the_mean_of_the_true_area():
    maps, sizes = apply(params(), *batch(SIZES))
    found = losses.pooled(maps, sizes)
    for row, (height, width) in enumerate(sizes.tolist()):
        np.testing.assert_allclose(found[row], maps[row, :height, :width].mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_init():
    drawn = resnet.init(jax.random.key(1), width=0.25)
    kernel = np.asarray(drawn["block4c_conv2"]["kernel"])
    assert kernel.shape == (3, 3, 64, 64) and abs(kernel.std() / np.sqrt(2 / (9 * 64)) - 1) < 0.05
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(drawn))
    other = resnet.init(jax.random.key(2), width=0.25)
    assert not np.array_equal(other["block4c_conv2"]["kernel"], kernel)
    assert resnet.init(jax.random.key(0), width=1e-3)["block1_conv"]["kernel"].shape == (7, 7, 3, 1)
    for width in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="width must be positive"):
            resnet.init(jax.random.key(0), width=width)


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((31, 64), {}, "smallest legal size is 32 x 32"),
        ((15, 64), {"last_stride": 1}, "smallest legal size is 16 x 16"),
        ((64, 64), {"last_stride": 3}, "last_stride must be 1 or 2, got 3"),
        ((64, 64), {"blocks": (0, 5)}, "blocks must be"),
        ((64, 64), {"blocks": (4, 3)}, "blocks must be"),
        ((64, 64), {"frozen_blocks": -1}, "frozen_blocks must be"),
        ((64, 64), {"frozen_blocks": 6}, "frozen_blocks must be"),
    ],
    ids=str,
)
def test_errors_say_what_is_legal(size, options, words):
    for run in (resnet.apply, resnet.train):
        with pytest.raises(ValueError, match=words):
            run(params(), jnp.zeros((1, *size, 3)), **options)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\]"):
        resnet.train(params(), jnp.zeros((1, 32, 32, 3)), momentum=1.5)
