"""A table of Lance in a folder: versions, changes that are whole or not at all, errors that name the folder.

A change writes its files first, which nobody sees. Then it takes the folder's lock, looks at the newest version, and
commits a new one: a file that appears whole. So a process that dies leaves the version before, or that after, and
files that `compact` removes. Who reads has a version, which stays as it is until `compact` drops it.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments

from dsr_jax.formats import atomic, locks
from dsr_jax.gallery import place, rows
from dsr_jax.gallery.description import Description

FILE_BYTES = 1 << 30  # of a file of data, beyond which another is begun
NOTE = "dsr_jax.note."  # before the names of notes among the metadata of a version
TIMES = 5  # that versions are read
SCAN = 8192  # rows of a column of numbers that are read at once
REWRITTEN = 1024  # rows with their maps that are rewritten at once
_SYSTEM = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True, eq=False)
class Table:
    """A version of a gallery's table.

    Attributes:
      folder: where it is.
      data: the open dataset of Lance.
      description: what its maps have in common.
      kept: what was read of it and is kept in memory, by name.
    """

    folder: Path
    data: Any
    description: Description
    kept: dict[str, Any] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], version: int | None = None) -> "Table":
        """Opens a version, the newest by default.

        Raises:
          ValueError: if there is no gallery, or not this version of it.
        """
        path, where = Path(folder), f"gallery {os.fspath(folder)!r}"
        if not place.finished(path):
            begun = (path / place.LOCK).exists()
            reason = "is being created, or was never finished: wait, or call it again" if begun else "does not exist"
            raise ValueError(f"{where} {reason}: Gallery.create makes one")
        data = _again(lambda: lance.dataset(str(path)), where)
        if version is not None:
            there = sorted(one["version"] for one in _again(data.versions, where))
            if version not in there:
                shown = ", ".join(map(str, there[-5:]))
                raise ValueError(f"version must be one of those that {where} has (... {shown}), got {version!r}")
            data = _again(lambda: data.checkout_version(version), where)
        return cls(path, data, Description.read(data.schema.metadata, where))

    @classmethod
    def create(cls, folder: str | os.PathLike[str], description: Description, content: Iterable[Any]) -> "Table":
        """Makes a gallery of record batches; the folder must be new or empty, or hold one that was never finished.

        Raises:
          ValueError: if there is a gallery, or something else in the folder.
          OSError: if it cannot be written, naming it and the reason.
        """
        path = Path(folder)
        place.check_new(path)
        with atomic.named(path):
            path.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(path):
                place.check_new(path)
                place.clear(path)
                try:
                    with _writing(path, content) as reader:
                        lance.write_dataset(
                            reader(rows.schema(description)), str(path), mode="create", max_bytes_per_file=FILE_BYTES
                        )
                except BaseException:
                    place.clear(path)
                    raise
        except BaseException:
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()
            raise
        return cls.open(path)

    def __len__(self) -> int:
        """Number of rows."""
        return self.data.count_rows()

    @property
    def where(self) -> str:
        """The gallery, for errors."""
        return f"gallery {str(self.folder)!r}"

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.data.version

    def columns(self, names: Sequence[str], *, places: bool = False) -> pa.Table:
        """Some columns of all rows; with ``places`` the column _rowaddr, too: where in the files each row is."""
        with self._reading():
            return self.data.to_table(columns=list(names), with_row_address=places, batch_size=1 << 16)

    def take(self, numbers: np.ndarray, names: Sequence[str]) -> pa.Table:
        """Some columns of the rows with these numbers, in their order."""
        wanted, back = np.unique(numbers, return_inverse=True)
        with self._reading():
            table = self.data.take(wanted.tolist(), columns=list(names))
        return table if len(wanted) == len(numbers) and (np.diff(back) > 0).all() else table.take(back)

    def scan(self, name: str) -> Iterator[np.ndarray]:
        """A column of lists of one length, some rows at a time, (n, length)."""
        with self._reading():
            for batch in self.data.to_batches(columns=[name], batch_size=SCAN):
                yield rows.fixed(batch.column(0))

    def versions(self) -> list[dict[str, Any]]:
        """The versions that are there: version, timestamp and metadata of each."""
        return _again(self.data.versions, self.where)

    def write(self, content: Iterable[Any]) -> list[Any]:
        """Writes record batches into files that belong to no version yet."""
        with _writing(self.folder, content) as reader:
            return write_fragments(
                reader(rows.schema(self.description)), self.data, mode="append", max_bytes_per_file=FILE_BYTES
            )

    def change(self, decide: "Callable[[Table], tuple[np.ndarray, Sequence[Any]]]", said: str) -> "Table":
        """Commits a new version on top of the newest.

        Args:
          decide: from the newest version, while nobody else can change it, to the places (`columns`) of the rows that
            go and the files that come (`write`).
          said: a message that `versions` keeps.

        Returns:
          The new version; the newest, if nothing comes or goes.

        Raises:
          ValueError: from ``decide``.
          OSError: if it cannot be written, naming it and the reason; the gallery is then as it was.
        """
        with self._changing() as newest:
            gone, new = decide(newest)
            if not len(gone) and not new:
                return newest
            data = lance.LanceDataset.commit(
                newest.data, _operation(newest.data, gone, new), read_version=newest.version, commit_message=said
            )
            return Table(self.folder, data, newest.description)

    @property
    def notes(self) -> dict[str, str]:
        """The notes of this version."""
        found = self.data.metadata
        return {key.removeprefix(NOTE): text for key, text in found.items() if key.startswith(NOTE)}

    def note(self, name: str, text: str | None) -> "Table":
        """Writes a note as a new version, or removes it (None)."""
        with self._changing() as newest:
            newest.data.update_metadata({f"{NOTE}{name}": text})
        return Table.open(self.folder)

    def restore(self, version: int) -> "Table":
        """Makes the content of an older version the newest; the versions between stay."""
        with self._changing():
            Table.open(self.folder, version).data.restore()
        return Table.open(self.folder)

    def compact(self, keep: int) -> "Table":
        """Rewrites small files and those with removed rows, and drops all but the newest versions."""
        with self._changing() as newest:
            rows_of_half_a_file = FILE_BYTES * max(1, len(newest)) // (2 * max(1, _size(newest.data)))
            newest.data.optimize.compact_files(
                target_rows_per_fragment=max(1, rows_of_half_a_file),
                max_bytes_per_file=FILE_BYTES,
                materialize_deletions_threshold=0.0,
                batch_size=REWRITTEN,
                num_threads=1,
            )
            lance.dataset(str(self.folder)).cleanup_old_versions(retain_versions=keep)
        return Table.open(self.folder)

    @contextlib.contextmanager
    def _changing(self) -> "Iterator[Table]":
        """The newest version, which nobody else can change within the block; errors of writing name the folder."""
        Table.open(self.folder)  # or an error: where there is none, the lock would look like the beginning of one
        with _locked(self.folder), _writing(self.folder):
            yield Table.open(self.folder)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, pa.ArrowException) as error:
            raise ValueError(
                f"{self.where}: version {self.version} cannot be read any more ({_short(error)}); it was deleted, "
                "damaged, or dropped by compact: open the gallery again"
            ) from error


def _operation(data: Any, gone: np.ndarray, new: Sequence[Any]) -> Any:
    """The operation of Lance that removes rows and adds files."""
    updated, removed = [], []
    fragments = gone.astype(np.uint64) >> np.uint64(32)
    for number in np.unique(fragments).tolist():
        offsets = (gone[fragments == number] & np.uint64(0xFFFFFFFF)).tolist()
        rest = data.get_fragment(number).delete_rows(offsets)
        removed.append(number) if rest is None else updated.append(rest)
    if not len(gone):
        return lance.LanceOperation.Append(new)
    if not new:
        return lance.LanceOperation.Delete(updated, removed, "rows by their places")
    return lance.LanceOperation.Update(removed_fragment_ids=removed, updated_fragments=updated, new_fragments=list(new))


def _size(data: Any) -> int:
    """Bytes of a version's files of data."""
    return int(data.versions()[-1]["metadata"]["total_files_size"])


