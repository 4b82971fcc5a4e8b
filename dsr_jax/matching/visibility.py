"""Masks: which positions of a map are visible, as a segmentation, a box or thresholded key points say.

A masked position is zero before blocks are cut. So a probe block of masked positions is not counted, a gallery block of
them leaves the dictionary, and a block that is partly masked is the average (or maximum) of what is visible of it.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dsr_jax.matching import checks


def planes(argument: str, value: Any, count: int) -> list[Any]:
    """One (h, w) array, or a sequence of them, as a list of one per map, not looked at yet.

    Raises:
      ValueError: naming ``argument``, for anything else, and for another number than ``count``.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = list(value)
    elif hasattr(value, "__array__") and np.ndim(value) in (2, 3):
        parts = [value] if np.ndim(value) == 2 else list(value)
    else:
        raise ValueError(f"{argument} must be one (h, w) array per map, got {value!r:.80}")
    if len(parts) != count:
        given = ", in a list: np.array(...) makes one array of a nested one"
        if hasattr(value, "__array__"):
            given = f", an array of shape {np.shape(value)}"
        raise ValueError(f"{argument} must have one (h, w) array per map, got {len(parts)} for {count} maps{given}")
    return parts


def both(probe_masks: Any, probes: int, gallery_masks: Any, images: int) -> tuple[list[Any] | None, list[Any] | None]:
    """The masks of so many probes and gallery maps, not looked at yet; None where there are none.

    Raises:
      ValueError: as `planes`.
    """
    return (
        None if probe_masks is None else planes("probe_masks", probe_masks, probes),
        None if gallery_masks is None else planes("gallery_masks", gallery_masks, images),
    )


def some(each: Sequence[Any] | None, numbers: Iterable[Any]) -> list[Any] | None:
    """Those of some maps, where there are any."""
    return None if each is None else [each[i] for i in numbers]


def applied(
    argument: str, value: Any, called: str, masks: Any, *, scales: tuple[int, ...], pooling: str
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...] | None]:
    """The maps, checked by `checks.as_maps`, zero where masked, and their masks.

    Args:
      argument: what errors call the maps.
      value: one (h, w, d) array, or a sequence of them.
      called: what errors call the masks.
      masks: one per map, or None.
      scales: sides of the windows.
      pooling: "average" or "max".

    Returns:
      The maps, float32, and the checked masks, (h, w) of bool each; None where there are none.

    Raises:
      ValueError: as `checks.as_maps`, `planes` and `one`.
    """
    parts = checks.listed(argument, value, pooling=pooling)
    if masks is None:
        return list(checks.each_map(argument, parts, scales=scales)), None
    names = [f"{called}[{i}]" if len(parts) > 1 else called for i in range(len(parts))]
    named = list(zip(names, planes(called, masks, len(parts)), strict=True))
    hide = [functools.partial(shown, *each) for each in named]
    maps = list(checks.each_map(argument, parts, scales=scales, hide=hide))
    return maps, tuple(one(*each, m.shape) for each, m in zip(named, maps, strict=True))


def shown(name: str, value: Any, feature_map: np.ndarray) -> np.ndarray:
    """The map, zero where a mask that is not checked yet hides it; None hides nothing.

    Raises:
      ValueError: as `one`.
    """
    return feature_map if value is None else hidden(feature_map, one(name, value, feature_map.shape))


def one(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of a map of that shape, checked: (h, w) of bool.

    Raises:
      ValueError: naming ``name``, for another shape, numbers other than 0 and 1, and a mask that hides everything.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import visibility
      >>> visibility.one("probe_masks", [[1, 1], [0, 1]], (2, 2, 8)).tolist()
      [[True, True], [False, True]]
      >>> visibility.one("probe_masks", [[1, 0.5], [0, 1]], (2, 2, 8))
      Traceback (most recent call last):
      ValueError: probe_masks holds 0.5 ...
    """
    mask = plane(name, value, shape)
    others = mask[(mask != 0) & (mask != 1)]
    if others.size:
        raise ValueError(
            f"{name} holds {others[0]:g}: a mask is True or 1 where the position is visible, False or 0 where it is "
            "not. A heat map needs a threshold, mask > 0.5; on the probes' side it can be probe_weights instead"
        )
    if not mask.any():
        raise ValueError(
            f"{name} has no visible position, nothing is left of the map: leave it out, or look at its mask (True, or "
            "1, is visible)"
        )
    return mask.astype(bool)


def plane(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A finite number per position of a map (h, w, d) of that shape, as float64.

    Raises:
      ValueError: naming ``name``, for anything else.
    """
    numbers = checks.array_of(name, value, boolean=True).astype(np.float64)
    if numbers.shape != tuple(shape[:2]):
        raise ValueError(
            f"{name} must be {tuple(shape[:2])}, a number for every position of its map {tuple(shape)}, got shape "
            f"{numbers.shape}: bring it to the map's resolution"
        )
    return checks.finite(name, numbers)


def hidden(feature_map: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The map, zero at its masked positions.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import visibility
      >>> visibility.hidden(np.ones((1, 2, 2)), np.array([[True, False]])).tolist()
      [[[1.0, 1.0], [0.0, 0.0]]]
    """
    return feature_map if mask is None else np.where(mask[..., None], feature_map, feature_map.dtype.type(0))


def each_hidden(maps: Iterable[np.ndarray], masks: Sequence[np.ndarray] | None) -> Iterable[np.ndarray]:
    """The maps, one by one, zero at their masked positions; as they are where there are no masks."""
    if masks is None:
        return maps
    return (hidden(values, mask) for values, mask in zip(maps, masks, strict=True))
