"""What an evaluation shows: the table in the terminal, and the page with tables, CMC curves and ranked lists.

The table is made from the flat metrics of `metrics.json`, so that a run which has finished can print it again.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsr_jax import metrics, protocols, report
from dsr_jax.curves import Curve, Plot
from experiments import comparison, pictures

COLUMNS = (*(f"rank{k}" for k in metrics.RANKS), "mAP")
SHOWN = 10  # gallery images of a ranked list


def flat(results: Mapping[str, Mapping[str, metrics.Interval]]) -> dict[str, Any]:
    """ "<key>/<figure>" with `_low` and `_high`: value and interval; null where there is none."""
    return {
        f"{key}/{figure}{end}": None if math.isnan(value) else value
        for key, figures in results.items()
        for figure, interval in figures.items()
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }


def rows(figures: Mapping[str, Any]) -> dict[str, tuple[metrics.Interval, ...]]:
    """The intervals of `COLUMNS` for every "<label>/<method>/shots<N>" of flat metrics: `flat` undone.

    Example:
      >>> from dsr_jax import metrics
      >>> results = {"resizing/shots1": {name: metrics.Interval(25.0, 20.0, 30.0) for name in COLUMNS}}
      >>> rows(flat(results))["resizing/shots1"][0]
      Interval(value=25.0, low=20.0, high=30.0)
    """
    keys = [name.removesuffix("/rank1") for name in figures if name.endswith("/rank1")]
    return {key: tuple(_interval(figures, f"{key}/{column}") for column in COLUMNS) for key in keys}


def text(figures: Mapping[str, Any]) -> str:
    """The table of flat metrics for the terminal."""
    return report.text_table([(key, *cells) for key, cells in rows(figures).items()], ["method", *COLUMNS])


def curve(name: str, label: str, scores: Sequence[metrics.Scores]) -> Curve:
    """The CMC of a method, mean over trials."""
    ranks = range(1, max(metrics.RANKS) + 1)
    each = [score.cmc(ranks) for score in scores]
    return Curve(name, tuple(float(np.mean([found[k] for found in each])) for k in ranks), label)


def ranked_lists(
    name: str,
    method: comparison.Method,
    maps: comparison.Sides,
    probes: pictures.Images,
    gallery: pictures.Images,
    trial: protocols.Trial,
    *,
    count: int,
    seed: int,
) -> list[report.RankedList]:
    """Some probes of a single-shot trial, drawn by ``seed``, with their nearest gallery images by one method."""
    chosen = trial.probes[np.random.default_rng(seed).permutation(len(trial.probes))[:count]]
    if not len(chosen):
        return []
    images = np.concatenate(trial.draw.images)
    distances = method(maps, chosen, [[g] for g in images.tolist()])
    return [_ranked_list(name, int(p), images, row, probes, gallery) for p, row in zip(chosen, distances, strict=True)]


def write(
    folder: Path,
    figures: Mapping[str, Any],
    curves: Mapping[str, Sequence[Curve]],
    ranked: Sequence[report.RankedList],
    *,
    title: str,
    caption: str,
    summary: str,
    config: Mapping[str, Any],
) -> Path:
    """Writes `index.html` and what it shows into a folder; returns its path."""
    table = report.Table(
        caption,
        "method",
        COLUMNS,
        tuple(report.Row(key, cells) for key, cells in rows(figures).items()),
        note="In brackets the 95 % interval by bootstrap over identities.",
    )
    plots = [Plot(f"CMC, {name}", tuple(lines)) for name, lines in curves.items()]
    return report.write_evaluation(
        folder, title=title, summary=summary, tables=[table], curves=plots, ranked=ranked, config=config
    )


def _interval(figures: Mapping[str, Any], name: str) -> metrics.Interval:
    found = (figures.get(name + end) for end in ("", "_low", "_high"))
    return metrics.Interval(*(math.nan if value is None else float(value) for value in found))


def _ranked_list(
    name: str, probe: int, images: np.ndarray, row: np.ndarray, probes: pictures.Images, gallery: pictures.Images
) -> report.RankedList:
    identity = int(probes.identities[probe])
    order = np.argsort(row, kind="stable")
    right = gallery.identities[images[order]] == identity
    hits = tuple(
        report.Hit(gallery.pictures[g], int(gallery.identities[g]), float(row[column]), bool(mark))
        for column, g, mark in zip(order[:SHOWN], images[order[:SHOWN]], right[:SHOWN], strict=True)
    )
    first = int(np.argmax(right)) if right.any() else -1
    return report.RankedList(f"{probes.names[probe]} by {name}", probes.pictures[probe], identity, hits, first)
