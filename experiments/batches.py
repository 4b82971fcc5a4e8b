"""Batches of training views, in an order that is a pure function of seed and step.

Two kinds of views behind one interface: `ImageViews` draws them from the images at every step, `frozen.FrozenViews` a
fixed number per image once. Grain shuffles, repeats and batches; `dataset[step]` is the batch of
that step, so a run that resumes at step k goes on exactly where it was.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np
from tqdm import tqdm

from data import Source, views
from dsr_jax import protocols


class Views(Protocol):
    """Draws a whole or a patch view of image `i`: (padded input, true size); `shape` is that of a whole input."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a whole view's input; a patch's is no larger."""

    def whole(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A holistic view."""

    def patch(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch at the same scale."""


class People(NamedTuple):
    """Training images: positions in the source, classes 0 to K - 1, cameras."""

    source: Source
    positions: np.ndarray
    classes: np.ndarray
    cameras: np.ndarray


def people(source: Source, *, holdout: int) -> tuple[People, np.ndarray]:
    """The training images without the last ``holdout`` identities, and the positions of those held out."""
    labels = np.unique(source.identities[source.identities >= 0])
    if not 0 <= holdout < len(labels) - 1:
        raise ValueError(f"holdout must leave at least two of the {len(labels)} training identities, got {holdout}")
    kept = labels[: len(labels) - holdout]
    positions = np.flatnonzero(np.isin(source.identities, kept))
    classes = np.searchsorted(kept, source.identities[positions])
    held = np.flatnonzero(np.isin(source.identities, labels[len(kept) :]))
    return People(source, positions, classes, source.cameras[positions]), held


class ImageViews:
    """Views drawn from the images at every step, as uint8 pixels."""

    def __init__(
        self, people: People, *, size: tuple[int, int], augmentation: views.Augmentation, progress: bool = False
    ):
        """Keeps the images decoded: people crops are small."""
        positions = tqdm(people.positions, desc="reading", unit="image", disable=not progress)
        self._images = [people.source[int(i)].image for i in positions]
        self._size, self._augmentation = size, augmentation

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of a whole view."""
        return (*self._size, 3)

    def whole(self, i: int, rng: np.random.Generator) -> views.View:
        """A holistic view."""
        return views.whole(self._images[i], rng, size=self._size, augmentation=self._augmentation)

    def patch(self, i: int, rng: np.random.Generator) -> views.View:
        """A patch at the same scale."""
        return views.patch(self._images[i], rng, size=self._size, augmentation=self._augmentation)


def identification(
    drawn: Views, classes: np.ndarray, *, batch_size: int, patch_share: float, seed: int
) -> grain.MapDataset:
    """Batches of inputs, sizes, identities; a view is a patch, padded as wide as a whole, by ``patch_share``."""

    def draw(i: int, rng: np.random.Generator) -> dict[str, Any]:
        inputs, size = (drawn.patch if rng.random() < patch_share else drawn.whole)(int(i), rng)
        inputs = np.pad(inputs, [(0, whole - own) for whole, own in zip(drawn.shape, inputs.shape, strict=True)])
        return {"inputs": inputs, "sizes": size, "identities": np.int32(classes[i])}

    return _batched(np.arange(len(classes)), draw, batch_size, seed)


def pairs(
    drawn: Views,
    classes: np.ndarray,
    cameras: np.ndarray,
    *,
    positives: int,
    negatives: int,
    batch_size: int,
    seed: int,
) -> grain.MapDataset:
    """Batches of whole and patch with their sizes and identities, and the pair's sign (Sec. 3.3)."""
    chosen = protocols.draw_pairs(classes, cameras, positives=positives, negatives=negatives, seed=seed)

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

    return _batched(np.arange(len(chosen.sign)), draw, batch_size, seed)


def _batched(positions: np.ndarray, draw: Callable[..., Any], batch_size: int, seed: int) -> grain.MapDataset:
    if len(positions) < 1:
        raise ValueError("there is nothing to train on: the training split has no images, or no pairs were asked for")
    return grain.MapDataset.source(positions).seed(seed).shuffle().repeat().random_map(draw).batch(batch_size)
