"""Readers of weights files: NumPy's `.npz`, safetensors, torch's state dicts, ONNX models.

The content decides about the format, not the name. An error says what another file is: a Git LFS pointer, a web page,
text, HDF5, a TorchScript archive, a file that is cut off. Of several state dicts in a file, and of names with a prefix,
`prefixes` finds the network's.
"""

import codecs
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors

from dsr_jax.formats import card as cards
from dsr_jax.formats import onnx_file, prefixes, torch_file
from dsr_jax.formats.named_arrays import Tensors
from dsr_jax.layers.parameters import member_of

ERRORS = (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error, safetensors.SafetensorError)
TORCH, NPZ, SAFETENSORS, ONNX = "a torch state dict", "NumPy's .npz", "safetensors", "an ONNX model"
READ = f"{NPZ}, {SAFETENSORS}, {TORCH} and {ONNX} are read"
# Files by their first bytes, and what to do about them.
OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: fetch that by 'git lfs pull'",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file of Keras: save its arrays by numpy.savez, named as block1_conv1/kernel",
    b"\x93NUMPY": "a single array of NumPy's: save all of them by name, by numpy.savez",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"BZh": "compressed by bzip2: unpack it",
    b"\xfd7zXZ": "compressed by xz: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a rar archive: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it",
}


class Content(NamedTuple):
    """The arrays of a file, its card if it is ours, and remarks on how they were found."""

    tensors: Tensors
    card: cards.Card | None
    remarks: list[str]


def read(file: Path) -> Content:
    """Reads a file: arrays under its own names, less a prefix that those of the network share.

    Raises:
      ValueError: if it cannot be read, or holds several networks.
    """
    kind = "a weights file"
    named: list[str] = []
    try:
        kind = _kind(file)
        if kind == NPZ:
            with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as archive:
                groups, card = {"": dict(archive)}, None
        elif kind == SAFETENSORS:
            with safetensors.safe_open(file, framework="numpy") as archive:
                groups = {"": {name: archive.get_tensor(name) for name in archive.keys()}}
                card = cards.parse(archive.metadata())
            if card and any(map(member_of, groups[""])):  # an ensemble: its prefixes are its members'
                return Content(groups[""], card, [])
        elif kind == ONNX:
            arrays, named = onnx_file.read(file)
            groups, card = {"": arrays}, None
        else:
            groups, card = torch_file.read_state_dicts(file), cards.read_beside(file)
        unwrapped = {key: prefixes.unwrapped(tensors) for key, tensors in groups.items()}
        place = prefixes.find(unwrapped)
        remarks = [*named, *([f"the network is the one under its key {place.key!r}"] if place.key else [])]
        if list(unwrapped[place.key]) != list(groups[place.key]):
            wrappers = sorted({part for name in groups[place.key] for part in name.split(".")} & prefixes.WRAPPERS)
            remarks.append(
                f"its names are read without {' and '.join(map(repr, wrappers))}, which wrappers of torch add"
            )
        if place.prefix:
            remarks.append(f"its names are read without {place.prefix!r}, with which they begin")
        return Content(prefixes.without(unwrapped[place.key], place.prefix), card, remarks)
    except ERRORS as error:
        raise ValueError(f"weights file {str(file)!r} cannot be read as {kind}: {error}") from error


def _kind(file: Path) -> str:
    """The format of a file.

    Raises:
      ValueError: if it has none of them, saying what it is.
    """
    with file.open("rb") as opened:
        head = opened.read(512)
    if head.startswith(b"PK"):
        return _kind_of_zip(file)
    if head[8:9] == b"{" and head[6:8] == b"\0\0":  # a header of a length below 2^48
        return SAFETENSORS
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return TORCH
    if onnx_file.looks_like(head):
        return ONNX
    described = next((words for start, words in OTHERS.items() if head.startswith(start)), "") or _described(head)
    raise ValueError(f"it is {described}; {READ}")


def _kind_of_zip(file: Path) -> str:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is a zip archive (of torch or NumPy) that is cut off: copy or download it again")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.endswith((".pkl", "/version")) for name in names):
        return TORCH
    if all(name.endswith(".npy") for name in names):
        return NPZ
    raise ValueError(f"it is a zip archive of {', '.join(names[:5])}{', ...' if names[5:] else ''}; {READ}")


def _described(head: bytes) -> str:
    """The likely content of a file of no known format, in words."""
    if not head:
        return "empty: copy or download it again"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).strip()  # it may end within a letter
    except UnicodeDecodeError:
        text = "\0"
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return f"of no known format, or damaged (it begins with {head[:8]!r})"
    page = text[:200].lower()
    if page.startswith("<"):
        return f"{'a web page' if 'html' in page else 'XML'}, not a network (a download that failed?): {text[:60]!r}"
    if page.startswith(("{", "[")):
        return f"JSON, not a network (a configuration or an answer of a server?): {text[:60]!r}"
    return f"text, not a network: {text[:60]!r}"
