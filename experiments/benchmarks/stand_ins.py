"""Maps to time with where real ones are missing: drawn, non-negative, smooth, and never to be taken for results.

A map is the ReLU of a smooth random field, so that neighbouring positions resemble each other, plus a person's own
pattern, which a probe and its gallery image share. With the numbers of `PLAIN` a column has one to three non-zero codes
at l1 = 0.4, as on real maps, but hardly any needs none. `VGG` and `OSNET` come close to both shares of real maps of
these networks, on which the work of a coder depends (`benchmarks.device_maps` counts them).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Maps = list[NDArray[np.float32]]


class Look(NamedTuple):
    """Numbers of the random field.

    Attributes:
      common: weight of what all people share.
      spread: how far that weight varies from position to position, the deviation of its logarithm.
      threshold: what is subtracted before the ReLU.
      smoothings: times that the field is averaged with its neighbours.
      noise: weight of what only one view has.
    """

    common: float = 1.0
    spread: float = 0.0
    threshold: float = 0.1
    smoothings: int = 1
    noise: float = 0.7


PLAIN = Look()
VGG = Look(common=0.91, spread=1.14, threshold=0.4, smoothings=2, noise=0.37)
OSNET = Look(common=0.58, spread=1.61, threshold=0.02, smoothings=2, noise=0.73)


def drawn(count: int, *, shape: tuple[int, ...], seed: int, view: int = 0, look: Look = PLAIN) -> Maps:
    """(h, w, d) float32 maps of people 0 ... count - 1; another ``view`` sees the same people again.

    Example:
      >>> maps = drawn(2, shape=(16, 8, 128), seed=0)
      >>> len(maps), maps[0].shape, bool((maps[0] >= 0).all())
      (2, (16, 8, 128), True)
    """
    common = np.random.default_rng([seed, 0]).normal(size=shape).astype(np.float32)
    people = []
    for number in range(count):
        pattern = np.random.default_rng([seed, 1, number]).standard_normal(shape, np.float32)
        rng = np.random.default_rng([seed, 2, number, view])
        noise = np.float32(look.noise) * rng.standard_normal(shape, np.float32)
        weights = np.exp(np.float32(look.spread) * rng.standard_normal((*shape[:2], 1), np.float32))
        field = np.float32(look.common) * weights * common + pattern + noise
        for _ in range(look.smoothings):
            field = _smooth(field)
        people.append(np.maximum(field - np.float32(look.threshold), 0))
    return people


def cropped(
    maps: Sequence[np.ndarray],
    *,
    seed: int,
    height_range: tuple[float, float] = (0.5, 0.75),
    width_range: tuple[float, float] = (0.7, 1.0),
) -> Maps:
    """Partial probes: of each map a part with these shares of its height and width."""
    rng, parts = np.random.default_rng([seed, 3]), []
    for values in maps:
        shares = rng.uniform(*height_range), rng.uniform(*width_range)
        height, width = (max(1, round(share * side)) for share, side in zip(shares, values.shape, strict=False))
        top, left = rng.integers(values.shape[0] - height + 1), rng.integers(values.shape[1] - width + 1)
        parts.append(np.ascontiguousarray(values[top : top + height, left : left + width]))
    return parts


def perturbed(
    maps: Sequence[np.ndarray], count: int, *, seed: int, noise: float = 0.5
) -> Iterator[NDArray[np.float32]]:
    """``count`` maps one by one, each a copy of one of ``maps``, its numbers multiplied by log-normal ``noise``."""
    for number in range(count):
        values = maps[number % len(maps)]
        factors = np.random.default_rng([seed, 4, number]).standard_normal(values.shape, np.float32)
        yield values * np.exp(np.float32(noise) * factors)


def _smooth(field: np.ndarray) -> np.ndarray:
    """Averaged with its neighbours above and beside, the edges repeated."""
    for axis in (0, 1):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(field, padding, mode="edge")
        before, here, after = (np.take(padded, range(i, i + field.shape[axis]), axis=axis) for i in range(3))
        field = (before + 2 * here + after) / np.float32(4)
    return field
