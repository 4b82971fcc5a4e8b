"""Data set of one's own pictures, listed in a CSV with the columns `path,identity,camera,role`.

A row is one picture: its path relative to the CSV, its identity, its camera (the column may be absent: -1, unknown) and
its role: `train`, `probe` or `gallery`. How identities and cameras become numbers: `data.builders.labels`. Identity -1
is nobody: junk, which no evaluation counts. A distractor, which stays in the gallery as a wrong answer, needs an
identity that no probe has. The source may also be a folder or an archive with one CSV and the pictures.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from data.builders import labels, table
from data.builders.builder import Builder
from data.builders.listing import Listing, Record, by_split, check_shown
from data.builders.table import Row
from data.sources import paths, wording
from data.sources.archive import is_archive
from data.sources.layout import layout_error
from data.sources.tree import Tree, gathered, opened

EXPECTED = """\
people.csv                     the source, or folder or archive of all
  path,identity,camera,role    its first line
  probes/a.jpg,1,0,probe
  gallery/b.jpg,1,1,gallery
probes/a.jpg                   paths are relative
gallery/b.jpg                  to the CSV"""


class Folder(Builder):
    """A user's own pictures, listed in a CSV."""

    VERSION = "1.1.0"
    ABOUT = "Pictures listed in a CSV with the columns path,identity,camera,role."
    EXPECTED = EXPECTED

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The rows of the CSV at `source`, or in the folder or archive there; every file of them must be there."""
        if source is None or not (source.is_file() or source.is_dir()):
            raise layout_error(source, EXPECTED)
        tree, csv = _opened(source)
        title = str(source) if source.name == csv else f"{source}/{csv}"
        listed, remarks = table.read(tree.read(csv), title=title)
        names = _names(title, listed, tree, posixpath.dirname(csv))
        places = [f"line {row.line}" for row in listed]
        try:
            people = labels.identities([row.identity for row in listed], places)
            cameras = labels.cameras([row.camera for row in listed], places)
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        records = []
        for row, name, identity, camera in zip(listed, names, people.numbers, cameras.numbers, strict=True):
            check_shown(row.role, identity, f"{title}, line {row.line}")
            records.append((row.role, Record(row.path, identity, camera, tree.reader(name))))
        files = {row.path: tree.members[name].file for row, name in zip(listed, names, strict=True)}
        listed_in = tree.members[csv].file
        files = {path: file for path, file in files.items() if file != listed_in} | {"": listed_in}
        return Listing(
            by_split(records), files, labels=people.names, remarks=[*remarks, *people.remarks, *cameras.remarks]
        )


def _opened(source: Path) -> tuple[Tree, str]:
    """The tree of what the CSV names, and the CSV's name in it."""
    if not is_archive(source) and not source.is_dir():
        listed = table.read(source.read_bytes(), title=str(source)).rows
        candidates = (name for row in listed for name in paths.written("", row.path))
        there = [path for name in candidates if (path := paths.on_disk(source.parent, name)) is not None]
        return gathered(source.parent, [source.name, *there]), source.name
    tree = opened(source, EXPECTED)
    tables = [name for name in tree.members if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise tree.error(EXPECTED, f"needs one .csv, found {len(tables)}")
    return tree, tables[0]


def _names(title: str, listed: Sequence[Row], tree: Tree, folder: str) -> list[str]:
    """The name in the tree of every row's picture, which must exist and may stand once per role."""
    known = paths.Names(tree.members)
    names = [known.first(paths.written(folder, row.path)) for row in listed]
    missing = [f"line {row.line}: {row.path}" for row, name in zip(listed, names, strict=True) if name is None]
    if missing:
        raise ValueError(
            f"{title} names {len(missing)} files that are not there (paths are relative to the CSV):\n"
            + wording.lines(missing, 10)
        )
    there = [name for name in names if name is not None]
    seen: dict[tuple[str, str], int] = {}
    for row, name in zip(listed, there, strict=True):
        first = seen.setdefault((row.role, name), row.line)
        if first != row.line:
            raise ValueError(f"{title}, line {row.line}: {row.path} is in {row.role} already, see line {first}")
    return there
