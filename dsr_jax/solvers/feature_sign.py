"""Feature-sign search: the exact active-set solver that the paper names for Eq. 6 (its reference [10]).

The codes of one column live on a short list of active atoms A with signs s. Each step moves the active coefficients
towards the solution of the linear system Y_A'Y_A w_A = Y_A'x - l1 s, stops at the best point of the line where a
coefficient crosses zero, drops what has become zero, and, once the system holds, lets in the atom that violates
|Y_j'r| <= l1 most. The objective falls with every step, so the search ends, at the exact solution.

Differences from Lee et al.: the linear system is solved as a proximal step, (Y_A'Y_A + delta I)^-1 on the residual of
the system, which has the same fixed point, needs no full rank (duplicate atoms, an average of active blocks) and
refines itself; and the list has ``max_active`` places, so that shapes are static. A column that needs more says so by
its gap.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from dsr_jax.solvers.certificate import UNITS, Solution, certify


class _State(NamedTuple):
    atoms: Any  # (K,) active atoms, M where the place is free
    values: Any  # (K,) their coefficients
    signs: Any  # (K,)
    steps: Any
    finished: Any


def feature_sign(
    gram: Float[Array, "m m"],
    correlation: Float[Array, "m n"],
    energy: Float[Array, " n"],
    *,
    l1: float,
    tol: float = 1e-6,
    max_steps: int = 200,
    max_active: int = 32,
) -> Solution:
    """Exact codes by feature-sign search, every column on its own active set.

    Args:
      gram: (M, M) Y'Y.
      correlation: (M, N) Y'X.
      energy: (N,) x'x.
      l1: weight of the L1 penalty, > 0.
      tol: an atom enters while it violates |Y_j'r| <= l1 by more than ``tol * l1`` and the rounding of Y_j'r, and the
        active system holds to the same accuracy.
      max_steps: largest number of steps of a column.
      max_active: places for active atoms; on real maps at most 20 are needed.

    Returns:
      A `certificate.Solution`.

    Source: Lee, Battle, Raina, Ng: Efficient sparse coding algorithms (NIPS 2006), Algorithm 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.solvers.feature_sign import feature_sign
      >>> solution = feature_sign(jnp.eye(2), jnp.array([[0.8], [0.6]]), jnp.ones(1), l1=0.4)
      >>> solution.codes.round(3).ravel().tolist()
      [0.4..., 0.2...]
    """
    places = min(max_active, gram.shape[0])
    search = functools.partial(_search, gram, l1=l1, tol=tol, max_steps=max_steps, places=places)
    codes, steps = jax.vmap(search, in_axes=1, out_axes=(1, 0))(correlation)
    return Solution(codes, *certify(codes, correlation - gram @ codes, correlation, energy, l1=l1), steps)


def _search(
    gram: jax.Array, correlation: jax.Array, *, l1: float, tol: float, max_steps: int, places: int
) -> tuple[jax.Array, jax.Array]:
    """One column: (M,) codes and the number of steps."""
    free, dtype = gram.shape[0], gram.dtype  # `free` marks a free place: it points at a zero atom
    eps = float(jnp.finfo(dtype).eps)
    padded = jnp.pad(gram, ((0, 1), (0, 1)))
    target = jnp.pad(correlation, (0, 1))
    # What rounding leaves of a correlation cannot be asked to vanish: units of the terms that it is a sum of.
    target_size, gram_size = jnp.max(jnp.abs(correlation)), jnp.max(jnp.diagonal(gram))

    def step(state: _State) -> _State:
        rows = padded[state.atoms]
        residual = target - state.values @ rows  # Y'r
        system = jnp.where(state.atoms < free, residual[state.atoms] - l1 * state.signs, 0)
        size = target_size + gram_size * jnp.sum(jnp.abs(state.values))
        slack = jnp.maximum(tol * l1, UNITS * eps * size)
        solved = jnp.max(jnp.abs(system)) <= slack
        violation = jnp.abs(residual).at[state.atoms].set(0)
        worst = jnp.argmax(violation)
        place = jnp.argmax(state.atoms == free)
        optimal = (violation[worst] <= l1 + slack) | jnp.all(state.atoms < free)
        enters = solved & ~optimal
        atoms = jnp.where(enters, state.atoms.at[place].set(worst.astype(jnp.int32)), state.atoms)
        signs = jnp.where(enters, state.signs.at[place].set(jnp.sign(residual[worst])), state.signs)
        active = atoms < free
        rows, system = padded[atoms], jnp.where(active, residual[atoms] - l1 * signs, 0)
        values = _move(rows[:, atoms], target[atoms], state.values, active, system, l1=l1)
        stays = active & (values != 0)
        moved = _State(
            jnp.where(stays, atoms, free),
            jnp.where(stays, values, 0),
            jnp.where(stays, jnp.sign(values), 0),
            state.steps + 1,
            jnp.bool_(False),
        )
        done = state._replace(finished=jnp.bool_(True))
        return jax.tree.map(lambda stop, go: jnp.where(solved & optimal, stop, go), done, moved)

    nothing = jnp.zeros(places, dtype)
    first = _State(jnp.full(places, free, jnp.int32), nothing, nothing, jnp.int32(0), jnp.bool_(False))
    final = lax.while_loop(lambda s: ~s.finished & (s.steps < max_steps), step, first)
    return jnp.zeros(free + 1, dtype).at[final.atoms].add(final.values)[:-1], final.steps


def _move(
    gram: jax.Array, target: jax.Array, values: jax.Array, active: jax.Array, system: jax.Array, *, l1: float
) -> jax.Array:
    """New coefficients: towards the active system's solution, to the best sign change on the way.

    ``gram`` (K, K) and ``target`` (K,) belong to the active atoms; ``system`` is what their linear system leaves over.
    """
    delta = float(jnp.finfo(gram.dtype).eps) ** 0.75
    diagonal = jnp.where(active, delta, 1.0).astype(gram.dtype)
    direction = jax.scipy.linalg.solve(gram + jnp.diag(diagonal), system, assume_a="pos")
    direction = jnp.where(active, direction, 0)
    crosses = values * direction < 0
    crossing = jnp.where(crosses, -values / jnp.where(crosses, direction, 1), 1)
    lengths = jnp.minimum(jnp.append(crossing, jnp.ones((), gram.dtype)), 1)
    points = values[None, :] + lengths[:, None] * direction[None, :]
    points = jnp.where(crosses[None, :] & (crossing[None, :] == lengths[:, None]), 0, points)
    objective = jnp.sum(points * (0.5 * points @ gram - target[None, :]) + l1 * jnp.abs(points), axis=1)
    return points[jnp.argmin(objective)]
