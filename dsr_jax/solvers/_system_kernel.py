"""The linear system of a column's active atoms, compiled: kept with its inverse, solved to the first change of sign.

Everything here is float64. A floor under the Schur complement keeps the inverse of a singular system finite.
"""

from typing import NamedTuple, no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel


class Limits(NamedTuple):
    """How exactly columns are coded.

    Attributes:
      l1: weight of the L1 penalty.
      tol: gap at which the search ends, if it is more than ``EXACT``.
      eps: precision of the data's type.
      units: error of a product of blocks in units of ``eps``, see `certificate.rounding`.
      max_steps: largest number of steps of a column.
    """

    l1: float
    tol: float
    eps: float
    units: float
    max_steps: int


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


@kernel()
@no_type_check
def border(s, k, eps):
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
def _leave(s, out, k, work):
    """Takes one of k atoms out of the system (the last one takes its place) and out of the inverse."""
    work[s.atoms[out]] = s.targets[out]
    pivot, last = s.inverse[out, out], k - 1
    for p in range(k):
        if p != out:
            t = s.inverse[p, out] / pivot
            for q in range(k):
                if q != out:
                    s.inverse[p, q] -= t * s.inverse[out, q]
    s.signs[out], s.values[out], s.targets[out] = s.signs[last], s.values[last], s.targets[last]
    s.atoms[out] = s.atoms[last]
    s.gram[out, out], s.inverse[out, out] = s.gram[last, last], s.inverse[last, last]
    for p in range(last):
        if p != out:
            s.gram[out, p] = s.gram[last, p]
            s.gram[p, out] = s.gram[last, p]
            s.inverse[out, p] = s.inverse[last, p]
            s.inverse[p, out] = s.inverse[last, p]


@kernel()
@no_type_check
def settle(s, k, work, ill, limits):
    """Newton steps on the active system, each to the first sign change, until it holds. Returns k."""
    l1, eps = limits.l1, limits.eps
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
        length, out = 1.0, -1
        for p in range(k):
            t = 0.0
            for q in range(k):
                t += s.inverse[p, q] * s.left[q]
            s.move[p] = t
            if s.signs[p] * (s.values[p] + length * t) < 0:
                length, out = abs(s.values[p] / t), p
        for p in range(k):
            s.values[p] += length * s.move[p]
        if out < 0:
            if not ill:
                break
        else:
            _leave(s, out, k, work)
            k -= 1
            if ill:
                for p in range(k):
                    border(s, p, eps)
    return k
