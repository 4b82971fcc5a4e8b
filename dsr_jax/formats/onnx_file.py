"""Reader of the weights in an ONNX file, under the names that they had in torch; it needs no onnx.

An exporter of torch names what it computes after the module that does: the node `/conv2/conv2.0/conv1/conv/Conv` is the
module `conv2.0.conv1.conv`. Arrays that it changed, as by folding a batch normalisation into a convolution, lose their
names (`onnx::Conv_1050`), and get them back from the node; the others keep theirs. Only layers that hold weights are
looked at: convolutions, dense layers, normalisations.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dsr_jax.formats.protobuf import Message

# Names of a layer's arrays in torch, in the order of a node's inputs behind the first.
LEAVES = {
    "Conv": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("weight", "bias"),
}
# Types of the arrays by ONNX's number, and where their numbers are if not in raw bytes: a field, and what is in it.
TYPES: dict[int, tuple[Any, int, str]] = {
    1: (np.float32, 4, "f"),
    11: (np.float64, 10, "d"),
    10: (np.float16, 5, "bits"),
    16: (jnp.bfloat16, 5, "bits"),
    6: (np.int32, 5, "whole"),
    7: (np.int64, 7, "whole"),
}
_GRAPH, _PRODUCER = 7, 2  # fields of a model
_REMEDY = "export it by torch.onnx.export(model, images, path, dynamo=False), which names nodes after modules"


class _Node(NamedTuple):
    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Message]


def looks_like(head: bytes) -> bool:
    """Whether a file with these first bytes may be an ONNX model: a version of its format, then a field of text.

    Example:
      >>> looks_like(bytes([8, 7, 18, 7]) + b"pytorch"), looks_like(b"PK")
      (True, False)
    """
    return len(head) > 3 and head[0] == 0x08 and 2 < head[1] < 64 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A)


def read(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The weights of an ONNX model.

    Returns:
      Torch's name of every array, and remarks on how they were found.

    Raises:
      ValueError: if the file is damaged or cut off, holds no network, keeps its weights elsewhere, or its arrays have
        no names.
    """
    model = Message(memoryview(path.read_bytes()))
    if _GRAPH not in model:
        raise ValueError("an ONNX model without a graph: it is cut off or damaged")
    graph = model.messages(_GRAPH)[0]
    nodes = [_node(message) for message in graph.messages(1)]
    arrays = {message.text(8): message for message in graph.messages(5)}
    arrays |= {node.outputs[0]: node.attributes["value"].messages(5)[0] for node in nodes if _is_constant(node)}
    same = {node.outputs[0]: node.inputs[0] for node in nodes if node.kind == "Identity"}
    tensors: dict[str, NDArray[Any]] = {}
    seen: set[str] = set()
    nameless = 0
    for node in nodes:
        for leaf, name in zip(LEAVES.get(node.kind, ()), node.inputs[1:], strict=False):
            while name in same:
                name = same[name]
            if name not in arrays or name in seen:  # computed, or of a module that is run several times
                continue
            seen.add(name)
            key, has_name = _key(node, name, leaf)
            nameless += not has_name
            if key in tensors:
                raise ValueError(f"two arrays would be {key!r}, the second is {name!r}; {_REMEDY}")
            array = _array(arrays[name])
            tensors[key] = array.T if leaf == "weight" and _transposed(node) else array
    if not tensors:
        kinds = sorted({node.kind for node in nodes})
        raise ValueError(
            f"no layers with weights in the ONNX model, but {', '.join(kinds[:8]) or 'nothing'}; {_REMEDY}"
        )
    remark = f"{nameless} of its arrays have the names of the ONNX nodes that they are in"
    return tensors, [remark] if nameless else []


def _node(message: Message) -> _Node:
    attributes = {attribute.text(1): attribute for attribute in message.messages(5)}
    return _Node(message.text(4), message.text(3), message.texts(1), message.texts(2), attributes)


def _is_constant(node: _Node) -> bool:
    return node.kind == "Constant" and "value" in node.attributes and 5 in node.attributes["value"]


def _transposed(node: _Node) -> bool:
    """Whether a dense layer's array is (in, out): torch's are (out, in)."""
    return node.kind == "Gemm" and ("transB" not in node.attributes or not node.attributes["transB"].number(3))


def _key(node: _Node, name: str, leaf: str) -> tuple[str, bool]:
    """Torch's name of an array, and whether the file has it.

    Raises:
      ValueError: if neither the array nor its node has one.
    """
    if name.endswith(f".{leaf}") and "::" not in name:
        return name, True
    parts: list[str] = []
    for part in node.name.split("/")[1:-1]:  # behind the first sign, without the operation
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part  # a place in a sequence: conv2, conv2.0
        else:
            parts.append(part)
    if not parts:
        raise ValueError(f"array {name!r} of node {node.name!r} has no name of a module; {_REMEDY}")
    return ".".join([*parts, leaf]), False


def _array(message: Message) -> NDArray[Any]:
    """The numbers of an array."""
    name, shape, number = message.text(8), tuple(message.numbers(1)), message.number(2)
    if message.number(14) or 13 in message:
        raise ValueError(f"array {name!r} lies in another file: save the model with its weights inside")
    if number not in TYPES:
        raise ValueError(f"array {name!r} has ONNX's type {number}: floating point is needed, not a quantised network")
    dtype, field, how = TYPES[number]
    dtype = np.dtype(dtype)
    if 9 in message:
        raw = message.bytes(9)
        if len(raw) % dtype.itemsize:
            raise ValueError(f"array {name!r} has {len(raw)} bytes, no whole number of {dtype}")
        values = np.frombuffer(raw, dtype.newbyteorder("<") if dtype.kind in "fi" else dtype).astype(dtype, copy=False)
    elif how == "bits":
        values = np.array(message.numbers(field), np.uint16).view(dtype)
    else:
        numbers = message.floats(field, how) if how in "fd" else message.numbers(field)
        values = np.array(numbers, dtype)
    if min(shape, default=0) < 0 or math.prod(shape) != values.size:
        raise ValueError(f"array {name!r} of shape {shape} has {values.size} numbers: the file is damaged")
    return values.reshape(shape)
