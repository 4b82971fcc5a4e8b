"""A version of a gallery on disk as a gallery: labels and maps are read when they are needed, and never change."""

import functools
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from dsr_jax.calibration import Calibration, from_text
from dsr_jax.gallery import filters, rows
from dsr_jax.gallery.maps import StoredMaps
from dsr_jax.gallery.table import Table
from dsr_jax.matching.entries import gather
from dsr_jax.matching.gallery import Gallery
from dsr_jax.matching.stripes import Stripes

CALIBRATION = "calibration"  # the note that holds it
HELD = 1 << 31  # bytes of stripes that are kept in memory
_READING = threading.Lock()
One = TypeVar("One", bound="Snapshot")


class Version(NamedTuple):
    """A version of a gallery.

    Attributes:
      number: what `Gallery.open` and `StoredGallery.restore` take.
      time: when it was made.
      maps: how many maps it has.
    """

    number: int
    time: datetime
    maps: int


class Snapshot(Gallery):
    """A version of a gallery in a folder: what it has in common with a gallery in memory, and its other columns."""

    def __init__(
        self,
        table: Table,
        numbers: np.ndarray | None = None,
        labels: pa.Table | None = None,
        *,
        grouped: bool = True,
        **options: Any,
    ) -> None:
        """A gallery of a table.

        Args:
          table: the table.
          numbers: numbers of the rows that belong to it; default: all.
          labels: the labels of these, if they were read.
          grouped: whether maps of one identity are one entry.
          **options: ``network`` as it was checked, ``scales`` and ``pooling`` in place of the table's, and whether it
            is ``calibrated`` as the table is.
        """
        self._table, self._numbers, self._read, self._grouped, self._options = table, numbers, labels, grouped, options

    def __repr__(self) -> str:
        return f"StoredGallery({str(self._table.folder)!r}, version {self.version}, {len(self.maps)} maps)"

    # What every gallery has

    @functools.cached_property
    def maps(self) -> StoredMaps:
        """The maps, read at their access."""
        numbers = np.arange(len(self._table)) if self._numbers is None else self._numbers
        sizes = np.stack([self._labels[name].to_numpy() for name in ("height", "width")], axis=1).astype(np.int64)
        return StoredMaps(self._table, numbers, sizes)

    @functools.cached_property
    def identities(self) -> tuple[Any, ...] | None:
        """One label per map, or None: every map is an entry of its own."""
        return self.people if self._grouped else None

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """One name per map, each once."""
        return tuple(self._labels["name"].to_pylist())

    @property
    def scales(self) -> tuple[int, ...]:
        """Sides of the windows."""
        return self._options.get("scales") or self._table.description.scales

    @property
    def pooling(self) -> str:
        """How windows are pooled, "average" or "max"."""
        return self._options.get("pooling") or self._table.description.pooling

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """From distances to probabilities, as `StoredGallery.calibrated` wrote it, or None.

        Raises:
          ValueError: if the note of that name holds none.
        """
        note = self.notes.get(CALIBRATION) if self._options.get("calibrated", True) else None
        try:
            return None if note is None else from_text(note if isinstance(note, str) else json.dumps(note))
        except ValueError as error:
            raise ValueError(
                f"note {CALIBRATION!r} of {self._table.where}: {error}; gallery.calibrated(...) writes another"
            ) from error

    @functools.cached_property
    def labels(self) -> tuple[Any, ...] | None:
        """The entries' identities, in the order of their first appearance, or None where there are none."""
        return gather(self.identities, 0)[1]

    def part(self: One, entries: Sequence[int] | np.ndarray, *, scales: tuple[int, ...] | None = None) -> One:
        """A gallery of some of the entries, with other scales if they are given; nothing is read.

        It has no calibration, which is of all entries; a filter's gallery (`where`) keeps it.
        """
        rows = np.asarray(entries, np.int64)
        if self.identities is not None:
            groups = self.as_entries.groups
            rows = np.array([i for entry in entries for i in groups[entry]], np.int64)
        return self._some(rows, calibrated=False, **({} if scales is None else {"scales": scales}))

    # What a gallery on disk has besides

    @property
    def version(self) -> int:
        """Number of the version."""
        return self._table.version

    @property
    def network(self) -> dict[str, Any] | None:
        """What made the maps, or None where the gallery does not say."""
        return self._table.description.network

    @property
    def channels(self) -> int:
        """The d of the maps."""
        return self._table.description.channels

    @functools.cached_property
    def people(self) -> tuple[Any, ...] | None:
        """One identity per map, or None where maps have none; whether they are entries or not."""
        return tuple(self._labels["identity"].to_pylist()) if self._table.description.identities else None

    @property
    def cameras(self) -> np.ndarray:
        """(n,) int64 cameras, -1 where unknown."""
        return self._labels["camera"].to_numpy()

    @property
    def times(self) -> np.ndarray:
        """(n,) float64 times in seconds, NaN where unknown."""
        return self._labels["time"].to_numpy()

    @functools.cached_property
    def masks(self) -> tuple[np.ndarray, ...] | None:
        """One (h, w) mask per map, True where a position counts; None if all do. Masked positions are zero."""
        return rows.masks(self._columns(("mask", "height", "width")))

    @functools.cached_property
    def vectors(self) -> np.ndarray | None:
        """(n, e) float32 vectors of the network, or None."""
        return rows.fixed(self._columns(("vector",))["vector"]) if self._table.description.vector else None

    def stripes(self) -> Iterator[np.ndarray]:
        """The stripes of the maps, some maps at a time, in the order of the version: (n, 8, d) float16, of unit length.

        They are the averages of 8 stripes of rows, see `coarse.stripes`, the last repeated where a map has fewer rows.
        Masked positions are left out.
        """
        for found, _ in self._stripes():
            yield found

    def rounded_stripes(self) -> Iterator[tuple[Stripes, np.ndarray, np.ndarray]]:
        """The stripes in 8 bits, for `stripes.distances`: some stripes, which of them, and of which maps these are.

        They are read once per version that is open, and kept for its filters, too, if they fit into `HELD` bytes.
        """
        table, description = self._table, self._table.description
        shape = description.stripes, description.channels
        if len(table) * shape[0] * (shape[1] + 4) > HELD:
            for part, maps in self._stripes():
                found = Stripes.empty(*part.shape)
                found.enter(0, part)
                yield found, np.arange(len(part)), maps
            return
        with _READING:  # once, whatever threads search
            held = table.kept.get("stripes")
            if held is None:
                held, start = Stripes.empty(len(table), *shape), 0
                for part in table.scan("stripes"):
                    held.enter(start, part.reshape(len(part), *shape))
                    start += len(part)
                table.kept["stripes"] = held
        numbers = np.arange(len(table)) if self._numbers is None else self._numbers
        yield held, numbers, np.arange(len(numbers))

    def forget(self) -> None:
        """Drops what this version keeps in memory; a search reads it again."""
        self._table.kept.clear()

    @functools.cached_property
    def notes(self) -> dict[str, Any]:
        """What `note` wrote into this version, by name."""
        return {name: json.loads(text) for name, text in self._table.notes.items()}

    def where(
        self: One,
        *,
        names: Iterable[str] | None = None,
        identities: Iterable[Any] | None = None,
        cameras: Iterable[int] | None = None,
        after: Any = None,
        before: Any = None,
    ) -> One:
        """The maps that fulfil all conditions, as a gallery of the same version.

        Args:
          names: their names are among these.
          identities: their identities are among these.
          cameras: their cameras are among these.
          after: their times are known and not before this one, seconds or a datetime.
          before: their times are known and before this one.

        Raises:
          ValueError: if no map is left.
        """
        given = {"names": names, "identities": identities, "cameras": cameras, "after": after, "before": before}
        return self._some(filters.chosen(self._table, self._labels, given))

    def refresh(self: One) -> One:
        """The newest version, all of its maps.

        Raises:
          ValueError: if the gallery is gone.
        """
        return self._next(Table.open(self._table.folder))

    def versions(self) -> tuple[Version, ...]:
        """The versions that are there, oldest first."""
        found = self._table.versions()
        return tuple(Version(v["version"], v["timestamp"], int(v["metadata"]["total_rows"])) for v in found)

    def _stripes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The stripes of some maps, and their numbers in the gallery."""
        table, start = self._table, 0
        numbers = np.arange(len(table)) if self._numbers is None else self._numbers
        maps = np.full(len(table), -1)
        maps[numbers] = np.arange(len(numbers))
        for found in table.scan("stripes"):
            there = maps[start : start + len(found)]
            start += len(found)
            if np.any(there >= 0):
                chosen = found[there >= 0]
                yield chosen.reshape(len(chosen), table.description.stripes, -1), there[there >= 0]

    @functools.cached_property
    def _labels(self) -> pa.Table:
        there = self._table.data.schema.names
        return self._columns([name for name in rows.LABELS if name in there]) if self._read is None else self._read

    def _columns(self, names: Sequence[str]) -> pa.Table:
        return self._table.columns(names) if self._numbers is None else self._table.take(self._numbers, names)

    def _some(self: One, chosen: np.ndarray, **options: Any) -> One:
        numbers = chosen if self._numbers is None else self._numbers[chosen]
        how = self._options | options
        return type(self)(self._table, numbers, self._labels.take(chosen), grouped=self._grouped, **how)

    def _next(self: One, table: Table) -> One:
        return type(self)(table, grouped=self._grouped, **self._options)
