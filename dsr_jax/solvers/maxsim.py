"""MaxSim: the largest cosine of a probe block to any block of a dictionary, in place of a code.

    distance = 1 - mean over the probe's blocks x_n of max_j cos(x_n, y_j)

It is the limit of one atom: where a single atom of cosine c is active, a column's squared error is 1 + l1^2 - c^2. Late
interaction of ColBERT (Khattab, Zaharia 2020) by another name. No solver and no certificate: it is exact to rounding.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dsr_jax.solvers import certificate


def distances(
    correlation: Float[Array, "m n"], directed: Bool[Array, " m"], energy: Float[Array, " n"]
) -> Float[Array, " n"]:
    """One minus the largest correlation of each of N columns with the atoms that have a direction.

    Args:
      correlation: (M, N) of unit blocks.
      directed: (M,) which atoms have a direction; without any, every cosine is 0.
      energy: (N,) 1, or 0 of a column without a direction, whose distance is 0 as its error would be.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.solvers import maxsim
      >>> correlation = jnp.array([[0.5, -0.25], [0.75, -0.5], [0.0, 0.0]])
      >>> maxsim.distances(correlation, jnp.array([True, True, False]), jnp.ones(2)).round(2).tolist()
      [0.25, 1.25]
    """
    largest = jnp.max(jnp.where(directed[:, None], correlation, -jnp.inf), axis=0)
    return (1 - jnp.where(jnp.any(directed), largest, 0)) * energy


def widened(distance: np.ndarray, *, length: int, more: float = 0.0) -> np.ndarray:
    """Distance, lower, upper and gap, (4, ...): the distance widened by rounding, and the gap 0.

    A cosine is 1 at most, so a distance that rounding made negative is 0.

    Args:
      distance: means of distances of unit blocks of ``length`` channels.
      length: see ``distance``.
      more: what rounding of the means adds.
    """
    slack = certificate.slack(length) + more
    distance = np.maximum(distance, 0)
    return np.stack([distance, np.maximum(distance - slack, 0), distance + slack, np.zeros_like(distance)])
