"""Who is compared with whom (Sec. 3.3 and 4.1): gallery draws, partial crops, training pairs.

A single-shot or multi-shot trial gives every person `shots` gallery images, drawn at random from cameras other than
the probe's; the published figure is the mean over such trials. Partial probes are random boxes cut out of whole
images at unchanged scale, and training takes 3,000 positive and 3,000 negative pairs of a whole image and a patch.
Every draw is a pure function of integer keys through `np.random.default_rng`: it depends neither on the order of a
set nor on what was drawn before, and a person's draw does not depend on who else is in the gallery. An identity or
a camera of -1 means unknown: nobody's images are never drawn, an unknown camera never equals another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNKNOWN = -1
CAMERA_RULES = ("cross", "any")


@dataclass(frozen=True)
class Draw:
    """The gallery of one trial: one entry per person, or, in the whole gallery, one per image.

    Attributes:
        identities: (I,) identity labels of the entries: of persons sorted, of images in the gallery's order.
        images: I index arrays into the gallery, each of length at most `shots`.
        short: identities with fewer images than shots; they take what they have.
        absent: identities of the gallery with no image left after the camera rule; not in `identities`.
    """

    identities: NDArray[np.int64]
    images: tuple[NDArray[np.int64], ...]
    short: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trial:
    """The probes that share one gallery draw.

    Attributes:
        number: of the trial.
        camera: of all its probes, which the draw left out; -1: it left none out.
        probes: (P,) numbers of the probes.
        draw: the gallery that they search.
        cameras: (P,) and (I,) cameras of probes and entries, where the camera rule is left to the ranking; else None.
    """

    number: int
    camera: int
    probes: NDArray[np.int64]
    draw: Draw
    cameras: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None


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


class Box(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int


class Pairs(NamedTuple):
    """Training pairs: indices of the whole image and of the image the patch comes from, and the sign, all (n,)."""

    whole: NDArray[np.int64]
    patch: NDArray[np.int64]
    sign: NDArray[np.int8]


def draw_gallery(
    identities: ArrayLike,
    cameras: ArrayLike,
    *,
    shots: int,
    trial: int,
    seed: int,
    exclude_camera: int | None = None,
) -> Draw:
    """Draws `shots` gallery images for every identity (Sec. 4.1, N = `shots`).

    The images of a person are put into an order keyed by (seed, trial, identity), those of the excluded camera are
    skipped and the first `shots` taken: the single-shot image is the first of the multi-shot images.

    Args:
        identities: (n,) identity of each gallery image; -1 is nobody and never drawn.
        cameras: (n,) camera of each gallery image; -1 is unknown and never excluded.
        shots: images per identity.
        trial: number of the trial.
        seed: seed of the experiment.
        exclude_camera: the probe's camera; None or -1 excludes nothing.

    Returns:
        The `Draw`.

    Raises:
        ValueError: if the lengths differ, `shots` < 1, a key is negative or nobody has an image.

    Example:
        >>> draw = draw_gallery([7, 7, 3, 3], [0, 1, 0, 1], shots=1, trial=0, seed=0, exclude_camera=0)
        >>> draw.identities.tolist(), [images.tolist() for images in draw.images]
        ([3, 7], [[3], [1]])
    """
    ids, cams = _labels(identities, cameras)
    if shots < 1:
        raise ValueError(f"shots is {shots}; it must be at least 1.")
    _check_key(seed=seed, trial=trial)
    excluded = np.zeros(len(ids), bool) if exclude_camera in (None, UNKNOWN) else cams == exclude_camera
    drawn = {}
    for identity, images in _images_by_identity(ids).items():
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
        camera_rule: "cross" (gallery images from cameras other than the probe's) or "any" (from all).

    Yields:
        `Trial`s; within one trial number every probe occurs exactly once. Under "any" all probes are one group,
        with camera -1.

    Raises:
        ValueError: as `draw_gallery`, or for an unknown `camera_rule`, `count` < 1 or no probes; raised when the
            iteration starts.

    Example:
        >>> for t in trials([0, 1, 0], [5, 5], [0, 1], shots=1, count=1, seed=0):
        ...     print(t.number, t.camera, t.probes.tolist(), t.draw.images[0].tolist())
        0 0 [0, 2] [1]
        0 1 [1] [0]
    """
    check_camera_rule(camera_rule)
    probes = np.asarray(probe_cameras, np.int64)
    if count < 1 or probes.size == 0:
        raise ValueError(f"count is {count} and probe_cameras has {probes.size} entries; both must be at least 1.")
    groups = np.full_like(probes, UNKNOWN) if camera_rule == "any" else probes
    for number in range(count):
        for camera in np.unique(groups).tolist():
            draw = draw_gallery(
                gallery_identities, gallery_cameras, shots=shots, trial=number, seed=seed, exclude_camera=camera
            )
            yield Trial(number, camera, np.flatnonzero(groups == camera), draw)


