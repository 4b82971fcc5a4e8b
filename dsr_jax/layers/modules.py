"""Flax modules with shapes in place of arrays, made once for each kind of network.

To make the module of a network of hundreds of arrays takes seconds, most of them for random numbers that nobody looks
at. A network is run by parameters that are passed, so every trace of it starts with a copy of one module without any.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


def abstract(make: Callable[..., Module], *arguments: Any, **options: Any) -> Module:
    """The module that ``make(*arguments, rngs=..., **options)`` gives, with shapes in place of arrays.

    Each call gives another one, so that `nnx.update` can put parameters into it.

    Example:
      >>> from flax import nnx
      >>> from dsr_jax.layers import modules
      >>> modules.abstract(nnx.Linear, 3, 8).kernel.get_value().shape
      (3, 8)
    """
    graph, state = _template(make, arguments, tuple(sorted(options.items())))
    return nnx.merge(graph, jax.tree.map(lambda x: x, state))


@functools.cache
def _template(make: Callable[..., Module], arguments: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> Any:
    return nnx.split(nnx.eval_shape(lambda: make(*arguments, rngs=nnx.Rngs(0), **dict(options))))
