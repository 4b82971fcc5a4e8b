"""Record of a pytree of arrays: shape, type and checksum of every array by its path.

A checkpoint keeps the record of what was saved, so that every difference of a state of another structure can be listed,
and damage is noticed.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Record = dict[str, list[Any]]


def of(state: Any, *, values: bool = True) -> Record:
    """The shape, type and checksum of every array of a pytree, by its path; no checksum without values.

    Example:
      >>> import jax.numpy as jnp
      >>> of({"layer": {"w": jnp.zeros((2, 3))}}, values=False)
      {'layer/w': [[2, 3], 'float32', None]}
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): [
            list(np.shape(leaf)),
            str(leaf.dtype if hasattr(leaf, "dtype") else np.result_type(leaf)),
            _checksum(leaf) if values else None,
        ]
        for path, leaf in leaves
    }


def compare(wanted: Mapping[str, list[Any]], saved: Mapping[str, list[Any]], name: str) -> None:
    """Compares the structure that is wanted with the one that was saved.

    Raises:
      ValueError: where they differ; every difference is listed.
    """
    lines = [f"{path}: saved, but not wanted" for path in saved if path not in wanted]
    lines += [f"{path}: wanted, but not saved" for path in wanted if path not in saved]
    lines += [
        f"{path}: saved as {saved[path][1]} {tuple(saved[path][0])}, wanted as {dtype} {tuple(shape)}"
        for path, (shape, dtype, _) in wanted.items()
        if path in saved and saved[path][:2] != [shape, dtype]
    ]
    if lines:
        remedy = "give the configuration that it was trained with, or another folder"
        raise ValueError("\n  ".join([f"{name} holds another state than the one wanted; {remedy}:", *lines]))


def _checksum(x: Any) -> int | None:
    """CRC-32 of an array's bytes; `None` if part of it is on other hosts."""
    if isinstance(x, jax.Array):
        if not x.is_fully_addressable:
            if not x.is_fully_replicated:
                return None
            x = x.addressable_data(0)
        x = jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return zlib.crc32(np.ascontiguousarray(x).view(np.uint8).reshape(-1).data)
