"""The compiled search behind `active_set`: exact codes of one column after another, Eq. 6 of the paper, on one core.

Active-set search (the feature-sign search that the paper names, see `feature_sign`): atom by atom, the worst violation
of |Y_j'(x - Y w)| <= l1 enters, and the linear system of the active atoms is solved to the first change of sign, where
that atom leaves, until no atom violates. What makes it fast on the CPU: real columns need one to three atoms, so a step
is one vectorised pass over a column that stays in cache, Y'x - Y'Y_A w_A, read from as many rows of the Gram matrix as
there are active atoms, with the search for the worst atom in the same pass. That pass runs in the precision of the
data; the small system, its inverse and every decision that is close run in float64.

Singular systems (duplicate atoms, an atom that averages active ones) keep a floor under the Schur complement: the step
then runs far along the null space and ends where a coefficient vanishes, which is the exchange of atoms wanted.

How the loops below are written is for the compiler: unsigned indices into flat arrays spare a check for negative ones,
one array length that is a multiple of ``LANES`` leaves no scalar remainder, and ``_nrt=False`` (no allocation inside)
spares the atomic reference count of every array that is handed on, which took most of the time.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic

from dsr_jax.cpu.kernel_cache import kernel

# Columns are padded to whole multiples of this: four registers of 16 float32.
LANES = 64
# Up to this tolerance the search runs to the exact solution.
EXACT = 1e-5
# Active atoms up to which their inverse is checked for the second certificate: it costs as many cubed.
WELL = 16
# Rounding allowances of the gap, as in `sparse`; the interval's are those of products of the blocks' length.
UNITS, ERROR_UNITS = 2, 16


class System(NamedTuple):
    """Room for the K active atoms of one column and their linear system, in float64."""

    atoms: np.ndarray  # (K,) int32
    signs: np.ndarray  # (K,)
    values: np.ndarray  # (K,) codes
    targets: np.ndarray  # (K,) Y_A'x
    gram: np.ndarray  # (K, K) Y_A'Y_A
    inverse: np.ndarray  # (K, K) its inverse, regularised where it is singular
    left: np.ndarray  # (K,) what the codes leave over of the system
    move: np.ndarray  # (K,)


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


@intrinsic
@no_type_check
def _bits(typing_context, value):
    """The bit pattern of a float as a signed integer: for non-negative numbers it orders as they do."""
    integer = types.int32 if value == types.float32 else types.int64

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), generate


@intrinsic
@no_type_check
def _number(typing_context, bits):
    """The float of a bit pattern: undoes `_bits`."""
    real = types.float32 if bits == types.int32 else types.float64

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), generate


@intrinsic
@no_type_check
def _same(typing_context, value, like):
    """An integer narrowed to the type of another."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], value, like)

    return like(value, like), generate


@kernel()
@no_type_check
def padded(m):
    """The length at which columns of m atoms are kept."""
    return (np.uint64(m) + np.uint64(LANES - 1)) // np.uint64(LANES) * np.uint64(LANES)


@kernel()
@no_type_check
def mask(like, m):
    """All bits but those that number m places."""
    low = 1
    while low < m:
        low *= 2
    return _same(-low, _bits(like))


@kernel()
@no_type_check
def _rank(r, j, top, key, high):
    """Running maximum of |r| as bits, and of the same with its low bits replaced by the place j."""
    size = _bits(abs(r))
    return max(top, size), max(key, _same((size & high) | np.int64(j), high))


@kernel()
@no_type_check
def _largest(y, m, high):
    """Largest magnitude of m numbers (as bits) and the place of one nearly as large."""
    top, key = _same(0, high), _same(0, high)
    for j in range(m):
        top, key = _rank(y[j], j, top, key, high)
    return top, key


