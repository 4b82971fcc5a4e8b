"""One's own pictures: a CSV with the columns `path,identity,camera,role`.

A row is one picture: where it lies (relative to the CSV), who it shows, which camera took it (the column may be
absent: -1, unknown) and what it is for: `train`, `probe` or `gallery`. Identities and cameras that are integers stay
what they are; other labels get consecutive numbers in sorted order, and the numbering is stored with the data set.
Identity -1 is nobody: junk, which no evaluation counts. A distractor, which stays in the gallery as a wrong answer,
needs an identity that no probe has. A folder or archive may be given that holds one CSV and, relative to it, the
pictures.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data.archive import is_archive
from data.builder import Builder
from data.layout import layout_error
from data.listing import Listing, Record
from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA
from data.tree import Tree, gathered, opened

EXPECTED = """\
people.csv                     the source, or folder or archive of all
  path,identity,camera,role    its first line
  probes/a.jpg,1,0,probe
  gallery/b.jpg,1,1,gallery
probes/a.jpg                   paths are relative
gallery/b.jpg                  to the CSV"""

_NEEDED = ("path", "identity", "role")


class Row(NamedTuple):
    """One line of the CSV: `line` is its number in the file, from 1."""

    line: int
    path: str
    identity: str
    camera: str
    role: str


def rows(content: bytes, *, table: str) -> list[Row]:
    """Reads the CSV: UTF-8 with or without a byte-order mark, any line ends, quotes around commas.

    Args:
      content: of the CSV.
      table: what messages call it.

    Returns:
      Its rows in order, blank lines left out, surrounding blanks stripped.

    Raises:
      ValueError: not text, no rows, missing columns, or a row with an empty or unknown entry.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8 text ({error}): save it as CSV UTF-8") from error
    try:
        lines = list(_cells(text))
    except csv.Error as error:
        raise ValueError(f"{table} is not a CSV ({error})") from error
    if not lines:
        raise ValueError(f"{table} is empty: its first line must be path,identity,camera,role")
    header = [cell.lower() for cell in lines[0][1]]
    if absent := [name for name in _NEEDED if name not in header]:
        raise ValueError(
            f"{table} lacks the column{'s' * (len(absent) > 1)} {', '.join(absent)}: "
            f"expected the header path,identity,camera,role (camera may be absent), found {','.join(lines[0][1])}"
        )
    if len(lines) == 1:
        raise ValueError(f"{table} has a header and no rows: add one row per image")
    return [_row(table, line, header, cells) for line, cells in lines[1:]]


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _row(table: str, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"{table}, line {line}: {len(cells)} entries for {len(header)} columns: {','.join(cells)}")
    entry = dict(zip(header, cells, strict=True))
    row = Row(line, entry["path"], entry["identity"], entry.get("camera", ""), entry["role"].lower())
    if row.role not in SPLITS:
        raise ValueError(f"{table}, line {line}: role {entry['role']!r} must be one of {', '.join(SPLITS)}")
    if not row.path or not row.identity:
        raise ValueError(f"{table}, line {line}: path and identity must not be empty ({NOBODY} is nobody)")
    if row.role == "train" and row.identity == str(NOBODY):
        raise ValueError(f"{table}, line {line}: a training image must show somebody, but its identity is {NOBODY}")
    return row


def numbered(labels: Sequence[str]) -> dict[str, int]:
    """A number for every label: integers are their own, the others follow in sorted order.

    Args:
      labels: any strings, repeated or not.

    Raises:
      ValueError: an integer below -1.

    Example:
      >>> numbered(["bob", "alice", "bob"])
      {'alice': 0, 'bob': 1}
      >>> numbered(["7", "carol", "-1"])
      {'-1': -1, '7': 7, 'carol': 8}
    """
    distinct = sorted(set(labels))
    numbers = {label: int(label) for label in distinct if re.fullmatch(r"[+-]?\d{1,18}", label, re.ASCII)}
    if low := [label for label, number in numbers.items() if number < -1]:
        raise ValueError(f"identity or camera {low[0]} must be at least -1 (-1: nobody, unknown)")
    start = max(numbers.values(), default=-1) + 1
    return numbers | {label: n for n, label in enumerate((x for x in distinct if x not in numbers), start)}


