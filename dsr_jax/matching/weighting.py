"""Weights of a probe's blocks, of whose errors its distance is the weighted mean.

    distance = sum w_n f_n / sum w_n      over the probe's blocks with a direction

Every f_n lies in a certified interval, so the same mean of the intervals' ends is one of the distance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsr_jax import blocks
from dsr_jax.matching import visibility

NORM = "norm"


def of(
    value: Any,
    maps: Sequence[np.ndarray],
    visible: Sequence[np.ndarray] | None,
    *,
    scales: tuple[int, ...],
    pooling: str,
) -> tuple[NDArray[np.float64], ...] | None:
    """Weights of the blocks of every probe map, (n,) each, with mean 1 over the blocks with a direction, else 0.

    None if those with a direction all weigh the same.

    Args:
      value: None (all equal), "norm" (the squared norm of the block before it is divided by its length) or one (h, w)
        array per map, whose mean over the window is the block's weight.
      maps: the probes.
      visible: their masks, or None.
      scales: sides of the windows.
      pooling: "average" or "max".

    Raises:
      ValueError: for anything else, arrays of another number or shape, negative or not finite ones, and for a probe
        none of whose blocks has both a weight and a direction.
    """
    if value is None:
        return None
    if isinstance(value, str) and value != NORM:
        raise ValueError(f"probe_weights must be None, {NORM!r} or one (h, w) array per probe, got {value!r}")
    given = [None] * len(maps) if isinstance(value, str) else visibility.planes("probe_weights", value, len(maps))
    found, equal = [], True
    for i, (m, numbers) in enumerate(zip(maps, given, strict=True)):
        name = f"probe_weights[{i}]" if len(maps) > 1 else "probe_weights"
        how: dict[str, Any] = {"scales": scales, "pooling": pooling, "visible": None if visible is None else visible[i]}
        directed = blocks.directed(m, **how)
        if numbers is None:
            each = blocks.energies(m, **how)
        else:
            each = _over_windows(_checked(name, numbers, m.shape), scales)
        if not each[directed].any():
            raise ValueError(f"{name} is 0 for every block that has a direction: nothing is left of the probe")
        equal = equal and np.ptp(each[directed]) == 0
        each = np.where(directed, each, 0)
        found.append(each * (np.count_nonzero(directed) / each.sum()))
    return None if equal else tuple(found)


def _checked(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers per position that are all finite, not negative, and not all 0."""
    numbers = visibility.plane(name, value, shape)
    if numbers.min() < 0:
        raise ValueError(f"{name} holds {numbers.min():g}: weights must be at least 0")
    if not numbers.any():
        raise ValueError(f"{name} is 0 everywhere, nothing is left of the probe: leave it out, or look at its weights")
    return numbers


def _over_windows(numbers: NDArray[np.float64], scales: tuple[int, ...]) -> NDArray[np.float64]:
    """Means over all windows, (n,): of equal numbers all 1."""
    scaled = (numbers / numbers.max())[..., None]
    return np.concatenate([blocks.windows(scaled, s).mean(axis=(-1, -2)).reshape(-1) for s in scales])
