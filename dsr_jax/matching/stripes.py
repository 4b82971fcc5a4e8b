"""First stage of a search: the averages of a probe's rows against the stripes of rows of every gallery map.

    distance = 1 - weighted mean over the probe's rows r of max_s cos(r, stripe s)

Like is compared with like, averages with averages: single positions find their map less often, and are more products.
Stripes (`coarse.even_stripes`) are in whole numbers of a step of their own, 127 steps at most, which moves cosines of
maps whose channels are alike by some thousandths. Where one channel is far above all others (maps of some
transformers) the step is coarse, and neighbours change places. They are kept from one search to the next.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.cpu.kernel_cache import flat
from dsr_jax.matching import _stripe_kernel, coarse
from dsr_jax.matching.gallery import Gallery

LEAST = 256  # entries that are worth a thread
NUMBERS = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)  # of the bits of float16


class Stripes(NamedTuple):
    """Stripes of n maps, each of unit length but for rounding.

    Attributes:
      values: (n, stripes, d) int8.
      steps: (n, stripes) float32, what 1 of them is worth; 0 of a stripe without a direction.
    """

    values: np.ndarray
    steps: np.ndarray

    @classmethod
    def empty(cls, count: int, stripes: int, channels: int) -> "Stripes":
        """Room for the stripes of so many maps."""
        return cls(np.empty((count, stripes, channels), np.int8), np.empty((count, stripes), np.float32))

    def enter(self, start: int, stripes: np.ndarray) -> None:
        """Rounds the stripes (m, stripes, d) in float16 of the maps from ``start`` on."""
        halves = flat(np.asarray(stripes, np.float16)).view(np.uint16)  # as they were read, without a copy

        def part(first: int, last: int) -> None:
            _stripe_kernel.rounded(halves, NUMBERS, start, first, last, *self)

        cores.each(part, len(stripes), least=LEAST)


def distances(probe: np.ndarray, gallery: Gallery, *, weights: np.ndarray | None = None) -> np.ndarray:
    """(E,) distance of the probe to every entry; the stripes of all maps of an entry are its stripes.

    Args:
      probe: the (h, w, d) map, zero where masked.
      gallery: the gallery; one on disk has stripes, of others they are computed once.
      weights: (h w,) how much each position counts, in the average and in the mean; default: all the same.
    """
    rows, counts = coarse.rows(probe, weights)
    best = np.full((gallery.entries, len(rows)), _stripe_kernel.NONE, np.float32)
    owners = _owners(gallery)
    for stripes, members, maps in _parts(gallery):
        entries, offsets = maps, np.arange(len(maps) + 1)
        if owners is not None:
            order = np.argsort(owners[maps], kind="stable")
            entries, firsts = np.unique(owners[maps[order]], return_index=True)
            members, offsets = members[order], np.append(firsts, len(order))
        best[entries] = np.maximum(best[entries], _largest(stripes, members, offsets, rows))
    return 1 - best @ counts


def _owners(gallery: Gallery) -> np.ndarray | None:
    """(n,) entry of each map; None where each is an entry of its own."""
    if gallery.identities is None:
        return None
    groups, owners = gallery.as_entries.groups, np.empty(len(gallery.maps), np.int64)
    owners[np.fromiter(itertools.chain.from_iterable(groups), np.int64)] = np.repeat(
        np.arange(len(groups)), [len(group) for group in groups]
    )
    return owners


def _largest(stripes: Stripes, members: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(E, p) largest cosine of each row to the stripes ``members[offsets[e] : offsets[e + 1]]`` of each entry."""
    best = np.empty((len(offsets) - 1, len(rows)), np.float32)

    def part(start: int, stop: int) -> None:
        wide = np.empty(rows.shape[1], np.float32)
        _stripe_kernel.largest(*stripes, members, offsets, rows, start, stop, wide, best)

    cores.each(part, len(best), least=LEAST)
    return best


def _parts(gallery: Gallery) -> Iterator[tuple[Stripes, np.ndarray, np.ndarray]]:
    """The stripes of the gallery's maps: some stripes, which of them, and of which maps these are."""
    if hasattr(gallery, "rounded_stripes"):
        yield from gallery.rounded_stripes()
        return
    kept = gallery.as_entries.kept
    if "stripes" not in kept:
        made = Stripes.empty(len(gallery.maps), coarse.STRIPES, gallery.maps[0].shape[2])
        for start in range(0, len(gallery.maps), LEAST):
            made.enter(start, np.stack([coarse.even_stripes(m) for m in gallery.maps[start : start + LEAST]]))
        kept["stripes"] = made
    yield kept["stripes"], np.arange(len(gallery.maps)), np.arange(len(gallery.maps))
