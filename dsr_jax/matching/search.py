"""Search: the nearest entries of a probe, each certified, and no more coded than that takes.

One product gives the correlations of all positions of the gallery. They alone bound every distance from below, and
guess it closely enough to look at the likely entries first. These are coded; the k-th smallest upper bound so far is
the bar, and every other entry is coded only until its lower bound exceeds it. What is left out is proven to be farther
than the k-th: the answer is that of coding everything. An engine gives the `Part`s and codes what is asked for.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

ROUND = 64  # entries coded before the bar is looked at again, at first; doubled every round, to this many times 16


class Nearest(NamedTuple):
    """The nearest k entries, nearest first, and what the search did.

    Attributes:
      entries: (k,) numbers of the entries.
      figures: (4, k) distance, lower, upper, gap.
      beyond: certified lower bound of the distance of every entry that is not among them.
      coded: share of all columns (probe blocks x entries) that were coded.
    """

    entries: np.ndarray
    figures: np.ndarray
    beyond: float
    coded: float


class Coded(NamedTuple):
    """Some entries, coded.

    Attributes:
      figures: (4, n) distance, lower, upper and gap; of an entry that was given up only a lower bound, above the bar.
      whole: (n,) whether it was coded to its end.
      columns: how many columns were coded.
    """

    figures: np.ndarray
    whole: np.ndarray
    columns: int


class Part(NamedTuple):
    """Some entries and what correlations alone say of them.

    Attributes:
      members: (E,) numbers of the entries.
      floors: (E,) certified lower bounds of their distances.
      guess: (E,) of the distances themselves.
      code: from places in the part and the bar, an upper bound of the k-th distance, to what is `Coded`.
      most: places that may be coded at once.
    """

    members: np.ndarray
    floors: np.ndarray
    guess: np.ndarray
    code: Callable[[np.ndarray, float], Coded]
    most: int = 16 * ROUND


def first(figures: np.ndarray, k: int) -> Nearest:
    """The k nearest of all entries, whose figures (4, E) are there without any coding."""
    order = np.argsort(figures[0], kind="stable")
    best, rest = order[:k], order[k:]
    return Nearest(best, figures[:, best], float(figures[1, rest].min(initial=np.inf)), 0.0)


def nearest(parts: Iterable[Part], k: int, *, columns: int) -> Nearest:
    """The k nearest entries of one probe.

    Args:
      parts: the gallery, part by part.
      k: how many, at most as many as there are.
      columns: the probe's columns with a direction.

    Returns:
      The `Nearest`. Equal distances are in the order of the entries.
    """
    beyond, coded, total = np.inf, 0, 0
    entries, figures = np.zeros(0, np.int64), np.zeros((4, 0))
    for part in parts:
        total += len(part.members)
        left, size = np.argsort(part.guess, kind="stable"), min(ROUND, part.most)
        while left.size:
            bar = np.partition(figures[2], k - 1)[k - 1] if entries.size >= k else np.inf
            out = part.floors[left] > bar
            beyond = min(beyond, np.min(part.floors[left[out]], initial=np.inf))
            left = left[~out]
            if not left.size:
                break
            chosen, left, size = left[:size], left[size:], min(2 * size, part.most)
            found = part.code(chosen, bar)
            coded += found.columns
            beyond = min(beyond, found.figures[1, ~found.whole].min(initial=np.inf))
            entries = np.append(entries, part.members[chosen[found.whole]])
            figures = np.append(figures, found.figures[:, found.whole], axis=1)
    order = np.lexsort((entries, figures[0].astype(np.float32)))
    best, rest = order[:k], order[k:]
    beyond = min(beyond, figures[1, rest].min(initial=np.inf))
    return Nearest(entries[best], figures[:, best].astype(np.float32), float(beyond), coded / (columns * total))


def certified(found: Nearest) -> np.ndarray:
    """(k,) whether the intervals alone prove the place of each entry."""
    _, lower, upper, _ = found.figures
    before = np.maximum.accumulate(np.append(-np.inf, upper[:-1]))
    after = np.minimum.accumulate(np.append(lower[1:], found.beyond)[::-1])[::-1]
    return (before <= lower) & (upper <= after)


def merged(parts: Iterable[tuple[int, Nearest]], k: int) -> Nearest:
    """The k nearest entries of a gallery that was searched part by part.

    Args:
      parts: for each part, in the gallery's order, how many entries it has and its nearest, at most k.
      k: how many, at most as many as there are.

    Returns:
      The `Nearest`, as of a search of all. Equal distances are in the order of the entries.
    """
    entries, figures = np.zeros(0, np.int64), np.zeros((4, 0), np.float32)
    beyond, coded, total = np.inf, 0.0, 0
    for count, found in parts:
        entries = np.append(entries, found.entries + total)
        figures = np.append(figures, found.figures, axis=1)
        beyond, coded, total = min(beyond, found.beyond), coded + found.coded * count, total + count
    order = np.lexsort((entries, figures[0]))
    best, rest = order[:k], order[k:]
    beyond = min(beyond, float(figures[1, rest].min(initial=np.inf)))
    return Nearest(entries[best], figures[:, best], beyond, coded / total)
