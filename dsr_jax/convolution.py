"""The 3 x 3 convolution of the network, with a gradient that is fast on the CPU.

XLA's CPU compiler multiplies matrices several times faster than it forms the gradient of a convolution with respect to
its kernel, a correlation of two large images. That gradient is nine matrix products, one per tap of the kernel:

    dK[i, j] = sum over images and positions of  x[. + i, . + j]' dy

which is what `convolve` computes there; the gradient with respect to the image is a convolution of dy with the turned
kernel, and fast as it is. Accelerators, other types than float32 and narrow layers keep XLA's own.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

NHWC = ("NHWC", "HWIO", "NHWC")
WIDE = 96  # channels (in and out, geometric mean) from which nine products are faster


def convolve(x: Array, kernel: Array, *arguments: Any, **options: Any) -> Array:
    """`jax.lax.conv_general_dilated` of a stride of one and SAME padding, for `flax.nnx.Conv`."""
    inputs, outputs = kernel.shape[2:]
    if jax.default_backend() != "cpu" or x.dtype != jnp.float32 or inputs * outputs < WIDE**2:
        return lax.conv_general_dilated(x, kernel, *arguments, **options)
    return same(x, kernel)


@jax.custom_vjp
def same(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b h w o"]:
    """3 x 3 convolution with zero padding.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.convolution import same
      >>> same(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
      [[4.0, 4.0], [4.0, 4.0]]
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return same(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    dx = same(dy, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    height, width = x.shape[1:3]
    padded, columns = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), dy.reshape(-1, dy.shape[3])
    taps = [padded[:, i : i + height, j : j + width].reshape(-1, x.shape[3]).T @ columns for i, j in TAPS]
    return dx, jnp.stack(taps).reshape(kernel.shape)


TAPS = [(i, j) for i in range(3) for j in range(3)]
same.defvjp(_forward, _backward)
