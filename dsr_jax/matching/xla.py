"""The engine in XLA, matching on GPU and TPU: some probes and some gallery entries at a time, as padded blocks.

For a tile of T gallery entries (M blocks each, zero-padded) and the probes of a tile laid side by side (C columns in
all), one matrix product gives the correlations (T, C, M), a solver turns them into squared errors with their
certificate (T, C), and the mean over each probe's columns is the distance. Memory is that of one tile. Several devices
share out the T entries: each has its slice of them and all probes of the tile, without any exchange between them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from dsr_jax.matching import padded, search
from dsr_jax.matching.gallery import Entries
from dsr_jax.matching.padded import Padded, grid
from dsr_jax.parallel import sharding
from dsr_jax.solvers import certificate
from dsr_jax.solvers.table import SOLVERS

# XLA makes another program of a single entry than of several, which rounds otherwise; a solver stops within 1e-6 of the
# codes, so its distances would differ by as much. A device of several therefore has at least so many, if they fit.
PAIR = 2
COMFORT = 1 << 25  # bytes of correlations beyond which a larger tile no longer helps (it leaves the cache)


class Certificates(NamedTuple):
    """Certified squared errors of columns: of a tile, each (T, C), or of pairs, each (n, N)."""

    error: Any
    lower: Any
    upper: Any
    gap: Any


class Engine:
    """The engine in XLA for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      coder: name of a solver that XLA runs.
      l1: weight of the L1 penalty.
      tol: largest duality gap of a column.
      max_bytes: memory ceiling on each device, beside the maps and the result.
      mesh: devices of this process that share out the gallery; default: all of them.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """

    def __init__(
        self,
        probes: Entries,
        gallery: Entries,
        *,
        coder: str,
        l1: float,
        tol: float,
        max_bytes: int,
        mesh: Mesh | None = None,
    ) -> None:
        """See the class."""
        self.probes, self.gallery, self.max_bytes = probes, gallery, max_bytes
        self.mesh = sharding.own_mesh() if mesh is None else mesh
        self.how: dict[str, Any] = {"coder": coder, "l1": l1, "tol": tol, "mesh": self.mesh}
        self.sizes = sizes(probes, gallery, coder=coder, max_bytes=max_bytes, devices=self.mesh.size)

    def distances(self, *, progress: bool = False) -> np.ndarray:
        """Distance, lower, upper (means over the probe's blocks with a direction), largest gap: (4, P, G) float32."""
        probes, devices = self.probes, self.mesh.size
        shape, (limit, probe_limit) = (len(probes), len(self.gallery)), self.sizes
        figures = np.empty((4, *shape), np.float32)
        least = 1 if devices == 1 else min(limit, PAIR) * devices
        # The blocks of few probes are cut once.
        few = 4 * int(probes.counts.sum()) * probes.channels * 2 <= self.max_bytes // 4
        whole = list(padded.tiles(probes, probe_limit)) if few else None
        total = shape[0] * shape[1]
        bar = tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress)
        # On accelerators the default precision of a matrix product is too coarse for the certificate.
        with bar, jax.default_matmul_precision("highest"):
            for entries in padded.tiles(self.gallery, limit * devices, multiple=devices, least=least):
                dictionaries = sharding.entries(entries.values, self.mesh)
                grams = _grams(dictionaries, mesh=self.mesh)
                for images in whole or padded.tiles(probes, probe_limit):
                    columns = _shared(grams, dictionaries, images.values, **self.how)
                    per_pair = Certificates(*(_split(figure, images, entries) for figure in columns))
                    each = self._figures(per_pair, probes.directed[images.members][None, :])
                    figures[:, images.members[:, None], entries.members] = each.swapaxes(1, 2)
                    bar.update(each[0].size)
        return figures

    def listed(self, pairs: np.ndarray, *, progress: tqdm | None = None) -> np.ndarray:
        """The same of chosen pairs (n, 2), numbers of probe and entry in any order: (4, n) float32.

        Every pair has its own probe and its own dictionary, padded to the largest of each; several devices share out
        the pairs.
        """
        probes, gallery, devices = self.probes, self.gallery, self.mesh.size
        counts = grid(int(probes.counts.max())), grid(int(gallery.counts.max()))
        each = sum(_bytes(*counts, gallery.channels, self.how["coder"]))
        slots = devices * max(1, min(16 * PAIR, -(-len(pairs) // devices), self.max_bytes // each))
        figures, order = np.empty((4, len(pairs)), np.float32), np.lexsort((pairs[:, 0], pairs[:, 1]))
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(pairs), slots):
                chosen = order[start : start + slots]
                dictionaries, values = (
                    sharding.entries(padded.tile(side, members, size=size, slots=slots).values, self.mesh)
                    for side, members, size in (
                        (gallery, pairs[chosen, 1], counts[1]),
                        (probes, pairs[chosen, 0], counts[0]),
                    )
                )
                columns = Certificates(
                    *(np.asarray(part)[: len(chosen)] for part in _each(dictionaries, values, **self.how))
                )
                figures[:, chosen] = self._figures(columns, probes.directed[pairs[chosen, 0]])
                if progress is not None:
                    progress.update(len(chosen))
        return figures

    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe, all of which are coded."""
        return search.of_figures(self.distances()[:, 0], k)

    def _figures(self, columns: Certificates, directed: np.ndarray) -> np.ndarray:
        """Figures (4, ...) of pairs from those of their columns (..., N), of which so many have a direction."""
        # What rounding of the products themselves, which grows with d, can do beside the solver's own allowance.
        slack = certificate.slack(self.gallery.channels)
        error, lower, upper = (part.sum(axis=-1, dtype=np.float64) / directed for part in columns[:3])
        return np.stack([error, np.maximum(lower - slack, 0), upper + slack, columns.gap.max(axis=-1)])


def sizes(probes: Entries, gallery: Entries, *, coder: str, max_bytes: int, devices: int = 1) -> tuple[int, int]:
    """Largest number of gallery entries and of probes per tile, on each device, within ``max_bytes`` there.

    Raises:
      ValueError: if not even one pair fits.
    """
    columns, atoms = grid(int(probes.counts.max())), grid(int(gallery.counts.max()))
    pair, entry, probe = _bytes(columns, atoms, gallery.channels, coder)
    if pair + entry + probe > max_bytes:
        raise ValueError(
            f"max_bytes must be at least {pair + entry + probe} for one pair of {columns} x {atoms} blocks, "
            f"got {max_bytes}"
        )
    room = min(max_bytes, COMFORT * SOLVERS[coder].memory.atom)
    share = len(gallery) if devices == 1 else max(PAIR, -(-len(gallery) // devices))
    entries = max(1, min(16, share, int(0.3 * room) // (entry + pair)))
    left = room - entries * entry
    return entries, max(1, min(len(probes), left // (entries * pair + probe)))


def _bytes(columns: int, atoms: int, channels: int, coder: str) -> tuple[int, int, int]:
    """What a pair, an entry and a probe take."""
    memory = SOLVERS[coder].memory
    pair = 4 * columns * (atoms * memory.atom + memory.column)
    return (
        pair,
        4 * (atoms * (atoms * (2 + memory.square) + channels * 3) + memory.dictionary),
        4 * columns * channels * 3,
    )


def _split(figures: Any, images: Padded, entries: Padded) -> np.ndarray:
    """(T, C) per column -> (entries, probes, N) per pair."""
    per_pair = np.asarray(figures).reshape(len(entries.values), *images.values.shape[:2])
    return per_pair[: len(entries.members), : len(images.members)]


@functools.partial(jax.jit, static_argnames=("coder", "l1", "tol", "mesh"))
def _shared(
    grams: jax.Array, dictionaries: jax.Array, values: jax.Array, *, coder: str, l1: float, tol: float, mesh: Mesh
) -> Certificates:
    """Figures (T, C) of the columns of all probes on each of T dictionaries."""

    def columns(grams: jax.Array, dictionaries: jax.Array, values: jax.Array) -> Certificates:
        x = values.reshape(-1, values.shape[-1])
        solver = SOLVERS[coder]
        if not solver.certified:
            error = jax.vmap(lambda g, y: solver.solve(g, y, x))(grams, dictionaries)
            return Certificates(error, *[jnp.full_like(error, jnp.nan)] * 3)
        energy = jnp.sum(x * x, axis=1)
        solved = jax.vmap(lambda g, y: solver.solve(g, y @ x.T, energy, l1=l1, tol=tol))(grams, dictionaries)
        return Certificates(solved.error, solved.lower, solved.upper, solved.gap)

    return sharding.by_rows(columns, mesh, shared=2)(grams, dictionaries, values)


@functools.partial(jax.jit, static_argnames=("coder", "l1", "tol", "mesh"))
def _each(
    dictionaries: jax.Array, values: jax.Array, *, coder: str, l1: float, tol: float, mesh: Mesh
) -> tuple[jax.Array, ...]:
    """Figures (n, N) of every probe on the dictionary beside it."""
    solver = functools.partial(SOLVERS[coder].solve, l1=l1, tol=tol)

    def columns(dictionaries: jax.Array, values: jax.Array) -> tuple[jax.Array, ...]:
        def pair(y: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
            solved = solver(y @ y.T, y @ x.T, jnp.sum(x * x, axis=1))
            return solved.error, solved.lower, solved.upper, solved.gap

        return jax.vmap(pair)(dictionaries, values)

    return sharding.by_rows(columns, mesh, shared=2)(dictionaries, values)


@functools.partial(jax.jit, static_argnames="mesh")
def _grams(dictionaries: jax.Array, *, mesh: Mesh) -> jax.Array:
    return sharding.by_rows(lambda y: y @ jnp.swapaxes(y, 1, 2), mesh, shared=1)(dictionaries)
