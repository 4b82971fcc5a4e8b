"""Rows of a gallery's table: a map with its labels as Arrow arrays, checked, and the way back."""

import functools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from dsr_jax.evaluation.labels import UNKNOWN, integers
from dsr_jax.formats import map_values
from dsr_jax.gallery.description import Description
from dsr_jax.matching import checks, coarse, visibility

BATCH = 1 << 22  # bytes of maps that are handed to the disk at once
LABELS = ("name", "identity", "camera", "time", "height", "width")
MAP = ("name", "map", "checksum", "height", "width")  # columns of a map
_TYPES = {"number": pa.int64(), "text": pa.string()}


@dataclass(frozen=True)
class Labels:
    """Labels of n maps, checked.

    Attributes:
      names: n names, each once.
      identities: n labels of one kind, or None.
      cameras: (n,) int64, -1 where unknown.
      times: (n,) float64, NaN where unknown.
    """

    names: tuple[str, ...]
    identities: tuple[Any, ...] | None
    cameras: np.ndarray
    times: np.ndarray

    @classmethod
    def checked(cls, names: Any, identities: Any = None, cameras: Any = None, times: Any = None) -> "Labels":
        """Labels of as many maps as there are names.

        Raises:
          ValueError: naming the argument that is wrong.
        """
        if isinstance(names, str) or not hasattr(names, "__len__"):
            raise ValueError(f"names must be a sequence with one name per map, got {names!r:.80}")
        called = checks.as_labels("names", [str(name) for name in names], len(names), kinds=(str,)) or ()
        seen: set[str] = set()
        for i, name in enumerate(called):
            if name in seen or not name:
                raise ValueError(f"names[{i}] is {name!r}{', twice' if name else ''}: a name is that of one map")
            seen.add(name)
        count = len(called)
        at = np.full(count, UNKNOWN) if cameras is None else np.asarray(cameras)
        since = np.full(count, np.nan) if times is None else _times(times)
        for argument, found in (("cameras", at), ("times", since)):
            if found.shape != (count,):
                raise ValueError(f"{argument} must have one entry per map, got shape {found.shape} for {count} maps")
        whole = integers(at, "cameras")
        if np.any(whole < UNKNOWN):
            raise ValueError(f"cameras must be whole numbers >= 0, or -1 for unknown, got {np.min(whole)}")
        return cls(called, checks.as_labels("identities", identities, count), whole, since)

    @property
    def kind(self) -> str | None:
        """Kind of the identities, as a `Description` has it."""
        return None if self.identities is None else "text" if isinstance(self.identities[0], str) else "number"


def schema(description: Description) -> pa.Schema:
    """The columns of a gallery's table."""
    d, fields = description.channels, [("name", pa.string())]
    if description.identities:
        fields.append(("identity", _TYPES[description.identities]))
    fields += [("camera", pa.int64()), ("time", pa.float64()), ("height", pa.int32()), ("width", pa.int32())]
    fields += [("map", pa.large_binary()), ("checksum", pa.uint32()), ("mask", pa.binary())]
    fields.append(("stripes", pa.list_(pa.float16(), description.stripes * d)))
    if description.vector:
        fields.append(("vector", pa.list_(pa.float32(), description.vector)))
    return pa.schema(fields, metadata=description.metadata())


def batches(
    description: Description, maps: Iterable[Any], labels: Labels, *, vectors: Any, masks: Any
) -> Iterator[pa.RecordBatch]:
    """The rows of maps, which are taken one at a time.

    Args:
      description: the gallery's.
      maps: the (h, w, d) maps.
      labels: their labels.
      vectors: as many vectors of the network, or None.
      masks: as many (h, w) masks, True where a position counts, or None where all do; or None.

    Raises:
      ValueError: naming the map, mask or vector that is wrong, and the argument of another length.
    """
    columns, held, size = schema(description), [], 0
    for row in _rows(description, maps, labels, vectors, masks):
        held.append(row)
        size += len(row["map"])
        if size >= BATCH:
            yield _batch(columns, held)
            held, size = [], 0
    if held:
        yield _batch(columns, held)


