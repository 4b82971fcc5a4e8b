"""CSV reader: rows with their line numbers, columns by name, errors that name what a spreadsheet did to the file.

UTF-8 with or without a byte-order mark, commas, any line ends, quotes around commas. Other separators and encodings
are errors that name them. So is a column that is nearly called `camera` where no `camera` is: without its cameras a
data set is another. Columns that are not read make a remark.
"""

import collections
import csv
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data.builders import keys
from data.builders.labels import spelling
from data.builders.listing import SPLIT_OF
from data.source import NOBODY, SPLITS

COLUMNS = ("path", "identity", "camera", "role")
_NEEDED = ("path", "identity", "role")
_HEADER = "the header path,identity,camera,role (camera may be absent)"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", "，": "full-width commas"}  # noqa: RUF001
_UTF8 = "save it as CSV UTF-8 (comma delimited)"
# First bytes of other files called .csv, which look the same in a spreadsheet.
_FOREIGN = {
    b"\xff\xfe": "UTF-16 text, as Excel saves Unicode text",
    b"\xfe\xff": "UTF-16 text",
    b"\x00\x00\xfe\xff": "UTF-32 text",
    b"PK\x03\x04": "an Excel workbook or another zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
}


class Row(NamedTuple):
    """One line of the CSV: `line` is its number in the file, from 1."""

    line: int
    path: str
    identity: str
    camera: str
    role: str


class Table(NamedTuple):
    """The rows of a CSV in order, and remarks on its columns."""

    rows: list[Row]
    remarks: list[str]


def read(content: bytes, *, title: str) -> Table:
    """Reads the CSV.

    Raises:
      ValueError: not text, no rows, missing, repeated or misnamed columns, or a row with an empty or unknown entry.
    """
    text = _text(content, title)
    _check_separator(title, text)
    try:
        lines = list(_cells(text))
    except csv.Error as error:
        raise ValueError(f"{title} is not a CSV ({error})") from error
    if not lines:
        raise ValueError(f"{title} is empty: its first line must be path,identity,camera,role")
    written = lines[0][1]
    header = [spelling(cell).lower() for cell in written]
    _check_header(title, header, written)
    if len(lines) == 1:
        raise ValueError(f"{title} has a header and no rows: add one row per image")
    rows = [_row(title, line, header, cells) for line, cells in lines[1:]]
    return Table(rows, keys.unread(f"columns of {title}", _unread(header, written, lines[1:]), COLUMNS))


def _text(content: bytes, title: str) -> str:
    for head, what in _FOREIGN.items():
        if content.startswith(head):
            raise ValueError(f"{title} is {what}: {_UTF8}")
    if b"\0" in content:
        raise ValueError(f"{title} has zero bytes, as UTF-16 text without a mark has: {_UTF8}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{title} is not UTF-8 text ({error}): {_UTF8}") from error


def _check_separator(title: str, text: str) -> None:
    line = next((line for line in text.splitlines() if line.strip()), "")
    for separator, name in _SEPARATORS.items():
        parts = [spelling(part).strip("\"'").lower() for part in line.split(separator)]
        if line.lower() == f"sep={separator}" or (len(parts) > 1 and set(parts) & set(COLUMNS)):
            raise ValueError(f"{title} is separated by {name}: save it with commas; expected {_HEADER}, found {line}")


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _check_header(title: str, header: Sequence[str], written: Sequence[str]) -> None:
    absent = [name for name in _NEEDED if name not in header]
    if absent:
        others = [cell for cell in written if spelling(cell).lower() not in COLUMNS]
        raise ValueError(
            f"{title} lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}: "
            f"expected {_HEADER}, found {','.join(written)}{keys.hint(absent, others)}"
        )
    repeated = [name for name, count in collections.Counter(header).items() if name and count > 1]
    if repeated:
        raise ValueError(f"{title} has the column {repeated[0]} twice: which one is meant? Delete or rename the other")
    cameras = [cell for cell in written if keys.meaning(cell) == "camera"]
    if "camera" not in header and cameras:
        raise ValueError(
            f"{title} has the column {cameras[0]} and no column camera: rename it to camera, or, if it does not say "
            "which camera took the picture, to something else"
        )


def _unread(header: Sequence[str], written: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]]) -> list[str]:
    """The columns that are not read; those without a name by their number, if they hold anything."""
    names = []
    for at, name in enumerate(header):
        if not name and any(at < len(cells) and cells[at] for _, cells in lines):
            names.append(f"number {at + 1} (without a name)")
        elif name and name not in COLUMNS:
            names.append(written[at])
    return names


def _row(title: str, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"{title}, line {line}: {len(cells)} entries for {len(header)} columns: {','.join(cells)}")
    entry = dict(zip(header, cells, strict=True))
    if broken := next((name for name in COLUMNS if len(entry.get(name, "").splitlines()) > 1), None):
        raise ValueError(
            f"{title}, line {line}: the {broken} goes over several lines, {entry[broken][:60]!r}: a quote before it is "
            "not closed, or not meant as one"
        )
    row = Row(line, entry["path"], entry["identity"], entry.get("camera", ""), SPLIT_OF.get(entry["role"].lower(), "?"))
    if row.role not in SPLITS:
        raise ValueError(f"{title}, line {line}: role {entry['role']!r} must be one of {', '.join(SPLITS)}")
    if not row.path or not row.identity:
        raise ValueError(f"{title}, line {line}: path and identity must not be empty ({NOBODY} is nobody)")
    return row