@kernel()
@no_type_check
def _scan(y, o, gram, a, v, n, m, high):
    """`_largest` of y - sum of v[p] * gram[a[p] :], over n = 1 ... 4 atoms."""
    top, key = _same(0, high), _same(0, high)
    a0, a1, a2, a3 = a
    v0, v1, v2, v3 = v
    if n == 1:
        for j in range(m):
            top, key = _rank(y[o + j] - v0 * gram[a0 + j], j, top, key, high)
    elif n == 2:
        for j in range(m):
            top, key = _rank(y[o + j] - v0 * gram[a0 + j] - v1 * gram[a1 + j], j, top, key, high)
    elif n == 3:
        for j in range(m):
            top, key = _rank(y[o + j] - v0 * gram[a0 + j] - v1 * gram[a1 + j] - v2 * gram[a2 + j], j, top, key, high)
    else:
        for j in range(m):
            r = y[o + j] - v0 * gram[a0 + j] - v1 * gram[a1 + j] - v2 * gram[a2 + j] - v3 * gram[a3 + j]
            top, key = _rank(r, j, top, key, high)
    return top, key


@kernel()
@no_type_check
def _four(s, first, k, start, m, like):
    """Places of the Gram rows and coefficients of up to four active atoms."""
    last = k - 1
    p1, p2, p3 = min(first + 1, last), min(first + 2, last), min(first + 3, last)
    rows = (
        start + np.uint64(s.atoms[first]) * m,
        start + np.uint64(s.atoms[p1]) * m,
        start + np.uint64(s.atoms[p2]) * m,
        start + np.uint64(s.atoms[p3]) * m,
    )
    v = s.values
    return rows, (_same(v[first], like), _same(v[p1], like), _same(v[p2], like), _same(v[p3], like))


@kernel()
@no_type_check
def _violation(s, k, gram, start, work, m, high):
    """`_largest` of Y'(x - Y w): the work space holds Y'x, then room for two partial results."""
    source, first = np.uint64(0), 0
    while k - first > 4:
        (a0, a1, a2, a3), (v0, v1, v2, v3) = _four(s, first, k, start, m, work[0])
        o = m if source != m else m + m
        for j in range(m):
            work[o + j] = (
                work[source + j] - v0 * gram[a0 + j] - v1 * gram[a1 + j] - v2 * gram[a2 + j] - v3 * gram[a3 + j]
            )
        source = o
        first += 4
    a, v = _four(s, first, k, start, m, work[0])
    return _scan(work, source, gram, a, v, k - first, m, high)


@kernel()
@no_type_check
def _border(s, k, eps):
    """Borders the inverse of the first k atoms by atom k; returns its Schur complement relative to the diagonal."""
    schur = s.gram[k, k]
    for p in range(k):
        t = 0.0
        for q in range(k):
            t += s.inverse[p, q] * s.gram[k, q]
        s.move[p] = t
        schur -= t * s.gram[k, p]
    relative = schur / s.gram[k, k]
    schur = max(schur, max(eps, 1e-12) * s.gram[k, k])
    for p in range(k):
        t = s.move[p] / schur
        for q in range(k):
            s.inverse[p, q] += t * s.move[q]
        s.inverse[p, k] = -t
        s.inverse[k, p] = -t
    s.inverse[k, k] = 1 / schur
    return relative


@kernel()
@no_type_check
def _leave(s, who, k, work):
    """Takes one of k atoms out of the system (the last one takes its place) and out of the inverse."""
    work[s.atoms[who]] = s.targets[who]
    pivot, last = s.inverse[who, who], k - 1
    for p in range(k):
        if p != who:
            t = s.inverse[p, who] / pivot
            for q in range(k):
                if q != who:
                    s.inverse[p, q] -= t * s.inverse[who, q]
    s.signs[who], s.values[who], s.targets[who] = s.signs[last], s.values[last], s.targets[last]
    s.atoms[who] = s.atoms[last]
    s.gram[who, who], s.inverse[who, who] = s.gram[last, last], s.inverse[last, last]
    for p in range(last):
        if p != who:
            s.gram[who, p] = s.gram[last, p]
            s.gram[p, who] = s.gram[last, p]
            s.inverse[who, p] = s.inverse[last, p]
            s.inverse[p, who] = s.inverse[last, p]


