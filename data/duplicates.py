"""Pictures that are in two splits: the same bytes, or the same looks under other bytes.

What is trained on and tested on as well makes results too good, and a probe that is its own gallery picture finds
itself. Looks are compared by the difference hash of `inspection`: on the 14,097 pictures of CUHK03 no two people of
different splits are nearer than 16 of its 128 bits. Of copies of every tenth of them, saved as JPEG of quality 75, of
half or of twice the size, 99 to 100 % are within 10; of those scaled by 0.7 and saved so, 99.4 %; of those scaled by
dropping every other pixel, 45 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.inspection import Inspection

NEAR = 10  # bits
_BLOCK = 1 << 22  # pairs compared at once


def same_bytes(seen: Inspection) -> list[tuple[int, int]]:
    """Pairs of positions in different splits whose files are equal, one pair per picture that is there again."""
    pairs = []
    first: dict[tuple[int, int], int] = {}
    for i in np.flatnonzero(seen.readable).tolist():
        key = (int(seen.contents[i, 0]), int(seen.contents[i, 1]))
        before = first.setdefault(key, i)
        if seen.splits[before] != seen.splits[i]:
            pairs.append((before, i))
    return pairs


def same_looks(seen: Inspection, *, near: int = NEAR, progress: bool = False) -> list[tuple[int, int]]:
    """Pairs of positions in different splits that look the same, and whose files are not equal.

    Args:
      seen: the pictures.
      near: the most bits in which their hashes differ.
      progress: show a bar when it takes long.

    Returns:
      One pair per picture that is there again: the picture of an earlier split that is most like it, and itself. A
      picture of one colour, whose hash is all zeros, is like no other.
    """
    told = seen.readable & seen.looks.any(axis=1)
    groups = [np.flatnonzero(told & (seen.splits == split)) for split in dict.fromkeys(seen.splits.tolist())]
    total = sum(len(ours) * len(theirs) for ours, theirs in combinations(groups, 2))
    nearest = np.full((len(seen.names), 2), [near + 1, -1])  # bits to the earlier picture, and its position
    with tqdm(total=total, desc="compare", unit="pair", unit_scale=True, disable=not progress, delay=2) as bar:
        for ours, theirs in combinations(groups, 2):
            for block in _blocks(ours, len(theirs)):
                apart = sum(
                    np.bitwise_count(seen.looks[block, None, word] ^ seen.looks[None, theirs, word]) for word in (0, 1)
                )
                rows, columns = np.nonzero(apart <= near)
                first, second, bits = block[rows], theirs[columns], apart[rows, columns]
                other = (seen.contents[first] != seen.contents[second]).any(axis=1)
                order = np.lexsort((first[other], bits[other]))
                again, at = np.unique(second[other][order], return_index=True)
                best = np.stack([bits[other][order][at], first[other][order][at]], axis=1)
                better = best[:, 0] < nearest[again, 0]
                nearest[again[better]] = best[better]
                bar.update(len(block) * len(theirs))
    return sorted((int(nearest[i, 1]), i) for i in np.flatnonzero(nearest[:, 1] >= 0).tolist())


def _blocks(positions: NDArray[np.intp], others: int) -> Iterator[NDArray[np.intp]]:
    size = max(1, _BLOCK // max(1, others))
    return (positions[start : start + size] for start in range(0, len(positions), size))
