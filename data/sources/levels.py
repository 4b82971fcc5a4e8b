"""Brightness levels of a picture: a picture of (nearly) one colour spans few, and shows nobody.

A picture of 8, 10 or 12 bits in a file of 16 that does not state it is such a picture: black, of at most 16 levels.
Nothing is stretched; such pictures are counted and named when a data set is checked, prepared and evaluated.
"""

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
    """Number of levels between the darkest and the brightest hundredth of the pixels, the largest of three channels.

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
    """Remark on the pictures, of `count`, that span few levels."""
    more = f", ... ({len(names):,} in all)" if len(names) > _SHOWN else ""
    return (
        f"{len(names):,} of {count:,} pictures are of (nearly) one colour, {', '.join(names[:_SHOWN])}{more}: {REMEDY}."
    )
