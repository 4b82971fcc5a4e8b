"""Random generators keyed by integers: a draw depends on its key alone, not on the draws before it."""

from collections.abc import Sequence

import numpy as np


def check(**key: int) -> None:
    """Raises ValueError unless every named integer of a key is non-negative."""
    for name, value in key.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; keys of random draws must be non-negative integers.")


def generator(seed: int | Sequence[int]) -> np.random.Generator:
    """A generator keyed by one or several non-negative integers."""
    key = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    for value in key:
        check(seed=int(value))
    return np.random.default_rng([int(value) for value in key])
