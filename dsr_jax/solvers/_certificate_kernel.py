"""The certificate of one column, compiled: `certificate.certify` for codes that an active-set search left (float64).

It is narrower where the active set is proven: a duality gap bounds the residual only by its square root.
See `docs/mathematics.md`.
"""

import math
from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel

# Rounding allowance in units of eps: of each Y_j'r per unit of |x| + |w|_1, and of the squared error per unit of x'x.
UNITS, ERROR_UNITS = 2, 16
# Active atoms up to which their inverse is checked for the second certificate: it costs as many cubed.
WELL = 16


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
def certify(s, k, energy, largest, limits):
    """Error, lower, upper, gap of the k codes in the system ``s``, and the gap without its allowance for rounding.

    ``largest`` is the largest |Y'r| of the inactive atoms, ``limits`` the `Limits` of the search.
    """
    l1, eps, units = limits.l1, limits.eps, limits.units
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
