"""The pair matrix by the batched coders of XLA: some probes and some gallery entries at a time, as padded blocks.

For a tile of T gallery entries (M blocks each, zero-padded) and the probes of a tile laid side by side (C columns in
all), one matrix product gives the correlations (T, C, M), a coder turns them into squared errors with their certificate
(T, C), and the mean over each probe's columns is the distance. Memory is that of one tile. Several devices share out
the T entries: each has its slice of them and all probes of the tile, and none asks another for anything.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from dsr_jax import reconstruction
from dsr_jax.matching.entries import Entries, Tile, grid
from dsr_jax.parallel import sharding
from dsr_jax.solvers import certificate

RIDGE = 1e-3  # kappa of the later PyTorch ports
# Arrays as large as the correlations that a coder keeps at once, measured by peak memory.
COPIES = {"proximal": 10, "feature_sign": 6, "ridge": 4}
# XLA makes another program of a single entry than of several, which rounds otherwise; a coder stops within 1e-6 of the
# codes, so its distances would differ by as much. A device of several therefore has at least so many, if they fit.
PAIR = 2
COMFORT = 1 << 25  # bytes of correlations beyond which a larger tile no longer helps (it leaves the cache)


class Columns(NamedTuple):
    """Per-column figures of a tile, each (T, C)."""

    error: Any
    lower: Any
    upper: Any
    gap: Any


def solve(
    probes: Entries,
    gallery: Entries,
    *,
    l1: float,
    tol: float,
    coder: str,
    max_bytes: int,
    progress: bool,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distance, lower, upper (means over the probe's blocks with a direction), largest gap: (P, G) float32 each.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      l1: weight of the L1 penalty.
      tol: largest duality gap of a column.
      coder: one of `CODERS`.
      max_bytes: memory ceiling on each device, beside the maps and the result.
      progress: whether to show a progress bar.
      mesh: devices of this process that share out the gallery; default: all of them.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """
    over = sharding.own_mesh() if mesh is None else mesh
    shape = (len(probes), len(gallery))
    distance, lower, upper, gap = (np.empty(shape, np.float32) for _ in range(4))
    limit, probe_limit = limits(probes, gallery, coder=coder, max_bytes=max_bytes, devices=over.size)
    least = 1 if over.size == 1 else min(limit, PAIR) * over.size
    probe_tiles = list(probes.tiles(probe_limit)) if _resident(probes, max_bytes) else None
    # What rounding of the products themselves, which grows with d, can do to an error beside the coder's allowance.
    slack = 4 * certificate.rounding(probes.maps[0].shape[2]) * float(np.finfo(np.float32).eps)
    bar = tqdm(
        total=shape[0] * shape[1], desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress
    )
    # On accelerators the default precision of a matrix product is too coarse for the certificate.
    with bar, jax.default_matmul_precision("highest"):
        for entries in gallery.tiles(limit * over.size, multiple=over.size, least=least):
            dictionary = sharding.entries(entries.values, over)
            gram = _gram(dictionary, mesh=over)
            for images in probe_tiles or probes.tiles(probe_limit):
                columns = CODERS[coder](gram, dictionary, images, l1=l1, tol=tol, mesh=over)
                square = np.ix_(images.members, entries.members)
                solid = probes.solid[images.members]
                distance[square] = _mean(columns.error, solid, images, entries)
                lower[square] = np.maximum(_mean(columns.lower, solid, images, entries) - slack, 0)
                upper[square] = _mean(columns.upper, solid, images, entries) + slack
                gap[square] = _split(columns.gap, images, entries).max(axis=2).T
                bar.update(len(images.members) * len(entries.members))
    return distance, lower, upper, gap


