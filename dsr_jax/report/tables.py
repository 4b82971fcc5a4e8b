"""Tables of numbers with intervals, beside the paper's own where there are any: for the page and for the terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsr_jax.evaluation.intervals import Interval

Plain = Interval | float | int | str | None


class Compared(NamedTuple):
    """A cell of ours beside the number that the paper prints, which is shown smaller and as it is given."""

    ours: Plain
    paper: float | str | None


Cell = Plain | Compared


@dataclass(frozen=True)
class Row:
    """One line of a table; consecutive rows of one `group` stand under its name."""

    label: str
    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table: caption, the heading of the row labels, column headings, rows and whether to mark each best number."""

    caption: str
    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    mark_best: bool = False


class Shown(NamedTuple):
    """A cell as the page shows it: number, interval, the paper's number (empty: none), and whether it is the best."""

    text: str
    ends: str
    paper: str
    best: bool


def text_table(rows: Sequence[Sequence[Cell]], header: Sequence[str]) -> str:
    """An aligned table for the terminal: numbers to the right, text to the left.

    Args:
      rows: cells of each row; an `Interval` prints as `24.2 (17.0-32.0)`, None as `-`, and what is `Compared` has
        the paper's number behind it, as `24.2 [19.33]`.
      header: column headings.

    Raises:
      ValueError: if a row has not as many cells as the header.

    Example:
      >>> print(text_table([["resizing", 9.25], ["DSR", Compared(24.0, 19.33)]], ["method", "rank-1"]))
      method          rank-1
      --------  ------------
      resizing           9.2
      DSR       24.0 [19.33]
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"rows: {list(row)} has {len(row)} cells; the header {list(header)} has {len(header)}.")
    lines = [[str(name) for name in header], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numeric = [bool(rows) and not any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(_aligned, line, widths, numeric)).rstrip() for line in lines)


def context(table: Table) -> dict[str, object]:
    """A table as the template reads it: groups of rows of cells, and what its note has to explain.

    Raises:
      ValueError: if a row has not as many cells as there are columns.
    """
    _check(table)
    best = [max((_value(row.cells[i]) for row in table.rows), default=0.0) for i in range(len(table.columns))]
    groups: list[tuple[str, list[tuple[str, list[Shown]]]]] = []
    for row in table.rows:
        if not groups or groups[-1][0] != row.group:
            groups.append((row.group, []))
        cells = [
            Shown(_shown(cell), _ends(cell, "\N{EN DASH}"), _paper(cell), -math.inf < top == _value(cell))
            for cell, top in zip(row.cells, best, strict=True)
        ]
        groups[-1][1].append((row.label, cells))
    return {
        "table": table,
        "groups": groups,
        "marks": table.mark_best and len(table.rows) > 1,
        "compared": any(_paper(cell) for row in table.rows for cell in row.cells),
    }


def _check(table: Table) -> None:
    for row in table.rows:
        if len(row.cells) != len(table.columns):
            raise ValueError(
                f"tables: row {row.label!r} of {table.caption!r} has {len(row.cells)} cells for "
                f"{len(table.columns)} columns {table.columns}."
            )


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _ours(cell: Cell) -> Plain:
    return cell.ours if isinstance(cell, Compared) else cell


def _paper(cell: Cell) -> str:
    """The paper's number as it prints it, empty where there is none."""
    return str(cell.paper) if isinstance(cell, Compared) and cell.paper is not None else ""


def _number(value: float) -> str:
    """One decimal for measured numbers, all digits for counts."""
    return str(value) if isinstance(value, int | np.integer) else f"{value:.1f}"


def _ends(cell: Cell, dash: str) -> str:
    """The interval of a cell as text, empty where there is none."""
    ours = _ours(cell)
    if not isinstance(ours, Interval) or math.isnan(ours.low):
        return ""
    return f"{ours.low:.1f}{dash}{ours.high:.1f}"


def _text(cell: Cell) -> str:
    """A cell for the terminal."""
    ours, ends, paper = _ours(cell), _ends(cell, "-"), _paper(cell)
    bare = ours.value if isinstance(ours, Interval) else ours
    text = (bare or "-") if bare is None or isinstance(bare, str) else _number(bare)
    return text + (f" ({ends})" if ends else "") + (f" [{paper}]" if paper else "")


def _shown(cell: Cell) -> str:
    """A cell's number or text for the page, without its interval."""
    ours = _ours(cell)
    if isinstance(ours, str):
        return ours
    bare = ours.value if isinstance(ours, Interval) else ours
    return "\N{EN DASH}" if bare is None or math.isnan(bare) else _number(bare).replace("-", "\N{MINUS SIGN}")


def _value(cell: Cell) -> float:
    """The number in a cell, -inf where there is none."""
    ours = _ours(cell)
    number = ours.value if isinstance(ours, Interval) else ours
    return -math.inf if number is None or isinstance(number, str) or math.isnan(number) else float(number)
