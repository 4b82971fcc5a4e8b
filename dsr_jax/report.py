"""The page an evaluation leaves behind: tables with intervals, CMC curves (Fig. 8, 9, 13), ranked lists (Fig. 12).

`write_evaluation` fills one folder with `index.html`, the curves as SVG and the pictures as JPEG. The page opens from
disk and asks the network for nothing. Curves and pictures are named by their content and the page is replaced last,
so that a reader of an older page, or a run that is killed, never sees a mixture. `text_table` is the same table for
the terminal.
"""

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dsr_jax import curves as drawing
from dsr_jax.curves import Plot
from dsr_jax.metrics import Interval

Cell = Interval | float | int | str | None

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PICTURE_HEIGHT = 384  # pixels; twice the height shown, for dense screens


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


@dataclass(frozen=True)
class Hit:
    """One gallery entry of a ranked list: (H, W, 3) uint8 picture, who it is, how far, and whether it is right."""

    image: NDArray[np.uint8]
    identity: int
    distance: float
    right: bool


@dataclass(frozen=True)
class RankedList:
    """A probe and the nearest gallery entries in order; `first_hit` is the 0-based place of the first right one."""

    title: str
    probe: NDArray[np.uint8]
    identity: int
    hits: tuple[Hit, ...]
    first_hit: int = -1


def write_evaluation(
    folder: str | os.PathLike,
    *,
    title: str,
    tables: Sequence[Table],
    curves: Sequence[Plot],
    ranked: Sequence[RankedList],
    config: Mapping[str, object],
    summary: str = "",
) -> Path:
    """Writes the page of an evaluation.

    Args:
        folder: where to; made if missing. Curves and pictures of an older page in it are removed.
        title: heading of the page.
        tables: figures per method.
        curves: CMC plots.
        ranked: probes with their nearest gallery pictures.
        config: name and value of everything that decided the run.
        summary: a sentence or two under the heading.

    Returns:
        Path of `index.html`.

    Raises:
        ValueError: if a row has not as many cells as there are columns, or a picture is not (H, W, 3) uint8.

    Example:
        >>> table = Table("Rank-k in per cent", "method", ("rank-1",), (Row("DSR", (Interval(24.2, 17.0, 32.0),)),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_evaluation(folder, title="Run", tables=[table], curves=[], ranked=[], config={"seed": 0})
        ...     page.name, "24.2" in page.read_text()
        ('index.html', True)
    """
    for table in tables:
        _check_table(table)
    files: dict[str, bytes] = {}
    page = _TEMPLATES.get_template("report.html").render(
        title=title,
        summary=summary,
        tables=[_table_context(table) for table in tables],
        plots=[_plot_context(plot, f"plot-{i}-", files) for i, plot in enumerate(curves)],
        ranked=[_ranked_context(entry, files) for entry in ranked],
        config=[(name, _plain(value)) for name, value in config.items()],
        palette=list(zip(drawing.LIGHT, drawing.DARK, strict=True)),
    )
    return _replace_files(Path(folder), files, page)


def text_table(rows: Sequence[Sequence[Cell]], header: Sequence[str]) -> str:
    """An aligned table for the terminal: numbers to the right, text to the left.

    Args:
        rows: cells of each row; an `Interval` prints as `24.2 (17.0-32.0)`, None as `-`.
        header: column headings.

    Returns:
        The lines, joined, without a final newline.

    Raises:
        ValueError: if a row has not as many cells as the header.

    Example:
        >>> print(text_table([["resizing", 9.25], ["DSR", 24.0]], ["method", "rank-1"]))
        method    rank-1
        --------  ------
        resizing     9.2
        DSR         24.0
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"rows: {list(row)} has {len(row)} cells; the header {list(header)} has {len(header)}.")
    lines = [[str(name) for name in header], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numeric = [bool(rows) and not any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(_aligned, line, widths, numeric)).rstrip() for line in lines)


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _number(value: float) -> str:
    """One decimal for measured numbers, all digits for counts."""
    return str(value) if isinstance(value, int | np.integer) else f"{value:.1f}"


def _ends(cell: Cell, dash: str) -> str:
    """The interval of a cell as text, empty where there is none."""
    if not isinstance(cell, Interval) or math.isnan(cell.low):
        return ""
    return f"{cell.low:.1f}{dash}{cell.high:.1f}"


def _text(cell: Cell) -> str:
    """A cell for the terminal."""
    if cell is None or isinstance(cell, str):
        return cell or "-"
    if isinstance(cell, Interval):
        return f"{cell.value:.1f} ({ends})" if (ends := _ends(cell, "-")) else f"{cell.value:.1f}"
    return _number(cell)


def _shown(cell: Cell) -> str:
    """A cell's number or text for the page, without its interval."""
    if isinstance(cell, str):
        return cell
    bare = cell.value if isinstance(cell, Interval) else cell
    return "\N{EN DASH}" if bare is None or math.isnan(bare) else _number(bare).replace("-", "\N{MINUS SIGN}")


