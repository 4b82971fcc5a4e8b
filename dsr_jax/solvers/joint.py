"""Joint coding, that of the authors' released code: every probe block coded once over the blocks of all entries.

    minimise over w:  1/2 |x - Y w|^2 + l1 |w|_1 - boost (Y'x)'w,   Y = (Y_1 ... Y_E), the atoms of E entries
    error of entry k:  |x - Y_k w_k|^2, with that entry's coefficients alone

(docs/mathematics.md.) The boosted linear term makes w equal to 1 + boost times the codes of the plain lasso at
l1 / (1 + boost), which is what is solved. With tens of thousands of atoms Y'Y is never formed: each column is solved
exactly in float64 on a working set of its most correlated atoms, then one matrix product for many columns finds the
atoms that break the optimality |Y'r| <= l1; these join the set, until there are none. What a
column needs beyond its own few atoms is thus that product, two or three times at the paper's l1.

Without a certificate of its own: the residual of a lasso is unique, the share of one entry in it need not be where
atoms of different entries coincide, and where they nearly do a small gap says little of it. So optimality is carried
further than a gap would ask for, and the duality gap of every column, over all atoms, is returned. Nor is the error of
an entry bounded by that of zero codes: its coefficients count on those of others, and alone they may overshoot.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.solvers import active_set, certificate

FIRST, MORE = 32, 16  # atoms of a working set at first, and how many may always join it
SLACK = 1e-7  # of l1: how far |Y'r| <= l1 may be missed at the end; the blocks' own rounding moves it as much


class Shares(NamedTuple):
    """Figures of C columns and E entries.

    Attributes:
      error: (C, E) squared error of the column rebuilt by one entry's coefficients alone.
      weight: (C, E) L1 norm of those coefficients.
      gap: (C,) duality gap over the whole dictionary.
    """

    error: np.ndarray
    weight: np.ndarray
    gap: np.ndarray


def code(
    columns: np.ndarray,
    atoms: np.ndarray,
    owners: np.ndarray,
    *,
    l1: float,
    boost: float = 0.0,
    entries: int | None = None,
) -> Shares:
    """Codes columns over one dictionary and shares the result out among the entries that own its atoms.

    Args:
      columns: (C, d) float32 blocks, of unit length or zero.
      atoms: (M, d) float32 blocks, of unit length or zero.
      owners: (M,) number of the entry that each atom belongs to.
      l1: weight of the L1 penalty, > 0.
      boost: the authors' alpha, 1.2 in their code; 0 is the plain lasso.
      entries: number of entries; default: the largest owner + 1.

    Returns:
      The `Shares`. Memory is that of two times (C, M) correlations: give some columns at a time.

    Source: the authors' MATLAB code, without the last atom that it adds twice.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.solvers import joint
      >>> x, y = np.float32([[0.8, 0.6]]), np.eye(2, dtype=np.float32)
      >>> columns = joint.code(x, y, np.array([0, 1]), l1=0.4)
      >>> columns.error.round(3).tolist(), columns.weight.round(3).tolist()
      ([[0.52, 0.8]], [[0.4, 0.2]])
    """
    count = int(owners.max()) + 1 if entries is None else entries
    energy = np.einsum("ij,ij->i", columns, columns, dtype=np.float64)
    shares = Shares(np.repeat(energy[:, None], count, axis=1), np.zeros((len(columns), count)), np.zeros(len(columns)))
    weight, scale = l1 / (1 + boost), 1 + boost
    product = _correlations(columns, atoms)
    coded = np.flatnonzero(np.maximum(product.max(axis=1), -product.min(axis=1)) > weight)
    waiting = {int(c): _Column(columns[c], product[c], weight) for c in coded}
    while waiting:  # each round takes atoms that were not in, so there is a last one
        residuals = _solved(list(waiting.values()), atoms, weight)
        for row, (c, column) in zip(_correlations(residuals, atoms), list(waiting.items()), strict=True):
            if not column.takes(row, atoms, weight):
                shares.gap[c] = column.gap(float(np.abs(row).max()), weight) * scale**2
                _share_out(column, atoms, owners, scale, shares.error[c], shares.weight[c])
                del waiting[c]
    return shares


class _Column:
    """One column, its working set and its codes there."""

    def __init__(self, x: np.ndarray, correlation: np.ndarray, l1: float):
        self.x = x.astype(np.float64)
        size = np.abs(correlation)
        first = _largest(size, FIRST)
        self.members = first[size[first] > l1 / 2]
        self.codes, self.residual = np.zeros(len(self.members)), self.x

    def solve(self, atoms: np.ndarray, l1: float) -> None:
        """Exact codes on the working set, from those of the last round."""
        active = atoms[self.members].astype(np.float64)
        gram, correlation, energy = np.empty((len(active), len(active))), _product(active, self.x), self.x @ self.x
        cores.matmul(active, active.T, gram)
        options = {"l1": l1, "tol": 1e-12, "max_active": len(active), "threads": 1, "start": self.codes[:, None]}
        codes, _ = active_set.codes(gram, correlation[None], energy[None], **options)  # type: ignore[arg-type]
        self.codes = codes[:, 0]
        self.residual = self.x - _mixture(self.codes, active)

    def takes(self, correlation: np.ndarray, atoms: np.ndarray, l1: float) -> bool:
        """Whether atoms beyond the working set break |Y'r| <= l1; the worst of them join it, which at most doubles it.

        Float32 says which may, float64 which do: the shares of nearly equal atoms of two entries hang on little.
        """
        size = np.abs(correlation)
        size[self.members] = 0
        doubt = certificate.rounding(len(self.x)) * np.finfo(np.float32).eps * np.linalg.norm(self.residual)
        near = np.flatnonzero(size > l1 - doubt)
        exactly = np.abs(_product(atoms[near].astype(np.float64), self.residual))
        broken = exactly > l1 * (1 + SLACK)
        more = near[broken][_largest(exactly[broken], max(MORE, len(self.members)))]
        self.members, self.codes = np.append(self.members, more), np.append(self.codes, np.zeros(len(more)))
        return bool(len(more))

    def gap(self, largest: float, l1: float) -> float:
        """Duality gap on all atoms, whose largest correlation with the residual is given."""
        r = self.residual
        point = r * min(1.0, l1 / max(largest, 1e-300))
        primal = 0.5 * r @ r + l1 * np.abs(self.codes).sum()
        return max(0.0, float(primal - 0.5 * (self.x @ self.x - (self.x - point) @ (self.x - point))))


def _share_out(
    column: _Column, atoms: np.ndarray, owners: np.ndarray, scale: float, error: np.ndarray, weight: np.ndarray
) -> None:
    """Writes error and weight of the entries that have a part in the codes; the others rebuild nothing."""
    used = np.flatnonzero(column.codes)
    codes, members = scale * column.codes[used], column.members[used]
    for entry in np.unique(owners[members]):
        share = owners[members] == entry
        rest = column.x - _mixture(codes[share], atoms[members[share]].astype(np.float64))
        error[entry], weight[entry] = rest @ rest, np.abs(codes[share]).sum()


def _solved(columns: list[_Column], atoms: np.ndarray, l1: float) -> np.ndarray:
    """Codes every column on its working set, on all cores; (C, d) float32 residuals."""

    def part(start: int, stop: int) -> None:
        for column in columns[start:stop]:
            column.solve(atoms, l1)

    cores.each(part, len(columns))
    return np.array([column.residual for column in columns], np.float32)


# Not `@`, of which BLAS would make work for several threads, small as it is: they would wait for each other.
def _product(vectors: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.einsum("ij,j->i", vectors, x)


def _mixture(codes: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("i,ij->j", codes, vectors)


def _correlations(columns: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    product = np.empty((len(columns), len(atoms)), np.float32)
    cores.matmul(columns, atoms.T, product)
    return product


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` largest values, or of all."""
    left = max(0, len(values) - count)
    return np.argpartition(values, left)[left:] if left else np.arange(len(values))


def parts(counts: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Consecutive probes of at most ``limit`` blocks together, one probe at least."""
    first, held = 0, 0
    for p, count in enumerate(counts.tolist()):
        if p > first and held + count > limit:
            yield first, p
            first, held = p, 0
        held += count
    yield first, len(counts)
