"""What the page keeps beside its gallery: marks of answers, and pictures of entries that it added.

One file of SQLite. Every change is a transaction that is on the disk before it is confirmed, so that a process that is
killed loses none; several processes may write. Marks are only ever added: the last one of a probe and an entry counts.
"""

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

VERSION = 1
WAIT = 20  # seconds for another process that writes
OLD = 3600  # seconds after which a picture without an entry is not one that is being added
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
TABLES = """
CREATE TABLE IF NOT EXISTS marks (
    number INTEGER PRIMARY KEY, made TEXT NOT NULL, probe TEXT NOT NULL, name TEXT NOT NULL, identity TEXT,
    camera INTEGER NOT NULL, verdict INTEGER, distance REAL NOT NULL, version INTEGER NOT NULL, settings TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pictures (name TEXT PRIMARY KEY, made TEXT NOT NULL, content BLOB NOT NULL) STRICT;
"""


class Mark(NamedTuple):
    """What somebody said of one place of an answer.

    Attributes:
      probe: digest of the probe's picture, box and mask.
      name: the entry's, as its identity and its camera.
      verdict: whether both show one person; None: taken back.
      distance: of the two.
      version: of the gallery.
      settings: what the distance is of, as a calibration's ``fitted_on``.
      made: when, in UTC.
    """

    probe: str
    name: str
    identity: str | None
    camera: int
    verdict: bool | None
    distance: float
    version: int
    settings: Mapping[str, Any]
    made: str = ""


class Kept:
    """The file, made at its first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise ValueError(f"kept: {path} has version {version}, this program reads {VERSION}: give another file")
            file.executescript(TABLES)
            file.execute(f"PRAGMA user_version = {VERSION}")

    def mark(self, mark: Mark) -> None:
        """Adds a mark.

        Raises:
          OSError: if it cannot be written; nothing is then.
        """
        verdict = None if mark.verdict is None else int(mark.verdict)
        made, settings = _now(), json.dumps(mark.settings, sort_keys=True)
        row = (made, *mark[:4], verdict, *mark[5:7], settings)
        columns = "made, probe, name, identity, camera, verdict, distance, version, settings"
        with self._opened() as file, file:
            file.execute(f"INSERT INTO marks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def marks(self, *, all_of_them: bool = False) -> list[Mark]:
        """The marks that count, or all that were ever made, in their order."""
        with self._opened() as file:
            found = file.execute(
                "SELECT probe, name, identity, camera, verdict, distance, version, settings, made FROM marks "
                "ORDER BY number"
            ).fetchall()
        marks = [
            Mark(
                probe,
                name,
                identity,
                camera,
                None if verdict is None else bool(verdict),
                distance,
                version,
                about,
                made,
            )
            for probe, name, identity, camera, verdict, distance, version, text, made in found
            for about in [json.loads(text)]
        ]
        if all_of_them:
            return marks
        last = {(mark.probe, mark.name): mark for mark in marks}
        return [mark for mark in last.values() if mark.verdict is not None]

    @contextlib.contextmanager
    def adding(self, name: str, content: bytes) -> Iterator[None]:
        """Keeps the picture of an entry that is added within the block, before the block; not if that fails.

        Others can write meanwhile. A process that is killed within the block leaves a picture without an entry, see
        `forget`.

        Raises:
          OSError: if it cannot be written, before the block.
        """
        put = "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)"
        with self._opened() as file, file:
            former = file.execute("SELECT * FROM pictures WHERE name = ?", (name,)).fetchone()
            file.execute(put, (name, _now(), content))
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError), self._opened() as file, file:
                file.execute("DELETE FROM pictures WHERE name = ?", (name,))
                if former is not None:
                    file.execute(put, former)
            raise

    def forget(self, names: Collection[str], *, seconds: float = OLD) -> None:
        """Drops the pictures of all entries but these; not those that may be of an entry that is added just now.

        Args:
          names: of the entries that there are.
          seconds: how old a picture is at least.
        """
        with self._opened() as file, file:
            there = file.execute("SELECT name FROM pictures WHERE made <= ?", (_now(-seconds),)).fetchall()
            gone = [row for row in there if row[0] not in names]
            file.executemany("DELETE FROM pictures WHERE name = ?", gone)

    def picture(self, name: str) -> bytes | None:
        """The picture of an entry that the page added."""
        with self._opened() as file:
            found = file.execute("SELECT content FROM pictures WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, so that threads and processes share none; its errors name the file."""
        try:
            file = sqlite3.connect(self.path, timeout=WAIT)
            try:
                file.execute("PRAGMA synchronous = FULL")
                yield file
            finally:
                file.close()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                if error.sqlite_errorcode & 0xFF in BUSY:
                    raise OSError(f"{self.path}: another process is writing: try again") from error
                raise OSError(
                    f"{self.path} cannot be read or written ({error}): free some space, or start with --kept=FILE"
                ) from error
            raise ValueError(
                f"kept: {self.path} is damaged, or something else ({error}): start with another --kept=FILE"
            ) from error


def _now(seconds: float = 0) -> str:
    """The present time in UTC, so many seconds later."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
