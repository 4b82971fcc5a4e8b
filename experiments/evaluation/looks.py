"""Several looks at every picture: in several sizes, and as in a mirror. A distance is the mean of those of the looks.

Both sides are looked at in the same size: what a network sees in a person of 200 pixels it may miss in one of 260. In
a mirror only the probe is looked at: mirroring both would compare the same once more, and people turn round.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from data import views
from experiments.evaluation import features
from experiments.evaluation.centred import Centred
from experiments.evaluation.pictures import Images

Seen = features.Features | Centred


class Look(NamedTuple):
    """One of them: by which factor both sides are enlarged, and whether the probe is mirrored."""

    scale: float = 1.0
    mirrored: bool = False


def of(picture_scales: Sequence[float], *, mirrored: bool) -> tuple[Look, ...]:
    """All looks, size by size.

    Example:
      >>> [(look.scale, look.mirrored) for look in of((0.75, 1), mirrored=True)]
      [(0.75, False), (0.75, True), (1, False), (1, True)]
    """
    return tuple(Look(scale, side) for scale in picture_scales for side in ((False, True) if mirrored else (False,)))


def sides(
    looks: Sequence[Look],
    network: features.Network,
    probes: Images,
    gallery: Images,
    drawn: Sequence[int],
    *,
    centred: str | None = None,
    **options: Any,
) -> tuple[Seen, ...]:
    """What the network makes of probes and gallery in every look; gallery maps of one size are made once.

    Args:
      centred: by what pictures are centred (`centred.cameras`), which takes maps of the whole gallery.
      options: of `features.Features`.

    Raises:
      ValueError: if two scales make one size, which would count twice.
    """
    stride, first = network.output_stride, {}
    _check_sizes(dict.fromkeys(look.scale for look in looks), network.size, stride)
    drawn = range(len(gallery.names)) if centred is not None else drawn
    for scale in dict.fromkeys(look.scale for look in looks):
        enlarged = network._replace(size=size(network.size, scale, stride)) if scale != 1 else network
        probe, searched = (_enlarged(images, scale, stride) for images in (probes, gallery))
        first[scale] = features.Features(enlarged, probe, searched, drawn, **options)
    found = [first[look.scale] for look in looks]
    every = tuple(
        each.with_probes(seen(probes, look, stride)) if look.mirrored else each
        for each, look in zip(found, looks, strict=True)
    )
    return tuple(Centred(each, probes, gallery, centred) for each in every) if centred is not None else every


def with_probes(sides: Sequence[Seen], looks: Sequence[Look], probes: Images, stride: int) -> tuple[Seen, ...]:
    """The same gallery, whose maps stay, looked at with other probes."""
    return tuple(each.with_probes(seen(probes, look, stride)) for each, look in zip(sides, looks, strict=True))


def seen(images: Images, look: Look, stride: int) -> Images:
    """The pictures as this look has them; enlarged ones have sides in multiples of the stride.

    Example:
      >>> images = Images([np.zeros((96, 64, 3), np.uint8)], np.array([1]), np.array([0]), ["a"])
      >>> seen(images, Look(0.75), 16).pictures[0].shape
      (64, 48, 3)
    """
    enlarged = _enlarged(images, look.scale, stride)
    if not look.mirrored:
        return enlarged
    shown = None if enlarged.shown is None else [mask[:, ::-1] for mask in enlarged.shown]
    return enlarged._replace(
        pictures=[np.ascontiguousarray(picture[:, ::-1]) for picture in enlarged.pictures], shown=shown
    )


def size(shape: Sequence[int], scale: float, stride: int) -> tuple[int, int]:
    """Height and width, the first two of a shape, enlarged, in the nearest multiples of the stride."""
    return views.nearest_multiple([round(side * scale) for side in shape[:2]], stride)


def remark(looks: Sequence[Look]) -> list[str]:
    """What the distances are, to be printed before the first number; nothing where there is one plain look."""
    if tuple(looks) == (Look(),):
        return []
    scales = ", ".join(f"{scale:g}" for scale in dict.fromkeys(look.scale for look in looks))
    mirror = ", probes also mirrored" * any(look.mirrored for look in looks)
    return [f"pictures enlarged by {scales}{mirror}: each distance is the mean of {len(looks)}"]


def _check_sizes(scales: Iterable[float], whole: tuple[int, int], stride: int) -> None:
    made: dict[tuple[int, int], float] = {}
    for scale in scales:
        height, width = whole if scale == 1 else size(whole, scale, stride)
        if (height, width) in made:
            raise ValueError(
                f"picture_scales {made[height, width]:g} and {scale:g} are both {height} x {width} pixels, multiples "
                f"of the output stride {stride}, and would count twice: leave one of them out"
            )
        made[height, width] = scale


def _enlarged(images: Images, scale: float, stride: int) -> Images:
    if scale == 1:
        return images
    pictures = [views.resize(picture, size(picture.shape, scale, stride)) for picture in images.pictures]
    return images._replace(pictures=pictures)  # masks are brought to the map's positions, from whatever size