def _again(read: Callable[[], Any], where: str) -> Any:
    """What Lance reads of versions, which is read again if another process drops some of them meanwhile.

    Raises:
      ValueError: if it cannot be read.
    """
    for left in reversed(range(TIMES)):
        try:
            return read()
        except (OSError, ValueError, RuntimeError) as error:
            if not left or "Not found" not in str(error):
                raise ValueError(f"{where} is damaged, its table cannot be opened ({_short(error)})") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder's lock, for which other writers wait."""
    with locks.held(folder / place.LOCK, busy=lambda holder: None):
        yield


@contextlib.contextmanager
def _writing(folder: Path, content: Iterable[Any] = ()) -> Iterator[Callable[[pa.Schema], pa.RecordBatchReader]]:
    """Errors of Lance become errors that name the folder; those of the content come out as they are.

    Yields:
      From a schema to a reader of the content.
    """
    failed: list[BaseException] = []

    def watched() -> Iterator[Any]:
        try:
            yield from content
        except BaseException as error:
            failed.append(error)
            raise

    try:
        yield lambda schema: pa.RecordBatchReader.from_batches(schema, watched())
    except (OSError, RuntimeError, pa.ArrowException) as error:
        if failed:
            raise failed[0] from None
        if isinstance(error, CommitConflictError):
            raise OSError(
                f"gallery {str(folder)!r} was changed meanwhile by a writer that its lock does not keep out "
                f"({_short(error)}): nothing was changed here, do it again"
            ) from error
        with atomic.named(folder):
            if (number := _SYSTEM.search(str(error))) is None:
                raise OSError(f"gallery {str(folder)!r} cannot be written ({_short(error)})") from error
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _short(error: BaseException) -> str:
    """What Lance says, without places in its source."""
    return str(error).split(", /")[0].splitlines()[0][:200] if str(error) else type(error).__name__
