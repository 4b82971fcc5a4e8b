"""Write a torch state dict (`.pth`) with no torch installed; `torch_file` is the way back.

What is written is the archive of torch 1.6 and later: a pickle that refers to raw storages, and the storages. Python's
own pickler would have to import torch to name the functions that rebuild a tensor, so the few opcodes are written here.
"""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsr_jax.formats.torch_file import STORAGES


def content(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of a `.pth` file, in the format of torch 1.6 and later; the same arrays give the same bytes.

    Args:
      tensors: name to array, of any type that torch has a storage for.

    Returns:
      What `torch.load(path, weights_only=True)` reads as an `OrderedDict` of tensors.

    Raises:
      ValueError: for another type of array.

    Example:
      >>> import io, zipfile
      >>> import numpy as np
      >>> from dsr_jax.formats import torch_pickle
      >>> zipfile.ZipFile(io.BytesIO(torch_pickle.content({"bias": np.ones(2, np.float32)}))).namelist()
      ['archive/data.pkl', 'archive/byteorder', 'archive/data/0', 'archive/version']
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:

        def put(name: str, what: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), what)

        put("data.pkl", _opcodes(tensors))
        put("byteorder", b"little")
        for key, x in enumerate(tensors.values()):
            put(f"data/{key}", np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes())
        put("version", b"3\n")
    return buffer.getvalue()


def _opcodes(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """An OrderedDict of tensors, each of which refers to the storage of its number."""
    names = {dtype: name for name, dtype in STORAGES.items()}
    entries = []
    for key, (name, x) in enumerate(tensors.items()):
        if x.dtype.newbyteorder("=") not in names:
            raise ValueError(f"{name} has type {x.dtype}: torch files hold {', '.join(map(str, names))}")
        kind = _global("torch", names[x.dtype.newbyteorder("=")])
        storage = _tuple([_text("storage"), kind, _text(str(key)), _text("cpu"), _integer(x.size)]) + pickle.BINPERSID
        shape = _tuple(map(_integer, x.shape))
        strides = _tuple(_integer(math.prod(x.shape[axis + 1 :])) for axis in range(x.ndim))
        tensor = _tuple([storage, _integer(0), shape, strides, pickle.NEWFALSE, _EMPTY])  # no gradient, no hooks
        entries.append(_text(name) + _global("torch._utils", "_rebuild_tensor_v2") + tensor + pickle.REDUCE)
    return b"".join([pickle.PROTO, b"\x02", _EMPTY, pickle.MARK, *entries, pickle.SETITEMS, pickle.STOP])


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text.encode())) + text.encode()


def _integer(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _tuple(parts: Iterable[bytes]) -> bytes:
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


_EMPTY = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
