"""Active-set search of one column after another, compiled: exact codes (Eq. 6 of the paper), on one core.

Atom by atom, the worst violation of |Y_j'(x - Y w)| <= l1 enters (see `_residual_kernel`), and the linear system of the
active atoms is solved to the first change of sign, where that atom leaves, until no atom violates. It is the
feature-sign search that the paper names (see `feature_sign`). The small system, its inverse and every decision that is
close are float64, whatever the data are.

Singular systems (duplicate atoms, an atom that averages active ones) keep a floor under the Schur complement: the step
then runs far along the null space and ends where a coefficient vanishes, which is the exchange of atoms wanted.
"""

from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel
from dsr_jax.solvers._certificate_kernel import ERROR_UNITS, certify
from dsr_jax.solvers._residual_kernel import (
    LANES,
    Dictionary,
    bits,
    largest_of,
    mask,
    number,
    padded,
    violation,
)
from dsr_jax.solvers._system_kernel import System, border, settle

# Up to this tolerance the search runs to the exact solution.
EXACT = 1e-5


class Problem(NamedTuple):
    """All columns on each of G dictionaries.

    Attributes:
      gram: the flat Gram matrices (G, M, M).
      correlation: the flat rows Y'x, of M numbers each.
      strides: rows from one dictionary to the next, and from one column to the next.
      shape: (G, C, M).
      energy: (C,) x'x.
    """

    gram: np.ndarray
    correlation: np.ndarray
    strides: tuple[int, int]
    shape: tuple[int, ...]
    energy: np.ndarray


class Coded(NamedTuple):
    """What `solve` writes of n = G C columns.

    Attributes:
      figures: (5, n) error, lower, upper, gap, and the gap without its allowance for rounding.
      steps: (n,) int32.
      codes: (C, M) of one dictionary, codes to begin with; empty (0, 0): none are wanted.
    """

    figures: np.ndarray
    steps: np.ndarray
    codes: np.ndarray


class Space(NamedTuple):
    """Working memory of one thread."""

    system: System
    work: np.ndarray  # (3 m,) Y'x and two partial results, zero beyond M
    table: np.ndarray  # (M m,) the Gram matrix with padded rows, or empty if it needs no padding


