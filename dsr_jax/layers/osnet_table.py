"""Table of OSNet's layers by width and form, and which of them a network's parameters are."""

import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

CHANNELS = 64  # of block 1
_FACTORS = {2: 4, 3: 6, 4: 8}  # of the units of blocks 2 to 4, as multiples of that
_REDUCTION, _GATE_REDUCTION = 4, 16  # of a unit's channels in its streams, and of a stream's in the gate
VECTOR = 512  # numbers of the own vector
STREAMS = {1: "a", 2: "ab", 3: "abc", 4: "abcd"}  # the light convolutions of each
# Units with instance normalisation of each form; that of block 1 goes with them.
INSTANCE: dict[str, tuple[str, ...]] = {
    "plain": (),
    "ibn": ("block2a", "block2b"),
    "ain": ("block2a", "block2b", "block3b", "block4a"),
}


class Layer(NamedTuple):
    """A convolution: its kernel (side, side, in, out), of depthwise ones (3, 3, 1, out), and what follows it."""

    kernel: tuple[int, int, int, int]
    then: str  # "batch" normalisation, a "bias", or "" for nothing


@functools.cache
def layers(width: float, form: str) -> Mapping[str, Layer]:
    """Every convolution by name, in the order of computation.

    Example:
      >>> table = layers(0.25, "plain")
      >>> len(table), table["block3b_stream2a_conv"], table["block3b_gate_conv1"]
      (151, Layer(kernel=(3, 3, 1, 24), then='batch'), Layer(kernel=(1, 1, 24, 1), then='bias'))
    """
    stem = max(1, round(width * CHANNELS))
    first = "" if INSTANCE[form] else "batch"
    table, width_in = {"block1_conv": Layer((7, 7, 3, stem), first)}, stem
    for block, factor in _FACTORS.items():
        width_out = factor * stem
        for unit in (f"block{block}a", f"block{block}b"):
            inside = form == "ain" and unit in INSTANCE[form]
            table |= _unit(unit, width_in, width_out, "" if inside else "batch")
            width_in = width_out
        if block < 4:
            table[f"block{block}_conv"] = Layer((1, 1, width_out, width_out), "batch")
    return MappingProxyType(table | {"block5_conv": Layer((1, 1, width_in, width_in), "batch")})


def _unit(name: str, width_in: int, width_out: int, expanded: str) -> Iterator[tuple[str, Layer]]:
    """The convolutions of a unit; ``expanded``: what follows the one that expands the channels again."""
    narrow = max(1, width_out // _REDUCTION)
    gate = max(1, narrow // _GATE_REDUCTION)
    yield f"{name}_conv1", Layer((1, 1, width_in, narrow), "batch")
    for stream, steps in STREAMS.items():
        for step in steps:
            yield f"{name}_stream{stream}{step}_point", Layer((1, 1, narrow, narrow), "")
            yield f"{name}_stream{stream}{step}_conv", Layer((3, 3, 1, narrow), "batch")
    yield f"{name}_gate_conv1", Layer((1, 1, narrow, gate), "bias")
    yield f"{name}_gate_conv2", Layer((1, 1, gate, narrow), "bias")
    yield f"{name}_conv3", Layer((1, 1, narrow, width_out), expanded)
    if width_in != width_out:
        yield f"{name}_shortcut_conv", Layer((1, 1, width_in, width_out), "batch")


def norm(convolution: str) -> str:
    """The name of a convolution's batch normalisation.

    Example:
      >>> norm("block2a_stream3b_conv")
      'block2a_stream3b_norm'
    """
    return convolution.replace("conv", "norm")


def instance_norms(width: float, form: str) -> dict[str, int]:
    """The instance normalisations by name, and their channels.

    Example:
      >>> instance_norms(0.25, "ibn")
      {'block1_instance_norm': 16, 'block2a_instance_norm': 64, 'block2b_instance_norm': 64}
    """
    table, units = layers(width, form), INSTANCE[form]
    outputs = {"block1": "block1_conv"} if units else {}
    outputs |= {unit: f"{unit}_conv3" for unit in units}
    return {f"{name}_instance_norm": table[last].kernel[3] for name, last in outputs.items()}


def width(params: Mapping[str, Any]) -> float:
    """Channels as a multiple of OSNet x1.0's, by the first kernel; 1 if there is none."""
    kernel = params.get("block1_conv", {}).get("kernel")
    return 1.0 if kernel is None else kernel.shape[-1] / CHANNELS


def form(params: Mapping[str, Any]) -> str:
    """The form: "plain", "ibn" or "ain".

    Example:
      >>> form({"block1_instance_norm": {}, "block2a_instance_norm": {}})
      'ibn'
    """
    if "block1_instance_norm" not in params:
        return "plain"
    return "ain" if "block3b_instance_norm" in params else "ibn"


def folded(params: Mapping[str, Any]) -> bool:
    """Whether the batch normalisations are folded into the convolutions, which then have biases."""
    return "bias" in params.get("block5_conv", {})
