"""DSR on a shortlist: a coarse distance chooses K gallery entries for each probe, Algorithm 1 codes these only.

    result = shortlist.distances(probe_maps, gallery_maps, 100, by="stripes")
    result.entries, result.distance       # (P, 100): which entries, nearest first, and their certified distances
    shortlist.search(probe_map, gallery)  # one probe in a gallery of any size, through stages

Every pair of Market-1501 is 3,368 x 19,732 codings, a list of 100 is half a per cent of them. What that costs: an entry
that is not on the list is not coded, however near DSR would find it. So the result has distances of the listed pairs
alone; `Shortlist.extended` ranks the others after the list, by the coarse distance.

The coarse distance is one of `BY`: "pooled" features (those of `baselines.global_average`: the average over a map's
positions, of unit length, Euclidean; several maps of one identity: the mean of their distances), or MaxSim,
of the averages of the probe's rows with 8 "stripes" of rows of every gallery map, or of all positions ("maxsim"). Maps
that are read lazily stay where they are: all are read for the coarse distances, then the listed ones part by part, as
in `streaming`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from dsr_jax import match
from dsr_jax.matching import cascade, checks, coarse, streaming, visibility, weighting
from dsr_jax.matching.cascade import Searched
from dsr_jax.matching.checks import as_labels, as_scales
from dsr_jax.matching.comparison import check_numbers, compared
from dsr_jax.matching.gallery import gather
from dsr_jax.parallel import hosts
from dsr_jax.solvers import table

__all__ = ["BEYOND", "BY", "NOBODY", "Searched", "Shortlist", "distances", "nearest", "search"]

BY = coarse.WAYS

NOBODY = -1  # in `Shortlist.entries`: a place that no entry has
BEYOND = 2.0  # what `extended` adds to coarse distances: no distance of the list is larger
PROBES = 4  # parts of probes held for one of the gallery: for every part of probes the gallery is read again


@dataclass(frozen=True)
class Shortlist:
    """Distances of P probes to their K listed entries, and coarse distances to all G.

    Attributes:
      entries: (P, K) numbers of the listed entries, nearest by DSR first; -1 at the end of a list that is shorter.
      distance: (P, K) float32 as of `match.distances`, ascending; NaN where there is no entry.
      lower: (P, K) certified lower bound of the exact distance.
      upper: (P, K) certified upper bound of the exact distance.
      gap: (P, K) largest duality gap of the pair's columns.
      coarse: (P, G) distances that chose the list.
      by: what they are, one of `BY`.
      identities: G labels of the entries, or None where none were given.
      coder: the coder that was used.
      counted: (P,) share of each probe's blocks that the distance is the mean over, see `match.Distances`.
    """

    entries: np.ndarray
    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gap: np.ndarray
    coarse: np.ndarray
    by: str
    identities: tuple[Any, ...] | None
    coder: str
    counted: np.ndarray

    @property
    def pooled(self) -> np.ndarray:
        """(P, G) the coarse distances, where they are of pooled features."""
        if self.by != "pooled":
            raise AttributeError(f"pooled: the list was chosen by {self.by}; see coarse")
        return self.coarse

    @property
    def listed(self) -> np.ndarray:
        """(P, G) whether the entry is on the probe's list: where there is a distance of DSR."""
        listed = np.zeros(self.coarse.shape, bool)
        rows, columns = np.nonzero(self.entries != NOBODY)
        listed[rows, self.entries[rows, columns]] = True
        return listed

    @property
    def extended(self) -> np.ndarray:
        """(P, G) float32 to rank all entries by: DSR's distance on the list, 2 + the coarse distance beyond it."""
        extended = self.coarse + np.float32(BEYOND)
        rows, columns = np.nonzero(self.entries != NOBODY)
        extended[rows, self.entries[rows, columns]] = self.distance[rows, columns]
        return extended


