"""Changes of a gallery on disk: what is checked before maps are written, and again when they become a version."""

import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsr_jax import blocks
from dsr_jax.formats import map_values
from dsr_jax.gallery import rows
from dsr_jax.gallery.description import Description
from dsr_jax.gallery.rows import Labels
from dsr_jax.gallery.table import Table
from dsr_jax.matching import checks, coarse

COLUMNS = {"names": "name", "identities": "identity", "cameras": "camera"}
NONE = np.zeros(0, np.uint64)  # no places


def create(
    folder: str | os.PathLike[str],
    maps: Iterable[Any],
    labels: Labels,
    *,
    vectors: Any,
    masks: Any,
    network: dict[str, Any] | None,
    dtype: str,
    scales: Sequence[int],
    pooling: str,
) -> Table:
    """Makes a gallery of maps that are taken one at a time; see `Gallery.create`."""
    if dtype not in map_values.DTYPES:
        raise ValueError(f"dtype must be one of {map_values.DTYPES}, got {dtype!r}")
    if pooling not in blocks.POOLINGS:
        raise ValueError(f"pooling must be one of {blocks.POOLINGS}, got {pooling!r}")
    sides, taken = checks.as_scales("scales", scales), iter(maps)
    first = next(taken, None)
    if first is None:
        raise ValueError("maps is empty: at least one (h, w, d) map is needed")
    channels = checks.one_map("maps[0]", first, None, scales=sides).shape[2]
    length = 0
    if vectors is not None:
        vectors = iter(vectors)
        one: Any = next(vectors, None)
        if np.ndim(one) != 1:
            raise ValueError(f"vectors must be one (e,) array per map, got {one!r:.40} for the first")
        length, vectors = len(one), itertools.chain([one], vectors)
    found = Description(channels, dtype, sides, pooling, labels.kind, length, coarse.STRIPES, network)
    content = rows.batches(found, itertools.chain([first], taken), labels, vectors=vectors, masks=masks)
    return Table.create(folder, found, content)


def write(table: Table, maps: Iterable[Any], labels: Labels, *, vectors: Any, masks: Any, replace: bool) -> Table:
    """Adds maps, or puts them in the place of those of their names."""
    has = table.description
    for argument, wanted, given in (
        ("identities", has.identities is not None, labels.identities is not None),
        ("vectors", bool(has.vector), vectors is not None),
    ):
        if wanted != given:
            there = "has" if wanted else "has no"
            raise ValueError(f"{argument} must be given for all maps or for none: {table.where} {there} {argument}")
    if labels.kind != has.identities:
        raise ValueError(
            f"identities must be {_KINDS[has.identities]} as in {table.where}, got {labels.identities!r:.60}"
        )

    def decide(newest: Table) -> np.ndarray:
        _check_identities(newest, labels)
        if replace:
            return places(newest, "names", labels.names)
        _check_free(newest, labels.names)
        return NONE

    decide(Table.open(table.folder))  # before much is computed
    files = table.write(rows.batches(has, maps, labels, vectors=vectors, masks=masks))
    word = "replace" if replace else "add"
    return table.change(lambda newest: (decide(newest), files), f"{word} {len(labels.names)} maps")


def remove(table: Table, argument: str, values: Any) -> Table:
    """Removes the maps that have one of the values."""
    wanted = list(values) if not isinstance(values, str) else values
    return table.change(lambda newest: (places(newest, argument, wanted), []), f"remove {len(wanted)} {argument}")


def listed(table: Table, argument: str, values: Any) -> pa.Array:
    """Values of a column as an array of its type.

    Raises:
      ValueError: naming ``argument``, if they are no sequence, or of another type.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{argument} must be a sequence, got {values!r:.80}")
    try:
        return pa.array(
            [value.item() if isinstance(value, np.generic) else value for value in values],
            table.data.schema.field(COLUMNS[argument]).type,
        )
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"{argument} are of another kind than those of {table.where} ({error})") from error


def places(table: Table, argument: str, values: Any) -> np.ndarray:
    """Where the rows are that have one of the values, as `Table.change` takes it.

    Raises:
      ValueError: for a value that no row has.
    """
    column = COLUMNS[argument]
    if column not in table.data.schema.names:
        raise ValueError(f"{argument}: {table.where} has none")
    wanted, found = listed(table, argument, values), table.columns([column], places=True)
    lacking = wanted.filter(pc.invert(pc.is_in(wanted, pc.unique(found[column]))))
    if len(lacking):
        shown = ", ".join(map(repr, lacking.to_pylist()[:3]))
        raise ValueError(f"{argument}: {table.where} does not have {len(lacking)} of them ({shown})")
    return found["_rowaddr"].filter(pc.is_in(found[column], wanted)).to_numpy()


def _check_free(table: Table, names: Sequence[str]) -> None:
    """Raises ValueError if a name is taken."""
    given = pa.array(names, pa.string())
    taken = given.filter(pc.is_in(given, table.columns(["name"])["name"])).to_pylist()
    if taken:
        shown = ", ".join(map(repr, taken[:3]))
        raise ValueError(
            f"names: {len(taken)} are in {table.where} already ({shown}): replace them, or give other names"
        )


def _check_identities(table: Table, labels: Labels) -> None:
    """Raises ValueError if an identity is written in another way than in the table."""
    if labels.identities is None:
        return
    new, there = pc.unique(pa.array(labels.identities)), pc.unique(table.columns(["identity"])["identity"])
    unknown = new.filter(pc.invert(pc.is_in(new, there)))
    if len(unknown):
        together = [*there.to_pylist(), *unknown.to_pylist()]
        checks.as_labels("identities", together, len(together))


_KINDS = {None: "absent", "number": "whole numbers", "text": "strings"}
