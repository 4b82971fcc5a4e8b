"""Only the K gallery entries that a cheap distance puts first are coded; the others are told apart from them.

Coding everything is exact and costs every pair. Where that is too much (Sec. 4.7: 3,368 x 19,732), the pooled features'
distance, or any other, makes a list of K entries per probe, and DSR orders the list. The rest keeps the cheap order
behind it. What rests on which is in the numbers: a distance below `BEYOND` was coded, one from `BEYOND` on was not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dsr_jax import match
from dsr_jax.entries import as_labels, gather

BEYOND = 2.0  # reconstruction errors of unit blocks are at most 1


def distances(
    probe_maps: Any,
    gallery_maps: Any,
    first: np.ndarray,
    k: int,
    *,
    identities: Any = None,
    progress: bool = False,
    **options: Any,
) -> NDArray[np.float32]:
    """`match.distances` of each probe's k nearest entries by another distance; the others beyond them, in its order.

    Args:
      probe_maps: a sequence of P maps (h, w, d).
      gallery_maps: a sequence of G maps; it may read them when asked for, such as `map_file.Maps`.
      first: (P, E) distances to the entries: the maps, or with ``identities`` the people, in the order in which they
        first appear. For example `baselines.global_average.distances`.
      k: entries per probe that are coded; E or more: all.
      identities: a label per gallery map: maps of one identity form one dictionary.
      progress: whether to show a bar.
      **options: l1, scales, coder and the others of `match.distances`, ``dictionary="joint"`` excepted.

    Returns:
      (P, E): the coded distances, below `BEYOND`; of all others `BEYOND` + ``first``, brought to 0 to 1 for each probe.

    Raises:
      ValueError: as `match.distances`; for k < 1, for ``first`` of another shape or with NaN, and for the joint
        dictionary, in which an entry's distance depends on the others.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import shortlist
      >>> from dsr_jax.baselines import global_average
      >>> maps = list(np.random.default_rng(0).random((6, 4, 2, 8)).astype(np.float32))
      >>> found = shortlist.distances(maps[:2], maps, global_average.distances(maps[:2], maps), k=3)
      >>> (found < shortlist.BEYOND).sum(axis=1).tolist(), found.argmin(axis=1).tolist()
      ([3, 3], [0, 1])
    """
    if options.get("dictionary", "image") != "image":
        raise ValueError("dictionary must be 'image' here: in the joint one an entry depends on all others")
    labels = as_labels("identities", identities, len(gallery_maps))
    groups, _ = gather(labels, len(gallery_maps))
    if np.shape(first) != (len(probe_maps), len(groups)):
        raise ValueError(f"first must be (probes, entries), {len(probe_maps)} x {len(groups)}, got {np.shape(first)}")

    def code(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> np.ndarray:
        members = [(number, i) for number, entry in enumerate(columns) for i in groups[entry]]
        return match.distances(
            [np.asarray(probe_maps[row]) for row in rows],
            [np.asarray(gallery_maps[i]) for _, i in members],
            identities=[number for number, _ in members],
            **options,
        ).distance

    return coded(first, k, code, progress=progress)


def coded(
    first: np.ndarray,
    k: int,
    code: Callable[[NDArray[np.intp], NDArray[np.intp]], np.ndarray],
    *,
    progress: bool = False,
) -> NDArray[np.float32]:
    """The same for any coded distance.

    Args:
      first: (P, E).
      k: entries per probe.
      code: (rows, columns) to their distances, (rows, columns), each less than `BEYOND`.
      progress: whether to show a bar.

    Raises:
      ValueError: for k < 1, and for NaN or -inf in ``first``.
    """
    check(k)
    values = np.asarray(first, np.float64)
    if not (values > -np.inf).all():
        raise ValueError("first must be numbers or +inf: it orders the entries")
    every = np.arange(values.shape[1])
    if k >= len(every):
        return np.asarray(code(np.arange(len(values)), every), np.float32)
    found = (BEYOND + _shares(values)).astype(np.float32)
    for row in tqdm(range(len(values)), desc="shortlist", unit="probe", disable=not progress):
        columns = np.sort(np.argsort(values[row], kind="stable")[:k])
        found[row, columns] = code(np.array([row]), columns)[0]
    return found


def check(k: int) -> None:
    """Raises ValueError unless k is a whole number of at least 1."""
    if not k >= 1:
        raise ValueError(f"k, the entries of a shortlist, must be a whole number >= 1, got {k!r}")


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, moved and scaled to 0 to 1, row by row; +inf stays."""
    finite = np.where(np.isfinite(values), values, -np.inf)
    low = np.where(np.isfinite(values), values, np.inf).min(axis=1, keepdims=True)
    spread = finite.max(axis=1, keepdims=True) - low
    with np.errstate(invalid="ignore"):
        scaled = (values - low) / np.where(spread > 0, spread, 1)
    return np.where(np.isfinite(values), scaled, np.inf)
