"""Coarse distances of all pairs, by which the entries of a shortlist are chosen; maps may be read lazily.

    pooled    Euclidean distance of the averages over all positions, of unit length; an entry of several maps: the mean
    stripes   MaxSim of the averages of the probe's rows with those of 8 stripes of rows of every gallery map
    maxsim    MaxSim of the probe's positions with all positions

An entry of several maps is one dictionary of MaxSim. Descriptors are averages and positions whatever the blocks are.
Masked positions take no part, of weights the coarse distances know nothing.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dsr_jax import blocks
from dsr_jax.baselines import global_average
from dsr_jax.matching import checks, streaming, visibility, weighting

WAYS = ("pooled", "stripes", "maxsim")
STRIPES = 8


class Checked(Sequence):  # of arrays; with the type given, checkers at run time would read some
    """The maps of a sequence, each checked whenever it is read, by `checks.one_map`.

    Args:
      argument: what errors call the sequence.
      maps: the sequence, which may read them lazily.
      scales: sides of the windows.
      masks: which positions of each are visible; the others are zero. Default: all.
      called: what errors call the masks.
    """

    def __init__(
        self, argument: str, maps: Any, *, scales: tuple[int, ...], masks: Sequence[Any] | None = None, called: str = ""
    ) -> None:
        """See the class."""
        self._argument, self._maps, self._scales = argument, maps, scales
        self._masks, self._called = masks, called
        self._before: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """How many maps."""
        return len(self._maps)

    def __getitem__(self, i: Any) -> Any:
        """Map number i."""
        name = f"{self._argument}[{i}]" if len(self) > 1 else self._argument
        hide = None if self._masks is None else functools.partial(visibility.shown, self._mask_name(i), self._masks[i])
        found = checks.one_map(name, self._maps[i], self._before, scales=self._scales, hide=hide)
        self._before = found.shape
        return found

    def mask(self, i: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """The mask of map number i, of that shape, checked."""
        if self._masks is None:
            return None
        return visibility.one(self._mask_name(i), self._masks[i], shape)

    def _mask_name(self, i: int) -> str:
        return f"{self._called}[{i}]" if len(self) > 1 else self._called


def distances(
    by: str,
    probe_maps: Any,
    gallery_maps: Any,
    groups: Sequence[Sequence[int]],
    **options: Any,
) -> np.ndarray:
    """Coarse distances (P, E) of every probe to every entry.

    Args:
      by: one of `WAYS`.
      probe_maps: P maps (h, w, d), a sequence; of "pooled" they may come one by one.
      gallery_maps: a sequence of the gallery's.
      groups: for each entry, the numbers of its maps, in the order of the entries' first maps.
      **options: part_bytes, max_bytes and progress of `streaming.distances`.
    """
    if by == "pooled":
        each = global_average.distances(iter(probe_maps), iter(gallery_maps))
        if all(len(group) == 1 for group in groups):
            return each
        return np.stack([each[:, group].mean(axis=1) for group in groups], axis=1)
    owners = np.empty(len(gallery_maps), np.int64)
    for number, group in enumerate(groups):
        owners[list(group)] = number
    how: dict[str, Any] = {"coder": "maxsim", "scales": (1,), "identities": owners, **options}
    if by == "maxsim":
        return streaming.distances(probe_maps, gallery_maps, **how).distance
    means, counts = zip(*(rows(np.asarray(m)) for m in probe_maps), strict=True)
    how["probe_weights"] = [each[:, None] for each in counts]
    return streaming.distances([each[:, None] for each in means], [stripes(m) for m in gallery_maps], **how).distance


def stripes(feature_map: np.ndarray) -> np.ndarray:
    """Unit averages of the positions in `STRIPES` stripes of rows, (n, 1, d): of fewer rows, each row's own.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import coarse
      >>> coarse.stripes(np.ones((16, 3, 4))).shape, coarse.stripes(np.ones((5, 3, 4))).shape
      ((8, 1, 4), (5, 1, 4))
    """
    rows: np.ndarray = np.asarray(feature_map, np.float64).mean(axis=1)
    parts = np.array_split(rows, min(STRIPES, len(rows)))
    means = np.stack([part.mean(axis=0) for part in parts])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.divide(means, lengths, where=lengths > 0, out=np.zeros_like(means)).astype(np.float32)[:, None]


def rows(probe: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The averages of a map's rows, (p, d) of unit length, and how much each counts, (p,) with sum 1.

    Rows without a direction are left out; if all are, its positions are taken in their place.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import coarse
      >>> means, counts = coarse.rows(np.array([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]]))
      >>> means.tolist(), counts.tolist()
      ([[0.6..., 0.8...], [0.0, 1.0]], [0.66..., 0.33...])
    """
    height, width, channels = probe.shape
    each = np.ones((height, width)) if weights is None else weights.reshape(height, width)
    each = np.where(probe.any(axis=2), each, 0)
    means, counts = np.einsum("hw,hwd->hd", each, probe.astype(np.float64)), each.sum(axis=1)
    if not means.any():
        means, counts = probe.reshape(-1, channels).astype(np.float64), each.reshape(-1)
    lengths = np.linalg.norm(means, axis=1)
    there = (lengths > 0) & (counts > 0)
    means, counts = means[there] / lengths[there, None], counts[there] / counts[there].sum()
    return means.astype(np.float32), counts.astype(np.float32)


def even_stripes(feature_map: np.ndarray) -> np.ndarray:
    """The same number of stripes of any map, (8, d): of fewer, the last is repeated, which changes no MaxSim.

    Stripes without a direction, of masked rows for instance, are left out; zeros are what has no other.
    """
    found = stripes(feature_map)[:, 0]
    directed = found.any(axis=1)
    found = found[directed] if directed.any() else found
    return found[np.minimum(np.arange(STRIPES), len(found) - 1)]


def counted(
    maps: Checked, shares: list[float], *, scales: tuple[int, ...], pooling: str, weights: Sequence[Any] | None = None
) -> Iterator[Any]:
    """The probe maps, one by one; what share of each one's blocks is counted is added to ``shares``."""
    for i, values in enumerate(maps):
        how: dict[str, Any] = {"scales": scales, "pooling": pooling, "visible": maps.mask(i, values.shape)}
        solid = blocks.directed(values, **how)
        checks.check_direction("probe_maps", i, len(maps), values.shape, int(solid.sum()))
        if weights is not None:
            name = f"probe_weights[{i}]" if len(maps) > 1 else "probe_weights"
            solid = weighting.one(name, weights[i], values, **how) > 0
        shares.append(float(solid.mean()))
        yield values
