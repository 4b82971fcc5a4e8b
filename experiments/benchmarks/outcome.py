"""Results of a part of the benchmark: tables of values for people, figures for programs; text is made here alone."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.benchmarks.alternating import Ratio, Spread

Cell = str | int | float | Spread | None
Figures = dict[str, float | int | str | Ratio]


class Table(NamedTuple):
    """A title, the columns' names, rows of values (None: there is none), and what a reader must know beside it."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    notes: Sequence[str]

    def text(self) -> str:
        """For the terminal: numbers to the right, the first column to the left."""
        rows = [self.header, *(tuple(map(_text, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join([self.title, "", *lines, "", *(f"  {note}" for note in self.notes)]) + "\n"


class Part(NamedTuple):
    """What a part measured."""

    tables: list[Table]
    figures: Figures  # keys are "<part>/<what>/<contender>/<figure>"; of a ratio "<part>/<what>/<contender>"

    def flat(self) -> dict[str, float | int | str]:
        """The figures for `speed.json`: a ratio becomes four numbers."""
        flat: dict[str, float | int | str] = {}
        for key, value in self.figures.items():
            if isinstance(value, Ratio):
                names = ("ratio", "ratio_low", "ratio_high", "ratio_of_medians")
                numbers = (*value.rounds, value.of_medians)
                flat |= {f"{key}/{name}": number for name, number in zip(names, numbers, strict=True)}
            else:
                flat[key] = value
        return flat


def cells(ratio: Ratio) -> tuple[Spread, float]:
    """A ratio in the two columns "x / y (range)" and "of medians"."""
    return ratio.rounds, ratio.of_medians


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


def _text(cell: Cell) -> str:
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, Spread):
        return f"{number(cell.median)} ({number(cell.low)} - {number(cell.high)})"
    if isinstance(cell, int):
        return f"{cell:,}"
    return number(cell) if isinstance(cell, float) else cell
