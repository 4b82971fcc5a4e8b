"""Part `growth`, search: the k nearest of thousands by `match.search`, and by all distances, sorted; same answer.

Three ways: the first search of a gallery that has just been built, later searches (which reuse its Gram matrices),
and `match.distances` on a gallery that has been searched before. Every answer is compared with the sorted distances,
entry by entry; another one stops the benchmark.
"""

from collections.abc import Sequence

import numpy as np

from dsr_jax import match
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, Turns, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table

HEADER = ("way", "all distances / this (range)", "of medians", "s / probe", "share coded")
TITLES = {"first": "search, the gallery's first", "later": "search, later ones", "exhaustive": "distances, sorted"}


def run(
    probes: Sequence[np.ndarray], gallery: Sequence[np.ndarray], *, k: int, l1: float, turns: Turns, source: str
) -> Part:
    """Times the three ways for these probes, one at a time, on multi-scale blocks."""
    built = match.Gallery.build(list(gallery))

    def search(searched: match.Gallery, shown: Sequence[np.ndarray]) -> list[match.Hits]:
        return [match.search(probe, searched, k, l1=l1) for probe in shown]

    def sorted_(shown: Sequence[np.ndarray]) -> list[np.ndarray]:
        every = [match.distances(probe, built, l1=l1).distance[0] for probe in shown]
        return [np.argsort(each, kind="stable")[:k] for each in every]

    contenders = [
        Contender("exhaustive", lambda: sorted_(probes), len(probes)),
        Contender("later", lambda: search(built, probes), len(probes)),
        Contender("first", search, 1, prepare=lambda: (match.Gallery.build(list(built.maps)), probes[:1])),
    ]
    times = alternate(contenders, turns, label="search")
    _check(times["later"].result, times["exhaustive"].result)
    _check(times["first"].result, times["exhaustive"].result[:1])
    figures: Figures = {"growth/search/gallery": len(gallery), "growth/search/k": k}
    rows: list[tuple[outcome.Cell, ...]] = []
    for name in ("later", "first", "exhaustive"):
        against, key = ratio(times["exhaustive"], times[name]), f"growth/search/{name}"
        coded = float(np.mean([hits.coded for hits in times[name].result])) if name != "exhaustive" else 1.0
        figures |= {f"{key}/seconds": times[name].median, f"{key}/coded": coded}
        if name != "exhaustive":
            figures[key] = against
        rows.append((TITLES[name], *outcome.cells(against), times[name].median, coded))
    notes = [
        source,
        f"k = {k} of {len(gallery)} gallery maps, {len(probes)} probes one at a time, multi-scale; the same answer",
    ]
    return Part([Table("Search against all distances", HEADER, rows, notes)], figures)


def _check(answers: Sequence[match.Hits], expected: Sequence[np.ndarray]) -> None:
    for number, (hits, entries) in enumerate(zip(answers, expected, strict=True)):
        if hits.entries.tolist() != entries.tolist():
            raise ValueError(
                f"search and distances differ for probe {number}: {hits.entries.tolist()} and {entries.tolist()}; "
                "this is a bug of the library, please report it with the maps"
            )
