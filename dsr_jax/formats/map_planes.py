"""Masks and weights in a file of maps: ``mask_0``, ``weight_0``, ..., an array (h, w) per map where the map has one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax.matching import visibility, weighting

CHECKS: dict[str, Callable[[str, Any, tuple[int, ...]], np.ndarray]] = {
    "mask": visibility.one,
    "weight": weighting.checked,
}


def names(count: int) -> set[str]:
    """The names that the arrays of so many maps may have.

    Example:
      >>> from dsr_jax.formats import map_planes
      >>> sorted(map_planes.names(2))
      ['mask_0', 'mask_1', 'weight_0', 'weight_1']
    """
    return {f"{kind}_{i}" for kind in CHECKS for i in range(count)}


def given(count: int, **arrays: Any) -> dict[str, list[Any]]:
    """What is given of so many maps, by its kind ("mask", "weight"); None instead of an array, or of all, is nothing.

    Raises:
      ValueError: for another number of them.
    """
    return {kind: visibility.planes(f"{kind}s", each, count) for kind, each in arrays.items() if each is not None}


def stored(planes: Mapping[str, Sequence[Any]], i: int, called: str, shape: tuple[int, ...]) -> Iterator[Any]:
    """Name in the file and checked array of what map ``i``, of that shape, has.

    Raises:
      ValueError: naming the map, for an array that does not fit it.
    """
    for kind, each in planes.items():
        if each[i] is not None:
            checked = CHECKS[kind](f"{kind}s[{i}] ({called})", each[i], shape)
            if kind == "weight":
                largest, limits = np.max(checked), np.finfo(np.float32)
                if not limits.tiny <= largest <= limits.max:  # only their ratios count
                    checked = checked / largest
                checked = checked.astype(np.float32)
            yield f"{kind}_{i}", checked


def checked(
    kind: str, arrays: Mapping[str, np.ndarray], shapes: Sequence[tuple[int, ...]]
) -> tuple[np.ndarray, ...] | None:
    """The arrays of one kind of all maps of these shapes: ones where a map has none; None if no map has one.

    Raises:
      ValueError: naming the array that does not fit its map.
    """
    called = [f"{kind}_{i}" for i in range(len(shapes))]
    if not any(name in arrays for name in called):
        return None
    each = (arrays.get(name, np.ones(shape[:2], bool)) for name, shape in zip(called, shapes, strict=True))
    return tuple(CHECKS[kind](*found) for found in zip(called, each, shapes, strict=True))
