"""Ridge coding, the closed form of the later PyTorch ports of the paper: another distance, without a certificate.

W = (Y'Y + kappa I)^-1 Y'X,   error = |x - Y w| (not squared), as the ports score
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

KAPPA = 1e-3


def errors(gram: Float[Array, "m m"], atoms: Float[Array, "m d"], columns: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Norms of the residuals of N columns on one dictionary, given with its Gram matrix."""
    ridged = gram + KAPPA * jnp.eye(len(gram), dtype=gram.dtype)
    codes = jax.scipy.linalg.solve(ridged, atoms @ columns.T, assume_a="pos")
    return jnp.linalg.norm(columns - codes.T @ atoms, axis=1)
