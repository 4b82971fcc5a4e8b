"""Tiles of products on a CPU: the loops over probes and gallery that its engines share.

For a tile of gallery entries and a tile of probes, one matrix product by BLAS gives the correlations of all positions.
What an engine makes of them, pair by pair in cache, is its own; it leaves a few figures per pair. So maps of any sizes
share a product without padding, and nothing larger than a tile's products is ever kept.
"""

import abc
import contextlib
import functools
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from dsr_jax.cpu import cores
from dsr_jax.cpu._product_kernel import product
from dsr_jax.matching import search
from dsr_jax.matching._pair_kernel import Columns, Products
from dsr_jax.matching._window_kernel import ROW, Maps
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.positions import Positions, Tile

# Bytes of a tile's correlations, and of its gallery positions, beyond which a larger one no longer helps.
COMFORT, WIDE = 1 << 23, 1 << 25
Space = TypeVar("Space")


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
        which = slice(None) if tile is None else tile.blocks
        inverse, weights = probes.inverse[which], probes.weights[which]
        maps = probes.maps if tile is None else tile.maps
        blocks, order = np.cumsum([0, *maps.counts]), np.flatnonzero(inverse)
        return cls(
            0 if tile is None else tile.members.start,
            maps,
            Columns(inverse, weights, blocks, order, np.searchsorted(order, blocks)),
        )


class Sizes(NamedTuple):
    """How much is worked on at a time.

    Attributes:
      probes: probes of a tile.
      entries: gallery entries of a tile.
      threads: how many.
      listed: pairs of a list.
      listed_entries: gallery entries of a tile where a list is compared.
    """

    probes: int
    entries: int
    threads: int
    listed: int
    listed_entries: int


class Engine(abc.ABC, Generic[Space]):
    """An engine on the CPU for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps.
      sizes: how much is worked on at a time.
      space: makes the working memory of a thread.
    """

    def __init__(self, probes: Entries, gallery: Entries, *, sizes: Sizes, space: Callable[[], Space]) -> None:
        """See the class."""
        self.probes, self.gallery, self.sizes = probes.positions, gallery.positions, sizes
        self._spaces: SimpleQueue[Space] = SimpleQueue()
        for _ in range(sizes.threads):
            self._spaces.put(space())

    @abc.abstractmethod
    def dictionaries(self, entries: Tile) -> Any:
        """What all pairs of a tile's entries share."""

    @abc.abstractmethod
    def compare(self, probes: Probes, entries: Tile, dictionaries: Any, products: Products) -> np.ndarray:
        """Distance, lower, upper, gap of the pairs: (4, n)."""

    @abc.abstractmethod
    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe."""

    def distances(self, *, progress: bool = False) -> np.ndarray:
        """Distance, lower, upper (means over the probe's blocks), largest gap: (4, P, G) float32."""
        probes, shape = self.probes, (len(self.probes), len(self.gallery))
        figures = np.empty((4, *shape), np.float32)
        whole = [(probes.tile(0, shape[0]), self.every)] if self.sizes.probes >= shape[0] else None
        total = shape[0] * shape[1]
        with tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress) as bar:
            for entries in self.gallery.tiles(self.sizes.entries):
                dictionaries = self.dictionaries(entries)
                for images, columns in whole or self._parts():
                    found = self.compare(columns, entries, dictionaries, self.products(images, entries))
                    each = found.reshape(4, len(entries.maps.counts), len(images.maps.counts))
                    figures[:, images.members, entries.members] = each.transpose(0, 2, 1)
                    bar.update(each[0].size)
        return figures

    def _parts(self) -> Iterator[tuple[Tile, Probes]]:
        """The probes tile by tile."""
        return ((images, Probes.of(self.probes, images)) for images in self.probes.tiles(self.sizes.probes))

    def listed(self, pairs: np.ndarray, *, progress: tqdm | None = None) -> np.ndarray:
        """The same of chosen pairs (n, 2), numbers of probe and entry in any order: (4, n) float32.

        Each pair has a small product, and shares what belongs to its entry with the other probes that list the entry.
        """
        figures = np.empty((4, len(pairs)), np.float32)
        order = np.lexsort((pairs[:, 0], pairs[:, 1]))
        for entries in self.gallery.tiles(self.sizes.listed_entries):
            begin, end = np.searchsorted(pairs[order, 1], [entries.members.start, entries.members.stop]).tolist()
            if begin == end:
                continue
            dictionaries = self.dictionaries(entries)
            for first in range(begin, end, self.sizes.listed):
                chosen = order[first : min(first + self.sizes.listed, end)]
                sorted_pairs = np.stack([pairs[chosen, 1] - entries.members.start, pairs[chosen, 0]], axis=1)
                products = self._small_products(entries, sorted_pairs)
                figures[:, chosen] = self.compare(self.every, entries, dictionaries, products)
                if progress is not None:
                    progress.update(len(chosen))
        return figures

    @functools.cached_property
    def every(self) -> Probes:
        """All probes."""
        return Probes.of(self.probes)

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


def sizes(
    probes: Positions, gallery: Positions, *, max_bytes: int, threads: int, thread: int, comfort: int = COMFORT
) -> Sizes:
    """What fits into ``max_bytes``: half of what one pair leaves is for threads.

    Args:
      probes: all probes.
      gallery: all entries.
      max_bytes: the ceiling.
      threads: how many there may be.
      thread: bytes that each takes.
      comfort: bytes of a tile's correlations beyond which a larger one no longer helps.

    Raises:
      ValueError: if not even one pair on one thread fits.
    """
    columns, atoms = int(probes.heights.max()), int(gallery.heights.max())
    counts = int(probes.maps.counts.max()), int(gallery.maps.counts.max())
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
    images = max(1, min(len(probes), (room - entry) // (2 * (probe + pair)), comfort // pair))
    within = (room - images * probe) // (entry + images * pair)
    return Sizes(
        probes=images,
        entries=max(1, min(len(gallery), within, WIDE // entry, comfort // (images * pair))),
        threads=crew,
        listed=1 + min(comfort, spare // 4) // pair,
        listed_entries=1 + min(WIDE, spare // 4) // entry,
    )
