"""Batches of training views, in an order that is a pure function of seed and step.

Three kinds of views behind one interface: `ImageViews` draws them from the images at every step, all at one size,
`own_size.OwnSizeViews` each at its own, and `frozen.FrozenViews` a fixed number per image once. Grain shuffles,
repeats and batches; `dataset[step]` is the batch of that step, so a run that resumes at step k goes on exactly where it
was: the step is the iterator's whole state. With several processes each takes its `Share` of the rows of every batch.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np

from data import Source, decoded, sampling, views
from dsr_jax.evaluation import labels, training_pairs


class Views(Protocol):
    """Draws a whole or a patch view of image `i`: (padded input, true size)."""

    def padded(self, i: int) -> tuple[int, ...]:
        """Shape of the input that holds any view of image `i`: images that share it can share a batch."""

    def whole(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A holistic view."""

    def patch(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch at the same scale."""


class Share(NamedTuple):
    """What `process` of `processes` takes of a batch: its rows, in order; all of them together are the batch."""

    process: int = 0
    processes: int = 1


EVERYTHING = Share()


class Batching(NamedTuple):
    """How batches are made."""

    batch_size: int  # views or pairs per batch, of all processes together
    seed: int  # of order, views and pairs
    per_identity: int = 0  # of each identity in a batch (of a pair the whole image's); 0: shuffled epochs
    share: Share = EVERYTHING
    similar: np.ndarray | None = None  # (people, n): those whom a batch puts beside each; None: anybody


class People(NamedTuple):
    """Training images: positions in the source, classes 0 to K - 1, cameras."""

    source: Source
    positions: np.ndarray
    classes: np.ndarray
    cameras: np.ndarray


def people(source: Source, *, holdout: int, holdout_from: str = "spread") -> tuple[People, np.ndarray]:
    """The training images without those of ``holdout`` identities, and the positions of those held out."""
    known = np.unique(source.identities[source.identities >= 0])
    if len(known) < 2:
        raise ValueError(
            f"{source.title} has {len(known)} people in {len(source)} images, those of nobody not counted, and "
            "training tells at least two apart: prepare the data set with more people to train on"
        )
    if not 0 <= holdout < len(known) - 1:
        raise ValueError(f"holdout must leave at least two of the {len(known)} training identities, got {holdout}")
    chosen = labels.held_out(source.identities, holdout, which=holdout_from)
    kept = np.setdiff1d(known, chosen)
    positions = np.flatnonzero(np.isin(source.identities, kept))
    classes = np.searchsorted(kept, source.identities[positions])
    held = np.flatnonzero(np.isin(source.identities, chosen))
    return People(source, positions, classes, source.cameras[positions]), held


class ImageViews:
    """Views drawn from the images at every step, as uint8 pixels.

    Args:
      size: height and width to which they are brought; None: they keep their own.
      limit: bytes of decoded images held in memory; the others are decoded at each use.
    """

    def __init__(self, people: People, *, size: tuple[int, int] | None, augmentation: views.Augmentation, limit: int):
        self._images = decoded.Decoded(people.source, people.positions, size=size, limit=limit)
        self._size, self._augmentation = size, augmentation

    def padded(self, i: int) -> tuple[int, ...]:
        """Height, width and channels of a whole view, the same for every image."""
        return (*self._shape(i), 3)

    def whole(self, i: int, rng: np.random.Generator) -> views.View:
        """A holistic view."""
        return views.whole(self._images[i], rng, size=self._shape(i), augmentation=self._augmentation)

    def patch(self, i: int, rng: np.random.Generator) -> views.View:
        """A patch at the same scale."""
        return views.patch(self._images[i], rng, size=self._shape(i), augmentation=self._augmentation)

    def _shape(self, i: int) -> tuple[int, int]:
        """Height and width of a whole view; the same for all images of one ``size``."""
        height, width = self._size or self._images[i].shape[:2]
        return height, width


def identification(drawn: Views, classes: np.ndarray, how: Batching, *, patch_share: float) -> grain.MapDataset:
    """Batches of inputs, sizes, identities.

    Args:
      drawn: where the views come from; images of different padded shapes never share a batch.
      classes: (n,) the identity of each image.
      how: batches are made.
      patch_share: probability that a view is a patch; it is padded as wide as a whole.
    """

    def draw(i: int, rng: np.random.Generator) -> dict[str, Any]:
        inputs, size = (drawn.patch if rng.random() < patch_share else drawn.whole)(int(i), rng)
        return {"inputs": zeros_beyond(inputs, drawn.padded(int(i))), "sizes": size, "identities": np.int32(classes[i])}

    return _batched(draw, classes, [drawn.padded(i) for i in range(len(classes))], how)


def pairs(
    drawn: Views, classes: np.ndarray, cameras: np.ndarray, how: Batching, *, positives: int, negatives: int
) -> grain.MapDataset:
    """Batches of whole and patch with their sizes and identities, and the pair's sign (Sec. 3.3).

    The views are all of one padded shape: both images of a pair have one scale.
    """
    chosen = training_pairs.draw_pairs(classes, cameras, positives=positives, negatives=negatives, seed=how.seed)

    def draw(p: int, rng: np.random.Generator) -> dict[str, Any]:
        i, j = int(chosen.whole[p]), int(chosen.patch[p])
        (whole, whole_size), (patch, patch_size) = drawn.whole(i, rng), drawn.patch(j, rng)
        return {
            "whole": whole,
            "whole_sizes": whole_size,
            "whole_identities": np.int32(classes[i]),
            "patch": patch,
            "patch_sizes": patch_size,
            "patch_identities": np.int32(classes[j]),
            "sign": np.int32(chosen.sign[p]),
        }

    return _batched(draw, classes[chosen.whole], [], how)


def check(classes: np.ndarray, how: Batching) -> None:
    """Whether such batches can be made; the same as is checked when they are.

    Raises:
      ValueError: if not; the message says what would do.
    """
    share, batch_size = how.share, how.batch_size
    if not 0 <= share.process < share.processes:
        raise ValueError(f"process is {share.process}, and must be 0 to {share.processes - 1}")
    if batch_size % share.processes:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared by {share.processes} processes: "
            f"give a multiple of {share.processes}"
        )
    if how.per_identity:
        sampling.check_balanced(len(np.unique(classes)), batch_size=batch_size, per_person=how.per_identity)


def _order(classes: np.ndarray, padded: Sequence[Hashable], how: Batching) -> Sequence[int] | None:
    """The endless order of positions; None where it is that of shuffled epochs."""
    batch_size, seed, per_identity = how[:3]
    shapes = sorted(set(padded), key=str)
    if len(shapes) > 1 and per_identity:
        raise ValueError(
            f"images_per_identity puts images of {len(shapes)} padded shapes into one batch: give --buckets=1 with it"
        )
    if len(shapes) > 1:
        return sampling.Grouped([shapes.index(shape) for shape in padded], batch_size=batch_size, seed=seed)
    if not per_identity:
        return None
    if how.similar is not None:
        return sampling.Similar(classes, how.similar, batch_size=batch_size, per_person=per_identity, seed=seed)
    order = sampling.Balanced(classes, batch_size=batch_size, per_person=per_identity, seed=seed)
    if order.few():
        print(
            f"{order.few()} of {len(np.unique(classes))} identities have fewer than {per_identity} images "
            "or pairs; theirs come more than once in a batch"
        )
    return order


def _batched(
    draw: Callable[..., Any], classes: np.ndarray, padded: Sequence[Hashable], how: Batching
) -> grain.MapDataset:
    """Batches of what is drawn at each position."""
    count, share = len(classes), how.share
    if count < 1:
        raise ValueError("there is nothing to train on: the training split has no images, or no pairs were asked for")
    check(classes, how)
    order = _order(classes, padded, how)
    if order is None:
        epochs = sampling.ENDLESS // count  # Grain's own endless is one too many for batches of one
        positions = grain.MapDataset.source(np.arange(count)).seed(how.seed).shuffle().repeat(epochs)
    else:
        positions = grain.MapDataset.source(order).seed(how.seed)
    # Small batches of one process's rows: those of process 0, 1, ... of the first step, then of the second.
    parts = positions.random_map(draw).batch(how.batch_size // share.processes)
    return parts if share.processes == 1 else parts[share.process :: share.processes]


def zeros_beyond(inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inputs at the start of an array of that shape, zeros beyond them."""
    if inputs.shape == shape:
        return inputs
    padded = np.zeros(shape, inputs.dtype)
    padded[tuple(slice(side) for side in inputs.shape)] = inputs
    return padded
