"""What an evaluation shows: the tables in the terminal, and the page.

The tables are made from the flat metrics of `metrics.json`, so that a run which has finished can print them again.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsr_jax import metrics, report
from dsr_jax.evaluation import histogram, intervals, verification
from dsr_jax.parallel import hosts
from dsr_jax.report import curves
from dsr_jax.shortlist import BEYOND
from experiments import difference
from experiments.evaluation import comparison, methods, paper

RANKING = (*(f"rank{k}" for k in metrics.RANKS), "mAP")
VERIFICATION = ("mINP", "EER", *(f"TPR@{fpr:g}" for fpr in comparison.FPRS))
NOTE = "Under each number its 95 % interval by bootstrap over identities."
PAPER = " The paper's network and training are others."


def flat(results: Sequence[comparison.Result]) -> dict[str, Any]:
    """ "<key>/<figure>" with `_low` and `_high`: value and interval, null where there is none; and counts."""
    figures = {
        f"{result.key}/{name}{end}": None if math.isnan(value) else value
        for result in results
        for name, interval in result.figures.items()
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }
    counts = {f"{result.key}/{name}": count for result in results for name, count in result.counts.items()}
    rest = {
        f"{result.key}/{name}": value
        for result in results
        if result.reliance
        for name, value in result.reliance.counts.items()
    }
    return figures | counts | rest


def rows(figures: Mapping[str, Any], columns: Sequence[str] = RANKING) -> dict[str, tuple[intervals.Interval, ...]]:
    """The intervals of some columns for every "<label>/<method>/shots<N>" of flat metrics: `flat` undone.

    Example:
      >>> figures = {"dsr/shots1/rank1": 25.0, "dsr/shots1/rank1_low": 20.0, "dsr/shots1/rank1_high": 30.0}
      >>> rows(figures, ["rank1"])["dsr/shots1"]
      (Interval(value=25.0, low=20.0, high=30.0),)
    """
    keys = [name.removesuffix("/rank1") for name in figures if name.endswith("/rank1")]
    return {key: tuple(_interval(figures, f"{key}/{column}") for column in columns) for key in keys}


def text(figures: Mapping[str, Any], *, dataset: str = "") -> str:
    """The tables of flat metrics for the terminal, with the paper's figures where the data set is the paper's."""
    return "\n\n".join(
        report.text_table(
            [(key, *_beside(key, columns, cells, dataset)) for key, cells in rows(figures, columns).items()],
            ["method", *columns],
        )
        for columns in (RANKING, VERIFICATION)
    )


def paired(results: Sequence[comparison.Result], champion: str) -> report.Table:
    """One method minus every other on the same probes and draws, with interval and p-values."""
    lines = [
        report.Row(
            f"{champion} - {rival.method}",
            difference.cells(result.per_probe, rival.per_probe, result.identities),
            _condition(result.key),
        )
        for result in results
        if result.method == champion
        for rival in result.rivals(results)
    ]
    return report.Table(
        f"{champion} against the others, probe by probe",
        "difference",
        difference.COLUMNS,
        tuple(lines),
        note="Paired on the same probes and draws; 95 % interval and two-sided p-value by bootstrap over identities.",
    )


def paired_text(results: Sequence[comparison.Result], champion: str) -> str:
    """The same for the terminal."""
    table = paired(results, champion)
    rows = [(f"{row.label} ({row.group})", *row.cells) for row in table.rows]
    return report.text_table(rows, ["paired", *table.columns]) if rows else ""


def write(
    folder: Path,
    results: Sequence[comparison.Result],
    *,
    title: str,
    caption: str,
    summary: str,
    config: Mapping[str, Any],
    ranked: Sequence[report.RankedList] = (),
    reconstructions: Sequence[report.Reconstruction] = (),
    plots: Sequence[curves.Plot] = (),
    champion: str = "",
    dataset: str = "",
) -> Path:
    """Writes `index.html` and what it shows into a folder; returns its path. Of several processes the first does it.

    ``plots`` take the place of CMC, ROC and histograms, of which a sweep would have too many.
    """
    if not hosts.first():
        return folder / "index.html"
    figures = flat(results)
    tables = [
        _table(figures, RANKING, f"{caption}: rank-k and mAP in per cent", dataset),
        _table(
            figures, VERIFICATION, "Verification: equal error rate, true positives at a false-positive rate", dataset
        ),
    ]
    if champion and (against := paired(results, champion)).rows:
        tables.append(against)
    remarks = [f"{result.key}: {remark}." for result in results for remark in result.remarks]
    return report.write_evaluation(
        folder,
        title=title,
        summary=" ".join([summary, *remarks]),
        tables=tables,
        curves=plots or _curves(results),
        distances=[] if plots else [_histogram(result) for result in results if result.verifiable],
        ranked=ranked,
        reconstructions=reconstructions,
        config=config,
    )


def _table(figures: Mapping[str, Any], columns: Sequence[str], caption: str, dataset: str) -> report.Table:
    lines = tuple(
        report.Row(key.split("/")[-2], _beside(key, columns, cells, dataset), _condition(key))
        for key, cells in rows(figures, columns).items()
    )
    compared = any(isinstance(cell, report.Compared) for row in lines for cell in row.cells)
    return report.Table(caption, "method", tuple(columns), lines, note=NOTE + (PAPER if compared else ""))


def _condition(key: str) -> str:
    """What a row of the page stands under: the network's condition and the shots."""
    *label, _, shots = key.split("/")
    return ", ".join([*label, comparison.described(_shots(shots))])


