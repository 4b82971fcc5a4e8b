"""The convolutions beside XLA's: against float64 sums, their gradients, and inside JAX's transformations."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import fcn
from dsr_jax.cpu import convolution, im2col, winograd

WAYS = (winograd, im2col)
SHAPES = st.tuples(*(st.integers(1, top) for top in (3, 11, 11, 9, 9)))
EXACT = 3e-6  # of the largest result


def windows(images):
    """(batch, H, W, 3, 3, C) in float64, zero outside."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3)


def problem(batch, height, width, channels, outputs, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (batch, height, width, channels), (3, 3, channels, outputs), (batch, height, width, outputs)
    return [rng.standard_normal(size).astype(np.float32) for size in sizes]


def results(way, images, kernel, gradient):
    """All three, into arrays that hold NaN before: every number must be written."""
    found = [np.full(like.shape, np.nan, np.float32) for like in (gradient, images, kernel)]
    way.convolve(images, kernel, found[0])
    way.image_gradient(gradient, kernel, found[1])
    way.kernel_gradient(images, gradient, found[2])
    return found


def expected(images, kernel, gradient):
    """The same from the definition, in float64."""
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2).astype(np.float64)
    out = np.einsum("bhwijc,ijcd->bhwd", windows(images), kernel.astype(np.float64))
    back = np.einsum("bhwijd,ijdc->bhwc", windows(gradient), turned)
    return out, back, np.einsum("bhwijc,bhwd->ijcd", windows(images), gradient.astype(np.float64))


@pytest.mark.parametrize("way", WAYS)
@given(shape=SHAPES, seed=st.integers(0, 9))
def test_results_are_those_of_the_definition(way, shape, seed):
    arrays = problem(*shape, seed=seed)
    for found, right in zip(results(way, *arrays), expected(*arrays), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=EXACT * max(1, np.abs(right).max()))


def test_many_channels_stay_accurate():
    arrays = problem(2, 13, 7, 256, 96)
    for way in WAYS:
        for found, right in zip(results(way, *arrays), expected(*arrays), strict=True):
            np.testing.assert_allclose(found, right, rtol=0, atol=EXACT * np.abs(right).max())


def test_chunks_change_nothing(monkeypatch):
    arrays = problem(3, 17, 9, 8, 4)
    whole = results(winograd, *arrays)
    monkeypatch.setattr(winograd, "CHUNK", 1)  # a chunk per line of tiles
    assert len(winograd._chunks(arrays[0].shape, 12)) == 15
    for one, other in zip(whole, results(winograd, *arrays), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=EXACT * np.abs(one).max())


def test_images_of_a_batch_do_not_touch():
    images, kernel, _ = problem(2, 9, 6, 5, 4)
    both, alone = np.empty((2, 9, 6, 4), np.float32), np.empty((1, 9, 6, 4), np.float32)
    images[0] = 1e3
    winograd.convolve(images, kernel, both)
    winograd.convolve(images[1:], kernel, alone)
    np.testing.assert_allclose(both[1], alone[0], atol=1e-5)


@pytest.fixture
def everywhere(monkeypatch):
    """As if every convolution were large enough."""
    monkeypatch.setattr(convolution, "CHANNELS", 1)
    monkeypatch.setattr(convolution, "WORK", 1)
    monkeypatch.setattr(convolution, "TILES", 8)


