"""ONNX files as an exporter of torch writes them, without its package: what tests read."""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": 1, "float64": 11, "float16": 10, "bfloat16": 16, "int64": 7, "int8": 3}


def number(field: int, value: int) -> bytes:
    """A field that is a whole number."""
    return varint(field << 3) + varint(value)


def part(field: int, value: bytes | str) -> bytes:
    """A field that is bytes, text, or a message."""
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out, value = b"", value & (1 << 64) - 1
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def array(name: str, x: np.ndarray, *, raw: bool = True) -> bytes:
    """An array, its numbers as raw bytes or, of float32 and float64, one after the other."""
    head = b"".join(number(1, side) for side in x.shape) + number(2, TYPES[x.dtype.name]) + part(8, name)
    if raw:
        return head + part(9, np.ascontiguousarray(x).tobytes())
    letter, field = {"float32": ("f", 4), "float64": ("d", 10)}[x.dtype.name]
    return head + part(field, struct.pack(f"<{x.size}{letter}", *x.ravel().tolist()))


def node(kind: str, name: str, inputs: Iterable[str], output: str, attributes: Iterable[bytes] = ()) -> bytes:
    """A node of one output."""
    head = b"".join(part(1, one) for one in inputs) + part(2, output) + part(3, name) + part(4, kind)
    return head + b"".join(part(5, attribute) for attribute in attributes)


def whole(name: str, value: int) -> bytes:
    """An attribute that is a whole number."""
    return part(1, name) + number(3, value) + number(20, 2)


def write(path: Path, nodes: Iterable[bytes], arrays: Mapping[str, Any], *, raw: bool = True) -> Path:
    """A model of these nodes and arrays."""
    graph = b"".join(part(1, one) for one in nodes) + part(2, "main_graph")
    graph += b"".join(part(5, array(name, np.asarray(x), raw=raw)) for name, x in arrays.items())
    path.write_bytes(number(1, 7) + part(2, "pytorch") + part(7, graph) + part(8, number(2, 12)))
    return path


def scope(module: str) -> str:
    """The name by which an exporter calls a module: conv2.0.conv1 is /conv2/conv2.0/conv1."""
    parts: list[str] = []
    for piece in module.split("."):
        if piece.isdigit():
            # A ModuleList is never called, so the place in it stands alone.
            listed = parts[-1] == "conv2" and len(parts) > 1
            parts = [*parts[:-1], f"{parts[-1]}.{piece}"] if listed else [*parts, f"{parts[-1]}.{piece}"]
        else:
            parts.append(piece)
    return "/" + "/".join(parts)


def osnet(path: Path, state: Mapping[str, np.ndarray], **options: Any) -> Path:
    """An OSNet of torchreid's names, its batch normalisations folded into its convolutions, which lose their names."""
    nodes, arrays = [], {}
    for key in (key for key in state if key.endswith(".weight") and state[key].ndim == 4):
        module = key.removesuffix(".weight")
        bn = module.removesuffix("conv2") + "bn" if module.endswith(".conv2") else module.removesuffix("conv") + "bn"
        weight, inputs = state[key], [key, *([f"{module}.bias"] if f"{module}.bias" in state else [])]
        if f"{bn}.running_var" in state:
            factor = state[f"{bn}.weight"] / np.sqrt(state[f"{bn}.running_var"] + np.float32(1e-5))
            bias = state[f"{bn}.bias"] - state[f"{bn}.running_mean"] * factor
            inputs = [f"onnx::Conv_{len(arrays) + 1000}", f"onnx::Conv_{len(arrays) + 1001}"]
            arrays |= {inputs[0]: weight * factor[:, None, None, None], inputs[1]: bias}
        else:
            arrays |= {name: state[name] for name in inputs}
        copies = 4 if ".gate." in key else 1  # a module that is run several times
        for copy in range(copies):
            name = f"{scope(module)}{f'_{copy}' if copy else ''}/Conv"
            nodes.append(node("Conv", name, ["x", *inputs], f"{name}_output_0"))
    for module in (key.removesuffix(".bias") for key in state if key.endswith((".bn.bias", ".IN.bias"))):
        if f"{module}.running_var" not in state:
            arrays |= {f"{module}.{leaf}": state[f"{module}.{leaf}"] for leaf in ("weight", "bias")}
            inputs = ["x", f"{module}.weight", f"{module}.bias"]
            nodes.append(node("InstanceNormalization", f"{scope(module)}/InstanceNormalization", inputs, module))
    dense = {name: x for name, x in state.items() if name.startswith("fc.") and x.dtype.kind == "f"}
    inputs = ["x", "fc.0.weight", "fc.0.bias"]
    nodes.append(node("Gemm", "/fc/fc.0/Gemm", inputs, "dense", [whole("transB", 1)]))
    leaves = ("weight", "bias", "running_mean", "running_var")
    nodes.append(node("BatchNormalization", "/fc/fc.1/BN", ["dense", *(f"fc.1.{leaf}" for leaf in leaves)], "output"))
    return write(path, nodes, arrays | dense | {"/Constant": np.array([0])}, **options)
