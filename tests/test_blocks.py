"""Blocks: against loops in float64, their lengths, their order, their masks and their derivatives."""

import functools
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import blocks

from . import oracles

SCALES = (1, 2, 3)


def feature_map(shape: tuple[int, ...], seed: int = 0, *, signed: bool = True) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return values if signed else np.maximum(values, 0)


@functools.cache
def compiled(**options) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.jit(functools.partial(blocks.cut, **options))


def cut(m: np.ndarray, size: tuple[int, int] | None = None, **options) -> tuple[np.ndarray, np.ndarray]:
    values, valid = compiled(**options)(jnp.asarray(m), None if size is None else jnp.array(size))
    return np.asarray(values), np.asarray(valid)


@pytest.mark.parametrize("pooling", blocks.POOLINGS)
@pytest.mark.parametrize("shape", [(5, 3, 7), (1, 1, 4), (2, 5, 1)])
def test_agrees_with_loops(shape, pooling):
    for signed in (True, False):
        m = feature_map(shape, signed=signed)
        values, valid = cut(m, scales=SCALES, pooling=pooling)
        np.testing.assert_allclose(values, oracles.blocks(m, scales=SCALES, pooling=pooling), atol=2e-6)
        assert valid.all() and len(values) == blocks.count(*shape[:2], scales=SCALES)


def test_float64(x64):
    m = feature_map((4, 3, 5)).astype(np.float64)
    for pooling in blocks.POOLINGS:
        values, _ = cut(m, scales=SCALES, pooling=pooling)
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, oracles.blocks(m, scales=SCALES, pooling=pooling), atol=1e-14)


def test_bfloat16_keeps_its_type():
    m = jnp.asarray(feature_map((4, 3, 5)), jnp.bfloat16)
    for pooling in blocks.POOLINGS:
        values, _ = compiled(scales=(1, 2), pooling=pooling)(m)
        assert values.dtype == jnp.bfloat16
        exact = oracles.blocks(np.asarray(m, np.float32), scales=(1, 2), pooling=pooling)
        np.testing.assert_allclose(np.asarray(values, np.float32), exact, atol=0.03)


@hypothesis.given(height=st.integers(1, 12), width=st.integers(1, 12), scales=st.sets(st.integers(1, 5), min_size=1))
def test_count_is_the_number_of_windows(height, width, scales):
    windows = [(s, i, j) for s in scales for i in range(height - s + 1) for j in range(width - s + 1)]
    assert blocks.count(height, width, scales=tuple(scales)) == len(windows)


@pytest.mark.parametrize("pooling", blocks.POOLINGS)
def test_padding_changes_nothing(pooling):
    """The valid blocks of a padded map are those of the map alone, in its order; the others are zero."""
    padded = np.zeros((6, 5, 3), np.float32)
    function = compiled(scales=SCALES, pooling=pooling)
    for size in [(6, 5), (4, 5), (3, 2), (1, 1), (2, 4), (0, 0)]:
        m = feature_map((*size, 3)) - 3  # all negative: a maximum over padding would be seen
        padded[:] = 0
        padded[: size[0], : size[1]] = m
        values, valid = (np.asarray(v) for v in function(jnp.asarray(padded), jnp.array(size)))
        assert valid.sum() == blocks.count(*size, scales=SCALES)
        assert not values[~valid].any()
        if size[0]:
            np.testing.assert_allclose(values[valid], oracles.blocks(m, scales=SCALES, pooling=pooling), atol=2e-6)


@hypothesis.given(exponent=st.integers(-30, 30), seed=st.integers(0, 100))
def test_scaling_a_map_changes_nothing(exponent, seed):
    m = feature_map((3, 2, 4), seed)
    np.testing.assert_allclose(
        cut(m * np.float32(2.0**exponent), scales=(1, 2))[0], cut(m, scales=(1, 2))[0], atol=1e-6
    )


def test_unit_lengths_and_zero_blocks():
    m = feature_map((4, 4, 6))
    m[1:3, 1:3] = 0
    values, valid = cut(m, scales=(1, 2))
    lengths = np.linalg.norm(values, axis=1)
    zero = lengths == 0
    assert zero.sum() == 5 and valid.all()  # four cells, and the one window that is all zero
    np.testing.assert_allclose(lengths[~zero], 1, atol=1e-6)


def test_vmap_is_a_loop():
    maps = jnp.asarray(feature_map((3, 4, 3, 5)))
    together = jax.jit(jax.vmap(lambda m: blocks.cut(m, scales=(1, 2))[0]))(maps)
    for m, values in zip(maps, together, strict=True):
        np.testing.assert_allclose(cut(m, scales=(1, 2))[0], values, atol=1e-6)


@pytest.mark.parametrize("pooling", blocks.POOLINGS)
def test_derivative(pooling, x64):
    m = feature_map((4, 3, 5)).astype(np.float64)
    weights = np.random.default_rng(1).standard_normal((blocks.count(4, 3, scales=SCALES), 5))

    def total(m: jax.Array) -> jax.Array:
        return jnp.sum(blocks.cut(m, scales=SCALES, pooling=pooling)[0] * weights)

    gradient = np.asarray(jax.jit(jax.grad(total))(jnp.asarray(m)))
    direction, h = np.random.default_rng(2).standard_normal(m.shape), 1e-6

    def shifted(sign: int) -> float:
        return np.sum(oracles.blocks(m + sign * h * direction, scales=SCALES, pooling=pooling) * weights)

    np.testing.assert_allclose(np.sum(gradient * direction), (shifted(1) - shifted(-1)) / (2 * h), rtol=1e-7)


def test_derivative_is_finite_at_zero_blocks():
    """Maps after a ReLU have cells that are all zero: their gradient is zero, not NaN."""
    m = jnp.zeros((2, 2, 3)).at[0, 0].set(1.0)
    gradient = jax.jit(jax.grad(lambda m: jnp.sum(blocks.cut(m, scales=(1, 2))[0])))(m)
    assert np.isfinite(gradient).all()
    gradient = jax.jit(jax.grad(lambda m: jnp.sum(blocks.cut(m, jnp.array([1, 1]), scales=(1, 2))[0])))(m)
    assert np.isfinite(gradient).all() and not gradient[1].any()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scales": ()}, "scales"),
        ({"scales": (0, 1)}, "scales"),
        ({"pooling": "median"}, "pooling"),
        ({"scales": (4,)}, "feature_map"),
    ],
    ids=str,
)
def test_errors_name_the_argument(arguments, named):
    with pytest.raises(ValueError, match=named):
        blocks.cut(jnp.ones((3, 3, 2)), **arguments)


def test_a_larger_scale_is_skipped():
    values, _ = cut(feature_map((2, 5, 3)), scales=(1, 3))
    assert len(values) == 10
