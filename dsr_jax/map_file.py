"""Maps of any network in one file: written as they come, read one at a time, never held together.

DSR needs a (h, w, d) map per image and who is on it (Sec. 3.1). Whoever has another network writes its maps with
`write`, in torch, ONNX or anything that gives arrays; `read` opens them for `match`, `streamed` and
``python -m experiments.evaluate --maps=FILE``. A Market-sized file, 23,100 maps of 7 x 4 x 2048, is 2.6 GB in bfloat16.

The file is NumPy's .npz with an array per map: ``map_0``, ``map_1``, ... (h, w, d) in float32, float16, bfloat16 (NumPy
keeps it as 2 bytes, type V2) or float64, ``identities`` (n,) integers, and, if there are, ``cameras`` (n,) integers,
``names`` (n,) and ``roles`` (n,) of "probe" and "gallery". So `numpy.savez` writes it, too.
"""

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy

from dsr_jax.evaluation.protocols import UNKNOWN, integers
from dsr_jax.formats import atomic
from dsr_jax.formats.near_names import LOOSE, meaning
from dsr_jax.matching.checks import array_of, check_shape, finite

ROLES = ("probe", "gallery")
LABELS = ("identities", "cameras", "names", "roles")
DTYPES = ("float32", "bfloat16", "float16")
COARSE = 2**-6  # of a position's length: how far float16 may move it, four times what bfloat16 does
_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class Maps(Sequence):  # of arrays; said here, checkers of types at run time would read some
    """The maps of a file as a sequence: (h, w, d) float32 arrays, each read when it is asked for and not kept.

    Attributes:
      shapes: (h, w, d) of every map.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, members: list[str], shapes: list[tuple[int, ...]]):
        """See `read`."""
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
            values = _values(npy.read_array(self._archive.open(f"{member}.npy"), allow_pickle=False))
        except _DAMAGED as error:
            raise ValueError(f"maps file {str(self._path)!r}: {member} is damaged ({error}): write it again") from error
        return finite(f"maps file {str(self._path)!r}: {member}", values)

    def only(self, positions: Iterable[Any]) -> "Maps":
        """Some of the maps, unread."""
        at = [int(i) for i in positions]
        return Maps(self._path, self._archive, [self._members[i] for i in at], [self.shapes[i] for i in at])


@dataclass(frozen=True, eq=False)
class MapFile:
    """What a file holds; see `read`.

    Attributes:
      maps: the maps, read when asked for.
      identities: (n,) int64, -1 where unknown.
      cameras: (n,) int64, -1 where unknown.
      names: n names.
      roles: "probe" or "gallery" for each; all "gallery" where the file does not say.
      digest: SHA-256 of the contents, by the checksums in the file.
    """

    maps: Maps
    identities: np.ndarray
    cameras: np.ndarray
    names: tuple[str, ...]
    roles: tuple[str, ...]
    digest: str

    def side(self, role: str) -> "MapFile":
        """The probes, or the gallery.

        Raises:
          ValueError: for another role.
        """
        if role not in ROLES:
            raise ValueError(f"role must be one of {ROLES}, got {role!r}")
        at = [i for i, own in enumerate(self.roles) if own == role]
        names = tuple(self.names[i] for i in at)
        return MapFile(self.maps.only(at), self.identities[at], self.cameras[at], names, (role,) * len(at), self.digest)


def write(
    path: str | os.PathLike[str],
    maps: Iterable[Any],
    *,
    identities: Sequence[Any] | np.ndarray,
    cameras: Sequence[Any] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes maps as they come; the file appears whole or not at all, and no more than one map is held.

    Args:
      path: the file, ``.npz``.
      maps: the (h, w, d) maps, a generator for instance: anything that `numpy.asarray` takes; of any sizes, one d.
      identities: (n,) whole numbers, one per map; -1 is nobody.
      cameras: (n,) whole numbers; default: unknown.
      names: n names, to be told by; default: the numbers.
      roles: n of "probe" and "gallery", which `experiments.evaluate` needs; default: all gallery.
      dtype: type on disk: "float32", "bfloat16" or "float16".

    Raises:
      ValueError: for a map that is no (h, w, d) array of real, finite numbers (it is named) or of another d, labels
        that are no whole numbers, lists of another length than there are maps, values beyond float16, and positions
        that are so small that float16 loses their direction.
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
    labels = _labels(count, identities=identities, cameras=cameras, names=names, roles=roles)
    with atomic.opened(file) as stream, zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        written, before = 0, None
        for written, value in enumerate(maps, start=1):
            called = labels["names"][written - 1] if written <= count else "beyond the labels"
            values = _checked(value, f"maps[{written - 1}] ({called})", before)
            before = values.shape
            _put(archive, f"map_{written - 1}", _stored(values, dtype, called))
        if written != count or not count:
            raise ValueError(f"identities must have one entry per map, got {count} for {written} maps")
        for name, value in labels.items():
            _put(archive, name, value)


def read(path: str | os.PathLike[str]) -> MapFile:
    """Opens a file of maps: its labels and the maps' shapes are read and checked, the maps themselves when asked for.

    Args:
      path: what `write`, or `numpy.savez` by the description above, wrote.

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
        unread = [name for name in members if not _is_map(name) and name not in LABELS]
        lacking = [name for name in (*names, "identities") if name not in members and not (unread and name in LABELS)]
        if lacking or not count:
            raise ValueError(f"it has {count} maps but no {', '.join(lacking[:3]) or 'map_0'}")
        shapes = [_header(archive, name) for name in names]
        found = {
            name: npy.read_array(archive.open(f"{name}.npy"), allow_pickle=False) for name in LABELS if name in members
        }
    except _DAMAGED as error:
        raise ValueError(
            f"{where} is not a whole file of maps ({error}): write it with map_file.write, which leaves no half ones"
        ) from error
    try:
        if "identities" not in found and not any(map(meaning, unread)):
            loose = [name for name in unread if LOOSE.get(name.lower().removesuffix("s")) == "identity"]
            raise ValueError(f"it has no array 'identities'{f': rename {loose[0]!r}' if loose else ''}")
        _check_unread(where, unread)
        for name, shape, before in zip(names, shapes, [None, *shapes], strict=False):
            check_shape(name, shape, before)
        labels = _labels(count, **found)
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
    )


