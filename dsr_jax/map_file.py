"""Maps of any network in one file: written one at a time, read one at a time, never held together.

DSR needs a (h, w, d) map per image and its identity (Sec. 3.1). Maps of another network (torch, ONNX, anything that
gives arrays) are written with `write`; `read` opens them for `match`, `matching.streaming` and
``python -m experiments.evaluate --maps=FILE``. A Market-sized file, 23,100 maps of 7 x 4 x 2048, is 2.6 GB in bfloat16.

The file is NumPy's .npz with an array per map: ``map_0``, ``map_1``, ... (h, w, d) in float32, float16, bfloat16 (NumPy
keeps it as 2 bytes, type V2) or float64, ``identities`` (n,) integers, and optionally ``cameras`` (n,) integers,
``names`` (n,) and ``roles`` (n,) of "probe" and "gallery". `numpy.savez` writes it, too. ``vectors`` (n, e), if there
are, are the network's own vectors of the same images, to compare DSR with. ``mask_0``, ... (h, w), 0 where the map is
hidden, and ``weight_0``, ... (h, w), how much its positions count, may be there for all maps, some or none.
(Safetensors puts the shapes of all arrays first, so it could not be written before the last map is known.)
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.lib import format as npy

from dsr_jax.formats import atomic, map_labels, map_planes, map_values
from dsr_jax.formats.map_labels import LABELS, ROLES
from dsr_jax.formats.map_values import COARSE, DTYPES
from dsr_jax.matching.checks import array_of, check_shape, finite

__all__ = ["COARSE", "DTYPES", "LABELS", "ROLES", "MapFile", "Maps", "read", "write"]

_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class Maps(Sequence):  # of arrays; with the type given, checkers at run time would read some
    """The maps of a file as a sequence: (h, w, d) float32 arrays, each read at every access and not cached.

    Attributes:
      shapes: (h, w, d) of every map.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, members: list[str], shapes: list[tuple[int, ...]]):
        self._path, self._archive, self._members, self.shapes = path, archive, members, shapes

    def __len__(self) -> int:
        """Number of maps."""
        return len(self._members)

    @overload
    def __getitem__(self, i: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, i: slice) -> "Maps": ...
    def __getitem__(self, i: Any) -> Any:
        """One map, read and checked; of a slice those maps, unread.

        Raises:
          ValueError: if the map is damaged, or holds NaN or infinity; the message names file and map.
        """
        if isinstance(i, slice):
            return self.only(range(len(self))[i])
        member = self._members[i]
        try:
            values = map_values.read(npy.read_array(self._archive.open(f"{member}.npy"), allow_pickle=False))
        except _DAMAGED as error:
            raise ValueError(f"maps file {str(self._path)!r}: {member} is damaged ({error}): write it again") from error
        return finite(f"maps file {str(self._path)!r}: {member}", values)

    def only(self, positions: Iterable[Any]) -> "Maps":
        """Some of the maps, unread."""
        at = [int(i) for i in positions]
        return Maps(self._path, self._archive, [self._members[i] for i in at], [self.shapes[i] for i in at])


@dataclass(frozen=True, eq=False)
class MapFile:
    """The content of a file of maps; see `read`.

    Attributes:
      maps: the maps, each read at its access.
      identities: (n,) int64, -1 where unknown.
      cameras: (n,) int64, -1 where unknown.
      names: n names.
      roles: "probe" or "gallery" for each; all "gallery" where the file does not say.
      digest: SHA-256 of the contents, by the checksums in the file.
      vectors: (n, e) float32 vectors of the network, or None.
      masks: (h, w) of bool of every map, False where it is hidden; None if no map has one.
      weights: (h, w) of every map, how much its positions count where it is a probe; None if no map has some.
    """

    maps: Maps
    identities: np.ndarray
    cameras: np.ndarray
    names: tuple[str, ...]
    roles: tuple[str, ...]
    digest: str
    vectors: np.ndarray | None = None
    masks: tuple[np.ndarray, ...] | None = None
    weights: tuple[np.ndarray, ...] | None = None

    def side(self, role: str) -> "MapFile":
        """The probes, or the gallery.

        Raises:
          ValueError: for another role.
        """
        if role not in ROLES:
            raise ValueError(f"role must be one of {ROLES}, got {role!r}")
        at = [i for i, one in enumerate(self.roles) if one == role]
        names, vectors = tuple(self.names[i] for i in at), None if self.vectors is None else self.vectors[at]
        labels = self.identities[at], self.cameras[at], names, (role,) * len(at)
        planes = (None if each is None else tuple(each[i] for i in at) for each in (self.masks, self.weights))
        return MapFile(self.maps.only(at), *labels, self.digest, vectors, *planes)


def write(
    path: str | os.PathLike[str],
    maps: Iterable[Any],
    *,
    identities: Sequence[Any] | np.ndarray,
    cameras: Sequence[Any] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    vectors: Any = None,
    masks: Sequence[Any] | None = None,
    weights: Sequence[Any] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes maps one at a time; the file appears whole or not at all.

    Args:
      path: the file, ``.npz``.
      maps: the (h, w, d) maps, a generator for instance: anything that `numpy.asarray` takes; of any sizes, one d.
      identities: (n,) whole numbers, one per map; -1 is nobody.
      cameras: (n,) whole numbers; default: unknown.
      names: n names; default: the numbers.
      roles: n of "probe" and "gallery", which `experiments.evaluate` needs; default: all gallery.
      vectors: (n, e) vectors that the network gives for the same images, as `evaluate --methods=own_vector` compares
        them; default: none.
      masks: n arrays (h, w), True (or 1) where the map is visible, or None for a map that is so everywhere; see
        `match.distances`, which takes them as probe_masks and gallery_masks.
      weights: n arrays (h, w) of numbers >= 0, or None for a map all of whose positions weigh the same; see
        ``probe_weights`` there. Of gallery maps they have no effect.
      dtype: type of the maps on disk: "float32", "bfloat16" or "float16".

    Raises:
      ValueError: for a map that is no (h, w, d) array of real, finite numbers (it is named) or of another d, labels
        that are no whole numbers, lists of another length than there are maps, values beyond float16, and positions
        that are so small that float16 loses their direction; for masks and weights that do not fit their maps.
      OSError: if the file cannot be written, naming it and the reason.

    Example:
      >>> import os, tempfile
      >>> import numpy as np
      >>> from dsr_jax import map_file
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = os.path.join(folder, "maps.npz")
      ...     map_file.write(path, (np.ones((h, 2, 8)) for h in (3, 4)), identities=[7, 7], roles=["probe", "gallery"])
      ...     found = map_file.read(path)
      >>> found.maps.shapes, found.identities.tolist(), found.roles
      ([(3, 2, 8), (4, 2, 8)], [7, 7], ('probe', 'gallery'))
    """
    file = Path(path)
    if file.suffix != ".npz":
        raise ValueError(f"path={str(file)!r}: a maps file is an .npz; choose such a name")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {DTYPES}, got {dtype!r}")
    count = len(identities)
    labels = map_labels.checked(count, identities=identities, cameras=cameras, names=names, roles=roles)
    more = {} if vectors is None else {"vectors": _vectors(vectors, count)}
    planes = map_planes.given(count, mask=masks, weight=weights)
    with atomic.opened(file) as stream, zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        written, before = 0, None
        for written, value in enumerate(maps, start=1):
            called = labels["names"][written - 1] if written <= count else "beyond the labels"
            values = _checked(value, f"maps[{written - 1}] ({called})", before)
            before = values.shape
            _put(archive, f"map_{written - 1}", map_values.stored(values, dtype, called))
            if written <= count:
                for name, plane in map_planes.stored(planes, written - 1, called, values.shape):
                    _put(archive, name, plane)
        if written != count or not count:
            raise ValueError(f"identities must have one entry per map, got {count} for {written} maps")
        for name, value in (labels | more).items():
            _put(archive, name, value)


def read(path: str | os.PathLike[str]) -> MapFile:
    """Opens a file of maps: its labels and the maps' shapes are read and checked, each map at its access.

    Args:
      path: a file of `write`, or of `numpy.savez` as described above.

    Returns:
      The `MapFile`.

    Raises:
      ValueError: if the file is not there, is no such file, is cut off, holds maps of different d, labels that are no
        whole numbers or of another number than the maps, or an array called nearly like one (`camids` for `cameras`).

    Warns:
      UserWarning: of other arrays, which are not read.
    """
    file = Path(path)
    where = f"maps file {str(file)!r}"
    if not file.is_file():
        raise ValueError(f"{where} does not exist: give a file that map_file.write wrote")
    try:
        archive = zipfile.ZipFile(file)
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        count = sum(map(_is_map, members))
        names = [f"map_{i}" for i in range(count)]
        others = {"vectors", *map_planes.names(count)}.intersection(members)
        unread = [name for name in members if not _is_map(name) and name not in (*LABELS, *others)]
        lacking = [name for name in (*names, "identities") if name not in members and not (unread and name in LABELS)]
        if lacking or not count:
            raise ValueError(f"it has {count} maps but no {', '.join(lacking[:3]) or 'map_0'}")
        shapes = [_header(archive, name) for name in names]
        there = [*(name for name in LABELS if name in members), *others]
        arrays = {name: npy.read_array(archive.open(f"{name}.npy"), allow_pickle=False) for name in there}
    except _DAMAGED as error:
        raise ValueError(
            f"{where} is not a whole file of maps ({error}): write it with map_file.write, which leaves no half ones"
        ) from error
    try:
        found = {name: arrays[name] for name in LABELS if name in arrays}
        map_labels.check_names(where, found, unread)
        for name, shape, before in zip(names, shapes, [None, *shapes], strict=False):
            check_shape(name, shape, before)
        labels = map_labels.checked(count, **found)
        vectors = _vectors(arrays["vectors"], count) if "vectors" in arrays else None
        planes = [map_planes.checked(kind, arrays, shapes) for kind in ("mask", "weight")]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    seen = hashlib.sha256(repr(sorted((name, info.CRC, info.file_size) for name, info in members.items())).encode())
    return MapFile(
        Maps(file, archive, names, shapes),
        labels["identities"],
        labels["cameras"],
        tuple(labels["names"].tolist()),
        tuple(labels["roles"].tolist()),
        seen.hexdigest(),
        vectors,
        *planes,
    )


def _is_map(name: str) -> bool:
    return name.startswith("map_") and name[4:].isdecimal()


def _vectors(values: Any, count: int) -> np.ndarray:
    """The network's vectors in float32, or an error that says what is wrong with them."""
    vectors = np.ascontiguousarray(array_of("vectors", values), np.float32)
    if vectors.ndim != 2 or vectors.shape[0] != count or not vectors.shape[1]:
        raise ValueError(f"vectors must be (n, e), one per map, got shape {vectors.shape} for {count} maps")
    return finite("vectors", vectors)


def _checked(value: Any, name: str, before: tuple[int, ...] | None) -> np.ndarray:
    """A map in float32, or an error that names it; ``before`` is the shape of the map before it."""
    values = array_of(name, value)
    check_shape(name, values.shape, before)
    with np.errstate(over="ignore"):
        return finite(name, np.ascontiguousarray(values, np.float32))


def _put(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        npy.write_array(member, np.asanyarray(values), allow_pickle=False)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """A map's shape, off its first bytes."""
    with archive.open(f"{name}.npy") as member:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(member)]
        shape, _, dtype = read_header(member)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"{name} must be an (h, w, d) array, got shape {shape}")
    if dtype.kind != "f" and dtype != np.dtype("V2"):
        raise ValueError(f"{name} must hold floating point numbers, got dtype {dtype}")
    return shape
