"""ResNet-50 up to res5c and pool5, for images of any size (Sec. 4.7: whole people, Market-1501).

torchvision's network (the variant called 1.5: a unit's stride is that of its 3x3 convolution). Five blocks, numbered as
in the paper's names: block 1 is the 7x7 convolution and the 3x3 max-pool, blocks 2 to 5 are 3, 4, 6 and 3 bottleneck
units ("block5c" is res5c, torchvision's ``layer4.2``). Every strided layer makes ceil(n / 2) of n cells, as torch's
floor arithmetic does with its padding: 256 x 128 pixels become 8 x 4 x 2048, with ``last_stride=1`` (no stride in
block 5) 16 x 8 x 2048. `losses.pooled` makes the vector pool5 of a map.

Images of different sizes share a batch by zero padding, as in `fcn`: outside the true area activations are set back to
zero after every normalised layer, and padded positions never enter the statistics of a batch. `apply` normalises by
the running statistics, `train` by those of the batch, and returns the running ones moved on.

The parameters are ``{"block1_conv": {"kernel"}, "block1_norm": {"scale", "bias", "mean", "var"}, "block2a_conv1": ...,
"block2a_shortcut_conv": ...}``; mean and var are the running statistics, which no gradient reaches (see `split`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from dsr_jax.cpu import convolution
from dsr_jax.layers import batch_norm, modules, padding, parameters
from dsr_jax.layers.batch_norm import MOMENTUM, STATISTICS, BatchNorm, Training, join, split
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.parameters import Params
from dsr_jax.layers.pooling import halved, max_pool

__all__ = [
    "CHANNELS",
    "MOMENTUM",
    "STATISTICS",
    "Params",
    "ResNet50",
    "apply",
    "block_stride",
    "init",
    "join",
    "norm",
    "shapes",
    "split",
    "train",
]

_UNITS = {2: 3, 3: 4, 4: 6, 5: 3}  # bottleneck units of each block
CHANNELS = 64  # of the stem and of the first bottleneck; they double from block to block
_EXPANSION = 4  # a unit's outputs per bottleneck channel


class ResNet50(nnx.Module):
    """The convolutions and their normalisations; `_forward` joins them."""

    def __init__(self, width: float, *, last_stride: int, dtype: Any = jnp.float32):
        for name, (side, _, width_in, width_out) in shapes(width).items():
            options: dict[str, Any] = {
                "strides": _stride(name, last_stride),
                "padding": side // 2,
                "use_bias": False,
                "dtype": dtype,
                "conv_general_dilated": _convolve,
            }
            setattr(self, name, modules.convolution(width_in, width_out, (side, side), **options))
            setattr(self, norm(name), BatchNorm(width_out))


def init(key: jax.Array, *, width: float = 1.0) -> Params:
    """Random parameters (He initialisation) of a network ``width`` times as wide as ResNet-50.

    Args:
      key: a JAX random key.
      width: multiplier of all channel counts; the narrowest has at least one.

    Returns:
      The parameters, a nested dictionary of float32 arrays; running means 0 and variances 1.

    Raises:
      ValueError: if ``width`` is not positive.

    Example:
      >>> import jax
      >>> from dsr_jax import resnet
      >>> resnet.init(jax.random.key(0), width=0.125)["block5c_conv3"]["kernel"].shape
      (1, 1, 64, 256)
    """
    parameters.check_width(width, "ResNet-50")
    params: Params = {}
    kernels = parameters.he_normal(key, shapes=tuple(shapes(width).values()))
    for name, kernel in zip(shapes(width), kernels, strict=True):
        params |= {name: {"kernel": kernel}, norm(name): batch_norm.initial(kernel.shape[3])}
    return params


def apply(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    last_stride: int = 2,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"]]:
    """Spatial feature maps (res5c) of a batch of zero-padded images, normalised by the running statistics.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, in the input convention of the weights: "torch" for
        torchvision's (see `fcn.preprocess`). With ``blocks=(k, ...)``, k > 1: the output of block k - 1 instead.
      sizes: (B, 2) true heights and widths in pixels (or cells of the given activations); default: no padding.
      last_stride: stride of block 5: 2 (one cell per 32 pixels) or 1 (per 16).
      blocks: first and last block to run, so that a frozen prefix can be computed once and kept.
      frozen_blocks: no gradient flows into blocks 1 to ``frozen_blocks``, and none is computed for them.
      dtype: type of the convolutions, float32 or bfloat16; normalisation is in float32 in any case.

    Returns:
      maps: (B, h, w, d) of type ``dtype``, zero beyond each map's size.
      map_sizes: (B, 2) true heights and widths of the maps: ``ceil(size / 32)``, or 16 with ``last_stride=1``.

    Raises:
      ValueError: if the padded images are smaller than one output cell, or an argument is out of its range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import resnet
      >>> params = resnet.init(jax.random.key(0), width=0.0625)
      >>> maps, sizes = jax.jit(resnet.apply)(params, jnp.zeros((1, 256, 120, 3)))
      >>> maps.shape, sizes.tolist()
      ((1, 8, 4, 128), [[8, 4]])
    """
    options: dict[str, Any] = {"blocks": blocks, "frozen_blocks": frozen_blocks, "dtype": dtype}
    maps, map_sizes, _ = _forward(params, images, sizes, None, last_stride=last_stride, **options)
    return maps, map_sizes


def train(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    momentum: float = MOMENTUM,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
    last_stride: int = 2,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"], Params]:
    """As `apply`, normalised by the statistics of the batch's true positions; the frozen blocks by their running ones.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), or the output of block k - 1 with ``blocks=(k, ...)``, as of `apply`.
      sizes: (B, 2) true heights and widths. A row of size (0, 0) counts for nothing, so a batch can be
        filled up with such rows.
      momentum: share of this batch in the new running statistics; torch's default is 0.1.
      total: the sum over all devices that share the batch, ``lambda x: jax.lax.psum(x, axis)`` inside a `jax.shard_map`
        over its rows, so that the statistics are those of the whole batch; default: it is all here.
      last_stride: 2 or 1.
      blocks: first and last block to run.
      frozen_blocks: blocks without gradient, whose running statistics stay.
      dtype: float32 or bfloat16.

    Returns:
      Maps (B, h, w, d), their sizes (B, 2), and the running statistics after this batch, ``{"block1_norm": {"mean",
      "var"}, ...}``: `join` puts them into the parameters.

    Raises:
      ValueError: as `apply`, and if ``momentum`` is not in [0, 1].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import resnet
      >>> params = resnet.init(jax.random.key(0), width=0.03)
      >>> maps, sizes, statistics = resnet.train(params, jnp.ones((2, 32, 32, 3)), blocks=(1, 1))
      >>> float(resnet.join(params, statistics)["block1_norm"]["mean"][0]) == 0.0
      False
    """
    batch_norm.check_momentum(momentum)
    options: dict[str, Any] = {"blocks": blocks, "frozen_blocks": frozen_blocks, "dtype": dtype}
    training = Training(float(momentum), total)
    return _forward(params, images, sizes, training, last_stride=last_stride, **options)


def shapes(width: float = 1.0) -> dict[str, tuple[int, int, int, int]]:
    """The (side, side, in, out) kernel of every convolution by name, in the order of computation.

    Example:
      >>> from dsr_jax import resnet
      >>> len(resnet.shapes()), resnet.shapes()["block3a_conv2"]
      (53, (3, 3, 128, 128))
    """
    stem = max(1, round(width * CHANNELS))
    found, width_in = {"block1_conv": (7, 7, 3, stem)}, stem
    for block, units in _UNITS.items():
        narrow = stem * 2 ** (block - 2)
        for unit in "abcdef"[:units]:
            name = f"block{block}{unit}"
            found[f"{name}_conv1"] = (1, 1, width_in, narrow)
            found[f"{name}_conv2"] = (3, 3, narrow, narrow)
            found[f"{name}_conv3"] = (1, 1, narrow, _EXPANSION * narrow)
            if unit == "a":
                found[f"{name}_shortcut_conv"] = (1, 1, width_in, _EXPANSION * narrow)
            width_in = _EXPANSION * narrow
    return found


def norm(convolution_name: str) -> str:
    """The name of a convolution's normalisation."""
    return convolution_name.replace("conv", "norm")


