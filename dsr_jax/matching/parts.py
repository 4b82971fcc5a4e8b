"""Entries whose maps are read lazily, as those of a gallery on disk: brought into memory part by part."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dsr_jax.matching.entries import Entries

PART = 1 << 28  # bytes of float32 maps that are held


class LazyMaps(Sequence, abc.ABC):  # of arrays; with the type given, checkers at run time would read some
    """Maps that are read when they are needed, many at once."""

    @property
    @abc.abstractmethod
    def shapes(self) -> np.ndarray:
        """(n, 3) h, w and d of every map, unread."""

    @abc.abstractmethod
    def read(self, numbers: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The maps of these numbers, (h, w, d) float32, one after another in memory."""


def in_memory(entries: Entries, part_bytes: int = PART) -> Iterator[Entries]:
    """The entries as they are; of maps that are read lazily, consecutive entries in memory, part by part.

    Entries that are one part together are kept, with all that the engines keep of them, from one call to the next.

    Args:
      entries: the entries.
      part_bytes: bytes of float32 maps of a part; one entry at least.

    Yields:
      Entries whose maps are in memory, in the order of ``entries``.
    """
    if not isinstance(entries.maps, LazyMaps):
        yield entries
        return
    if "whole" in entries.kept:
        yield entries.kept["whole"]
        return
    sizes = np.prod(entries.maps.shapes, axis=1, dtype=np.int64) * 4
    start, held = 0, 0
    for number, group in enumerate(entries.groups):
        size = int(sizes[group].sum())
        if held and held + size > part_bytes:
            yield _read(entries.part(slice(start, number)), entries.maps)
            start, held = number, 0
        held += size
    last = _read(entries.part(slice(start, len(entries))), entries.maps)
    if not start:
        entries.kept["whole"] = last
    yield last


def _read(entries: Entries, maps: LazyMaps) -> Entries:
    """The entries with their maps alone, in memory."""
    numbers = [i for group in entries.groups for i in group]
    ends = np.cumsum([len(group) for group in entries.groups])
    groups = [list(range(end - len(group), end)) for end, group in zip(ends.tolist(), entries.groups, strict=True)]
    masks = None if entries.masks is None else [entries.masks[i] for i in numbers]
    return replace(entries, maps=maps.read(numbers), groups=groups, masks=masks)
