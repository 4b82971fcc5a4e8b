"""Names of OSNet's arrays in the files of each publisher: torchreid (deep-person-reid) and this library.

torchreid calls a kernel `conv2.0.conv2b.1.conv2.weight` (`conv2.0.conv2.1.layers.1.conv2.weight` in the AIN form),
stored as (out, in, 3, 3); our own files say `block2a_stream2b_conv.kernel`. Each form has its names. A file may have
the batch normalisations folded into the convolutions, which then have biases, and may lack the own vector's dense layer
(`fc`). Any of them becomes the nested dictionary of `osnet`, or one error that lists everything that is wrong.
"""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from dsr_jax.formats import named_arrays
from dsr_jax.formats.named_arrays import Tensors
from dsr_jax.layers import osnet_table
from dsr_jax.layers.batch_norm import EPSILON, STATISTICS
from dsr_jax.layers.osnet_table import norm
from dsr_jax.layers.parameters import Params

# torchreid's name of each leaf of ours.
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_NORM = ("scale", "bias", *STATISTICS)
_PARTS = {
    "gate_conv1": "gate.fc1",
    "gate_conv2": "gate.fc2",
    "shortcut_conv": "downsample.conv",
    "shortcut_norm": "downsample.bn",
    "instance_norm": "IN",
    **{f"conv{number}": f"conv{number}.conv" for number in (1, 3)},
    **{f"norm{number}": f"conv{number}.bn" for number in (1, 3)},
}
_WHOLE = {
    "block1_conv": "conv1.conv",
    "block1_norm": "conv1.bn",
    "block1_instance_norm": "conv1.bn",
    "block5_conv": "conv5.conv",
    "block5_norm": "conv5.bn",
    "vector": "fc.0",
    "vector_norm": "fc.1",
}


@dataclasses.dataclass(frozen=True)
class Names:
    """The names of one form: "plain", "ibn" or "ain"."""

    form: str
    NAMINGS: ClassVar = ("dsr_jax", "torchreid")

    def to_params(self, tensors: Tensors, *, width: float | None = None) -> Params:
        """The network in a file's arrays; the width is by default that of the first convolution.

        Raises:
          ValueError: if the arrays are not exactly such a network, hold NaN or infinite values, or negative variances.

        Example:
          >>> Names("plain").to_params({"conv1.conv.weight": np.ones((16, 3, 7, 7), np.float32)})
          Traceback (most recent call last):
          ValueError: not an OSNet of form 'plain' and width 0.25 in torchreid names;
            missing: ...
        """
        name = self.naming(tensors)
        width = width or self._width(tensors, name)
        places = self.layers(name)
        file_of = {place: key for key, place in places.items()}
        needed = set(self._needed(folded=file_of["block5_conv", "bias"] in tensors))
        for layer in ("vector", "vector_norm"):
            if file_of[layer, "bias"] in tensors:
                needed |= {place for place in file_of if place[0] == layer}
        entries = {key: place for key, place in places.items() if place in needed}
        shapes = {key: self._shape(width, *place) for key, place in entries.items()}
        title = f"OSNet of form {self.form!r} and width {width:g} in {name} names"
        lacking = [key for key in entries if key not in tensors]
        no_statistics = bool(lacking) and all(entries[key][1] in STATISTICS for key in lacking)
        how: dict[str, Any] = {"title": title, "transposed": name == "torchreid"}
        how["hint"] = named_arrays.NO_STATISTICS if no_statistics else ""
        params = named_arrays.to_params(tensors, entries, shapes, **how)
        named_arrays.check_variances(params, entries)
        return params

    def naming(self, tensors: Collection[str]) -> str:
        """The publisher of most of a file's names: "dsr_jax" or "torchreid".

        Example:
          >>> Names("ain").naming(["conv5.bn.weight"])
          'torchreid'
        """
        return max(self.NAMINGS, key=lambda name: len(self.layers(name).keys() & set(tensors)))

    def layers(self, naming: str) -> Mapping[str, tuple[str, str]]:
        """A file's names of all arrays that there may be, each with the layer and leaf that it is.

        Example:
          >>> Names("ain").layers("torchreid")["conv2.0.conv2.1.layers.1.bn.bias"]
          ('block2a_stream2b_norm', 'bias')
        """
        return _layers(self, naming)

    def _needed(self, *, folded: bool) -> Iterator[tuple[str, str]]:
        """Layer and leaf of every array up to the maps."""
        for name, layer in osnet_table.layers(1.0, self.form).items():
            yield name, "kernel"
            if layer.then == "bias" or (layer.then == "batch" and folded):
                yield name, "bias"
            if layer.then == "batch" and not folded:
                yield from ((norm(name), leaf) for leaf in _NORM)
        for name in osnet_table.instance_norms(1.0, self.form):
            yield from ((name, leaf) for leaf in ("scale", "bias"))

    def _torchreids(self, layer: str) -> str:
        """torchreid's name of a layer: block2a_norm1 is conv2.0.conv1.bn."""
        if layer in _WHOLE:
            return _WHOLE[layer]
        unit, part = layer.split("_", 1)
        block = unit[5]
        if unit == f"block{block}":  # what is behind the units
            sequence = f"pool{block}.0" if self.form == "ain" else f"conv{block}.2.0"
            return f"{sequence}.{'bn' if part == 'norm' else 'conv'}"
        unit = f"conv{block}.{'ab'.index(unit[6])}"
        if part in _PARTS:
            return f"{unit}.{_PARTS[part]}"
        stream, kind = part.removeprefix("stream").split("_")
        number, place = int(stream[0]), "abcd".index(stream[1])
        if self.form == "ain":
            sequence = f"conv2.{number - 1}.layers.{place}"
        else:
            sequence = f"conv2{'abcd'[number - 1]}" + (f".{place}" if number > 1 else "")
        return f"{unit}.{sequence}.{ {'point': 'conv1', 'conv': 'conv2', 'norm': 'bn'}[kind] }"

    def _shape(self, width: float, layer: str, leaf: str) -> tuple[int, ...]:
        table = osnet_table.layers(width, self.form)
        if layer.startswith("vector"):
            depth = table["block5_conv"].kernel[3]
            return (depth, osnet_table.VECTOR) if leaf == "kernel" else (osnet_table.VECTOR,)
        instances = osnet_table.instance_norms(width, self.form)
        if layer in instances:
            return (instances[layer],)
        kernel = table[layer.replace("norm", "conv")].kernel
        return kernel if leaf == "kernel" else (kernel[3],)

    def _width(self, tensors: Tensors, name: str) -> float:
        """The width that the first convolution has; 1 if there is none."""
        kernel = tensors.get("block1_conv.kernel" if name == "dsr_jax" else "conv1.conv.weight")
        if kernel is None or kernel.ndim != 4:
            return 1.0
        return named_arrays.kernel(kernel, name == "torchreid").shape[3] / osnet_table.CHANNELS


