"""Parameters of a network: a nested dictionary of layers, each in one of five blocks."""

import functools
import re
from typing import Any

import jax
import numpy as np

BLOCKS = 5  # of every network here
Params = dict[str, dict[str, Any]]
_MEMBER = re.compile(r"member([1-9]\d*)/")


def block_of(layer: str) -> int:
    """The block, 1 to 5, that a layer belongs to, by its name; 0 for those of an own vector, behind the maps.

    Raises:
      ValueError: if it is no layer.

    Example:
      >>> block_of("block5c_conv2"), block_of("vector_norm"), block_of("member2/block4a_conv")
      (5, 0, 4)
    """
    name = layer.rpartition("/")[2]
    if name.startswith("vector"):
        return 0
    if not (name.startswith("block") and name[5:6].isdigit()):
        raise ValueError(f"{layer!r} is no layer of a network: their names begin with block1 to block5, or with vector")
    return int(name[5])


def member_of(layer: str) -> int:
    """The member of an ensemble, from 1, that a layer belongs to, by its name; 0 if to all.

    Example:
      >>> member_of("member2/block4a_conv"), member_of("block1_conv")
      (2, 0)
    """
    found = _MEMBER.match(layer)
    return int(found[1]) if found else 0


def split(params: Params, blocks: int) -> tuple[Params, Params]:
    """The layers of the first ``blocks`` blocks, those of an own vector with them, and the others.

    Example:
      >>> split({"block1_conv1": {"bias": 1}, "block2_conv1": {"bias": 2}}, 1)
      ({'block1_conv1': {'bias': 1}}, {'block2_conv1': {'bias': 2}})
    """
    first = {name: layer for name, layer in params.items() if block_of(name) <= blocks}
    return first, {name: layer for name, layer in params.items() if name not in first}


def check_width(width: float, network: str) -> None:
    """Raises ValueError for a width that is not positive."""
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}; 1.0 is {network}, 0.25 a small version")


def he_normal(key: jax.Array, *, shapes: tuple[tuple[int, ...], ...]) -> list[jax.Array]:
    """He-normal kernels of these shapes, cut out of one draw: a draw per layer would compile a program for each."""
    ends = np.cumsum([np.prod(shape) for shape in shapes]).tolist()
    normal = _normal(key, count=ends[-1])
    if not isinstance(normal, jax.core.Tracer):  # cut here, where it is not compiled
        normal = np.asarray(normal)
    parts = zip(shapes, [0, *ends[:-1]], ends, strict=True)
    kernels = [normal[start:end].reshape(shape) * float((2 / np.prod(shape[:3])) ** 0.5) for shape, start, end in parts]
    return kernels if isinstance(normal, jax.core.Tracer) else jax.device_put(kernels)


@functools.partial(jax.jit, static_argnames="count")
def _normal(key: jax.Array, *, count: int) -> jax.Array:
    return jax.random.normal(key, (count,))