def _is_map(name: str) -> bool:
    return name.startswith("map_") and name[4:].isdecimal()


def _check_unread(where: str, names: Sequence[str]) -> None:
    """Arrays that are not read are named in a warning; what is nearly a label that decides figures is an error."""
    known = {"identity": "identities", "camera": "cameras", "role": "roles"}
    for name in names:
        if (wanted := known.get(meaning(name) or "")) is not None:
            raise ValueError(f"the array {name!r} is not read, {wanted!r} is: rename it")
    if names:
        told = f"{where}: arrays that are not read: {', '.join(names)}; read are {', '.join(LABELS)}"
        warnings.warn(told, stacklevel=3)


def _labels(
    count: int, *, identities: Any, cameras: Any = None, names: Any = None, roles: Any = None
) -> dict[str, Any]:
    """All four as arrays of ``count``, or an error that names the one that is wrong."""
    labels = {
        "identities": integers(identities, "identities"),
        "cameras": integers(np.full(count, UNKNOWN) if cameras is None else cameras, "cameras"),
        "names": np.array(
            [str(i) for i in range(count)] if names is None else [str(name) for name in names], dtype=str
        ),
        "roles": np.array(["gallery"] * count if roles is None else [str(role) for role in roles], dtype=str),
    }
    for name in ("identities", "cameras"):
        if np.any(labels[name] < UNKNOWN):
            raise ValueError(f"{name} must be whole numbers >= 0, or -1 for unknown, got {labels[name].min()}")
    for name, value in labels.items():
        if value.shape != (count,):
            raise ValueError(f"{name} must have one entry per map, got shape {value.shape} for {count} maps")
    strange = sorted(set(labels["roles"].tolist()) - set(ROLES))
    if strange:
        raise ValueError(f"roles must be 'probe' or 'gallery', got {', '.join(map(repr, strange[:3]))}")
    return labels


def _checked(value: Any, name: str, before: tuple[int, ...] | None) -> np.ndarray:
    """A map in float32, or an error that names it; ``before`` is the shape of the map before it."""
    values = array_of(name, value)
    check_shape(name, values.shape, before)
    with np.errstate(over="ignore"):
        return finite(name, np.ascontiguousarray(values, np.float32))


def _stored(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """The map in the type on disk."""
    if dtype == "float16" and np.abs(values).max() > np.finfo(np.float16).max:
        raise ValueError(f"dtype float16 cannot hold the map of {name}, up to {np.abs(values).max():g}: use bfloat16")
    stored = values.astype(jnp.bfloat16 if dtype == "bfloat16" else dtype)
    if dtype == "float16":
        lengths, moved = (np.linalg.norm(m.astype(np.float64), axis=2) for m in (values, stored - values))
        coarse = np.argwhere(moved > COARSE * lengths)
        if len(coarse):
            y, x = coarse[0].tolist()
            raise ValueError(
                f"dtype float16 loses {len(coarse)} positions of the map of {name}: the values at ({y}, {x}), up to "
                f"{np.abs(values[y, x]).max():g}, are too small for it: use bfloat16"
            )
    return stored


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


def _values(stored: np.ndarray) -> np.ndarray:
    """A map off the disk in float32; two bytes that NumPy has no name for are bfloat16."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(stored.view(jnp.bfloat16) if stored.dtype.kind == "V" else stored, np.float32)
