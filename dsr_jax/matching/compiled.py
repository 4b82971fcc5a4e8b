"""The compiled engine, matching on the CPU: products of positions by BLAS, everything else pair by pair in cache.

Only positions are multiplied: for a tile of gallery entries and a tile of probes, one matrix product gives the
correlations of all positions. Windows are summed, columns coded and certified pair by pair by threads (`_pair_kernel`),
which leave a few sums per pair. So multi-scale matching costs little more than single-scale, maps of any sizes share a
product without padding, and nothing larger than a tile's products is ever kept.
"""

import contextlib
import functools
from collections.abc import Iterator
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dsr_jax.cpu import cores
from dsr_jax.cpu._product_kernel import product
from dsr_jax.matching import _pair_kernel, _window_kernel, bounds, search
from dsr_jax.matching._pair_kernel import Bar, Columns, Products, Sums, Work
from dsr_jax.matching._window_kernel import ROW, Grams, Maps, Space
from dsr_jax.matching.gallery import Entries
from dsr_jax.matching.positions import Positions, Tile
from dsr_jax.solvers import active_set, certificate
from dsr_jax.solvers._residual_kernel import LANES
from dsr_jax.solvers._system_kernel import Limits

# Bytes of a tile's correlations, and of its gallery positions, beyond which a larger one no longer helps.
COMFORT, WIDE = 1 << 23, 1 << 25
ALL = Bar(np.inf, np.empty((0, 0), np.float32))  # every column is coded