def decode(description: Description, table: pa.Table, into: np.ndarray, *, where: str) -> None:
    """The maps in the columns `MAP`, one after another, written into (positions, d) float32.

    Raises:
      ValueError: if one is damaged; the message begins with ``where``.
    """
    dtype = np.dtype(jnp.bfloat16 if description.dtype == "bfloat16" else description.dtype)
    counts = table["height"].to_numpy().astype(np.int64) * table["width"].to_numpy()
    start = 0
    for i, (value, checksum, count) in enumerate(
        zip(table["map"], table["checksum"].to_pylist(), counts.tolist(), strict=True)
    ):
        buffer, part = value.as_buffer(), into[start : start + count]
        if zlib.crc32(buffer) != checksum or buffer.size != part.size * dtype.itemsize:
            raise ValueError(f"{where}: the map of {table['name'][i].as_py()!r} is damaged: replace it")
        part[:] = np.frombuffer(buffer, dtype).reshape(-1, description.channels)
        start += count


def masks(table: pa.Table) -> tuple[np.ndarray, ...] | None:
    """The masks (h, w) in the columns mask, height and width; None if all positions of all maps count."""
    if table["mask"].null_count == len(table):
        return None
    shapes = zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)
    return tuple(
        np.ones(shape, bool)
        if bits is None
        else np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1]).astype(bool).reshape(shape)
        for bits, shape in zip(table["mask"].to_pylist(), shapes, strict=True)
    )


def fixed(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of lists of one length as (n, length)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten().to_numpy().reshape(len(array), -1)


def seconds(name: str, value: Any) -> float:
    """A time in seconds, as it is given; a datetime's are those since 1970.

    Raises:
      ValueError: naming ``name``, if it is neither.
    """
    try:
        return float(value.timestamp() if hasattr(value, "timestamp") else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be seconds or a datetime, got {value!r:.40}") from error


def _rows(
    description: Description, maps: Iterable[Any], labels: Labels, vectors: Any, masks: Any
) -> Iterator[dict[str, Any]]:
    """The rows one by one; at the end all arguments must have been as long as the names."""
    count, done = len(labels.names), 0
    beside = {name: iter(values) for name, values in (("vectors", vectors), ("masks", masks)) if values is not None}
    for i, value in enumerate(maps):
        if i >= count:
            raise ValueError(f"names must have one entry per map, got {count} for more maps")
        at_hand = {name: _next(values, name, i) for name, values in beside.items()}
        hide = functools.partial(visibility.shown, f"masks[{i}]", mask := at_hand.get("masks"))
        name, before = f"maps[{i}] ({labels.names[i]})", (0, 0, description.channels)
        m = checks.one_map(name, value, before, scales=description.scales, hide=None if mask is None else hide)
        row = {"name": labels.names[i], "camera": labels.cameras[i], "time": labels.times[i]}
        row |= {"height": m.shape[0], "width": m.shape[1], "mask": None}
        if labels.identities is not None:
            row["identity"] = labels.identities[i]
        if "vectors" in at_hand:
            row["vector"] = _vector(f"vectors[{i}]", at_hand["vectors"], description.vector)
        if mask is not None:
            row["mask"] = np.packbits(visibility.one(f"masks[{i}]", mask, m.shape)).tobytes()
        row["map"] = np.ascontiguousarray(map_values.stored(m, description.dtype, labels.names[i])).tobytes()
        row["checksum"] = zlib.crc32(row["map"])
        row["stripes"] = coarse.even_stripes(m).astype(np.float16).ravel()
        yield row
        done = i + 1
    if done != count:
        raise ValueError(f"names must have one entry per map, got {count} for {done} maps")
    for argument, rest in beside.items():
        if next(rest, beside) is not beside:
            raise ValueError(f"{argument} must have one entry per map, got more than {count}")


def _batch(columns: pa.Schema, held: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    arrays = []
    for field in columns:
        values = [row[field.name] for row in held]
        if pa.types.is_fixed_size_list(field.type):
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(values)), type=field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.record_batch(arrays, schema=columns)


def _next(values: Iterator[Any], argument: str, i: int) -> Any:
    for value in values:
        return value
    raise ValueError(f"{argument} must have one entry per map, got {i}")


def _vector(name: str, value: Any, length: int) -> np.ndarray:
    vector = checks.finite(name, np.ascontiguousarray(checks.array_of(name, value), np.float32))
    if vector.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), as all vectors of the gallery, got {vector.shape}")
    return vector


def _times(values: Any) -> np.ndarray:
    return np.array([np.nan if value is None else seconds(f"times[{i}]", value) for i, value in enumerate(values)])
