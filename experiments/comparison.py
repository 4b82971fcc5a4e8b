"""Methods compared on the same probes, gallery draws and network (Sec. 4.2 to 4.4).

Images become maps once; each method turns probe maps and gallery maps into distances; trials of random gallery draws
turn distances into scores. Results are means over trials with 95 % intervals by bootstrap over identities.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dsr_jax import extract, fcn, match, metrics, protocols
from experiments.pictures import Images, fit_gallery, some


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


def sides(
    network: Network, probes: Images, gallery: Images, drawn: Sequence[int], *, resized: bool, progress: bool
) -> Sides:
    """Maps of probes and gallery, and of the probes resized to the gallery's size where a method needs them.

    Of the gallery only the images ``drawn`` (see `used`) have maps; the others' places are empty.

    Raises:
      ValueError: if a picture is smaller than one output cell, or a map holds NaN or infinity; it names the pictures.
    """
    stretched = fit_gallery(probes, network.size) if resized else Images([], *probes[1:])
    searched = gallery.only(np.isin(np.arange(len(gallery.names)), drawn))
    parts = {"probe": probes, "gallery": searched, "resized probe": stretched}
    for what, images in parts.items():
        _check_large_enough(what, images, network.output_stride)
    found = Sides(*(_maps(network, images, what, progress) for what, images in parts.items()))
    return found._replace(gallery=spread(found.gallery, drawn, len(gallery.names)))


def used(trials: Sequence[protocols.Trial]) -> list[int]:
    """The gallery images that some trial draws, ascending."""
    return sorted({int(i) for trial in trials for images in trial.draw.images for i in images})


def spread(maps: Sequence[np.ndarray], positions: Sequence[int], count: int) -> list[np.ndarray]:
    """``maps`` at their ``positions`` in a list of ``count``; empty arrays elsewhere."""
    places = [np.empty(0, np.float32)] * count
    for i, values in zip(positions, maps, strict=True):
        places[i] = values
    return places


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
