"""Proximal gradient with an active-set finish: batched matrix products all the way.

First-order steps (FISTA) find out which atoms matter; on ill-conditioned dictionaries, where a multi-scale block is
nearly an average of others, they need thousands more for the coefficients, and a gap of 1e-6 still leaves 1e-4 of the
distance open. So they stop early, `feature_sign` solves the small system of the atoms found, and only columns that it
leaves unfinished go on to ``tol``. The result is exact but for rounding, like that of the active-set solvers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from dsr_jax.solvers.certificate import Solution, certify
from dsr_jax.solvers.feature_sign import feature_sign

ROUGH, PLACES = 1e-3, 32  # gap at which the active set takes over, and its places for atoms


def proximal(
    gram: Float[Array, "m m"],
    correlation: Float[Array, "m n"],
    energy: Float[Array, " n"],
    *,
    l1: float,
    tol: float = 1e-6,
    max_steps: int = 2000,
) -> Solution:
    """Codes by proximal gradient, finished on their active set.

    Pure: jit, vmap and batching over dictionaries work. For differentiation see `reconstruction`.

    Args:
      gram: (M, M) Y'Y.
      correlation: (M, N) Y'X.
      energy: (N,) x'x, one per column; 1 for unit blocks, 0 for padding.
      l1: weight of the L1 penalty, > 0.
      tol: gap at which a column is finished that its active set did not finish: one with too many atoms. The others
        are exact but for rounding, whatever gap that allows to certify (about 1e-6 in float32 at l1 = 0.4).
      max_steps: largest number of steps of each of the three stages (200 at most of the second); a column that is not
        finished then says so by its gap and interval.

    Returns:
      A `Solution`; its steps are those of all stages.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.solvers.proximal import proximal
      >>> solution = proximal(jnp.eye(2), jnp.array([[0.8], [0.6]]), jnp.ones(1), l1=0.4)
      >>> solution.codes.round(3).ravel().tolist(), round(float(solution.error[0]), 3)
      ([0.4..., 0.2...], 0.32...)
    """
    problem = gram, correlation, energy
    rough = fista(*problem, l1=l1, tol=max(tol, ROUGH), max_steps=max_steps)
    limit = min(max_steps, 200)
    finished = feature_sign(*problem, l1=l1, tol=min(tol, 1e-6), max_steps=limit, max_active=PLACES, start=rough.codes)
    within = (finished.steps < limit) & (jnp.sum(finished.codes != 0, axis=0) < PLACES)
    codes = jnp.where(within | (finished.gap <= rough.gap), finished.codes, rough.codes)
    last = fista(*problem, l1=l1, tol=tol, max_steps=max_steps, start=codes, finished=within)
    return last._replace(steps=rough.steps + finished.steps + last.steps)


def fista(
    gram: Float[Array, "m m"],
    correlation: Float[Array, "m n"],
    energy: Float[Array, " n"],
    *,
    l1: float,
    tol: float,
    max_steps: int,
    start: Float[Array, "m n"] | None = None,
    finished: Bool[Array, " n"] | None = None,
) -> Solution:
    """Proximal gradient (FISTA) with restart; every column stops by its own duality gap and is then frozen.

    One step is z = soft(v + (Y'x - Y'Y v) / L, l1 / L), with L the exact largest eigenvalue of Y'Y and v the
    extrapolated point; momentum restarts for a column when it points uphill.

    Args:
      gram: (M, M) Y'Y.
      correlation: (M, N) Y'X.
      energy: (N,) x'x.
      l1: weight of the L1 penalty, > 0.
      tol: gap at which a column is finished.
      max_steps: largest number of steps.
      start: (M, N) codes to begin with; default: zero.
      finished: (N,) columns that keep these codes; default: none.

    Returns:
      A `certificate.Solution`.

    Source: Beck, Teboulle: FISTA (2009); O'Donoghue, Candes: adaptive restart (2015).
    """
    lipschitz = jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], jnp.finfo(gram.dtype).tiny) * (1 + 1e-5)

    class State(NamedTuple):
        codes: jax.Array
        image: jax.Array  # Y'Y codes
        point: jax.Array  # extrapolated
        point_image: jax.Array
        momentum: jax.Array
        finished: jax.Array
        steps: jax.Array
        step: jax.Array

    def advance(state: State) -> State:
        trial = state.point + (correlation - state.point_image) / lipschitz
        codes = jnp.sign(trial) * jnp.maximum(jnp.abs(trial) - l1 / lipschitz, 0)
        image = gram @ codes
        uphill = jnp.sum((state.point - codes) * (codes - state.codes), axis=0) > 0
        momentum = jnp.where(uphill, 1.0, 0.5 * (1 + jnp.sqrt(1 + 4 * state.momentum**2)))
        weight = jnp.where(uphill, 0.0, (state.momentum - 1) / momentum)
        weight, momentum = weight.astype(codes.dtype), momentum.astype(codes.dtype)
        gap = certify(codes, correlation - image, correlation, energy, l1=l1)[3]
        new = State(
            codes,
            image,
            codes + weight[None, :] * (codes - state.codes),
            image + weight[None, :] * (image - state.image),
            momentum,
            state.finished | (gap <= tol),
            state.steps + 1,
            state.step,
        )
        frozen = [jnp.where(state.finished, old, fresh) for old, fresh in zip(state[:-1], new[:-1], strict=True)]
        return State._make([*frozen, state.step + 1])

    codes = jnp.zeros_like(correlation) if start is None else start
    image = gram @ codes
    done = certify(codes, correlation - image, correlation, energy, l1=l1)[3] <= tol
    begin = State(
        codes,
        image,
        codes,
        image,
        jnp.ones_like(energy),
        done if finished is None else done | finished,
        jnp.zeros(energy.shape, jnp.int32),
        jnp.int32(0),
    )
    final = lax.while_loop(lambda s: (s.step < max_steps) & ~jnp.all(s.finished), advance, begin)
    certificate = certify(final.codes, correlation - final.image, correlation, energy, l1=l1)
    return Solution(final.codes, *certificate, final.steps)
