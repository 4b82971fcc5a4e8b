"""Training pairs: a whole image and another image to take a patch from, of one person or of two (Sec. 3.3)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation import random_keys
from dsr_jax.evaluation.labels import UNKNOWN, images_by_identity, paired


class Pairs(NamedTuple):
    """Training pairs: indices of the whole image and of the image the patch comes from, and the sign, all (n,)."""

    whole: NDArray[np.int64]
    patch: NDArray[np.int64]
    sign: NDArray[np.int8]


def draw_pairs(
    identities: ArrayLike,
    cameras: ArrayLike | None = None,
    *,
    positives: int = 3000,
    negatives: int = 3000,
    seed: int | Sequence[int],
) -> Pairs:
    """Draws the pairs of the verification loss: a whole image and another image to take a patch from (Sec. 3.3).

    Identities are drawn uniformly, then images uniformly within the identity. A positive pair is two different
    images, of different cameras where that person has them; a negative pair is two different identities. Nobody
    (identity -1) is never drawn. ``seed`` keys the draw, for example (seed, epoch); the pairs come shuffled.

    Raises:
      ValueError: if positives are asked for and no identity has two images, or negatives and there is only one.

    Example:
      >>> pairs = draw_pairs([1, 1, 2, 2], positives=2, negatives=1, seed=0)
      >>> sorted(pairs.sign.tolist())
      [-1, 1, 1]
    """
    ids, cams = paired(identities, cameras)
    if positives < 0 or negatives < 0:
        raise ValueError(f"positives is {positives} and negatives is {negatives}; neither can be negative.")
    rng = random_keys.generator(seed)
    people = list(images_by_identity(ids).values())
    repeated = [images for images in people if len(images) > 1]
    if positives and not repeated:
        raise ValueError(f"identities: none of {len(people)} has two images, so there is no positive pair.")
    if negatives and len(people) < 2:
        raise ValueError(f"identities: {len(people)} known, a negative pair needs two different ones.")
    pairs = [_positive(rng, repeated[rng.integers(len(repeated))], cams) for _ in range(positives)]
    pairs += [_negative(rng, people) for _ in range(negatives)]
    sign = np.repeat(np.array([1, -1], np.int8), [positives, negatives])
    order = rng.permutation(len(pairs))
    whole, patch = np.array(pairs, np.int64).reshape(-1, 2)[order].T
    return Pairs(whole, patch, sign[order])


def _positive(rng: np.random.Generator, images: NDArray, cameras: NDArray) -> tuple[int, int]:
    """Two different images of one person, of different known cameras if there are such."""
    whole = int(rng.choice(images))
    others = images[images != whole]
    seen = cameras[others]
    elsewhere = others[(seen != cameras[whole]) & (seen != UNKNOWN) & (cameras[whole] != UNKNOWN)]
    return whole, int(rng.choice(elsewhere if len(elsewhere) else others))


def _negative(rng: np.random.Generator, people: Sequence[NDArray]) -> tuple[int, int]:
    """Images of two different people."""
    first = int(rng.integers(len(people)))
    second = (first + 1 + int(rng.integers(len(people) - 1))) % len(people)
    return int(rng.choice(people[first])), int(rng.choice(people[second]))
