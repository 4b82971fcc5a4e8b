"""MaxSim as a differentiable distance, the rival of `reconstruction`: the largest cosines in place of codes.

    distance = 1 - mean over the probe's blocks x_n of max_j cos(x_n, y_j)

Unit blocks in, one number out, as from `reconstruction.distance`; it takes that one's place in `losses.verification`
and `losses.ranking`. The gradient of a maximum goes to the largest cosine (of equal ones to the last): a subgradient.
It is written by hand: a column's gradient is one row of the other side, where that of a maximum over a product is
another two products of the same size (ten times slower on a CPU, docs/performance.md).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dsr_jax import blocks

__all__ = ["distance"]


def distance(
    probe_blocks: Float[Array, "*p n d"],
    gallery_blocks: Float[Array, "m d"],
    *,
    valid: Bool[Array, "*p n"] | None = None,
) -> Float[Array, "*p"]:
    """One minus the mean largest cosine of the probe's blocks to the gallery image's.

    Differentiable in both blocks; jit, vmap and grad work (jvp does not).

    Args:
      probe_blocks: (N, d) unit-length blocks of the probe (see `blocks.cut`), or (P, N, d) of several probes.
      gallery_blocks: (M, d) unit-length blocks of the gallery image; zero rows take no part. Without any other, every
        cosine is 0.
      valid: (N,) or (P, N) which probe blocks are real; default: all. The mean is over those of them that are not zero.

    Returns:
      The distance, in [0, 2] for unit blocks, in [0, 1] for non-negative ones: a scalar, or (P,). Inside a
      transformation, where nothing can be raised, a probe without any block to count has the distance NaN.

    Raises:
      ValueError: if the blocks do not fit together, or no probe block is left to count.

    References:
      Khattab, Zaharia: ColBERT, 2020, Sec. 3.3 (late interaction).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import maxsim
      >>> x, y = jnp.array([[1.0, 0.0]]), jnp.array([[0.8, 0.6], [0.0, 1.0]])
      >>> round(float(maxsim.distance(x, y)), 3)
      0.2
      >>> abs(jax.grad(maxsim.distance, argnums=1)(x, y)).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    probe_blocks, gallery_blocks = jnp.asarray(probe_blocks), jnp.asarray(gallery_blocks)
    columns = probe_blocks.reshape(-1, probe_blocks.shape[-1]) if probe_blocks.ndim == 3 else probe_blocks
    blocks.check_pair(columns, gallery_blocks)
    shares, seen = blocks.shares(probe_blocks, valid)
    each = 1 - _largest(columns, gallery_blocks).reshape(shares.shape)
    return jnp.where(seen, jnp.sum(shares * each, axis=-1), jnp.nan)


@jax.custom_vjp
def _largest(columns: jax.Array, atoms: jax.Array) -> jax.Array:
    """(N,) the largest product of each row of ``columns`` with a row of ``atoms`` that is not zero; 0 if all are."""
    return _found(columns, atoms)[0]


def _found(columns: jax.Array, atoms: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The same, and what its gradient needs: which row of ``atoms`` it was, -1 for none."""
    directed = jnp.any(atoms != 0, axis=1)
    with jax.default_matmul_precision("highest"):
        correlation = jnp.where(directed[:, None], atoms @ columns.T, -jnp.inf)
    largest = jnp.max(correlation, axis=0)
    # A maximum over numbers, which compiles to vector instructions, as argmax does not.
    rows = jnp.arange(len(atoms))[:, None]
    row = jnp.max(jnp.where((correlation == largest[None]) & directed[:, None], rows, -1), axis=0)
    return jnp.where(jnp.any(directed), largest, 0), (columns, atoms, row)


def _slopes(found: tuple[jax.Array, ...], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    columns, atoms, row = found
    # Nothing is the largest where no atom has a direction, and where there is NaN, which is passed on.
    nothing = jnp.where(jnp.any(atoms != 0), jnp.nan, 0)
    weight = (slope * jnp.where(row >= 0, 1, nothing))[:, None]
    return weight * atoms[row], jax.ops.segment_sum(weight * columns, row, num_segments=len(atoms))


_largest.defvjp(_found, _slopes)
