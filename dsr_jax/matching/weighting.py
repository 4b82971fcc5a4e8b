"""Weights of a probe's blocks, of whose errors its distance is the weighted mean.

    distance = sum v_n f_n / sum v_n      over the probe's blocks with a direction, v_n their weights

Every f_n lies in a certified interval, so the same mean of the intervals' ends is one of the distance.
"""

from collections.abc import Iterable, Sequence
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
    each = planes(value, len(maps))
    found, equal = [], True
    for i, m in enumerate(maps):
        name = f"probe_weights[{i}]" if len(maps) > 1 else "probe_weights"
        how: dict[str, Any] = {"scales": scales, "pooling": pooling, "visible": None if visible is None else visible[i]}
        weights = one(name, each[i], m, **how)
        equal = equal and bool(np.all(weights[weights > 0] == 1))  # then none with a direction is 0: their mean is 1
        found.append(weights)
    return None if equal else tuple(found)


def planes(value: Any, count: int) -> list[Any]:
    """The weights of each of so many probes: "norm" or an array, not looked at yet.

    Raises:
      ValueError: for another name or number.
    """
    if isinstance(value, int | float | np.number):
        raise ValueError(f"probe_weights must be None, {NORM!r} or one (h, w) array per probe, got {value!r:.80}")
    if not isinstance(value, str):
        return visibility.planes("probe_weights", value, count)
    if value != NORM:
        raise ValueError(f"probe_weights must be None, {NORM!r} or one (h, w) array per probe, got {value!r}")
    return [NORM] * count


def some(each: Sequence[Any] | None, numbers: Iterable[Any]) -> Any:
    """Those of some probes, as `of` takes them."""
    if each is not None and isinstance(each[0], str):
        return NORM
    return visibility.some(each, numbers)


def one(name: str, value: Any, feature_map: np.ndarray, **how: Any) -> NDArray[np.float64]:
    """Weights (n,) of the blocks of one map, with mean 1 over those with a direction, else 0.

    Args:
      name: what errors call them.
      value: "norm" or an (h, w) array.
      feature_map: the map.
      **how: scales, pooling and visible of `blocks.directed`.

    Raises:
      ValueError: as `of`.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import weighting
      >>> weighting.one("probe_weights", np.array([[3.0, 1.0, 8.0]]), np.array([[[1.0], [2.0], [0.0]]])).tolist()
      [1.5, 0.5, 0.0]
    """
    directed = blocks.directed(feature_map, **how)
    if isinstance(value, str):
        weights = blocks.energies(feature_map, **how)
    else:
        weights = _over_windows(checked(name, value, feature_map.shape), how.get("scales", (1,)))
    weights = np.where(directed, weights, 0)
    if not weights.any():
        raise ValueError(f"{name} is 0 for every block that has a direction: nothing is left of the probe")
    return weights * (np.count_nonzero(directed) / weights.sum())


def checked(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers per position that are all finite, not negative, and not all 0."""
    numbers = visibility.plane(name, value, shape)
    if numbers.min() < 0:
        raise ValueError(f"{name} holds {numbers.min():g}: weights must be at least 0")
    if not numbers.any():
        raise ValueError(f"{name} is 0 everywhere, nothing is left of the probe: leave it out, or look at its weights")
    return numbers


def _over_windows(numbers: NDArray[np.float64], scales: tuple[int, ...]) -> NDArray[np.float64]:
    """Means over all windows, (n,): of equal numbers all 1."""
    scaled = (numbers / np.max(numbers))[..., None]
    return np.concatenate([blocks.windows(scaled, s).mean(axis=(-1, -2)).reshape(-1) for s in scales])
