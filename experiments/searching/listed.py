"""Pictures to be searched: those of a folder, a CSV or COCO boxes, each with a name, an identity, a camera and a time.

The readers are those of `data`. A name is the path below the source (of a box: with its number); identities are text,
so that another person in the source changes no other. The time is that at which the file was last changed.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import data
from data.builders import labels
from data.builders.listing import SPLIT_OF, Listing, Record
from data.source import NOBODY
from data.sources import left_out
from data.sources.tree import opened
from data.sources.wording import plural

FORMS = ("pictures", "people", "folder", "coco_boxes")
BY_ENDING = {".csv": "folder", ".json": "coco_boxes"}
EXPECTED = """\
people/                 folder or archive, of any name
  a.jpg ...             pictures at any depth
  c2_0001.jpg ...       a camera only as in c2_0001.jpg
  ann/b.jpg ...         with --form=people a folder per person"""


class Picture(NamedTuple):
    """One picture; `read()` returns the bytes of its file."""

    name: str
    identity: str | None
    camera: int
    time: float  # seconds since 1970
    read: Callable[[], bytes]


class Listed(NamedTuple):
    """The pictures of a source, in the order of their names, and remarks on it."""

    form: str
    pictures: list[Picture]
    remarks: list[str]


def pictures(source: Path, *, form: str = "auto", role: str = "gallery") -> Listed:
    """The pictures of a source.

    Args:
      source: folder, archive, CSV or JSON.
      form: one of `FORMS`, or "auto".
      role: which rows or boxes, where they have roles.

    Raises:
      ValueError: if it cannot be read in this form, or has no picture.
    """
    if form == "auto":
        form = BY_ENDING.get(path(source).suffix.lower(), "pictures")
    if form in ("folder", "coco_boxes"):
        try:
            listing = data.DATASETS[form].listing(source)
        except ValueError as error:
            raise ValueError(str(error).replace("--source=", "--pictures=")) from error
        return _of_listing(source, form, listing, role)
    if not source.exists():
        raise ValueError(f"pictures: {source} does not exist: give a folder, an archive, a .csv or a .json")
    try:
        tree = opened(source, EXPECTED)
    except ValueError as error:
        raise ValueError(str(error).replace("--source=", "--pictures=")) from error
    names = tree.pictures
    if not names:
        raise ValueError(f"pictures: {source} has no picture; expected\n{EXPECTED}")
    found = [
        Picture(
            name,
            _person(source, name) if form == "people" else None,
            labels.camera_of(name),
            tree.members[name].file.stat().st_mtime,
            tree.reader(name),
        )
        for name in names
    ]
    return Listed(form, found, left_out.sentences(left_out.reasons(tree, names)))


def path(source: str | os.PathLike[str]) -> Path:
    """The path of a source without its options.

    Example:
      >>> path("people.json#tracks=once").name
      'people.json'
    """
    text = os.fspath(source)
    return Path(text if Path(text).exists() or "#" not in text else text.rpartition("#")[0])


def _person(source: Path, name: str) -> str:
    """The person of a picture: the first folder of its name."""
    person, slash, _ = name.partition("/")
    if not slash:
        raise ValueError(f"pictures: {name} is in no person's folder: put it into one, or give --form=pictures")
    if person.lower() in SPLIT_OF:
        raise ValueError(f"pictures: {source} has the folder {person}, which is no person: give {source / person}")
    return person


def _of_listing(source: Path, form: str, listing: Listing, role: str) -> Listed:
    records = listing.splits.get(role, ())
    known = [record for record in records if record.identity != NOBODY]
    remarks = [*left_out.sentences(listing.left_out), *listing.remarks]
    if len(known) < len(records):
        nobody = plural(len(records) - len(known), "picture shows nobody", "pictures show nobody")
        remarks.append(f"{nobody} (identity {NOBODY}): left out.")
    if not known:
        there = ", ".join(f"{len(each)} of role {split}" for split, each in listing.splits.items()) or "none"
        raise ValueError(f"role: {source} has no picture of anybody of role {role}; it has {there}: give --role=")
    documents = [path for name, path in listing.files.items() if form == "coco_boxes" and name.endswith(".json")]
    changed = max((path.stat().st_mtime for path in documents), default=0.0)
    found = [
        Picture(
            record.name,
            listing.labels.get(record.identity, str(record.identity)),
            record.camera,
            max(changed, _file(source, record, listing.files).stat().st_mtime),
            record.read,
        )
        for record in known
    ]
    return Listed(form, found, remarks)


def _file(source: Path, record: Record, files: Mapping[str, Path]) -> Path:
    """The file that a record is in: its own, that of its frame, or the archive of all."""
    own: Sequence[str] = (record.name, record.name.rpartition(":")[0], "")
    return next((files[name] for name in own if name in files), source)
