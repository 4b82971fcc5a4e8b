"""Whose file calls what how: the 13 convolutions of VGG-16 under every publisher's names.

The network of Fig. 3 is VGG-16 without its dense layers. Keras calls its first kernel `block1_conv1/kernel` and stores
it as (3, 3, in, out); torchvision calls it `features.0.weight` and stores (out, in, 3, 3); our own files say
`block1_conv1.kernel`. Here any of them becomes the nested dictionary of `fcn`, or one error that lists everything that
is missing, unexpected or mis-shaped.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dsr_jax import fcn

Tensors = dict[str, NDArray[Any]]

# How each publisher names the kernel and bias of a convolution, by our name of the layer and its index in torchvision's
# `features`. Only torchvision stores kernels as (out, in, 3, 3).
NAMINGS = {
    "dsr_jax": ("{layer}.kernel", "{layer}.bias"),
    "Keras": ("{layer}/kernel", "{layer}/bias"),
    "torchvision": ("features.{index}.weight", "features.{index}.bias"),
}
# Known, and no part of this network: the published networks' dense layers, and a head saved beside ours.
BESIDES = ("fc1/", "fc2/", "predictions/", "classifier.", "head.")


def to_params(tensors: Tensors, *, width: float | None = None) -> fcn.Params:
    """The network in a file's arrays.

    Args:
      tensors: the arrays under the file's own names.
      width: channels as a multiple of VGG-16's; default: what the first convolution has.

    Returns:
      The parameters of `fcn`, in float32.

    Raises:
      ValueError: if the arrays are not exactly such a network, or hold NaN or infinite values.

    Example:
      >>> from dsr_jax import vgg16_names
      >>> vgg16_names.to_params({})
      Traceback (most recent call last):
      ValueError: no VGG-16: expected names such as 'block1_conv1/kernel' or 'features.0.weight', found nothing
    """
    name = naming(tensors)
    entries = _entries(name)
    if not entries.keys() & tensors.keys():
        raise ValueError(
            "no VGG-16: expected names such as 'block1_conv1/kernel' or 'features.0.weight', "
            f"found {_listed(tensors) or 'nothing'}"
        )
    width = width or _width(tensors, entries, name)
    _check(tensors, {key: _stored(shape, name) for key, shape in _shapes(entries, width).items()}, name, width)
    params: fcn.Params = {}
    for key, (layer, leaf) in entries.items():
        params.setdefault(layer, {})[leaf] = jnp.asarray(_loaded(float32(key, tensors[key]), name))
    return params


def naming(tensors: Collection[str]) -> str:
    """Whose names most of a file's names are: "dsr_jax", "Keras" or "torchvision".

    Example:
      >>> from dsr_jax import vgg16_names
      >>> vgg16_names.naming(["features.0.weight", "features.0.bias"])
      'torchvision'
    """
    return max(NAMINGS, key=lambda name: len(_entries(name).keys() & set(tensors)))


def float32(name: str, x: NDArray[Any]) -> NDArray[np.float32]:
    """The array in float32, if it is floating point and all of it finite.

    Args:
      name: what to call it in an error.
      x: an array of any shape.

    Returns:
      The same numbers in float32, contiguous.

    Raises:
      ValueError: for another type, and for NaN or infinite values.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import vgg16_names
      >>> vgg16_names.float32("bias", np.ones(2, np.float16)).dtype
      dtype('float32')
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} has type {x.dtype}, expected floating point")
    converted = np.ascontiguousarray(x, np.float32)
    bad = np.count_nonzero(~np.isfinite(converted))
    if bad:
        raise ValueError(f"{name} has {bad} NaN or infinite values of {x.size}")
    return converted


def _entries(naming: str) -> dict[str, tuple[str, str]]:
    """A file's names of all 26 arrays, each with the layer and leaf that it is."""
    entries, index = {}, 0
    for block, count in enumerate(fcn.CONVOLUTIONS, start=1):
        for number in range(1, count + 1):
            layer = f"block{block}_conv{number}"
            for leaf, name in zip(("kernel", "bias"), NAMINGS[naming], strict=True):
                entries[name.format(layer=layer, index=index)] = (layer, leaf)
            index += 2  # a convolution and its ReLU
        index += 1  # the pool
    return entries


def _shapes(entries: Mapping[str, tuple[str, str]], width: float) -> dict[str, tuple[int, ...]]:
    """The shape here of every array of a network `width` times as wide as VGG-16."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = now = 3
    for key, (layer, leaf) in entries.items():
        if leaf == "kernel":
            before, now = now, max(1, round(width * fcn.CHANNELS[int(layer[5]) - 1]))
        shapes[key] = (3, 3, before, now) if leaf == "kernel" else (now,)
    return shapes


def _width(tensors: Tensors, entries: Mapping[str, tuple[str, str]], name: str) -> float:
    """The width that the first convolution has, by its bias or else its kernel; 1 if it has neither."""
    kernel, bias = list(entries)[:2]
    if bias in tensors and tensors[bias].ndim == 1:
        return tensors[bias].size / fcn.CHANNELS[0]
    if kernel in tensors and tensors[kernel].ndim == 4:
        return _loaded(tensors[kernel], name).shape[-1] / fcn.CHANNELS[0]
    return 1.0


def _loaded(x: NDArray[Any], name: str) -> NDArray[Any]:
    """An array of a file of that naming, kernels as (3, 3, in, out)."""
    return x.transpose(2, 3, 1, 0) if name == "torchvision" and x.ndim == 4 else x


def _stored(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape in which a file of that naming stores an array that has `shape` here."""
    return (shape[3], shape[2], shape[0], shape[1]) if name == "torchvision" and len(shape) == 4 else shape


def _check(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]], name: str, width: float) -> None:
    """Raises one error that lists every missing, unexpected and mis-shaped array."""
    problems = {
        "missing": [key for key in shapes if key not in tensors],
        "unexpected": [key for key in tensors if key not in shapes and not key.startswith(BESIDES)],
        "mis-shaped": [
            f"{key} (expected {shape}, found {tensors[key].shape})"
            for key, shape in shapes.items()
            if key in tensors and tensors[key].shape != shape
        ],
    }
    lines = [f"{kind}: {_listed(keys)}" for kind, keys in problems.items() if keys]
    if lines:
        raise ValueError("\n  ".join([f"not a VGG-16 of width {width:g} in {name} names;", *lines]))


def _listed(names: Collection[str], most: int = 40) -> str:
    """The names with commas between, and a count in place of those beyond `most`."""
    beyond = len(names) - most
    return ", ".join(list(names)[:most]) + (f" and {beyond} more" if beyond > 0 else "")
