"""Part `growth`, search: the k nearest of thousands by `match.search` against all distances, sorted; same answer.

Three ways: the first search of a gallery that has just been built, later searches (which find its Gram matrices kept),
and `match.distances` on a gallery that has been searched before. Every answer is compared with the sorted distances,
entry by entry; another one stops the benchmark.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dsr_jax import match
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table, number

HEADER = ("way", "all distances / this", "range", "of medians", "s / probe", "share coded")
TITLES = {"first": "search, the gallery's first", "later": "search, later ones", "exhaustive": "distances, sorted"}


def run(
    probes: Sequence[np.ndarray],
    gallery: Sequence[np.ndarray],
    *,
    k: int,
    l1: float,
    rounds: int,
    progress: bool,
    source: str,
) -> Part:
    """Times the three ways for these probes, one at a time, on multi-scale blocks.

    Raises:
      ValueError: if search and distances name other entries.
    """
    built = match.Gallery.build(list(gallery))

    def searched(found: match.Gallery, shown: Sequence[np.ndarray]) -> list[match.Hits]:
        return [match.search(probe, found, k, l1=l1) for probe in shown]

    def sorted_(shown: Sequence[np.ndarray]) -> list[np.ndarray]:
        every = [match.distances(probe, built, l1=l1).distance[0] for probe in shown]
        return [np.argsort(each, kind="stable")[:k] for each in every]

    contenders = [
        Contender("exhaustive", lambda: sorted_(probes), len(probes)),
        Contender("later", lambda: searched(built, probes), len(probes)),
        Contender("first", searched, 1, prepare=_fresh(built, probes[:1])),
    ]
    times = alternate(contenders, rounds=rounds, label="search", progress=progress)
    _check(times["later"].result, times["exhaustive"].result)
    _check(times["first"].result, times["exhaustive"].result[:1])
    figures: Figures = {"growth/search/gallery": len(gallery), "growth/search/k": k}
    rows: list[tuple[str, ...]] = []
    for name in ("later", "first", "exhaustive"):
        found = ratio(times["exhaustive"], times[name])
        coded = float(np.mean([hits.coded for hits in times[name].result])) if name != "exhaustive" else 1.0
        key = f"growth/search/{name}"
        figures |= {f"{key}/seconds": times[name].median, f"{key}/coded": coded}
        figures |= {} if name == "exhaustive" else outcome.ratio_figures(key, found)
        rows.append((TITLES[name], *outcome.ratio_cells(found), number(times[name].median), number(coded)))
    notes = [
        source,
        f"k = {k} of {len(gallery)} gallery maps, {len(probes)} probes one at a time, multi-scale; the same answer",
    ]
    return Part([Table("Search against all distances", HEADER, rows, notes)], figures)


def _fresh(built: match.Gallery, probes: Sequence[np.ndarray]) -> Callable[[], tuple]:
    """A gallery of the same maps that nobody has searched."""
    return lambda: (match.Gallery.build(list(built.maps)), probes)


def _check(found: Sequence[match.Hits], expected: Sequence[np.ndarray]) -> None:
    for number_, (hits, entries) in enumerate(zip(found, expected, strict=True)):
        if hits.entries.tolist() != entries.tolist():
            raise ValueError(
                f"search and distances differ for probe {number_}: {hits.entries.tolist()} and {entries.tolist()}; "
                "this is a bug of the library, please report it with the maps"
            )
