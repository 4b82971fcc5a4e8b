"""VGG-16 (`fcn`) and ResNet-50 (`resnet`) behind one interface: the parameters decide which network runs.

Everything that takes "a network's parameters" (extraction, training, the runners) goes through here (Sec. 3.1, 4.7).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dsr_jax import fcn, resnet
from dsr_jax.layers.parameters import Params, split

__all__ = ["INIT", "Params", "apply", "architecture", "channels", "init", "last_stride", "map_size", "split", "train"]

_FIRST = {"block1_conv1": "vgg16", "block1_conv": "resnet50"}  # by the name of the first layer
_LAST = {"vgg16": "block5_conv3", "resnet50": "block5c_conv3"}
INIT = {"vgg16": fcn.init, "resnet50": resnet.init}


def architecture(params: Params) -> str:
    """Which network the parameters are of, "vgg16" or "resnet50".

    Raises:
      ValueError: if they are of neither.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks
      >>> networks.architecture(fcn.init(jax.random.key(0), width=0.125))
      'vgg16'
    """
    for layer, name in _FIRST.items():
        if layer in params:
            return name
    raise ValueError(
        f"params must be those of fcn or resnet, as weights.load returns them, got layers {', '.join(list(params)[:5])}"
    )


def channels(params: Params) -> int:
    """The d of the network's (h, w, d) maps.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks
      >>> networks.channels(fcn.init(jax.random.key(0), width=0.125))
      64
    """
    return int(params[_LAST[architecture(params)]]["kernel"].shape[3])


def apply(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    output_stride: int = 32,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"]]:
    """`fcn.apply` or `resnet.apply`; both networks have five blocks.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, or the output of block k - 1 with ``blocks=(k, ...)``.
      sizes: (B, 2) true heights and widths; default: no padding.
      output_stride: pixels per cell of the maps: 32, or 16 (VGG-16 without its last pool, ResNet-50 with a last stride
        of 1).
      blocks: first and last block that are run.
      frozen_blocks: blocks without gradient.
      dtype: type of the computation.

    Returns:
      maps: (B, h, w, d).
      map_sizes: (B, 2), ``floor(size / output_stride)`` of VGG-16, ``ceil`` of ResNet-50.

    Raises:
      ValueError: as `fcn.apply` and `resnet.apply`.
    """
    options: dict[str, Any] = {"blocks": blocks, "frozen_blocks": frozen_blocks, "dtype": dtype}
    if architecture(params) == "vgg16":
        return fcn.apply(params, images, sizes, output_stride=output_stride, **options)
    return resnet.apply(params, images, sizes, last_stride=last_stride(output_stride), **options)


def map_size(
    params: Params, size: tuple[int, int], *, output_stride: int = 32, first_block: int = 1
) -> tuple[int, int]:
    """Height and width of the map of an image, or of an output of block ``first_block - 1``.

    VGG-16 leaves out the last cell where it is cut, ResNet-50 does not: n pixels make floor(n / output_stride) cells of
    the one and ceil(n / output_stride) of the other.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks, resnet
      >>> params = fcn.init(jax.random.key(0), width=0.02), resnet.init(jax.random.key(0), width=0.02)
      >>> [networks.map_size(one, (120, 64)) for one in params]
      [(3, 2), (4, 2)]
    """
    if architecture(params) == "vgg16":
        cell = output_stride // 2 ** (first_block - 1)
        return size[0] // cell, size[1] // cell
    cell = output_stride // resnet.block_stride(first_block - 1)
    return -(-size[0] // cell), -(-size[1] // cell)


def train(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
    output_stride: int = 32,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"], Params]:
    """`fcn.apply` or `resnet.train`: normalised by the batch where the network has batch normalisation.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, or the output of block k - 1 with ``blocks=(k, ...)``.
      sizes: (B, 2) true heights and widths; default: no padding.
      total: the sum over all devices that share the batch, see `resnet.train`.
      output_stride: pixels per cell of the maps, 32 or 16.
      blocks: first and last block that are run.
      frozen_blocks: blocks without gradient.
      dtype: type of the computation.

    Returns:
      Maps (B, h, w, d), their sizes (B, 2), and the running statistics after this batch (`resnet.join` puts them in
      place), empty for VGG-16.

    Raises:
      ValueError: as `fcn.apply` and `resnet.train`.
    """
    options: dict[str, Any] = {"blocks": blocks, "frozen_blocks": frozen_blocks, "dtype": dtype}
    if architecture(params) == "vgg16":
        return *fcn.apply(params, images, sizes, output_stride=output_stride, **options), {}
    return resnet.train(params, images, sizes, total=total, last_stride=last_stride(output_stride), **options)


def last_stride(output_stride: int) -> int:
    """The stride of ResNet-50's block 5 for this many pixels per cell, 16 or 32."""
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 16 or 32, got {output_stride}")
    return output_stride // 16


def init(architecture: str, key: jax.Array, *, width: float = 1.0) -> Params:
    """Random parameters of a network by name, see `INIT`."""
    if architecture not in INIT:
        raise ValueError(f"architecture must be one of {', '.join(INIT)}, got {architecture!r}")
    return INIT[architecture](key, width=width)
