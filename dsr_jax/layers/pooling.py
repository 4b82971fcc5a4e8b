"""Pooling of zero-padded maps: strided maxima and averages, and the average over the true area."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def pooled(maps: Float[Array, "batch h w d"], map_sizes: Int[Array, "batch 2"]) -> Float[Array, "batch d"]:
    """Average of each map over its true area: (B, d). Maps are zero beyond their sizes.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import losses
      >>> losses.pooled(jnp.zeros((1, 4, 2, 3)).at[0, :2].set(1.0), jnp.array([[2, 2]])).tolist()
      [[1.0, 1.0, 1.0]]
    """
    area = jnp.maximum(jnp.prod(map_sizes, axis=1), 1).astype(maps.dtype)  # a map without cells: zero, not NaN
    return jnp.sum(maps, axis=(1, 2)) / area[:, None]


def max_pool(x: jax.Array) -> jax.Array:
    """3 x 3 max-pooling, stride 2, padding 1, of values >= 0 (so that zeros are no more than torch's -infinity)."""
    for axis in (1, 2):
        outputs = -(-x.shape[axis] // 2)
        padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)])
        windows = (jax.lax.slice_in_dim(padded, k, k + 2 * outputs - 1, 2, axis) for k in range(3))
        x = functools.reduce(jnp.maximum, windows)
    return x


def average_pool(x: jax.Array) -> jax.Array:
    """2 x 2 average pooling, stride 2, VALID."""
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    corners = (x[:, down:height:2, right:width:2] for down in (0, 1) for right in (0, 1))
    return functools.reduce(jnp.add, corners) / jnp.asarray(4, x.dtype)


def halved(sizes: jax.Array) -> jax.Array:
    """Cells after a strided layer: torch's floor((n + 2 padding - side) / 2) + 1, which is ceil(n / 2)."""
    return (sizes + 1) // 2
