"""Crops made while a data set is built, stored as PNG, so that no pixel changes."""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from data.source import decode
from dsr_jax.evaluation import partial_crops


def encoded(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True)
class Cropped:
    """`Record.read` of a random part of a picture; the same key gives the same part."""

    read: Callable[[], bytes]
    seed_key: tuple[int, ...]

    def __call__(self) -> bytes:
        """The file of the part."""
        image = decode(self.read())
        box = partial_crops.partial_box(*image.shape[:2], seed_key=self.seed_key)
        return encoded(partial_crops.crop(image, box))