def _value(cell: Cell) -> float:
    """The number in a cell, -inf where there is none."""
    number = cell.value if isinstance(cell, Interval) else cell
    return -math.inf if number is None or isinstance(number, str) or math.isnan(number) else float(number)


def _check_table(table: Table) -> None:
    for row in table.rows:
        if len(row.cells) != len(table.columns):
            raise ValueError(
                f"tables: row {row.label!r} of {table.caption!r} has {len(row.cells)} cells for "
                f"{len(table.columns)} columns {table.columns}."
            )


def _table_context(table: Table) -> dict[str, object]:
    """A table as the template reads it: groups of rows of (text, interval, best)."""
    best = [max((_value(row.cells[i]) for row in table.rows), default=0.0) for i in range(len(table.columns))]
    groups: list[tuple[str, list[tuple[str, list[tuple[str, str, bool]]]]]] = []
    for row in table.rows:
        if not groups or groups[-1][0] != row.group:
            groups.append((row.group, []))
        cells = [
            (_shown(cell), _ends(cell, "\N{EN DASH}"), table.mark_best and -math.inf < top == _value(cell))
            for cell, top in zip(row.cells, best, strict=True)
        ]
        groups[-1][1].append((row.label, cells))
    return {"table": table, "groups": groups, "marks": table.mark_best and len(table.rows) > 1}


def _plot_context(plot: Plot, prefix: str, files: dict[str, bytes]) -> dict[str, object]:
    """Draws a plot, once as a file and once for the page, where its colours follow the reader's theme."""
    svg = drawing.draw(plot)
    name = _store(files, "curves", "svg", drawing.for_paper(svg).encode())
    return {
        "plot": plot,
        "svg": Markup(drawing.for_page(svg, prefix=prefix)),
        "file": name,
        "spoken": drawing.describe(plot),
    }


def _ranked_context(entry: RankedList, files: dict[str, bytes]) -> dict[str, object]:
    hits = [(hit, _picture(hit.image, files)) for hit in entry.hits]
    return {"entry": entry, "probe": _picture(entry.probe, files), "hits": hits}


def _picture(image: ArrayLike, files: dict[str, bytes]) -> dict[str, object]:
    """Stores a picture as JPEG, made smaller if it is large, and returns its file and size."""
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"ranked: a picture is {pixels.shape} {pixels.dtype}; it must be (H, W, 3) uint8.")
    picture = Image.fromarray(pixels)
    picture.thumbnail((4 * _PICTURE_HEIGHT, _PICTURE_HEIGHT))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return {
        "file": _store(files, "picture", "jpg", buffer.getvalue()),
        "width": picture.width,
        "height": picture.height,
    }


def _store(files: dict[str, bytes], kind: str, suffix: str, content: bytes) -> str:
    """Adds a file named by its content."""
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
    files[name] = content
    return name


def _plain(value: object) -> str:
    """A configuration value as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _replace_files(folder: Path, files: Mapping[str, bytes], page: str) -> Path:
    """Writes everything beside the folder's files first, then moves it in, the page last."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        staging = Path(name)
        for file, content in {**files, "index.html": page.encode()}.items():
            (staging / file).write_bytes(content)
        for file in [*files, "index.html"]:
            (staging / file).replace(folder / file)
    for old in [*folder.glob("curves-*.svg"), *folder.glob("picture-*.jpg")]:
        if old.name not in files:
            old.unlink()
    return folder / "index.html"