def space(atoms: int, places: int, dtype: np.dtype) -> Space:
    """Working memory for dictionaries of so many atoms, with places for so many active ones."""
    m = -(-atoms // LANES) * LANES
    vectors, squares = np.empty((5, places)), np.empty((2, places, places))
    system = System(np.empty(places, np.int32), *vectors[:3], *squares, *vectors[3:])
    return Space(system, np.zeros(3 * m, dtype), np.zeros(0 if m == atoms else atoms * m, dtype))


@kernel()
@no_type_check
def _residual(s, k, d, work, j):
    """Y_j'(x - Y w) in float64, and its rounding error."""
    r = np.float64(work[j])
    size = abs(r)
    for p in range(k):
        t = np.float64(d.gram[d.start + np.uint64(s.atoms[p]) * d.m + j]) * s.values[p]
        r -= t
        size += abs(t)
    return r, 1e-15 * size


@kernel()
@no_type_check
def _is_active(s, k, j):
    """Whether atom j is active."""
    active = False
    for p in range(k):
        active |= np.uint64(s.atoms[p]) == j
    return active


@kernel()
@no_type_check
def _worst(s, k, d, work):
    """The inactive atom with the largest |Y_j'(x - Y w)|, less its rounding error, in float64."""
    place, worst = np.uint64(0), 0.0
    for j in range(d.atoms):
        r, rounding = _residual(s, k, d, work, j)
        if abs(r) - rounding > worst and not _is_active(s, k, j):
            place, worst = j, abs(r) - rounding
    return place, worst


@kernel()
@no_type_check
def _near(s, k, energy, largest, limits):
    """Whether codes whose active system holds have a gap of at most ``tol`` (see `certificate`, with Y_j'r = l1 there).

    Never for one up to ``EXACT``: the last steps cost little, and without them the error would be off by several gaps.
    """
    if limits.tol <= EXACT:
        return False
    norm1, short = 0.0, 1 - limits.l1 / largest
    for p in range(k):
        norm1 += abs(s.values[p])
    return 0.5 * short * short * energy + short * limits.l1 * norm1 <= limits.tol


@kernel()
@no_type_check
def _enter(s, k, j, sign, value, d, work, limits):
    """Makes atom j the active atom number k; returns its Schur complement relative to the diagonal.

    In the work space l1 times its sign is taken off its correlation: what the codes leave of it is then zero, and the
    largest violation is that of the inactive atoms.
    """
    for p in range(k):
        g = np.float64(d.gram[d.start + np.uint64(s.atoms[p]) * d.m + j])
        s.gram[k, p] = g
        s.gram[p, k] = g
    s.atoms[k], s.signs[k], s.values[k], s.targets[k] = j, sign, value, np.float64(work[j])
    s.gram[k, k] = np.float64(d.gram[d.start + j * d.m + j])
    work[j] = s.targets[k] - limits.l1 * sign
    return border(s, k, limits.eps)


@kernel()
@no_type_check
def _resume(s, d, work, limits, codes, c):
    """Enters the atoms of given codes, which are cleared, and settles: (number of active atoms, ill-conditioned)."""
    k, ill = 0, False
    for j in range(d.atoms):
        value = np.float64(codes[c, j])
        if value != 0 and k < s.atoms.size and d.gram[d.start + j * d.m + j] > 0:
            ill |= _enter(s, k, j, 1.0 if value > 0 else -1.0, value, d, work, limits) < 1e-3
            k += 1
        codes[c, j] = 0
    return settle(s, k, work, ill, limits), ill


@kernel()
@no_type_check
def _search(s, d, work, energy, limits, k, ill):
    """Codes of one column, from k active atoms on: (number of active atoms, largest |Y'r|, steps)."""
    l1, steps = limits.l1, 0
    top, key = violation(s, k, d, work) if k else largest_of(work, d)
    largest = np.float64(number(top))
    slack = limits.eps * (l1 + largest)
    while largest > l1 + slack and steps < limits.max_steps and k < s.atoms.size:
        if _near(s, k, energy, largest, limits):
            break
        j = min(np.uint64(key & ~d.high), d.atoms - np.uint64(1))
        r, rounding = _residual(s, k, d, work, j)
        if abs(r) <= l1 + rounding or _is_active(s, k, j):
            j, worst = _worst(s, k, d, work)
            if worst <= l1:
                break
            r, rounding = _residual(s, k, d, work, j)
        steps += 1
        sign = 1.0 if r > 0 else -1.0
        relative = _enter(s, k, j, sign, 0.0, d, work, limits)
        if k == 0:
            s.values[0] = (s.targets[0] - l1 * sign) / s.gram[0, 0]
            k = 1
        else:
            ill |= relative < 1e-3
            k = settle(s, k + 1, work, ill, limits)
        top, key = violation(s, k, d, work) if k else largest_of(work, d)
        largest = np.float64(number(top))
    return k, largest, steps


@kernel()
@no_type_check
def column(s, d, work, energy, limits, k=0, ill=False):
    """Codes one column, left in the system ``s``: ((error, lower, upper, gap, short), active atoms, steps).

    The work space holds Y'x, zero beyond the atoms of dictionary ``d``, then room for two partial results. ``short`` is
    the gap without its allowance for rounding. The search goes on from the k atoms that ``s`` holds.
    """
    k, largest, steps = _search(s, d, work, energy, limits, k, ill)
    widening = max(ERROR_UNITS, 2 * limits.units) * limits.eps * energy  # as if |Y'x| were above l1 by its rounding
    figures = energy, energy - widening, energy + widening, 0.0, 0.0
    if largest > limits.l1 or k:
        figures = certify(s, k, energy, largest, limits)
        # w = 0 has a gap of at most x'x / 2. One beyond x'x, or NaN (whose bits are larger still), says that
        # the system was too singular for so small an l1: the codes are lost, w = 0 is what can be certified.
        if bits(abs(figures[3])) > bits(energy):
            for p in range(k):
                work[s.atoms[p]] = s.targets[p]
            k, largest = 0, np.float64(number(largest_of(work, d)[0]))
            figures = certify(s, k, energy, largest, limits)
    return figures, k, steps


@kernel(threads=True)
@no_type_check
def solve(space, problem, limits, start, stop, coded):
    """Codes the columns start ... stop of all (dictionary, column) pairs of a `Problem` into `Coded`."""
    columns, atoms = problem.shape[1], np.uint64(problem.shape[2])
    m = padded(atoms)
    s, work, table = space
    high = mask(work[0], m)
    for g in range(start // columns, (stop + columns - 1) // columns):
        place = np.uint64(g) * atoms * atoms
        if m == atoms:
            gram, begin = problem.gram, place
        else:
            for i in range(atoms):
                for j in range(atoms):
                    table[i * m + j] = problem.gram[place + i * atoms + j]
            gram, begin = table, np.uint64(0)
        d = Dictionary(gram, begin, atoms, m, high)
        for c in range(max(start - g * columns, 0), min(stop - g * columns, columns)):
            row, i = np.uint64(g * problem.strides[0] + c * problem.strides[1]) * atoms, g * columns + c
            for j in range(atoms):
                work[j] = problem.correlation[row + j]
            k, ill = 0, False
            if coded.codes.size:
                k, ill = _resume(s, d, work, limits, coded.codes, c)
            figures, k, coded.steps[i] = column(s, d, work, np.float64(problem.energy[c]), limits, k, ill)
            for f in range(5):
                coded.figures[f, i] = figures[f]
            for p in range(k if coded.codes.size else 0):
                coded.codes[c, s.atoms[p]] = s.values[p]
