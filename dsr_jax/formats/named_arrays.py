"""Conversion of a file's named arrays to a network's parameters and back, or one error that lists all that is wrong.

`vgg16_names`, `resnet50_names` and `osnet_names` have the names of each publisher; here a file is checked to have
exactly those, in their shapes, with finite numbers.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]

# A hint of an error.
NO_STATISTICS = (
    "batch-norm statistics are missing, without which the network computes something else: save model.state_dict(), "
    "not the parameters alone"
)
# Axes of a kernel that is stored as (out, in, height, width), or (out, in) of a dense layer, in our order.
_AXES = {4: (2, 3, 1, 0), 2: (1, 0)}

# Known, and no part of a network up to its maps: what training code puts behind them (pooling, the neck of
# re-identification, embeddings, classifiers, a head of ours), losses, and buffers.
NECK = re.compile(
    r"(heads\.)?(bottlenecks?|b_?n_?neck|neck|embedding|embed|feat|feat_bn)(_?\d+)?\.|(fc|heads|classifier)\.\d+\."
)
BESIDES = re.compile(
    rf"{NECK.pattern}|(fc|classifiers?|heads?|predictions|logits|avgpool|pool|gap|gem|gpool|global_?pool|pool_layer|"
    r"criterion|loss|center_loss)(_?\d+)?[./]|.*\.num_batches_tracked$|pixel_(mean|std)$"
)


def to_params(
    tensors: Tensors,
    entries: Mapping[str, tuple[str, str]],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    title: str,
    transposed: bool,
    hint: str = "",
) -> dict[str, dict[str, Any]]:
    """The network in a file's arrays, float32, kernels (height, width, in, out).

    Args:
      tensors: the arrays under the file's own names.
      entries: the file's name of every array to the layer and leaf that it is here.
      shapes: the file's name of every array to its shape here.
      title: network and naming, for errors: "VGG-16 of width 1 in Keras names".
      transposed: whether kernels are stored as (out, in, height, width).
      hint: a further line of the error.

    Raises:
      ValueError: if the arrays are not exactly these, or hold NaN or infinite values; everything wrong is listed.
    """
    expected = {key: _stored(shape, transposed) for key, shape in shapes.items()}
    problems = {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in tensors if key not in expected and not BESIDES.match(key)],
        "mis-shaped": [
            f"{key} (expected {shape}, found {tensors[key].shape})"
            for key, shape in expected.items()
            if key in tensors and tensors[key].shape != shape
        ],
    }
    lines = [f"{kind}: {listed(keys)}" for kind, keys in problems.items() if keys]
    if lines:
        raise ValueError("\n  ".join([f"not a {title};", *([hint] if hint else []), *lines]))
    params: dict[str, dict[str, Any]] = {}
    for key, (layer, leaf) in entries.items():
        own = np.array(kernel(float32(key, tensors[key]), transposed), order="C")
        params.setdefault(layer, {})[leaf] = jax.device_put(own)  # jnp.asarray would compile a program for every shape
    return params


def from_params(
    params: Mapping[str, Mapping[str, Any]], entries: Mapping[str, tuple[str, str]], *, transposed: bool
) -> Tensors:
    """A network's parameters under a publisher's names, float32: the inverse of `to_params`.

    Raises:
      ValueError: if a layer is missing, or holds NaN or infinite values.

    Example:
      >>> params = {"conv": {"kernel": np.ones((3, 3, 8, 2))}}
      >>> from_params(params, {"0.weight": ("conv", "kernel")}, transposed=True)["0.weight"].shape
      (2, 8, 3, 3)
    """
    lacking = [f"{layer}.{leaf}" for layer, leaf in entries.values() if leaf not in params.get(layer, {})]
    if lacking:
        raise ValueError(f"params lack {listed(lacking)}")
    tensors = {}
    for key, (layer, leaf) in entries.items():
        x = float32(f"{layer}.{leaf}", np.asarray(params[layer][leaf]))
        tensors[key] = (
            np.ascontiguousarray(x.transpose(np.argsort(_AXES[x.ndim]))) if transposed and x.ndim in _AXES else x
        )
    return tensors


def kernel(x: NDArray[Any], transposed: bool) -> NDArray[Any]:
    """A kernel as (height, width, in, out), or (in, out) of a dense layer; other arrays as they are."""
    return x.transpose(_AXES[x.ndim]) if transposed and x.ndim in _AXES else x


def check_variances(params: Mapping[str, Mapping[str, Any]], entries: Mapping[str, tuple[str, str]]) -> None:
    """Raises ValueError, with the file's name of it, for a negative running variance."""
    for key, (layer, leaf) in entries.items():
        if leaf == "var" and np.min(params[layer][leaf]) < 0:
            raise ValueError(f"{key} holds negative variances, down to {np.min(params[layer][leaf]):g}")


def float32(name: str, x: NDArray[Any]) -> NDArray[np.float32]:
    """The array in float32, contiguous.

    Raises:
      ValueError: with the name, for another type than floating point, and for NaN or infinite values.

    Example:
      >>> float32("bias", np.ones(2, np.float16)).dtype
      dtype('float32')
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} has type {x.dtype}, expected floating point")
    converted = np.ascontiguousarray(x, np.float32)
    bad = np.count_nonzero(~np.isfinite(converted))
    if bad:
        raise ValueError(f"{name} has {bad} NaN or infinite values of {x.size}")
    return converted


def listed(names: Collection[str], most: int = 40) -> str:
    """The names with commas between, and a count in place of those beyond ``most``.

    Example:
      >>> listed(["a", "b", "c"], most=2)
      'a, b and 1 more'
    """
    beyond = len(names) - most
    return ", ".join(list(names)[:most]) + (f" and {beyond} more" if beyond > 0 else "")


def left_out(tensors: Tensors) -> list[str]:
    """The arrays beside a network, without counters: the name of each, or of a module with the count of its arrays.

    Example:
      >>> one = np.ones((5, 2))
      >>> left_out({"bn1.weight": one, "neck.weight": one, "neck.bias": one, "classifier.weight": one})
      ['neck (2 arrays)', 'classifier.weight (5, 2)']
    """
    modules: dict[str, list[str]] = {}
    for key in tensors:
        if BESIDES.match(key) and not key.endswith(".num_batches_tracked"):
            modules.setdefault(re.split(r"[./]", key)[0], []).append(key)
    return [
        f"{module} ({len(keys)} arrays)" if len(keys) > 1 else f"{keys[0]} {tensors[keys[0]].shape}"
        for module, keys in modules.items()
    ]


def _stored(shape: tuple[int, ...], transposed: bool) -> tuple[int, ...]:
    """The shape in which the file stores an array that has ``shape`` here."""
    return tuple(shape[i] for i in np.argsort(_AXES[len(shape)])) if transposed and len(shape) in _AXES else shape
