"""The path of the lasso's solutions on a few atoms, of many columns in lockstep: principal pivots, no linear solver.

With A the active atoms and s their signs, the solution at penalty l is linear in l until the next event:

    codes  w_A = p_A - l q_A,   correlations of the others  c_j = p_j - l q_j,   p = pivoted Y'x, q = pivoted s

A table holds -(Y_A'Y_A)^-1 in the active places, (Y_A'Y_A)^-1 Y_A'Y_j between active and other places and the Schur
complements of the others. An atom enters where |c_j| reaches l, and leaves where its code reaches 0: either is one
pivot, a rank-one update of the table and of p and q. The path starts at l = max |Y'x|, where w = 0, and ends at l1.

Atoms that move along with the active ones (duplicates, averages of active ones) reach l only by rounding, and do not
enter unless they exceed it by more than that. A Schur complement has a floor: where it is nearly zero, the pivot runs
far along the null space and ends where another coefficient vanishes, which is the exchange of atoms wanted.

Source: Osborne, Presnell, Turlach: A new approach to variable selection in least squares problems (2000); Efron,
Hastie, Johnstone, Tibshirani: Least angle regression (2004), with the lasso modification.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

ALONG = 1e-3  # how much slower than l a correlation must move to be met by it
ROUNDING = 16  # units of a number that a few pivots may have got wrong
REFINED = 2  # steps that take back what the pivots have gathered of rounding
FLOOR = 4  # units of an atom's energy below which its Schur complement is nothing but rounding


class Path(NamedTuple):
    """Where the paths of B columns ended.

    Attributes:
      codes: (P, B) codes of the P atoms.
      finished: (B,) whether the path reached l1.
      steps: (B,) int32 events on it.
    """

    codes: Float[Array, "p b"]
    finished: Bool[Array, " b"]
    steps: Int[Array, " b"]


class _State(NamedTuple):
    table: jax.Array  # (P, P, B)
    p: jax.Array  # (P, B)
    q: jax.Array  # (P, B)
    signs: jax.Array  # (P, B), 0 where not active
    left: jax.Array  # (P, B) whether the last event was that this place left
    level: jax.Array  # (B,) the penalty now
    finished: jax.Array  # (B,)
    steps: jax.Array  # (B,)


def follow(gram: Float[Array, "p p b"], correlation: Float[Array, "p b"], *, l1: float, max_steps: int) -> Path:
    """Follows the path of every column on its own P atoms, from no codes to those of l1.

    Columns are the last axis: each of the P x P numbers of a column's table is a number of a vector over the columns.

    Args:
      gram: (P, P, B) Y'Y of each column's atoms; atoms of zeros stay out.
      correlation: (P, B) Y'x.
      l1: weight of the L1 penalty, > 0.
      max_steps: largest number of events; a column that needs more ends on its way, with the codes of a larger l1.

    Returns:
      The `Path`.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.solvers import path
      >>> found = path.follow(jnp.eye(2)[..., None], jnp.array([[0.8], [0.6]]), l1=0.4, max_steps=9)
      >>> found.codes.round(3).ravel().tolist(), found.steps.tolist()
      ([0.4..., 0.2...], [2])
    """
    diagonal = jnp.diagonal(gram).T
    nothing = jnp.zeros_like(correlation)
    top = jnp.max(jnp.abs(correlation), axis=0)
    none = nothing > 0
    begin = _State(gram, correlation, nothing, nothing, none, top, top <= l1, jnp.zeros(top.shape, jnp.int32))

    def going(carry: tuple[jax.Array, _State]) -> jax.Array:
        return (carry[0] < max_steps) & ~jnp.all(carry[1].finished)

    def step(carry: tuple[jax.Array, _State]) -> tuple[jax.Array, _State]:
        return carry[0] + 1, _pivoted(carry[1], diagonal, l1)

    _, end = lax.while_loop(going, step, (jnp.int32(0), begin))
    active = end.signs != 0
    codes = jnp.where(active, end.p - end.level[None] * end.q, 0)
    for _ in range(REFINED):
        rest = correlation - jnp.sum(gram * codes[None], axis=1) - end.level[None] * end.signs
        codes = codes - jnp.where(active, jnp.sum(end.table * jnp.where(active, rest, 0)[None], axis=1), 0)
    return Path(codes, end.finished, end.steps)


def _due(state: _State, diagonal: jax.Array, level: jax.Array) -> jax.Array:
    """(P, B): places that are beyond their event at a level, by more than rounding."""
    p, q, signs = state.p, state.q, state.signs
    now = p - level[None] * q
    doubt = ROUNDING * float(jnp.finfo(p.dtype).eps) * (jnp.abs(p) + level[None] * (jnp.abs(q) + 1))
    beyond = (jnp.abs(now) > level[None] + doubt) & (diagonal > 0)
    return jnp.where(signs != 0, signs * now < -doubt, beyond)


def _levels(state: _State, diagonal: jax.Array) -> jax.Array:
    """(P, B): the penalty at which each place has its next event; below 0 where it has none."""
    p, q, signs = state.p, state.q, state.signs
    never = -jnp.ones_like(p)
    up, down = 1 + q, 1 - q
    met = jnp.maximum(
        jnp.where(up > ALONG, p / jnp.where(up > ALONG, up, 1), never),
        jnp.where(down > ALONG, -p / jnp.where(down > ALONG, down, 1), never),
    )
    enters = jnp.where(state.left | (diagonal <= 0), never, met)
    leaves = jnp.where(signs * q < 0, p / jnp.where(q == 0, 1, q), never)
    return jnp.minimum(jnp.where(signs != 0, leaves, enters), state.level[None])


def _pivoted(state: _State, diagonal: jax.Array, l1: float) -> _State:
    """The state after the next event of every column that is not finished.

    Sums over one place pick it: XLA makes vector code of them, where a gather would be one number after the other.
    """
    places = lax.broadcasted_iota(jnp.int32, state.p.shape, 0)
    due = _due(state, diagonal, state.level)
    levels = jnp.where(due, state.level[None], _levels(state, diagonal))
    top = jnp.max(levels, axis=0)
    first = jnp.min(jnp.where(levels == top[None], places, jnp.int32(len(places))), axis=0)
    last = jnp.full_like(top, l1)
    at_end = (top <= last) & ~jnp.any(due, axis=0)
    level = jnp.where(at_end, last, top)
    moves = ~(state.finished | at_end)
    chosen = places == first[None]
    column = jnp.sum(jnp.where(chosen[None], state.table, 0), axis=1)
    pivot, p, q, sign, energy = (
        jnp.sum(jnp.where(chosen, part, 0), axis=0) for part in (column, state.p, state.q, state.signs, diagonal)
    )
    leaves = sign != 0
    floor = FLOOR * float(jnp.finfo(p.dtype).eps) * energy
    pivot = jnp.where(leaves, pivot, jnp.maximum(pivot, floor))
    share = jnp.where(moves & (pivot != 0), 1 / jnp.where(pivot != 0, pivot, 1), 0)  # 0: nothing moves
    entering = jnp.where(leaves, 0, jnp.where(p > level * q, 1, -1)).astype(p.dtype)
    turned = jnp.where(leaves, -share, share)
    q = q + entering
    chosen &= moves[None]
    row, both = chosen[:, None] | chosen[None], chosen[:, None] & chosen[None]
    crossed = turned[None, None] * jnp.where(chosen[None], column[:, None], column[None])
    table = jnp.where(
        both, -share[None, None], jnp.where(row, crossed, state.table - column[:, None] * (column * share[None])[None])
    )
    return _State(
        table,
        jnp.where(chosen, (turned * p)[None], state.p - column * (share * p)[None]),
        jnp.where(chosen, (turned * q - jnp.where(leaves, sign, 0))[None], state.q - column * (share * q)[None]),
        jnp.where(chosen, entering[None], state.signs),
        chosen & leaves[None],
        jnp.where(state.finished, state.level, level),
        state.finished | (at_end & ~jnp.any(_due(state, diagonal, last), axis=0)),
        state.steps + moves.astype(jnp.int32),
    )
