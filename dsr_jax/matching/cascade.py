"""A search through stages: stripes of all entries, all positions of some thousands, certified distances of the best.

The first two stages are MaxSim, in products alone; only the last codes (Sec. 3.2, Eq. 4). What a stage leaves out is
not looked at again, so the answer says what is proven against the whole gallery and what against a stage. Masks and
weights count in every stage: in the first two by position, in the last by block.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import match
from dsr_jax.matching import coarse, weighting
from dsr_jax.matching.comparison import compared
from dsr_jax.matching.gallery import Gallery
from dsr_jax.solvers import table

AT_ONCE = 1024  # maps whose stripes are computed
ROWS = 16  # a probe's positions are padded to a multiple of this
GALLERY, STAGE, NOTHING = "gallery", "stage", "nothing"  # what a rank can be proven against


@dataclass(frozen=True)
class Stage:
    """A stage of a search.

    Attributes:
      by: the distance, "stripes", "maxsim" or "dsr"; of the last stage "dsr" by every coder but "maxsim".
      entries: how many entries it compared.
      kept: how many of them went on; of the last stage, into the answer.
    """

    by: str
    entries: int
    kept: int


@dataclass(frozen=True)
class Searched:
    """The answer of a search through stages.

    Attributes:
      hits: the nearest entries of those that reached the last stage; numbers are those of the whole gallery, as is
        ``searched``, and ``certified`` says whether the place is proven among them. With a calibration probabilities
        are those of pairs among all entries of the gallery; `Hits.nobody` and ``first_probability`` are about the
        nearest entry that was found: where a stage lost a nearer one, it may say nobody wrongly.
      stages: the stages, in their order.
    """

    hits: match.Hits
    stages: tuple[Stage, ...]

    @property
    def proven(self) -> tuple[str, ...]:
        """What each place is proven against: the whole "gallery", the last "stage", or "nothing"."""
        against = GALLERY if len(self.stages) == 1 else STAGE
        return tuple(against if certified else NOTHING for certified in self.hits.certified)


def search(
    probe_map: Any,
    gallery: Gallery,
    k: int,
    *,
    whole: int,
    first: int,
    second: int,
    probe_weights: Any = None,
    probe_masks: Any = None,
    max_bytes: int,
    **options: Any,
) -> Searched:
    """The k nearest entries by stages; see `shortlist.search`."""
    how: dict[str, Any] = {"probe_weights": probe_weights, "probe_masks": probe_masks, "max_bytes": max_bytes}
    comparison = compared(probe_map, gallery, certified=True, **how, **options)
    if len(comparison.probes) != 1:
        raise ValueError(
            f"probe_map must be one (h, w, d) array, got {len(comparison.probes)}: search for one at a time"
        )
    fitted = gallery.calibration
    if fitted is not None:
        comparison.check(fitted)
    count, remaining, stages = gallery.entries, np.arange(gallery.entries), list[Stage]()
    if count > whole and count > first:
        probe, seen = comparison.probes.maps[0], comparison.probes.masks
        weights = None
        if probe_weights is not None:
            each: dict[str, Any] = {"scales": (1,), "pooling": gallery.pooling, "visible": seen and seen[0]}
            weights = weighting.one("probe_weights", weighting.planes(probe_weights, 1)[0], probe, **each)
        remaining = _nearest(by_stripes(probe, gallery, weights=weights, max_bytes=max_bytes), first)
        stages.append(Stage("stripes", count, first))
    if count > whole and len(remaining) > second:
        part = gallery.part(remaining, scales=(1,))
        distance = match.distances(probe_map, part, coder="maxsim", probe_scales=(1,), **how).distance[0]
        stages.append(Stage("maxsim", len(remaining), second))
        remaining = remaining[_nearest(distance, second)]
    last = gallery if len(remaining) == count else gallery.part(remaining)
    hits = match.search(probe_map, last, k, **how, **options)
    by = "maxsim" if table.SOLVERS[comparison.coder].figure == "cosine" else "dsr"
    stages.append(Stage(by, len(remaining), len(hits.entries)))
    of_all: dict[str, Any] = {"searched": count, "calibration": fitted}
    return Searched(dataclasses.replace(hits, entries=remaining[hits.entries], **of_all), tuple(stages))


def by_stripes(
    probe: np.ndarray, gallery: Gallery, *, weights: np.ndarray | None = None, max_bytes: int = 1 << 29
) -> np.ndarray:
    """(E,) MaxSim of the probe's positions with the stripes of every entry, as `coarse.distances` has it.

    Args:
      probe: the (h, w, d) map, zero where masked.
      gallery: the gallery; one on disk has stripes, of others they are computed.
      weights: (h w,) how much each position counts; default: all that are not zero the same.
      max_bytes: ceiling of the largest cosines of entries that have several maps.

    Raises:
      ValueError: if these do not fit.
    """
    rows = probe.reshape(-1, probe.shape[2])
    lengths = np.linalg.norm(rows, axis=1)
    each = (lengths > 0).astype(np.float32) if weights is None else weights
    counted = (lengths > 0) & (each > 0)
    rows, each = rows[counted] / lengths[counted, None], each[counted] / each[counted].sum()
    groups = gallery.as_entries.groups
    alone = len(groups) == len(gallery.maps)
    owners = np.empty(len(gallery.maps), np.int64)
    owners[np.fromiter(itertools.chain.from_iterable(groups), np.int64)] = np.repeat(
        np.arange(len(groups)), [len(group) for group in groups]
    )
    if not alone and 4 * len(rows) * len(groups) > max_bytes:
        raise ValueError(f"max_bytes must be at least {4 * len(rows) * len(groups)} for {len(groups)} identities")
    each = _padded(each.astype(np.float32), ROWS)
    rows = _padded(rows.astype(np.float32), ROWS)
    best = np.full((len(groups), 1 if alone else len(rows)), -np.inf, np.float32)
    start, before = 0, None
    for stripes in _stripes(gallery):
        into = owners[start : start + len(stripes)]
        start += len(stripes)
        stripes = _padded(stripes, 1 << (len(stripes) - 1).bit_length())
        after = into, _means(stripes, rows, each) if alone else _largest(stripes, rows)
        _enter(best, before)  # while the device is at work
        before = after
    _enter(best, before)
    return 1 - (best[:, 0] if alone else best @ each)


@jax.jit
def _largest(stripes: jax.Array | np.ndarray, rows: jax.Array | np.ndarray) -> jax.Array:
    """(n, p) largest cosine of each row (p, d) to the stripes (n, s, d) of each map."""
    return jnp.einsum("nsd,pd->nps", stripes.astype(jnp.float32), rows).max(axis=2)


@jax.jit
def _means(stripes: jax.Array | np.ndarray, rows: jax.Array | np.ndarray, weights: jax.Array | np.ndarray) -> jax.Array:
    """(n, 1) weighted sums of these."""
    return _largest(stripes, rows) @ weights[:, None]


def _enter(best: np.ndarray, found: tuple[np.ndarray, jax.Array] | None) -> None:
    """Enters cosines of maps into those of their entries."""
    if found is not None:
        into, values = found[0], np.asarray(found[1])[: len(found[0])]
        np.maximum.at(best, into, values)


def _padded(values: np.ndarray, multiple: int) -> np.ndarray:
    """The values with zeros after them, so that few shapes are compiled."""
    return np.pad(values, [(0, -len(values) % multiple)] + [(0, 0)] * (values.ndim - 1))


def _stripes(gallery: Gallery) -> Iterator[np.ndarray]:
    """Stripes of the maps, (n, stripes, d)."""
    if hasattr(gallery, "stripes"):
        yield from gallery.stripes()
        return
    for start in range(0, len(gallery.maps), AT_ONCE):
        yield np.stack([coarse.even_stripes(values) for values in gallery.maps[start : start + AT_ONCE]])


def _nearest(distance: np.ndarray, count: int) -> np.ndarray:
    """The numbers, ascending, of the smallest distances, equal ones in their order."""
    return np.sort(np.argsort(distance, kind="stable")[:count])
