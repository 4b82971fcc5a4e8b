"""Differentiable distance: Eq. 4, with the gradient of Eq. 7.

    distance = 1/N sum_n |x_n - Y w_n|^2,   w_n = argmin_w 1/2 |x_n - Y w|^2 + l1 |w|_1

The codes are solved once, exactly, in the forward pass. The backward pass never differentiates through the solver:

* ``gradient="envelope"`` (Eq. 7) keeps the codes fixed: d/dX = 2/N (X - YW), d/dY = -2/N (X - YW) W'. By Danskin's
  theorem it is the exact gradient of twice the coding minimum of Eq. 6, averaged over the N columns.
* ``gradient="implicit"`` lets the codes move with X and Y on their active set A with signs s, where
  Y_A'(x - Y_A w_A) = l1 s. With v_A = l1 (Y_A'Y_A)^-1 s it is the exact gradient of Eq. 4 itself:
  d/dx = 2/N (r - Y v), d/dY = 2/N (-r w' - r v' + Y v w').
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dsr_jax import blocks
from dsr_jax.solvers import certificate, table

__all__ = ["GRADIENTS", "Coding", "check_blocks", "distance", "measured", "solve"]

GRADIENTS = ("envelope", "implicit")


class Coding(NamedTuple):
    """What the codes behind a distance are like: means over the probe's blocks; without gradient.

    Attributes:
      nonzero: non-zero codes per probe block.
      gap: duality gap of Eq. 6, see `certificate`.
    """

    nonzero: Float[Array, "*p"]
    gap: Float[Array, "*p"]


class _Options(NamedTuple):
    l1: float
    tol: float
    coder: str
    gradient: str


def distance(
    probe_blocks: Float[Array, "*p n d"],
    gallery_blocks: Float[Array, "m d"],
    *,
    l1: float = 0.4,
    valid: Bool[Array, "*p n"] | None = None,
    tol: float = 1e-6,
    coder: str = "auto",
    gradient: str = "envelope",
) -> Float[Array, "*p"]:
    """Mean squared error of rebuilding the probe's blocks sparsely from the gallery image's (Eq. 4).

    Differentiable in both blocks; jit, vmap, grad and `jax.checkpoint` work. One solve, forward only.

    Args:
      probe_blocks: (N, d) unit-length blocks of the probe (see `blocks.cut`), or (P, N, d) of several probes, which
        are coded together: in XLA twice as fast as by `jax.vmap`.
      gallery_blocks: (M, d) unit-length blocks of the gallery image; zero rows are inert.
      l1: weight of the L1 penalty, the paper's beta.
      valid: (N,) or (P, N) which probe blocks are real; default: all. The mean is over those of them that are not zero:
        a block of zeros has no direction.
      tol: accuracy of the coder.
      coder: "auto" (active_set on CPU, homotopy elsewhere), "active_set" (exact, compiled, on the host), "homotopy"
        (exact, XLA), "feature_sign" (the paper's) or "proximal" (first-order).
      gradient: "envelope" (Eq. 7, the paper) or "implicit" (the exact gradient of this function).

    Returns:
      The distance, in [0, 1] for unit blocks: a scalar, or (P,). Inside a transformation (`jit`, `vmap`, `grad`), where
      nothing can be raised, a probe without any block to count has the distance NaN, and no gradient.

    Raises:
      ValueError: if ``l1`` is not positive, the blocks do not fit together, a name is unknown, or no probe block is
        left to count.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax import reconstruction
      >>> x, y = jnp.array([[1.0, 0.0]]), jnp.array([[0.8, 0.6]])
      >>> round(float(reconstruction.distance(x, y)), 3)  # w = 0.8 - 0.4
      0.52
      >>> jax.grad(reconstruction.distance)(x, y).round(2)
      Array([[ 1.36, -0.48]], dtype=float32)
    """
    return _measured(probe_blocks, gallery_blocks, valid, _Options(l1, tol, coder, gradient))[0]


def measured(
    probe_blocks: Float[Array, "*p n d"],
    gallery_blocks: Float[Array, "m d"],
    *,
    l1: float = 0.4,
    valid: Bool[Array, "*p n"] | None = None,
    tol: float = 1e-6,
    coder: str = "auto",
    gradient: str = "envelope",
) -> tuple[Float[Array, "*p"], Coding]:
    """The distance, and what its codes are like: from one solve.

    Args:
      probe_blocks: (N, d) or (P, N, d) unit-length blocks of the probe, or of several.
      gallery_blocks: (M, d) unit-length blocks of the gallery image; zero rows are inert.
      l1: weight of the L1 penalty, the paper's beta.
      valid: (N,) or (P, N) which probe blocks are real; default: all.
      tol: accuracy of the coder.
      coder: "auto" or the name of a solver, see `distance`.
      gradient: "envelope" (Eq. 7, the paper) or "implicit" (the exact gradient of the distance).

    Returns:
      The distance, which is differentiable, and its `Coding`, which is not.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import reconstruction
      >>> blocks = jnp.eye(3)
      >>> distance, coding = reconstruction.measured(blocks[:2], blocks[1:])  # the first is rebuilt from nothing
      >>> round(float(distance), 2), float(coding.nonzero)
      (0.58, 0.5)
    """
    return _measured(probe_blocks, gallery_blocks, valid, _Options(l1, tol, coder, gradient))


def solve(
    probe_blocks: Float[Array, "n d"],
    gallery_blocks: Float[Array, "m d"],
    *,
    l1: float = 0.4,
    tol: float = 1e-6,
    coder: str = "auto",
) -> certificate.Solution:
    """Codes of every probe block on the gallery image's blocks, with their certificate (Eq. 6).

    Args:
      probe_blocks: (N, d) unit-length blocks of the probe.
      gallery_blocks: (M, d) unit-length blocks of the gallery image; zero rows are inert.
      l1: weight of the L1 penalty, the paper's beta.
      tol: accuracy of the coder.
      coder: "auto" or the name of a solver, see `distance`.

    Returns:
      A `certificate.Solution`; its codes are (M, N).

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import reconstruction
      >>> reconstruction.solve(jnp.array([[1.0, 0.0]]), jnp.array([[0.8, 0.6]])).codes.round(3).tolist()
      [[0.4...]]
    """
    probe_blocks, gallery_blocks = jnp.asarray(probe_blocks), jnp.asarray(gallery_blocks)
    check_blocks(probe_blocks, gallery_blocks, l1)
    solver = table.SOLVERS[table.choose(coder, use="training")].solve
    with jax.default_matmul_precision("highest"):  # on accelerators the default is too coarse for the certificate
        gram, correlation = gallery_blocks @ gallery_blocks.T, gallery_blocks @ probe_blocks.T
        energy = jnp.sum(probe_blocks * probe_blocks, axis=1)
        return solver(gram, correlation, energy, l1=l1, tol=tol)


def check_blocks(probe_blocks: jax.Array, gallery_blocks: jax.Array, l1: float) -> None:
    """Raises ValueError where blocks of these shapes and types cannot be matched."""
    blocks.check_pair(probe_blocks, gallery_blocks)
    certificate.check_l1(l1)


def _measured(
    probe_blocks: Any, gallery_blocks: Any, valid: jax.Array | None, options: _Options
) -> tuple[jax.Array, Coding]:
    given, gallery_blocks = jnp.asarray(probe_blocks), jnp.asarray(gallery_blocks)
    probes = given if given.ndim == 3 else given[None]
    check_blocks(given.reshape(-1, given.shape[-1]) if given.ndim == 3 else given, gallery_blocks, options.l1)
    if options.gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {GRADIENTS}, got {options.gradient!r}")
    shares, seen = blocks.shares(given, valid)
    options = options._replace(l1=float(options.l1), tol=float(options.tol))
    columns, each = probes.reshape(-1, probes.shape[2]), shares.reshape(probes.shape[:2])
    means, coding = _distances(options, columns, gallery_blocks, each)
    found = jnp.where(seen.reshape(-1), means, jnp.nan), coding
    return found if given.ndim == 3 else jax.tree.map(lambda each: each[0], found)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _distances(options: _Options, probes: jax.Array, gallery: jax.Array, shares: jax.Array) -> tuple[jax.Array, Coding]:
    """(P,) sums over the columns (P N, d) of P probes, each of which has its share (P, N)."""
    return _forward(options, probes, gallery, shares)[0]


def _forward(
    options: _Options, probes: jax.Array, gallery: jax.Array, shares: jax.Array
) -> tuple[tuple[jax.Array, Coding], tuple]:
    solution = solve(probes, gallery, l1=options.l1, tol=options.tol, coder=options.coder)
    codes = solution.codes
    residual = probes - codes.T @ gallery

    def mean(columns: jax.Array) -> jax.Array:
        return jnp.sum(shares * columns.reshape(shares.shape), axis=1)

    nonzero = jnp.sum(codes != 0, axis=0).astype(shares.dtype)
    coding = Coding(mean(nonzero), mean(solution.gap))
    return (mean(jnp.sum(residual * residual, axis=1)), coding), (codes, residual, gallery, shares)


def _backward(
    options: _Options, saved: tuple, cotangents: tuple[jax.Array, Coding]
) -> tuple[jax.Array, jax.Array, None]:
    codes, residual, gallery, shares = saved
    cotangent, _ = cotangents  # nothing is learnt from what the codes are like
    each = (2 * cotangent[:, None] * shares).reshape(-1, 1)
    weighted = each * residual
    if options.gradient == "envelope":
        return weighted, -codes @ weighted, None
    shift = _shift(codes, gallery @ gallery.T, l1=options.l1)
    moved = each * (shift.T @ gallery)
    return weighted - moved, -(codes + shift) @ weighted + codes @ moved, None


def _shift(codes: jax.Array, gram: jax.Array, *, l1: float) -> jax.Array:
    """v of the implicit gradient, (M, N): l1 (Y_A'Y_A)^-1 s on each column's active set, zero elsewhere.

    The diagonal is raised by the rounding of the factorisation, so that equal atoms, all active, share instead of fail.
    """
    eps = float(jnp.finfo(gram.dtype).eps)

    def column(code: jax.Array) -> jax.Array:
        active = code != 0
        matrix = jnp.where(active[:, None] & active[None, :], gram, 0)
        raised = 2 * eps * jnp.sum(active).astype(gram.dtype)
        matrix = matrix + jnp.diag(jnp.where(active, raised, jnp.ones((), gram.dtype)))
        return jnp.where(active, jax.scipy.linalg.solve(matrix, l1 * jnp.sign(code), assume_a="pos"), 0)

    return jax.vmap(column, in_axes=1, out_axes=1)(codes)


_distances.defvjp(_forward, _backward)