def whole_gallery(
    probe_cameras: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    camera_rule: str = "cross",
) -> Trial:
    """Every gallery image by itself, nothing drawn: single query, as Market-1501 and CUHK03's 767/700 are evaluated.

    The camera rule is applied pair by pair when entries are ranked (`candidates`): a probe does not meet the images of
    her own identity and camera, and meets those of others whatever their camera.

    Args:
        probe_cameras: (P,) camera of each probe.
        gallery_identities: (n,) identity of each gallery image; -1 is nobody, and left out when entries are ranked.
        gallery_cameras: (n,) camera of each gallery image.
        camera_rule: "cross" as said, or "any": nothing is removed.

    Returns:
        One `Trial` of all probes.

    Raises:
        ValueError: for an unknown `camera_rule`, no probes, no gallery, or lengths that differ.

    References:
        Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.

    Example:
        >>> trial = whole_gallery([0, 1], [5, 5, 6], [0, 1, 1])
        >>> trial.draw.identities.tolist(), [cameras.tolist() for cameras in trial.cameras]
        ([5, 5, 6], [[0, 1], [0, 1, 1]])
    """
    check_camera_rule(camera_rule)
    probes, (ids, cameras) = integers(probe_cameras, "probe_cameras"), _labels(gallery_identities, gallery_cameras)
    if not probes.size or not ids.size:
        raise ValueError(f"{probes.size} probes and {ids.size} gallery images: both must be at least 1.")
    draw = Draw(ids, tuple(np.arange(len(ids))[:, None]))
    left = None if camera_rule == "any" else (probes, cameras)
    return Trial(0, UNKNOWN, np.arange(len(probes)), draw, left)


def check_identities(
    probe_identities: ArrayLike,
    gallery_identities: ArrayLike,
    probe_cameras: ArrayLike | None = None,
    gallery_cameras: ArrayLike | None = None,
    *,
    camera_rule: str = "cross",
) -> IdentityCheck:
    """Counts what probes and gallery share, before any feature is computed.

    Args:
        probe_identities: (P,) identities of the probes.
        gallery_identities: (G,) identities of the gallery images.
        probe_cameras: (P,) cameras, or None where unknown.
        gallery_cameras: (G,) cameras, or None where unknown.
        camera_rule: "cross" (a right answer comes from another camera) or "any".

    Returns:
        The `IdentityCheck`, to be printed.

    Raises:
        ValueError: if no probe has a right answer, with examples of what was found on both sides.

    Example:
        >>> print(check_identities([1, 2], [2, 2, 3]))
        2 probes of 2 identities, 3 gallery images of 2 identities, 1 shared identities, \
1 probes with a right answer left after the camera rule
    """
    check_camera_rule(camera_rule)
    probes, probe_cams = _labels(probe_identities, probe_cameras, "probe_identities", "probe_cameras")
    gallery, gallery_cams = _labels(gallery_identities, gallery_cameras, "gallery_identities", "gallery_cameras")
    cameras_of = {identity: set(gallery_cams[at].tolist()) for identity, at in _images_by_identity(gallery).items()}
    known = set(_images_by_identity(probes))
    left = sum(
        _has_answer(cameras_of.get(identity, set()), camera, camera_rule)
        for identity, camera in zip(probes.tolist(), probe_cams.tolist(), strict=True)
    )
    check = IdentityCheck(len(probes), len(gallery), len(known), len(cameras_of), len(known & set(cameras_of)), left)
    if left == 0:
        raise ValueError(
            f"No probe has a right answer in the gallery: {check} (camera_rule={camera_rule!r}). Probe identities "
            f"are {_some(known)}, gallery identities {_some(set(cameras_of))}. " + _remedy(check.shared_identities)
        )
    return check


