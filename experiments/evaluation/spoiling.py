"""Probes spoiled on purpose: what stands before the person, few pixels, a part missing in the middle.

Made after cropping and scaling, at the scale of matching. What is done to a probe depends on its number, on the seed
and on the pictures of the others alone.
"""

import numpy as np

from data import views
from experiments.evaluation.pictures import Images

MASKED = "_masked"  # ends the ways whose spoiled pixels are masked
WAYS = {
    "none": "nothing",
    "occluder": "a piece of another person's probe covers 20 to 40 % of its area",
    "coarse": "shrunk to a quarter of its height and width and enlarged again",
    "gap": "the middle third of its rows is of one colour, the mean of the rest, as if two parts were seen",
}
WAYS |= {
    f"{way}{MASKED}": f"{WAYS[way]}; masked for methods of blocks and for global_average, the others see it"
    for way in ("occluder", "gap")
}
COVERED = (0.2, 0.4)  # share of the area
COARSE = 4


def spoiled(probes: Images, way: str, *, seed: int) -> Images:
    """The probes, each spoiled in one way, with masks where the way ends in "_masked".

    Args:
      probes: the pictures and who is on them: occluders are others.
      way: a name of `WAYS`.
      seed: of the places of occluders.

    Raises:
      ValueError: for occluders where all pictures are of one person.
    """
    kind = way.removesuffix(MASKED)
    if kind == "none":
        return probes
    if kind == "coarse":
        return probes._replace(pictures=[_coarse(picture) for picture in probes.pictures])
    if kind == "occluder" and len(np.unique(probes.identities)) < 2:
        raise ValueError(f"spoil={way} covers probes by other people, and all probes are of one: give another --spoil")
    pictures, shown = [], []
    for number, picture in enumerate(probes.pictures):
        rng = np.random.default_rng((seed, number))
        if kind == "occluder":
            others = np.flatnonzero(probes.identities != probes.identities[number])
            other = probes.pictures[int(rng.choice(others))]
            box = _box(picture.shape, rng)
            filled = views.resize(other, picture.shape[:2])[box]
        else:
            box = _middle(picture.shape)
            filled = _mean_without(picture, box)
        broken, mask = picture.copy(), np.ones(picture.shape[:2], bool)
        broken[box], mask[box] = filled, False
        pictures.append(broken)
        shown.append(mask)
    return probes._replace(pictures=pictures, shown=shown if way.endswith(MASKED) else None)


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
    """Somewhere in a picture of that shape, of `COVERED` of its area."""
    height, width = shape[:2]
    share, ratio = rng.uniform(*COVERED), rng.uniform(0.7, 1.4)  # of the area; of its shape to the picture's
    rows = min(height, max(1, round(height * (share * ratio) ** 0.5)))
    columns = min(width, max(1, round(share * height * width / rows)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return slice(top, top + rows), slice(left, left + columns)


def _middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The middle third of the rows; none of a picture that has no others."""
    first, last = shape[0] // 3, shape[0] - shape[0] // 3
    return slice(first, last if first else 0), slice(None)


def _mean_without(picture: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """The mean colour of what is outside the rows of a box."""
    rest = np.delete(picture, np.r_[box[0]], axis=0)
    return rest.mean(axis=(0, 1)).round().astype(np.uint8)


def _coarse(picture: np.ndarray) -> np.ndarray:
    """The picture with a sixteenth of its pixels."""
    height, width = picture.shape[:2]
    return views.resize(views.resize(picture, (max(1, height // COARSE), max(1, width // COARSE))), (height, width))
