"""Zero-padded batches of images of different sizes, with their true sizes alongside."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dsr_jax.layers.parameters import BLOCKS


@jax.jit  # traced once for each shape, of which a network has few
def zero_outside(x: Float[Array, "batch h w d"], sizes: Int[Array, "batch 2"]) -> Float[Array, "batch h w d"]:
    """A padded batch (B, H, W, ...) with zeros beyond the true height and width of each image, sizes (B, 2).

    Example:
      >>> zero_outside(jnp.ones((1, 2, 2, 1)), jnp.array([[1, 2]]))[0, :, :, 0].tolist()
      [[1.0, 1.0], [0.0, 0.0]]
    """
    rows = jnp.arange(x.shape[1], dtype=sizes.dtype)[None, :] < sizes[:, :1]
    columns = jnp.arange(x.shape[2], dtype=sizes.dtype)[None, :] < sizes[:, 1:]
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], x, jnp.zeros((), x.dtype))


def whole(images: jax.Array) -> jax.Array:
    """(B, 2) sizes of images without padding."""
    return jnp.full((images.shape[0], 2), jnp.asarray(images.shape[1:3]), jnp.int32)


def check(images: jax.Array, blocks: tuple[int, int], frozen_blocks: int, block_stride: Callable[[int], int]) -> None:
    """Checks the arguments of a network's ``apply``.

    Args:
      images: (B, H, W, ...) the input of the first block that is run.
      blocks: first and last block to run.
      frozen_blocks: blocks without gradient.
      block_stride: pixels per cell after so many blocks.

    Raises:
      ValueError: if the images are smaller than one output cell, or an argument is out of its range.
    """
    first, last = blocks
    if not 1 <= first <= last <= BLOCKS:
        raise ValueError(f"blocks must be (first, last) with 1 <= first <= last <= {BLOCKS}, got {blocks}")
    if not 0 <= frozen_blocks <= BLOCKS:
        raise ValueError(f"frozen_blocks must be 0 (none) to {BLOCKS}, got {frozen_blocks}")
    smallest = block_stride(last) // block_stride(first - 1)
    if min(images.shape[1:3]) < smallest:
        raise ValueError(
            f"images of {images.shape[1]} x {images.shape[2]} are smaller than one output cell: "
            f"the smallest legal size is {smallest} x {smallest}"
        )
