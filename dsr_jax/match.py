"""Matching: Algorithm 1 of the paper for any number of probe and gallery maps of any sizes.

    result = match.distances(probe_maps, gallery_maps)      # (P, G) distances, each with a certified interval
    hits = match.search(probe_map, gallery, k=10)           # the nearest, the same as of all distances, proven
    explanation = match.explain(probe_map, gallery_map)     # which part was rebuilt from which

The blocks of every map are cut (Eq. 1, 2, Sec. 3.4), each pair is coded (Eq. 6) and the mean squared error of the
probe's blocks is the distance (Eq. 4). The pair matrix is worked off in tiles: memory is bounded by ``max_bytes``, not
by the size of the gallery.

A segmentation or a box can mask positions on both sides, and ``probe_weights`` say how much each probe block counts:

    match.distances(probe_maps, gallery_maps, probe_masks=visible, probe_weights="norm")

Coders: "active_set" (exact, compiled, for the CPU, with all scales for little more than the price of one), "homotopy"
(exact, XLA, for GPU and TPU), "proximal" (first-order) and "feature_sign" (the paper's) compute the same distance.
Several devices, or processes, code a part of the gallery each. "maxsim" is another distance of the same products,
without any coding: for every probe block the largest cosine to any gallery block, 1 minus their mean. Two others are
kept for comparison: "ridge" is the closed form of the later PyTorch ports, and ``dictionary="joint"`` the authors'
released code:

    distances(P, G, dictionary="joint", pooling="max", scales=(1, 2, 3, 4), probe_scales=(1,), boost=1.2)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsr_jax.matching import explanation, joint
from dsr_jax.matching.comparison import compared
from dsr_jax.matching.explanation import Explanation
from dsr_jax.matching.gallery import Gallery
from dsr_jax.matching.results import Distances, Hits
from dsr_jax.matching.search import certified
from dsr_jax.solvers import table

__all__ = ["CODERS", "Distances", "Explanation", "Gallery", "Hits", "choose_coder", "distances", "explain", "search"]

CODERS = table.names("matching")
DICTIONARIES = ("image", "joint")
LARGEST_BOOST = 1e3  # a larger one leaves nothing of the maps in the distance


def distances(
    probe_maps: Any,
    gallery_maps: Any,
    *,
    l1: float = 0.4,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    identities: Sequence[Any] | np.ndarray | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    dictionary: str = "image",
    boost: float = 0.0,
    coder: str = "auto",
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
    progress: bool = False,
) -> Distances:
    """Distance of every probe to every gallery entry (Algorithm 1), with certified intervals.

    Of several processes (see `hosts`) each must make the same call; each codes its part of the gallery, and all have
    the whole result.

    Args:
      probe_maps: one (h, w, d) array or a sequence of such arrays of any sizes (NumPy, JAX, anything with
        ``__array__``), or a `Gallery`, each map of which is then a probe.
      gallery_maps: the same, but a `Gallery` brings its own identities, scales and pooling.
      l1: weight of the L1 penalty, the paper's beta, in Eq. 6's scaling; of no effect on "maxsim" and "ridge".
      scales: sides of the windows whose averages are blocks; (1,) is the paper's single-scale, (1, 2, 3) multi-scale
        and the default. Scales that exceed a map are skipped for it.
      probe_scales: the same for the probes; default: as ``scales``.
      pooling: "average" (the paper, the default) or "max" (the authors' released code).
      identities: a label per gallery map: maps of one identity form one dictionary (the paper's multi-shot). The
        columns of the result are then the identities, in the order in which they first appear. -1, which is junk in
        data sets and evaluation, is refused: leave out these maps first.
      probe_weights: how much each probe block counts: None (all alike), "norm" (as the squared norm of the block before
        it is divided by its length), or one (h, w) array per probe of numbers >= 0, of which a block's weight is the
        mean over its window. Only their ratios within a probe matter. The distance is then sum v_n f_n / sum v_n, f_n
        the columns' errors, and so is its interval.
      probe_masks: one (h, w) array per probe, True (or 1) where it is visible. Masked positions are zero before blocks
        are cut: blocks of nothing else are not counted, others are made of what is visible.
      gallery_masks: the same for every gallery map, whose masked positions leave the dictionary. A `Gallery` brings its
        own.
      dictionary: "image" (each entry codes the probe by itself: the paper's text) or "joint" (each probe block is
        coded once over the blocks of all entries, and an entry is as near as its own coefficients rebuild the probe:
        the authors' released code). Then the distance of an entry depends on the others, entries without a part in
        the codes are all equally far, and no interval is certified.
      boost: the authors' alpha, 1.2 in their code, by which "joint" adds to the correlations; >= 0.
      coder: "auto" (active_set on CPU, homotopy elsewhere), "active_set", "homotopy", "proximal", "feature_sign"; or
        another distance, "maxsim" or "ridge".
      tol: largest duality gap of a column (of no effect on "maxsim" and "joint", which are always exact); float32
        certifies about 1e-6. A large one (1e-2) saves time, and the intervals, which hold the exact distance in any
        case, show the loss.
      max_bytes: memory ceiling of the tiles of this call, on each device, beside the maps and the result.
      progress: whether to show a progress bar.

    Returns:
      A `Distances`. A gallery map of zeros rebuilds nothing and is like nothing: its distance to every probe is 1.

    Raises:
      ValueError: for maps of a wrong rank, of different d, with NaN or infinity, empty or smaller than one block,
        for a probe of zeros, which has nothing to be rebuilt, for maps that look channels first (d, h, w), for the
        identity -1, and for l1, tol, scales, coder or max_bytes out of their range; for masks and weights of another
        number or shape than the maps, with NaN, negative, or that leave nothing of a map.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> probe, image = np.random.default_rng(0).random((2, 6, 3, 32))
      >>> result = match.distances(probe, [image, probe])
      >>> result.distance.shape, bool(result.distance[0, 1] < result.distance[0, 0])
      ((1, 2), True)
      >>> visible = np.ones((6, 3), bool)
      >>> visible[4:] = False  # something stands before the legs
      >>> match.distances(probe, [image, probe], probe_masks=visible, scales=(1,)).counted.round(2).tolist()
      [0.67]
    """
    comparison = compared(
        probe_maps,
        gallery_maps,
        scales=scales,
        probe_scales=probe_scales,
        pooling=pooling,
        identities=identities,
        probe_weights=probe_weights,
        probe_masks=probe_masks,
        gallery_masks=gallery_masks,
        coder=coder,
        l1=l1,
        tol=tol,
        max_bytes=max_bytes,
    )
    _check_dictionary(dictionary, boost, coder)
    if dictionary == "joint":
        figures, chosen = joint.distances(comparison, boost=float(boost), progress=progress), "active_set"
    else:
        figures, chosen = comparison.distances(progress=progress), comparison.coder
    distance, lower, upper, gap = figures
    return Distances(distance, lower, upper, gap, comparison.gallery.labels, chosen, comparison.counted)


def search(
    probe_map: Any,
    gallery_maps: Any,
    k: int = 10,
    *,
    l1: float = 0.4,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    identities: Sequence[Any] | np.ndarray | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    coder: str = "auto",
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
) -> Hits:
    """The k entries nearest to one probe: the first k of `distances`, proven without coding everything.

    The correlations order the entries and bound their distances from below; an entry is coded only until its bound
    exceeds the k-th smallest upper bound: on a CPU column by column, elsewhere as a whole. MaxSim needs no more than
    the correlations. A `Gallery` keeps what the next search can use again (the Gram matrices of its maps, where they
    fit into ``max_bytes``). Each process searches by itself.

    Args:
      probe_map: one (h, w, d) array.
      gallery_maps: a `Gallery`, or maps as for `distances`.
      k: how many entries; all, if there are fewer.
      l1: weight of the L1 penalty, the paper's beta.
      scales: sides of the windows whose averages are blocks; default: (1, 2, 3). A `Gallery` brings its own.
      probe_scales: the same for the probe; default: as ``scales``.
      pooling: "average" (the default) or "max". A `Gallery` brings its own.
      identities: a label per gallery map: maps of one identity are one entry. A `Gallery` brings its own.
      probe_weights: as for `distances`: None, "norm" or one (h, w) array.
      probe_masks: one (h, w) array, True (or 1) where the probe is visible.
      gallery_masks: the same for every gallery map. A `Gallery` brings its own.
      coder: "auto", "active_set", "homotopy", "proximal", "feature_sign" or "maxsim".
      tol: largest duality gap of a column. Beyond about 1e-5 the intervals are still honest, but near ties may be
        ordered otherwise than by `distances`.
      max_bytes: memory ceiling, beside the maps.

    Returns:
      The `Hits`. Equal distances are in the order of the gallery.

    Raises:
      ValueError: as `distances`; and for more than one probe, k < 1, the coder "ridge", which proves nothing, and a
        gallery whose calibration is of other distances (another l1, MaxSim, entries of one map, ...).

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> images = np.random.default_rng(0).random((50, 6, 3, 32))
      >>> gallery = match.Gallery.build(images, names=[f"{i}.png" for i in range(50)])
      >>> hits = match.search(images[7, :3], gallery, k=2)
      >>> hits.names[0], bool(hits.certified[0])
      ('7.png', True)
    """
    if not (isinstance(k, int | np.integer) and k >= 1):
        raise ValueError(f"k must be a whole number >= 1, got {k!r}")
    comparison = compared(
        probe_map,
        gallery_maps,
        scales=scales,
        probe_scales=probe_scales,
        pooling=pooling,
        identities=identities,
        probe_weights=probe_weights,
        probe_masks=probe_masks,
        gallery_masks=gallery_masks,
        coder=coder,
        certified=True,
        l1=l1,
        tol=tol,
        max_bytes=max_bytes,
    )
    probes, gallery = comparison.probes, comparison.gallery
    if gallery.calibration is not None:
        comparison.check(gallery.calibration)
    if len(probes) != 1:
        raise ValueError(f"probe_map must be one (h, w, d) array, got {len(probes)} maps: search for one at a time")
    nearest = comparison.nearest(min(k, gallery.entries))
    distance, lower, upper, _ = nearest.figures
    labels, groups = gallery.labels, gallery.as_entries.groups
    return Hits(
        nearest.entries,
        None if labels is None else tuple(labels[i] for i in nearest.entries),
        None if gallery.names is None else tuple(gallery.names[groups[i][0]] for i in nearest.entries),
        distance,
        lower,
        upper,
        certified(nearest),
        nearest.coded,
        comparison.coder,
        float(comparison.counted[0]),
        gallery.entries,
        gallery.calibration,
        nearest.beyond,
    )


def explain(
    probe_map: Any,
    gallery_map: Any,
    *,
    l1: float = 0.4,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    coder: str = "auto",
) -> Explanation:
    """The codes of one pair, as probe position x gallery position: which part was rebuilt from which.

    Args:
      probe_map: one (h, w, d) array.
      gallery_map: one (H, W, d) array.
      l1: weight of the L1 penalty, the paper's beta.
      scales: sides of the windows whose averages are blocks; default: (1, 2, 3).
      probe_scales: the same for the probe; default: as ``scales``.
      pooling: "average" (the default) or "max".
      probe_weights: as for `distances`: None, "norm" or one (h, w) array.
      probe_masks: one (h, w) array, True (or 1) where the probe is visible.
      gallery_masks: one (H, W) array, the same of the gallery map.
      coder: "auto" ("active_set" everywhere: all exact solvers have the same codes), or "maxsim": which part is most
        like which.

    Returns:
      An `Explanation`.

    Raises:
      ValueError: as `distances`, for more than one map on either side, and for another coder.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> image = np.eye(6).reshape(3, 2, 6)  # six positions, each with a channel of its own
      >>> explanation = match.explain(image[1:], image, scales=(1,))
      >>> explanation.codes[0, 1].round(3).tolist()  # of the probe's top right position
      [[0.0, 0.0], [0.0, 0.6...], [0.0, 0.0]]
    """
    if coder not in ("auto", "active_set", "maxsim"):
        raise ValueError(f"coder must be 'auto' (exact codes, by active_set) or 'maxsim' to explain, got {coder!r}")
    chosen = "active_set" if coder == "auto" else coder
    comparison = compared(
        probe_map,
        gallery_map,
        scales=scales,
        probe_scales=probe_scales,
        pooling=pooling,
        probe_weights=probe_weights,
        probe_masks=probe_masks,
        gallery_masks=gallery_masks,
        coder=chosen,
        l1=l1,
    )
    for argument, count in (("probe_map", len(comparison.probes)), ("gallery_map", len(comparison.gallery.maps))):
        if count != 1:
            raise ValueError(f"{argument} must be one (h, w, d) array, got {count} maps: explain one pair at a time")
    return explanation.of(comparison)


def choose_coder(coder: str) -> str:
    """The coder that "auto" stands for on this machine; any other known name is returned as it is.

    Raises:
      ValueError: for an unknown name, naming the known ones.
    """
    return table.choose(coder, use="matching")


def _check_dictionary(dictionary: str, boost: float, coder: str) -> None:
    """Raises ValueError for options without effect, or that contradict each other."""
    if dictionary not in DICTIONARIES:
        raise ValueError(f"dictionary must be one of {DICTIONARIES}, got {dictionary!r}")
    if np.ndim(boost) or not hasattr(boost, "__float__") or not 0 <= float(boost) <= LARGEST_BOOST:
        raise ValueError(f"boost must be a number from 0 to {LARGEST_BOOST:g}, got {boost!r}; the authors use 1.2")
    if boost and dictionary != "joint":
        raise ValueError(f"boost belongs to dictionary='joint', got boost={boost} with dictionary={dictionary!r}")
    if dictionary == "joint" and coder not in ("auto", "active_set"):
        raise ValueError(f"coder must be 'auto' or 'active_set' with dictionary='joint', got {coder!r}")
