"""Reader of torch state dicts (`.pth`) that needs no torch and runs nothing that is in the file.

A `.pth` file is a pickle that refers to raw storages: since torch 1.6 a zip archive (`data.pkl`, `data/0`, ...), before
that the pickles and storages one after the other. A pickle may name any function to be called; here the only names
understood are the few that rebuild a tensor, each mapped to a stand-in that merely notes its arguments, and any other
name is an error. The network's weights (Sec. 4 of the paper: pre-trained on ImageNet) come to JAX through here.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

# torch's storage classes by name; state dicts of batch-normalised networks hold int64 counters.
STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
# First and second pickle of a file before torch 1.6.
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_REMEDY = "save the weights alone: torch.save(model.state_dict(), path)"


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Parameter:
    """A trained tensor; the first versions of torch pickled it with its state: data, and four things of no use here."""

    def __init__(self, data: Any = None, *_: Any) -> None:
        self.data = data

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.data = state[0] if len(state) == 5 else self.data


class _Ignored:
    """A number of NumPy's, such as a score kept beside the weights, which is of no use here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_state_dicts(path: str | Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Reads the tensors of a torch file; nothing in it is executed.

    Returns:
      For every dictionary in the file that holds tensors by name, by its key ("" for the outermost, "a.b" for one that
      is deeper): name to array, in the file's own types (bfloat16 as `jnp.bfloat16`).

    Raises:
      ValueError: if it is not such a file, is truncated, or names anything but tensors.
    """
    with open(path, "rb") as file:
        try:
            found, storages = (_read_zip if zipfile.is_zipfile(file) else _read_legacy)(file)
        except (
            pickle.UnpicklingError,
            EOFError,
            struct.error,
            KeyError,
            IndexError,
            AttributeError,
            TypeError,
            RuntimeError,  # of zipfile: encrypted, or of a version that it does not know
        ) as error:
            raise ValueError(f"not a complete torch state dict: {error!r}") from error
    groups = _groups(found, "", set())
    if not groups:
        keys = f" of {', '.join(map(str, found))}" if isinstance(found, dict) and found else ""
        raise ValueError(f"holds no tensors by name but a {type(found).__name__}{keys}; {_REMEDY}")
    return {
        key: {name: _array(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}
        for key, tensors in groups.items()
    }


def _groups(found: Any, key: str, seen: set[int]) -> dict[str, dict[str, _Tensor]]:
    """The dictionaries that hold tensors, by their keys; each once. An optimiser's are under numbers, not text."""
    if not isinstance(found, dict) or id(found) in seen:
        return {}
    seen.add(id(found))
    entries = {str(name): getattr(x, "data", x) for name, x in found.items()}
    tensors = {name: x for name, x in entries.items() if isinstance(x, _Tensor)}
    groups = {key: tensors} if tensors else {}
    for name, x in found.items():
        if isinstance(name, str):
            groups |= _groups(x, f"{key}.{name}" if key else name, seen)
    return groups


class _Unpickler(pickle.Unpickler):
    """Understands the names that rebuild tensors, and refuses all others; `seen` are the storages referred to."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file, encoding="utf-8")
        self.seen: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the few functions and classes of a state dict."""
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        # New lambdas each time: nothing that a file does to them outlives its reading.
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor"): lambda *args: _Tensor(*args),
            ("torch._utils", "_rebuild_tensor_v2"): lambda *args: _Tensor(*args[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch.nn.parameter", "Parameter"): _Parameter,
            ("torch", "Size"): tuple,
            **{(name, "scalar"): _Ignored for name in ("numpy.core.multiarray", "numpy._core.multiarray")},
            ("numpy", "dtype"): _Ignored,
            ("_codecs", "encode"): _Ignored,  # the bytes of such a number
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor, so it was not read; {_REMEDY}")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Notes which storage is meant; its bytes are read later."""
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(part is not None for part in view):
            raise pickle.UnpicklingError(f"it refers to {pid!r}, which is no plain storage; {_REMEDY}")
        return self.seen.setdefault(str(key), _Storage(str(key), dtype, int(numel)))


def _read_zip(file: io.BufferedIOBase) -> tuple[Any, dict[str, NDArray[Any]]]:
    """The pickled object and its storages, from an archive of torch 1.6 or later."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickled = next((name for name in names if name.endswith("data.pkl")), None)
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise ValueError(
                "a TorchScript archive, which holds a program; save its weights alone: "
                "torch.save(torch.jit.load(path).state_dict(), other_path)"
            )
        if pickled is None:
            raise ValueError(f"a zip archive, but not of torch.save; {_REMEDY}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError(f"a compressed zip archive, which torch.save never writes; {_REMEDY}")
        root = pickled.removesuffix("data.pkl")
        order = archive.read(root + "byteorder").decode() if root + "byteorder" in names else "little"
        found, seen = _unpickle(io.BytesIO(archive.read(pickled)))
        return found, {
            key: np.frombuffer(archive.read(f"{root}data/{key}"), _ordered(storage.dtype, order))
            for key, storage in seen.items()
        }


def _read_legacy(file: io.BufferedIOBase) -> tuple[Any, dict[str, NDArray[Any]]]:
    """The pickled object and its storages, from a file of torch 1.5 or earlier."""
    file.seek(0)
    if _unpickle(file)[0] != MAGIC or _unpickle(file)[0] != PROTOCOL:
        raise ValueError(f"not a file that torch.save wrote; {_REMEDY}")
    system, _ = _unpickle(file)
    found, seen = _unpickle(file)
    storages = {}
    for key in _unpickle(file)[0]:
        (numel,) = struct.unpack("<q", file.read(8))
        dtype = _ordered(seen[str(key)].dtype, "little" if system["little_endian"] else "big")
        storages[str(key)] = np.frombuffer(file.read(numel * dtype.itemsize), dtype, numel)
    return found, storages


def _unpickle(file: io.BufferedIOBase) -> tuple[Any, dict[str, _Storage]]:
    """The next pickled object of a file, and the storages that it refers to."""
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.seen


def _ordered(dtype: np.dtype[Any], order: str) -> np.dtype[Any]:
    """The type in the byte order of the machine that wrote the file."""
    if order not in ("little", "big"):
        raise ValueError(f"unknown byte order {order!r}")
    return dtype.newbyteorder("<" if order == "little" else ">")


def _array(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """A tensor's numbers, where they are if the byte order allows; one that reaches beyond its storage is an error."""
    size, stride, offset = tuple(tensor.size), tuple(tensor.stride), tensor.offset
    empty = 0 in size
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or math.prod(size) > storage.size or (last >= storage.size and not empty):
        raise ValueError(f"a tensor of size {size} and stride {stride} at {offset} in a storage of {storage.size}")
    steps = tuple(step * storage.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps)
    return view.astype(storage.dtype.newbyteorder("="), copy=False)
