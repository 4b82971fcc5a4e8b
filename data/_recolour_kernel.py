"""Compiled change of brightness, contrast and saturation, the slowest part of a training view.

In float64 and in one order of operations, so that a view is the same on every machine and with any number of threads.
Before the channels are mixed a value is one of 256, which are computed once.
"""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import flat, kernel
from dsr_jax.evaluation import partial_crops


def recolour(pixels: np.ndarray, factors: np.ndarray, box: partial_crops.Box | None = None) -> np.ndarray:
    """The picture with brightness, contrast and saturation multiplied by the three factors.

    With m the mean of all brightened values and g that of a pixel's three channels after contrast:
    v = m + contrast (brightness p - m), result = g + saturation (v - g), cut off at 0 and 255.

    Returns:
      (H, W, 3) uint8, or of the box's size.
    """
    brightness, contrast, saturation = (float(factor) for factor in factors)
    mean = np.multiply(pixels, brightness, dtype=np.float64).mean()
    table = (np.arange(256) * brightness - mean) * contrast + mean
    part = np.ascontiguousarray(pixels if box is None else partial_crops.crop(pixels, box))
    result = np.empty_like(part)
    _recolour(flat(part), table, saturation, result.reshape(-1))
    return result


@kernel(threads=True, exact=True)
@no_type_check
def _recolour(pixels, table, saturation, result):
    """Mixes the channels of the table's values, pixel by pixel."""
    for at in range(0, len(pixels), 3):
        red, green, blue = table[pixels[at]], table[pixels[at + 1]], table[pixels[at + 2]]
        grey = (red + green + blue) / 3
        result[at] = np.uint8(min(max(grey + saturation * (red - grey), 0.0), 255.0))
        result[at + 1] = np.uint8(min(max(grey + saturation * (green - grey), 0.0), 255.0))
        result[at + 2] = np.uint8(min(max(grey + saturation * (blue - grey), 0.0), 255.0))
