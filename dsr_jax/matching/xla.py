"""The engine in XLA, matching on GPU and TPU: products of positions, pooled and coded on the device.

For a tile of T gallery entries (M blocks each, padded) and the columns of some probes laid side by side (C in all), one
matrix product gives the correlations of all positions, two small ones pool them (T, M, C), a solver turns them into
squared errors with their certificate (T, C), and the mean over each probe's columns is the distance. Maps go in and
four figures per pair come out; nothing waits for them, so that the next tile is put together while one is coded. The
number of columns is rounded up, whatever the probes: few programs serve maps of all sizes. Memory is that of one tile.
Several devices share out the T entries: each has its slice of them and all probes of the tile, without any exchange
between them.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from dsr_jax.matching import memory, padded, programs, search
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.padded import Size
from dsr_jax.matching.programs import Side
from dsr_jax.parallel import sharding
from dsr_jax.solvers import certificate
from dsr_jax.solvers.table import SOLVERS

Item = TypeVar("Item")
# Blocks of padding that are worth another size, of products and, so many times that, of the coder as well: on two cores
# some seconds go into compiling, or into coding in vain, either way.
ANOTHER, CODER = 1 << 10, 64
AHEAD = 2  # tiles whose figures nobody has waited for


class Engine:
    """The engine in XLA for some probes (one map each) and some gallery entries.

    Args:
      probes: entries of one map each.
      gallery: entries of any number of maps; they stay on the device if they fit into half of ``max_bytes``.
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
        self.how: dict[str, Any] = {"coder": coder, "l1": l1, "tol": tol}
        self.figure = SOLVERS[coder].figure
        self.sides = probes.positions, gallery.positions
        self.within: dict[str, Any] = {"coder": coder, "max_bytes": max_bytes}
        self.sizes = memory.sizes(*self.sides, devices=self.mesh.size, **self.within)

    def distances(self, *, progress: bool = False) -> np.ndarray:
        """Distance, lower, upper (means over the probe's blocks), largest gap: (4, P, G) float32."""
        figures = np.empty((4, len(self.probes), len(self.gallery)), np.float32)
        total = figures[0].size
        bar = tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress)
        # On accelerators the default precision of a matrix product is too coarse for the certificate.
        with bar, self._told(), jax.default_matmul_precision("highest"):
            for entries, images, found in _behind(self._tiles()):
                each = self._widened(found)[:, : len(entries), : len(images)]
                figures[:, images[:, None], entries] = each.swapaxes(1, 2)
                bar.update(each[0].size)
        return figures

    def _tiles(self) -> Iterator[tuple[np.ndarray, np.ndarray, jax.Array]]:
        """Numbers of the entries and of the probes of a tile, and its figures (4, T, P), which are on their way."""
        columns = self.sizes.columns
        for entries, dictionaries in self._sides(self.gallery, self.mesh, lambda _: self.sizes.entries):
            gram = self._gram(dictionaries, self.mesh)
            for images, probes in self._sides(self.probes, self.mesh, lambda s: columns // s.blocks, shared=True):
                if self.figure == "residual":
                    coder = self.how["coder"]
                    solved = programs.uncertified(gram, dictionaries, probes, coder=coder, mesh=self.mesh)
                else:
                    correlation = programs.correlations(dictionaries, probes, columns=columns, mesh=self.mesh)
                    energy = programs.energy(probes, columns=columns)
                    solved = self._solved(gram, dictionaries, correlation, energy)
                slots, blocks = probes.inverse.shape
                yield entries, images, programs.figures(solved, self._weights(images, slots, blocks), blocks=blocks)

    def listed(self, pairs: np.ndarray, *, progress: tqdm | None = None) -> np.ndarray:
        """The same of chosen pairs (n, 2), numbers of probe and entry in any order: (4, n) float32."""
        figures = np.empty((4, len(pairs)), np.float32)
        with self._told(), jax.default_matmul_precision("highest"):
            for chosen, found in _behind(self._lists(pairs)):
                figures[:, chosen[chosen >= 0]] = self._widened(found)[:, : len(chosen)][:, chosen >= 0]
                if progress is not None:
                    progress.update(int((chosen >= 0).sum()))
        return figures

    def _lists(self, pairs: np.ndarray) -> Iterator[tuple[np.ndarray, jax.Array]]:
        """Numbers (T, P) of pairs, each row of one entry and -1 where there is none, and figures (4, T', P) of them.

        An entry of more pairs than a row has stands in several.
        """
        sizes = memory.sizes(*self.sides, devices=self.mesh.size, apart=True, **self.within)
        probes, gallery = self.sides
        size = padded.largest(probes)
        share = -(-len(pairs) // len(np.unique(pairs[:, 1])))
        each = max(1, min(sizes.columns // size.blocks, share))
        slots = sizes.entries * self.mesh.size
        for group, members in padded.groups(gallery, ANOTHER * CODER):
            wanted = np.flatnonzero(np.isin(pairs[:, 1], members))
            rows = _rows(wanted[np.lexsort((pairs[wanted, 0], pairs[wanted, 1]))], pairs[:, 1], each)
            for start in range(0, len(rows), slots):
                chosen = rows[start : start + slots]
                numbers, which = np.unique(pairs[chosen, 0], return_inverse=True)
                own = np.zeros((slots, each), np.int32)
                own[: len(chosen)] = which.reshape(chosen.shape)
                images = padded.tile(probes, numbers, size, slots=min(padded.grid(len(numbers)), slots * each))
                entries = padded.tile(gallery, pairs[chosen[:, 0], 1], group, slots=slots)
                dictionaries = programs.side(entries, self.mesh)
                correlation, energy = programs.apart(
                    dictionaries,
                    sharding.entries(own, self.mesh),
                    programs.side(images, self.mesh, shared=True),
                    columns=sizes.columns,
                    mesh=self.mesh,
                )
                solved = self._solved(self._gram(dictionaries, self.mesh), dictionaries, correlation, energy)
                weights = self._weights(numbers, len(numbers), size.blocks).at(own)
                yield chosen, programs.figures(solved, weights, blocks=size.blocks)

    def nearest(self, k: int) -> search.Nearest:
        """The k nearest entries of the only probe, and no more coded than that takes, which one device does."""
        if self.figure == "cosine":
            return search.first(self.distances()[:, 0], k)
        with self._told(), jax.default_matmul_precision("highest"):
            return search.nearest(self._parts(), k, columns=int(self.probes.directed[0]))

    def _gram(self, dictionaries: Side, mesh: Mesh) -> jax.Array | None:
        """Gram matrices of the blocks, where codes need them."""
        return None if self.figure == "cosine" else programs.gram(dictionaries, mesh=mesh)

    def _solved(
        self, gram: jax.Array | None, dictionaries: Side, correlation: jax.Array, energy: jax.Array
    ) -> programs.Certificates:
        """Figures of the columns."""
        if gram is None:
            return programs.cosines(dictionaries.inverse, correlation, energy, mesh=self.mesh)
        return programs.coded(gram, correlation, energy, mesh=self.mesh, **self.how)

    def _parts(self) -> Iterator[search.Part]:
        """The gallery part by part, as it is searched."""
        mesh = sharding.mesh(list(self.mesh.devices)[:1])
        sizes = memory.searched(*self.sides, **self.within)
        size = padded.largest(self.probes.positions)
        probe = programs.side(padded.tile(self.probes.positions, np.zeros(1, int), size, slots=1), mesh)
        energy = programs.energy(probe, columns=sizes.columns)
        weights = self._weights(np.zeros(1, int), 1, size.blocks)
        of_columns = energy
        if weights.each is not None:
            of_columns = np.zeros(sizes.columns, np.float32)
            of_columns[: size.blocks] = weights.each[0]
        for members, dictionaries in self._sides(self.gallery, mesh, lambda _: sizes.entries):
            correlation = programs.correlations(dictionaries, probe, columns=sizes.columns, mesh=mesh)
            floors, guess = programs.bounds(correlation, of_columns, l1=self.how["l1"], length=self.probes.channels)
            floors = np.asarray(floors) * np.float32(1 - self._doubt)

            def code(
                chosen: np.ndarray, bar: float, dictionaries: Side = dictionaries, correlation: jax.Array = correlation
            ) -> search.Coded:
                found = []
                for start in range(0, len(chosen), sizes.coded):
                    some = np.resize(chosen[start : start + sizes.coded], sizes.coded)
                    gram = programs.gram(dictionaries.at(some), mesh=mesh)
                    solved = programs.coded(gram, correlation[some], energy, mesh=mesh, **self.how)
                    found.append(programs.figures(solved, weights, blocks=size.blocks))
                figures = np.concatenate([self._widened(each)[:, :, 0] for each in found], axis=1)[:, : len(chosen)]
                return search.Coded(figures, np.ones(len(chosen), bool), len(chosen) * int(self.probes.directed[0]))

            yield search.Part(members, floors[: len(members)], np.asarray(guess)[: len(members)], code)

    def _sides(
        self, entries: Entries, mesh: Mesh, slots: Callable[[Size], int], *, shared: bool = False
    ) -> Iterator[tuple[np.ndarray, Side]]:
        """Numbers of some entries at a time, and these on the mesh, where they stay if all together are small enough.

        Args:
          entries: all of them.
          mesh: the devices, which share them out in slices.
          slots: entries of a padded size that a device has at once, at most.
          shared: every device has all of them instead.
        """
        positions, devices = entries.positions, 1 if shared else mesh.size
        plan = []
        for size, members in padded.groups(positions, ANOTHER if shared else ANOTHER * CODER):
            needed = max(_doubled(-(-len(members) // devices)), 1 if devices == 1 else memory.PAIR)
            count = devices * min(slots(size), needed)
            plan += [(size, members[start : start + count], count) for start in range(0, len(members), count)]
        key = mesh, shared, tuple(count for _, _, count in plan)
        if key in entries.kept:
            yield from entries.kept[key]
            return
        total = sum(count * memory.kept(size, entries.channels) for size, _, count in plan)
        sides = []
        for size, members, count in plan:
            found = members, programs.side(padded.tile(positions, members, size, slots=count), mesh, shared=shared)
            yield found
            if 2 * total <= devices * self.max_bytes:
                sides.append(found)
        if sides:
            entries.kept.clear()
            entries.kept[key] = sides

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the devices in words of the call; what is kept there is dropped, and nothing was returned."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            self.gallery.kept.clear()
            self.probes.kept.clear()
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(
                    f"max_bytes must leave room for what else is on the device, got {self.max_bytes}, and the device "
                    f"has no memory left: give less, or match fewer maps at a time ({error})"
                ) from error
            raise RuntimeError(f"the device failed during the call, of which nothing is kept: {error}") from error

    def _weights(self, images: np.ndarray, slots: int, blocks: int) -> programs.Weights:
        """Weights of the columns of some probes in so many slots of so many columns."""
        total = np.ones(slots, np.float32)
        if self.probes.weights is None:
            total[: len(images)] = self.probes.directed[images]
            return programs.Weights(total, None)
        each = np.zeros((slots, blocks), np.float32)
        for slot, i in enumerate(images.tolist()):
            weights = self.probes.weights[self.probes.groups[i][0]]
            each[slot, : len(weights)] = weights
        total[: len(images)] = each[: len(images)].sum(axis=1, dtype=np.float64)
        return programs.Weights(total, each)

    @property
    def _doubt(self) -> float:
        """Error, relative to itself, that weights in float32 add to a mean over a probe's columns."""
        return 0.0 if self.probes.weights is None else 8 * certificate.EPS

    def _widened(self, found: jax.Array) -> np.ndarray:
        """Figures (4, ...), their intervals widened by what rounding of products and means can do."""
        figures = np.array(found)
        slack = certificate.slack(self.gallery.channels)  # beside the solver's own allowance, and grows with d
        share, least = programs.rounding(int(self.probes.counts.max()))
        share += self._doubt
        figures[0] = np.maximum(figures[0], 0)  # where a cosine is rounded to more than 1
        figures[1] = np.maximum(figures[1] * (1 - share) - slack - least, 0)
        figures[2] = figures[2] * (1 + share) + slack + least
        return figures


def _rows(order: np.ndarray, entries: np.ndarray, each: int) -> np.ndarray:
    """Pairs in rows of one entry each, (n, each), -1 where there is none left.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching import xla
      >>> xla._rows(np.array([0, 2, 1]), np.array([5, 7, 5]), 2).tolist()
      [[0, 2], [1, -1]]
    """
    owners = entries[order]
    starts = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
    ends = np.append(starts[1:], len(order))
    cuts = [(i, min(i + each, end)) for start, end in zip(starts, ends, strict=True) for i in range(start, end, each)]
    rows = np.full((len(cuts), each), -1)
    for row, (start, end) in zip(rows, cuts, strict=True):
        row[: end - start] = order[start:end]
    return rows


def _doubled(n: int) -> int:
    """``n`` rounded up to a power of two."""
    return 1 << max(0, n - 1).bit_length()


def _behind(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each of them some places later: nobody waits for what was only begun."""
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting
