"""Pictures of an evaluation: probes and gallery as read, cropped (Sec. 4.1) and brought to the scale of matching.

Partial probes are cut out of whole ones, or are partial already; their scale is that of the gallery, or unknown and
then brought to its width.
"""

import collections
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data import Source, views
from data.sources import levels
from dsr_jax.evaluation import candidates, partial_crops
from experiments.settings.pictures import Shown


class Images(NamedTuple):
    """Images of one side: (H, W, 3) uint8 pictures with identities, cameras (n,) and names.

    Where something is masked, ``shown`` has a mask (H, W) of bool per picture, false at the pixels that are not looked
    at.
    """

    pictures: list[np.ndarray]
    identities: np.ndarray
    cameras: np.ndarray
    names: list[str]
    shown: list[np.ndarray] | None = None

    def only(self, chosen: np.ndarray) -> "Images":
        """Those images where ``chosen``, (n,), is true."""
        at = np.flatnonzero(chosen)
        return Images(
            [self.pictures[i] for i in at],
            self.identities[at],
            self.cameras[at],
            [self.names[i] for i in at],
            None if self.shown is None else [self.shown[i] for i in at],
        )


def read(source: Source, positions: Sequence[int] | None = None, *, limit_per_identity: int = 0) -> Images:
    """Reads the pictures of a split, or of some positions; with a limit, the first so many per identity and camera."""
    chosen = list(range(len(source)) if positions is None else positions)
    if limit_per_identity:
        seen: collections.Counter[tuple[int, int]] = collections.Counter()
        first = []
        for i in chosen:
            key = int(source.identities[i]), int(source.cameras[i])
            seen[key] += 1
            if seen[key] <= limit_per_identity:
                first.append(i)
        chosen = first
    pictures = [source[i].image for i in chosen]
    return Images(pictures, source.identities[chosen], source.cameras[chosen], [source.names[i] for i in chosen])


def fit_gallery(gallery: Images, size: tuple[int, int]) -> Images:
    """Gallery pictures brought to ``size``, without masks."""
    return gallery._replace(pictures=[views.resize(picture, size) for picture in gallery.pictures], shown=None)


def fit_probes(
    probes: Images,
    how: Shown,
    *,
    size: tuple[int, int],
    gallery_shape: tuple[float, float],
    partial: str,
    factor: float = 1.0,
    multiple: int = 1,
) -> Images:
    """Partial probes at the scale at which they are matched.

    Args:
      how: visible shares, key of the boxes (the box of a probe depends on it and the probe's number alone), and whether
        probes are enlarged as the gallery is, or brought to its width: unknown scale.
      size: (height, width) to which whole images are brought.
      gallery_shape: typical (height, width) of gallery pictures before that: what ``size`` enlarges.
      partial: "crop" (a random box is cut out of each whole probe) or "none" (they are partial already).
      factor: by which probes are enlarged then, to mismatch the scales of both sides on purpose.
      multiple: in the end each side is brought to the nearest multiple of so many pixels.
    """
    fitted = []
    for number, picture in enumerate(probes.pictures):
        if partial == "crop":
            picture = views.resize(picture, size)
            box = partial_crops.partial_box(
                *size, seed_key=(how.crop_seed, number), height_range=how.crop_height, width_range=how.crop_width
            )
            picture = np.ascontiguousarray(partial_crops.crop(picture, box))
        elif how.probe_scale == "keep":
            scales = (size[0] / gallery_shape[0], size[1] / gallery_shape[1])
            picture = views.resize(picture, _scaled(picture, *scales))
        if how.probe_scale == "width":
            scale = size[1] / picture.shape[1]
            picture = views.resize(picture, _scaled(picture, scale, scale))
        picture = views.resize(picture, _scaled(picture, factor, factor))
        fitted.append(views.resize(picture, views.nearest_multiple(picture.shape, multiple)))
    return probes._replace(pictures=fitted)


def whole_shapes(
    shapes: np.ndarray, how: Shown, *, size: tuple[int, int], gallery_shape: tuple[float, float], partial: str
) -> np.ndarray:
    """Heights and widths (n, 2) of whole gallery pictures of ``shapes``, scaled as probes are and not cropped.

    The other arguments are those of `fit_probes`.
    """
    if partial == "crop":
        found = np.broadcast_to(np.array(size, float), shapes.shape)
    else:
        found = shapes * np.array(size) / np.array(gallery_shape)
        if how.probe_scale == "width":
            found = shapes * size[1] / shapes[:, 1:]
    return found


def labels(probes: Images, gallery: Images, *, camera_rule: str) -> candidates.Labels:
    """Identities and cameras of both sides, to be compared by this rule."""
    return candidates.Labels(probes.identities, gallery.identities, probes.cameras, gallery.cameras, camera_rule)


def searching_themselves(probes: Images, gallery: Images, *, camera_rule: str) -> np.ndarray:
    """(P,) whether the very picture of a probe, pixel by pixel, is among the gallery images that may answer it."""
    cameras: dict[tuple[int, bytes], list[int]] = {}
    for picture, identity, camera in zip(*gallery[:3], strict=True):
        cameras.setdefault((int(identity), _digest(picture)), []).append(int(camera))
    return np.array(
        [
            not candidates.hidden(
                np.array(cameras.get((int(identity), _digest(picture)), ()), int), int(camera), camera_rule=camera_rule
            ).all()
            for picture, identity, camera in zip(*probes[:3], strict=True)
        ],
        bool,
    )


def of_one_colour(**sides: Images) -> list[str]:
    """A remark about the pictures, of sides by name, that are of (nearly) one colour; none where there are none."""
    names = [
        f"{side}/{name}"
        for side, images in sides.items()
        for name, picture in zip(images.names, images.pictures, strict=True)
        if levels.spanned(picture) < levels.FEW
    ]
    count = sum(len(images.names) for images in sides.values())
    return [levels.remark(names, count).rstrip(".")] if names else []


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()


def some(names: Sequence[Any], *, count: int = 5) -> str:
    """The first few of a list, for a message."""
    return ", ".join(map(str, names[:count])) + (f", ... ({len(names)} in all)" if len(names) > count else "")


def _scaled(picture: np.ndarray, height_scale: float, width_scale: float) -> tuple[int, int]:
    return max(1, round(picture.shape[0] * height_scale)), max(1, round(picture.shape[1] * width_scale))
