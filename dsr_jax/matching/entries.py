"""Maps grouped into entries: one side of a comparison, and how its blocks are cut.

An entry is one dictionary (or one probe): one map, or all maps of one identity.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching.positions import Positions


@dataclass(frozen=True, eq=False)
class Entries:
    """Maps grouped into E entries, and how their blocks are cut: one side of a comparison.

    Attributes:
      maps: the (h, w, d) float32 maps.
      groups: for each entry, the numbers of its maps.
      scales: sides of the windows.
      pooling: "average" or "max".
      masks: of each map (h, w) of bool, False where it is masked, and zero; or None.
      weights: of each map (n,) weights of its blocks in the mean over them, scales ascending (`weighting.of`); or None.
    """

    maps: Sequence[Any]  # arrays; with the type given, checkers at run time would read some
    groups: Sequence[Sequence[int]]
    scales: tuple[int, ...]
    pooling: str
    masks: Sequence[np.ndarray] | None = None
    weights: Sequence[np.ndarray] | None = None

    @classmethod
    def single(
        cls,
        maps: Sequence[np.ndarray],
        *,
        scales: tuple[int, ...],
        pooling: str,
        masks: Sequence[np.ndarray] | None = None,
        weights: Sequence[np.ndarray] | None = None,
    ) -> "Entries":
        """Every map an entry of its own."""
        return cls(maps, [[i] for i in range(len(maps))], scales, pooling, masks, weights)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.groups)

    @property
    def channels(self) -> int:
        """Length d of a position."""
        return self.maps[0].shape[2]

    def part(self, which: slice) -> "Entries":
        """Consecutive entries."""
        return replace(self, groups=self.groups[which])

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """(E,) number of blocks of each entry."""
        return self._total([blocks.count(*m.shape[:2], scales=self.scales) for m in self.maps])

    @functools.cached_property
    def directed(self) -> np.ndarray:
        """(E,) number of blocks of each that have a direction: what a probe's distance is the mean over."""
        each = (blocks.directed(self.maps[i], **self._how(i)) for i in range(len(self.maps)))
        return self._total([int(np.count_nonzero(directed)) for directed in each])

    @functools.cached_property
    def total(self) -> np.ndarray:
        """(E,) sum of the blocks' weights, where none were given the number of those with a direction."""
        return self.directed if self.weights is None else self._total([float(np.sum(each)) for each in self.weights])

    @functools.cached_property
    def counted(self) -> np.ndarray:
        """(E,) share of each entry's blocks that have a direction and weigh anything."""
        if self.weights is None:
            return self.directed / self.counts
        return self._total([int(np.count_nonzero(each)) for each in self.weights]) / self.counts

    @functools.cached_property
    def positions(self) -> Positions:
        """The maps as they are multiplied."""
        how: dict[str, Any] = {"masks": self.masks, "weights": self.weights}
        return Positions.of(self.maps, self.groups, scales=self.scales, pooling=self.pooling, **how)

    @functools.cached_property
    def kept(self) -> dict[Any, Any]:
        """What an engine keeps of the entries from one call to the next."""
        return {}

    def blocks(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """(n, d) float32 blocks of some consecutive entries, one after the other, without padding."""
        numbers = [i for group in self.groups[first:last] for i in group]
        cut = (blocks.cut_exactly(self.maps[i], **self._how(i)) for i in numbers)
        return np.concatenate([part.astype(np.float32) for part in cut])

    def _how(self, i: int) -> dict[str, Any]:
        """How the blocks of map i are cut."""
        visible = None if self.masks is None else self.masks[i]
        return {"scales": self.scales, "pooling": self.pooling, "visible": visible}

    def _total(self, each: Sequence[float]) -> np.ndarray:
        return np.array([sum(each[i] for i in group) for group in self.groups])


def gather(identities: tuple[Any, ...] | None, count: int) -> tuple[list[list[int]], tuple[Any, ...] | None]:
    """Map numbers per entry, and the entries' labels in the order of first appearance.

    Example:
      >>> from dsr_jax.matching.entries import gather
      >>> gather(("b", "a", "b"), 3)
      ([[0, 2], [1]], ('b', 'a'))
    """
    if identities is None:
        return [[i] for i in range(count)], None
    groups: dict[Any, list[int]] = {}
    for i, label in enumerate(identities):
        groups.setdefault(label, []).append(i)
    return list(groups.values()), tuple(groups)
