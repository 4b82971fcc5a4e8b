"""Streamed matching, for more maps than memory holds: probes and gallery are read part by part (Sec. 4.7).

Each gallery entry codes the probes by itself, so the pair matrix may be worked off in any order. Parts of a sequence
that reads its maps lazily (such as `map_file.Maps`) are matched and dropped: 3,368 x 19,732 pairs of
Market-1501 need a few parts of maps, one matching's tiles and the result.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from dsr_jax import match
from dsr_jax.matching import visibility, weighting
from dsr_jax.matching.checks import as_labels
from dsr_jax.matching.entries import gather
from dsr_jax.matching.parts import PART  # of each side one part is matched while the next is read


def distances(
    probe_maps: Any,
    gallery_maps: Any,
    *,
    identities: Any = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    part_bytes: int = PART,
    progress: bool = False,
    **options: Any,
) -> match.Distances:
    """Distances of all pairs as of `match.distances`, part by part.

    Args:
      probe_maps: a sequence of P maps (h, w, d), read lazily, such as `map_file.Maps`.
      gallery_maps: the same of G maps.
      identities: a label per gallery map: maps of one identity form one dictionary.
      probe_weights: None, "norm" or one (h, w) array per probe, see `match.distances`.
      probe_masks: one (h, w) array per probe, True where it is visible.
      gallery_masks: the same for every gallery map.
      part_bytes: bytes of maps, as float32, that are held of each side; one entry at least.
      progress: whether to show a progress bar.
      **options: l1, scales, coder and the others of `match.distances`, ``dictionary="joint"`` excepted.

    Returns:
      The `match.Distances`.

    Raises:
      ValueError: as `match.distances` (numbers of maps are those within their part), for part_bytes < 1, and for the
        joint dictionary, which needs the whole gallery at once.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> from dsr_jax.matching import streaming
      >>> maps = np.random.default_rng(0).random((6, 4, 2, 8)).astype(np.float32)
      >>> parts = streaming.distances(maps[:2], maps, part_bytes=600)  # two maps at a time
      >>> bool(np.allclose(parts.distance, match.distances(maps[:2], maps).distance, atol=1e-5))
      True
    """
    if options.get("dictionary", "image") != "image":
        raise ValueError("dictionary must be 'image' here: the joint one needs the whole gallery, see match.distances")
    if part_bytes < 1:
        raise ValueError(f"part_bytes must be at least 1, got {part_bytes}; {PART} is the default")
    if not len(probe_maps) or not len(gallery_maps):
        raise ValueError(
            f"there must be maps on both sides, got {len(probe_maps)} probes, {len(gallery_maps)} of gallery"
        )
    labels = as_labels("identities", identities, len(gallery_maps))
    groups, known = gather(labels, len(gallery_maps))
    figures = np.empty((4, len(probe_maps), len(groups)), np.float32)
    counted, coder = np.empty(len(probe_maps)), ""
    weights = None if probe_weights is None else weighting.planes(probe_weights, len(probe_maps))
    shown, seen = visibility.both(probe_masks, len(probe_maps), gallery_masks, len(gallery_maps))
    singles = [[p] for p in range(len(probe_maps))]
    total = len(singles) * len(groups)
    with tqdm(total=total, desc="matching", unit="pair", unit_scale=True, leave=None, disable=not progress) as bar:
        for rows, probes, _ in parts(probe_maps, singles, part_bytes):
            for columns, gallery, members in parts(gallery_maps, groups, part_bytes):
                with _numbered(rows, columns):
                    part = match.distances(
                        probes,
                        gallery,
                        identities=members,
                        probe_weights=weighting.some(weights, range(len(probe_maps))[rows]),
                        probe_masks=visibility.some(shown, range(len(probe_maps))[rows]),
                        gallery_masks=visibility.some(seen, [i for group in groups[columns] for i in group]),
                        **options,
                    )
                figures[:, rows, columns] = part.distance, part.lower, part.upper, part.gap
                counted[rows], coder = part.counted, part.coder
                bar.update(part.distance.size)
    distance, lower, upper, gap = figures
    return match.Distances(distance, lower, upper, gap, known, coder, counted)


@contextlib.contextmanager
def _numbered(rows: slice, columns: slice) -> Iterator[None]:
    """Adds to errors which part of the maps their numbers count in."""
    try:
        yield
    except ValueError as error:
        part = f"probes {rows.start} to {rows.stop - 1} and entries {columns.start} to {columns.stop - 1}"
        raise ValueError(f"{error} (numbers count within the part of {part})") from error


def parts(
    maps: Any, groups: Sequence[Sequence[int]], part_bytes: int
) -> Iterator[tuple[slice, list[np.ndarray], list[int]]]:
    """Consecutive entries of at most ``part_bytes``: which they are, their maps, and the entry of each map."""
    start, held = 0, 0
    read: list[np.ndarray] = []
    members: list[int] = []
    for number, group in enumerate(groups):
        group_maps = [np.asarray(maps[i]) for i in group]
        size = sum(4 * values.size for values in group_maps)
        if read and held + size > part_bytes:
            yield slice(start, number), read, members
            start, held, read, members = number, 0, [], []
        read += group_maps
        members += [number] * len(group_maps)
        held += size
    yield slice(start, len(groups)), read, members
