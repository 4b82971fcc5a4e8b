"""Part `identification`: seconds to find one probe among some people (the paper's Table 3), one after another.

What can be done with the gallery alone is done before: its maps and `match.Gallery`, its patches for AMC. Each probe is
identified by itself: its picture becomes a map (its patches become vectors) in a batch of its own, is matched with N
images per person, and the nearest person is named; or its map is given and only matched. The resizing model compares
the whole last layer of the probe stretched to the gallery's size. SWM has to run the network on windows of the probe's
size, so it is timed on one probe and a few gallery images, and its time is multiplied to the whole gallery.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dsr_jax import match
from dsr_jax.baselines import amc, swm
from experiments.benchmarks import outcome, settings
from experiments.benchmarks.alternating import Contender, Ratio, Turns, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.evaluation.features import WINDOWS_AT_ONCE, Network

SCALES = {"dsr_single": (1,), "dsr_multi": (1, 2, 3)}
FIRST = "dsr_single"  # what the others are compared with
HEADER = (
    *("method", "time / DSR single (range)", "of medians", "s / probe", "s, matching only"),
    "its time / DSR single (range)",
)


class Probes(NamedTuple):
    """Pictures at their own size for DSR, and stretched to the gallery's for the resizing model."""

    partial: list[np.ndarray]
    stretched: list[np.ndarray]


class Way(NamedTuple):
    """A method: its pictures, the features of one, the nearest person to them, and the share of the work it does."""

    shown: Sequence[np.ndarray]
    features: Callable[[np.ndarray], np.ndarray]
    nearest: Callable[[np.ndarray], int]
    share: float = 1.0


class People(NamedTuple):
    """Gallery maps (h, w, d), all of one size, their identities, everybody's first shot first, and the pictures."""

    maps: list[np.ndarray]
    identities: list[int]
    pictures: list[np.ndarray]

    def shots(self, count: int, people: int) -> "People":
        """At most ``count`` maps of each of the first ``people``."""
        seen = dict.fromkeys(list(dict.fromkeys(self.identities))[:people], 0)
        chosen = []
        for i, identity in enumerate(self.identities):
            if seen.get(identity, count) < count:
                seen[identity] += 1
                chosen.append(i)
        return People(*([part[i] for i in chosen] for part in self))  # type: ignore[arg-type]


class Measured(NamedTuple):
    """Seconds per probe, with extraction and without, and both times against those of the first method."""

    whole: float
    matching: float
    whole_ratio: Ratio
    matching_ratio: Ratio


def run(
    network: Network,
    probes: Probes,
    gallery: People,
    chosen: settings.Identification,
    *,
    l1: float,
    turns: Turns,
    source: str,
) -> Part:
    """Times the methods, with and without extraction, for each number of images per person."""
    tables: list[Table] = []
    figures: Figures = {}
    for count in chosen.people_shots:
        shown, key = gallery.shots(count, chosen.people), f"identification/shots{count}"
        windowed = min(chosen.windowed, len(shown.maps))
        figures |= {f"{key}/people": len(set(shown.identities)), f"{key}/images": len(shown.maps)}
        ways = _ways(network, probes, shown, l1=l1, windowed=windowed)
        measured = _measure(ways, turns, label=f"identification, {count} shots")
        for name, one in measured.items():
            figures |= {f"{key}/{name}/seconds": one.whole, f"{key}/{name}/seconds_matching": one.matching}
            if name != FIRST:
                figures |= {f"{key}/{name}": one.whole_ratio, f"{key}/{name}_matching": one.matching_ratio}
        notes = [
            source,
            f"{len(probes.partial)} probes, one at a time, among {figures[f'{key}/people']} people with "
            f"{len(shown.maps)} images; the gallery is built before",
            "s / probe: from its picture, extraction included (a batch of one). Matching only: from its map.",
            f"swm: one probe on {windowed} gallery images, multiplied to all.",
        ]
        rows = [
            (name, *outcome.cells(one.whole_ratio), one.whole, one.matching, one.matching_ratio.rounds)
            for name, one in measured.items()
        ]
        tables.append(Table(f"Identification (Table 3), N = {count}", HEADER, rows, notes))
    return Part(tables, figures)


def _measure(ways: dict[str, Way], turns: Turns, *, label: str) -> dict[str, Measured]:
    contenders = []
    for name, way in ways.items():
        maps, work = [way.features(picture) for picture in way.shown], len(way.shown) * way.share
        contenders.append(Contender(name, _each(way.nearest, way.shown, way.features), work))
        contenders.append(Contender(f"{name}_matching", _each(way.nearest, maps, lambda values: values), work))
    times = alternate(contenders, turns, label=label)
    first = times[FIRST], times[f"{FIRST}_matching"]
    both = {name: (times[name], times[f"{name}_matching"]) for name in ways}
    return {
        name: Measured(whole.median, matching.median, ratio(whole, first[0]), ratio(matching, first[1]))
        for name, (whole, matching) in both.items()
    }


def _ways(network: Network, probes: Probes, gallery: People, *, l1: float, windowed: int) -> dict[str, Way]:
    """All methods, their galleries built."""

    def one_map(picture: np.ndarray) -> np.ndarray:
        return network.maps([picture], batch_size=1)[0]

    ways = {name: Way(probes.partial, one_map, _dsr(gallery, scales, l1)) for name, scales in SCALES.items()}
    return ways | {
        "resizing": Way(probes.stretched, one_map, _resizing(gallery)),
        "amc": Way(probes.partial, functools.partial(_patches, network), _amc(network, gallery)),
        "swm": Way(probes.partial[:1], one_map, _swm(network, gallery, windowed), windowed / len(gallery.maps)),
    }


def _each(
    nearest: Callable[[np.ndarray], int], probes: Sequence[np.ndarray], maps: Callable[[np.ndarray], np.ndarray]
) -> Callable[[], list[int]]:
    return lambda: [nearest(maps(probe)) for probe in probes]


def _dsr(gallery: People, scales: tuple[int, ...], l1: float) -> Callable[[np.ndarray], int]:
    built = match.Gallery.build(gallery.maps, identities=gallery.identities, scales=scales)
    labels = list(dict.fromkeys(gallery.identities))
    return lambda values: labels[int(match.distances(values, built, l1=l1).distance[0].argmin())]


def _resizing(gallery: People) -> Callable[[np.ndarray], int]:
    """Nearest person by the mean Euclidean distance to their images, whose norms are computed once."""
    rows = np.stack([values.ravel() for values in gallery.maps])
    squared = np.sum(rows * rows, axis=1)
    labels, place = np.unique(gallery.identities, return_inverse=True)
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
    vectors = [_patches(network, picture) for picture in gallery.pictures]
    labels, place = np.unique(gallery.identities, return_inverse=True)
    return lambda probe: int(labels[amc.distances([probe], vectors, identities=place.tolist())[0].argmin()])


def _swm(network: Network, gallery: People, few: int) -> Callable[[np.ndarray], int]:
    run_network = functools.partial(network.maps, batch_size=WINDOWS_AT_ONCE)

    def nearest(values: np.ndarray) -> int:
        distances = swm.distances(run_network, [values], gallery.pictures[:few], output_stride=network.output_stride)
        return gallery.identities[int(distances[0].argmin())]

    return nearest
