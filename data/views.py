"""Views of training images: whole, or a patch at the same scale (Sec. 3.3), augmented and padded to one size.

Every view starts from the image brought to one size, so that the two images of a pair share their scale. Augmentation
(mirror, shift, colour, erasing) never changes the scale. A view is a pure function of the image and a random generator;
its true size stands beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data import _recolour_kernel
from dsr_jax.evaluation import partial_crops

# Visible shares of height and width of a training patch, smallest and largest.
HEIGHT_RANGE, WIDTH_RANGE = (0.5, 0.75), (0.7, 1.0)


class View(NamedTuple):
    """One padded view: `pixels` (H, W, 3) uint8 RGB, zero beyond `size` = (height, width), the true size."""

    pixels: np.ndarray
    size: np.ndarray


class Augmentation(NamedTuple):
    """Strength of the augmentation; all zeros leave the image as it is."""

    mirror: float = 0.5  # probability of a left-right flip
    shift: float = 0.05  # largest shift, as a share of height and width; the border is repeated
    colour: float = 0.2  # largest relative change of brightness, contrast and saturation
    erase: float = 0.5  # probability that a rectangle of 2 to 20 % of the area is filled with noise


def whole(image: np.ndarray, rng: np.random.Generator, *, size: tuple[int, int], augmentation: Augmentation) -> View:
    """A holistic view: the image brought to `size` (height, width), then augmented."""
    pixels, factors = _upright(image, rng, size, augmentation)
    if factors is not None:
        pixels = _recolour_kernel.recolour(pixels, factors)
    return View(_erase(pixels, rng, augmentation), np.array(size, np.int32))


def patch(image: np.ndarray, rng: np.random.Generator, *, size: tuple[int, int], augmentation: Augmentation) -> View:
    """A random patch of the image brought to `size`, like a partial probe; padded to `patch_size`."""
    upright, factors = _upright(image, rng, size, augmentation)
    key = int(rng.integers(2**32))
    box = partial_crops.partial_box(*size, seed_key=key, height_range=HEIGHT_RANGE, width_range=WIDTH_RANGE)
    if factors is None:
        seen = partial_crops.crop(upright, box)
    else:  # only the visible colours are computed
        seen = _recolour_kernel.recolour(upright, factors, box)
    seen = _erase(seen, rng, augmentation)
    pixels = np.zeros((*patch_size(size), 3), np.uint8)
    pixels[: box.height, : box.width] = seen
    return View(pixels, np.array([box.height, box.width], np.int32))


def patch_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest patch of an image of `size`."""
    return max(1, round(size[0] * HEIGHT_RANGE[1])), max(1, round(size[1] * WIDTH_RANGE[1]))


def smallest_patch(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the smallest patch of an image of `size`.

    Example:
      >>> smallest_patch((160, 64))
      (80, 45)
    """
    return max(1, round(size[0] * HEIGHT_RANGE[0])), max(1, round(size[1] * WIDTH_RANGE[0]))


def nearest_multiple(size: Sequence[int], multiple: int) -> tuple[int, int]:
    """(height, width), the first two of `size`, each to the nearest multiple of so many pixels, at least one of it.

    Example:
      >>> nearest_multiple((151, 110, 3), 16), nearest_multiple((156, 5), 16), nearest_multiple((151, 110), 1)
      ((144, 112), (160, 16), (151, 110))
    """
    height, width = (max(1, round(side / multiple)) * multiple for side in size[:2])
    return height, width


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at `size` (height, width), bicubic, as uint8 RGB."""
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image  # here: a run without pictures does without

    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _upright(
    image: np.ndarray, rng: np.random.Generator, size: tuple[int, int], augmentation: Augmentation
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image resized, mirrored and shifted; and the factors of its colours, or None."""
    pixels = resize(image, size)
    if rng.random() < augmentation.mirror:
        pixels = _mirrored(pixels)
    if augmentation.shift > 0:
        margins = [max(1, round(augmentation.shift * side)) for side in size]
        down, right = (int(rng.integers(2 * margin + 1)) - margin for margin in margins)
        pixels = _shifted(pixels, down, right)
    factors = 1 + augmentation.colour * rng.uniform(-1, 1, 3) if augmentation.colour > 0 else None
    return pixels, factors


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    """Left-right flip, channel by channel: NumPy copies so four times as fast as three bytes at a time."""
    mirrored = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):
        mirrored[..., channel] = pixels[:, ::-1, channel]
    return mirrored


def _shifted(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """The view shifted down and right, the border repeated beyond it."""
    height, width = pixels.shape[:2]
    down, right = max(1 - height, min(height - 1, down)), max(1 - width, min(width - 1, right))
    top, bottom = max(0, -down), min(height, height - down)
    left, end = max(0, -right), min(width, width - right)
    shifted = np.empty_like(pixels)
    shifted[top:bottom, left:end] = pixels[top + down : bottom + down, left + right : end + right]
    rows = shifted[top:bottom]
    rows[:, :left], rows[:, end:] = rows[:, left, None], rows[:, end - 1, None]
    shifted[:top], shifted[bottom:] = shifted[top], shifted[bottom - 1]
    return shifted


def _erase(pixels: np.ndarray, rng: np.random.Generator, augmentation: Augmentation) -> np.ndarray:
    """Random erasing (Zhong et al., AAAI 2020)."""
    if rng.random() >= augmentation.erase:
        return pixels
    height, width = pixels.shape[:2]
    area, ratio = rng.uniform(0.02, 0.2) * height * width, np.exp(rng.uniform(-1, 1))
    rows, columns = min(height, round((area * ratio) ** 0.5)), min(width, round((area / ratio) ** 0.5))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    erased = pixels.copy()
    erased[top : top + rows, left : left + columns] = rng.integers(0, 256, (rows, columns, 3), np.uint8)
    return erased
