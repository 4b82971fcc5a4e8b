"""Matching with one joint dictionary, the authors' released code: each probe block is coded once over all entries.

The distance of an entry is the (weighted) mean error of rebuilding the probe's blocks by its coefficients alone.
"""

from collections.abc import Iterable

import numpy as np
from tqdm import tqdm

from dsr_jax import blocks
from dsr_jax.matching.comparison import MUTE, Comparison
from dsr_jax.matching.entries import Entries
from dsr_jax.parallel import hosts
from dsr_jax.solvers import joint

COLUMNS = 512  # coded at a time


def held(shapes: Iterable[tuple[int, ...]], *, scales: tuple[int, ...]) -> int:
    """Bytes that a gallery of maps (h, w, d) takes here: the maps and the one dictionary of their blocks, float32.

    Example:
      >>> from dsr_jax.matching import joint
      >>> joint.held([(7, 4, 2048)] * 1000, scales=(1,))
      458752000
    """
    return sum(4 * d * (h * w + blocks.count(h, w, scales=scales)) for h, w, d in shapes)


def distances(comparison: Comparison, *, boost: float, progress: bool) -> np.ndarray:
    """Distance, lower, upper (both NaN: nothing is certified) and gap: (4, P, G) float32.

    Each process codes a part of the probes against all entries, and all have the result.

    Raises:
      ValueError: if the dictionary does not fit into ``max_bytes``.
    """
    probes, entries = comparison.probes, comparison.gallery.as_entries
    part = probes if hosts.count() == 1 else probes.part(hosts.part(len(probes)))
    figures = np.empty((4, 0, len(entries)), np.float32)
    if len(part):
        l1 = min(comparison.l1, MUTE * (1 + boost))
        figures = _solve(part, entries, l1=l1, boost=boost, max_bytes=comparison.max_bytes, progress=progress)
    return np.ascontiguousarray(hosts.together(figures.swapaxes(1, 2), len(probes)).swapaxes(1, 2))


def _solve(probes: Entries, gallery: Entries, *, l1: float, boost: float, max_bytes: int, progress: bool) -> np.ndarray:
    """Figures (4, P, G) of probes."""
    counts, d = gallery.counts, gallery.channels
    size = int(counts.sum())
    room = max_bytes - 4 * size * d
    column = 8 * (size + 4 * len(gallery) + 3 * d)
    if room < (most := column * int(probes.counts.max())):
        raise ValueError(
            f"max_bytes must be at least {4 * size * d + most} for a joint dictionary of {size} x {d} blocks, "
            f"got {max_bytes}"
        )
    owners, edges = np.repeat(np.arange(len(gallery)), counts), np.cumsum([0, *counts])
    atoms = np.empty((size, d), np.float32)
    for entry in range(len(gallery)):
        atoms[edges[entry] : edges[entry + 1]] = gallery.blocks(entry, entry + 1)
    figures = np.full((4, len(probes), len(gallery)), np.nan, np.float32)
    with tqdm(total=len(probes), desc="joint coding", unit="probe", leave=None, disable=not progress) as bar:
        for first, last in joint.parts(probes.counts, min(COLUMNS, room // column)):
            counts = probes.counts[first:last]
            coded = joint.code(probes.blocks(first, last), atoms, owners, l1=l1, boost=boost, entries=len(gallery))
            starts = np.cumsum([0, *counts[:-1]])
            error = coded.error
            if probes.weights is not None:
                error = error * np.concatenate([probes.weights[i] for (i,) in probes.groups[first:last]])[:, None]
            figures[0, first:last] = np.add.reduceat(error, starts, axis=0) / probes.total[first:last, None]
            figures[3, first:last] = np.maximum.reduceat(coded.gap, starts)[:, None]
            bar.update(last - first)
    return figures
