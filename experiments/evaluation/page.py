"""Page and tables of an evaluation: results as text for the terminal, `metrics.json` and `report/index.html`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import metrics, report
from dsr_jax.evaluation import histogram, verification
from dsr_jax.parallel import hosts
from dsr_jax.report import curves
from dsr_jax.shortlist import BEYOND
from experiments.evaluation import comparison, paired, paper
from experiments.evaluation.comparison import Result
from experiments.evaluation.methods import Method

RANKING = (*(f"rank{k}" for k in metrics.RANKS), "mAP")
VERIFICATION = ("mINP", "EER", *(f"TPR@{fpr:g}" for fpr in comparison.FPRS))
NOTE = "Under each number its 95 % interval by bootstrap over identities."
PAPER = " The paper's network and training are others."


class Part(NamedTuple):
    """A part of the page beside the figures of all methods: a table, and what belongs to it."""

    table: report.Table
    metrics: dict[str, Any]  # for `metrics.json`
    plots: tuple[curves.Plot, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The table for the terminal."""
        rows = [(" ".join(filter(None, (row.label, row.group))), *row.cells) for row in self.table.rows]
        return report.text_table(rows, [self.table.heading, *self.table.columns])


def flat(results: Sequence[Result]) -> dict[str, Any]:
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


def caption(selected: str, conditions: Sequence[int], trials: int, varied: str = "") -> str:
    """What was compared, for the head of a table.

    Args:
      varied: the flag that stands without a value.
    """
    draws = "--trials varied" if varied == "trials" else f"mean of {trials} draws"
    return selected + f", {draws}" * any(shots != comparison.WHOLE for shots in conditions)


def text(results: Sequence[Result], *, dataset: str = "") -> str:
    """The tables for the terminal, with the paper's figures where the data set is the paper's."""
    return "\n\n".join(
        report.text_table([(result.key, *_cells(result, columns, dataset)) for result in results], ["method", *columns])
        for columns in (RANKING, VERIFICATION)
    )


def against(results: Sequence[Result], champion: Method) -> report.Table:
    """One method minus every other on the same probes and draws, with interval and p-values."""
    lines = [
        report.Row(
            f"{champion.title} - {rival.method.title}",
            paired.cells(result.per_probe, rival.per_probe, result.identities),
            _condition(result),
        )
        for result in results
        if result.method.title == champion.title
        for rival in result.rivals(results)
    ]
    return report.Table(
        f"{champion.title} against the others, probe by probe",
        "difference",
        paired.COLUMNS,
        tuple(lines),
        note="Paired on the same probes and draws; 95 % interval and two-sided p-value by bootstrap over identities.",
    )


def against_text(results: Sequence[Result], champion: Method) -> str:
    """The same for the terminal."""
    table = against(results, champion)
    rows = [(f"{row.label} ({row.group})", *row.cells) for row in table.rows]
    return report.text_table(rows, ["paired", *table.columns]) if rows else ""


def change_text(results: Sequence[Result]) -> str:
    """The last network minus the first, probe by probe, for the terminal; nothing where there is one network."""
    first, last = results[0].label, results[-1].label
    if first == last:
        return ""
    before, after = (
        {comparison.key("", one.method, one.shots): one.per_probe for one in results if one.label == label}
        for label in (first, last)
    )
    return paired.table(after, before, results[0].identities, title=f"{last} minus {first}")


