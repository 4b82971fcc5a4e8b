"""Depthwise convolution: XLA's grouped convolution as oracle, compiled and in XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import cpu
from dsr_jax.layers import depthwise

from . import quick


def grouped(images, kernel):
    """XLA's own way."""
    how = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": images.shape[3]}
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", **how)


def drawn(batch, height, width, channels, dtype=np.float32):
    rng = np.random.default_rng(height * 100 + width)
    images = rng.standard_normal((batch, height, width, channels))
    return tuple(jnp.asarray(x, dtype) for x in (images, rng.standard_normal((3, 3, 1, channels))))


def gradients(function, images, kernel):
    """In images and kernel, of sums that differ from place to place."""
    weights = jnp.asarray(np.random.default_rng(7).standard_normal(images.shape), images.dtype)
    return jax.grad(lambda x, k: jnp.sum(function(x, k) * weights), argnums=(0, 1))(images, kernel)


def assert_same(images, kernel):
    for own, expected in [
        (depthwise.convolve(images, kernel), grouped(images, kernel)),
        *zip(gradients(depthwise.convolve, images, kernel), gradients(grouped, images, kernel), strict=True),
    ]:
        assert own.shape == expected.shape and own.dtype == expected.dtype
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize(
    "shape",
    quick.only([(2, 5, 4, 3), (2, 1, 2, 17)], [(2, 5, 4, 3), (2, 1, 2, 17), (1, 1, 1, 1), (2, 5, 1, 3), (3, 2, 3, 8)]),
)
def test_maps_and_gradients_are_xlas(shape):
    assert_same(*drawn(*shape))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 5, 1, 3), (3, 6, 4, 5)])
def test_plain_xla_is_the_same(shape):
    with cpu.plain_xla():
        assert_same(*drawn(*shape))


@pytest.mark.slow
def test_derivative_in_float64(x64):
    images, kernel = drawn(2, 4, 5, 3, np.float64)
    assert_same(images, kernel)


def test_kernel_gradient_does_not_depend_on_threads(monkeypatch):
    """Bit for bit, so that a training is repeated on a machine with other cores."""
    images, kernel = drawn(7, 9, 5, 8)
    found = []
    for count in (1, 3):
        monkeypatch.setattr("dsr_jax.cpu.cores.count", functools.partial(int, count))
        found.append(gradients(depthwise.convolve, images, kernel)[1])
    np.testing.assert_array_equal(*found)
