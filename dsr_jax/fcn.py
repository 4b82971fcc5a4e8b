"""VGG-16 without its dense layers, the fully convolutional network of Fig. 3, for images of any size.

13 convolutions (3x3, SAME, ReLU) in five blocks, each block followed by a 2x2 max-pool (stride 2, VALID). An image of
320 x 120 pixels (height x width) becomes a map of 10 x 3 x 512, one of 64 x 64 becomes 2 x 2 x 512. With
``output_stride=16`` the last pool is left out.

Images of different sizes share a batch by zero padding, with their true sizes alongside. Outside the true area the
activations are set back to zero after every layer and pooling floors the true size, so a padded batch gives, to float
rounding, the maps that each image alone would give (docs/mathematics.md, "Images of any size in one batch").

The parameters are a plain nested dictionary ``{"block1_conv1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}``,
with Keras' names; Flax stays inside this file.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dsr_jax.cpu import convolution
from dsr_jax.layers import modules, padding, parameters
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.parameters import Params

__all__ = [
    "CHANNELS",
    "CONVENTIONS",
    "CONVOLUTIONS",
    "VGG16",
    "Params",
    "apply",
    "block_stride",
    "init",
    "preprocess",
    "zero_outside",
]

CONVOLUTIONS = (2, 2, 3, 3, 3)
CHANNELS = (64, 128, 256, 512, 512)
# Input conventions: (channel order, scale, mean, standard deviation) after scaling.
CONVENTIONS = {
    "caffe": ("BGR", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "caffe_rgb": ("RGB", 1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    "torch": ("RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class VGG16(nnx.Module):
    """The 13 convolutions; `apply` joins them."""

    def __init__(self, channels: tuple[int, ...], *, dtype: Any = jnp.float32):
        width_in = 3
        for block, (count, width_out) in enumerate(zip(CONVOLUTIONS, channels, strict=True), start=1):
            for number in range(1, count + 1):
                options: dict[str, Any] = {"dtype": dtype, "conv_general_dilated": _convolve}
                options |= {"promote_dtype": _promoted}
                setattr(self, f"block{block}_conv{number}", modules.convolution(width_in, width_out, (3, 3), **options))
                width_in = width_out


def init(key: jax.Array, *, width: float = 1.0) -> Params:
    """Random parameters (He initialisation) of a network ``width`` times as wide as VGG-16.

    Args:
      key: a JAX random key.
      width: multiplier of the channel counts 64, 128, 256, 512, 512; each is at least 1 after rounding.

    Returns:
      The parameters, a nested dictionary of float32 arrays.

    Raises:
      ValueError: if ``width`` is not positive.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn
      >>> fcn.init(jax.random.key(0), width=0.125)["block1_conv1"]["kernel"].shape
      (3, 3, 3, 8)
    """
    parameters.check_width(width, "VGG-16")
    channels = tuple(max(1, round(width * full)) for full in CHANNELS)
    shapes = nnx.to_pure_dict(nnx.state(_abstract(channels), nnx.Param))
    kernels = parameters.he_normal(key, shapes=tuple(layer["kernel"].shape for layer in shapes.values()))
    return {
        name: {"kernel": kernel, "bias": jnp.zeros(kernel.shape[3])}
        for name, kernel in zip(shapes, kernels, strict=True)
    }


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
    """Spatial feature maps of a batch of zero-padded images (Sec. 3.1, Fig. 3).

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, in the input convention of the weights (see `preprocess`).
        With ``blocks=(k, ...)``, k > 1: the output of block k - 1 instead.
      sizes: (B, 2) true heights and widths in pixels (or cells of the given activations); default: no padding.
      output_stride: 32 (five pools) or 16 (the last one left out).
      blocks: first and last block to run, so that a frozen prefix can be computed once and kept.
      frozen_blocks: no gradient flows into blocks 1 to ``frozen_blocks``, and none is computed for them.
      dtype: type of the computation, float32 or bfloat16.

    Returns:
      maps: (B, h, w, d) of type ``dtype``, zero beyond each map's size.
      map_sizes: (B, 2) true heights and widths of the maps: ``floor(size / output_stride)``.

    Raises:
      ValueError: if the padded images are smaller than one output cell, or an argument is out of its range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import fcn
      >>> maps, sizes = fcn.apply(fcn.init(jax.random.key(0), width=0.125), jnp.zeros((1, 320, 120, 3)))
      >>> maps.shape, sizes.tolist()
      ((1, 10, 3, 64), [[10, 3]])
    """
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 16 or 32, got {output_stride}")
    padding.check(images, blocks, frozen_blocks, lambda block: block_stride(block, output_stride))
    padded = sizes is not None
    sizes = padding.whole(images) if sizes is None else sizes
    network = _network(params, dtype)
    x = jnp.asarray(images, dtype)
    for block in range(blocks[0], blocks[1] + 1):
        for number in range(1, CONVOLUTIONS[block - 1] + 1):
            x = nnx.relu(getattr(network, f"block{block}_conv{number}")(x))
            x = zero_outside(x, sizes) if padded else x
        if block < 5 or output_stride == 32:
            x = _pool(x)
            sizes = sizes // 2
            x = zero_outside(x, sizes) if padded else x
        if block <= frozen_blocks:
            x = jax.lax.stop_gradient(x)
    return x, sizes


def block_stride(block: int, output_stride: int = 32) -> int:
    """Pixels per cell after ``block`` blocks (0: the image itself)."""
    return min(2**block, output_stride)


def preprocess(images: Array | np.ndarray, convention: str = "caffe") -> Float[Array, "*batch height width 3"]:
    """RGB images of 0 to 255 in the input convention of a set of weights.

    Args:
      images: (..., H, W, 3) RGB, uint8 or float, 0 to 255.
      convention: "caffe" (Keras' VGG-16 weights): BGR minus (103.939, 116.779, 123.68); "caffe_rgb" (torchvision's
        IMAGENET1K_FEATURES): the same in the order RGB; "torch" (torchvision's others): RGB divided by 255, minus
        (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225). `weights.read_card` knows it.

    Returns:
      (..., H, W, 3) float32. Pad with zeros after this, not before.

    Raises:
      ValueError: for another convention or another number of channels.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import fcn
      >>> fcn.preprocess(np.zeros((1, 1, 3), np.uint8))[0, 0]
      Array([-103.939, -116.779, -123.68 ], dtype=float32)
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {sorted(CONVENTIONS)}, got {convention!r}")
    if images.shape[-1] != 3:
        raise ValueError(f"images must have 3 channels (RGB) last, got shape {images.shape}")
    order, scale, means, deviations = CONVENTIONS[convention]
    values = jnp.asarray(images, jnp.float32)
    values = values[..., ::-1] if order == "BGR" else values
    mean, deviation = (jnp.broadcast_to(jnp.asarray(v, jnp.float32), values.shape) for v in (means, deviations))
    return (values * jnp.float32(scale) - mean) / deviation


def _pool(x: jax.Array) -> jax.Array:
    """2 x 2 max-pooling, stride 2, VALID, as maxima of four slices: XLA's own gradient of a window is slow on CPU.

    Where maxima are equal their gradient is shared out; after a ReLU that matters nowhere but at equal positive ones.
    """
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    upper, lower = (jnp.maximum(x[:, row:height:2, 0:width:2], x[:, row:height:2, 1:width:2]) for row in (0, 1))
    return jnp.maximum(upper, lower)


def _convolve(images: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """A SAME convolution of stride 1, called by Flax with the arguments of `jax.lax.conv_general_dilated`."""
    return convolution.convolve(images, kernel)


def _promoted(arrays: tuple[jax.Array, jax.Array, jax.Array], *, dtype: Any, **_: Any) -> tuple[jax.Array, ...]:
    """Images, kernel and bias in the type of the computation; Flax calls it before a convolution.

    A bias of a narrower type than its parameter is spread over all positions before it is rounded, not after: so the
    gradients of all positions are summed in float32. In bfloat16 a sum of ones ends at a few hundred.
    """
    images, kernel, bias = arrays
    if jnp.finfo(dtype).bits < jnp.finfo(bias.dtype).bits:
        bias = jnp.broadcast_to(bias, (*images.shape[:3], bias.size))
    return images.astype(dtype), kernel.astype(dtype), bias.astype(dtype)


def _network(params: Params, dtype: Any) -> VGG16:
    """The module with ``params`` in it; the channel counts are read off the shapes."""
    channels = tuple(params[f"block{block}_conv1"]["kernel"].shape[-1] for block in range(1, 6))
    network = _abstract(channels, dtype)
    nnx.update(network, params)
    return network


def _abstract(channels: tuple[int, ...], dtype: Any = jnp.float32) -> VGG16:
    """The module with shapes in place of parameters."""
    return modules.abstract(VGG16, channels, dtype=dtype)
