"""Random and degenerate lasso problems, drawn by NumPy: the dictionaries and blocks on which coders go wrong."""

from typing import NamedTuple

import numpy as np

KINDS = (
    "gaussian",  # signed: correlations of both signs
    "non-negative",  # as after a ReLU: everything is correlated with everything
    "duplicates",
    "opposites",  # y and -y
    "collinear",  # copies moved by 1e-2 to 1e-8
    "averages",  # as the blocks of several scales
    "zeros",  # a third of the atoms
    "one atom",  # the others are zero
    "all one",  # every atom the same
    "all zero",
)


class Problems(NamedTuple):
    """T problems: dictionaries (T, M, d) and columns (T, N, d), float32, rows of length 1 or zero."""

    atoms: np.ndarray
    columns: np.ndarray
    kinds: list[str]


def draw(seed: int, *, count: int, m: int, n: int, d: int, l1: float, kinds: tuple[str, ...] = KINDS) -> Problems:
    """``count`` problems, the kinds in turn; columns are random, combinations of atoms, an atom, zero, on the edge."""
    rng = np.random.default_rng(seed)
    named = [kinds[t % len(kinds)] for t in range(count)]
    atoms = np.stack([_dictionary(rng, kind, m, d) for kind in named])
    columns = np.stack([_columns(rng, y, n, l1) for y in atoms])
    return Problems(atoms.astype(np.float32), columns.astype(np.float32), named)


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero stays zero."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


def _dictionary(rng: np.random.Generator, kind: str, m: int, d: int) -> np.ndarray:
    y = unit(rng.standard_normal((m, d)) if kind == "gaussian" else rng.random((m, d)))
    base = -(-m // 2)
    source = rng.integers(0, base, m - base)
    if kind == "duplicates":
        y[base:] = y[source]
    elif kind == "opposites":
        y[base:] = -y[source]
    elif kind == "collinear":
        y[base:] = unit(y[source] + 10.0 ** -rng.integers(2, 9) * rng.standard_normal((m - base, d)))
    elif kind == "averages":
        y[base:] = unit(y[rng.integers(0, base, (m - base, 4))].mean(axis=1))
    elif kind == "zeros":
        y[rng.random(m) < 1 / 3] = 0
    elif kind == "one atom":
        y[1:] = 0
    elif kind == "all one":
        y[:] = y[0]
    elif kind == "all zero":
        y[:] = 0
    return y[rng.permutation(m)]


def _columns(rng: np.random.Generator, y: np.ndarray, n: int, l1: float) -> np.ndarray:
    m, d = y.shape
    x = unit(rng.random((n, d)) if rng.random() < 0.5 else rng.standard_normal((n, d)))
    mixed = unit((rng.random((n, m)) * (rng.random((n, m)) < 3 / m)) @ y + 0.05 * rng.standard_normal((n, d)))
    choice = np.arange(n) % 5
    x[choice == 1] = mixed[choice == 1]
    x[choice == 2] = y[rng.integers(0, m)]
    x[choice == 3] = np.stack([_edge(rng, y, x[i], l1) for i in range(n)])[choice == 3]
    if n >= 5:
        x[4] = 0
    return x


def _edge(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, l1: float) -> np.ndarray:
    """A unit vector whose largest |Y_j'x| is ``l1`` to rounding: between x made orthogonal to an atom and that atom."""
    atom = y[rng.integers(0, len(y))]
    if len(atom) < 2 or not atom.any():
        return x
    across = unit(x - (x @ atom) * atom)
    low, high = 0.0, np.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        trial = np.cos(angle) * across + np.sin(angle) * atom
        low, high = (low, angle) if np.abs(y @ trial).max() > l1 else (angle, high)
    return np.cos(low) * across + np.sin(low) * atom
