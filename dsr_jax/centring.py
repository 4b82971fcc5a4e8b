"""Centring: what all pictures of a camera share is taken off their maps and vectors, so that people are what is left.

Two cameras see one person in another light and before another wall, and a network that was trained on neither puts
all pictures of a camera on one side. The mean of a camera's pictures says where; no label is needed (Song et al.,
"Exploring the camera bias of person re-identification", ICLR 2025, does it with vectors, and divides by their
spread). A network that was trained on pictures of these cameras has learnt it already: docs/which-matcher.md has
both.
"""

import collections
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

FEW = 10  # a mean of fewer pictures is in part that of the people in them


def means(values: Sequence[np.ndarray], cameras: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """The mean feature (d,) of every camera.

        mean of a camera = sum of the positions of all its maps / how many there are

    Every position counts the same, so a large picture counts more than a small one. Positions that are zero, masked
    ones for example, do not count. Probes and gallery are best centred apart, each by its own means: crops are seen
    otherwise than whole people, by whichever camera.

    Args:
      values: maps (h, w, d), of any sizes, or vectors (d,).
      cameras: whose each of them is: numbers, names, anything that can be a key.

    Raises:
      ValueError: if there is not one camera per map, channels differ, a value is NaN or infinite, a camera has a single
        picture, of which it would leave nothing, or nothing but zeros.

    Example:
      >>> found = means([np.array([1.0, 2.0]), np.array([3.0, 2.0])], ["door", "door"])
      >>> {camera: mean.tolist() for camera, mean in found.items()}
      {'door': [2.0, 2.0]}
    """
    _check(values, cameras)
    sums: dict[Hashable, np.ndarray] = {}
    positions: dict[Hashable, int] = {}
    pictures: dict[Hashable, int] = {}
    for each, camera in zip(values, cameras, strict=True):
        flat = _numbers(each).reshape(-1, np.shape(each)[-1])
        sums[camera] = sums.get(camera, 0) + flat.sum(axis=0, dtype=np.float64)
        positions[camera] = positions.get(camera, 0) + int(np.count_nonzero(flat.any(axis=1)))
        pictures[camera] = pictures.get(camera, 0) + 1
    for camera, total in sums.items():
        if not np.isfinite(total).all():
            raise ValueError(f"the pictures of camera {camera!r} have maps with NaN or infinity: look at the network")
        if not positions[camera]:
            raise ValueError(f"the pictures of camera {camera!r} are zero everywhere: there is no mean to take off")
        if pictures[camera] == 1:
            raise ValueError(
                f"camera {camera!r} has a single picture, and without its own mean nothing of it would be left: leave "
                "it out, or give it the means of other pictures by that camera"
            )
    return {camera: total / positions[camera] for camera, total in sums.items()}


def centred(
    values: Sequence[np.ndarray],
    cameras: Sequence[Hashable],
    of: Mapping[Hashable, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The maps or vectors without the mean of their camera; positions that are zero stay zero.

    Args:
      values: maps (h, w, d), of any sizes, or vectors (d,).
      cameras: whose each of them is.
      of: `means` of other pictures by the same cameras, for a single probe for example; default: of these.

    Returns:
      As many arrays of the same shapes, float32, or float64 where they were.

    Raises:
      ValueError: as `means`, and if a camera has no mean, or one of another length.

    Example:
      >>> from dsr_jax import match
      >>> draw = np.random.default_rng(0)
      >>> maps = [draw.random((4, 3, 8), np.float32) for _ in range(6)]
      >>> cameras = ["door", "hall"] * 3
      >>> gallery = centred(maps, cameras)
      >>> probe = centred([maps[2][:2]], ["door"], means(maps, cameras))
      >>> int(match.distances(probe, gallery, coder="maxsim").distance.argmin())
      2
    """
    if of is None:
        of = means(values, cameras)
    else:
        _check(values, cameras)
    for camera in dict.fromkeys(cameras):
        if camera not in of:
            raise ValueError(f"camera {camera!r} has no mean, there are those of {', '.join(map(repr, of))}")
    lengths = {np.shape(mean) for mean in of.values()} - {np.shape(each)[-1:] for each in values}
    if lengths and len(values):
        raise ValueError(f"the means have shape {lengths.pop()}, the features {np.shape(values[0])[-1:]}")
    return [_without(_numbers(each), np.asarray(of[camera])) for each, camera in zip(values, cameras, strict=True)]


def few(cameras: Sequence[Hashable]) -> dict[Hashable, int]:
    """The cameras with so few pictures that their mean holds the people themselves, and how many they have.

    Example:
      >>> few(["door"] * 40 + ["hall"] * 3)
      {'hall': 3}
    """
    counts = collections.Counter(cameras)
    return {camera: count for camera, count in counts.items() if count < FEW}


def _numbers(values: np.ndarray) -> np.ndarray:
    """As they are if they are float32 or float64; integers and halves, which no mean fits into, as float32."""
    values = np.asarray(values)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _without(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    seen = values.any(axis=-1, keepdims=True)
    return np.where(seen, values - mean.astype(values.dtype), np.zeros((), values.dtype))


def _check(values: Sequence[np.ndarray], cameras: Sequence[Hashable]) -> None:
    if len(values) != len(cameras):
        raise ValueError(f"cameras must be one per map, got {len(cameras)} for {len(values)} maps")
    shapes = {np.shape(each)[-1:] for each in values}
    if any(np.ndim(each) not in (1, 3) for each in values) or len(shapes) > 1:
        raise ValueError(
            "values must be maps (h, w, d) or vectors (d,) of the same d, got shapes "
            f"{', '.join(map(str, dict.fromkeys(np.shape(each) for each in values)))}"
        )
