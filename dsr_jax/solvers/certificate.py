"""What sparse codes are, and their certificate: Eq. 3 / 6 of the paper.

For one probe block x and the dictionary Y (atoms as columns here), `active_set`, `feature_sign` and `proximal` solve

    minimise over w:  1/2 |x - Y w|^2 + l1 |w|_1                                                   (Eq. 6)

(Eq. 3 differs by a factor 2 in its beta; scikit-learn's Lasso divides the first term by the length of x, so its alpha
is l1 / d.) They never see x and Y themselves, only the Gram matrix Y'Y, the correlations Y'x and the energy x'x.

Certificate. With the residual r = x - Y w and the dual point theta = s r, s = clip(x'r / r'r, 0, l1/|Y'r|_inf), the
duality gap is

    gap = 1/2 r'r + l1 |w|_1 - (1/2 x'x - 1/2 |x - theta|^2)
        = 1/2 (1 - s)^2 r'r + sum_j |w_j| (l1 - s sign(w_j) Y_j'r)  >=  0

(the second line, used here, is a sum of small non-negative terms: nothing cancels in float32)
and since primal and dual are 1-strongly convex / concave in the residual, the exact residual r* lies in a ball,
|c - r*|^2 <= gap - 1/4 |r - theta|^2 with c = (r + theta) / 2. So every squared error comes with an interval that holds
the exact one, whether the coder finished or not. Where |Y'x|_inf <= l1, w = 0 is exact and the interval is a point.

`active_set` has a second one, 20 to 30 times narrower on real maps: where the exact active set is proven (no sign and
no inactive atom is near enough to its bound for rounding to matter), the exact codes are those of its linear system.

Rounding is part of the certificate: gap and interval are widened by what a few units of the arithmetic's precision in
each Y_j'r can do, which grows with |w|_1; at l1 = 0.4 a gap below about 5e-7 cannot be certified in float32.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Rounding allowance in units of eps: of each Y_j'r per unit of |x| + |w|_1, and of the squared error per unit of x'x.
UNITS, ERROR_UNITS = 2, 16


class Solution(NamedTuple):
    """What a coder returns for a dictionary of M atoms and N columns.

    Attributes:
      codes: (M, N) sparse coefficients W.
      error: (N,) squared reconstruction error |x - Y w|^2 of the codes.
      lower: (N,) certified lower bound of the exact squared error.
      upper: (N,) certified upper bound of the exact squared error.
      gap: (N,) duality gap, rounding included.
      steps: (N,) int32 iterations that the column took; 0 where w = 0 is exact.
    """

    codes: Float[Array, "m n"]
    error: Float[Array, " n"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]
    gap: Float[Array, " n"]
    steps: Int[Array, " n"]


def certify(
    codes: Float[Array, "m n"],
    residual_correlation: Float[Array, "m n"],
    correlation: Float[Array, "m n"],
    energy: Float[Array, " n"],
    *,
    l1: float,
) -> tuple[Array, Array, Array, Array]:
    """Squared error, certified interval of the exact squared error, and duality gap of any codes.

    Args:
      codes: (M, N) candidate codes W.
      residual_correlation: (M, N) Y'(X - Y W).
      correlation: (M, N) Y'X.
      energy: (N,) x'x.
      l1: weight of the L1 penalty.

    Returns:
      error, lower, upper, gap: each (N,), gap >= 0.

    Source: proof in docs/mathematics.md; Ndiaye, Fercoq, Gramfort, Salmon: Gap Safe screening rules (JMLR 2017).
    """
    eps = jnp.finfo(codes.dtype).eps
    norm1 = jnp.sum(jnp.abs(codes), axis=0)
    doubt = UNITS * eps * (jnp.sqrt(energy) + norm1)  # of each Y_j'r
    blur = ERROR_UNITS * eps * energy + doubt * norm1  # of the squared error
    explained = jnp.sum(residual_correlation * codes, axis=0)  # (Y w)'r
    error = jnp.maximum(energy - jnp.sum((correlation + residual_correlation) * codes, axis=0), 0)
    # Any feasible s certifies. Beyond 2 it would only magnify the rounding of a residual that is nearly zero.
    limit = jnp.minimum(l1 / (jnp.max(jnp.abs(residual_correlation), axis=0) + doubt), 2)
    scale = jnp.clip((error + explained) / jnp.maximum(error, jnp.finfo(codes.dtype).tiny), 0, limit)
    off = (1 - scale) ** 2
    gap = jnp.maximum(0.5 * off * error + l1 * norm1 - scale * explained, 0) + doubt * norm1 + 0.5 * off * blur
    least = jnp.maximum(error - blur, 0)
    radius = jnp.sqrt(jnp.maximum(gap - 0.25 * off * least, 0))
    half = 0.5 * (1 + scale)  # of r: the centre of the ball
    lower = jnp.maximum(half * jnp.sqrt(least) - radius, 0) ** 2
    upper = jnp.minimum((half * jnp.sqrt(error + blur) + radius) ** 2, energy + blur)
    return error, jnp.minimum(lower, error), jnp.maximum(upper, error), gap
