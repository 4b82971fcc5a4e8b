"""Fair timing of several ways to do one job: in one process, taking turns, median of the rounds.

Every contender first does its job once untimed, so that compilations and first touches of memory are out. Then come
rounds, in each of which every contender works once; the order is rotated from round to round, so that none always
follows the same one. What slows the machine for a while slows all of them: the ratio of two contenders is taken round
by round, and the median of these ratios is the figure.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

# Seconds between two contenders: threads of the one before that spin for more work have gone to sleep by then.
PAUSE = 0.02


@dataclass(frozen=True)
class Contender:
    """One way to do the job."""

    name: str
    call: Callable[..., Any]  # does the job; timed. Takes what ``prepare`` gives.
    # Units of work (pairs, probes, images) in one call; times are per unit, so that a slow one may do less.
    work: float = 1
    prepare: Callable[[], tuple[Any, ...]] = tuple  # gives the arguments of each call; not timed


class Timed(NamedTuple):
    """Seconds per unit of work in every round, (rounds,), and what the untimed first call returned."""

    seconds: np.ndarray
    result: Any

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


class Spread(NamedTuple):
    """Median of the rounds, smallest and largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Spread":
        """Of one value per round."""
        return cls(float(np.median(values)), float(np.min(values)), float(np.max(values)))


class Ratio(NamedTuple):
    """How much longer the one takes than the other: round by round, and ratio of the medians."""

    rounds: Spread
    of_medians: float


class Turns(NamedTuple):
    """How often each contender is timed, and whether a progress bar is shown."""

    rounds: int
    progress: bool = False


def alternate(contenders: Sequence[Contender], turns: Turns, *, label: str = "") -> dict[str, Timed]:
    """Times the contenders against each other.

    Raises:
      ValueError: for fewer than one round, or two contenders of one name.

    Example:
      >>> times = alternate([Contender("sum", lambda: sum(range(9)), work=9), Contender("none", int)], Turns(3))
      >>> times["sum"].result, times["sum"].seconds.shape
      (36, (3,))
    """
    names, rounds = [contender.name for contender in contenders], turns.rounds
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if len(set(names)) < len(names):
        raise ValueError(f"contenders must have different names, got {names}")
    seconds = np.empty((rounds, len(contenders)))
    results = []
    with tqdm(total=len(contenders) * (rounds + 1), desc=label, unit="run", disable=not turns.progress) as bar:
        for contender in contenders:
            results.append(contender.call(*contender.prepare()))
            bar.update()
        for number in range(rounds):
            gc.collect()
            for i in np.roll(np.arange(len(contenders)), -number).tolist():
                seconds[number, i] = _once(contenders[i]) / contenders[i].work
                bar.update()
    return {name: Timed(seconds[:, i], result) for i, (name, result) in enumerate(zip(names, results, strict=True))}


def ratio(theirs: Timed, ours: Timed) -> Ratio:
    """Time of the one by time of the other: above 1 where ``ours`` is faster.

    Example:
      >>> ratio(Timed(np.array([2.0, 6.0, 4.0]), None), Timed(np.array([1.0, 2.0, 4.0]), None))
      Ratio(rounds=Spread(median=2.0, low=1.0, high=3.0), of_medians=2.0)
    """
    return Ratio(Spread.of(theirs.seconds / ours.seconds), theirs.median / ours.median)


def _once(contender: Contender) -> float:
    """Seconds of one call, without its preparation and without the garbage collector."""
    arguments = contender.prepare()
    gc.disable()
    try:
        time.sleep(PAUSE)
        begin = time.perf_counter()
        result = contender.call(*arguments)
        seconds = time.perf_counter() - begin
    finally:
        gc.enable()
    del result
    return seconds