@pytest.mark.parametrize("batch", [1, 4])  # columns, winograd
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_value_and_gradients_are_those_of_xla(everywhere, batch, wrap):
    images, kernel, gradient = map(jnp.asarray, problem(batch, 7, 9, 6, 5))
    assert convolution._way(images) is (im2col if batch == 1 else winograd)
    found, back = jax.vjp(wrap(convolution.convolve), images, kernel)
    right, right_back = jax.vjp(convolution._xla, images, kernel)
    np.testing.assert_allclose(found, right, atol=2e-5)
    for one, other in zip(back(gradient), right_back(gradient), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_vmap_is_a_loop(everywhere):
    images, kernel, _ = map(jnp.asarray, problem(6, 7, 9, 4, 5))
    found = jax.vmap(convolution.convolve, (0, None))(images[:, None], kernel)[:, 0]
    np.testing.assert_allclose(found, convolution._xla(images, kernel), atol=2e-5)


def test_devices_share_a_batch(everywhere):
    images, kernel, _ = map(jnp.asarray, problem(16, 8, 8, 4, 4))
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec("batch")

    def loss(kernel, images):
        return jnp.sum(jnp.sin(convolution.convolve(images, kernel)))

    def shared(kernel, images):
        return jax.lax.psum(loss(kernel, images), "batch")

    specs = {"in_specs": (jax.sharding.PartitionSpec(), rows), "out_specs": jax.sharding.PartitionSpec()}
    right = jax.grad(loss)(kernel, images)
    mapped = jax.jit(jax.grad(jax.shard_map(shared, mesh=mesh, **specs)))
    spread = jax.device_put(images, jax.sharding.NamedSharding(mesh, rows))
    np.testing.assert_allclose(mapped(kernel, spread), right, atol=2e-3)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(kernel, spread), right, atol=2e-3)


def test_results_that_differ_by_device_are_not_taken_for_one(everywhere):
    images, kernel, _ = map(jnp.asarray, problem(16, 8, 8, 4, 4))
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, rows = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")
    with pytest.raises(ValueError, match="out_specs"):
        jax.shard_map(convolution.convolve, mesh=mesh, in_specs=(rows, whole), out_specs=whole)(images, kernel)


def test_calls_outside_jit_compile_once(everywhere):
    images, kernel, _ = map(jnp.asarray, problem(1, 5, 6, 3, 3))
    jax.grad(lambda k: convolution.convolve(images, k).sum())(kernel)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(logging.getLogger("jax._src.interpreters.pxla"), "log", lambda *about: compiled.append(about))
        jax.grad(lambda k: convolution.convolve(images, k).sum())(kernel)
        assert not compiled
        jax.grad(lambda k: convolution.convolve(images[:, 1:], k).sum())(kernel)
        assert compiled, "this test can't fail"


def test_a_network_that_diverges_gives_what_it_gives(everywhere):
    images, kernel, _ = map(jnp.asarray, problem(4, 8, 8, 4, 4))
    found = convolution.convolve(images.at[0, 0, 0, 0].set(1e38).at[1, 0, 0, 0].set(jnp.nan), kernel)
    assert not np.isfinite(found[:2]).all()
    np.testing.assert_allclose(found[2:], convolution._xla(images, kernel)[2:], atol=2e-5)


@pytest.mark.parametrize("size", [1, 5])
def test_other_kernels_are_left_to_xla(everywhere, size):
    images, kernel = jnp.ones((1, 6, 6, 2)), jnp.ones((size, size, 2, 2))
    assert not convolution.pays(images, kernel)
    assert not convolution.pays(images, jnp.ones((3, 3, 5, 2)))


def test_choice_is_by_size_and_type():
    def pays(shape, outputs, dtype=jnp.float32):
        images = jax.ShapeDtypeStruct(shape, dtype)
        return convolution.pays(images, jax.ShapeDtypeStruct((3, 3, shape[3], outputs), dtype))

    assert pays((4, 80, 30, 256), 256)
    assert not pays((4, 80, 30, 3), 64)
    assert not pays((1, 4, 4, 64), 64)
    assert not pays((4, 80, 30, 256), 256, jnp.bfloat16)


@pytest.mark.slow
def test_network_is_the_same_network(monkeypatch):
    params = fcn.init(jax.random.key(0), width=0.125)
    images = jax.random.normal(jax.random.key(1), (2, 64, 48, 3)) * 50
    sizes = jnp.array([[64, 48], [50, 40]])

    def loss(params):
        return jnp.mean(jnp.square(fcn.apply(params, images, sizes, output_stride=16)[0]))

    value, gradient = jax.value_and_grad(loss)(params)
    for name, least in (("CHANNELS", 1), ("WORK", 1)):
        monkeypatch.setattr(convolution, name, least)
    other, other_gradient = jax.value_and_grad(loss)(params)
    assert float(other) == pytest.approx(float(value), rel=1e-5)
    for layer, values in gradient.items():
        for kind, right in values.items():
            found = other_gradient[layer][kind]
            np.testing.assert_allclose(found, right, atol=2e-5 * float(jnp.abs(right).max()), err_msg=f"{layer} {kind}")
