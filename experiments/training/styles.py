"""Styles mixed: a view keeps its picture and takes part of the light of another.

Mean and spread of every channel over a picture, early in a network, say more of the camera than of the person. Zhou,
Yang, Qiao, Xiang, "Domain generalization with MixStyle" (ICLR 2021), exchange part of them between the pictures of a
batch, so that what is learnt behind does not rest on them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dsr_jax.layers.padding import zero_outside

VIEWS = {"inputs": "sizes", "whole": "whole_sizes", "patch": "patch_sizes"}  # of batches, and their sizes
BETA, EPSILON = 0.1, 1e-6  # shares are drawn from Beta(0.1, 0.1): mostly near 0 or 1; below any variance


def mixed(inputs: jax.Array, sizes: jax.Array, key: jax.Array, *, probability: float) -> jax.Array:
    """(B, h, w, d) with, at some rows, part of the mean and spread of another row's channels.

        x' = (x - m) / s * (a s + (1 - a) s2) + a m + (1 - a) m2,    a from Beta(0.1, 0.1)

    Example:
      >>> import jax, jax.numpy as jnp
      >>> x, sizes = jnp.array([[[[1.0], [3.0]]], [[[10.0], [30.0]]]]), jnp.array([[1, 2], [1, 2]])
      >>> mixed(x, sizes, jax.random.key(1), probability=0.0).ravel().tolist()
      [1.0, 3.0, 10.0, 30.0]
    """
    choice, order, shares = jax.random.split(key, 3)
    rows, x = len(inputs), inputs.astype(jnp.float32)
    count = jnp.maximum(jnp.prod(sizes, axis=1), 1).astype(jnp.float32)[:, None, None, None]
    mean = jnp.sum(zero_outside(x, sizes), axis=(1, 2), keepdims=True) / count
    var = jnp.sum(zero_outside(jnp.square(x - mean), sizes), axis=(1, 2), keepdims=True) / count
    spread = jnp.sqrt(var + EPSILON)
    other = jax.random.permutation(order, rows)
    own = jax.random.beta(shares, BETA, BETA, (rows,))
    own = jnp.where(jax.random.bernoulli(choice, probability, (rows,)), own, 1)[:, None, None, None]
    as_mixed = own * spread + (1 - own) * spread[other]
    moved = (x - mean) / spread * as_mixed + own * mean + (1 - own) * mean[other]
    return jnp.where(own == 1, inputs, zero_outside(moved, sizes).astype(inputs.dtype))


def before(step: Callable[..., Any], *, probability: float, seed: int) -> Callable[..., Any]:
    """The train step on batches whose views are mixed, by a draw that is a function of seed and step."""
    if not probability:
        return step

    def mixing(state: Any, frozen: Any, batch: dict[str, Any], **options: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        there = {view: sizes for view, sizes in VIEWS.items() if view in batch}
        for number, (view, sizes) in enumerate(there.items()):
            drawn = jax.random.fold_in(key, number)
            batch = batch | {view: mixed(batch[view], batch[sizes], drawn, probability=probability)}
        return step(state, frozen, batch, **options)

    return mixing
