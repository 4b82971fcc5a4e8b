"""Programs of the engine in XLA: from positions on the device to the figures of pairs.

Pooling commutes with correlation. A block is a weighted sum of the positions in its window, the weight being one over
the block's length. So with B the (M, R) weights of an entry and Z its (R, d) positions, its blocks are B Z, their Gram
matrix is B (Z Z') B', and their correlations with a probe's blocks are B (Z Z_p') B_p'. Only positions are multiplied
over the d channels, and only positions are kept: several scales cost little more than one (`docs/mathematics.md`).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dsr_jax.matching.padded import Padded
from dsr_jax.parallel import sharding
from dsr_jax.solvers import certificate, maxsim
from dsr_jax.solvers.table import SOLVERS

UNIT = 128  # parts of a squared error, of which sums are exact


class Side(NamedTuple):
    """Some entries on the device, see `padded.Padded`.

    Attributes:
      rows: (S, R, d) positions.
      places: (S, R, 3) where each lies, None where every block is a position.
      windows: (S, M, 4) what each block pools, None as above.
      inverse: (S, M) one over the length of each block's sum of positions; 0 of a block without a direction.
    """

    rows: Float[Array, "s r d"]
    places: Int[Array, "s r 3"] | None
    windows: Int[Array, "s m 4"] | None
    inverse: Float[Array, "s m"]

    def at(self, numbers: Any) -> "Side":
        """The entries of these numbers."""
        return jax.tree.map(lambda part: part[numbers], self)


class Certificates(NamedTuple):
    """Certified squared errors of C columns on T dictionaries, each (T, C)."""

    error: Any
    lower: Any
    upper: Any
    gap: Any


def side(tile: Padded, mesh: Mesh, *, shared: bool = False) -> Side:
    """A tile on the mesh: each device has its slice of the entries or, if they are ``shared``, all of them."""
    put = sharding.replicated if shared else sharding.entries
    rows, places, windows = jax.tree.map(lambda part: put(part, mesh), tile[1:])
    return Side(rows, places, windows, _inverse(rows, places, windows, mesh=None if shared else mesh))


@functools.partial(jax.jit, static_argnames="mesh")
def _inverse(rows: jax.Array, places: Any, windows: Any, *, mesh: Mesh | None) -> jax.Array:
    """One over the lengths of the sums of positions."""

    def lengths(rows: jax.Array, places: Any, windows: Any) -> jax.Array:
        if windows is None:
            squares = jnp.sum(rows * rows, axis=2)
        else:
            inside = _inside(places, windows).astype(rows.dtype)
            squares = jnp.sum((inside @ (rows @ jnp.swapaxes(rows, 1, 2))) * inside, axis=2)
        return jnp.where(squares > 0, 1 / jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)

    return sharding.by_rows(lengths, mesh, shared=3)(rows, places, windows)


def blocks(one: Side) -> jax.Array:
    """(S, M, d) unit or zero blocks themselves."""
    return _pooled(one, one.rows)


@functools.partial(jax.jit, static_argnames="mesh")
def gram(entries: Side, *, mesh: Mesh | None) -> jax.Array:
    """(S, M, M) Gram matrices of the blocks."""
    return sharding.by_rows(_gram, mesh, shared=1)(entries)


@functools.partial(jax.jit, static_argnames=("columns", "mesh"))
def correlations(entries: Side, probes: Side, *, columns: int, mesh: Mesh | None) -> jax.Array:
    """(T, M, C) every block of T entries with the blocks of P probes side by side, zero beyond them."""

    def each(entries: Side, probes: Side) -> jax.Array:
        return _filled(_correlations(entries, probes), columns)

    return sharding.by_rows(each, mesh, shared=1)(entries, probes)


@functools.partial(jax.jit, static_argnames=("columns", "mesh"))
def apart(
    entries: Side, numbers: jax.Array, probes: Side, *, columns: int, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array]:
    """The same, (T, M, C), of every entry with its own (T, P) probes, and the energies (T, C) of the columns."""

    def each(entries: Side, numbers: jax.Array, probes: Side) -> tuple[jax.Array, jax.Array]:
        def one(entry: Side, numbers: jax.Array) -> tuple[jax.Array, jax.Array]:
            own = probes.at(numbers)
            alone = jax.tree.map(lambda part: part[None], entry)
            return _filled(_correlations(alone, own), columns)[0], _filled(_energy(own), columns)

        return jax.vmap(one)(entries, numbers)

    return sharding.by_rows(each, mesh, shared=2)(entries, numbers, probes)


@functools.partial(jax.jit, static_argnames="columns")
def energy(probes: Side, *, columns: int) -> jax.Array:
    """(C,) energies of the blocks of the probes side by side: 1, or 0 without a direction."""
    return _filled(_energy(probes), columns)


@functools.partial(jax.jit, static_argnames=("coder", "l1", "tol", "mesh"))
def coded(
    gram: jax.Array, correlation: jax.Array, energy: jax.Array, *, coder: str, l1: float, tol: float, mesh: Mesh | None
) -> Certificates:
    """Squared errors of columns (T, M, C) of energies (C,) or (T, C) on T dictionaries."""

    def columns(gram: jax.Array, correlation: jax.Array, energy: jax.Array) -> Certificates:
        energies = jnp.broadcast_to(energy, (len(gram), correlation.shape[2]))
        solve = functools.partial(SOLVERS[coder].solve, l1=l1, tol=tol)
        solved = jax.vmap(solve)(gram, correlation, energies)
        return Certificates(solved.error, solved.lower, solved.upper, solved.gap)

    return sharding.by_rows(columns, mesh, shared=1 + 1 + (energy.ndim == 2))(gram, correlation, energy)


@functools.partial(jax.jit, static_argnames=("coder", "mesh"))
def uncertified(gram: jax.Array, entries: Side, probes: Side, *, coder: str, mesh: Mesh | None) -> Certificates:
    """Errors of the blocks of P probes side by side on T dictionaries, by a solver that needs the blocks themselves."""

    def each(gram: jax.Array, entries: Side, probes: Side) -> Certificates:
        columns = blocks(probes).reshape(-1, probes.rows.shape[2])
        error = jax.vmap(lambda g, y: SOLVERS[coder].solve(g, y, columns))(gram, blocks(entries))
        return Certificates(error, *[jnp.full_like(error, jnp.nan)] * 3)

    return sharding.by_rows(each, mesh, shared=2)(gram, entries, probes)


@functools.partial(jax.jit, static_argnames="mesh")
def cosines(inverse: jax.Array, correlation: jax.Array, energy: jax.Array, *, mesh: Mesh | None) -> Certificates:
    """MaxSim of columns (T, M, C) of energies (C,) or (T, C) on T dictionaries, one over whose lengths are (T, M)."""

    def columns(inverse: jax.Array, correlation: jax.Array, energy: jax.Array) -> Certificates:
        energies = jnp.broadcast_to(energy, (len(inverse), correlation.shape[2]))
        distance = jax.vmap(maxsim.distances)(correlation, inverse > 0, energies)
        return Certificates(distance, distance, distance, jnp.zeros_like(distance))

    return sharding.by_rows(columns, mesh, shared=1 + 1 + (energy.ndim == 2))(inverse, correlation, energy)


class Weights(NamedTuple):
    """Of the columns of P probes in their means, or of T entries' own P probes each.

    Attributes:
      total: (P,) or (T, P) their sum.
      each: (P, N) or (T, P, N), 0 of a column that is not counted; None: 1 of every column with a direction.
    """

    total: Any
    each: Any

    def at(self, numbers: Any) -> "Weights":
        """Those of the probes of these numbers."""
        return jax.tree.map(lambda part: part[numbers], self)


@functools.partial(jax.jit, static_argnames="blocks")
def figures(columns: Certificates, weights: Weights, *, blocks: int) -> jax.Array:
    """(4, T, P) weighted means of error, lower and upper over each probe's columns, and the largest gap.

    Args:
      columns: of the columns of P probes, ``blocks`` each.
      weights: of these columns.
      blocks: columns of a probe.
    """
    probes = weights.total.shape[-1]

    def each(part: jax.Array) -> jax.Array:
        return part[:, : probes * blocks].reshape(len(part), probes, blocks)

    errors, gaps = [each(part) for part in columns[:3]], each(columns.gap)
    if weights.each is not None:
        times = jnp.broadcast_to(weights.each, gaps.shape)
        errors, gaps = [part * times for part in errors], jnp.where(times > 0, gaps, 0)
    total = jnp.broadcast_to(weights.total, gaps.shape[:2])
    return jnp.stack([*(_total(part) / total for part in errors), jnp.max(gaps, axis=2)])


@functools.partial(jax.jit, static_argnames=("l1", "length"))
def bounds(correlation: jax.Array, energy: jax.Array, *, l1: float, length: int) -> tuple[jax.Array, jax.Array]:
    """What correlations (T, M, C) of one probe's columns alone say: floor and guess of its distances, (T,) each.

    A column's squared error is at least (l1 / c)^2, c its largest correlation, and about 1 - c^2 + l1^2. Where columns
    have weights, they take the place of the energies (C,).
    """
    top = jnp.max(jnp.abs(correlation), axis=1)
    doubt = max(16 * certificate.EPS, certificate.slack(length) / 2)
    floor = jnp.where(top <= l1, 1, jnp.square(l1 / (top + doubt))) * (1 - doubt) * energy[None]
    guess = jnp.where(top <= l1, 1, 1 - jnp.square(top) + l1**2) * energy[None]
    return _total(floor) / jnp.sum(energy) * (1 - 8 * certificate.EPS), jnp.mean(guess, axis=1)


def rounding(blocks: int) -> tuple[float, float]:
    """Error that a mean of ``blocks`` squared errors has from `figures`, relative to itself and in any case."""
    return 4 * certificate.EPS, blocks * certificate.EPS / UNIT


def _gram(entries: Side) -> jax.Array:
    products = entries.rows @ jnp.swapaxes(entries.rows, 1, 2)
    return _pooled(entries, jnp.swapaxes(_pooled(entries, products), 1, 2))


def _correlations(entries: Side, probes: Side) -> jax.Array:
    """(T, M, P N)."""
    if entries.windows is None and probes.windows is None:
        y, x = (_pooled(side, side.rows) for side in (entries, probes))
        return jnp.einsum("tmd,pnd->tmpn", y, x).reshape(*y.shape[:2], -1)
    products = jnp.einsum("trd,pqd->trpq", entries.rows, probes.rows)
    pooled = _pooled(entries, products.reshape(*products.shape[:2], -1)).reshape(
        *entries.inverse.shape, *products.shape[2:]
    )
    if probes.windows is None:
        found = pooled * probes.inverse[None, None]
    else:
        found = jnp.einsum("tmpq,pnq->tmpn", pooled, _weights(probes))
    return found.reshape(*found.shape[:2], -1)


def _pooled(one: Side, rows: jax.Array) -> jax.Array:
    """(S, R, n) numbers of the positions -> (S, M, n) of the unit blocks."""
    return one.inverse[..., None] * rows if one.windows is None else _weights(one) @ rows


def _weights(one: Side) -> jax.Array:
    """(S, M, R) weights of the positions in every unit block."""
    return _inside(one.places, one.windows).astype(one.inverse.dtype) * one.inverse[..., None]


def _inside(places: Any, windows: Any) -> jax.Array:
    """(S, M, R) whether a position lies in a block's window."""
    number, line, column = (places[..., None, :, i] for i in range(3))
    of, top, left, side = (windows[..., :, None, i] for i in range(4))
    within = (line >= top) & (line < top + side) & (column >= left) & (column < left + side)
    return within & (number == of)


def _energy(probes: Side) -> jax.Array:
    return (probes.inverse > 0).astype(probes.inverse.dtype).reshape(-1)


def _filled(numbers: jax.Array, columns: int) -> jax.Array:
    """Zeros behind the last axis, up to so many."""
    return jnp.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, columns - numbers.shape[-1])])


def _total(values: jax.Array) -> jax.Array:
    """Sum over the last axis: of whole parts of `UNIT`, exactly, and of the small rest."""
    whole = jnp.round(values * UNIT) / UNIT
    return jnp.sum(whole, axis=-1) + jnp.sum(values - whole, axis=-1)
