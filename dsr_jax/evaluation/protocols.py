"""Gallery draws of an evaluation: single-shot and multi-shot trials, and the whole gallery (Sec. 4.1).

A single-shot or multi-shot trial gives every person `shots` gallery images, drawn at random from cameras that the
camera rule does not hide from the probe; the published figure is the mean over such trials. Every draw is a pure
function of integer keys through `np.random.default_rng`: it depends neither on the order of a set nor on earlier draws,
and a person's draw does not depend on the others in the gallery. An identity or a camera of -1 is unknown: nobody's
images are never drawn, an unknown camera never equals another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation import random_keys
from dsr_jax.evaluation.candidates import Labels, answered, hidden, rule
from dsr_jax.evaluation.labels import UNKNOWN, images_by_identity, integers, paired


@dataclass(frozen=True)
class Draw:
    """The gallery of one trial: one entry per person, or, in the whole gallery, one per image."""

    # (I,) identity labels of the entries: of persons sorted, of images in the gallery's order.
    identities: NDArray[np.int64]
    images: tuple[NDArray[np.int64], ...]  # I index arrays into the gallery, each of length at most `shots`
    short: tuple[int, ...] = ()  # identities with fewer images than shots; they take what they have
    # Identities of the gallery with no image left after the camera rule; not in `identities`.
    absent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trial:
    """The probes that share one gallery draw."""

    number: int  # of the trial
    camera: int  # of all its probes, by which the draw was made; -1: by none
    probes: NDArray[np.int64]  # (P,) numbers of the probes
    draw: Draw  # the gallery that they search
    camera_rule: str  # by which entries may answer
    # (P,) and (I,) cameras of probes and entries, where the camera rule is left to the ranking; else None.
    cameras: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def labels(self, identities: NDArray, rows: NDArray | slice = slice(None)) -> Labels:
        """Labels of the probes and of the entries.

        Args:
          identities: of all probes of the evaluation, of which the trial has some.
          rows: those of the trial's probes that are meant, as an index.
        """
        probe_cameras, gallery_cameras = self.cameras or (None, None)
        probe_cameras = None if probe_cameras is None else probe_cameras[rows]
        own, others = identities[self.probes[rows]], self.draw.identities
        return Labels(own, others, probe_cameras, gallery_cameras, self.camera_rule)


@dataclass(frozen=True)
class IdentityCheck:
    """Counts that tell whether an evaluation makes sense; `str()` of it is the line to print."""

    probes: int
    gallery: int
    probe_identities: int
    gallery_identities: int
    shared_identities: int
    probes_left: int

    def __str__(self) -> str:
        """One line for the terminal."""
        return (
            f"{self.probes} probes of {self.probe_identities} identities, {self.gallery} gallery images of "
            f"{self.gallery_identities} identities, {self.shared_identities} shared identities, "
            f"{self.probes_left} probes with a right answer left after the camera rule"
        )


def draw_gallery(
    identities: ArrayLike,
    cameras: ArrayLike,
    *,
    shots: int,
    trial: int,
    seed: int,
    exclude_camera: int | None = None,
    camera_rule: str = "cross",
) -> Draw:
    """Draws `shots` gallery images for every identity (Sec. 4.1, N = `shots`).

    The images of a person are put into an order keyed by (seed, trial, identity), those of excluded cameras are
    skipped and the first `shots` taken: the single-shot image is the first of the multi-shot images.

    Args:
      identities: (n,) identity of each gallery image; -1 is nobody and never drawn.
      cameras: (n,) camera of each gallery image; -1 is unknown and never excluded.
      shots: images per identity.
      trial: number of the trial.
      seed: seed of the experiment.
      exclude_camera: the probe's camera, whose hidden cameras are excluded; None or -1 excludes nothing.
      camera_rule: which they are, see `candidates.RULES`.

    Raises:
      ValueError: if the lengths differ, `shots` < 1, a key is negative or nobody has an image.

    Example:
      >>> draw = draw_gallery([7, 7, 3, 3], [0, 1, 0, 1], shots=1, trial=0, seed=0, exclude_camera=0)
      >>> draw.identities.tolist(), [images.tolist() for images in draw.images]
      ([3, 7], [[3], [1]])
    """
    ids, cams = paired(identities, cameras)
    if shots < 1:
        raise ValueError(f"shots is {shots}; it must be at least 1.")
    random_keys.check(seed=seed, trial=trial)
    excluded = hidden(cams, UNKNOWN if exclude_camera is None else exclude_camera, camera_rule=camera_rule)
    drawn = {}
    for identity, images in images_by_identity(ids).items():
        order = np.random.default_rng((seed, trial, identity)).permutation(images)
        drawn[identity] = order[~excluded[order]][:shots]
    present = {identity: images for identity, images in drawn.items() if len(images)}
    if not present:
        raise ValueError(
            f"identities: none of {len(ids)} gallery images belongs to a known identity and to a camera other than "
            f"exclude_camera={exclude_camera}; give the gallery a second camera or use camera_rule='any'."
        )
    return Draw(
        identities=np.array(list(present), np.int64),
        images=tuple(present.values()),
        short=tuple(identity for identity, images in present.items() if len(images) < shots),
        absent=tuple(identity for identity in drawn if identity not in present),
    )


def trials(
    probe_cameras: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    shots: int,
    count: int,
    seed: int,
    camera_rule: str = "cross",
) -> Iterator[Trial]:
    """Yields, for each trial and each probe camera in ascending order, the probes and the gallery they search.

    Args:
      probe_cameras: (P,) camera of each probe.
      gallery_identities: (n,) identity of each gallery image.
      gallery_cameras: (n,) camera of each gallery image.
      shots: gallery images per identity.
      count: number of trials, each an independent draw.
      seed: seed of the experiment.
      camera_rule: which cameras a probe does not meet, see `candidates.RULES`.

    Yields:
      `Trial`s; within one trial number every probe occurs exactly once. Where the rule hides no camera all probes are
      one group, with camera -1.

    Raises:
      ValueError: as `draw_gallery`, or for an unknown `camera_rule`, `count` < 1 or no probes; raised when the
        iteration starts.

    Example:
      >>> for t in trials([0, 1, 0], [5, 5], [0, 1], shots=1, count=1, seed=0):
      ...     print(t.number, t.camera, t.probes.tolist(), t.draw.images[0].tolist())
      0 0 [0, 2] [1]
      0 1 [1] [0]
    """
    probes = np.asarray(probe_cameras, np.int64)
    groups = np.full_like(probes, UNKNOWN) if rule(camera_rule).hides is None else probes
    if count < 1 or probes.size == 0:
        raise ValueError(f"count is {count} and probe_cameras has {probes.size} entries; both must be at least 1.")
    for number in range(count):
        for camera in np.unique(groups).tolist():
            draw = draw_gallery(
                gallery_identities,
                gallery_cameras,
                shots=shots,
                trial=number,
                seed=seed,
                exclude_camera=camera,
                camera_rule=camera_rule,
            )
            yield Trial(number, camera, np.flatnonzero(groups == camera), draw, camera_rule)


def whole_gallery(
    probe_cameras: ArrayLike, gallery_identities: ArrayLike, gallery_cameras: ArrayLike, *, camera_rule: str = "cross"
) -> Trial:
    """Every gallery image by itself, nothing drawn: single query, as Market-1501 and CUHK03's 767/700 are evaluated.

    The camera rule is applied pair by pair when entries are ranked (`candidates`): a probe meets all images except
    those of its own identity and camera.

    Raises:
      ValueError: for an unknown `camera_rule`, no probes, no gallery, or lengths that differ.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Example:
      >>> trial = whole_gallery([0, 1], [5, 5, 6], [0, 1, 1])
      >>> trial.draw.identities.tolist(), [cameras.tolist() for cameras in trial.cameras]
      ([5, 5, 6], [[0, 1], [0, 1, 1]])
    """
    rule(camera_rule)
    probes, (ids, cameras) = integers(probe_cameras, "probe_cameras"), paired(gallery_identities, gallery_cameras)
    if not probes.size or not ids.size:
        raise ValueError(f"{probes.size} probes and {ids.size} gallery images: both must be at least 1.")
    draw = Draw(ids, tuple(np.arange(len(ids))[:, None]))
    return Trial(0, UNKNOWN, np.arange(len(probes)), draw, camera_rule, (probes, cameras))


def check_identities(labels: Labels) -> IdentityCheck:
    """Counts what probes and gallery share, before any feature is computed.

    Raises:
      ValueError: if no probe has a right answer, with examples of both sides.

    Example:
      >>> print(check_identities(Labels([1, 2], [2, 2, 3])))
      2 probes of 2 identities, 3 gallery images of 2 identities, 1 shared identities, \
1 probes with a right answer left after the camera rule
    """
    (probes, _), (gallery, _) = labels.probes, labels.gallery
    known, sought = set(images_by_identity(gallery)), set(images_by_identity(probes))
    left = int(answered(labels).sum())
    check = IdentityCheck(len(probes), len(gallery), len(sought), len(known), len(sought & known), left)
    if left == 0:
        raise ValueError(
            f"No probe has a right answer in the gallery: {check} (camera_rule={labels.camera_rule!r}). Probe "
            f"identities are {_some(sought)}, gallery identities {_some(known)}. {_remedy(check.shared_identities)}"
        )
    return check


def _some(identities: set[int], count: int = 5) -> str:
    """The first few identities, for a message."""
    shown = ", ".join(map(str, sorted(identities)[:count]))
    return f"{shown or 'none'}{', ...' if len(identities) > count else ''}"


def _remedy(shared: int) -> str:
    """The remedy where no probe has a right answer."""
    if shared:
        return "They share identities, but only within one camera: check the cameras or use camera_rule='any'."
    return "Check that both sides number people alike and that the right splits were loaded."
