"""Training views of images that keep their own size, which is what a fully convolutional network is for (Sec. 3.1).

They are padded to one of a few shapes, chosen as for extraction (`extract.buckets`), their true sizes alongside; images
of different padded shapes never share a batch, so training compiles once per shape.
"""

from tqdm import tqdm

from data import views
from dsr_jax import extract
from experiments.training.batches import ImageViews, People


class OwnSizeViews(ImageViews):
    """Views of images that keep their own size; `batches.identification` pads them to one of a few shapes.

    Args:
      people: the images; each is decoded once to learn its size.
      stride: pixels per map position: padded sides are its multiples, and the smallest patch has at least one.
      limit: bytes of decoded images held in memory; the others are decoded at each use.
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
        super().__init__(people, size=None, augmentation=augmentation, limit=limit)
        bar = tqdm(self._images, desc="sizes", unit="image", disable=not progress)
        self._shapes = [(image.shape[0], image.shape[1]) for image in bar]
        for position, shape in zip(people.positions, self._shapes, strict=True):
            if min(views.smallest_patch(shape)) < stride:
                raise ValueError(
                    f"image {people.source.names[position]!r} of {shape[0]} x {shape[1]} pixels has patches below one "
                    f"output cell of {stride} x {stride}: give --buckets=0, which brings all images to --size"
                )
        self._buckets = extract.buckets(self._shapes, stride=stride, limit=buckets)

    def padded(self, i: int) -> tuple[int, ...]:
        """Height, width and channels of the image's bucket."""
        return (*self._buckets[i], 3)

    def _shape(self, i: int) -> tuple[int, int]:
        return self._shapes[i]
