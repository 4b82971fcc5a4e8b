"""`Features` without what all pictures of a camera share: `dsr_jax.centring`, by the cameras or the names of pictures.

Probes and gallery are centred apart, and the means are those of all pictures that a camera has there, whoever they
show: no label is looked at, but a probe is seen among the others.
"""

import functools
import re
from collections.abc import Sequence

import numpy as np

from data.source import UNKNOWN_CAMERA
from dsr_jax import centring
from dsr_jax.matching import visibility
from experiments.evaluation.features import NONE, Features, Planes
from experiments.evaluation.pictures import Images, some

BY_CAMERA = "camera"
# Methods that look at pictures otherwise than by one map each.
WITHOUT = ("swm", "amc", "amc_swm")


def is_pattern(by: str) -> bool:
    """Whether ``by`` is a pattern with a group, so that it can say a camera.

    Example:
      >>> is_pattern("c([0-9]+)s"), is_pattern("c[0-9]+s"), is_pattern("c([0-9]+s")
      (True, False, False)
    """
    try:
        return re.compile(by).groups > 0
    except re.error:
        return False


def cameras(images: Images, by: str) -> list[str]:
    """The camera of every picture: its number, or the groups of a pattern in its name, joined by a dash.

    Raises:
      ValueError: naming the pictures whose camera is unknown, or whose names the pattern is not in.

    Example:
      >>> pictures = Images([np.zeros((2, 2, 3), np.uint8)], np.array([1]), np.array([2]), ["3_019_2_01.png"])
      >>> cameras(pictures, "camera"), cameras(pictures, "^([0-9])_[0-9]+_([0-9])_")
      (['2'], ['3-2'])
    """
    if by == BY_CAMERA:
        unknown = [name for name, camera in zip(images.names, images.cameras, strict=True) if camera == UNKNOWN_CAMERA]
        if unknown:
            raise ValueError(
                f"centred={by} needs to know the camera of every picture, unknown of {some(unknown)}: give a pattern "
                "of their names whose groups say it, or leave it out"
            )
        return [str(camera) for camera in images.cameras]
    found = [re.search(by, name) for name in images.names]
    missing = [name for name, match in zip(images.names, found, strict=True) if match is None]
    if missing:
        raise ValueError(f"centred={by} is not in the names {some(missing)}: its groups must say the camera of each")
    return ["-".join(group or "" for group in match.groups()) for match in found if match]


class Centred:
    """`features.Sides` whose maps and own vectors have no mean, camera by camera.

    Args:
      seen: what the network made of the pictures, with maps of the whole gallery.
      probes: the probes of it.
      gallery: the gallery of it.
      by: "camera", or a pattern; see `cameras`.

    Raises:
      ValueError: as `cameras` and `dsr_jax.centring.means`.
    """

    weights: tuple[Planes, Planes] = (None, None)
    windows = NONE
    patches: tuple[Sequence[np.ndarray], Sequence[np.ndarray]] = ((), ())

    def __init__(self, seen: Features, probes: Images, gallery: Images, by: str):
        self._seen, self._gallery, self._by = seen, gallery, by
        self._cameras = cameras(probes, by), cameras(gallery, by)

    def with_probes(self, probes: Images) -> "Centred":
        """Other probes against the same gallery, whose maps are made once for both."""
        other = Centred(self._seen.with_probes(probes), probes, self._gallery, self._by)
        other.__dict__["gallery"] = self.gallery
        return other

    @property
    def remarks(self) -> list[str]:
        """See `features.Sides`."""
        return self._seen.remarks

    @property
    def masks(self) -> tuple[Planes, Planes]:
        """See `features.Sides`."""
        return self._seen.masks

    @functools.cached_property
    def probe(self) -> list[np.ndarray]:
        """See `features.Sides`; what is masked is zero, and in no mean."""
        return centring.centred(list(visibility.each_hidden(self._seen.probe, self._seen.masks[0])), self._cameras[0])

    @functools.cached_property
    def gallery(self) -> list[np.ndarray]:
        """See `features.Sides`."""
        return centring.centred(self._seen.gallery, self._cameras[1])

    @functools.cached_property
    def resized(self) -> list[np.ndarray]:
        """See `features.Sides`."""
        return centring.centred(self._seen.resized, self._cameras[0])

    @functools.cached_property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """See `features.Sides`."""
        return self._centred(self._seen.vectors)

    @functools.cached_property
    def resized_vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """See `features.Sides`."""
        return self._centred(self._seen.resized_vectors)

    def _centred(self, vectors: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        own, others = (
            np.stack(centring.centred(list(side), of)) for side, of in zip(vectors, self._cameras, strict=True)
        )
        return own, others


def remarks(probes: Images, gallery: Images, by: str) -> list[str]:
    """What the means rest on, to be printed before the first number.

    Raises:
      ValueError: as `cameras`, and naming cameras with a single picture, before any map is extracted.
    """
    own, others = cameras(probes, by), cameras(gallery, by)
    lines = [
        f"centred: the mean of all {len(own)} probes, and of all {len(others)} gallery images, of a camera is taken "
        f"off; {len({*own, *others})} cameras; no label is used, but a probe alone could not be centred so"
    ]
    for what, of in (("probe", own), ("gallery", others)):
        few = centring.few(of)
        if single := [camera for camera, count in few.items() if count == 1]:
            raise ValueError(
                f"centred={by}: a single {what} picture of cameras {some(single)}, of which without its own mean "
                "nothing would be left: take these pictures out, or let a pattern of names put cameras together"
            )
        named = ", ".join(f"{camera} ({count})" for camera, count in few.items())
        lines += [f"centred: means of few {what} pictures, which take of the people as well: cameras {named}"] * bool(
            few
        )
    return lines