def check_camera_rule(camera_rule: str) -> None:
    """Raises ValueError unless `camera_rule` is "cross" or "any"."""
    if camera_rule not in CAMERA_RULES:
        raise ValueError(f"camera_rule is {camera_rule!r}; it must be one of {CAMERA_RULES}.")


def integers(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    """Identities or cameras as int64; whole floats, as pandas writes them, are integers.

    Raises:
        ValueError: naming the argument, if they are strings, fractions, NaN, or beyond int64.

    Example:
        >>> integers([3, -1], "cameras").tolist()
        [3, -1]
    """
    found = np.asarray(labels)
    values, real = found.ravel(), found.dtype.kind == "f"
    if real and np.isnan(values).any():
        unknown = np.flatnonzero(np.isnan(values))
        raise ValueError(f"{name}[{unknown[0]}] is NaN, as are {len(unknown)} of {len(values)}: -1 is unknown")
    if values.size and (found.dtype.kind not in "iuf" or (real and np.any(values != np.floor(values)))):
        raise ValueError(
            f"{name} must be integers, got {found.dtype}: number other labels, probes and gallery together, with "
            "np.unique(labels, return_inverse=True)."
        )
    beyond = [value for value in ([values.min(), values.max()] if values.size else []) if not -(2**63) <= value < 2**63]
    if beyond:
        raise ValueError(f"{name} must fit into 64 bits with a sign, got {beyond[0]}: number them anew")
    return found.astype(np.int64)


def partial_box(
    height: int,
    width: int,
    *,
    seed_key: int | Sequence[int],
    height_range: tuple[float, float] = (0.5, 0.75),
    width_range: tuple[float, float] = (0.7, 1.0),
) -> Box:
    """Draws the visible part of a person: a random box of the image, cut out without rescaling (Sec. 3.3, 4.1).

    Args:
        height: image height in pixels.
        width: image width in pixels.
        seed_key: non-negative integers that key the draw, for example (seed, index of the image). One key gives
            the same relative box at every image size.
        height_range: smallest and largest visible share of the height, 0 < low <= high <= 1.
        width_range: the same for the width.

    Returns:
        The `Box`, at least one pixel, shares rounded to the nearest pixel.

    Raises:
        ValueError: if a size is below 1, a range is not within (0, 1] or a key is negative.

    Example:
        >>> box = partial_box(320, 120, seed_key=(0, 7))
        >>> 160 <= box.height <= 240, 84 <= box.width <= 120
        (True, True)
    """
    if height < 1 or width < 1:
        raise ValueError(f"height x width is {height} x {width}; both must be at least 1 pixel.")
    for name, (low, high) in (("height_range", height_range), ("width_range", width_range)):
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"{name} is ({low}, {high}); it must satisfy 0 < low <= high <= 1.")
    share_h, share_w, place_h, place_w = _generator(seed_key).random(4)
    box_height = _extent(height, height_range, share_h)
    box_width = _extent(width, width_range, share_w)
    top = int(place_h * (height - box_height + 1))
    left = int(place_w * (width - box_width + 1))
    return Box(top, left, box_height, box_width)


