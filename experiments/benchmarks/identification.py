"""Part `identification`: seconds to find one probe among some people (the paper's Table 3), one after another.

What can be done with the gallery alone is done before: its maps and `match.Gallery`, its patches for AMC. Each probe is
identified by itself: its picture becomes a map (its patches become vectors) in a batch of its own, is matched with N
images per person, and the nearest person is named; or its map is given and only matched. The resizing model compares
the whole last layer of the probe stretched to the gallery's size. SWM has to run the network on windows of the probe's
size, so it is timed on one probe and a few gallery images, and its time is multiplied to the whole gallery.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import match
from dsr_jax.baselines import amc, swm
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, Timed, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table, number
from experiments.evaluation.features import WINDOWS_AT_ONCE, Network

SCALES = {"dsr_single": (1,), "dsr_multi": (1, 2, 3)}
HEADER = ("method", "time / DSR single", "range", "of medians", "s / probe", "s, matching only", "its ratio", "range ")


class Probes(NamedTuple):
    """Pictures at their own size for DSR, and stretched to the gallery's for the resizing model."""

    partial: list[np.ndarray]
    stretched: list[np.ndarray]


class Way(NamedTuple):
    """A method: the pictures it is shown, what it makes of one, who that is, and which share of the work it does."""

    shown: Sequence[np.ndarray]
    features: Callable[[np.ndarray], np.ndarray]
    nearest: Callable[[np.ndarray], int]
    share: float = 1.0


class People(NamedTuple):
    """Gallery maps (h, w, d), all of one size, whom each shows, the first shot of everybody first, and the pictures."""

    maps: list[np.ndarray]
    names: list[int]
    pictures: list[np.ndarray]

    def shots(self, count: int, people: int) -> "People":
        """At most ``count`` maps of each of the first ``people``."""
        who = list(dict.fromkeys(self.names))[:people]
        seen: dict[int, int] = dict.fromkeys(who, 0)
        kept = []
        for i, name in enumerate(self.names):
            if name in seen and seen[name] < count:
                seen[name] += 1
                kept.append(i)
        return People(*([part[i] for i in kept] for part in self))  # type: ignore[arg-type]


def run(
    network: Network,
    probes: Probes,
    gallery: People,
    *,
    shots: Sequence[int],
    people: int,
    l1: float,
    windowed: int,
    rounds: int,
    progress: bool,
    source: str,
) -> Part:
    """Times the methods, with and without extraction, for each number of images per person.

    ``windowed`` is the number of gallery images that SWM is timed on.
    """
    tables, figures = [], Figures()
    for count in shots:
        table, found = _measure(
            network,
            probes,
            gallery.shots(count, people),
            count,
            l1=l1,
            windowed=windowed,
            rounds=rounds,
            progress=progress,
            source=source,
        )
        tables.append(table)
        figures |= {f"identification/shots{count}/{key}": value for key, value in found.items()}
    return Part(tables, figures)


def _measure(
    network: Network,
    probes: Probes,
    gallery: People,
    count: int,
    *,
    l1: float,
    windowed: int,
    rounds: int,
    progress: bool,
    source: str,
) -> tuple[Table, Figures]:
    methods = _ways(network, probes, gallery, l1=l1, windowed=windowed)
    contenders = []
    for name, way in methods.items():
        known, work = [way.features(picture) for picture in way.shown], len(way.shown) * way.share
        contenders.append(Contender(name, _each(way.nearest, way.shown, way.features), work))
        contenders.append(Contender(f"{name}_matching", _each(way.nearest, known, lambda values: values), work))
    times = alternate(contenders, rounds=rounds, label=f"identification, {count} shots", progress=progress)
    figures: Figures = {"people": len(set(gallery.names)), "images": len(gallery.maps)}
    rows: list[tuple[str, ...]] = []
    for name in methods:
        whole, part = _ratios(times, name)
        figures |= {f"{name}/seconds": times[name].median, f"{name}/seconds_matching": _part(times, name).median}
        if name != "dsr_single":
            figures |= outcome.ratio_figures(name, whole) | outcome.ratio_figures(f"{name}_matching", part)
        cells = outcome.ratio_cells(whole), outcome.ratio_cells(part)
        seconds = number(times[name].median), number(_part(times, name).median)
        rows.append((name, *cells[0], *seconds, *cells[1][:2]))
    notes = [
        f"{source}",
        f"{len(probes.partial)} probes, one at a time, among {figures['people']} people with {figures['images']} "
        "images; the gallery is built before",
        "s / probe: from its picture, extraction included (a batch of one). Matching only: from its map.",
        f"swm: one probe on {min(windowed, len(gallery.maps))} gallery images, multiplied to all.",
    ]
    return Table(f"Identification (Table 3), N = {count}", HEADER, rows, notes), figures


