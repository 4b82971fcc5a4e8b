"""Methods compared on the same probes, gallery draws and network (Sec. 4.2 to 4.4).

Images become maps once; each method turns probe maps and gallery maps into distances; trials of random gallery draws
turn distances into scores. Results are means over trials with 95 % intervals by bootstrap over identities.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data import Source, views
from dsr_jax import extract, fcn, match, metrics, protocols


class Images(NamedTuple):
    """Images of one side: (H, W, 3) uint8 pictures with identities, cameras (n,) and names."""

    pictures: list[np.ndarray]
    identities: np.ndarray
    cameras: np.ndarray
    names: list[str]

    def only(self, kept: np.ndarray) -> "Images":
        """Those images where ``kept``, (n,), is true."""
        at = np.flatnonzero(kept)
        return Images(
            [self.pictures[i] for i in at], self.identities[at], self.cameras[at], [self.names[i] for i in at]
        )


class Network(NamedTuple):
    """A network and how it wants its images."""

    params: fcn.Params
    convention: str
    output_stride: int
    size: tuple[int, int]
    dtype: str = "float32"


class Sides(NamedTuple):
    """Maps of both sides: at their own size, and of whatever is resized to one size for the resizing model."""

    probe: list[np.ndarray]
    gallery: list[np.ndarray]
    resized: list[np.ndarray]


class Protocol(NamedTuple):
    """Gallery draws: shots per identity, number of trials, camera rule, seed."""

    shots: int
    trials: int
    camera_rule: str
    seed: int


# A method: distances of probes (by number) to dictionaries (tuples of gallery image numbers), (P, entries).
Method = Callable[[Sides, np.ndarray, Sequence[Sequence[int]]], np.ndarray]


def resizing(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
    """The resizing model (Sec. 4.2): Euclidean distance of the whole last layer; several shots: their average."""
    x = np.stack([sides.resized[p].ravel() for p in probes])
    used = sorted({g for entry in entries for g in entry})
    y = np.stack([sides.gallery[g].ravel() for g in used])
    squared = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * x @ y.T
    each = np.sqrt(np.maximum(squared, 0))
    at = {g: column for column, g in enumerate(used)}
    return np.stack([each[:, [at[g] for g in entry]].mean(axis=1) for entry in entries], axis=1)


def dsr(scales: tuple[int, ...], **options: Any) -> Method:
    """DSR with blocks of these scales; the maps of an entry are stacked into one dictionary."""

    def method(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        found = match.distances(
            [sides.probe[p] for p in probes],
            [sides.gallery[g] for entry in entries for g in entry],
            identities=[number for number, entry in enumerate(entries) for _ in entry],
            scales=scales,
            **options,
        )
        return found.distance

    return method


METHODS: dict[str, Callable[..., Method]] = {
    "resizing": lambda **_: resizing,
    "dsr_single": lambda **options: dsr((1,), **options),
    "dsr_multi": lambda **options: dsr((1, 2, 3), **options),
    "ridge_single": lambda **options: dsr((1,), **{**options, "coder": "ridge"}),
}


def read(source: Source, positions: Sequence[int] | None = None, *, limit_per_identity: int = 0) -> Images:
    """Reads the pictures of a split, or of some positions; with a limit, the first so many per identity and camera."""
    chosen = list(range(len(source)) if positions is None else positions)
    if limit_per_identity:
        seen: dict[tuple[int, int], int] = {}
        kept = []
        for i in chosen:
            key = int(source.identities[i]), int(source.cameras[i])
            seen[key] = seen.get(key, 0) + 1
            if seen[key] <= limit_per_identity:
                kept.append(i)
        chosen = kept
    pictures = [source[i].image for i in chosen]
    return Images(pictures, source.identities[chosen], source.cameras[chosen], [source.names[i] for i in chosen])


def fit_gallery(gallery: Images, size: tuple[int, int]) -> Images:
    """Gallery pictures brought to ``size``."""
    return gallery._replace(pictures=[views.resize(picture, size) for picture in gallery.pictures])


def fit_probes(
    probes: Images,
    *,
    size: tuple[int, int],
    gallery_shape: tuple[float, float],
    partial: str,
    probe_scale: str,
    height_range: tuple[float, float],
    width_range: tuple[float, float],
    seed: int,
) -> Images:
    """Partial probes at the scale at which they are matched.

    Args:
      probes: the probe pictures as read.
      size: (height, width) to which whole images are brought.
      gallery_shape: typical (height, width) of gallery pictures before that: what ``size`` enlarges.
      partial: "crop" (a random box is cut out of each whole probe) or "none" (they are partial already).
      probe_scale: "keep" (enlarged as the gallery is) or "width" (brought to the gallery's width: unknown scale).
      height_range: visible share of the height, for "crop".
      width_range: visible share of the width, for "crop".
      seed: key of the boxes; the box of a probe depends on it and the probe's number alone.

    Returns:
      The probes, of any sizes.
    """
    fitted = []
    for number, picture in enumerate(probes.pictures):
        if partial == "crop":
            picture = views.resize(picture, size)
            box = protocols.partial_box(
                *size, seed_key=(seed, number), height_range=height_range, width_range=width_range
            )
            picture = np.ascontiguousarray(protocols.crop(picture, box))
        elif probe_scale == "keep":
            scales = (size[0] / gallery_shape[0], size[1] / gallery_shape[1])
            picture = views.resize(picture, _scaled(picture, *scales))
        if probe_scale == "width":
            scale = size[1] / picture.shape[1]
            picture = views.resize(picture, _scaled(picture, scale, scale))
        fitted.append(picture)
    return probes._replace(pictures=fitted)


def sides(network: Network, probes: Images, gallery: Images, *, resized: bool, progress: bool) -> Sides:
    """Maps of probes and gallery, and of the probes resized to the gallery's size where a method needs them.

    Raises:
      ValueError: if a picture is smaller than one output cell, or a map holds NaN or infinity; it names the pictures.
    """
    stretched = fit_gallery(probes, network.size) if resized else Images([], *probes[1:])
    parts = {"probe": probes, "gallery": gallery, "resized probe": stretched}
    for what, images in parts.items():
        _check_large_enough(what, images, network.output_stride)
    return Sides(*(_maps(network, images, what, progress) for what, images in parts.items()))


def _maps(network: Network, images: Images, what: str, progress: bool) -> list[np.ndarray]:
    maps = extract.maps(
        network.params,
        images.pictures,
        convention=network.convention,
        output_stride=network.output_stride,
        dtype=network.dtype,
        progress=f"{what} maps" if progress else "",
    )
    bad = [name for name, values in zip(images.names, maps, strict=False) if not np.isfinite(values).all()]
    if bad:
        raise ValueError(f"the maps of {some(bad)} ({what}) hold NaN or infinity: the weights or their scale are wrong")
    return maps


def _check_large_enough(what: str, images: Images, stride: int) -> None:
    small = [
        f"{name} of {picture.shape[0]} x {picture.shape[1]}"
        for name, picture in zip(images.names, images.pictures, strict=False)
        if min(picture.shape[:2]) < stride
    ]
    if small:
        raise ValueError(
            f"{len(small)} {what} pictures, as they are matched, are smaller than one output cell: {some(small)}; the "
            f"smallest legal size is {stride} x {stride}: enlarge --size, use --output_stride=16, or leave them out"
        )


def some(names: Sequence[Any], *, count: int = 5) -> str:
    """The first few of a list, for a message."""
    return ", ".join(map(str, names[:count])) + (f", ... ({len(names)} in all)" if len(names) > count else "")


def answered(probes: Images, gallery: Images, *, camera_rule: str) -> np.ndarray:
    """(P,) whether a probe has a right answer: its identity in the gallery, under "cross" by another camera."""
    return np.array(
        [
            bool(np.any((gallery.identities == who) & ((gallery.cameras != camera) | (camera == protocols.UNKNOWN))))
            if camera_rule == "cross"
            else who in gallery.identities
            for who, camera in zip(probes.identities, probes.cameras, strict=True)
        ]
    ) & (probes.identities != protocols.UNKNOWN)


def draws(probes: Images, gallery: Images, protocol: Protocol) -> list[protocols.Trial]:
    """The gallery draws of all trials."""
    return list(
        protocols.trials(
            probes.cameras,
            gallery.identities,
            gallery.cameras,
            shots=protocol.shots,
            count=protocol.trials,
            seed=protocol.seed,
            camera_rule=protocol.camera_rule,
        )
    )


def shortages(trials: Sequence[protocols.Trial], *, shots: int) -> list[str]:
    """What a user should know about the draws: identities with too few images, or with none for some camera."""
    lines = []
    for trial in trials:
        of_camera = "" if trial.camera == protocols.UNKNOWN else f" for probes of camera {trial.camera}"
        if trial.number == 0 and trial.draw.short:
            who = trial.draw.short
            lines.append(f"{shots} shots{of_camera}: {len(who)} identities have fewer images: {some(who)}")
        if trial.number == 0 and trial.draw.absent:
            who = trial.draw.absent
            lines.append(f"{shots} shots{of_camera}: {len(who)} gallery identities have none: {some(who)}")
    return lines


def score(
    method: Method, maps: Sides, probes: Images, gallery: Images, protocol: Protocol, *, label: str, progress: bool
) -> list[metrics.Scores]:
    """Scores of every trial of one method.

    With one shot, each pair of probe and gallery image is matched once however many trials draw it.
    """
    drawn = draws(probes, gallery, protocol)
    groups: dict[int, list[tuple[np.ndarray, metrics.Scores]]] = {}
    with tqdm(total=len(drawn), desc=label, unit="draw", disable=not progress) as bar:
        for camera in sorted({trial.camera for trial in drawn}):
            of_camera = [trial for trial in drawn if trial.camera == camera]
            lookup = _distances(method, maps, of_camera)
            for trial in of_camera:
                found = metrics.ranks(
                    lookup(trial), probes.identities[trial.probes], trial.draw.identities, camera_rule="any"
                )
                groups.setdefault(trial.number, []).append((trial.probes, found))
                bar.update()
    return [metrics.regroup(groups[number]) for number in sorted(groups)]


def per_probe(scores: Sequence[metrics.Scores]) -> dict[str, np.ndarray]:
    """ "rank1" ... "rank20" and "mAP" of every probe in per cent, (P,) each: means over trials."""
    values = {f"rank{k}": np.mean([s.hits(k) for s in scores], axis=0) for k in metrics.RANKS}
    values["mAP"] = np.mean([s.average_precision for s in scores], axis=0)
    return {name: 100 * value for name, value in values.items()}


def summarise(values: dict[str, np.ndarray], identities: np.ndarray) -> dict[str, metrics.Interval]:
    """Means over the probes with their 95 % intervals by bootstrap over identities."""
    return {name: metrics.bootstrap_interval(value, identities) for name, value in values.items()}


def _distances(
    method: Method, maps: Sides, trials: Sequence[protocols.Trial]
) -> Callable[[protocols.Trial], np.ndarray]:
    """Distances of the trials of one camera; the union of single images is matched once."""
    if any(len(images) > 1 for trial in trials for images in trial.draw.images):
        return lambda trial: method(maps, trial.probes, [images.tolist() for images in trial.draw.images])
    used = np.unique(np.concatenate([np.concatenate(trial.draw.images) for trial in trials]))
    matrix = method(maps, trials[0].probes, [[g] for g in used.tolist()])
    return lambda trial: matrix[:, np.searchsorted(used, np.concatenate(trial.draw.images))]


def _scaled(picture: np.ndarray, height_scale: float, width_scale: float) -> tuple[int, int]:
    return max(1, round(picture.shape[0] * height_scale)), max(1, round(picture.shape[1] * width_scale))