class Engine:
    """The compiled engine for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      coder: "active_set".
      l1: weight of the L1 penalty.
      tol: pairs with a column whose gap is larger are coded once more in float64.
      max_bytes: memory ceiling, beside the maps and the result.
      threads: number of threads; default: the cores that this process may use.

    Raises:
      ValueError: if not even one pair fits into ``max_bytes``.
    """

    def __init__(
        self,
        probes: Entries,
        gallery: Entries,
        *,
        l1: float,
        tol: float,
        max_bytes: int,
        coder: str = "active_set",
        threads: int | None = None,
    ) -> None:
        """See the class."""
        self.probes, self.gallery, self.max_bytes = probes.positions, gallery.positions, max_bytes
        self.sizes = sizes(self.probes, self.gallery, max_bytes=max_bytes, threads=threads or cores.count())
        atoms = int(self.gallery.maps.counts.max())
        steps = 20 * 3 * (-(-atoms // LANES) * LANES) + 100
        self.limits = Limits(l1, tol, certificate.EPS, certificate.rounding(self.gallery.channels), steps)
        self._spaces: SimpleQueue[Space] = SimpleQueue()
        positions = int(max(self.probes.heights.max(), self.gallery.heights.max()))
        for _ in range(self.sizes.threads):
            places = min(atoms, active_set.PLACES)
            self._spaces.put(_window_kernel.space(positions, int(self.probes.maps.counts.max()), atoms, places))

    def distances(self, *, progress: bool = False) -> np.ndarray:
        """Distance, lower, upper (means over the probe's blocks with a direction), largest gap: (4, P, G) float32."""
        probes, shape = self.probes, (len(self.probes), len(self.gallery))
        figures = np.empty((4, *shape), np.float32)
        whole = [probes.tile(0, shape[0])] if self.sizes.probes >= shape[0] else None
        total = shape[0] * shape[1]
        with tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress) as bar:
            for entries in self.gallery.tiles(self.sizes.entries):
                grams = entries.grams()
                for images in whole or probes.tiles(self.sizes.probes):
                    coded = self.code(Probes.of(probes, images), entries, grams, self.products(images, entries))
                    each = coded.figures[:4].reshape(4, len(entries.maps.counts), len(images.maps.counts))
                    figures[:, images.members, entries.members] = each.transpose(0, 2, 1)
                    bar.update(each[0].size)
        return figures

    def listed(self, pairs: np.ndarray, *, progress: tqdm | None = None) -> np.ndarray:
        """The same of chosen pairs (n, 2), numbers of probe and entry in any order: (4, n) float32.

        Each pair has a small product, and shares its entry's Gram matrix with the other probes that list the entry.
        """
        figures = np.empty((4, len(pairs)), np.float32)
        order = np.lexsort((pairs[:, 0], pairs[:, 1]))
        for entries in self.gallery.tiles(self.sizes.listed_entries):
            begin, end = np.searchsorted(pairs[order, 1], [entries.members.start, entries.members.stop]).tolist()
            if begin == end:
                continue
            grams = entries.grams()
            for first in range(begin, end, self.sizes.listed):
                chosen = order[first : min(first + self.sizes.listed, end)]
                sorted_pairs = np.stack([pairs[chosen, 1] - entries.members.start, pairs[chosen, 0]], axis=1)
                coded = self.code(self.every, entries, grams, self._small_products(entries, sorted_pairs))
                figures[:, chosen] = coded.figures[:4]
                if progress is not None:
                    progress.update(len(chosen))
        return figures

    @functools.cached_property
    def every(self) -> "Probes":
        """All probes."""
        return Probes.of(self.probes)

    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe, and no more coded than that takes."""
        return search.nearest(bounds.parts(self), k, columns=int(self.probes.directed[0]))

    def code(self, probes: "Probes", entries: Tile, grams: Grams, products: Products, bar: Bar = ALL) -> Sums:
        """Codes pairs: the `Sums`, with means over the columns in place of the sums of error, lower and upper.

        Where float32 does not settle a pair that was not given up, its columns are coded again in float64.
        """
        pairs = products.pairs
        sums = Sums(np.empty((5, len(pairs))), np.zeros(len(pairs), np.int64))
        work = Work(products, grams, probes.maps, probes.columns, entries.maps, bar)

        def part(start: int, stop: int) -> None:
            with self.space() as space:
                _pair_kernel.code(space, work, self.limits, start, stop, sums)

        cores.each(part, len(pairs), threads=self.sizes.threads)
        counted = self.probes.directed[pairs[:, 1] + probes.start]
        for i in np.flatnonzero((sums.coded == counted) & ~(sums.figures[4] <= self.limits.tol)).tolist():
            g, p = pairs[i].tolist()
            sums.figures[:4, i] = self._again(probes.start + p, entries.members.start + g)
        sums.figures[:3] /= counted
        return sums

    @contextlib.contextmanager
    def space(self) -> Iterator[Space]:
        """Working memory of a thread."""
        space = self._spaces.get()
        try:
            yield space
        finally:
            self._spaces.put(space)

    def products(self, images: Tile, entries: Tile) -> Products:
        """Every entry of a tile with every probe of a tile, by one product."""
        correlation = product(images.rows, entries.rows, threads=self.sizes.threads)
        stride, shape = correlation.shape[1], (len(entries.maps.counts), len(images.maps.counts))
        pairs = np.ascontiguousarray(np.indices(shape).reshape(2, -1).T)
        places = images.maps.table[pairs[:, 1], ROW] * stride + entries.offsets[pairs[:, 0]]
        return Products(pairs, correlation.reshape(-1), places, np.full(shape[0], stride))

    def _small_products(self, entries: Tile, pairs: np.ndarray) -> Products:
        """One small product per pair (entry, probe), of the positions of its probe with those of its entry."""
        strides, starts = np.diff(entries.offsets), self.probes.starts
        sizes = self.probes.heights[pairs[:, 1]] * strides[pairs[:, 0]]
        places = np.cumsum([0, *sizes])
        flat = np.empty(places[-1], np.float32)
        triples = []
        for (g, p), place, size in zip(pairs.tolist(), places.tolist(), sizes.tolist(), strict=False):
            probe = self.probes.rows.between(int(starts[p]), int(starts[p + 1]))
            entry = entries.rows[entries.offsets[g] : entries.offsets[g + 1]]
            triples.append((probe, entry.T, flat[place : place + size].reshape(len(probe), len(entry))))
        cores.products(triples)
        return Products(pairs, flat, places[:-1], strides)

    def _again(self, p: int, g: int) -> tuple[float, float, float, float]:
        """The sums of one pair, its difficult columns coded in float64 with room for every atom."""
        gram, correlation, energy = problem(self.probes, self.gallery, p, g)
        l1, tol, length = self.limits.l1, self.limits.tol, self.probes.channels
        columns = active_set.errors(gram[None], correlation[None], energy, l1=l1, tol=tol, length=length)
        error, lower, upper, gap, _ = columns
        return float(error.sum()), float(lower.sum()), float(upper.sum()), float(gap.max())


class Probes(NamedTuple):
    """Some consecutive probes without their positions.

    Attributes:
      start: number of the first.
      maps: where their blocks lie.
      columns: the blocks as columns.
    """

    start: int
    maps: Maps
    columns: Columns

    @classmethod
    def of(cls, probes: Positions, tile: Tile | None = None) -> "Probes":
        """The probes of a tile, or all, each column to be coded in its place."""
        inverse = probes.inverse if tile is None else probes.inverse[tile.blocks]
        maps = probes.maps if tile is None else tile.maps
        blocks, order = np.cumsum([0, *maps.counts]), np.flatnonzero(inverse)
        return cls(
            0 if tile is None else tile.members.start,
            maps,
            Columns(inverse, blocks, order, np.searchsorted(order, blocks)),
        )


class Sizes(NamedTuple):
    """How much is worked on at a time.

    Attributes:
      probes: probes of a tile.
      entries: gallery entries of a tile.
      threads: how many.
      listed: pairs of a list.
      listed_entries: gallery entries of a tile where a list is coded.
    """

    probes: int
    entries: int
    threads: int
    listed: int
    listed_entries: int


def sizes(probes: Positions, gallery: Positions, *, max_bytes: int, threads: int) -> Sizes:
    """What fits into ``max_bytes``: half of what one pair leaves is for threads.

    Raises:
      ValueError: if not even one pair on one thread fits.
    """
    columns, atoms = int(probes.heights.max()), int(gallery.heights.max())
    counts = int(probes.maps.counts.max()), int(gallery.maps.counts.max())
    thread = 4 * (-(-counts[1] // LANES) * LANES) * (2 * max(columns, atoms) + sum(counts))
    pair, probe = 4 * columns * atoms + 80, 4 * columns * probes.channels
    entry = 4 * atoms * (atoms + gallery.channels)
    spare = max_bytes - (thread + pair + probe + entry)
    if spare < 0:
        raise ValueError(
            f"max_bytes must be at least {max_bytes - spare} for one pair of {columns} x {atoms} positions, "
            f"{counts[0]} x {counts[1]} blocks (all maps of an identity are one dictionary), got {max_bytes}"
        )
    crew = max(1, min(threads, spare // (2 * thread)))
    room = max_bytes - crew * thread
    images = max(1, min(len(probes), (room - entry) // (2 * (probe + pair)), COMFORT // pair))
    within = (room - images * probe) // (entry + images * pair)
    return Sizes(
        probes=images,
        entries=max(1, min(len(gallery), within, WIDE // entry, COMFORT // (images * pair))),
        threads=crew,
        listed=1 + min(COMFORT, spare // 4) // pair,
        listed_entries=1 + min(WIDE, spare // 4) // entry,
    )


def problem(probes: Positions, gallery: Positions, p: int, g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram matrix (M, M), correlations (N, M) and energies (N,) of the blocks of one pair, float32."""
    image, entry = probes.tile(p, p + 1), gallery.tile(g, g + 1)
    one, atoms = Probes.of(probes, image), int(entry.maps.counts[0])
    inverse = one.columns.inverse
    products = Products(
        np.zeros((1, 2), np.int64),
        product(image.rows, entry.rows, threads=1).reshape(-1),
        np.zeros(1, np.int64),
        np.diff(entry.offsets),
    )
    work = Work(products, entry.grams(), one.maps, one.columns, entry.maps, ALL)
    gram, correlation = np.empty((atoms, atoms), np.float32), np.empty((inverse.size, atoms), np.float32)
    space = _window_kernel.space(max(len(image.rows), len(entry.rows)), inverse.size, atoms, 1)
    _pair_kernel.pair(space, work, gram, correlation)
    return gram, correlation, (inverse > 0).astype(np.float32)
