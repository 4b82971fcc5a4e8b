"""Identities and cameras of images as integers: -1 is an unknown camera, and nobody."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNKNOWN = -1
HELD_OUT = "spread", "last"  # which people are held out


def integers(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    """Identities or cameras as int64; whole floats, as pandas writes them, are integers.

    Raises:
      ValueError: naming the argument, if they are strings, fractions, NaN, or beyond int64.

    Example:
      >>> integers([3, -1], "cameras").tolist()
      [3, -1]
    """
    found = np.asarray(labels)
    values, real = found.ravel(), found.dtype.kind == "f"
    if real and np.isnan(values).any():
        unknown = np.flatnonzero(np.isnan(values))
        raise ValueError(f"{name}[{unknown[0]}] is NaN, as are {len(unknown)} of {len(values)}: -1 is unknown")
    if values.size and (found.dtype.kind not in "iuf" or (real and np.any(values != np.floor(values)))):
        raise ValueError(
            f"{name} must be integers, got {found.dtype}: number other labels, probes and gallery together, with "
            "np.unique(labels, return_inverse=True)."
        )
    beyond = [value for value in ([values.min(), values.max()] if values.size else []) if not -(2**63) <= value < 2**63]
    if beyond:
        raise ValueError(f"{name} must fit into 64 bits with a sign, got {beyond[0]}: number them anew")
    return found.astype(np.int64)


def paired(
    identities: ArrayLike, cameras: ArrayLike | None, identities_name: str = "identities", cameras_name: str = "cameras"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Identities and cameras as int64 vectors of one length; cameras of None are unknown.

    Raises:
      ValueError: as `integers`, or if the lengths differ.
    """
    ids = integers(identities, identities_name)
    cams = np.full(ids.shape, UNKNOWN, np.int64) if cameras is None else integers(cameras, cameras_name)
    if ids.ndim != 1 or ids.shape != cams.shape:
        raise ValueError(
            f"{identities_name} has shape {ids.shape} and {cameras_name} {cams.shape}; both must be (n,) with one n."
        )
    return ids, cams


def images_by_identity(identities: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Indices of the images of each known identity, identities ascending."""
    order = np.argsort(identities, kind="stable")
    labels, starts = np.unique(identities[order], return_index=True)
    groups = np.split(order.astype(np.int64), starts[1:])
    return {label: group for label, group in zip(labels.tolist(), groups, strict=False) if label > UNKNOWN}


def held_out(identities: ArrayLike, count: int, *, which: str = "spread") -> NDArray[np.int64]:
    """The identities that are held out of a training, ascending.

    Labels often come sorted by camera: the last hundred training people of CUHK03 are all those of three of its five
    pairs of cameras. "spread" takes labels at even distances, and so of each camera its share; "last" takes the
    last ones, which in such a data set asks how well a network does with cameras that it was not trained on.

    Args:
      identities: of the images; nobody (-1) is not among the people.
      count: how many people.
      which: "spread" or "last".

    Raises:
      ValueError: if there are fewer people than ``count``, or no such choice.

    Example:
      >>> held_out([1, 1, 2, 3, 4, 5, 6, -1], 2).tolist(), held_out(range(6), 2, which="last").tolist()
      ([2, 5], [4, 5])
    """
    people = np.array(list(images_by_identity(integers(identities, "identities"))), np.int64)
    if not 0 <= count <= len(people):
        raise ValueError(f"count must be 0 to {len(people)}, the number of people, got {count}")
    if which not in HELD_OUT:
        raise ValueError(f"which must be one of {', '.join(HELD_OUT)}, got {which!r}")
    if which == "last":
        return people[len(people) - count :]
    return people[(2 * np.arange(count) + 1) * len(people) // max(1, 2 * count)]