def nearest(pooled: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """The k entries of each probe with the smallest coarse distance.

    Args:
      pooled: (P, G) distances.
      k: length of the lists, at most G of which are used.
      allowed: (P, G) whether the entry may answer the probe; others take no place. Default: all may.

    Returns:
      (P, min(k, G)) numbers of entries, ascending by distance, equal ones in the gallery's order; -1 where fewer are
      allowed.

    Raises:
      ValueError: for k < 1, or shapes that do not fit.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import shortlist
      >>> pooled = np.array([[0.3, 0.1, 0.2], [0.1, 0.2, 0.3]])
      >>> shortlist.nearest(pooled, 2, allowed=np.array([[True, False, True], [True, False, False]])).tolist()
      [[2, 0], [0, -1]]
    """
    _check_length(k)
    if allowed is not None and np.shape(allowed) != pooled.shape:
        raise ValueError(f"allowed must be {pooled.shape}, probes x gallery entries, got shape {np.shape(allowed)}")
    entries = np.full((len(pooled), min(int(k), pooled.shape[1])), NOBODY, np.int64)
    for p, row in enumerate(pooled):
        candidates = np.arange(len(row)) if allowed is None else np.flatnonzero(allowed[p])
        first = candidates[np.argsort(row[candidates], kind="stable")[: entries.shape[1]]]
        entries[p, : len(first)] = first
    return entries


def distances(
    probe_maps: Any,
    gallery_maps: Any,
    k: int,
    *,
    by: str = "pooled",
    identities: Any = None,
    allowed: np.ndarray | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    l1: float = 0.4,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    coder: str = "auto",
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
    part_bytes: int = streaming.PART,
    progress: bool = False,
) -> Shortlist:
    """DSR's distances of every probe to the k gallery entries that are nearest to it by a coarse distance.

    Several processes must each make the same call; each codes the lists of its part of the probes.

    Args:
      probe_maps: a sequence of P maps (h, w, d) or an array of them; read lazily, if it is `map_file.Maps`.
      gallery_maps: the same of the gallery.
      k: length of the lists; that of the gallery or more: every pair is coded.
      by: the coarse distance, "pooled", "stripes" or "maxsim", from cheap to dear.
      identities: a label per gallery map: maps of one identity form one dictionary and are one entry.
      allowed: (P, G) whether the entry may answer the probe (`candidates.allowed`); others take no place.
      probe_weights: None, "norm" or one (h, w) array per probe, see `match.distances`; not of the coarse distance.
      probe_masks: one (h, w) array per probe, True (or 1) where it is visible; the coarse distance, too, is of what is.
      gallery_masks: the same for every gallery map.
      l1: weight of the L1 penalty, the paper's beta.
      scales: sides of the windows whose averages are blocks; default: (1, 2, 3).
      probe_scales: the same for the probes; default: as ``scales``.
      pooling: "average" (the default) or "max", of blocks; the coarse distance knows no blocks.
      coder: "auto", "active_set", "homotopy", "proximal", "feature_sign" or "maxsim".
      tol: largest duality gap of a column.
      max_bytes: memory ceiling of the tiles, beside the maps.
      part_bytes: bytes of gallery maps, as float32, that are held; of the probes' four times as many.
      progress: whether to show a progress bar.

    Returns:
      The `Shortlist`.

    Raises:
      ValueError: as `match.distances`; for k < 1, an unknown ``by``, and the coder "ridge", which has no certificate.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match, shortlist
      >>> maps = np.random.default_rng(0).random((8, 4, 2, 16)) ** 4
      >>> result = shortlist.distances(maps[:3], maps, 2)
      >>> result.distance.shape, result.entries[:, 0].tolist()
      ((3, 2), [0, 1, 2])
      >>> bool(np.allclose(result.distance[0], match.distances(maps[0], maps[result.entries[0]]).distance))
      True
    """
    _check_length(k)
    if by not in BY:
        raise ValueError(f"by must be one of {BY}, got {by!r}")
    chosen = table.choose(coder, use="matching", certified=True)
    if not (isinstance(part_bytes, int | np.integer) and part_bytes >= 1):
        raise ValueError(f"part_bytes must be at least 1, got {part_bytes!r}; {streaming.PART} is the default")
    probe_maps, gallery_maps = _sequence("probe_maps", probe_maps), _sequence("gallery_maps", gallery_maps)
    if not len(probe_maps) or not len(gallery_maps):
        raise ValueError(
            f"there must be maps on both sides, got {len(probe_maps)} probes, {len(gallery_maps)} of gallery"
        )
    checks.check_channels(probe_maps[0], gallery_maps[0])
    groups, labels = gather(as_labels("identities", identities, len(gallery_maps)), len(gallery_maps))
    cut_at = as_scales("scales", (1, 2, 3) if scales is None else scales)
    probes_at = cut_at if probe_scales is None else as_scales("probe_scales", probe_scales)
    check_numbers(l1, tol, max_bytes)
    weights = None if probe_weights is None else weighting.planes(probe_weights, len(probe_maps))
    shown, seen = visibility.both(probe_masks, len(probe_maps), gallery_masks, len(gallery_maps))
    probes_read = coarse.Checked("probe_maps", probe_maps, scales=probes_at, masks=shown, called="probe_masks")
    gallery_read = coarse.Checked("gallery_maps", gallery_maps, scales=cut_at, masks=seen, called="gallery_masks")
    shares: list[float] = []
    looked: Any = coarse.counted(
        probes_read, shares, scales=probes_at, pooling="average" if pooling is None else pooling, weights=weights
    )
    if by != "pooled":  # which looks at every probe once
        deque(looked, maxlen=0)
        looked = probes_read
    reading: dict[str, Any] = {"part_bytes": part_bytes, "max_bytes": max_bytes, "progress": progress}
    found = coarse.distances(by, looked, gallery_read, groups, **reading)
    entries = nearest(found, k, allowed)
    how: dict[str, Any] = {"coder": chosen, "l1": l1, "tol": tol, "max_bytes": max_bytes, "pooling": pooling}
    how |= {"scales": cut_at, "probe_scales": probes_at}
    figures = np.full((4, *entries.shape), np.nan, np.float32)
    local = range(len(entries))[hosts.part(len(entries))]
    total = int((entries != NOBODY).sum())
    with tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress) as bar:
        for rows, probes, _ in streaming.parts(probe_maps, [[p] for p in local], PROBES * part_bytes):
            at = local[rows]
            wanted = entries[at.start : at.stop]
            numbers = np.unique(wanted[wanted != NOBODY])
            if not numbers.size:
                continue
            for columns, gallery, members in streaming.parts(gallery_maps, [groups[g] for g in numbers], part_bytes):
                part = numbers[columns]
                p, place = np.nonzero((wanted >= part[0]) & (wanted <= part[-1]))
                pairs = np.stack([p, np.searchsorted(part, wanted[p, place])], axis=1)
                comparison = compared(
                    probes,
                    gallery,
                    identities=members,
                    probe_weights=weighting.some(weights, at),
                    probe_masks=visibility.some(shown, at),
                    gallery_masks=visibility.some(seen, [i for g in part for i in groups[g]]),
                    **how,
                )
                figures[:, at.start + p, place] = comparison.engine().listed(pairs, progress=bar)
    figures = hosts.together(figures[:, local.start : local.stop].swapaxes(1, 2), len(entries)).swapaxes(1, 2)
    order = np.argsort(figures[0], axis=1, kind="stable")  # NaN is last
    distance, lower, upper, gap = (np.take_along_axis(figure, order, axis=1) for figure in figures)
    ranked = np.take_along_axis(entries, order, axis=1)
    return Shortlist(ranked, distance, lower, upper, gap, found, by, labels, chosen, np.array(shares))


