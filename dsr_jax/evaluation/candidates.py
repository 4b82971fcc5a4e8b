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


def candidates(
    distances: ArrayLike,
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> Iterator[tuple[NDArray, NDArray[np.bool_]]]:
    """The gallery entries that the rule leaves to each probe: their distances, and whether each is a right answer.

    Args:
      distances: (P, G) distances, smaller is nearer; +inf is allowed and comes last.
      probe_identities: (P,) integers; -1 is nobody and has no candidates.
      gallery_identities: (G,) integers; -1 is junk and removed.
      probe_cameras: (P,) integers, -1 unknown; None where the gallery was already drawn by camera.
      gallery_cameras: (G,) integers, -1 unknown.
      camera_rule: a name of `RULES`: "cross" removes entries of the probe's identity and camera; "any" removes none.

    Returns:
      An iterator over the probes, in their order: (K,) distances of the kept entries in the order and the dtype
      given, and (K,) whether each is the probe's identity. K may be 0.

    Raises:
      ValueError: if the shapes disagree, only one side has cameras or the rule is unknown; while iterating, if a
        distance is NaN or -inf.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Example:
      >>> for row, right in candidates([[0.1, 0.2, 0.3]], [1], [1, 1, 2], [0], [0, 1, 0]):
      ...     print(row.tolist(), right.tolist())
      [0.2, 0.3] [True, False]
    """
    labels = probe_identities, gallery_identities, probe_cameras, gallery_cameras
    probes, probe_cams, gallery, gallery_cams = _labels(*labels, camera_rule=camera_rule)
    rows = np.asarray(distances)
    if rows.shape != (len(probes), len(gallery)):
        raise ValueError(
            f"distances has shape {rows.shape}; it must be {(len(probes), len(gallery))}, a row for each of "
            "probe_identities and a column for each of gallery_identities."
        )
    each = zip(rows, probes.tolist(), probe_cams.tolist(), strict=True)
    return (_row(i, *probe, gallery, gallery_cams, camera_rule) for i, probe in enumerate(each))


def allowed(
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> NDArray[np.bool_]:
    """Which gallery entries the rule leaves to each probe: (P, G), without distances; see `candidates`.

    Example:
      >>> allowed([1], [1, 1, 2, -1], [0], [0, 1, 0, 1]).tolist()
      [[False, True, True, False]]
    """
    labels = probe_identities, gallery_identities, probe_cameras, gallery_cameras
    probes, probe_cams, gallery, gallery_cams = _labels(*labels, camera_rule=camera_rule)
    each = zip(probes.tolist(), probe_cams.tolist(), strict=True)
    left = [_left(*probe, gallery, gallery_cams, camera_rule) for probe in each]
    return np.array(left, bool).reshape(len(probes), len(gallery))


def answered(
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> NDArray[np.bool_]:
    """Which probes have a right answer in the gallery: (P,); a probe of nobody has none.

    Where cameras are None they are unknown. See `candidates`.

    Example:
      >>> answered([1, 1, 3], [1, 2], [0, 1, 0], [0, 0]).tolist()
      [False, True, False]
    """
    rule(camera_rule)
    probes, probe_cams = paired(probe_identities, probe_cameras, "probe_identities", "probe_cameras")
    gallery, gallery_cams = paired(gallery_identities, gallery_cameras, "gallery_identities", "gallery_cameras")
    cameras_of = {identity: np.unique(gallery_cams[at]) for identity, at in images_by_identity(gallery).items()}
    each = zip(probes.tolist(), probe_cams.tolist(), strict=True)
    none = np.zeros(0, np.int64)
    return np.array(
        [not hidden(cameras_of.get(who, none), camera, camera_rule=camera_rule).all() for who, camera in each], bool
    )


def _labels(
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None,
    gallery_cameras: ArrayLike | None,
    *,
    camera_rule: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Identities and cameras of the probes, then of the gallery; cameras that no rule looks at are unknown."""
    if (probe_cameras is None) != (gallery_cameras is None):
        raise ValueError("probe_cameras and gallery_cameras: give both or neither.")
    if rule(camera_rule).hides is None:
        probe_cameras = gallery_cameras = None
    probes = paired(probe_identities, probe_cameras, "probe_identities", "probe_cameras")
    return *probes, *paired(gallery_identities, gallery_cameras, "gallery_identities", "gallery_cameras")


def _left(identity: int, camera: int, gallery: NDArray, gallery_cams: NDArray, camera_rule: str) -> NDArray[np.bool_]:
    """(G,) whether the rule leaves each entry to a probe."""
    unseen = (gallery == identity) & hidden(gallery_cams, camera, camera_rule=camera_rule)
    return (gallery != UNKNOWN) & ~unseen & (identity != UNKNOWN)


def _row(
    i: int, row: NDArray, identity: int, camera: int, gallery: NDArray, gallery_cams: NDArray, camera_rule: str
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Distances and answers of probe `i` after the rule."""
    if not (row > -np.inf).all():
        raise ValueError(f"distances: row {i} has NaN or -inf; every distance must be a number or +inf.")
    left = _left(identity, camera, gallery, gallery_cams, camera_rule)
    return row[left], (gallery == identity)[left]