@functools.cache  # asked of every file of weights, whatever it holds
def _layers(names: Names, naming: str) -> Mapping[str, tuple[str, str]]:
    """See `Names.layers`."""
    vector = [("vector", "kernel"), ("vector", "bias"), *(("vector_norm", leaf) for leaf in _NORM)]
    places = [*names._needed(folded=False), *names._needed(folded=True), *vector]
    if naming == "dsr_jax":
        return MappingProxyType({f"{layer}.{leaf}": (layer, leaf) for layer, leaf in places})
    return MappingProxyType({f"{names._torchreids(layer)}.{LEAVES[leaf]}": (layer, leaf) for layer, leaf in places})


# By the network's name on a card.
NAMES = {"osnet": Names("plain"), "osnet_ibn": Names("ibn"), "osnet_ain": Names("ain")}


def unfolded(params: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """The same network with batch normalisations, which do nothing but add the biases, where they were folded.

    Example:
      >>> bias = np.ones(2, np.float32)
      >>> sorted(unfolded({"block5_conv": {"kernel": np.ones((1, 1, 2, 2)), "bias": bias}}))
      ['block5_conv', 'block5_norm']
    """
    if not osnet_table.folded(params):
        return params
    batch = {name for name, layer in osnet_table.layers(1.0, osnet_table.form(params)).items() if layer.then == "batch"}
    found: Params = {}
    for name, leaves in params.items():
        found[name] = {k: x for k, x in leaves.items() if name not in batch or k == "kernel"}
        if name in batch:
            bias = np.asarray(leaves["bias"])
            ones, zeros = np.ones_like(bias), np.zeros_like(bias)
            found[norm(name)] = {"scale": ones, "bias": bias, "mean": zeros, "var": ones - np.float32(EPSILON)}
    return found
