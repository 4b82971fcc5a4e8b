"""Matching on the CPU: single-scale products by BLAS, everything else per pair in cache (`pooled_kernel`).

Only positions are multiplied: for a tile of gallery entries and a tile of probes, one matrix product gives the
correlations of all positions; windows are summed, columns coded and certified pair by pair by threads, which leave a
few sums per pair. So multi-scale matching costs little more than single-scale, maps of any sizes share a product
without padding, and nothing larger than a tile's products is ever kept.
"""

from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dsr_jax.cpu import cores
from dsr_jax.cpu._product_kernel import product
from dsr_jax.matching import _pooled_kernel
from dsr_jax.matching._pooled_kernel import ROW
from dsr_jax.matching.positions import Grams, Positions, Tile
from dsr_jax.solvers import active_set, certificate

# Bytes of a tile's correlations, and of its gallery positions, beyond which a larger one no longer helps.
COMFORT, WIDE = 1 << 23, 1 << 25
EPS = float(np.finfo(np.float32).eps)


def solve(
    probes: Positions,
    gallery: Positions,
    *,
    l1: float,
    tol: float,
    max_bytes: int,
    progress: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distance, lower, upper (means over the probe's blocks with a direction), largest gap: (P, G) float32 each.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      l1: weight of the L1 penalty.
      tol: pairs with a column whose gap is larger are coded once more in float64.
      max_bytes: memory ceiling, beside the maps and the result.
      progress: whether to show a progress bar.
      threads: number of threads; default: the cores that this process may use.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """
    shape = len(probes), len(gallery)
    figures = np.empty((4, *shape), np.float32)
    probe_limit, gallery_limit, crew = limits(probes, gallery, max_bytes=max_bytes, threads=threads or cores.count())
    kept = [probes.tile(0, shape[0])] if probe_limit >= shape[0] else None
    bar = tqdm(
        total=shape[0] * shape[1], desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress
    )
    workers = Workers(probes, gallery, crew)
    with bar:
        inverse, solid = probes.inverse, probes.solid
        for entries in gallery.tiles(gallery_limit):
            grams = entries.grams()
            for images in kept or probes.tiles(probe_limit):
                own = Columns(images.table, inverse[images.blocks], np.cumsum([0, *images.counts]), images.scales)
                sums = summed(workers, own, entries, grams, _all_pairs(workers, images, entries), l1=l1, tol=tol)
                sums = sums.reshape(5, len(entries.counts), len(images.counts))
                for g, p in np.argwhere(~(sums[4] <= tol)).tolist():
                    pair = problem(probes, gallery, images.members.start + p, entries.members.start + g)
                    sums[:4, g, p] = again(*pair, l1=l1, tol=tol, length=probes.channels)
                sums[:3] /= solid[images.members]
                figures[:, images.members, entries.members] = sums[:4].transpose(0, 2, 1)
                bar.update(sums[0].size)
    distance, lower, upper, gap = figures
    return distance, lower, upper, gap


class Needs(NamedTuple):
    """Bytes: work of a thread, products of a pair, positions of a probe, those and the Gram matrix of an entry."""

    thread: int
    pair: int
    probe: int
    entry: int


def needs(probes: Positions, gallery: Positions, *, max_bytes: int) -> Needs:
    """What the largest probe and the largest entry take.

    Raises:
      ValueError: if not even one pair on one thread fits into ``max_bytes``.
    """
    columns, atoms = int(probes.heights.max()), int(gallery.heights.max())
    blocks = -(-int(gallery.counts.max()) // _pooled_kernel.LANES) * _pooled_kernel.LANES
    places = 2 * max(columns, atoms) + int(gallery.counts.max()) + int(probes.counts.max())
    entry = 4 * atoms * (atoms + gallery.channels)
    found = Needs(4 * blocks * places, 4 * columns * atoms + 80, 4 * columns * probes.channels, entry)
    if sum(found) > max_bytes:
        sizes = f"{columns} x {atoms} positions, {int(probes.counts.max())} x {int(gallery.counts.max())} blocks"
        raise ValueError(
            f"max_bytes must be at least {sum(found)} for one pair of {sizes} (all maps of an identity are one "
            f"dictionary), got {max_bytes}"
        )
    return found


def crew_of(each: Needs, *, max_bytes: int, threads: int) -> int:
    """How many threads may work at half of what ``max_bytes`` leaves."""
    return max(1, min(threads, (max_bytes - sum(each)) // (2 * each.thread)))


def limits(probes: Positions, gallery: Positions, *, max_bytes: int, threads: int) -> tuple[int, int, int]:
    """Largest number of probes and of gallery entries per tile, and of threads, within ``max_bytes``.

    Raises:
      ValueError: if not even one pair on one thread fits.
    """
    each = needs(probes, gallery, max_bytes=max_bytes)
    crew = crew_of(each, max_bytes=max_bytes, threads=threads)
    room = max_bytes - crew * each.thread
    pair, probe, entry = each.pair, each.probe, each.entry
    images = max(1, min(len(probes), (room - entry) // (2 * (probe + pair)), COMFORT // pair))
    within = (room - images * probe) // (entry + images * pair)
    return images, max(1, min(len(gallery), within, WIDE // entry, COMFORT // (images * pair))), crew


class Workers:
    """Working memory for pairs of these entries, one per thread."""

    def __init__(self, probes: Positions, gallery: Positions, threads: int):
        """For as many threads."""
        self.count = threads
        self._spaces: SimpleQueue[_pooled_kernel.Space] = SimpleQueue()
        positions, atoms = int(max(probes.heights.max(), gallery.heights.max())), int(gallery.counts.max())
        for _ in range(self.count):
            places = min(atoms, active_set.PLACES)
            self._spaces.put(_pooled_kernel.space(positions, int(probes.counts.max()), atoms, places))

    def each(self, call: Callable[[_pooled_kernel.Space, int, int], None], total: int) -> None:
        """Calls ``call(space, start, stop)`` for parts of 0 ... total, in parallel."""

        def part(start: int, stop: int) -> None:
            space = self._spaces.get()
            try:
                call(space, start, stop)
            finally:
                self._spaces.put(space)

        cores.each(part, total, threads=self.count)


class Columns(NamedTuple):
    """The probes' blocks.

    Attributes:
      table: their maps, as in `Tile`.
      inverse: inverse lengths of all blocks.
      firsts: first block of each probe, and their number.
      scales: sides of the windows, ascending.
    """

    table: np.ndarray
    inverse: np.ndarray
    firsts: np.ndarray
    scales: np.ndarray


class Products(NamedTuple):
    """Correlations of the positions of some pairs of probe and entry, sorted by entry.

    Attributes:
      correlation: all of them, flat.
      places: (n,) where each pair's begin.
      strides: (G,) numbers from one position of the probe to the next, by entry.
      who: (n, 2) entry and probe of each pair.
    """

    correlation: np.ndarray
    places: np.ndarray
    strides: np.ndarray
    who: np.ndarray


def _all_pairs(workers: Workers, images: Tile, entries: Tile) -> Products:
    """Of every entry of a tile with every probe of a tile, by one product."""
    correlation = product(images.rows, entries.rows, threads=workers.count)
    stride, first = correlation.shape[1], entries.table[entries.firsts[:-1], ROW]
    who = np.indices((len(entries.counts), len(images.counts))).reshape(2, -1).T
    places = images.table[who[:, 1], ROW] * stride + first[who[:, 0]]
    return Products(correlation.reshape(-1), places, np.full(len(entries.counts), stride), np.ascontiguousarray(who))


def summed(
    workers: Workers, columns: Columns, entries: Tile, grams: Grams, products: Products, *, l1: float, tol: float
) -> np.ndarray:
    """Per pair (5, n): error, lower, upper summed over the blocks, largest gap with and without rounding."""
    figures = np.empty((5, len(products.who)))
    arguments = (
        *products,
        *grams,
        *columns[:3],
        entries.table,
        entries.firsts,
        entries.counts,
        (entries.scales, columns.scales),
        l1,
        EPS,
        certificate.rounding(entries.rows.shape[1]),
        tol,
    )
    workers.each(
        lambda space, start, stop: _pooled_kernel.pairs(space, *arguments, start, stop, figures), figures.shape[1]
    )
    return figures


def problem(probes: Positions, gallery: Positions, p: int, g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram matrix (M, M), correlations (N, M) and energies (N,) of the blocks of one pair, float32."""
    probe, dictionary = probes.tile(p, p + 1), gallery.tile(g, g + 1)
    own, atoms = probes.inverse[probe.blocks], int(dictionary.counts[0])
    gram, correlation = np.empty((atoms, atoms), np.float32), np.empty((own.size, atoms), np.float32)
    space = _pooled_kernel.space(max(len(probe.rows), len(dictionary.rows)), own.size, atoms, 1)
    _pooled_kernel.pair(
        space,
        product(probe.rows, dictionary.rows, threads=1).reshape(-1),
        dictionary.grams()[0],
        probe.table,
        dictionary.table,
        (dictionary.scales, probe.scales),
        own,
        atoms,
        gram,
        correlation,
    )
    return gram, correlation, (own > 0).astype(np.float32)


def again(
    gram: np.ndarray, correlation: np.ndarray, energy: np.ndarray, *, l1: float, tol: float, length: int
) -> tuple[float, float, float, float]:
    """The sums of one pair, its difficult columns coded in float64 with room for every atom."""
    columns = active_set.errors(gram[None], correlation[None], energy, l1=l1, tol=tol, length=length)
    error, lower, upper, gap, _ = columns
    return float(error.sum()), float(lower.sum()), float(upper.sum()), float(gap.max())
