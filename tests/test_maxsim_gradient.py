"""MaxSim as a differentiable distance: value and slope against NumPy, masks, batches, what has nothing to compare."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import maxsim


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, where=lengths > 0, out=np.zeros_like(rows))


def pair(seed: int = 0, n: int = 5, m: int = 7, dead: tuple[int, ...] = (), inert: tuple[int, ...] = ()):
    rng = np.random.default_rng(seed)
    x, y = unit(rng.standard_normal((n, 6))), unit(rng.standard_normal((m, 6)))
    x[list(dead)], y[list(inert)] = 0, 0
    return x, y


def by_hand(x: np.ndarray, y: np.ndarray, valid: np.ndarray | None = None) -> float:
    counted = np.any(x, axis=1) & (True if valid is None else valid)
    atoms = y[np.any(y, axis=1)]
    return 1 - float(np.mean([max((float(a @ b) for b in atoms), default=0.0) for a in x[counted]]))


blocks_out = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 4), max_size=4).map(tuple), blocks_out, st.booleans())
def test_value(seed, dead, inert, masked):
    x, y = pair(seed, dead=tuple(set(dead) - {4}), inert=inert)
    valid = (np.random.default_rng(seed).random(5) < 0.6) | (np.arange(5) == 4) if masked else np.ones(5, bool)
    found = maxsim.distance(jnp.float32(x), jnp.float32(y), valid=jnp.asarray(valid))
    np.testing.assert_allclose(found, by_hand(x, y, valid), atol=1e-6)


def test_a_dictionary_without_a_direction():
    x, y = pair(inert=tuple(range(7)))
    value, slopes = jax.value_and_grad(maxsim.distance, argnums=(0, 1))(jnp.float32(x), jnp.float32(y))
    assert value == 1 and all(np.isfinite(s).all() and not np.any(s) for s in slopes)


@pytest.mark.parametrize("side", [0, 1])
def test_nan_is_passed_on(side):
    sides = [jnp.float32(values) for values in pair()]
    sides[side] = sides[side].at[1].set(jnp.nan)
    value, slopes = jax.value_and_grad(maxsim.distance, argnums=(0, 1))(*sides)
    assert np.isnan(value) and np.isnan(slopes[0]).any()


def test_of_equal_cosines_one_has_the_gradient():
    x, y = jnp.float32([[1, 0]]), jnp.float32([[0.6, 0.8], [0, 1], [0.6, -0.8]])
    slope = jax.grad(maxsim.distance, argnums=1)(x, y)
    assert slope.tolist() == [[0, 0], [0, 0], [-1, 0]]


def test_gradient_is_the_finite_difference(x64):
    rng = np.random.default_rng(1)
    for seed in range(4):
        x, y = pair(seed, dead=(2,), inert=(0, 3))
        gradient = jax.grad(maxsim.distance, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(y))
        for _ in range(3):
            move = [rng.standard_normal(side.shape) * np.any(side, axis=1, keepdims=True) for side in (x, y)]
            ends = [by_hand(x + h * move[0], y + h * move[1]) for h in (1e-6, -1e-6)]
            expected = (ends[0] - ends[1]) / 2e-6
            found = sum(float(np.sum(g * v)) for g, v in zip(gradient, move, strict=True))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
            assert abs(expected) > 1e-3


def test_batches_are_loops_and_padding_changes_nothing():
    pairs = [pair(seed) for seed in range(3)]
    x, y = (
        jnp.asarray(np.stack([np.pad(s, ((0, 4), (0, 0))) for s in side]), jnp.float32)
        for side in zip(*pairs, strict=True)
    )
    valid = jnp.arange(9) < 5
    every = jax.vmap(lambda a: jax.vmap(lambda b: maxsim.distance(a, b, valid=valid))(y))
    found, slope = jax.jit(every)(x), jax.jit(jax.grad(lambda a: every(a).sum()))(x)
    np.testing.assert_allclose(found, [[by_hand(a, b) for _, b in pairs] for a, _ in pairs], atol=1e-6)
    assert np.isfinite(slope).all() and not slope[:, 5:].any()


def test_a_probe_without_blocks_is_an_error_or_has_no_number():
    x, y = (jnp.float32(side) for side in pair(dead=(0, 1, 2, 3, 4)))
    with pytest.raises(ValueError, match="probe_blocks .*no valid block"):
        maxsim.distance(x, y)
    assert np.isnan(jax.jit(maxsim.distance)(x, y))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :5], y, None), "same length d"),
        (lambda x, y: (x, y.astype(jnp.float16), None), "float32"),
        (lambda x, y: (x[:0], y, None), "must not be empty"),
        (lambda x, y: (x, y, jnp.ones(3, bool)), "valid must have one entry"),
    ],
)
def test_bad_input(change, message):
    x, y, valid = change(*(jnp.float32(side) for side in pair()))
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(maxsim.distance)(x, y, valid=valid)  # without the checks of types that tests run under
