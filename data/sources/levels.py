"""How many brightness levels a picture spans: few in one that is (nearly) of one colour, and shows nobody.

So does a picture become whose 8, 10 or 12 bits lie in a file of 16 that does not say so: black, of at most 16 levels.
Nothing is stretched; such pictures are counted and named when a data set is checked, prepared and evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEW = 17  # 12 bits read as 16 span 16
_OUTSIDE = 0.01  # share of pixels at either end that do not count: time stamps, dead pixels
_SHOWN = 5

REMEDY = (
    "look at them; grey of 16 bits that holds 8, 10 or 12 is black unless the file says so (MaxSampleValue, sBIT): "
    "save it with 8 bits"
)


def spanned(image: np.ndarray) -> int:
    """The levels between the darkest and the brightest hundredth of the pixels, in the colour where they are most.

    Args:
      image: (H, W, 3) uint8.

    Returns:
      1 (one colour) to 256.

    Example:
      >>> spanned(np.full((4, 2, 3), 7, np.uint8))
      1
    """
    count = image.shape[0] * image.shape[1]
    most = 0
    for channel in range(image.shape[2]):
        below = np.cumsum(np.bincount(image[..., channel].ravel(), minlength=256))
        low, high = np.searchsorted(below, [_OUTSIDE * count, (1 - _OUTSIDE) * count], side="left")
        most = max(most, int(high - low) + 1)
    return most


def remark(names: Sequence[str], count: int) -> str:
    """The sentence about those of `count` pictures that span few levels."""
    more = f", ... ({len(names):,} in all)" if len(names) > _SHOWN else ""
    return (
        f"{len(names):,} of {count:,} pictures are of (nearly) one colour, {', '.join(names[:_SHOWN])}{more}: {REMEDY}."
    )