def listed(
    probes: Entries,
    gallery: Entries,
    pairs: np.ndarray,
    *,
    l1: float,
    tol: float,
    coder: str,
    max_bytes: int,
    progress: tqdm | None = None,
) -> np.ndarray:
    """The same of n chosen pairs, numbers of probe and entry (n, 2): (4, n) float32.

    Every pair has its own probe and its own dictionary, padded to the largest of each; several devices share out the
    pairs.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """
    over = sharding.own_mesh()
    limits(probes, gallery, coder=coder, max_bytes=max_bytes)
    columns, atoms, width = grid(int(probes.counts.max())), grid(int(gallery.counts.max())), gallery.maps[0].shape[2]
    each = 4 * (columns * atoms * COPIES[coder] + atoms * (atoms * 2 + width * 3) + columns * width * 3)
    places = over.size * max(1, min(16 * PAIR, -(-len(pairs) // over.size), max_bytes // each))
    slack = 4 * certificate.rounding(width) * float(np.finfo(np.float32).eps)
    figures = np.empty((4, len(pairs)), np.float32)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    with jax.default_matmul_precision("highest"):
        for start in range(0, len(pairs), places):
            own = order[start : start + places]
            sides = (
                sharding.entries(side.some(members, size=size, places=places).values, over)
                for side, members, size in ((gallery, pairs[own, 1], atoms), (probes, pairs[own, 0], columns))
            )
            found = (np.asarray(part)[: len(own)] for part in _each(*sides, coder=coder, l1=l1, tol=tol, mesh=over))
            error, lower, upper, gap = found
            solid = probes.solid[pairs[own, 0]]
            error, lower, upper = (part.sum(axis=1, dtype=np.float64) / solid for part in (error, lower, upper))
            figures[:, own] = error, np.maximum(lower - slack, 0), upper + slack, gap.max(axis=1)
            if progress is not None:
                progress.update(len(own))
    return figures


@functools.partial(jax.jit, static_argnames=("coder", "l1", "tol", "mesh"))
def _each(
    dictionaries: jax.Array, values: jax.Array, *, coder: str, l1: float, tol: float, mesh: Mesh
) -> tuple[jax.Array, ...]:
    """Figures (n, N) of every probe on the dictionary beside it."""
    solver = functools.partial(reconstruction.CODERS[coder], l1=l1, tol=tol)

    def columns(dictionaries: jax.Array, values: jax.Array) -> tuple[jax.Array, ...]:
        def pair(y: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
            solved = solver(y @ y.T, y @ x.T, jnp.sum(x * x, axis=1))
            return solved.error, solved.lower, solved.upper, solved.gap

        return jax.vmap(pair)(dictionaries, values)

    return sharding.by_rows(columns, mesh, shared=2)(dictionaries, values)


def limits(probes: Entries, gallery: Entries, *, coder: str, max_bytes: int, devices: int = 1) -> tuple[int, int]:
    """Largest number of gallery entries and of probes per tile, on each device, within ``max_bytes`` there."""
    columns, atoms, width = grid(int(probes.counts.max())), grid(int(gallery.counts.max())), gallery.maps[0].shape[2]
    pair = 4 * columns * atoms * COPIES[coder]
    entry = 4 * atoms * (atoms * 2 + width * 3)
    probe = 4 * columns * width * 3
    if pair + entry + probe > max_bytes:
        raise ValueError(
            f"max_bytes must be at least {pair + entry + probe} for one pair of {columns} x {atoms} blocks, "
            f"got {max_bytes}"
        )
    room = min(max_bytes, COMFORT * COPIES[coder])
    own = len(gallery) if devices == 1 else max(PAIR, -(-len(gallery) // devices))
    entries = max(1, min(16, own, int(0.3 * room) // (entry + pair)))
    left = room - entries * entry
    return entries, max(1, min(len(probes), left // (entries * pair + probe)))


def _resident(probes: Entries, max_bytes: int) -> bool:
    """Whether the blocks of all probes are few enough to be cut once and kept."""
    return 4 * int(probes.counts.sum()) * probes.maps[0].shape[2] * 2 <= max_bytes // 4


def _split(figures: Any, images: Tile, entries: Tile) -> np.ndarray:
    """(T, C) per column -> (entries, probes, N) per pair."""
    per_pair = np.asarray(figures).reshape(len(entries.values), *images.values.shape[:2])
    return per_pair[: len(entries.members), : len(images.members)]


def _mean(figures: Any, solid: np.ndarray, images: Tile, entries: Tile) -> np.ndarray:
    """Mean over each probe's blocks that have a direction (the figures of all others are 0): (probes, entries)."""
    totals = _split(figures, images, entries).sum(axis=2, dtype=np.float64)
    return (totals / solid[None, :]).T


@functools.partial(jax.jit, static_argnames=("coder", "l1", "tol", "mesh"))
def _compiled(
    gram: jax.Array, dictionary: jax.Array, values: jax.Array, *, coder: str, l1: float, tol: float, mesh: Mesh
) -> Columns:
    solver = functools.partial(reconstruction.CODERS[coder], l1=l1, tol=tol)

    def columns(gram: jax.Array, dictionary: jax.Array, values: jax.Array) -> Columns:
        x = values.reshape(-1, values.shape[-1])
        energy = jnp.sum(x * x, axis=1)
        solved = jax.vmap(lambda g, y: solver(g, y @ x.T, energy))(gram, dictionary)
        return Columns(solved.error, solved.lower, solved.upper, solved.gap)

    return sharding.by_rows(columns, mesh, shared=2)(gram, dictionary, values)


def _batched(coder: str) -> Callable[..., Columns]:
    def columns(gram: jax.Array, dictionary: jax.Array, images: Tile, *, l1: float, tol: float, mesh: Mesh) -> Columns:
        return _compiled(gram, dictionary, images.values, coder=coder, l1=l1, tol=tol, mesh=mesh)

    return columns


def _ridge(gram: jax.Array, dictionary: jax.Array, images: Tile, *, l1: float, tol: float, mesh: Mesh) -> Columns:
    error = _ridge_errors(gram, dictionary, images.values, mesh=mesh)
    nothing = jnp.full_like(error, jnp.nan)
    return Columns(error, nothing, nothing, nothing)


@functools.partial(jax.jit, static_argnames="mesh")
def _ridge_errors(gram: jax.Array, dictionary: jax.Array, values: jax.Array, *, mesh: Mesh) -> jax.Array:
    """Norms (not squared) of the residuals of (Y'Y + kappa I)^-1 Y'X, as the ports score."""

    def columns(gram: jax.Array, dictionary: jax.Array, values: jax.Array) -> jax.Array:
        x = values.reshape(-1, values.shape[-1])

        def entry(gram: jax.Array, y: jax.Array) -> jax.Array:
            codes = jax.scipy.linalg.solve(gram + RIDGE * jnp.eye(len(gram), dtype=gram.dtype), y @ x.T, assume_a="pos")
            return jnp.linalg.norm(x - codes.T @ y, axis=1)

        return jax.vmap(entry)(gram, dictionary)

    return sharding.by_rows(columns, mesh, shared=2)(gram, dictionary, values)


@functools.partial(jax.jit, static_argnames="mesh")
def _gram(dictionary: jax.Array, *, mesh: Mesh) -> jax.Array:
    return sharding.by_rows(lambda y: y @ jnp.swapaxes(y, 1, 2), mesh, shared=1)(dictionary)


CODERS: dict[str, Callable[..., Columns]] = {
    "proximal": _batched("proximal"),
    "feature_sign": _batched("feature_sign"),
    "ridge": _ridge,
}
