"""What a part of the benchmark leaves: tables for people, flat figures for programs."""

from typing import NamedTuple

from dsr_jax import report
from experiments.benchmarks.alternating import Ratio

Figures = dict[str, float | int | str]


class Table(NamedTuple):
    """A title, the columns' names, rows of text, and what a reader must know beside it."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]

    def text(self) -> str:
        """For the terminal: numbers to the right, the first column to the left."""
        rows = [(name, *map(_unpadded, cells)) for name, *cells in self.rows]
        lines = [self.title, "", report.text_table(_right(rows, self.header), self.header), ""]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)]) + "\n"


class Part(NamedTuple):
    """Tables and figures; keys of figures are "<part>/<what>/<contender>/<figure>"."""

    tables: list[Table]
    figures: Figures


def ratio_cells(ratio: Ratio) -> tuple[str, str, str]:
    """Median, range over the rounds and ratio of the medians."""
    return number(ratio.median), f"{number(ratio.low)} - {number(ratio.high)}", number(ratio.of_medians)


def ratio_figures(key: str, ratio: Ratio) -> Figures:
    """The same for programs."""
    return {
        f"{key}/ratio": ratio.median,
        f"{key}/ratio_low": ratio.low,
        f"{key}/ratio_high": ratio.high,
        f"{key}/ratio_of_medians": ratio.of_medians,
    }


def number(value: float) -> str:
    """Three digits that count, thousands separated.

    Example:
      >>> [number(v) for v in (0.01234, 1.049, 23.45, 171234.0, 0.0)]
      ['0.0123', '1.05', '23.4', '171,000', '0']
    """
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def _unpadded(cell: str) -> str:
    return cell.strip() or "-"


def _right(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Cells padded on the left: text columns of `report.text_table` are aligned to the left."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return [(row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))) for row in rows]