@kernel()
@no_type_check
def _settle(s, k, work, l1, ill, eps):
    """Newton steps on the active system, each to the first sign change, until it holds. Returns k."""
    for _ in range(100 + 4 * k):
        size = 0.0
        for p in range(k):
            t = s.targets[p] - l1 * s.signs[p]
            for q in range(k):
                t -= s.gram[p, q] * s.values[q]
            s.left[p] = t
            size = max(size, abs(t))
        if size <= 1e-3 * eps * l1:
            break
        length, who = 1.0, -1
        for p in range(k):
            t = 0.0
            for q in range(k):
                t += s.inverse[p, q] * s.left[q]
            s.move[p] = t
            if s.signs[p] * (s.values[p] + length * t) < 0:
                length, who = abs(s.values[p] / t), p
        for p in range(k):
            s.values[p] += length * s.move[p]
        if who < 0:
            if not ill:
                break
        else:
            _leave(s, who, k, work)
            k -= 1
            if ill:
                for p in range(k):
                    _border(s, p, eps)
    return k


@kernel()
@no_type_check
def _residual(s, k, gram, start, work, m, j):
    """Y_j'(x - Y w) in float64, and its rounding error."""
    r = np.float64(work[j])
    size = abs(r)
    for p in range(k):
        t = np.float64(gram[start + np.uint64(s.atoms[p]) * m + j]) * s.values[p]
        r -= t
        size += abs(t)
    return r, 1e-15 * size


@kernel()
@no_type_check
def _is_active(s, k, j):
    """Whether atom j is active."""
    found = False
    for p in range(k):
        found |= np.uint64(s.atoms[p]) == j
    return found


@kernel()
@no_type_check
def _worst(s, k, gram, start, work, m, atoms):
    """The inactive atom with the largest |Y_j'(x - Y w)|, less its rounding error, in float64."""
    place, worst = np.uint64(0), 0.0
    for j in range(atoms):
        r, rounding = _residual(s, k, gram, start, work, m, j)
        if abs(r) - rounding > worst and not _is_active(s, k, j):
            place, worst = j, abs(r) - rounding
    return place, worst


@kernel()
@no_type_check
def _near(s, k, energy, largest, l1, tol):
    """Whether codes whose active system holds have a gap of at most ``tol`` (see `sparse`, with Y_j'r = l1 there).

    Never for one up to ``EXACT``: the last steps cost little, and without them the error would be off by several gaps.
    """
    if tol <= EXACT:
        return False
    norm1, short = 0.0, 1 - l1 / largest
    for p in range(k):
        norm1 += abs(s.values[p])
    return 0.5 * short * short * energy + short * l1 * norm1 <= tol


@kernel()
@no_type_check
def _enter(s, k, j, sign, value, gram, start, work, m, l1, eps):
    """Makes atom j the active atom number k; returns its Schur complement relative to the diagonal.

    In the work space l1 times its sign is taken off its correlation: what the codes leave of it is then zero, and the
    largest violation is that of the inactive atoms.
    """
    for p in range(k):
        g = np.float64(gram[start + np.uint64(s.atoms[p]) * m + j])
        s.gram[k, p] = g
        s.gram[p, k] = g
    s.atoms[k], s.signs[k], s.values[k], s.targets[k] = j, sign, value, np.float64(work[j])
    s.gram[k, k] = np.float64(gram[start + j * m + j])
    work[j] = s.targets[k] - l1 * sign
    return _border(s, k, eps)


@kernel()
@no_type_check
def _resume(s, gram, start, work, m, atoms, l1, eps, dense, c):
    """Enters the atoms of given codes, which are cleared, and settles: (number of active atoms, ill-conditioned)."""
    k, ill = 0, False
    for j in range(atoms):
        value = np.float64(dense[c, j])
        if value != 0 and k < s.atoms.size and gram[start + j * m + j] > 0:
            ill |= _enter(s, k, j, 1.0 if value > 0 else -1.0, value, gram, start, work, m, l1, eps) < 1e-3
            k += 1
        dense[c, j] = 0
    return _settle(s, k, work, l1, ill, eps), ill


