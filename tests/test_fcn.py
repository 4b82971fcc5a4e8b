"""The network: against a float64 forward pass by hand, and a padded batch against each image alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import fcn

from . import oracles

WIDTH = 1 / 32


@functools.cache
def params(width: float = WIDTH) -> fcn.Params:
    """Random parameters with biases, which `init` has at zero: a bias is what padding could leak."""
    rng = np.random.default_rng(0)
    drawn = fcn.init(jax.random.key(0), width=width)
    return {
        name: {"kernel": layer["kernel"], "bias": jnp.asarray(rng.standard_normal(layer["bias"].shape, np.float32))}
        for name, layer in drawn.items()
    }


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, height, width)).standard_normal((height, width, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("output_stride", "blocks", "frozen_blocks", "dtype"))
def apply(weights, images, sizes=None, **options):
    return fcn.apply(weights, images, sizes, **options)


def alone(x: np.ndarray, **options) -> np.ndarray:
    return np.asarray(apply(params(), jnp.asarray(x)[None], **options)[0][0])


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize(("size", "stride"), [((64, 64), 32), ((45, 70), 16), ((33, 65), 32)], ids=str)
def test_agrees_with_the_forward_pass_by_hand(size, stride):
    x = image(*size)
    exact = oracles.vgg16(params(), x, output_stride=stride)
    found = alone(x, output_stride=stride)
    assert found.shape == exact.shape == (size[0] // stride, size[1] // stride, 16)
    assert exact.max() > 0.1, "a dead network proves nothing"
    assert relative(found, exact) <= 1e-5


@pytest.mark.parametrize("stride", [32, 16])
def test_padded_batch_equals_each_image_alone(stride):
    sizes = [(97, 53), (64, 96), (32, 47), (128, 33)]
    images = np.zeros((4, 128, 96, 3), np.float32)
    for row, size in enumerate(sizes):
        images[row, : size[0], : size[1]] = image(*size)
    maps, map_sizes = apply(params(), jnp.asarray(images), jnp.array(sizes), output_stride=stride)
    assert map_sizes.tolist() == [[h // stride, w // stride] for h, w in sizes]
    for row, (height, width) in enumerate(map_sizes.tolist()):
        found = np.asarray(maps[row])
        exact = oracles.vgg16(params(), image(*sizes[row]), output_stride=stride)
        assert relative(found[:height, :width], exact) <= 1e-5
        assert not found[height:].any() and not found[:, width:].any(), "maps are zero beyond their sizes"


def test_the_paper_s_shapes():
    for size, shape in {(320, 120): (10, 3, 512), (64, 64): (2, 2, 512)}.items():
        maps, sizes = jax.eval_shape(fcn.apply, full(), jax.ShapeDtypeStruct((2, *size, 3), jnp.float32))
        assert maps.shape == (2, *shape) and sizes.shape == (2, 2)


def full() -> dict:
    """Shapes of the full network's parameters, none of them drawn."""
    shapes, before = {}, 3
    for block, (count, channels) in enumerate(zip(fcn.CONVOLUTIONS, fcn.CHANNELS, strict=True), start=1):
        for number in range(1, count + 1):
            shapes[f"block{block}_conv{number}"] = {
                "kernel": jax.ShapeDtypeStruct((3, 3, before, channels), jnp.float32),
                "bias": jax.ShapeDtypeStruct((channels,), jnp.float32),
            }
            before = channels
    return shapes


def test_blocks_joined_again_are_the_whole():
    x, sizes = jnp.asarray(image(64, 96))[None], jnp.array([[50, 90]])
    x = fcn.zero_outside(x, sizes)
    whole, whole_sizes = apply(params(), x, sizes, output_stride=16)
    middle, middle_sizes = apply(params(), x, sizes, output_stride=16, blocks=(1, 3))
    joined, joined_sizes = apply(params(), middle, middle_sizes, output_stride=16, blocks=(4, 5))
    np.testing.assert_allclose(joined, whole, rtol=1e-5, atol=1e-5)
    assert joined_sizes.tolist() == whole_sizes.tolist() == [[3, 5]]


@pytest.mark.slow
def test_frozen_blocks_have_no_gradient():
    x = jnp.asarray(image(32, 32))[None]

    def total(weights):
        return jnp.sum(fcn.apply(weights, x, frozen_blocks=3)[0])

    values, gradient = jax.jit(jax.value_and_grad(total))(params())
    moving = {name: float(jnp.abs(layer["kernel"]).max()) > 0 for name, layer in gradient.items()}
    assert moving == {name: int(name[5]) > 3 for name in moving}
    np.testing.assert_allclose(values, apply(params(), x)[0].sum(), rtol=1e-5)


