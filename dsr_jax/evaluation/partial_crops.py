"""Partial crops: random boxes cut out of whole images at unchanged scale (Sec. 3.3, 4.1)."""

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import NDArray

from dsr_jax.evaluation import random_keys


class Box(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int


def partial_box(
    height: int,
    width: int,
    *,
    seed_key: int | Sequence[int],
    height_range: tuple[float, float] = (0.5, 0.75),
    width_range: tuple[float, float] = (0.7, 1.0),
) -> Box:
    """Draws the visible part of a person: a random box of the image, cut out without rescaling (Sec. 3.3, 4.1).

    Args:
      height: image height in pixels.
      width: image width in pixels.
      seed_key: non-negative integers that key the draw, for example (seed, index of the image). One key gives
        the same relative box at every image size.
      height_range: smallest and largest visible share of the height, 0 < low <= high <= 1.
      width_range: the same for the width.

    Returns:
      The `Box`, at least one pixel, shares rounded to the nearest pixel.

    Raises:
      ValueError: if a size is below 1, a range is not within (0, 1] or a key is negative.

    Example:
      >>> box = partial_box(320, 120, seed_key=(0, 7))
      >>> 160 <= box.height <= 240, 84 <= box.width <= 120
      (True, True)
    """
    if height < 1 or width < 1:
        raise ValueError(f"height x width is {height} x {width}; both must be at least 1 pixel.")
    for name, (low, high) in (("height_range", height_range), ("width_range", width_range)):
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"{name} is ({low}, {high}); it must satisfy 0 < low <= high <= 1.")
    share_h, share_w, place_h, place_w = random_keys.generator(seed_key).random(4)
    box_height = _extent(height, height_range, share_h)
    box_width = _extent(width, width_range, share_w)
    top = int(place_h * (height - box_height + 1))
    left = int(place_w * (width - box_width + 1))
    return Box(top, left, box_height, box_width)


def crop(image: NDArray, box: Box) -> NDArray:
    """Cuts `box` out of an (H, W, ...) image, as a view.

    Raises:
      ValueError: if the box is empty or does not lie inside the image.

    Example:
      >>> import numpy as np
      >>> crop(np.arange(12).reshape(3, 4), Box(1, 2, 2, 2)).tolist()
      [[6, 7], [10, 11]]
    """
    inside = 0 <= box.top and 0 <= box.left and box.height > 0 and box.width > 0
    if not (inside and box.top + box.height <= image.shape[0] and box.left + box.width <= image.shape[1]):
        raise ValueError(f"box {box} must be non-empty and inside the image of {image.shape[:2]} pixels.")
    return image[box.top : box.top + box.height, box.left : box.left + box.width]


def _extent(size: int, share: tuple[float, float], uniform: float) -> int:
    """Length in pixels of a share between low and high, `uniform` in [0, 1)."""
    low, high = share
    return max(1, round(size * (low + (high - low) * float(uniform))))
