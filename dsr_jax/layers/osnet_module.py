"""OSNet's module: its convolutions and normalisations, and what each part of it computes on a padded batch."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dsr_jax.cpu import convolution
from dsr_jax.layers import depthwise, modules, osnet_table
from dsr_jax.layers.batch_norm import BatchNorm, Training
from dsr_jax.layers.instance_norm import InstanceNorm
from dsr_jax.layers.osnet_table import STREAMS, norm
from dsr_jax.layers.padding import zero_outside
from dsr_jax.layers.pooling import pooled


class OSNet(nnx.Module):
    """The convolutions and their normalisations; `unit` and `layer` run them."""

    def __init__(self, width: float, form: str, *, folded: bool, dtype: Any):
        self.form = form
        for name, (kernel, then) in osnet_table.layers(width, form).items():
            groups = kernel[3] if name.endswith("_conv") and "_stream" in name else 1
            options: dict[str, Any] = {
                "strides": 2 if name == "block1_conv" else 1,
                "padding": kernel[0] // 2,
                "use_bias": then == "bias" or (then == "batch" and folded),
                "feature_group_count": groups,
                "dtype": dtype,
                "conv_general_dilated": _convolve,
            }
            setattr(self, name, modules.convolution(groups * kernel[2], kernel[3], kernel[:2], **options))
            if then == "batch" and not folded:
                setattr(self, norm(name), BatchNorm(kernel[3]))
        for name, channels in osnet_table.instance_norms(width, form).items():
            setattr(self, name, InstanceNorm(channels))


def network(params: Mapping[str, Any], dtype: Any) -> OSNet:
    """The module with ``params`` in it; width, form and whether normalisations are folded are read off them."""
    width, form, folded = osnet_table.width(params), osnet_table.form(params), osnet_table.folded(params)
    module = modules.abstract(OSNet, width, form, folded=folded, dtype=dtype)
    needed = nnx.to_pure_dict(nnx.state(module))
    lacking = [
        f"{layer}.{leaf}" for layer, leaves in needed.items() for leaf in leaves if leaf not in params.get(layer, {})
    ]
    if lacking:
        raise ValueError(
            f"params are not those of an OSNet of form {form!r}: they lack {', '.join(lacking[:3])} ({len(lacking)} "
            "arrays in all); pass what osnet.init or weights.load returned, running statistics included (resnet.join "
            "puts them back)"
        )
    nnx.update(module, {layer: {leaf: params[layer][leaf] for leaf in leaves} for layer, leaves in needed.items()})
    return module


def unit(network: OSNet, name: str, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
    """Reduction, the gated sum of four streams, expansion, and the sum with the input, ReLU."""
    narrow = layer(network, f"{name}_conv1", x, sizes, training)
    streams = []
    for stream, steps in STREAMS.items():
        y = narrow
        for step in steps:
            y = getattr(network, f"{name}_stream{stream}{step}_point")(y)
            y = layer(network, f"{name}_stream{stream}{step}_conv", y, sizes, training)
        streams.append(y * _gate(network, name, y, sizes))
    y = normalised(network, f"{name}_conv3", functools.reduce(jnp.add, streams), sizes, training)
    instance = getattr(network, f"{name}_instance_norm", None)
    if instance is not None and network.form == "ain":
        y = instance(y, sizes)
    if hasattr(network, f"{name}_shortcut_conv"):
        x = normalised(network, f"{name}_shortcut_conv", x, sizes, training)
    y = x + y
    if instance is not None and network.form == "ibn":
        y = instance(y, sizes)
    return zero_outside(nnx.relu(y), sizes)


def _gate(network: OSNet, name: str, x: jax.Array, sizes: jax.Array) -> jax.Array:
    """A weight of each channel (B, 1, 1, C) by the averages over the true area."""
    x = pooled(x, sizes)[:, None, None, :]
    x = nnx.relu(getattr(network, f"{name}_gate_conv1")(x))
    return nnx.sigmoid(getattr(network, f"{name}_gate_conv2")(x))


def layer(network: OSNet, name: str, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
    """Convolution, normalisation, ReLU, and zeros outside the true area."""
    return zero_outside(nnx.relu(normalised(network, name, x, sizes, training)), sizes)


def normalised(network: OSNet, name: str, x: jax.Array, sizes: jax.Array, training: Training | None) -> jax.Array:
    """Convolution and what normalises it: its batch, in block 1 perhaps each image, or nothing if that is folded."""
    x = getattr(network, name)(x)
    if name == "block1_conv" and network.form != "plain":
        return getattr(network, "block1_instance_norm")(x, sizes)  # noqa: B009
    batch = getattr(network, norm(name), None)
    return x if batch is None else batch(x, sizes, training)


def _convolve(images: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **_: Any) -> jax.Array:
    """The fastest way to a convolution; Flax calls it with the arguments of `jax.lax.conv_general_dilated`."""
    if kernel.shape[:2] == (1, 1):
        flat = images.reshape(-1, images.shape[3]) @ kernel[0, 0]  # so that its gradients are plain products, too
        return flat.reshape(*images.shape[:3], kernel.shape[3])
    if kernel.shape[:2] == (3, 3):
        return depthwise.convolve(images, kernel)
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=convolution.LAYOUT)
