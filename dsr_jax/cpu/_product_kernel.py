"""The product of few rows with many, compiled: what one probe's positions have in common with a whole gallery's.

A matrix product by BLAS first copies both sides into the order that it works in. With a dozen rows on one side that
takes longer than the product; here the many are read once, as they lie, and the few stay in cache.
"""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.cpu.kernel_cache import flat, kernel

SIDE = 4  # rows of each side that are multiplied together: their sums fill half of the registers
FEW = 32  # up to which this is faster than BLAS


def product(few: np.ndarray, many: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """All products of rows (n, d) and (m, d): (n, m).

    Raises:
      ValueError: for rows of different lengths.
    """
    if few.shape[1] != many.shape[1]:
        raise ValueError(f"few and many must have rows of one length d, got {few.shape[1]} and {many.shape[1]}")
    if len(few) > FEW or few.dtype != np.float32 or many.dtype != np.float32:
        with np.errstate(
            invalid="ignore"
        ):  # BLAS may raise it for lanes beyond the rows, whose products are never read
            return few @ many.T
    out = np.empty((len(few), len(many)), np.float32)
    sides = flat(few), flat(many)

    def part(start: int, stop: int) -> None:
        _products(*sides, len(few), len(many), few.shape[1], out.reshape(-1), start, stop)

    cores.each(part, -(-len(many) // SIDE), threads=threads, least=64)
    return out


@kernel(threads=True)
@no_type_check
def _products(x, y, n, m, d, out, start, stop):
    """Products with the rows of y from SIDE start to SIDE stop; what would lie beyond the last is the last again."""
    n, m, d = np.uint64(n), np.uint64(m), np.uint64(d)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for group in range(start, stop):
        j0 = np.uint64(SIDE) * np.uint64(group)
        j1, j2, j3 = min(j0 + one, m - one), min(j0 + two, m - one), min(j0 + three, m - one)
        b0, b1, b2, b3 = j0 * d, j1 * d, j2 * d, j3 * d
        for i0 in range(np.uint64(0), n, np.uint64(SIDE)):
            i1, i2, i3 = min(i0 + one, n - one), min(i0 + two, n - one), min(i0 + three, n - one)
            a0, a1, a2, a3 = i0 * d, i1 * d, i2 * d, i3 * d
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0)
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
            for k in range(d):
                x0, x1, x2, x3 = x[a0 + k], x[a1 + k], x[a2 + k], x[a3 + k]
                y0, y1, y2, y3 = y[b0 + k], y[b1 + k], y[b2 + k], y[b3 + k]
                s00, s01, s02, s03 = s00 + x0 * y0, s01 + x0 * y1, s02 + x0 * y2, s03 + x0 * y3
                s10, s11, s12, s13 = s10 + x1 * y0, s11 + x1 * y1, s12 + x1 * y2, s13 + x1 * y3
                s20, s21, s22, s23 = s20 + x2 * y0, s21 + x2 * y1, s22 + x2 * y2, s23 + x2 * y3
                s30, s31, s32, s33 = s30 + x3 * y0, s31 + x3 * y1, s32 + x3 * y2, s33 + x3 * y3
            out[i0 * m + j0], out[i0 * m + j1], out[i0 * m + j2], out[i0 * m + j3] = s00, s01, s02, s03
            out[i1 * m + j0], out[i1 * m + j1], out[i1 * m + j2], out[i1 * m + j3] = s10, s11, s12, s13
            out[i2 * m + j0], out[i2 * m + j1], out[i2 * m + j2], out[i2 * m + j3] = s20, s21, s22, s23
            out[i3 * m + j0], out[i3 * m + j1], out[i3 * m + j2], out[i3 * m + j3] = s30, s31, s32, s33
