"""The gradient in the kernel of a depthwise 3 x 3 convolution, compiled.

For every place (down, right) of the kernel it is the sum over all positions of the image's number there times the
output's gradient. Channels lie side by side, so a line of an image is one run of numbers, and the same line shifted by
a position is the same run shifted by the channels: three places of the kernel are worked off in one pass over two
lines. The sums over the positions of a line are left to the caller.
"""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel


@kernel(threads=True)
@no_type_check
def kernel_gradients(images, gradients, shape, sums, start, stop):
    """Adds products of the images start ... stop to ``sums``, (images, 3, 3, W, C).

    Args:
      images: (batch, H, W, C), flat.
      gradients: likewise, in the outputs.
      shape: H, W, C.
      sums: zero, flat.
      start: first image.
      stop: last image, exclusive.
    """
    one, three = np.uint64(1), np.uint64(3)
    height, channels = np.uint64(shape[0]), np.uint64(shape[2])
    line = np.uint64(shape[1]) * channels
    for image in range(np.uint64(start), np.uint64(stop)):
        for row in range(height):
            at = (image * height + row) * line
            for down in range(three):
                if row + down < one or row + down > height:
                    continue
                above, place = at + down * line - line, (image * three + down) * three * line
                _line(images, above, gradients, at, line, channels, sums, place)


@kernel(threads=True)
@no_type_check
def _line(x, at, g, to, line, channels, sums, place):
    """Adds the products of one line, seen from the places left, middle and right of the kernel."""
    middle, right = place + line, place + line + line
    for i in range(channels, line - channels):
        slope = g[to + i]
        sums[place + i] += x[at + i - channels] * slope
        sums[middle + i] += x[at + i] * slope
        sums[right + i] += x[at + i + channels] * slope
    first = min(channels, line - channels)  # 0 for a line of one position
    for i in range(channels):
        sums[middle + i] += x[at + i] * g[to + i]
    for i in range(first):
        sums[right + i] += x[at + i + channels] * g[to + i]
    for i in range(line - first, line):
        sums[place + i] += x[at + i - channels] * g[to + i]
        sums[middle + i] += x[at + i] * g[to + i]
