"""Flax modules with shapes in place of arrays, made once for each kind of network.

A network is run by parameters that are passed, so every trace of it starts with a copy of one module without any. To
make a module with arrays takes seconds where it has hundreds of them, nearly all for random numbers that nobody looks
at: so its parts are made of shapes from the start, by `shape` and `convolution`.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


def shape(*sides: int) -> jax.ShapeDtypeStruct:
    """What stands for a parameter: its shape, float32."""
    return jax.ShapeDtypeStruct(sides, jnp.float32)


def convolution(width_in: int, width_out: int, kernel: tuple[int, int], **options: Any) -> nnx.Conv:
    """`flax.nnx.Conv` with shapes in place of arrays.

    Example:
      >>> from dsr_jax.layers import modules
      >>> modules.convolution(3, 8, (1, 1)).kernel.get_value().shape
      (1, 1, 3, 8)
    """
    return nnx.Conv(width_in, width_out, kernel, kernel_init=_initial, bias_init=_initial, rngs=_NO_KEYS, **options)


def abstract(make: Callable[..., Module], *arguments: Any, **options: Any) -> Module:
    """The module that ``make(*arguments, **options)`` gives, of `shape` and `convolution`.

    Each call gives another one, so that `nnx.update` can put parameters into it.

    Example:
      >>> from dsr_jax.layers import modules
      >>> modules.abstract(modules.convolution, 3, 8, (1, 1)).kernel.get_value().shape
      (1, 1, 3, 8)
    """
    graph, state = _template(make, arguments, tuple(sorted(options.items())))
    return nnx.merge(graph, jax.tree.map(lambda x: x, state))


@functools.cache
def _template(make: Callable[..., Module], arguments: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> Any:
    return nnx.split(make(*arguments, **dict(options)))


class _NoKeys:
    """In the place of `nnx.Rngs`: initialisers that draw nothing need no keys."""

    def params(self) -> None:
        """The next key: none."""


_NO_KEYS: Any = _NoKeys()


def _initial(_key: None, sides: tuple[int, ...], _dtype: Any) -> jax.ShapeDtypeStruct:
    return shape(*sides)