def crop(image: NDArray, box: Box) -> NDArray:
    """Cuts `box` out of an (H, W, ...) image, as a view.

    Args:
        image: (H, W, ...) array.
        box: the `Box`, inside the image.

    Returns:
        (box.height, box.width, ...) view of the image.

    Raises:
        ValueError: if the box is empty or does not lie inside the image.

    Example:
        >>> crop(np.arange(12).reshape(3, 4), Box(1, 2, 2, 2)).tolist()
        [[6, 7], [10, 11]]
    """
    inside = 0 <= box.top and 0 <= box.left and box.height > 0 and box.width > 0
    if not (inside and box.top + box.height <= image.shape[0] and box.left + box.width <= image.shape[1]):
        raise ValueError(f"box {box} must be non-empty and inside the image of {image.shape[:2]} pixels.")
    return image[box.top : box.top + box.height, box.left : box.left + box.width]


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
    images, of different cameras where that person has them; a negative pair is two different identities.

    Args:
        identities: (n,) identity of each image; -1 is nobody and never drawn.
        cameras: (n,) cameras, or None where unknown.
        positives: number of positive pairs.
        negatives: number of negative pairs.
        seed: non-negative integers that key the draw, for example (seed, epoch).

    Returns:
        The `Pairs`, shuffled.

    Raises:
        ValueError: if positives are asked for and no identity has two images, or negatives and there is only one.

    Example:
        >>> pairs = draw_pairs([1, 1, 2, 2], positives=2, negatives=1, seed=0)
        >>> sorted(pairs.sign.tolist())
        [-1, 1, 1]
    """
    ids, cams = _labels(identities, cameras)
    if positives < 0 or negatives < 0:
        raise ValueError(f"positives is {positives} and negatives is {negatives}; neither can be negative.")
    rng = _generator(seed)
    everybody = list(_images_by_identity(ids).values())
    repeated = [images for images in everybody if len(images) > 1]
    if positives and not repeated:
        raise ValueError(f"identities: none of {len(everybody)} has two images, so there is no positive pair.")
    if negatives and len(everybody) < 2:
        raise ValueError(f"identities: {len(everybody)} known, a negative pair needs two different ones.")
    pairs = [_positive(rng, repeated[rng.integers(len(repeated))], cams) for _ in range(positives)]
    pairs += [_negative(rng, everybody) for _ in range(negatives)]
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


def _negative(rng: np.random.Generator, everybody: Sequence[NDArray]) -> tuple[int, int]:
    """Images of two different people."""
    first = int(rng.integers(len(everybody)))
    second = (first + 1 + int(rng.integers(len(everybody) - 1))) % len(everybody)
    return int(rng.choice(everybody[first])), int(rng.choice(everybody[second]))


def _extent(size: int, share: tuple[float, float], uniform: float) -> int:
    """Length in pixels of a share between low and high, `uniform` in [0, 1)."""
    low, high = share
    return max(1, round(size * (low + (high - low) * float(uniform))))


def _labels(
    identities: ArrayLike,
    cameras: ArrayLike | None,
    identities_name: str = "identities",
    cameras_name: str = "cameras",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Identities and cameras as int64 vectors of one length; cameras of None are unknown."""
    ids = integers(identities, identities_name)
    cams = np.full(ids.shape, UNKNOWN, np.int64) if cameras is None else integers(cameras, cameras_name)
    if ids.ndim != 1 or ids.shape != cams.shape:
        raise ValueError(
            f"{identities_name} has shape {ids.shape} and {cameras_name} {cams.shape}; both must be (n,) with one n."
        )
    return ids, cams


def _images_by_identity(identities: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Indices of the images of each known identity, identities ascending."""
    order = np.argsort(identities, kind="stable")
    labels, starts = np.unique(identities[order], return_index=True)
    groups = np.split(order.astype(np.int64), starts[1:])
    return {label: group for label, group in zip(labels.tolist(), groups, strict=False) if label > UNKNOWN}


def _has_answer(cameras: set[int], camera: int, camera_rule: str) -> bool:
    """Whether a person seen by `cameras` in the gallery can be found by a probe of `camera`."""
    hidden = set() if camera_rule == "any" or camera == UNKNOWN else {camera}
    return bool(cameras - hidden)


def _check_key(**key: int) -> None:
    """Raises unless every named integer of a random key is non-negative."""
    for name, value in key.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; keys of random draws must be non-negative integers.")


def _generator(seed: int | Sequence[int]) -> np.random.Generator:
    """A generator keyed by one or several non-negative integers."""
    key = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    for value in key:
        _check_key(seed=int(value))
    return np.random.default_rng([int(value) for value in key])


def _some(identities: set[int], count: int = 5) -> str:
    """The first few identities, for a message."""
    shown = ", ".join(map(str, sorted(identities)[:count]))
    return f"{shown or 'none'}{', ...' if len(identities) > count else ''}"


def _remedy(shared: int) -> str:
    """What to do when no probe has a right answer."""
    if shared:
        return "They share identities, but only within one camera: check the cameras or use camera_rule='any'."
    return "Check that both sides number people alike and that the right splits were loaded."