def block_stride(block: int, last_stride: int = 2) -> int:
    """Pixels per cell after ``block`` blocks (0: the image itself)."""
    return (1, 4, 4, 8, 16, 16 * last_stride)[block]


def _forward(
    params: Params,
    images: jax.Array,
    sizes: jax.Array | None,
    training: Training | None,
    *,
    last_stride: int,
    blocks: tuple[int, int],
    frozen_blocks: int,
    dtype: Any,
) -> tuple[jax.Array, jax.Array, Params]:
    """Maps, their sizes, and the running statistics as they are afterwards."""
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, got {last_stride}")
    padding.check(images, blocks, frozen_blocks, lambda block: block_stride(block, last_stride))
    sizes = padding.whole(images) if sizes is None else sizes
    network = _network(params, last_stride, dtype)
    x = jnp.asarray(images, dtype)
    for block in range(blocks[0], blocks[1] + 1):
        now = None if block <= frozen_blocks else training
        if block == 1:
            sizes = halved(sizes)
            x = max_pool(_layer(network, "block1_conv", x, sizes, now))
            sizes = halved(sizes)
            x = zero_outside(x, sizes)  # a pool reaches one cell beyond the true area
        for unit in "abcdef"[: _UNITS.get(block, 0)]:
            x, sizes = _unit(network, f"block{block}{unit}", x, sizes, now)
        if block <= frozen_blocks:
            x = jax.lax.stop_gradient(x)
    return x, sizes, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))