def labels_of(numbers: Mapping[str, int]) -> dict[int, str]:
    """The label that each number stands for, where that is not the number itself.

    Example:
      >>> labels_of({"0007": 7, "carol": 8})
      {8: 'carol'}
    """
    return {number: label for label, number in numbers.items() if label.lstrip("+-").strip("0123456789")}


class Folder(Builder):
    """A user's own pictures, listed in a CSV."""

    VERSION = "1.0.0"
    ABOUT = "Pictures listed in a CSV with the columns path,identity,camera,role."
    EXPECTED = EXPECTED

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The rows of the CSV at `source`, or in the folder or archive there; every file of them must be there."""
        if source is None or not (source.is_file() or source.is_dir()):
            raise layout_error("source", source, EXPECTED)
        tree, table = _found(source)
        title = str(source) if source.name == table else f"{source}/{table}"
        listed = rows(tree.read(table), table=title)
        names = _names(title, listed, tree, posixpath.dirname(table))
        identity_of = numbered([row.identity for row in listed])
        camera_of = numbered([row.camera for row in listed if row.camera]) | {"": UNKNOWN_CAMERA}
        splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
        for row, name in zip(listed, names, strict=True):
            record = Record(row.path, identity_of[row.identity], camera_of[row.camera], tree.reader(name))
            splits[row.role].append(record)
        files = {row.path: tree.members[name].file for row, name in zip(listed, names, strict=True)}
        listed_in = tree.members[table].file
        files = {path: file for path, file in files.items() if file != listed_in} | {"": listed_in}
        return Listing(
            {split: records for split, records in splits.items() if records}, files, labels=labels_of(identity_of)
        )


def _found(source: Path) -> tuple[Tree, str]:
    """The tree of what the CSV names, and the CSV's name in it."""
    if not is_archive(source) and not source.is_dir():
        listed = rows(source.read_bytes(), table=str(source))
        return gathered(
            source.parent, [source.name, *(n for row in listed for n in _written("", row.path))]
        ), source.name
    tree = opened(source, EXPECTED)
    tables = [name for name in tree.members if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise tree.error(EXPECTED, f"needs one .csv, found {len(tables)}")
    return tree, tables[0]


def _written(folder: str, path: str) -> list[str]:
    """The names that a path in a CSV in `folder` may mean: as it stands, without `..`, with Windows's separators.

    Macs write an umlaut as two characters (NFD), other systems as one (NFC).
    """
    forms = (path,) if path.isascii() else (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    spelt = [form for one in dict.fromkeys(forms) for form in (one, one.replace("\\", "/"))]
    plain = [PurePosixPath(folder, one).as_posix() for one in spelt]
    return [*plain, *(posixpath.normpath(name) for name in plain)]


def _names(title: str, listed: Sequence[Row], tree: Tree, folder: str) -> list[str]:
    """The name in the tree of every row's picture, which must be there, and once per role."""
    names = []
    for row in listed:
        names.append(next((name for name in _written(folder, row.path) if name in tree.members), None))
    missing = [f"line {row.line}: {row.path}" for row, name in zip(listed, names, strict=True) if name is None]
    if missing:
        more = f"\n  ... and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise ValueError(
            f"{title} names {len(missing)} files that are not there (paths are relative to the CSV):\n  "
            + "\n  ".join(missing[:10])
            + more
        )
    there = [name for name in names if name is not None]
    seen: dict[tuple[str, str], int] = {}
    for row, name in zip(listed, there, strict=True):
        first = seen.setdefault((row.role, name), row.line)
        if first != row.line:
            raise ValueError(f"{title}, line {row.line}: {row.path} is in {row.role} already, see line {first}")
    return there
