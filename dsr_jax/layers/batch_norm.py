"""Batch normalisation of the true positions of a padded batch, and its running statistics."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dsr_jax.layers import modules
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.parameters import Params

EPSILON = 1e-5
MOMENTUM = 0.1  # share of the batch in the new running statistics, as torch counts it
STATISTICS = ("mean", "var")


class Training(NamedTuple):
    """Normalisation by the batch: its share in the running statistics, and the sum over all devices.

    With ``measure_only`` the statistics move and nothing is divided by them: scale and bias alone count.
    """

    momentum: float
    total: Callable[[jax.Array], jax.Array]
    measure_only: bool = False


class BatchNorm(nnx.Module):
    """Normalisation of channels, by running statistics or by those of the batch's true positions; in float32."""

    def __init__(self, channels: int):
        self.scale, self.bias = (nnx.Param(modules.shape(channels)) for _ in range(2))
        self.mean, self.var = (nnx.BatchStat(modules.shape(channels)) for _ in range(2))

    def __call__(self, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
        """``training=None`` leaves the running statistics as they are, and normalises by them."""
        norm = {"scale": self.scale[...], "bias": self.bias[...], "mean": self.mean[...], "var": self.var[...]}
        if training is None:
            return _by_running(x, norm)
        y, mean, var = _by_batch(x, sizes, norm, training)
        # Not by self.mean[...] = ..., which compares where old and new lie: dear for values that are traced.
        self.mean.set_value(mean)
        self.var.set_value(var)
        return y


# Jitted, as a network has dozens of them of few shapes: each shape is traced once.


@jax.jit
def _by_running(x: jax.Array, norm: Mapping[str, jax.Array]) -> jax.Array:
    """Normalised by the running statistics."""
    mean, var = jax.lax.stop_gradient((norm["mean"], norm["var"]))
    return _applied(x, {**norm, "mean": mean, "var": var})


@functools.partial(jax.jit, static_argnames="training")
def _by_batch(
    x: jax.Array, sizes: jax.Array, norm: Mapping[str, jax.Array], training: Training
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalised by the true positions of the batch, with the running mean and the running, unbiased, variance."""
    values, momentum, total = _precise(x), training.momentum, training.total
    count = jnp.maximum(total(jnp.sum(jnp.prod(sizes, axis=1)).astype(values.dtype)), 1)
    mean = total(jnp.sum(zero_outside(values, sizes), axis=(0, 1, 2))) / count
    var = total(jnp.sum(zero_outside(jnp.square(values - _row(mean, values)), sizes), axis=(0, 1, 2))) / count
    unbiased = var * count / jnp.maximum(count - 1, 1)
    running = [
        (1 - momentum) * norm[name] + momentum * jax.lax.stop_gradient(value).astype(norm[name].dtype)
        for name, value in (("mean", mean), ("var", unbiased))
    ]
    if training.measure_only:
        mean, var = jnp.zeros_like(mean), jnp.full_like(var, 1 - EPSILON)
    return _applied(x, {**norm, "mean": mean, "var": var}), running[0], running[1]


def _applied(x: jax.Array, norm: Mapping[str, jax.Array]) -> jax.Array:
    values = _precise(x)
    factor, shift = affine(norm)
    return (values * _row(factor, values) + _row(shift, values)).astype(x.dtype)


def _precise(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def affine(norm: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Factor and shift of every channel that a normalisation by its mean and variance comes to."""
    factor = jax.lax.rsqrt(norm["var"] + EPSILON) * norm["scale"]
    return factor, norm["bias"] - norm["mean"] * factor


def combined(
    counts: Sequence[int], means: Sequence[jax.Array | np.ndarray], variances: Sequence[jax.Array | np.ndarray]
) -> tuple[jax.Array, jax.Array]:
    """Mean and unbiased variance of every channel over several batches, from those of each.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.layers import batch_norm
      >>> parts = [np.array([[1.0], [2.0], [6.0]]), np.array([[3.0], [4.0]])]
      >>> each = [[len(p) for p in parts], [p.mean(axis=0) for p in parts], [p.var(axis=0, ddof=1) for p in parts]]
      >>> [float(x[0]) for x in batch_norm.combined(*each)], float(np.concatenate(parts).var(ddof=1))
      ([3.2000000476837..., 3.7000000476837...], 3.7)
    """
    count = np.asarray(counts, np.float64)[:, None]
    mean_of, var_of = (np.asarray(x, np.float64) for x in (means, variances))
    mean = (count * mean_of).sum(axis=0) / max(count.sum(), 1)
    squares = np.maximum(count - 1, 0) * var_of + count * np.square(mean_of - mean)
    return jnp.asarray(mean, jnp.float32), jnp.asarray(squares.sum(axis=0) / max(count.sum() - 1, 1), jnp.float32)


def check_momentum(momentum: float) -> None:
    """Raises ValueError for a share that is not in [0, 1]."""
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}; torch's default is 0.1")


def initial(channels: int) -> dict[str, jax.Array]:
    """Scale, bias and running statistics before training."""
    zeros, ones = jnp.zeros(channels), jnp.ones(channels)
    return {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}


def split(params: Params) -> tuple[Params, Params]:
    """The trained parameters, and the running statistics, which an optimiser must not touch; `join` is the inverse.

    Example:
      >>> from dsr_jax import resnet
      >>> resnet.split({"n": {"scale": 1, "bias": 2, "mean": 3, "var": 4}, "c": {"kernel": 5}})
      ({'n': {'scale': 1, 'bias': 2}, 'c': {'kernel': 5}}, {'n': {'mean': 3, 'var': 4}})
    """
    trained = {name: {k: x for k, x in leaves.items() if k not in STATISTICS} for name, leaves in params.items()}
    running = {name: {k: x for k, x in leaves.items() if k in STATISTICS} for name, leaves in params.items()}
    return trained, {name: leaves for name, leaves in running.items() if leaves}


def join(params: Params, statistics: Params) -> Params:
    """The parameters with these running statistics in the place of their own.

    Example:
      >>> from dsr_jax import resnet
      >>> resnet.join({"n": {"scale": 1, "mean": 2}}, {"n": {"mean": 3}})
      {'n': {'scale': 1, 'mean': 3}}
    """
    return {name: {**leaves, **statistics.get(name, {})} for name, leaves in params.items()}


def _row(channels: jax.Array, like: jax.Array) -> jax.Array:
    """One number per channel, against activations."""
    return channels.astype(like.dtype)[None, None, None, :]
