"""Probes to look at: ranked lists (Fig. 12), and reconstructions from a right and a wrong image.

Both show the first draw: the entry of a person is the image there, or the first of several.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsr_jax import match, report
from dsr_jax.evaluation import candidates
from dsr_jax.shortlist import BEYOND
from experiments.evaluation import features, pictures
from experiments.evaluation.comparison import Result
from experiments.evaluation.methods import Method
from experiments.evaluation.selection import Selection

SHOWN = 10  # gallery images of a ranked list


def ranked_lists(results: Sequence[Result], selected: Selection, *, count: int, seed: int) -> list[report.RankedList]:
    """Ranked lists of some probes by the last method under the first number of shots; none without pictures."""
    last = next(result for result in reversed(results) if result.shots == results[0].shots)
    return [ranked_list(last, probe, selected.probes, selected.gallery) for probe in _some(selected, count, seed)]


def reconstructions(
    results: Sequence[Result], network: features.Network, selected: Selection, *, count: int, seed: int, l1: float
) -> list[report.Reconstruction]:
    """Some probes as DSR rebuilt them, by the last such method under the first number of shots; of the last network."""
    coded = [result for result in results if result.shots == results[0].shots and result.method.scales]
    if not coded:
        return []
    return [
        rebuilt
        for probe in _some(selected, count, seed)
        for rebuilt in reconstructed(coded[-1], network, probe, selected.probes, selected.gallery, l1=l1)
    ]


def _some(selected: Selection, count: int, seed: int) -> list[int]:
    """Some probes, drawn by ``seed``; none where there are no pictures to show."""
    return np.random.default_rng(seed).permutation(len(selected.probes.names))[: count * selected.pictured].tolist()


def ranked_list(result: Result, probe: int, probes: pictures.Images, gallery: pictures.Images) -> report.RankedList:
    """A probe with its nearest gallery images."""
    row, images = _first_draw(result, probe)
    identity = int(probes.identities[probe])
    order = np.argsort(row, kind="stable")
    right = gallery.identities[images[order]] == identity
    hits = tuple(
        report.Hit(gallery.pictures[g], int(gallery.identities[g]), float(row[column]), bool(mark))
        for column, g, mark in zip(order[:SHOWN], images[order[:SHOWN]], right[:SHOWN], strict=True)
    )
    first = int(np.argmax(right)) if right.any() else -1
    title = f"{probes.names[probe]} by {result.key}"
    if any(hit.distance >= BEYOND for hit in hits):
        title += f"; from {BEYOND:g} on by coarse distance, beyond the list"
    return report.RankedList(title, probes.pictures[probe], identity, hits, first)


def reconstructed(
    result: Result,
    network: features.Network,
    probe: int,
    probes: pictures.Images,
    gallery: pictures.Images,
    *,
    l1: float,
) -> list[report.Reconstruction]:
    """A probe rebuilt from its nearest right image and from its nearest wrong one."""
    row, images = _first_draw(result, probe)
    order = np.argsort(row, kind="stable")
    right = gallery.identities[images[order]] == probes.identities[probe]
    shown = [int(images[order[np.argmax(side)]]) for side in (right, ~right) if side.any()]
    own, *maps = network.maps([probes.pictures[probe], *(gallery.pictures[g] for g in shown)])
    return [
        _reconstruction(own, values, probe, g, probes, gallery, network.output_stride, result.method, l1=l1)
        for g, values in zip(shown, maps, strict=True)
    ]


def _reconstruction(
    probe_map: np.ndarray,
    gallery_map: np.ndarray,
    probe: int,
    image: int,
    probes: pictures.Images,
    gallery: pictures.Images,
    stride: int,
    method: Method,
    *,
    l1: float,
) -> report.Reconstruction:
    weights = "norm" if method.weighted else None
    masks = None if probes.shown is None else features.visible(probes.shown[probe], probe_map.shape)
    how: dict[str, Any] = {"l1": l1, "scales": method.scales, "probe_weights": weights, "probe_masks": masks}
    found = match.explain(probe_map, gallery_map, **how)
    return report.Reconstruction(
        f"{probes.names[probe]} from {gallery.names[image]}",
        covered(probes.pictures[probe], probe_map, stride),
        covered(gallery.pictures[image], gallery_map, stride),
        found.codes,
        found.rebuilt,
        found.distance,
        stride,
        bool(probes.identities[probe] == gallery.identities[image]),
        found.weights if method.weighted else None,
        (found.visible, found.gallery_visible),
    )


def covered(picture: np.ndarray, values: np.ndarray, stride: int) -> np.ndarray:
    """The picture, black beyond its end where the last cells of its map reach beyond it (those of ResNet-50 may)."""
    beyond = [max(0, cells * stride - side) for cells, side in zip(values.shape[:2], picture.shape[:2], strict=True)]
    return np.pad(picture, [(0, beyond[0]), (0, beyond[1]), (0, 0)])


def _first_draw(result: Result, probe: int) -> tuple[np.ndarray, np.ndarray]:
    """(entries,) distances of a probe in the first trial, and the (first) images of the entries that may answer it."""
    for trial, matrix in zip(result.trials, result.distances, strict=True):
        at = np.flatnonzero(trial.probes == probe)
        if trial.number == 0 and at.size:
            images = np.array([images[0] for images in trial.draw.images])
            left = candidates.allowed(trial.labels(result.identities, at))[0]
            return matrix[at[0]][left], images[left]
    raise ValueError(f"probe {probe} is in no group of the first trial")
