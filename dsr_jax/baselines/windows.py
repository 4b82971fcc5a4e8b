"""Windows of one size slid over an image: sub-regions for `swm` and `amc`."""

import numpy as np


def starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one side: every ``stride``, and one flush with the end.

    Raises:
      ValueError: if the window is longer than the side, or one of them is not positive.

    Example:
      >>> starts(120, 64, 32), starts(64, 64, 32)
      ([0, 32, 56], [0])
    """
    if not (0 < window <= length and stride > 0):
        raise ValueError(f"window must be 1 to {length} pixels and stride at least 1, got {window} and {stride}")
    last = length - window
    return sorted({*range(0, last + 1, stride), last})


def cut(image: np.ndarray, window: tuple[int, int], stride: tuple[int, int]) -> list[np.ndarray]:
    """Every window (height, width) of an (H, W, 3) image, row by row, as views.

    Raises:
      ValueError: as `starts`.

    Example:
      >>> len(cut(np.zeros((320, 120, 3), np.uint8), (64, 64), (32, 32)))
      27
    """
    return [
        image[top : top + window[0], left : left + window[1]]
        for top in starts(image.shape[0], window[0], stride[0])
        for left in starts(image.shape[1], window[1], stride[1])
    ]
