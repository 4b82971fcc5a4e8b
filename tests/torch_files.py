"""State dicts as `torch.save` writes them, without torch: what tests read.

Python's pickler, in Python, refers to tensors as torch does: by the storage of raw numbers that each is rebuilt from.
"""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

from dsr_jax.formats.torch_file import STORAGES

NAMES = {dtype: name for name, dtype in STORAGES.items()}


class Global:
    """A function by its name."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Storage:
    """What a persistent id stands for."""

    def __init__(self, x: np.ndarray):
        self.x = x


class Pickler(pickle._Pickler):
    """Lets functions be named that cannot be imported."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream, protocol=2)
        self.storages: list[bytes] = []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages.append(np.ascontiguousarray(obj.x).tobytes())
        kind = Global("torch", NAMES[obj.x.dtype])
        return ("storage", kind, str(len(self.storages) - 1), "cpu", obj.x.size)

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, np.ndarray):
            strides = tuple(int(s) // obj.itemsize for s in np.empty(obj.shape, obj.dtype).strides)
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save((Storage(obj), 0, obj.shape, strides, False, None))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def write(path: Path, content: dict) -> Path:
    """A dictionary of arrays, of state dicts and of other things as a `.pth` file of torch 1.6 and later."""
    stream = io.BytesIO()
    pickler = Pickler(stream)
    pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        for key, x in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{key}", x)
    return path