def _ways(network: Network, probes: Probes, gallery: People, *, l1: float, windowed: int) -> dict[str, Way]:
    """All methods, ready to be asked."""

    def one_map(picture: np.ndarray) -> np.ndarray:
        return network.maps([picture], batch_size=1)[0]

    ways = {name: Way(probes.partial, one_map, _dsr(gallery, scales, l1)) for name, scales in SCALES.items()}
    few = min(windowed, len(gallery.maps))
    return ways | {
        "resizing": Way(probes.stretched, one_map, _resizing(gallery)),
        "amc": Way(probes.partial, functools.partial(_patches, network), _amc(network, gallery)),
        "swm": Way(probes.partial[:1], one_map, _swm(network, gallery, few), few / len(gallery.maps)),
    }


def _ratios(times: dict[str, Timed], name: str) -> tuple[Any, Any]:
    return ratio(times[name], times["dsr_single"]), ratio(_part(times, name), _part(times, "dsr_single"))


def _part(times: dict[str, Timed], name: str) -> Timed:
    return times[f"{name}_matching"]


def _each(
    nearest: Callable[[np.ndarray], int], probes: Sequence[np.ndarray], maps: Callable[[np.ndarray], np.ndarray]
) -> Callable[[], list[int]]:
    return lambda: [nearest(maps(probe)) for probe in probes]


def _dsr(gallery: People, scales: tuple[int, ...], l1: float) -> Callable[[np.ndarray], int]:
    built = match.Gallery.build(gallery.maps, identities=gallery.names, scales=scales)
    labels = list(dict.fromkeys(gallery.names))
    return lambda values: labels[int(match.distances(values, built, l1=l1).distance[0].argmin())]


def _resizing(gallery: People) -> Callable[[np.ndarray], int]:
    """Nearest person by the mean Euclidean distance to their images, whose norms are kept."""
    rows = np.stack([values.ravel() for values in gallery.maps])
    squared = np.sum(rows * rows, axis=1)
    labels, place = np.unique(gallery.names, return_inverse=True)
    share = (place[None, :] == np.arange(len(labels))[:, None]) / np.bincount(place)[:, None]

    def nearest(values: np.ndarray) -> int:
        x = values.ravel()
        each = np.sqrt(np.maximum(squared + x @ x - 2 * rows @ x, 0))
        return int(labels[(share @ each).argmin()])

    return nearest


def _patches(network: Network, picture: np.ndarray) -> np.ndarray:
    cut = amc.patches(picture, output_stride=network.output_stride)
    return amc.vectors(network.maps(cut, batch_size=len(cut)))


def _amc(network: Network, gallery: People) -> Callable[[np.ndarray], int]:
    known = [_patches(network, picture) for picture in gallery.pictures]
    labels, place = np.unique(gallery.names, return_inverse=True)
    return lambda vectors: int(labels[amc.distances([vectors], known, identities=place.tolist())[0].argmin()])


def _swm(network: Network, gallery: People, few: int) -> Callable[[np.ndarray], int]:
    run_network = functools.partial(network.maps, batch_size=WINDOWS_AT_ONCE)

    def nearest(values: np.ndarray) -> int:
        found = swm.distances(run_network, [values], gallery.pictures[:few], output_stride=network.output_stride)
        return gallery.names[int(found[0].argmin())]

    return nearest
