"""Sparse codes and their certificate: Eq. 3 / 6 of the paper.

For one probe block x and the dictionary Y (atoms as columns here), the solvers `active_set`, `homotopy`, `proximal` and
`feature_sign` solve

    minimise over w:  1/2 |x - Y w|^2 + l1 |w|_1                                                   (Eq. 6)

(Eq. 3 differs by a factor 2 in its beta; scikit-learn's Lasso divides the first term by the length of x, so its alpha
is l1 / d.) They never see x and Y themselves, only the Gram matrix Y'Y, the correlations Y'x and the energy x'x.

The certificate of codes w is their duality gap, which is at least 0 and 0 for exact codes, and an interval that holds
the exact squared error, whether the solver finished or not (definition and proof: `docs/mathematics.md`). The gap is
computed as a sum of small non-negative terms, so that nothing cancels in float32. Where |Y'x|_inf <= l1, w = 0 is exact
and the interval is a point. `active_set` has a second one, 20 to 30 times narrower on real maps: where the exact active
set is proven (no sign and no inactive atom is near enough to its bound for rounding to matter), the exact codes are
those of its linear system.

Rounding is part of the certificate: gap and interval are widened by what a few units of the arithmetic's precision in
each Y_j'r can do, which grows with |w|_1; at l1 = 0.4 a gap below about 5e-7 cannot be certified in float32.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dsr_jax.solvers._certificate_kernel import ERROR_UNITS, UNITS

EPS = float(np.finfo(np.float32).eps)


class Solution(NamedTuple):
    """What a solver returns for a dictionary of M atoms and N columns.

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


def check_l1(l1: Any, argument: str = "l1") -> None:
    """Checks the weight of the L1 penalty.

    Raises:
      ValueError: naming ``argument``, for anything but a finite number above zero.

    Example:
      >>> from dsr_jax.solvers import certificate
      >>> certificate.check_l1(0.0)
      Traceback (most recent call last):
      ValueError: l1 must be a positive number, got 0.0; the paper uses 0.4
    """
    if np.ndim(l1) or not hasattr(l1, "__float__") or not 0 < float(l1) < np.inf:
        raise ValueError(f"{argument} must be a positive number, got {l1!r}; the paper uses 0.4")


def rounding(length: int) -> float:
    """Error of a product of unit blocks of ``length`` channels, in units of the precision of their type.

    Measured: up to 36 at 2,048 channels and 66 at 5,000. Where many terms are equal, roundings add up instead of
    cancelling; the root of d covers what BLAS libraries, which sum in blocks, were seen to do.
    """
    return max(float(UNITS), float(np.sqrt(length)))


def slack(length: int) -> float:
    """What rounding of float32 products over ``length`` channels adds to the doubt about a squared error.

    Four units were seen to be one per cent too few where all terms are equal and vectors have 256 bits: six leave room.
    """
    return 6 * rounding(length) * EPS


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
