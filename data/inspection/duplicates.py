"""Duplicate pictures: the same bytes or looks in two splits, the same pixels within one.

A picture that is both trained on and tested on makes results too good, and a probe that is in the gallery finds itself.
Within a split the same picture under two people is wrong for one of them. Looks are compared by the difference hash of
`survey`: on the 14,097 pictures of CUHK03 no two people of different splits are nearer than 16 of its 128
bits. Of copies of every tenth of them, saved as JPEG of quality 75, of half or of twice the size, 99.8 to 100 % are
within 10; of those scaled by 0.7 and saved so, 99.7 %; of those scaled by dropping every other pixel, 44 %.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.inspection.survey import Inspection

NEAR = 10  # bits
_BLOCK = 1 << 18  # pairs compared at once: their words fit in a core's cache
_SAME_FILE = 255  # instead of a number of bits, for pairs that `same_bytes` reports


def same_bytes(seen: Inspection) -> list[tuple[int, int]]:
    """Pairs of positions in different splits with equal files, one pair per repeated picture."""
    pairs = []
    first: dict[tuple[int, int], int] = {}
    for i in np.flatnonzero(seen.readable).tolist():
        key = (int(seen.contents[i, 0]), int(seen.contents[i, 1]))
        before = first.setdefault(key, i)
        if seen.splits[before] != seen.splits[i]:
            pairs.append((before, i))
    return pairs


class Repeated(NamedTuple):
    """Repeated pictures of a split, as pairs of positions: under two people (`strangers`), or the `same` person."""

    strangers: list[tuple[int, int]]
    same: list[tuple[int, int]]


def same_pixels(seen: Inspection) -> Repeated:
    """Pictures with the pixels of an earlier one of their split, whatever their files are.

    Each is reported once: with the first of another identity, otherwise with the first of all.
    """
    firsts: dict[tuple[str, int, int], dict[int, int]] = {}  # of a picture, the first position of each identity
    repeated = Repeated([], [])
    for i in np.flatnonzero(seen.readable).tolist():
        identity = int(seen.identities[i])
        first = firsts.setdefault((str(seen.splits[i]), int(seen.pixels[i, 0]), int(seen.pixels[i, 1])), {})
        other = next((position for earlier, position in first.items() if earlier != identity), None)
        if other is not None:
            repeated.strangers.append((other, i))
        elif identity in first:
            repeated.same.append((first[identity], i))
        first.setdefault(identity, i)
    return repeated


class Alike(NamedTuple):
    """Pictures that look like one of an earlier split."""

    pairs: list[tuple[int, int]]  # one per such picture, in order: the earlier picture that is most like it, and itself
    total: int  # all pairs that look the same, of which thousands of equal pictures have millions


def same_looks(seen: Inspection, *, near: int = NEAR, progress: bool = False) -> Alike:
    """Pictures in different splits that look the same, and whose files are not equal.

    Pictures of the same bytes are compared once, and of each only the one most like it is stored, so that memory grows
    with the number of pictures and not with that of pairs.

    Returns:
      The pairs. A picture of one colour, whose hash is all zeros, is like no other.
    """
    hashed = seen.readable & seen.looks.any(axis=1)
    groups = [
        _distinct(seen, np.flatnonzero(hashed & (seen.splits == split)))
        for split in dict.fromkeys(seen.splits.tolist())
    ]
    total = sum(len(ours.first) * len(theirs.first) for ours, theirs in combinations(groups, 2))
    nearest = np.full((len(seen.names), 2), [near + 1, -1])  # bits to the earlier picture, and its position
    count = 0
    with tqdm(total=total, desc="compare", unit="pair", unit_scale=True, disable=not progress, delay=2) as bar:
        for ours, theirs in combinations(groups, 2):
            column_of = {content: column for column, content in enumerate(_contents(seen, theirs))}
            equal = [column_of.get(content, -1) for content in _contents(seen, ours)]
            for rows in _blocks(len(ours.first), len(theirs.first)):
                first, second = (
                    np.bitwise_count(seen.looks[ours.first[rows], None, word] ^ seen.looks[None, theirs.first, word])
                    for word in (0, 1)
                )
                apart = first + second
                for row, column in enumerate(equal[rows]):
                    if column >= 0:
                        apart[row, column] = _SAME_FILE
                bits = apart.min(axis=0, initial=_SAME_FILE)
                columns = np.flatnonzero(bits <= near)
                if len(columns):
                    alike = apart[:, columns] <= near
                    count += int(ours.times[rows] @ alike @ theirs.times[columns])
                    columns = columns[bits[columns] < nearest[theirs.first[columns], 0]]
                    nearest[theirs.first[columns], 0] = bits[columns]
                    nearest[theirs.first[columns], 1] = ours.first[rows][apart[:, columns].argmin(axis=0)]
                bar.update(apart.size)
    pairs = []
    for group in groups:
        before = nearest[group.first[group.which], 1]
        pairs += [(a, b) for a, b in zip(before.tolist(), group.positions.tolist(), strict=True) if a >= 0]
    return Alike(sorted(pairs), count)


class _Distinct(NamedTuple):
    """The pictures of a split: `positions`, the `first` of those of each bytes, how many `times`, `which` each is."""

    positions: NDArray[np.intp]
    first: NDArray[np.intp]
    times: NDArray[np.intp]
    which: NDArray[np.intp]


def _distinct(seen: Inspection, positions: NDArray[np.intp]) -> _Distinct:
    _, at, which, times = np.unique(
        seen.contents[positions], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(at)  # so that the first of several that are equally near is found
    return _Distinct(positions, positions[at[order]], times[order], np.argsort(order)[which.reshape(-1)])


def _contents(seen: Inspection, group: _Distinct) -> list[tuple[int, int]]:
    return [(first, second) for first, second in seen.contents[group.first].tolist()]


def _blocks(count: int, others: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, others))
    return (slice(start, start + size) for start in range(0, count, size))
