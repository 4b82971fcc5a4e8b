"""Probes of a search: a picture, a box of it, or a folder of pictures, brought to the scale of the gallery."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import views
from data.source import decode
from data.sources import decoding
from data.sources.tree import opened
from experiments.evaluation.features import Network
from experiments.searching.listed import Listed
from experiments.settings.searching import Probe

MEASURED = 200  # pictures whose size says the scale of a gallery
TALLEST = 8  # times the height of a whole picture
EXPECTED = """\
probes/                 folder or archive
  half.jpg ...          pictures at any depth"""


class Seen(NamedTuple):
    """A probe: its name, its picture as it is matched, its map, and which positions of it are visible (None: all)."""

    name: str
    picture: np.ndarray
    map: np.ndarray
    mask: np.ndarray | None = None


def read(how: Probe, network: Network, listed: Listed | None) -> list[Seen]:
    """The probes with their maps.

    Raises:
      ValueError: for a picture that cannot be read, a box outside it, and one too small for the network.
    """
    named = _pictures(how)
    if how.box is not None:
        if len(named) != 1:
            raise ValueError(f"box is of one picture, and probe {how.probe} has {len(named)}: give one picture")
        named = [(named[0][0], cut(named[0][1], how.box))]
    return seen(named, network, gallery_factors(listed, network.size) if how.probe_scale == "keep" else None)


def seen(
    named: Sequence[tuple[str, np.ndarray]], network: Network, factors: tuple[float, float] | None = None
) -> list[Seen]:
    """Probes of decoded pictures.

    Args:
      named: names and pixels.
      network: what makes the maps.
      factors: by how much they are enlarged, see `gallery_factors`; None: to the width of gallery pictures.

    Raises:
      ValueError: for one that is too small or too long for the network.
    """
    fitted = [_fitted(name, picture, network, factors) for name, picture in named]
    maps = network.maps(fitted)
    for (name, _), values in zip(named, maps, strict=True):
        if not np.isfinite(values).all() or not values.any():
            raise ValueError(f"probe {name}: its map is zero everywhere, or not finite: look at picture and network")
    return [Seen(name, picture, values) for (name, _), picture, values in zip(named, fitted, maps, strict=True)]


def cut(picture: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """The part of a picture in a box of left, top, width and height.

    Raises:
      ValueError: if it is not inside.

    Example:
      >>> import numpy as np
      >>> cut(np.zeros((9, 5, 3), np.uint8), (1, 2, 4, 6)).shape
      (6, 4, 3)
    """
    left, top, width, height = box
    tall, wide = picture.shape[:2]
    if min(left, top) < 0 or min(width, height) < 1 or left + width > wide or top + height > tall:
        raise ValueError(
            f"box={','.join(map(str, box))} is not inside the probe of {wide} x {tall} pixels (width x height): give "
            "x,y,width,height within it"
        )
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _pictures(how: Probe) -> list[tuple[str, np.ndarray]]:
    """Names and pixels of the probes."""
    place = Path(how.probe or "")
    if place.is_file():
        return [(str(place), _decoded(str(place), place.read_bytes()))]
    if not place.is_dir():
        raise ValueError(f"probe {place} does not exist: give --probe=PICTURE, or a folder of pictures")
    tree = opened(place, EXPECTED)
    if not tree.pictures:
        raise ValueError(f"probe {place} has no picture: give --probe=PICTURE, or a folder of pictures")
    return [(str(place / name), _decoded(str(place / name), tree.read(name))) for name in tree.pictures]


def _decoded(name: str, content: bytes) -> np.ndarray:
    try:
        return decode(content)
    except ValueError as error:
        raise ValueError(f"probe {name} cannot be read: {error}") from error


def gallery_factors(listed: Listed | None, size: tuple[int, int]) -> tuple[float, float]:
    """By how much gallery pictures are enlarged in height and width, the median.

    Raises:
      ValueError: where no gallery picture can be looked at.
    """
    if listed is None:
        raise ValueError(
            "probe_scale=keep needs the sizes of gallery pictures: give --pictures, or --probe_scale=width"
        )
    shapes = []
    for one in listed.pictures[:MEASURED]:
        try:
            shapes.append(decoding.upright_size(one.read()))
        except (ValueError, OSError):  # named when it was indexed
            continue
    if not shapes:
        raise ValueError("probe_scale=keep needs the sizes of gallery pictures, and none of the first can be read")
    height, width = np.median(np.array(shapes, float), axis=0).tolist()
    return size[0] / height, size[1] / width


def _fitted(name: str, picture: np.ndarray, network: Network, factors: tuple[float, float] | None) -> np.ndarray:
    """A probe at the scale of the gallery's pictures, of whole cells: no row or column of its map is half seen."""
    down, across = factors or (network.size[1] / picture.shape[1],) * 2
    height, width = (max(1, round(side * by)) for side, by in zip(picture.shape[:2], (down, across), strict=True))
    small, (tall, wide) = network.output_stride, (TALLEST * side for side in network.size)
    if min(height, width) < small or height > tall or width > wide:
        raise ValueError(
            f"probe {name} of {picture.shape[1]} x {picture.shape[0]} pixels (width x height) is matched as {width} x "
            f"{height}, and {small} x {small} to {wide} x {tall} is possible: give another part of it with --box, or "
            "--probe_scale=" + ("width" if factors else "keep")
        )
    return views.resize(picture, views.nearest_multiple((height, width), network.output_stride))
