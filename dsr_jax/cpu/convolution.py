"""The 3 x 3 convolution of the network (SAME, stride 1, channels last), and its gradients.

On a GPU or TPU, for few channels or other types than float32, and where plain XLA is asked for (see `dsr_jax.cpu`), it
is XLA's own. On the CPU XLA's gradient in the kernel runs at a sixth of what the processor can do, its forward pass at
two thirds; there `winograd` (many pixels) and `im2col` (few) write straight into XLA's buffers.
"""

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, Float

from dsr_jax import cpu
from dsr_jax.cpu import im2col, winograd
from dsr_jax.parallel.varying import vary, varying

LAYOUT = ("NHWC", "HWIO", "NHWC")
# From so many channels (in and out) and products per window on another way than XLA's is faster, and from so many 4 x 4
# tiles in a batch on it is winograd.
CHANNELS, WORK, TILES = 64, 1 << 24, 64


def convolve(
    images: Float[Array, "batch height width channels"], kernel: Float[Array, "3 3 channels outputs"]
) -> Float[Array, "batch height width outputs"]:
    """Every 3 x 3 window of the images (zero outside), times the kernel.

    Returns:
      (B, H, W, D). Differentiable once, backwards, in both arguments. For several devices use `jax.shard_map`: a batch
      that the compiler shares out by itself is gathered for operations that it does not know.
    """
    if not pays(images, kernel):
        return _xla(images, kernel)
    over = varying(images, kernel)
    return _fast(vary(images, over), vary(kernel, over))


def pays(images: Any, kernel: Any) -> bool:
    """Whether another way than XLA's is the faster one, for arrays of these shapes and types on this machine."""
    return (
        cpu.fast()
        and images.dtype == kernel.dtype == jnp.float32
        and kernel.shape[:3] == (3, 3, images.shape[3])
        and min(kernel.shape[2:]) >= CHANNELS
        and math.prod(images.shape) * kernel.shape[3] >= WORK
    )


def _xla(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


@jax.custom_vjp
def _fast(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return call(_way(images).convolve, (*images.shape[:3], kernel.shape[3]), images, kernel)


def _forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _fast(images, kernel), (images, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    way = _way(images)
    return (
        call(way.image_gradient, images.shape, gradient, kernel),
        call(way.kernel_gradient, kernel.shape, images, gradient),
    )


_fast.defvjp(_forward, _backward)


def _way(images: jax.Array) -> ModuleType:
    """The module whose convolution is the faster one for images of this shape."""
    batch, height, width, _ = images.shape
    tiles = batch * -(-height // winograd.TILE) * -(-width // winograd.TILE)
    return winograd if tiles >= TILES else im2col


def call(function: Callable[..., None], shape: tuple[int, ...], *arrays: jax.Array) -> jax.Array:
    """A function that writes into its last argument, as an operation of XLA."""
    operation = buffer_callback(_host(function), jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="sequential")
    return vary(operation(*arrays), varying(*arrays))


@functools.cache  # for JAX a new function would be another program
def _host(function: Callable[..., None]) -> Callable[..., None]:
    def host(_: Any, out: Any, *given: Any) -> None:
        with np.errstate(all="ignore"):  # a network that diverges gives infinities, as XLA's does
            function(*map(np.asarray, given), np.asarray(out))

    return host