@kernel()
@no_type_check
def _search(s, gram, start, work, m, atoms, high, energy, l1, eps, tol, max_steps, k, ill):
    """Codes of one column, from k active atoms on: (number of active atoms, largest |Y'r|, steps)."""
    steps = 0
    top, key = _violation(s, k, gram, start, work, m, high) if k else _largest(work, m, high)
    largest = np.float64(_number(top))
    slack = eps * (l1 + largest)
    while largest > l1 + slack and steps < max_steps and k < s.atoms.size:
        if _near(s, k, energy, largest, l1, tol):
            break
        j = min(np.uint64(key & ~high), atoms - np.uint64(1))
        r, rounding = _residual(s, k, gram, start, work, m, j)
        if abs(r) <= l1 + rounding or _is_active(s, k, j):
            j, worst = _worst(s, k, gram, start, work, m, atoms)
            if worst <= l1:
                break
            r, rounding = _residual(s, k, gram, start, work, m, j)
        steps += 1
        sign = 1.0 if r > 0 else -1.0
        relative = _enter(s, k, j, sign, 0.0, gram, start, work, m, l1, eps)
        if k == 0:
            s.values[0] = (s.targets[0] - l1 * sign) / s.gram[0, 0]
            k = 1
        else:
            ill |= relative < 1e-3
            k = _settle(s, k + 1, work, l1, ill, eps)
        top, key = _violation(s, k, gram, start, work, m, high) if k else _largest(work, m, high)
        largest = np.float64(_number(top))
    return k, largest, steps


@kernel()
@no_type_check
def _gap(error, explained, norm1, largest, doubt, blur, l1):
    """Duality gap with and without its allowance for rounding, and the scale of its dual point."""
    scale = max(0.0, min((error + explained) / max(error, 1e-300), l1 / (largest + doubt), 2.0))
    off = (1 - scale) ** 2
    short = max(0.5 * off * error + l1 * norm1 - scale * explained, 0.0)
    return short + doubt * norm1 + 0.5 * off * blur, short, scale


@kernel()
@no_type_check
def _certify(s, k, energy, l1, largest, eps, units):
    """Error, lower, upper, gap as `sparse.certify` has them, and the gap without the allowance for rounding.

    The interval is narrower where the active set is proven: a gap bounds the residual only by its square root.
    """
    norm1, explained, fitted, inactive, off_system, smallest = 0.0, 0.0, 0.0, largest, 0.0, np.inf
    for p in range(k):
        t = s.targets[p]
        for q in range(k):
            t -= s.gram[p, q] * s.values[q]
        norm1 += abs(s.values[p])
        explained += t * s.values[p]
        fitted += (s.targets[p] + t) * s.values[p]
        largest = max(largest, abs(t))
        off_system = max(off_system, abs(t - l1 * s.signs[p]))
        smallest = min(smallest, abs(s.values[p]))
    error = max(energy - fitted, 0.0)
    size = math.sqrt(energy) + norm1
    doubt, wide = UNITS * eps * size, units * eps * size
    blur, broad = ERROR_UNITS * eps * energy + doubt * norm1, max(ERROR_UNITS, units) * eps * energy + 2 * wide * norm1
    least = max(error - broad, 0.0)
    gap, short, scale = _gap(error, explained, norm1, largest, doubt, blur, l1)
    ball, _, scale = _gap(error, explained, norm1, largest, wide, broad, l1)
    radius, half = math.sqrt(max(ball - 0.25 * (1 - scale) ** 2 * least, 0.0)), 0.5 * (1 + scale)
    lower = max(half * math.sqrt(least) - radius, 0.0) ** 2
    upper = (half * math.sqrt(error + broad) + radius) ** 2
    far = _distance_to_exact(s, k, inactive, off_system + wide, smallest, wide, l1, units * eps)
    if far < radius:
        lower = max(lower, max(math.sqrt(least) - far, 0.0) ** 2)
        upper = min(upper, (math.sqrt(error + broad) + far) ** 2)
    upper = min(upper, energy * (1 + max(ERROR_UNITS, units) * eps))
    return error, min(lower, error), max(upper, error), gap, short


