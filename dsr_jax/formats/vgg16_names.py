"""Names of VGG-16's arrays in the files of each publisher: Keras, torchvision and this library.

The network of Fig. 3 is VGG-16 without its dense layers. Keras calls its first kernel `block1_conv1/kernel` and stores
it as (3, 3, in, out); torchvision calls it `features.0.weight` and stores (out, in, 3, 3); our own files say
`block1_conv1.kernel`. Here any of them becomes the nested dictionary of `fcn`, or one error that lists everything that
is missing, unexpected or mis-shaped.
"""

import functools
from collections.abc import Collection, Mapping
from types import MappingProxyType

from dsr_jax import fcn
from dsr_jax.formats import named_arrays
from dsr_jax.formats.named_arrays import Tensors
from dsr_jax.layers.parameters import block_of

# How each publisher names the kernel and bias of a convolution, by our name of the layer and its index in torchvision's
# `features`. Only torchvision stores kernels as (out, in, 3, 3).
NAMINGS = {
    "dsr_jax": ("{layer}.kernel", "{layer}.bias"),
    "Keras": ("{layer}/kernel", "{layer}/bias"),
    "torchvision": ("features.{index}.weight", "features.{index}.bias"),
}


def to_params(tensors: Tensors, *, width: float | None = None) -> fcn.Params:
    """The network in a file's arrays.

    The width, channels as a multiple of VGG-16's, is by default that of the first convolution.

    Raises:
      ValueError: if the arrays are not exactly such a network, or hold NaN or infinite values.
    """
    name = naming(tensors)
    entries = layers(name)
    width = width or _width(tensors, entries, name)
    title = f"VGG-16 of width {width:g} in {name} names"
    shapes = _shapes(entries, width)
    return named_arrays.to_params(tensors, entries, shapes, title=title, transposed=name == "torchvision")


def naming(tensors: Collection[str]) -> str:
    """The publisher of most of a file's names: "dsr_jax", "Keras" or "torchvision".

    Example:
      >>> naming(["features.0.weight", "features.0.bias"])
      'torchvision'
    """
    return max(NAMINGS, key=lambda name: len(layers(name).keys() & set(tensors)))


@functools.cache
def layers(naming: str) -> Mapping[str, tuple[str, str]]:
    """A file's names of all 26 arrays, each with the layer and leaf that it is.

    Example:
      >>> layers("torchvision")["features.28.bias"]
      ('block5_conv3', 'bias')
    """
    entries, index = {}, 0
    for block, count in enumerate(fcn.CONVOLUTIONS, start=1):
        for number in range(1, count + 1):
            layer = f"block{block}_conv{number}"
            for leaf, name in zip(("kernel", "bias"), NAMINGS[naming], strict=True):
                entries[name.format(layer=layer, index=index)] = (layer, leaf)
            index += 2  # a convolution and its ReLU
        index += 1  # the pool
    return MappingProxyType(entries)


def _shapes(entries: Mapping[str, tuple[str, str]], width: float) -> dict[str, tuple[int, ...]]:
    """The shape here of every array of a network `width` times as wide as VGG-16."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = now = 3
    for key, (layer, leaf) in entries.items():
        if leaf == "kernel":
            before, now = now, max(1, round(width * fcn.CHANNELS[block_of(layer) - 1]))
        shapes[key] = (3, 3, before, now) if leaf == "kernel" else (now,)
    return shapes


def _width(tensors: Tensors, entries: Mapping[str, tuple[str, str]], name: str) -> float:
    """The width that the first convolution has, by its bias or else its kernel; 1 if it has neither."""
    kernel, bias = list(entries)[:2]
    if bias in tensors and tensors[bias].ndim == 1:
        return tensors[bias].size / fcn.CHANNELS[0]
    if kernel in tensors and tensors[kernel].ndim == 4:
        return named_arrays.kernel(tensors[kernel], name == "torchvision").shape[-1] / fcn.CHANNELS[0]
    return 1.0
