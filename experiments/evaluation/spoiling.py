"""Probes spoiled on purpose: what stands before the person, few pixels, a part missing in the middle.

Made after cropping and scaling, at the scale of matching. What is done to a probe depends on its number, on the seed
and on the pictures of the others alone.
"""

from collections.abc import Sequence

import numpy as np

from data import views

WAYS = {
    "none": "nothing",
    "occluder": "a piece of another person's probe covers 20 to 40 % of its area",
    "coarse": "shrunk to a quarter of its height and width and enlarged again",
    "gap": "the middle third of its rows is of one colour, the mean of the rest, as if two parts were seen",
}
COVERED = (0.2, 0.4)  # share of the area
COARSE = 4


def spoiled(pictures: Sequence[np.ndarray], identities: np.ndarray, way: str, *, seed: int) -> list[np.ndarray]:
    """The pictures, each spoiled in one way.

    Args:
      pictures: (H, W, 3) uint8 each.
      identities: (n,) who is on them: occluders are others.
      way: a name of `WAYS`.
      seed: of the places of occluders.

    Raises:
      ValueError: for occluders where all pictures are of one person.
    """
    if way == "none":
        return list(pictures)
    if way == "occluder" and len(np.unique(identities)) < 2:
        raise ValueError(
            "spoil=occluder covers probes by other people, and all probes are of one: give another --spoil"
        )
    found = []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, number))
        if way == "occluder":
            others = np.flatnonzero(identities != identities[number])
            found.append(_covered(picture, pictures[int(rng.choice(others))], rng))
        else:
            found.append(_coarse(picture) if way == "coarse" else _gap(picture))
    return found


def _covered(picture: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture with the other one, brought to the size, before a box of it."""
    height, width = picture.shape[:2]
    share, ratio = (
        rng.uniform(*COVERED),
        rng.uniform(0.7, 1.4),
    )  # of the box: of the area; of its shape to the picture's
    rows = min(height, max(1, round(height * (share * ratio) ** 0.5)))
    columns = min(width, max(1, round(share * height * width / rows)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    box = slice(top, top + rows), slice(left, left + columns)
    covered = picture.copy()
    covered[box] = views.resize(other, (height, width))[box]
    return covered


def _coarse(picture: np.ndarray) -> np.ndarray:
    """The picture with a sixteenth of its pixels."""
    height, width = picture.shape[:2]
    return views.resize(views.resize(picture, (max(1, height // COARSE), max(1, width // COARSE))), (height, width))


def _gap(picture: np.ndarray) -> np.ndarray:
    """The picture without the middle third of its rows."""
    first, last = picture.shape[0] // 3, picture.shape[0] - picture.shape[0] // 3
    rest = np.concatenate([picture[:first], picture[last:]])
    broken = picture.copy()
    if rest.size:
        broken[first:last] = rest.mean(axis=(0, 1)).round().astype(np.uint8)
    return broken
