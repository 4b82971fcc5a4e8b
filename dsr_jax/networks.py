"""VGG-16 (`fcn`), ResNet-50 (`resnet`) and OSNet (`osnet`) behind one interface: the parameters decide which runs.

Everything that takes "a network's parameters" (extraction, training, the runners) goes through here (Sec. 3.1, 4.7).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dsr_jax import ensemble, fcn, osnet, resnet
from dsr_jax.layers import osnet_table
from dsr_jax.layers.parameters import Params, block_of, split

__all__ = [
    "INIT",
    "MAPS",
    "Params",
    "apply",
    "architecture",
    "by_batch",
    "channels",
    "has_vector",
    "init",
    "last_stride",
    "map_size",
    "output_stride",
    "size",
    "split",
    "train",
    "vectors",
]

MAPS = 2  # raised whenever the networks come to compute other maps of the same parameters
TINY = 1e-12  # a vector that is shorter has no direction
INIT: dict[str, Callable[..., Params]] = {
    "vgg16": fcn.init,
    "resnet50": resnet.init,
    **{
        "osnet" if form == "plain" else f"osnet_{form}": functools.partial(osnet.init, form=form)
        for form in osnet.FORMS
    },
}
_LAYER = {"block1_conv1": "vgg16", "block2a_conv2": "resnet50", "block2a_gate_conv1": "osnet"}  # that no other has
_LAST = {"vgg16": "block5_conv3", "resnet50": "block5c_conv3"}


def architecture(params: Params) -> str:
    """Which network the parameters are of: "vgg16", "resnet50", "osnet", "osnet_ibn" or "osnet_ain".

    An ensemble is of the architecture of its members.

    Raises:
      ValueError: if they are of none.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks
      >>> networks.architecture(fcn.init(jax.random.key(0), width=0.125))
      'vgg16'
    """
    one = ensemble.members(params)[0]
    for layer, name in _LAYER.items():
        if layer in one:
            form = osnet_table.form(one)
            return name if name != "osnet" or form == "plain" else f"osnet_{form}"
    raise ValueError(
        "params must be those of fcn, resnet or osnet, as weights.load returns them, got layers "
        f"{', '.join(list(params)[:5])}"
    )


def channels(params: Params) -> int:
    """The d of the network's (h, w, d) maps.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks
      >>> networks.channels(fcn.init(jax.random.key(0), width=0.125))
      64
    """
    each = ensemble.members(params)
    return len(each) * int(each[0][_LAST.get(architecture(params), "block5_conv")]["kernel"].shape[3])


def by_batch(params: Params) -> bool:
    """Whether training normalises by the statistics of a batch: ResNet-50, and OSNet if that is not folded.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks, resnet
      >>> params = fcn.init(jax.random.key(0), width=0.02), resnet.init(jax.random.key(0), width=0.02)
      >>> [networks.by_batch(one) for one in params]
      [False, True]
    """
    return any("mean" in leaves for layer, leaves in params.items() if block_of(layer))


def size(architecture: str) -> tuple[int, int]:
    """Height and width of the images that a network is made for: the paper's, OSNet's own."""
    return osnet.SIZE if architecture.startswith("osnet") else (320, 120)


def output_stride(architecture: str, stride: int | None = None) -> int:
    """Pixels per cell of a network's maps.

    Args:
      architecture: name of the network.
      stride: the one that is asked for; default: 32, and 16 of an OSNet.

    Raises:
      ValueError: if the network has no such stride: OSNet has 16 alone, the others 16 and 32.

    Example:
      >>> from dsr_jax import networks
      >>> networks.output_stride("vgg16"), networks.output_stride("osnet_ain")
      (32, 16)
    """
    possible = (osnet.STRIDE,) if architecture.startswith("osnet") else (32, 16)
    if stride is None:
        return possible[0]
    if stride not in possible:
        raise ValueError(
            f"output_stride must be {' or '.join(map(str, sorted(possible)))} for {architecture}, got {stride}"
        )
    return stride


def apply(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    output_stride: int | None = None,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"]]:
    """`fcn.apply`, `resnet.apply` or `osnet.apply`; all networks have five blocks.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, or the output of block k - 1 with ``blocks=(k, ...)``.
      sizes: (B, 2) true heights and widths; default: no padding.
      output_stride: pixels per cell of the maps: 32, or 16 (VGG-16 without its last pool, ResNet-50 with a last stride
        of 1); of OSNet always 16. Default: 32, of OSNet 16.
      blocks: first and last block that are run.
      frozen_blocks: blocks without gradient.
      dtype: type of the computation.

    Returns:
      maps: (B, h, w, d).
      map_sizes: (B, 2), see `map_size`.

    Raises:
      ValueError: as `fcn.apply`, `resnet.apply` and `osnet.apply`, and for a stride that the network does not have.
    """
    name, options = _options(params, output_stride, blocks=blocks, frozen_blocks=frozen_blocks, dtype=dtype)
    applied: dict[str, Callable[..., Any]] = {"vgg16": fcn.apply, "resnet50": resnet.apply}
    return ensemble.run(applied.get(name, osnet.apply), params, images, sizes, **options)


def map_size(
    params: Params, size: tuple[int, int], *, output_stride: int | None = None, first_block: int = 1
) -> tuple[int, int]:
    """Height and width of the map of an image, or of an output of block ``first_block - 1``.

    VGG-16 leaves out the last cell where it is cut, ResNet-50 does not: n pixels make floor(n / output_stride) cells of
    the one and ceil(n / output_stride) of the other, and floor(ceil(n / 4) / 4) of OSNet.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks, resnet
      >>> params = fcn.init(jax.random.key(0), width=0.02), resnet.init(jax.random.key(0), width=0.02)
      >>> [networks.map_size(one, (120, 64)) for one in params]
      [(3, 2), (4, 2)]
    """
    name = architecture(params)
    stride = _stride(name, output_stride)
    if name == "vgg16":
        cell = stride // 2 ** (first_block - 1)
        return size[0] // cell, size[1] // cell
    if name == "resnet50":
        cell = stride // resnet.block_stride(first_block - 1)
        return -(-size[0] // cell), -(-size[1] // cell)
    return osnet.map_size(size, first_block)


def train(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
    output_stride: int | None = None,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"], Params]:
    """`fcn.apply`, `resnet.train` or `osnet.train`: normalised by the batch where there is batch normalisation.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, or the output of block k - 1 with ``blocks=(k, ...)``.
      sizes: (B, 2) true heights and widths; default: no padding.
      total: the sum over all devices that share the batch, see `resnet.train`.
      output_stride: pixels per cell of the maps, 32 or 16, as of `apply`.
      blocks: first and last block that are run.
      frozen_blocks: blocks without gradient.
      dtype: type of the computation.

    Returns:
      Maps (B, h, w, d), their sizes (B, 2), and the running statistics after this batch (`resnet.join` puts them in
      place), empty for VGG-16 and for an OSNet whose normalisations are folded.

    Raises:
      ValueError: as `apply`, and for an ensemble.
    """
    if len(ensemble.members(params)) > 1:
        raise ValueError("params are an ensemble's: train its members, and make one of them again (`ensemble.of`)")
    name, options = _options(params, output_stride, blocks=blocks, frozen_blocks=frozen_blocks, dtype=dtype)
    if name == "vgg16":
        return *fcn.apply(params, images, sizes, **options), {}
    run = resnet.train if name == "resnet50" else osnet.train
    return run(params, images, sizes, total=total, **options)


def average(one: Params, other: Params, share: float) -> Params:
    """The average of two networks, number by number: (1 - share) times the first and ``share`` times the other.

    Of a network before and after its training it often keeps what the one knew of other data and most of what the
    other has learnt (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). It says nothing of networks
    that do not come from each other. OSNets are folded first (`osnet.fold`).

    Args:
      one: parameters of a network.
      other: those of one of the same architecture, form and width.
      share: of the other, 0 to 1.

    Raises:
      ValueError: for another architecture or width, layers that only one of them has, or a share not in [0, 1].

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks
      >>> one, other = (fcn.init(jax.random.key(seed), width=0.02) for seed in range(2))
      >>> half = networks.average(one, other, 0.5)["block1_conv1"]["kernel"]
      >>> bool((half == (one["block1_conv1"]["kernel"] + other["block1_conv1"]["kernel"]) / 2).all())
      True
    """
    if not (isinstance(share, int | float | np.number) and 0 <= share <= 1):
        raise ValueError(f"share must be a number in [0, 1], got {share!r}")
    if max(len(ensemble.members(params)) for params in (one, other)) > 1:
        raise ValueError("one and other must be single networks: make an ensemble of averages instead")
    names = architecture(one), architecture(other)
    if names[0] != names[1]:
        raise ValueError(f"one and other must be one architecture, got {names[0]} and {names[1]}")
    one, other = ensemble.folded(one), ensemble.folded(other)
    ensemble.check_alike(one, other)
    return {
        name: {k: (1 - share) * x + share * other[name][k] for k, x in leaves.items()} for name, leaves in one.items()
    }


def has_vector(params: Params) -> bool:
    """Whether the network has a vector of its own: OSNet, if its file was not saved without.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, networks, osnet
      >>> [networks.has_vector(init(jax.random.key(0), width=0.0625)) for init in (fcn.init, osnet.init)]
      [False, True]
    """
    return architecture(params).startswith("osnet") and "vector" in ensemble.members(params)[0]


def vectors(params: Params, maps: Sequence[np.ndarray]) -> np.ndarray:
    """The network's own vector of every map, see `osnet.vector`; those of an ensemble's members at length 1, in a row.

    Args:
      params: parameters of a network that has one, see `has_vector`.
      maps: n maps (h, w, d) of `extract.maps`, of any sizes.

    Returns:
      (n, e) float32; of an ensemble (n, members x e): cosines are the means of the members'.

    Raises:
      ValueError: if the network has no vector of its own.

    Example:
      >>> import jax, numpy as np
      >>> from dsr_jax import extract, networks, osnet
      >>> params, images = osnet.init(jax.random.key(0), width=0.0625), [np.ones((64, 32, 3), np.uint8)]
      >>> networks.vectors(params, extract.maps(params, images)).shape
      (1, 512)
    """
    name = architecture(params)
    if not name.startswith("osnet"):
        raise ValueError(f"params are those of {name}, which has no vector of its own: average its maps instead")
    if len(each := ensemble.members(params)) > 1:
        parts = zip(*(np.split(values, len(each), axis=2) for values in maps), strict=True)
        rows = [vectors(one, part) for one, part in zip(each, parts, strict=True)]
        return np.concatenate([x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), TINY) for x in rows], axis=1)
    # Each becomes a map of one cell: the average of what the ReLU leaves, which is not negative.
    means = np.stack([np.maximum(values, 0).mean(axis=(0, 1), dtype=np.float32) for values in maps])
    found = osnet.vector(params, jnp.asarray(means)[:, None, None], jnp.ones((len(means), 2), jnp.int32))
    return np.asarray(found, np.float32)


def last_stride(output_stride: int) -> int:
    """The stride of ResNet-50's block 5 for this many pixels per cell, 16 or 32."""
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 16 or 32, got {output_stride}")
    return output_stride // 16


def _options(params: Params, output_stride: int | None, **options: Any) -> tuple[str, dict[str, Any]]:
    """The network's name, and the options with its stride as the network calls it."""
    name = architecture(params)
    stride = _stride(name, output_stride)
    if name == "resnet50":
        return name, {"last_stride": last_stride(stride), **options}
    return name, {"output_stride": stride, **options} if name == "vgg16" else options


_stride = output_stride  # where an argument has that name


def init(architecture: str, key: jax.Array, *, width: float = 1.0) -> Params:
    """Random parameters of a network by name, see `INIT`."""
    if architecture not in INIT:
        raise ValueError(f"architecture must be one of {', '.join(INIT)}, got {architecture!r}")
    return INIT[architecture](key, width=width)
