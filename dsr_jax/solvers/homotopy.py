"""Homotopy on working sets: the exact solver of every backend, pure JAX, all columns in lockstep.

A column needs few atoms. Those most correlated with it are its working set, on which `path` follows its solution from
no codes to l1; one matrix product then gives the correlations of what is left with all atoms. Where none exceeds l1
the codes are those of the whole dictionary. Else the atoms that do join the active ones in the next working set: the
objective falls, no set comes twice, so the search ends at the exact solution.

Columns with |Y'x| <= l1 are solved by no codes and never start. The others go through stages of larger and larger
working sets, at each of which the columns that still need it are gathered, some at a time, so that few columns with
many atoms do not hold up the rest. In the last one the working set is the whole dictionary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from dsr_jax.solvers import path
from dsr_jax.solvers.certificate import UNITS, Solution, certify


class Stage(NamedTuple):
    """One of the stages that columns go through.

    Attributes:
      places: atoms of a working set.
      max_steps: largest number of events on one path.
      rounds: working sets that a column may have, one after another.
      share: of the columns, how many are coded at once.
      least: columns that are coded at once in any case, where there are so many.
    """

    places: int
    max_steps: int
    rounds: int
    share: float
    least: int


STAGES = (
    Stage(places=4, max_steps=5, rounds=1, share=1 / 8, least=64),
    Stage(places=8, max_steps=14, rounds=2, share=1 / 16, least=32),
    Stage(places=24, max_steps=60, rounds=4, share=1 / 32, least=16),
)
# On an accelerator it is the number of steps that takes time, not that of the columns in each.
WIDE = tuple(stage._replace(share=share) for stage, share in zip(STAGES, (1, 1 / 4, 1 / 8), strict=True))
WIDER = 3  # a stage is left out where the dictionary has fewer atoms than so many times its places
ROOM = 4 * 96**2  # numbers in the tables of the last stage, if one table is not larger


class _Coded(NamedTuple):
    """Codes of N columns, with their figures."""

    codes: jax.Array  # (M, N)
    figures: tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # error, lower, upper, gap, each (N,)
    steps: jax.Array  # (N,)
    pending: jax.Array  # (N,)


class _Attempt(NamedTuple):
    """Codes of W columns on their working sets, and what they leave."""

    codes: jax.Array  # (M, W)
    residual: jax.Array  # (M, W) Y'r
    steps: jax.Array  # (W,)
    solved: jax.Array  # (W,)


def homotopy(
    gram: Float[Array, "m m"],
    correlation: Float[Array, "m n"],
    energy: Float[Array, " n"],
    *,
    l1: float,
    tol: float = 1e-6,
    stages: tuple[Stage, ...] | None = None,
) -> Solution:
    """Exact codes by path-following on working sets.

    Pure: jit, vmap and batching over dictionaries work. For differentiation see `reconstruction`.

    Args:
      gram: (M, M) Y'Y.
      correlation: (M, N) Y'X.
      energy: (N,) x'x, one per column; 1 for unit blocks, 0 for padding.
      l1: weight of the L1 penalty, > 0.
      tol: how far, relative to l1, an atom outside a working set may exceed l1.
      stages: what columns go through before the last stage; only sets much smaller than the dictionary are tried.
        Default: `STAGES` on a CPU, `WIDE` elsewhere.

    Returns:
      A `certificate.Solution`; its steps are the events on all paths of a column.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax.solvers.homotopy import homotopy
      >>> solution = homotopy(jnp.eye(2), jnp.array([[0.8], [0.6]]), jnp.ones(1), l1=0.4)
      >>> solution.codes.round(3).ravel().tolist(), round(float(solution.error[0]), 3)
      ([0.4..., 0.2...], 0.32...)
    """
    if stages is None:
        stages = STAGES if jax.default_backend() == "cpu" else WIDE
    codes = jnp.zeros_like(correlation)
    coded = _Coded(
        codes,
        certify(codes, correlation, correlation, energy, l1=l1),
        jnp.zeros(len(energy), jnp.int32),
        jnp.max(jnp.abs(correlation), axis=0) > l1,
    )
    atoms = len(gram)
    last = Stage(places=atoms, max_steps=8 * atoms + 100, rounds=1, share=0, least=max(1, ROOM // atoms**2))
    for stage in (*(stage for stage in stages if WIDER * stage.places <= atoms), last):
        coded = _staged(gram, correlation, energy, coded, stage, l1=l1, tol=tol)
    error, lower, upper, gap = coded.figures
    return Solution(coded.codes, error, lower, upper, gap, coded.steps)


def _staged(
    gram: jax.Array,
    correlation: jax.Array,
    energy: jax.Array,
    coded: _Coded,
    stage: Stage,
    *,
    l1: float,
    tol: float,
) -> _Coded:
    """Codes the pending columns, some at a time."""
    columns = len(energy)
    width = min(columns, max(stage.least, int(columns * stage.share)))
    count = jnp.sum(coded.pending, dtype=jnp.int32)
    order = jnp.argsort(~coded.pending, stable=True).astype(jnp.int32)
    order = jnp.where(jnp.arange(columns, dtype=jnp.int32) < count, order, jnp.int32(columns))
    order = jnp.pad(order, (0, -columns % width), constant_values=columns)

    def some(carry: tuple[jax.Array, _Coded]) -> tuple[jax.Array, _Coded]:
        turn, coded = carry
        which = lax.dynamic_slice(order, (turn * width,), (width,))
        chosen, x = jnp.take(correlation, which, axis=1, mode="clip"), jnp.take(energy, which, mode="clip")
        found = _attempted(gram, chosen, x, which < columns, stage, l1=l1, tol=tol)
        figures = certify(found.codes, found.residual, chosen, x, l1=l1)
        better = figures[3] <= jnp.take(coded.figures[3], which, mode="clip")
        where = jnp.where(better, which, columns)  # out of range: not written
        error, lower, upper, gap = (
            old.at[where].set(new, mode="drop") for old, new in zip(coded.figures, figures, strict=True)
        )
        return turn + 1, _Coded(
            coded.codes.at[:, where].set(found.codes, mode="drop"),
            (error, lower, upper, gap),
            coded.steps.at[which].add(found.steps, mode="drop"),
            coded.pending.at[which].set(~found.solved, mode="drop"),
        )

    return lax.while_loop(lambda carry: carry[0] * width < count, some, (jnp.int32(0), coded))[1]


def _attempted(
    gram: jax.Array, correlation: jax.Array, energy: jax.Array, live: jax.Array, stage: Stage, *, l1: float, tol: float
) -> _Attempt:
    """Codes some columns on one working set after another."""
    eps = float(jnp.finfo(gram.dtype).eps)

    def going(carry: tuple[jax.Array, _Attempt]) -> jax.Array:
        return (carry[0] < stage.rounds) & ~jnp.all(carry[1].solved)

    def again(carry: tuple[jax.Array, _Attempt]) -> tuple[jax.Array, _Attempt]:
        turn, last = carry
        atoms = _largest(jnp.where(last.codes != 0, jnp.inf, jnp.abs(last.residual)), stage.places)
        found = path.follow(
            gram[atoms[:, None], atoms[None]],
            jnp.take_along_axis(correlation, atoms, axis=0),
            l1=l1,
            max_steps=stage.max_steps,
        )
        codes = _dense(atoms, found.codes, len(gram))
        residual = correlation - gram @ codes
        doubt = UNITS * eps * (jnp.sqrt(energy) + jnp.sum(jnp.abs(codes), axis=0))
        solved = found.finished & (jnp.max(jnp.abs(residual), axis=0) <= l1 + jnp.maximum(tol * l1, 4 * doubt))
        new = _Attempt(codes, residual, last.steps + found.steps, last.solved | solved)
        return turn + 1, _Attempt(*(_kept(last.solved, old, fresh) for old, fresh in zip(last, new, strict=True)))

    begin = _Attempt(jnp.zeros_like(correlation), correlation, jnp.zeros(len(energy), jnp.int32), ~live)
    return lax.while_loop(going, again, (jnp.int32(0), begin))[1]


def _kept(keep: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """The old figures of the columns to keep, the new ones of the others; columns are the last axis."""
    return jnp.where(jnp.broadcast_to(keep, old.shape), old, new)


def _largest(values: jax.Array, count: int) -> jax.Array:
    """(count, W) int32 places of the largest of (M, W) values, each below the one before: passes of two reductions."""
    rows = lax.broadcasted_iota(jnp.int32, values.shape, 0)

    def next_one(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        top, place = carry
        left = jnp.where((values < top[None]) | ((values == top[None]) & (rows > place[None])), values, -1.0)
        top = jnp.max(left, axis=0)
        place = jnp.min(jnp.where(left == top[None], rows, jnp.int32(len(values))), axis=0)
        return (top, place), place

    begin = jnp.full(values.shape[1], jnp.inf, values.dtype), jnp.full(values.shape[1], -1, jnp.int32)
    return lax.scan(next_one, begin, None, length=count)[1]


def _dense(atoms: jax.Array, values: jax.Array, count: int) -> jax.Array:
    """(count, W) codes from the codes (P, W) of chosen atoms; by comparison, which is vector code, not by scatter."""
    rows = lax.broadcasted_iota(jnp.int32, (count, values.shape[1]), 0)

    def add(codes: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return codes + jnp.where(rows == one[0][None], one[1][None], 0), None

    return lax.scan(add, jnp.zeros(rows.shape, values.dtype), (atoms, values), unroll=4)[0]