def search(
    probe_map: Any,
    gallery_maps: Any,
    k: int = 10,
    *,
    whole: int = 1000,
    first: int = 4096,
    second: int = 256,
    l1: float = 0.4,
    probe_scales: Sequence[int] | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    coder: str = "auto",
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
) -> Searched:
    """The k entries nearest to one probe in a gallery of any size: stripes of all, MaxSim of some, DSR of the best.

    The defaults kept the exact first ten of 100 probes in 10,000 images (docs/gallery.md); a larger gallery needs more.

    Args:
      probe_map: one (h, w, d) array.
      gallery_maps: a `match.Gallery`, best one on disk, which has the stripes; `StoredGallery.where` filters it before.
      k: how many entries.
      whole: a gallery of at most so many entries is searched whole, as by `match.search`.
      first: how many entries go on that are nearest by the stripes, with the averages of the probe's rows.
      second: how many of these go on that are nearest by MaxSim of all positions: these are compared by DSR.
      l1: weight of the L1 penalty.
      probe_scales: sides of the probe's windows; default: as the gallery's. The stages before know no windows.
      probe_weights: as of `match.search`: None, "norm" or one (h, w) array. The stages before weight positions.
      probe_masks: one (h, w) array, True (or 1) where the probe is visible, in every stage.
      coder: as of `match.search`.
      tol: largest duality gap of a column.
      max_bytes: memory ceiling, beside the maps.

    Returns:
      A `Searched`: the hits, the stages, and what each place is proven against. Of a gallery with a calibration the
      hits have probabilities, among all entries of the gallery, whatever the stages left out.

    Raises:
      ValueError: as `match.search`; for maps in place of a gallery, unless k <= second <= first, and for weights that
        leave no single position of the probe.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match, shortlist
      >>> gallery = match.Gallery.build(np.random.default_rng(0).random((50, 6, 3, 32)))
      >>> found = shortlist.search(gallery.maps[7][:3], gallery, 2, whole=10, first=20, second=5)
      >>> int(found.hits.entries[0]), found.proven[0], [stage.entries for stage in found.stages]
      (7, 'stage', [50, 20, 5])
      >>> shortlist.search(gallery.maps[7][:3], gallery, 2).proven
      ('gallery', 'gallery')
    """
    if not isinstance(gallery_maps, match.Gallery):
        raise ValueError(f"gallery_maps must be a match.Gallery: Gallery.build it once, got {gallery_maps!r:.60}")
    for argument, value in (("k", k), ("whole", whole), ("first", first), ("second", second)):
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{argument} must be a whole number >= 1, got {value!r}")
    if not k <= second <= first:
        raise ValueError(f"k <= second <= first is needed, got k={k}, second={second}, first={first}")
    how: dict[str, Any] = {"l1": l1, "probe_scales": probe_scales, "coder": coder, "tol": tol, "max_bytes": max_bytes}
    how |= {"probe_weights": probe_weights, "probe_masks": probe_masks}
    return cascade.search(probe_map, gallery_maps, int(k), whole=whole, first=first, second=second, **how)


def _sequence(argument: str, maps: Any) -> Any:
    """Maps that have a length and can be indexed."""
    if hasattr(maps, "__array__") and np.ndim(maps) == 3:
        return [maps]
    if not hasattr(maps, "__len__") or not hasattr(maps, "__getitem__"):
        raise ValueError(f"{argument} must be an (h, w, d) array or a sequence of such arrays, got {maps!r:.80}")
    return maps


def _check_length(k: Any) -> None:
    if not (isinstance(k, int | np.integer) and k >= 1):
        raise ValueError(f"k must be a whole number >= 1, got {k!r}: the length of each probe's list")
