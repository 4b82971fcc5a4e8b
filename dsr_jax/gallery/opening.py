"""Opening and creating a gallery on disk, behind `Gallery.open` and `Gallery.create`."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from dsr_jax import blocks
from dsr_jax.gallery import changes, description
from dsr_jax.gallery.rows import Labels
from dsr_jax.gallery.stored import StoredGallery
from dsr_jax.gallery.table import Table
from dsr_jax.matching import checks


def create(
    folder: str | os.PathLike[str],
    maps: Iterable[Any],
    labels: Labels,
    *,
    vectors: Any,
    masks: Any,
    network: Any,
    **options: Any,
) -> StoredGallery:
    """A new gallery; see `Gallery.create`."""
    made_by = description.network(network)
    table = changes.create(folder, maps, labels, vectors=vectors, masks=masks, network=made_by, **options)
    return StoredGallery(table, network=made_by)


def opened(
    folder: str | os.PathLike[str],
    *,
    version: int | None,
    network: Any,
    grouped: bool,
    scales: Sequence[int] | None,
    pooling: str | None,
) -> StoredGallery:
    """A version of a gallery; see `Gallery.open`."""
    table, made_by = Table.open(folder, version), description.network(network)
    description.check_network(table.where, table.description.network, made_by)
    sides = None if scales is None else checks.as_scales("scales", scales)
    if sides is not None and min(sides) > min(table.description.scales):
        smallest = min(min(column.to_pylist(), default=min(sides)) for column in table.columns(("height", "width")))
        if smallest < min(sides):
            raise ValueError(f"scales={sides}: a map of {table.where} is smaller than one block, {smallest} positions")
    if pooling not in (None, *blocks.POOLINGS):
        raise ValueError(f"pooling must be one of {blocks.POOLINGS}, got {pooling!r}")
    return StoredGallery(table, grouped=grouped, network=made_by, scales=sides, pooling=pooling)