def _shots(condition: str) -> int:
    """`comparison.condition` undone."""
    return comparison.WHOLE if condition == "whole" else int(condition.removeprefix("shots"))


def _beside(
    key: str, columns: Sequence[str], cells: Sequence[intervals.Interval], dataset: str
) -> tuple[report.Cell, ...]:
    """The cells of a row, with what the paper prints where it prints something."""
    *_, method, shots = key.split("/")
    whose = methods.untopped(method)
    printed = [paper.figure(dataset, whose, _shots(shots), column) for column in columns]
    return tuple(
        cell if number is None else report.Compared(cell, number) for cell, number in zip(cells, printed, strict=True)
    )


def _curves(results: Sequence[comparison.Result]) -> list[curves.Plot]:
    """CMC and ROC of all methods, one plot per number of shots."""
    plots = []
    for shots in dict.fromkeys(result.shots for result in results):
        chosen = [result for result in results if result.shots == shots]
        plots.append(curves.Plot(f"CMC, {comparison.described(shots)}", tuple(_cmc(result) for result in chosen)))
        plotted = tuple(_roc(result) for result in chosen if result.verifiable)
        if plotted:
            plots.append(curves.Plot(f"ROC, {comparison.described(shots)}", plotted, curves.ROC))
    return plots


def _cmc(result: comparison.Result) -> curves.Curve:
    """The CMC of a method, mean over trials."""
    ranks = range(1, max(metrics.RANKS) + 1)
    each = [score.cmc(ranks) for score in result.scores]
    return curves.Curve(result.method, tuple(float(np.mean([found[k] for found in each])) for k in ranks), result.label)


def _roc(result: comparison.Result) -> curves.Curve:
    curve = verification.roc(result.pairs).thinned()
    seen = curve.false_positive_rate > 0
    true, false = (100 * rate[seen] for rate in (curve.true_positive_rate, curve.false_positive_rate))
    return curves.Curve(result.method, tuple(true.tolist()), result.label, places=tuple(false.tolist()))


def _histogram(result: comparison.Result) -> report.DistancePlot:
    curve, found = verification.roc(result.pairs), histogram.histogram(result.pairs)
    thresholds = [
        (f"equal error {100 * curve.equal_error_rate:.1f} %", float(curve.equal_error_threshold)),
        ("1 % false positives", curve.threshold_at(0.01)),
    ]
    beyond = f"{result.key}; from {BEYOND:g} on pooled distances, not coded" if result.shortlist else result.key
    return report.DistancePlot(beyond, *found, tuple((label, at) for label, at in thresholds if math.isfinite(at)))


def _interval(figures: Mapping[str, Any], name: str) -> intervals.Interval:
    found = (figures.get(name + end) for end in ("", "_low", "_high"))
    return intervals.Interval(*(math.nan if value is None else float(value) for value in found))
