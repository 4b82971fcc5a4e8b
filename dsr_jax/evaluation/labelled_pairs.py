"""Labelled pairs of probes and entries: checks, and the nearest entry of every probe."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked(
    distances: ArrayLike, same: ArrayLike, probes: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64] | None]:
    """Distances, labels and probes of pairs, (n,) each.

    Args:
      distances: (P, G) or (n,).
      same: of the same shape, whether a pair is of one person.
      probes: (n,) which probe each pair is of; of (P, G) the rows are; None: unknown.

    Raises:
      ValueError: for what does not fit or has no number, for pairs of one kind alone, and for distances that are on
        average no smaller for pairs of one person.
    """
    try:
        values, right = np.asarray(distances, np.float64), np.asarray(same)
    except (TypeError, ValueError) as error:  # of rows of unequal length, for instance
        raise ValueError(
            f"distances and same must both be (P, G) or (n,) numbers ({error}): of probes with unequally many entries "
            "give (n,) pairs and probes="
        ) from error
    if values.ndim not in (1, 2) or right.shape != values.shape:
        raise ValueError(f"distances and same must both be (P, G) or (n,), got {values.shape} and {right.shape}")
    if right.dtype != np.bool_:
        raise ValueError(f"same must be boolean, whether a pair is of one person, got {right.dtype}: identities a == b")
    if bad := int(values.size - np.count_nonzero(np.isfinite(values))):
        raise ValueError(f"distances has {bad} values that are NaN or infinite: leave these pairs out, see probes=")
    if right.all() or not right.any():
        which = "one person" if right.all() else "two people"
        raise ValueError(f"same: all {right.size} pairs are of {which}; both kinds are needed")
    means = [float(values[which].mean()) for which in (right, ~right)]
    if means[0] >= means[1]:
        raise ValueError(
            f"distances are {means[0]:.3g} on average for pairs of one person and {means[1]:.3g} for those of two: "
            "they must be smaller for one; are they similarities?"
        )
    of = None
    if values.ndim == 2:
        if probes is not None:
            raise ValueError("probes belongs to (n,) pairs: of (P, G) distances the rows are the probes")
        of = np.repeat(np.arange(len(values)), values.shape[1])
    elif probes is not None:
        of = np.asarray(probes)
        if of.shape != values.shape or not np.issubdtype(of.dtype, np.integer):
            raise ValueError(f"probes must be {values.shape} whole numbers, got {of.shape} of {of.dtype}")
    return values.ravel(), right.ravel(), None if of is None else of.astype(np.int64)


def searches(probes: NDArray[np.int64], draws: ArrayLike | None) -> NDArray[np.int64]:
    """The number of each pair's search, from 0: of a probe in one draw of its gallery.

    Args:
      probes: (n,) which probe each pair is of.
      draws: (n,) in which draw; None: all in one.

    Raises:
      ValueError: for draws that are no whole number per pair.

    Example:
      >>> searches(np.array([7, 7, 9, 7]), [0, 1, 1, 0]).tolist()
      [0, 1, 2, 0]
    """
    of = np.zeros_like(probes) if draws is None else np.asarray(draws)
    if of.shape != probes.shape or not np.issubdtype(of.dtype, np.integer):
        raise ValueError(f"draws must be {probes.shape} whole numbers, got {of.shape} of {of.dtype}")
    return np.unique(np.stack([probes, of]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def nearest(distances: NDArray, same: NDArray[np.bool_], probes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of every probe's nearest pair, of equal ones that of two people.

    Example:
      >>> nearest(np.array([0.3, 0.2, 0.2]), np.array([False, True, False]), np.array([4, 7, 7])).tolist()
      [0, 2]
    """
    order = np.lexsort((same, distances, probes))
    return order[np.flatnonzero(np.diff(probes[order], prepend=probes[order[0]] - 1))]