@kernel()
@no_type_check
def _distance_to_exact(s, k, inactive, rho, smallest, doubt, l1, rounding):
    """Bound of |r - r*| if the active set is proven to be the exact one, else 1e300.

    ``rho`` bounds what the active system leaves over, rounding included. Its exact solution is then within |B| rho of
    the codes, B the inverse, and its residual within (k |B|)^1/2 rho of theirs; if no sign changes and no inactive atom
    reaches l1 on that way, it satisfies all conditions of optimality.
    """
    if k > WELL:
        return 1e300
    norm, defect = 0.0, 0.0
    for p in range(k):
        row, miss = 0.0, 0.0
        for q in range(k):
            row += abs(s.inverse[p, q])
            t = -1.0 if p == q else 0.0
            for i in range(k):
                t += s.inverse[p, i] * s.gram[i, q]
            miss += abs(t)
        norm, defect = max(norm, row), max(defect, miss)
    defect += norm * k * rounding
    if not defect < 0.5:
        return 1e300
    norm /= 1 - defect
    far = math.sqrt(k * norm) * rho
    if inactive + 2 * doubt + far > l1 or smallest <= norm * rho:
        return 1e300
    return far


@kernel()
@no_type_check
def column(s, gram, start, work, m, atoms, high, energy, l1, eps, units, tol, max_steps, k=0, ill=False):
    """Codes one column, left in the system `s`: (error, lower, upper, gap, short), active atoms, steps.

    The search ends at a gap of ``tol`` if that is more than ``EXACT``. The work space holds Y'x, zero from ``atoms`` to
    ``m``, then room for two partial results; the Gram matrix begins at place ``start`` and its rows are ``m`` long.
    ``units`` is the error of a product in units of ``eps``, ``short`` the gap without the allowance for rounding. The
    search goes on from the k atoms that `s` holds.
    """
    k, largest, steps = _search(s, gram, start, work, m, atoms, high, energy, l1, eps, tol, max_steps, k, ill)
    widening = max(ERROR_UNITS, 2 * units) * eps * energy  # as if |Y'x| were above l1 by its rounding
    figures = energy, energy - widening, energy + widening, 0.0, 0.0
    if largest > l1 or k:
        figures = _certify(s, k, energy, l1, largest, eps, units)
        # w = 0 has a gap of at most x'x / 2. One beyond x'x, or NaN (whose bits are larger still), says that
        # the system was too singular for so small an l1: the codes are lost, w = 0 is what can be certified.
        if _bits(abs(figures[3])) > _bits(energy):
            for p in range(k):
                work[s.atoms[p]] = s.targets[p]
            k, largest = 0, np.float64(_number(_largest(work, m, high)[0]))
            figures = _certify(s, k, energy, l1, largest, eps, units)
    return figures, k, steps


@kernel(threads=True)
@no_type_check
def solve(
    space, gram, rows, shape, strides, energy, l1, eps, units, tol, max_steps, start, stop, figures, steps, dense
):
    """Codes the columns start ... stop of all (gallery image, column) pairs into figures, steps and dense.

    Where ``dense`` is not empty it holds codes to begin with.
    """
    atoms = np.uint64(shape[2])
    m = padded(atoms)
    s, work, table = space
    high = mask(work[0], m)
    for g in range(start // shape[1], (stop + shape[1] - 1) // shape[1]):
        place = np.uint64(g) * atoms * atoms
        if m == atoms:
            rows_of, begin = gram, place
        else:
            for i in range(atoms):
                for j in range(atoms):
                    table[i * m + j] = gram[place + i * atoms + j]
            rows_of, begin = table, np.uint64(0)
        for c in range(max(start - g * shape[1], 0), min(stop - g * shape[1], shape[1])):
            row, i = np.uint64(g * strides[0] + c * strides[1]) * atoms, g * shape[1] + c
            for j in range(atoms):
                work[j] = rows[row + j]
            x, k, ill = np.float64(energy[c]), 0, False
            if dense.size:
                k, ill = _resume(s, rows_of, begin, work, m, atoms, l1, eps, dense, c)
            found, k, steps[i] = column(
                s, rows_of, begin, work, m, atoms, high, x, l1, eps, units, tol, max_steps, k, ill
            )
            for f in range(5):
                figures[f, i] = found[f]
            for p in range(k if dense.size else 0):
                dense[c, s.atoms[p]] = s.values[p]
