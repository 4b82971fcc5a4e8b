"""Names of ResNet-50's arrays in the files of each publisher: torchvision and this library.

torchvision calls the last unit's 3 x 3 kernel `layer4.2.conv2.weight`, stored as (out, in, 3, 3), and keeps with each
normalisation its weight, bias, running_mean and running_var; our own files say `block5c_conv2.kernel` and
`block5c_norm2.scale`, `.bias`, `.mean`, `.var`. Either becomes the nested dictionary of `resnet`, or one error that
lists everything that is missing, unexpected or mis-shaped, and says which relative of ResNet-50 it seems to be.
"""

import functools
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from dsr_jax import resnet
from dsr_jax.formats import named_arrays
from dsr_jax.formats.named_arrays import Tensors
from dsr_jax.layers.parameters import Params, block_of

NAMINGS = ("dsr_jax", "torchvision")
# torchvision's name of each leaf of ours.
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# torchvision's, and those of re-identification code which keeps torchvision's names (torchreid and the strong baseline,
# AGW and TransReID; fast-reid; timm).
CLASSIFIERS = ("fc", "classifier", "heads", "heads.classifier", "head", "head.fc")
# An array of the network's last layer: as many numbers as its maps have channels.
LAST = "layer4.2.bn3.weight"
# Units of layer1 to layer4 of the published relatives.
RELATIVES = {
    (2, 2, 2, 2): "ResNet-18",
    (3, 4, 6, 3): "ResNet-34",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def to_params(tensors: Tensors, *, width: float | None = None) -> Params:
    """The network in a file's arrays; a classifier beside it is ignored (see `classifier`).

    The width, channels as a multiple of ResNet-50's, is by default that of the first convolution.

    Raises:
      ValueError: if the arrays are not exactly such a network, hold NaN or infinite values, or negative variances.

    Example:
      >>> to_params({"conv1.weight": np.ones((64, 3, 7, 7), np.float32)})
      Traceback (most recent call last):
      ValueError: not a ResNet-50 of width 1 in torchvision names;
        missing: ...
    """
    name = naming(tensors)
    width = width or _width(tensors, name)
    kernels = resnet.shapes(width)
    entries = layers(name)
    shapes = {
        key: kernels[layer] if leaf == "kernel" else (kernels[layer.replace("norm", "conv")][3],)
        for key, (layer, leaf) in entries.items()
    }
    title, transposed = f"ResNet-50 of width {width:g} in {name} names", name == "torchvision"
    how: dict[str, Any] = {"title": title, "transposed": transposed, "hint": _hint(tensors, entries)}
    params = named_arrays.to_params(tensors, entries, shapes, **how)
    named_arrays.check_variances(params, entries)
    return params


def naming(tensors: Collection[str]) -> str:
    """The publisher of most of a file's names: "dsr_jax" or "torchvision".

    Example:
      >>> naming(["layer1.0.conv1.weight"])
      'torchvision'
    """
    return max(NAMINGS, key=lambda name: len(layers(name).keys() & set(tensors)))


def classifier(tensors: Tensors) -> dict[str, np.ndarray]:
    """The file's classifier as a head: kernel (d, classes) and bias (classes,), zero where the file has none.

    Empty if there is no classifier, or if one stands behind a neck (batch normalisation, an embedding), so that it
    classifies something else than the average of the maps.

    Raises:
      ValueError: if its parts do not fit together, or to the network's last layer.

    Example:
      >>> fc = {"fc.weight": np.ones((10, 8), np.float32), "fc.bias": np.ones(10, np.float32)}
      >>> classifier(fc)["kernel"].shape
      (8, 10)
    """
    names = [(f"{name}.weight", f"{name}.bias") for name in CLASSIFIERS]
    found = next((pair for pair in names if set(pair) & tensors.keys()), None)
    if found is None or any(named_arrays.NECK.match(key) for key in tensors):
        return {}
    if found[0] not in tensors:
        raise ValueError(f"the classifier has no {found[0]}")
    kernel = named_arrays.float32(found[0], tensors[found[0]])
    bias = named_arrays.float32(found[1], tensors.get(found[1], np.zeros(kernel.shape[:1], np.float32)))
    last = tensors.get(LAST, kernel[0] if kernel.ndim == 2 and len(kernel) else np.empty(0))
    if kernel.ndim != 2 or bias.shape != kernel.shape[:1] or kernel.shape[1:] != last.shape:
        raise ValueError(
            f"the classifier's {found[0]} {kernel.shape} and {found[1]} {bias.shape} do not fit: expected "
            f"(classes, {last.size}) and (classes,)"
        )
    return {"kernel": np.ascontiguousarray(kernel.T), "bias": bias}


@functools.cache
def layers(naming: str) -> Mapping[str, tuple[str, str]]:
    """A file's names of all arrays, each with the layer and leaf that it is.

    Example:
      >>> layers("torchvision")["layer4.2.bn2.running_var"]
      ('block5c_norm2', 'var')
    """
    entries = {}
    for name in resnet.shapes():
        norm = resnet.norm(name)
        leaves = [(name, "kernel"), *((norm, leaf) for leaf in ("scale", "bias", *resnet.STATISTICS))]
        for layer, leaf in leaves:
            ours = f"{layer}.{leaf}"
            entries[ours if naming == "dsr_jax" else f"{_torchvisions(layer)}.{LEAVES[leaf]}"] = (layer, leaf)
    return MappingProxyType(entries)


def _torchvisions(layer: str) -> str:
    """torchvision's name of a layer: block1_norm is bn1, block5c_conv2 layer4.2.conv2, its shortcut downsample.0."""
    if layer.startswith("block1_"):
        return {"block1_conv": "conv1", "block1_norm": "bn1"}[layer]
    unit, part = layer.split("_", 1)
    part = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}.get(part, part.replace("norm", "bn"))
    return f"layer{block_of(unit) - 1}.{'abcdef'.index(unit[6])}.{part}"


def _width(tensors: Tensors, name: str) -> float:
    """The width that the first convolution has; 1 if there is none."""
    kernel = tensors.get("block1_conv.kernel" if name == "dsr_jax" else "conv1.weight")
    if kernel is None or kernel.ndim != 4:
        return 1.0
    return named_arrays.kernel(kernel, name == "torchvision").shape[3] / resnet.CHANNELS


def _hint(tensors: Tensors, entries: Collection[str]) -> str:
    """The network that the file seems to hold instead, in words; empty if unknown."""
    units = [re.match(r"layer([1-4])\.(\d+)\.", key) for key in tensors]
    counts = [len({u[2] for u in units if u and u[1] == layer}) for layer in "1234"]
    bottleneck = "layer1.0.conv3.weight" in tensors
    relative = RELATIVES.get((counts[0], counts[1], counts[2], counts[3]), "")
    if relative and bottleneck == (relative in ("ResNet-101", "ResNet-152")):
        return f"it seems to be a {relative}"
    first, stem = tensors.get("layer1.0.conv1.weight"), tensors.get("conv1.weight")
    if bottleneck and first is not None and stem is not None and len(first) != len(stem):
        return "its units are wider than a ResNet-50's: it seems to be a Wide ResNet or a ResNeXt"
    lacking = [key for key in entries if key not in tensors]
    if lacking and all(key.endswith(("running_mean", "running_var", ".mean", ".var")) for key in lacking):
        return named_arrays.NO_STATISTICS
    return ""