def write(
    folder: Path,
    results: Sequence[Result],
    *,
    title: str,
    caption: str,
    summary: str,
    config: Mapping[str, Any],
    ranked: Sequence[report.RankedList] = (),
    reconstructions: Sequence[report.Reconstruction] = (),
    plots: Sequence[curves.Plot] = (),
    champion: Method | None = None,
    parts: Sequence[Part] = (),
    dataset: str = "",
) -> Path:
    """Writes `index.html` and what it shows into a folder; returns its path. Of several processes the first does it.

    ``plots`` take the place of CMC, ROC and histograms, of which a sweep would have too many.
    """
    if not hosts.first():
        return folder / "index.html"
    verified = "Verification: equal error rate, true positives at a false-positive rate"
    tables = [
        _table(results, RANKING, f"{caption}: rank-k and mAP in per cent", dataset),
        _table(results, VERIFICATION, verified, dataset),
    ]
    if champion and (table := against(results, champion)).rows:
        tables.append(table)
    tables += [part.table for part in parts]
    remarks = [f"{result.key}: {remark}." for result in results for remark in result.remarks]
    return report.write_evaluation(
        folder,
        title=title,
        summary=" ".join([summary, *remarks]),
        tables=tables,
        curves=plots or [*_curves(results), *(plot for part in parts for plot in part.plots)],
        distances=[] if plots else [_histogram(result) for result in results if result.verifiable],
        ranked=ranked,
        reconstructions=reconstructions,
        config=config,
    )


def _table(results: Sequence[Result], columns: Sequence[str], caption: str, dataset: str) -> report.Table:
    lines = tuple(
        report.Row(result.method.title, _cells(result, columns, dataset), _condition(result)) for result in results
    )
    compared = any(isinstance(cell, report.Compared) for row in lines for cell in row.cells)
    return report.Table(caption, "method", tuple(columns), lines, note=NOTE + (PAPER if compared else ""))


def _condition(result: Result) -> str:
    """What a row of the page stands under: the network's condition and the shots."""
    return ", ".join(part for part in (result.label, comparison.described(result.shots)) if part)


def _cells(result: Result, columns: Sequence[str], dataset: str) -> tuple[report.Cell, ...]:
    """The cells of a row, with what the paper prints where it prints something."""
    cells = [result.figures[column] for column in columns]
    if result.method.reranked:
        return tuple(cells)
    printed = [paper.figure(dataset, result.method.name, result.shots, column) for column in columns]
    return tuple(
        cell if number is None else report.Compared(cell, number) for cell, number in zip(cells, printed, strict=True)
    )


def _curves(results: Sequence[Result]) -> list[curves.Plot]:
    """CMC and ROC of all methods, one plot per number of shots."""
    plots = []
    for shots in dict.fromkeys(result.shots for result in results):
        chosen = [result for result in results if result.shots == shots]
        plots.append(curves.Plot(f"CMC, {comparison.described(shots)}", tuple(_cmc(result) for result in chosen)))
        plotted = tuple(_roc(result) for result in chosen if result.verifiable)
        if plotted:
            plots.append(curves.Plot(f"ROC, {comparison.described(shots)}", plotted, curves.ROC))
    return plots


def _cmc(result: Result) -> curves.Curve:
    """The CMC of a method, mean over trials."""
    ranks = range(1, max(metrics.RANKS) + 1)
    each = [score.cmc(ranks) for score in result.scores]
    return curves.Curve(
        result.method.title, tuple(float(np.mean([found[k] for found in each])) for k in ranks), result.label
    )


def _roc(result: Result) -> curves.Curve:
    curve = verification.roc(result.pairs).thinned()
    seen = curve.false_positive_rate > 0
    true, false = (100 * rate[seen] for rate in (curve.true_positive_rate, curve.false_positive_rate))
    return curves.Curve(result.method.title, tuple(true.tolist()), result.label, places=tuple(false.tolist()))


def _histogram(result: Result) -> report.DistancePlot:
    curve, found = verification.roc(result.pairs), histogram.histogram(result.pairs)
    thresholds = [
        (f"equal error {100 * curve.equal_error_rate:.1f} %", float(curve.equal_error_threshold)),
        ("1 % false positives", curve.threshold_at(0.01)),
    ]
    beyond = f"{result.key}; from {BEYOND:g} on coarse distances, not coded" if result.method.shortlist else result.key
    return report.DistancePlot(beyond, *found, tuple((label, at) for label, at in thresholds if math.isfinite(at)))
