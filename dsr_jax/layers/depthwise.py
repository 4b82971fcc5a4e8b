"""Depthwise 3 x 3 convolutions (a kernel of its own for each channel; SAME, stride 1, channels last).

XLA's convolution with as many groups as channels takes dozens of times as long on a CPU as the sum of nine shifted
products, which compiles to one loop. The gradient in the images is the same sum with the kernel turned by half a
circle; that in the kernel is nine sums over all positions, which on a CPU `dsr_jax.cpu.depthwise` takes several times
faster than XLA.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dsr_jax import cpu
from dsr_jax.cpu import convolution
from dsr_jax.cpu import depthwise as compiled
from dsr_jax.parallel.varying import vary, varying


def convolve(
    images: Float[Array, "batch height width channels"], kernel: Float[Array, "3 3 1 channels"]
) -> Float[Array, "batch height width channels"]:
    """Every 3 x 3 window of each channel (zero outside), times the channel's kernel.

    Differentiable once, backwards, in both arguments.

    Example:
      >>> import jax.numpy as jnp
      >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))).ravel().tolist()
      [4.0, 4.0, 4.0, 4.0]
    """
    over = varying(images, kernel)
    return _once(vary(images, over), vary(kernel[:, :, 0], over))


@jax.custom_vjp
def _convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    products = (window * kernel[down, right][None, None, None, :] for (down, right), window in _windows(images).items())
    return functools.reduce(jnp.add, products)


def _forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(images, kernel), (images, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    return _convolve(gradient, kernel[::-1, ::-1]), _kernel_gradient(images, gradient).astype(kernel.dtype)


_convolve.defvjp(_forward, _backward)
_once = jax.jit(_convolve)  # traced once for all convolutions of a shape, of which a network has many


def _kernel_gradient(images: jax.Array, gradient: jax.Array) -> jax.Array:
    """(3, 3, C): for every place of the kernel, the sum over all positions of its window's number and the gradient."""
    if cpu.fast() and images.dtype == gradient.dtype == jnp.float32:
        return convolution.call(compiled.kernel_gradient, (3, 3, images.shape[3]), images, gradient)
    products = [window * gradient for window in _windows(images).values()]
    sums = jax.lax.reduce(
        products,
        [jnp.zeros((), gradient.dtype)] * 9,
        lambda a, b: [x + y for x, y in zip(a, b, strict=True)],
        (0, 1, 2),
    )
    return jnp.stack(sums).reshape(3, 3, -1)


def _windows(images: jax.Array) -> dict[tuple[int, int], jax.Array]:
    """The images shifted to every place (down, right) of a kernel, zero outside."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return {
        (down, right): padded[:, down : down + height, right : right + width] for down in range(3) for right in range(3)
    }
