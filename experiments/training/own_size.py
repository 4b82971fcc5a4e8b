"""Training views of images that keep their own size, which is what a fully convolutional network is for (Sec. 3.1).

They are padded to one of a few shapes, chosen as for extraction (`extract.buckets`), their true sizes alongside; images
of different padded shapes never share a batch, so training compiles once per shape.
"""

import numpy as np
from tqdm import tqdm

from data import decoded, views
from dsr_jax import extract
from experiments.training.batches import People, zeros_beyond


class OwnSizeViews:
    """Views of images that keep their own size, padded to one of a few shapes.

    Args:
      people: the images; each is decoded once to learn its size.
      stride: pixels per map position: padded sides are its multiples, and the smallest patch has at least one.
      limit: bytes of decoded images held in memory; the others are decoded at each use.

    Raises:
      ValueError: for an image that is too small, or that cannot be decoded; the message names it.
    """

    def __init__(
        self,
        people: People,
        *,
        stride: int,
        buckets: int,
        augmentation: views.Augmentation,
        limit: int,
        progress: bool = False,
    ):
        self._images = decoded.Decoded(people.source, people.positions, size=None, limit=limit)
        self._augmentation = augmentation
        bar = tqdm(self._images, desc="sizes", unit="image", disable=not progress)
        shapes = [(image.shape[0], image.shape[1]) for image in bar]
        for position, shape in zip(people.positions, shapes, strict=True):
            if min(views.smallest_patch(shape)) < stride:
                raise ValueError(
                    f"image {people.source.names[position]!r} of {shape[0]} x {shape[1]} pixels has patches below one "
                    f"output cell of {stride} x {stride}: give --buckets=0, which brings all images to --size"
                )
        self._buckets = extract.buckets(shapes, stride=stride, limit=buckets)

    def padded(self, i: int) -> tuple[int, ...]:
        """Height, width and channels of the image's bucket."""
        return (*self._buckets[i], 3)

    def whole(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A holistic view, padded to the image's bucket."""
        image = self._images[i]
        view = views.whole(image, rng, size=(image.shape[0], image.shape[1]), augmentation=self._augmentation)
        return zeros_beyond(view.pixels, self.padded(i)), view.size

    def patch(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch at the image's scale, padded to the image's bucket."""
        image = self._images[i]
        view = views.patch(image, rng, size=(image.shape[0], image.shape[1]), augmentation=self._augmentation)
        return zeros_beyond(view.pixels, self.padded(i)), view.size
