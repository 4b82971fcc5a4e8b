"""The camera rule: which gallery entries may answer a probe.

Ranking (Sec. 4.1) and verification take the rule of the Market-1501 evaluation as torchreid and fast-reid write it:
gallery entries of the probe's own identity *and* camera are removed, since they show the same moment. Two things
differ, on purpose: identity -1 (junk, nobody known) is removed here, where those libraries drop it when they load the
data and would count a -1 that is left as somebody; and camera -1 (unknown) equals no camera, where they would call two
unknown cameras the same. Draws of a gallery leave out the hidden cameras altogether, of all identities. A rule is an
entry of `RULES`; everything else asks `hidden`, or the entry for its texts. Work goes row by row, so that memory grows
with the gallery and not with probes x gallery.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation.labels import UNKNOWN, images_by_identity, paired


class CameraRule(NamedTuple):
    """A camera rule."""

    # Gallery cameras and the probe's, all known, to which of them the probe does not meet; None: it meets all, and
    # cameras need not be integers.
    hides: Callable[[NDArray, int], NDArray[np.bool_]] | None
    caption: str  # which gallery images may be a right answer, for the head of a table
    condition: str  # the same after "a picture of the person in the gallery"; begins with a space, or is empty


RULES = {
    "cross": CameraRule(
        lambda cameras, camera: cameras == camera, "gallery images of other cameras", " by another camera"
    ),
    "any": CameraRule(None, "gallery images of any camera", ""),
}


def rule(camera_rule: str) -> CameraRule:
    """The rule of a name; raises ValueError if there is none."""
    if camera_rule not in RULES:
        raise ValueError(f"camera_rule is {camera_rule!r}; it must be one of {tuple(RULES)}.")
    return RULES[camera_rule]


def hidden(cameras: NDArray, camera: int, *, camera_rule: str) -> NDArray[np.bool_]:
    """Which gallery cameras a probe does not meet: under "cross" its own; under "any" none; never unknown ones.

    Example:
      >>> [hidden(np.array([0, 1, -1]), camera, camera_rule="cross").tolist() for camera in (1, -1)]
      [[False, True, False], [False, False, False]]
    """
    hides = rule(camera_rule).hides
    if hides is None or camera == UNKNOWN:
        return np.zeros(len(cameras), bool)
    return hides(cameras, camera) & (cameras != UNKNOWN)


class Labels(NamedTuple):
    """Identities and cameras of some probes and of the gallery that they search, all integers, and the camera rule."""

    probe_identities: ArrayLike  # (P,); -1 is nobody and has no candidates
    gallery_identities: ArrayLike  # (G,); -1 is junk and removed
    probe_cameras: ArrayLike | None = None  # (P,), -1 unknown; None where the gallery was already drawn by camera
    gallery_cameras: ArrayLike | None = None  # (G,), -1 unknown
    camera_rule: str = "cross"  # a name of `RULES`

    @property
    def probes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Identities and cameras of the probes; cameras are unknown where they are None or the rule does not look."""
        cameras = self.probe_cameras if rule(self.camera_rule).hides else None
        return paired(self.probe_identities, cameras, "probe_identities", "probe_cameras")

    @property
    def gallery(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of the gallery."""
        cameras = self.gallery_cameras if rule(self.camera_rule).hides else None
        return paired(self.gallery_identities, cameras, "gallery_identities", "gallery_cameras")

    def left(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """For each probe (G,) whether the rule leaves the entry to it, and whether the entry is of its identity."""
        if (self.probe_cameras is None) != (self.gallery_cameras is None):
            raise ValueError("probe_cameras and gallery_cameras: give both or neither.")
        probes, gallery = zip(*(values.tolist() for values in self.probes), strict=True), self.gallery
        return (_left(identity, camera, *gallery, self.camera_rule) for identity, camera in probes)


def candidates(distances: ArrayLike, labels: Labels) -> Iterator[tuple[NDArray, NDArray[np.bool_]]]:
    """The gallery entries that the rule leaves to each probe: their distances, and whether each is a right answer.

    Args:
      distances: (P, G) distances, smaller is nearer; +inf is allowed and comes last.
      labels: of probes and gallery.

    Returns:
      An iterator over the probes, in their order: (K,) distances of the kept entries in the order and the dtype
      given, and (K,) whether each is the probe's identity. K may be 0.

    Raises:
      ValueError: if the shapes disagree, only one side has cameras or the rule is unknown; while iterating, if a
        distance is NaN or -inf.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Example:
      >>> for row, right in candidates([[0.1, 0.2, 0.3]], Labels([1], [1, 1, 2], [0], [0, 1, 0])):
      ...     print(row.tolist(), right.tolist())
      [0.2, 0.3] [True, False]
    """
    left, rows = labels.left(), np.asarray(distances)
    shape = len(labels.probes[0]), len(labels.gallery[0])
    if rows.shape != shape:
        raise ValueError(
            f"distances has shape {rows.shape}; it must be {shape}, a row for each of probe_identities and a column "
            "for each of gallery_identities."
        )
    return (_row(i, row, *probe) for i, (row, probe) in enumerate(zip(rows, left, strict=True)))


def allowed(labels: Labels) -> NDArray[np.bool_]:
    """Which gallery entries the rule leaves to each probe: (P, G), without distances; see `candidates`.

    Example:
      >>> allowed(Labels([1], [1, 1, 2, -1], [0], [0, 1, 0, 1])).tolist()
      [[False, True, True, False]]
    """
    rows = [left for left, _ in labels.left()]
    return np.array(rows, bool).reshape(len(labels.probes[0]), len(labels.gallery[0]))


def answered(labels: Labels) -> NDArray[np.bool_]:
    """Which probes have a right answer in the gallery: (P,); a probe of nobody has none.

    Cameras that are None, of one side or both, are unknown.

    Example:
      >>> answered(Labels([1, 1, 3], [1, 2], [0, 1, 0], [0, 0])).tolist()
      [False, True, False]
    """
    gallery, cameras = labels.gallery
    cameras_of = {identity: np.unique(cameras[at]) for identity, at in images_by_identity(gallery).items()}
    none = np.zeros(0, np.int64)
    return np.array(
        [
            not hidden(cameras_of.get(identity, none), camera, camera_rule=labels.camera_rule).all()
            for identity, camera in zip(*(side.tolist() for side in labels.probes), strict=True)
        ],
        bool,
    )


def _left(
    identity: int, camera: int, gallery: NDArray, cameras: NDArray, camera_rule: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    same = gallery == identity
    unseen = same & hidden(cameras, camera, camera_rule=camera_rule)
    return (gallery != UNKNOWN) & ~unseen & (identity != UNKNOWN), same


def _row(i: int, row: NDArray, left: NDArray[np.bool_], same: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Distances and answers of probe `i` after the rule."""
    if not (row > -np.inf).all():
        raise ValueError(f"distances: row {i} has NaN or -inf; every distance must be a number or +inf.")
    return row[left], same[left]
