"""Instance normalisation: each channel of each image by its own mean and variance over the true area."""

import jax
import jax.numpy as jnp
from flax import nnx

from dsr_jax.layers import modules
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.pooling import pooled

EPSILON = 1e-5


class InstanceNorm(nnx.Module):
    """Normalisation of each image's channels over its true positions, then scale and bias; in float32."""

    def __init__(self, channels: int):
        self.scale, self.bias = (nnx.Param(modules.shape(channels)) for _ in range(2))

    def __call__(self, x: jax.Array, sizes: jax.Array) -> jax.Array:
        """Padded positions do not count; what is written to them is any number."""
        values = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)
        mean = pooled(zero_outside(values, sizes), sizes)[:, None, None, :]
        var = pooled(zero_outside(jnp.square(values - mean), sizes), sizes)[:, None, None, :]
        scale, bias = (part[...].astype(values.dtype)[None, None, None, :] for part in (self.scale, self.bias))
        return ((values - mean) * jax.lax.rsqrt(var + EPSILON) * scale + bias).astype(x.dtype)
