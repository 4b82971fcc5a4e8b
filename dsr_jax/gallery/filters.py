"""Filters of a gallery on disk: which of its rows fulfil conditions on their labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsr_jax.gallery import changes, rows
from dsr_jax.gallery.table import Table


class NothingLeft(ValueError):
    """No map of a gallery fulfils the conditions."""


def chosen(table: Table, labels: pa.Table, conditions: Mapping[str, Any]) -> np.ndarray:
    """The numbers of the rows of ``labels`` that fulfil all conditions.

    Args:
      table: the gallery's.
      labels: its labels, or those of some of its rows.
      conditions: names, identities and cameras: the values that are wanted; after and before: times. None: all rows.

    Raises:
      NothingLeft: if no row is left.
      ValueError: if a condition is none.
    """
    given = {name: value for name, value in conditions.items() if value is not None}
    fulfil = np.ones(len(labels), bool)
    for argument, column in changes.COLUMNS.items():
        if argument in given:
            if column not in labels.column_names:
                raise ValueError(f"{argument}: {table.where} has none")
            fulfil &= pc.is_in(labels[column], changes.listed(table, argument, given[argument])).to_numpy()
    times = labels["time"].to_numpy()  # an unknown one is NaN, neither before nor after
    if "after" in given:
        fulfil &= times >= rows.seconds("after", given["after"])
    if "before" in given:
        fulfil &= times < rows.seconds("before", given["before"])
    if not fulfil.any():
        asked = ", ".join(f"{name}={value!r:.40}" for name, value in given.items())
        raise NothingLeft(f"{asked or 'nothing'} leaves none of the {len(labels)} maps of {table.where}")
    return np.flatnonzero(fulfil)