def _unit(
    network: ResNet50, name: str, x: jax.Array, sizes: jax.Array, training: Training | None
) -> tuple[jax.Array, jax.Array]:
    """A bottleneck and its shortcut: 1x1, 3x3 (with the stride), 1x1, the sum, ReLU."""
    after = halved(sizes) if getattr(network, f"{name}_conv2").strides == 2 else sizes
    y = _layer(network, f"{name}_conv1", x, sizes, training)
    y = _layer(network, f"{name}_conv2", y, after, training)
    y = _normalised(network, f"{name}_conv3", y, after, training)
    if hasattr(network, f"{name}_shortcut_conv"):
        x = _normalised(network, f"{name}_shortcut_conv", x, after, training)
    return zero_outside(nnx.relu(x + y), after), after


def _layer(network: ResNet50, name: str, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
    """Convolution, normalisation, ReLU, and zeros outside the true area."""
    return zero_outside(nnx.relu(_normalised(network, name, x, sizes, training)), sizes)


def _normalised(network: ResNet50, name: str, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
    """Convolution and normalisation; sizes are those after the convolution."""
    return getattr(network, norm(name))(getattr(network, name)(x), sizes, training)


def _convolve(images: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **_: Any) -> jax.Array:
    """The fastest way to a convolution; Flax calls it with the arguments of `jax.lax.conv_general_dilated`."""
    if kernel.shape[:2] == (1, 1):
        return jnp.einsum("bhwc,cd->bhwd", images[:, :: strides[0], :: strides[1]], kernel[0, 0])
    if kernel.shape[:2] == (3, 3) and strides == (1, 1):
        return convolution.convolve(images, kernel)
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=convolution.LAYOUT)


def _stride(name: str, last_stride: int) -> int:
    """The stride of a convolution: those of a block are in its first unit, and block 2 follows a pool."""
    if name == "block1_conv":
        return 2
    strided = name in (f"{name[:6]}a_conv2", f"{name[:6]}a_shortcut_conv")
    return {2: 1, 5: last_stride}.get(parameters.block_of(name), 2) if strided else 1


def _network(params: Mapping[str, Any], last_stride: int, dtype: Any) -> ResNet50:
    """The module with ``params`` in it; the channel counts are read off the first kernel."""
    stem = params.get("block1_conv", {}).get("kernel")
    width = 1.0 if stem is None else stem.shape[-1] / CHANNELS
    leaves = [(name, "kernel") for name in shapes(width)]
    leaves += [(norm(name), leaf) for name in shapes(width) for leaf in ("scale", "bias", *STATISTICS)]
    lacking = [f"{name}.{leaf}" for name, leaf in leaves if leaf not in params.get(name, {})]
    if lacking:
        raise ValueError(
            f"params are not those of a ResNet-50: they lack {', '.join(lacking[:3])} ({len(lacking)} arrays in all); "
            "pass what resnet.init or weights.load returned, running statistics included (resnet.join puts them back)"
        )
    network = modules.abstract(ResNet50, width, last_stride=last_stride, dtype=dtype)
    nnx.update(network, params)
    return network
