"""OSNet up to conv5 and its own vector, for images of any size: a small network made for re-identification.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification (ICCV 2019), and, for the forms
with instance normalisation, Learning Generalisable Omni-Scale Representations (TPAMI 2021). Five blocks: block 1 is the
7x7 convolution and the 3x3 max-pool, blocks 2 to 4 are two units each ("block2a"), the first two with a 1x1 convolution
and a 2x2 average pool behind them, block 5 is a 1x1 convolution. 256 x 128 pixels become 16 x 8 x 512 of width 1, and
16 x 8 x 128 of width 0.25; n pixels make floor(ceil(n / 4) / 4) cells, and there is no other output stride than 16.
The maps are those before the last ReLU, which matched better on held-out people (docs/results.md, 10): torchreid's
`featuremaps` are their positive parts, and so is what the own vector averages.

A unit reduces the channels to a quarter and sends them through four streams of 1 to 4 light 3x3 convolutions (1x1, then
one per channel). One gate, a small network on the average over the image, weighs every stream's channels; their sum is
expanded again and added to the unit's input. Three forms are published:

    plain  batch normalisation everywhere
    ibn    instance normalisation of block 1 and, behind the sum, of the units of block 2
    ain    instance normalisation of block 1 and, before the sum, of units 2a, 2b, 3b and 4a

Images of different sizes share a batch by zero padding, as in `fcn`: activations outside the true area are zero
wherever a position looks at its neighbours, and gates and instance normalisation average over the true area alone.

The parameters are ``{"block1_conv": {"kernel"}, "block1_norm": {"scale", "bias", "mean", "var"}, ...}``. In files that
were made for inference the batch normalisations are folded into the convolutions: such a network has no layers for
them, and its convolutions have a "bias"; `train` then trains it without statistics of batches, `unfold` puts the
normalisations back. Behind the maps and
outside the five blocks are "vector" and "vector_norm", the dense layer of the own vector (`vector`), which the training
of the maps leaves alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from dsr_jax.layers import batch_norm, osnet_module, osnet_table, padding, parameters
from dsr_jax.layers.batch_norm import MOMENTUM, Training
from dsr_jax.layers.osnet_table import norm
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.parameters import Params
from dsr_jax.layers.pooling import average_pool, halved, max_pool, pooled

__all__ = [
    "FORMS",
    "SIZE",
    "STRIDE",
    "VECTOR",
    "Params",
    "apply",
    "block_stride",
    "check_folded",
    "fold",
    "init",
    "map_size",
    "train",
    "unfold",
    "vector",
]

VECTOR = osnet_table.VECTOR  # numbers of the own vector
SIZE, STRIDE = (256, 128), 16  # of the images that it was made for, in pixels; pixels per cell of its maps
FORMS = tuple(osnet_table.INSTANCE)


def init(key: jax.Array, *, width: float = 1.0, form: str = "plain") -> Params:
    """Random parameters (He initialisation) of a network ``width`` times as wide as OSNet x1.0.

    Args:
      key: a JAX random key.
      width: multiplier of all channel counts: 0.25, 0.5, 0.75 and 1 are published.
      form: "plain", "ibn" or "ain".

    Returns:
      The parameters, a nested dictionary of float32 arrays; running means 0 and variances 1.

    Raises:
      ValueError: if ``width`` is not positive, or there is no such form.

    Example:
      >>> import jax
      >>> from dsr_jax import osnet
      >>> osnet.init(jax.random.key(0), width=0.25, form="ain")["block5_conv"]["kernel"].shape
      (1, 1, 128, 128)
    """
    parameters.check_width(width, "OSNet x1.0")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    table = osnet_table.layers(width, form)
    depth = table["block5_conv"].kernel[3]
    *kernels, dense = parameters.he_normal(
        key, shapes=(*(layer.kernel for layer in table.values()), (1, 1, depth, VECTOR))
    )
    params: Params = {}
    for (name, layer), kernel in zip(table.items(), kernels, strict=True):
        channels = kernel.shape[3]
        params[name] = {"kernel": kernel}
        if layer.then == "bias":
            params[name]["bias"] = jnp.zeros(channels)
        if layer.then == "batch":
            params[norm(name)] = batch_norm.initial(channels)
    for name, channels in osnet_table.instance_norms(width, form).items():
        params[name] = {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}
    params["vector"] = {"kernel": dense[0, 0], "bias": jnp.zeros(VECTOR)}
    params["vector_norm"] = batch_norm.initial(VECTOR)
    return params


def apply(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"]]:
    """Spatial feature maps (conv5 before its ReLU) of a batch of zero-padded images, by the running statistics.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), zero beyond each image's size, in the input convention of the weights: "torch" for those of
        torchreid (see `fcn.preprocess`). With ``blocks=(k, ...)``, k > 1: the output of block k - 1 instead.
      sizes: (B, 2) true heights and widths in pixels (or cells of the given activations); default: no padding.
      blocks: first and last block to run, so that a frozen prefix can be computed once and kept.
      frozen_blocks: no gradient flows into blocks 1 to ``frozen_blocks``, and none is computed for them.
      dtype: type of the convolutions, float32 or bfloat16; normalisation is in float32 in any case.

    Returns:
      maps: (B, h, w, d) of type ``dtype``, zero beyond each map's size.
      map_sizes: (B, 2) true heights and widths of the maps, see `map_size`.

    Raises:
      ValueError: if the padded images are smaller than 16 x 16 pixels, or an argument is out of its range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import osnet
      >>> params = osnet.init(jax.random.key(0), width=0.0625)
      >>> maps, sizes = jax.jit(osnet.apply)(params, jnp.zeros((1, 64, 40, 3)))
      >>> maps.shape, sizes.tolist()
      ((1, 4, 2, 32), [[4, 2]])
    """
    maps, map_sizes, _ = _forward(params, images, sizes, None, blocks, frozen_blocks, dtype)
    return maps, map_sizes


def train(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    momentum: float = MOMENTUM,
    total: Callable[[jax.Array], jax.Array] = lambda x: x,
    blocks: tuple[int, int] = (1, 5),
    frozen_blocks: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, "batch h w d"], Int[Array, "batch 2"], Params]:
    """As `apply`, normalised by the statistics of the batch's true positions; see `resnet.train`.

    A network whose normalisations are folded has none to take: this is `apply`, and the statistics are empty.

    Args:
      params: the network's parameters.
      images: (B, H, W, 3), or the output of block k - 1 with ``blocks=(k, ...)``, as of `apply`.
      sizes: (B, 2) true heights and widths. A row of size (0, 0) counts for nothing.
      momentum: share of this batch in the new running statistics; torch's default is 0.1.
      total: the sum over all devices that share the batch, see `resnet.train`.
      blocks: first and last block to run.
      frozen_blocks: blocks without gradient, whose running statistics stay.
      dtype: float32 or bfloat16.

    Returns:
      Maps (B, h, w, d), their sizes (B, 2), and the running statistics after this batch: `resnet.join` puts them into
      the parameters.

    Raises:
      ValueError: as `apply`, and if ``momentum`` is not in [0, 1].

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import osnet
      >>> params = osnet.init(jax.random.key(0), width=0.0625)
      >>> maps, sizes, statistics = osnet.train(params, jnp.ones((2, 32, 32, 3)), blocks=(1, 1))
      >>> bool((statistics["block1_norm"]["mean"] == 0).all())
      False
    """
    batch_norm.check_momentum(momentum)
    return _forward(params, images, sizes, Training(float(momentum), total), blocks, frozen_blocks, dtype)


def unfold(
    params: Params,
    images: Float[Array, "batch height width channels"],
    sizes: Int[Array, "batch 2"] | None = None,
    *,
    batch_size: int = 32,
) -> Params:
    """The same network with the batch normalisations that were folded into its convolutions.

    What a file made for inference keeps of a normalisation is its effect, not its statistics. They are measured again
    on ``images``: mean m and variance v of every channel give the running statistics, and scale sqrt(v + epsilon) and
    bias m + b, b the convolution's, undo them. So `apply` computes what it did before, and `train` normalises.

    Args:
      params: of a network whose normalisations are folded.
      images: (B, H, W, 3), as of `apply`; some hundred of those that are trained on.
      sizes: (B, 2) true heights and widths.
      batch_size: images that go through the network at once; the statistics are those of all, however they are parted.

    Returns:
      The parameters, with "scale", "bias", "mean" and "var" of every normalisation, and convolutions without "bias".

    Raises:
      ValueError: if nothing is folded, the network is another, or ``batch_size`` is below 1.

    Example:
      >>> import jax
      >>> from dsr_jax import osnet
      >>> params = osnet.init(jax.random.key(0), width=0.0625)
      >>> osnet.unfold(params, jax.numpy.ones((2, 64, 32, 3)))
      Traceback (most recent call last):
      ValueError: params have their batch normalisations: there is nothing to unfold
    """
    check_folded(params)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    table = osnet_table.layers(osnet_table.width(params), osnet_table.form(params))
    names = [name for name, layer in table.items() if layer.then == "batch"]
    plain = {**params, **{name: {"kernel": params[name]["kernel"]} for name in names}}
    for name in names:
        bias = jnp.asarray(params[name]["bias"])
        plain[norm(name)] = batch_norm.initial(bias.size) | {"bias": bias}
    measured = _measured(plain, images, padding.whole(images) if sizes is None else sizes, batch_size)
    for name in map(norm, names):
        mean, var = measured[name]["mean"], measured[name]["var"]
        bias, scale = plain[name]["bias"] + mean, jnp.sqrt(var + batch_norm.EPSILON)
        plain[name] = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    return plain


def fold(params: Params) -> Params:
    """The same network with its batch normalisations folded into the convolutions, which get a "bias".

    A normalisation by running statistics is a factor and a shift of every channel, as a convolution can have them. The
    network is faster so, and can be averaged with another (`networks.average`). A folded one is returned as it is.

    Args:
      params: the network's parameters.

    Returns:
      The parameters for `apply`; `train` no longer normalises by batches, see `unfold`.

    Raises:
      ValueError: for parameters of another network.

    Example:
      >>> import jax
      >>> from dsr_jax import osnet
      >>> params = osnet.init(jax.random.key(0), width=0.0625)
      >>> sorted(params["block5_conv"]), sorted(osnet.fold(params)["block5_conv"])
      (['kernel'], ['bias', 'kernel'])
    """
    _check(params)
    folded = dict(params)
    for name, layer in osnet_table.layers(osnet_table.width(params), osnet_table.form(params)).items():
        if layer.then == "batch" and norm(name) in params:
            statistics, kernel = folded.pop(norm(name)), params[name]["kernel"]
            factor, shift = batch_norm.affine(statistics)
            folded[name] = {"kernel": kernel * factor[None, None, None, :], "bias": shift}
    return folded


def check_folded(params: Params) -> None:
    """Raises ValueError unless the batch normalisations are folded into the convolutions of an OSNet."""
    _check(params)
    if not osnet_table.folded(params):
        raise ValueError("params have their batch normalisations: there is nothing to unfold")


def _check(params: Params) -> None:
    """Raises ValueError for parameters of another network."""
    if "block2a_gate_conv1" not in params:
        raise ValueError("params are not an OSNet's: normalisations are folded and unfolded of that network alone")


def vector(
    params: Params, maps: Float[Array, "batch h w d"], map_sizes: Int[Array, "batch 2"]
) -> Float[Array, "batch 512"]:
    """The network's own vector of every map: ReLU, its average over the true area, dense layer, normalisation, ReLU.

    Args:
      params: the network's parameters.
      maps: (B, h, w, d) of `apply`, zero beyond each map's size.
      map_sizes: (B, 2) true heights and widths.

    Returns:
      (B, 512), in the type of the maps: what torchreid's network gives outside training.

    Raises:
      ValueError: if the parameters have no dense layer, as those of a file without one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import osnet
      >>> params = osnet.init(jax.random.key(0), width=0.0625)
      >>> osnet.vector(params, jnp.ones((2, 4, 2, 32)), jnp.array([[4, 2], [4, 2]])).shape
      (2, 512)
    """
    if "vector" not in params:
        raise ValueError("params have no layer 'vector' (fc in torchreid): their file was saved without; use the maps")
    dense, norm = params["vector"], params.get("vector_norm")
    x = pooled(nnx.relu(maps), map_sizes)
    x = x @ dense["kernel"].astype(x.dtype) + dense["bias"].astype(x.dtype)[None, :]
    if norm is not None:
        factor, shift = batch_norm.affine(norm)
        x = x * factor.astype(x.dtype)[None, :] + shift.astype(x.dtype)[None, :]
    return nnx.relu(x)


def block_stride(block: int) -> int:
    """Pixels per cell after ``block`` blocks (0: the image itself)."""
    return (1, 4, 8, 16, 16, 16)[block]


def map_size(size: tuple[int, int], first_block: int = 1) -> tuple[int, int]:
    """Height and width of the map of an image, or of an output of block ``first_block - 1``.

    Example:
      >>> from dsr_jax import osnet
      >>> osnet.map_size((256, 128)), osnet.map_size((61, 60)), osnet.map_size((31, 30), first_block=3)
      ((16, 8), (4, 3), (15, 15))
    """
    height, width = (-(-side // 4) for side in size) if first_block == 1 else size
    cells = 2 ** max(0, 4 - max(first_block, 2))  # the 2 x 2 averages behind blocks 2 and 3
    return height // cells, width // cells


def _measured(params: Params, images: jax.Array, sizes: jax.Array, batch_size: int) -> Params:
    """Mean and variance of every batch normalisation over all images, combined from those of batches."""
    rows = min(batch_size, len(images))
    watched = Training(1.0, lambda x: x, measure_only=True)
    measure = jax.jit(lambda x, cells: _forward(params, x, cells, watched, (1, 5), 0, jnp.float32)[2])
    found, counts = [], []
    for start in range(0, len(images), rows):
        x, cells = (side[start : start + rows] for side in (images, sizes))
        lacking = rows - len(x)  # filled up with rows of no size, which count for nothing
        x = jnp.concatenate([x, jnp.zeros((lacking, *x.shape[1:]), x.dtype)])
        cells = jnp.concatenate([cells, jnp.zeros((lacking, 2), cells.dtype)])
        found.append(measure(x, cells))
        counts.append(_positions(cells))
    combined = {}
    for name in found[0]:
        count = [each[parameters.block_of(name)] for each in counts]
        mean, var = batch_norm.combined(count, *([one[name][leaf] for one in found] for leaf in batch_norm.STATISTICS))
        combined[name] = {"mean": mean, "var": var}
    return combined


def _positions(sizes: jax.Array) -> dict[int, int]:
    """How many positions the normalisations of each block count, of images of these sizes."""
    first = halved(sizes)
    second = halved(first)
    cells = {1: first, 2: second, 3: second // 2, 4: second // 4, 5: second // 4}
    return {block: int(jnp.sum(jnp.prod(each, axis=1))) for block, each in cells.items()}


def _forward(
    params: Params,
    images: jax.Array,
    sizes: jax.Array | None,
    training: Training | None,
    blocks: tuple[int, int],
    frozen_blocks: int,
    dtype: Any,
) -> tuple[jax.Array, jax.Array, Params]:
    """Maps, their sizes, and the running statistics as they are afterwards."""
    padding.check(images, blocks, frozen_blocks, block_stride)
    sizes = padding.whole(images) if sizes is None else sizes
    network = osnet_module.network(params, dtype)
    x = jnp.asarray(images, dtype)
    for block in range(blocks[0], blocks[1] + 1):
        now = None if block <= frozen_blocks else training
        if block == 1:
            sizes = halved(sizes)
            x = max_pool(osnet_module.layer(network, "block1_conv", x, sizes, now))
            sizes = halved(sizes)
            x = zero_outside(x, sizes)  # a pool reaches one cell beyond the true area
        for unit in (f"block{block}a", f"block{block}b") if 1 < block < 5 else ():
            x = osnet_module.unit(network, unit, x, sizes, now)
        if block in (2, 3):
            x = average_pool(osnet_module.layer(network, f"block{block}_conv", x, sizes, now))
            sizes = sizes // 2
            x = zero_outside(x, sizes)  # a pool that is not wholly inside is left out
        if block == 5:  # without its ReLU: what `vector` averages has it, the maps are more telling before it
            x = zero_outside(osnet_module.normalised(network, "block5_conv", x, sizes, now), sizes)
        if block <= frozen_blocks:
            x = jax.lax.stop_gradient(x)
    return x, sizes, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
