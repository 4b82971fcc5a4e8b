"""The largest residual correlation of one column, compiled: the pass that an active-set search repeats at every step.

Real columns need one to three atoms, so a step is one vectorised pass over a column that stays in cache: Y'x - Y'Y_A
w_A, read from as many rows of the Gram matrix as there are active atoms, with the search for the largest entry in the
same pass. It runs in the precision of the data.

How the loops are written is for the compiler: unsigned indices into flat arrays spare a check for negative ones, and
one array length that is a multiple of ``LANES`` leaves no scalar remainder. Reference counts of arrays that are handed
on, and of NamedTuples of arrays, took most of the time: ``_nrt=False`` (nothing is allocated) spares them.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic

from dsr_jax.cpu.kernel_cache import kernel

# Columns are padded to whole multiples of this: four registers of 16 float32.
LANES = 64


class Dictionary(NamedTuple):
    """The Gram matrix of one dictionary of M atoms.

    Attributes:
      gram: flat, with rows of ``m`` numbers.
      start: place in ``gram`` where the matrix begins.
      atoms: M.
      m: M padded to a multiple of ``LANES``, see `padded`.
      high: bits of a number that do not hold an atom's place, see `mask`.
    """

    gram: np.ndarray
    start: int
    atoms: int
    m: int
    high: int


@intrinsic
@no_type_check
def bits(typing_context, value):
    """The bit pattern of a float as a signed integer: for non-negative numbers it orders as they do."""
    integer = types.int32 if value == types.float32 else types.int64

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), generate


@intrinsic
@no_type_check
def number(typing_context, bits):
    """The float of a bit pattern: undoes `bits`."""
    real = types.float32 if bits == types.int32 else types.float64

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(real))

    return real(bits), generate


@intrinsic
@no_type_check
def same(typing_context, value, like):
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
    return same(-low, bits(like))


@kernel()
@no_type_check
def _rank(r, j, top, key, high):
    """Running maximum of |r| as bits, and of the same with its low bits replaced by the place j."""
    size = bits(abs(r))
    return max(top, size), max(key, same((size & high) | np.int64(j), high))


@kernel()
@no_type_check
def largest_of(y, d):
    """The largest magnitude in a column (as bits), and the place of one nearly as large."""
    top, key = same(0, d.high), same(0, d.high)
    for j in range(d.m):
        top, key = _rank(y[j], j, top, key, d.high)
    return top, key


@kernel()
@no_type_check
def _scan(y, o, d, a, v, n):
    """`largest_of` the column y[o :] - sum of v[p] * gram[a[p] :], over n = 1 ... 4 atoms."""
    gram, m, high = d.gram, d.m, d.high
    top, key = same(0, high), same(0, high)
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
def _four(s, first, k, d, like):
    """Places of the Gram rows and coefficients of up to four active atoms."""
    last = k - 1
    p1, p2, p3 = min(first + 1, last), min(first + 2, last), min(first + 3, last)
    rows = (
        d.start + np.uint64(s.atoms[first]) * d.m,
        d.start + np.uint64(s.atoms[p1]) * d.m,
        d.start + np.uint64(s.atoms[p2]) * d.m,
        d.start + np.uint64(s.atoms[p3]) * d.m,
    )
    v = s.values
    return rows, (same(v[first], like), same(v[p1], like), same(v[p2], like), same(v[p3], like))


@kernel()
@no_type_check
def violation(s, k, d, work):
    """`largest_of` Y'(x - Y w), w the k codes in ``s``. The work space holds Y'x, then room for two partial sums."""
    gram, m = d.gram, d.m
    source, first = np.uint64(0), 0
    while k - first > 4:
        (a0, a1, a2, a3), (v0, v1, v2, v3) = _four(s, first, k, d, work[0])
        o = m if source != m else m + m
        for j in range(m):
            work[o + j] = (
                work[source + j] - v0 * gram[a0 + j] - v1 * gram[a1 + j] - v2 * gram[a2 + j] - v3 * gram[a3 + j]
            )
        source = o
        first += 4
    a, v = _four(s, first, k, d, work[0])
    return _scan(work, source, d, a, v, k - first)
