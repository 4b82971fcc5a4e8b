"""Blocks of a feature map at several scales: X of Eq. 1, Y of Eq. 2, the multi-scale representation of Sec. 3.4.

Scale s takes every s x s window (stride 1) of the map and pools it to one vector; all scales are stacked, each in
row-major order of its windows; scales larger than the map are skipped. Then every block is divided by its L2 norm, and
a block that is all zero stays zero. The paper omits the normalisation; the authors' released code does it, after
pooling, and l1 = 0.4 only means something with it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray

__all__ = [
    "POOLINGS",
    "check_pair",
    "count",
    "cut",
    "cut_exactly",
    "directed",
    "energies",
    "members",
    "shares",
    "unit",
    "windows",
]

POOLINGS = ("average", "max")


def count(height: int, width: int, *, scales: tuple[int, ...] = (1,)) -> int:
    """Number of blocks of a (height, width) map: the sum of (h - s + 1)(w - s + 1) over the scales that fit.

    Example:
      >>> from dsr_jax import blocks
      >>> blocks.count(10, 3), blocks.count(10, 3, scales=(1, 2, 3)), blocks.count(2, 1, scales=(1, 2))
      (30, 56, 2)
    """
    return sum(max(0, height - s + 1) * max(0, width - s + 1) for s in scales)


def members(height: int, width: int, *, scales: tuple[int, ...] = (1,)) -> np.ndarray:
    """Which positions each block of a (height, width) map pools: (n, height * width) of 0 and 1, in `cut`'s order.

    Example:
      >>> from dsr_jax import blocks
      >>> blocks.members(2, 2, scales=(1, 2)).tolist()
      [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]]
    """
    rows, columns = np.divmod(np.arange(height * width), width)
    parts = [np.zeros((0, height * width), int)]
    for s in scales:
        corners = [(y, x) for y in range(height - s + 1) for x in range(width - s + 1)]
        inside = [(rows >= y) & (rows < y + s) & (columns >= x) & (columns < x + s) for y, x in corners]
        parts += [np.array(inside, int)] if inside else []
    return np.concatenate(parts)


def cut(
    feature_map: Float[Array, "h w d"],
    size: Int[Array, "2"] | None = None,
    *,
    scales: tuple[int, ...] = (1,),
    pooling: str = "average",
) -> tuple[Float[Array, "n d"], Bool[Array, " n"]]:
    """Unit-length blocks of one map, all scales stacked (Eq. 1, 2 and Sec. 3.4).

    Written for one map; use `jax.vmap` for a batch. Differentiable.

    Args:
      feature_map: (h, w, d), zero-padded beyond ``size`` if that is given.
      size: (2,) true height and width; default: the whole array.
      scales: sides s of the square windows, each >= 1.
      pooling: "average" (the paper) or "max" (the authors' released code).

    Returns:
      blocks: (n, d) with n = `count` of the padded shape; each row has length 1, or is zero.
      valid: (n,) whether the window lies wholly inside the true size. Blocks that are not valid are zero.

    Raises:
      ValueError: for a wrong rank, scale or pooling, or if no scale fits the map.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import blocks
      >>> values, valid = blocks.cut(jnp.ones((2, 2, 4)), scales=(1, 2))
      >>> values.shape, valid.tolist(), values[4].tolist()
      ((5, 4), [True, True, True, True, True], [0.5, 0.5, 0.5, 0.5])
    """
    height, width, _ = _check(feature_map.shape, scales, pooling)
    true_height, true_width = (height, width) if size is None else (size[0], size[1])
    values, valid = [], []
    for s in scales:
        if s > height or s > width:
            continue
        pooled = _pool(feature_map, s, pooling)
        rows, columns = jnp.arange(pooled.shape[0]) + s, jnp.arange(pooled.shape[1]) + s
        inside = (rows <= true_height)[:, None] & (columns <= true_width)[None, :]
        values.append(pooled.reshape(-1, pooled.shape[-1]))
        valid.append(inside.reshape(-1))
    stacked, mask = jnp.concatenate(values), jnp.concatenate(valid)
    return unit(jnp.where(mask[:, None], stacked, jnp.zeros((), stacked.dtype))), mask


def cut_exactly(
    feature_map: np.ndarray,
    *,
    scales: tuple[int, ...] = (1,),
    pooling: str = "average",
    visible: np.ndarray | None = None,
) -> NDArray[np.float64]:
    """The blocks of `cut` in NumPy and float64: nothing is lost where the positions of a window cancel.

    Args:
      feature_map: (h, w, d), no padding.
      scales: sides s of the square windows, each >= 1.
      pooling: "average" or "max".
      visible: (h, w) which positions are not masked; a block is made of these alone, and zero without any. The map is
        zero at the others, which only matters to the maximum of negative numbers. Default: all.

    Returns:
      (n, d) unit-length or zero rows.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import blocks
      >>> blocks.cut_exactly(np.ones((2, 2, 4)), scales=(1, 2, 3)).shape
      (5, 4)
    """
    parts = []
    for s in scales:
        pooled = _pool_exactly(feature_map, s, pooling, visible)
        lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
        parts.append(np.divide(pooled, lengths, where=lengths > 0, out=np.zeros_like(pooled)))
    return np.concatenate(parts)


def directed(
    feature_map: np.ndarray,
    *,
    scales: tuple[int, ...] = (1,),
    pooling: str = "average",
    visible: np.ndarray | None = None,
) -> NDArray[np.bool_]:
    """Which blocks have a direction, being not all zero: the only ones that a distance is the mean over.

    Args:
      feature_map: (h, w, d), no padding.
      scales: sides s of the square windows, each >= 1.
      pooling: "average" or "max".
      visible: see `cut_exactly`.

    Returns:
      (n,) in `cut`'s order; exact, where float32 sums might not cancel or tiny numbers vanish.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import blocks
      >>> blocks.directed(np.array([[[1.0], [0.0]], [[-1.0], [0.0]]]), scales=(1, 2)).tolist()
      [True, False, True, False, False]
    """
    occupied = np.count_nonzero(feature_map, axis=2) > 0
    if scales == (1,):
        return occupied.reshape(-1)
    if occupied.all() and np.min(feature_map) >= 0:
        return np.ones(count(*feature_map.shape[:2], scales=scales), bool)
    return np.count_nonzero(cut_exactly(feature_map, scales=scales, pooling=pooling, visible=visible), axis=1) > 0


def energies(
    feature_map: np.ndarray,
    *,
    scales: tuple[int, ...] = (1,),
    pooling: str = "average",
    visible: np.ndarray | None = None,
) -> NDArray[np.float64]:
    """Squared norm of every block before it is divided by its length, up to one factor for the whole map.

    Args:
      feature_map: (h, w, d), no padding, not all zero.
      scales: sides s of the square windows, each >= 1.
      pooling: "average" or "max".
      visible: see `cut_exactly`.

    Returns:
      (n,) in `cut`'s order. The factor keeps maps of tiny or huge values in range.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import blocks
      >>> blocks.energies(np.array([[[1.0], [0.5]], [[0.0], [0.5]]]), scales=(1, 2)).tolist()
      [1.0, 0.25, 0.0, 0.25, 0.25]
    """
    scaled = np.asarray(feature_map, np.float64) / np.abs(feature_map).max()
    parts = []
    for s in scales:
        pooled = _pool_exactly(scaled, s, pooling, visible) / (1 if pooling == "max" else s * s)
        parts.append(np.sum(pooled * pooled, axis=1))
    return np.concatenate(parts)


def check_pair(probe_blocks: jax.Array, gallery_blocks: jax.Array) -> None:
    """Raises ValueError where blocks (N, d) and (M, d) of these shapes and types cannot be compared."""
    types, (probe_shape, gallery_shape) = zip(
        *((b.dtype, b.shape) for b in (probe_blocks, gallery_blocks)), strict=True
    )
    if types[0] != types[1] or types[0] not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"blocks must both be float32 (or both float64, under x64), got {types[0]} and {types[1]}: convert them; "
            "distances need that precision"
        )
    if len(probe_shape) != 2 or len(gallery_shape) != 2:
        raise ValueError(f"blocks must be (N, d) and (M, d), got {probe_shape} and {gallery_shape}; vmap over batches")
    if probe_shape[1] != gallery_shape[1]:
        raise ValueError(
            f"probe_blocks and gallery_blocks must have the same length d, got {probe_shape[1]} and {gallery_shape[1]}"
        )
    if not probe_shape[0] or not gallery_shape[0]:
        raise ValueError(f"blocks must not be empty, got shapes {probe_shape} and {gallery_shape}")


def shares(probe_blocks: jax.Array, valid: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """What each of a probe's blocks counts in a mean over them, (N,), and whether any counts at all.

    Args:
      probe_blocks: (N, d), or (P, N, d) of several probes; a block of zeros has no direction and does not count.
      valid: (N,) or (P, N) which of them are real; None: all.

    Raises:
      ValueError: for ``valid`` of another shape, and outside of transformations if no block counts.
    """
    shape = probe_blocks.shape
    if valid is not None and valid.shape != shape[:-1]:
        raise ValueError(f"valid must have one entry per probe block, shape {shape[:-1]}, got {valid.shape}")
    counted = jnp.any(probe_blocks != 0, axis=-1)
    counted = counted if valid is None else counted & valid
    seen = jnp.any(counted, axis=-1)
    if not isinstance(seen, jax.core.Tracer) and not seen.all():
        which = f"[{int(jnp.argmin(seen))}]" if seen.ndim else ""
        raise ValueError(f"probe_blocks{which} {shape} has no valid block that is not zero: nothing to compare")
    each = counted.astype(probe_blocks.dtype)
    return each / jnp.maximum(jnp.sum(each, axis=-1, keepdims=True), 1), seen


def windows(feature_map: np.ndarray, s: int) -> np.ndarray:
    """Every s x s window of an (h, w, d) map, (h - s + 1, w - s + 1, d, s, s); none if the map is smaller.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import blocks
      >>> blocks.windows(np.ones((4, 3, 8)), 2).shape, blocks.windows(np.ones((4, 3, 8)), 4).size
      ((3, 2, 8, 2, 2), 0)
    """
    if s > min(feature_map.shape[:2]):
        return np.empty((0, 0, feature_map.shape[2], s, s), feature_map.dtype)
    return np.lib.stride_tricks.sliding_window_view(feature_map, (s, s), axis=(0, 1))


def unit(vectors: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Vectors divided by their L2 norm; zero stays zero, tiny and huge ones neither underflow nor overflow.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import blocks
      >>> blocks.unit(jnp.array([[3e-30, 4e-30], [0.0, 0.0]])).round(3).tolist()
      [[0.6..., 0.8...], [0.0, 0.0]]
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=-1, keepdims=True))
    zero = largest == 0
    scaled = jnp.where(zero, jnp.ones((), vectors.dtype), vectors / jnp.where(zero, jnp.ones_like(largest), largest))
    lengths = jnp.sqrt(jnp.sum(scaled * scaled, axis=-1, keepdims=True))
    return jnp.where(zero, jnp.zeros((), vectors.dtype), scaled / lengths)


def _pool_exactly(feature_map: np.ndarray, s: int, pooling: str, visible: np.ndarray | None) -> NDArray[np.float64]:
    """Sums, or maxima over the visible positions, of every s x s window, (n, d) float64."""
    values = np.asarray(feature_map, np.float64)
    if pooling == "max" and visible is not None:
        values = np.where(visible[..., None], values, -np.inf)
    cut = windows(values, s)
    pooled = np.max(cut, axis=(-1, -2)) if pooling == "max" else np.sum(cut, axis=(-1, -2))
    return np.where(pooled == -np.inf, 0, pooled).reshape(-1, values.shape[2])


def _pool(feature_map: jax.Array, s: int, pooling: str) -> jax.Array:
    """Every s x s window (stride 1) of an (h, w, d) map pooled to one vector: (h - s + 1, w - s + 1, d)."""
    if s == 1:
        return feature_map
    if pooling == "max":
        return lax.reduce_window(feature_map, -jnp.inf, lax.max, (s, s, 1), (1, 1, 1), "VALID")
    return lax.reduce_window(feature_map, 0.0, lax.add, (s, s, 1), (1, 1, 1), "VALID") / (s * s)


def _check(shape: tuple[int, ...], scales: tuple[int, ...], pooling: str) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(f"feature_map must be (h, w, d), got shape {shape}; use jax.vmap for a batch")
    if not scales or any(s < 1 for s in scales):
        raise ValueError(f"scales must be whole numbers >= 1, got {scales}; the paper uses (1,) or (1, 2, 3)")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
    if min(scales) > min(shape[:2]) or not shape[2]:
        raise ValueError(f"feature_map of shape {shape} is smaller than one block of scales {scales}")
    return shape
