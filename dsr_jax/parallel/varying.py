"""Marks of arrays that differ between the devices of a `jax.shard_map`, for functions with a gradient of their own."""

import jax


def varying(*arrays: jax.Array) -> frozenset[str]:
    """The axes of a `jax.shard_map` over which any of the arrays differs."""
    return frozenset().union(*(jax.typeof(array).manual_axis_type.varying for array in arrays))


def vary(array: jax.Array, over: frozenset[str]) -> jax.Array:
    """The same array, marked as varying over these axes."""
    missing = tuple(sorted(over - varying(array)))
    return jax.lax.pcast(array, missing, to="varying") if missing else array