@pytest.mark.slow
def test_derivative_of_a_padded_batch(x64):
    """By finite differences along a line: the masks let the right gradient through."""
    images = np.zeros((2, 64, 64, 3))
    images[0, :40, :33], images[1] = image(40, 33), image(64, 64)
    direction, sizes = np.zeros_like(images), jnp.array([[40, 33], [64, 64]])
    direction[0, :40, :33], direction[1] = image(40, 33, 1), image(64, 64, 1)
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params())

    @jax.jit
    def along(t):
        maps = fcn.apply(weights, images + t * direction, sizes, output_stride=16, dtype=jnp.float64)[0]
        return jnp.sum(maps * maps)

    slope, h = jax.jit(jax.grad(along))(0.0), 1e-6
    np.testing.assert_allclose(slope, (along(h) - along(-h)) / (2 * h), rtol=1e-5)


def test_bfloat16():
    x = image(64, 64)
    maps, _ = apply(params(), jnp.asarray(x)[None], dtype=jnp.bfloat16)
    assert maps.dtype == jnp.bfloat16
    assert relative(np.asarray(maps[0], np.float32), alone(x)) <= 0.05


def test_in_bfloat16_the_gradients_of_a_bias_are_summed_in_float32():
    """Over 40,000 positions whose gradient is 1, or 0 behind a ReLU: a sum in bfloat16 would end at 4,096."""
    images = jnp.zeros((1, 200, 200, 3))

    def total(bias, dtype):
        changed = params() | {"block1_conv2": {**params()["block1_conv2"], "bias": bias}}
        maps, _ = apply(changed, images, dtype=dtype, blocks=(1, 1))
        return jnp.sum(maps.astype(jnp.float32))

    bias = jnp.ones_like(params()["block1_conv2"]["bias"]) * 30
    expected, found = (jax.grad(total)(bias, dtype) for dtype in (jnp.float32, jnp.bfloat16))
    assert float(expected[0]) == 10_000, "one of four positions passes the pool"
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_init():
    drawn = fcn.init(jax.random.key(1), width=0.25)
    assert [layer["kernel"].shape[3] for layer in drawn.values()] == [16] * 2 + [32] * 2 + [64] * 3 + [128] * 6
    kernel = np.asarray(drawn["block5_conv2"]["kernel"])
    assert abs(kernel.std() / np.sqrt(2 / (9 * 128)) - 1) < 0.05 and abs(kernel.mean()) < 1e-3
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(drawn))
    again, other = fcn.init(jax.random.key(1), width=0.25), fcn.init(jax.random.key(2), width=0.25)
    np.testing.assert_array_equal(again["block3_conv1"]["kernel"], drawn["block3_conv1"]["kernel"])
    assert not np.array_equal(other["block3_conv1"]["kernel"], drawn["block3_conv1"]["kernel"])
    assert fcn.init(jax.random.key(0), width=1e-3)["block1_conv1"]["kernel"].shape == (3, 3, 3, 1)


def test_preprocess():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    caffe = rgb[..., ::-1].astype(np.float64) - (103.939, 116.779, 123.68)
    torch = (rgb / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    for images in (rgb, jnp.asarray(rgb), rgb.astype(np.float32)):
        np.testing.assert_allclose(fcn.preprocess(jnp.asarray(images)), caffe, atol=1e-4)
        np.testing.assert_allclose(fcn.preprocess(jnp.asarray(images), "torch"), torch, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((31, 64), {}, "smallest legal size is 32 x 32"),
        ((15, 64), {"output_stride": 16}, "smallest legal size is 16 x 16"),
        ((64, 64), {"output_stride": 8}, "output_stride must be 16 or 32, got 8"),
        ((64, 64), {"blocks": (0, 5)}, "blocks must be"),
        ((64, 64), {"blocks": (4, 3)}, "blocks must be"),
        ((64, 64), {"frozen_blocks": -1}, "frozen_blocks must be"),
        ((64, 64), {"frozen_blocks": 6}, "frozen_blocks must be"),
    ],
    ids=str,
)
def test_errors_say_what_is_legal(size, options, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(
            functools.partial(fcn.apply, **options), full(), jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        )


def test_errors_of_width_and_convention():
    for width in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="width must be positive"):
            fcn.init(jax.random.key(0), width=width)
    with pytest.raises(ValueError, match="convention must be one of"):
        fcn.preprocess(jnp.zeros((2, 2, 3)), "keras")
    with pytest.raises(ValueError, match="3 channels"):
        fcn.preprocess(jnp.zeros((2, 2, 4)))
