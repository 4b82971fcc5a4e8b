"""The contract of every coder: optimal, certified, exact where it says so, and indifferent to how it is called.

A solver of the table passes all of it or is not a solver.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from dsr_jax import reconstruction
from dsr_jax.solvers import certificate, table

from . import dictionaries, oracles, quick

CODERS = sorted(table.names("training"))
L1 = 0.4
# (problems, atoms, columns, length): usual; N >> M; M >> N; one atom and one column.
SHAPES = [(150, 12, 10, 8), (40, 3, 40, 16), (40, 40, 3, 6), (30, 1, 1, 4)]

EXACT = [coder for coder in CODERS if table.SOLVERS[coder].exact]

parametrize_coder = pytest.mark.parametrize("coder", CODERS)
# For tests that compile a program of their own.
parametrize_program = pytest.mark.parametrize("coder", quick.only(["active_set"], CODERS))
parametrize_exact = pytest.mark.parametrize("coder", quick.only(["active_set"], EXACT))


@functools.cache
def problems(shape: tuple[int, int, int, int] = SHAPES[0], l1: float = L1, seed: int = 0) -> dictionaries.Problems:
    count, m, n, d = shape
    return dictionaries.draw(seed, count=count, m=m, n=n, d=d, l1=l1)


@functools.cache
def exact(shape: tuple[int, int, int, int] = SHAPES[0], l1: float = L1, seed: int = 0) -> np.ndarray:
    """Exact squared errors (T, N)."""
    drawn = problems(shape, l1, seed)
    return np.stack([oracles.errors(x, y, l1=l1) for x, y in zip(drawn.columns, drawn.atoms, strict=True)])


def inputs(columns: np.ndarray, atoms: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gram, correlations and energies of a batch, from float32 products as the library forms them."""
    x, y = jnp.asarray(columns), jnp.asarray(atoms)
    energy = jnp.sum(x * x, axis=-1)
    return y @ jnp.swapaxes(y, -1, -2), y @ jnp.swapaxes(x, -1, -2), energy


@functools.cache
def batched(coder: str, l1: float = L1, **options: float) -> Callable[..., certificate.Solution]:
    return jax.jit(jax.vmap(functools.partial(table.SOLVERS[coder].solve, l1=l1, **options)))


def solve(coder: str, drawn: dictionaries.Problems, l1: float = L1, **options: float) -> certificate.Solution:
    solution = batched(coder, l1, **options)(*inputs(drawn.columns, drawn.atoms))
    return certificate.Solution(*(np.asarray(value, np.float64) for value in solution))


def assert_certified(solution: certificate.Solution, truth: np.ndarray, kinds: list[str]) -> None:
    """lower <= exact <= upper, and the interval holds the estimate."""
    for name, excess in (("lower", solution.lower - truth), ("upper", truth - solution.upper)):
        t, n = np.unravel_index(excess.argmax(), excess.shape)
        assert excess[t, n] <= 0, (
            f"{name} misses the exact error {truth[t, n]} of {kinds[t]} {t}, column {n}, by {excess[t, n]}"
        )
    assert np.all(solution.lower <= solution.error) and np.all(solution.error <= solution.upper)
    assert np.all(solution.gap >= 0) and np.all(np.isfinite(solution.codes))


# The oracle


def test_oracle_agrees_with_coordinate_descent():
    drawn = problems((20, 12, 10, 8))
    for x, y, kind in zip(drawn.columns, drawn.atoms, drawn.kinds, strict=True):
        if kind not in ("gaussian", "non-negative", "duplicates", "zeros"):
            continue  # coordinate descent does not get there on the others
        model = Lasso(alpha=L1 / x.shape[1], fit_intercept=False, tol=1e-12, max_iter=100_000)
        for column in x.astype(np.float64):
            codes = model.fit(y.T.astype(np.float64), column).coef_ if column.any() else np.zeros(len(y))
            found = oracles.residual(column, y, l1=L1)
            np.testing.assert_allclose(found, column - codes @ y, atol=1e-5)


# Certified, whatever happens


@parametrize_coder
@pytest.mark.parametrize("shape", quick.only(SHAPES[:1], SHAPES), ids=str)
def test_interval_holds_the_exact_error(coder, shape):
    assert_certified(solve(coder, problems(shape)), exact(shape), problems(shape).kinds)


@parametrize_program
@pytest.mark.parametrize("l1", [0.1, 0.01])
def test_interval_holds_where_codes_are_many_and_large(coder, l1):
    assert_certified(solve(coder, problems(l1=l1), l1), exact(l1=l1), problems(l1=l1).kinds)


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["feature_sign", "proximal"])
@pytest.mark.parametrize("l1", [L1, 0.01])
def test_a_coder_that_is_stopped_says_so(coder, l1):
    stopped = solve(coder, problems(l1=l1), l1, max_steps=3)
    assert_certified(stopped, exact(l1=l1), problems(l1=l1).kinds)
    assert stopped.steps.max() == 3
    if l1 < L1:
        assert stopped.gap.max() > 1e-3, "three steps cannot be enough for all of these"


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.5, 1.5, 30.0])
def test_any_codes_at_all_are_certified(scale):
    """The interval needs no coder: exact codes, times something, plus noise."""
    drawn, rng = problems(), np.random.default_rng(3)
    gram, correlation, energy = inputs(drawn.columns, drawn.atoms)
    codes = solve("feature_sign", drawn).codes + scale * rng.standard_normal(correlation.shape)
    codes = jnp.asarray(codes, jnp.float32)
    certify = jax.jit(jax.vmap(functools.partial(certificate.certify, l1=L1)))
    found = certify(codes, correlation - gram @ codes, correlation, energy)
    solution = certificate.Solution(codes, *found, steps=jnp.zeros(energy.shape, jnp.int32))
    assert_certified(certificate.Solution(*(np.asarray(v, np.float64) for v in solution)), exact(), drawn.kinds)


def test_certificate_by_definition(x64):
    """Gap and ball by the formulas of docs/mathematics.md, computed from the blocks themselves in float64."""
    drawn, rng = problems((10, 12, 10, 8)), np.random.default_rng(0)
    certify = jax.jit(functools.partial(certificate.certify, l1=L1))
    for x, y in zip(drawn.columns.astype(np.float64), drawn.atoms.astype(np.float64), strict=True):
        codes = np.where(rng.random((12, 10)) < 0.2, rng.standard_normal((12, 10)), 0)
        gram, correlation, energy = inputs(x, y)
        found = certify(jnp.asarray(codes), correlation - gram @ codes, correlation, energy)
        error, lower, upper, gap = (np.asarray(v) for v in found)
        for n in range(10):
            r = x[n] - codes[:, n] @ y
            np.testing.assert_allclose(error[n], r @ r, rtol=1e-10, atol=1e-13)
            bound = L1 / max(np.abs(y @ r).max(), 1e-300)
            s = np.clip(x[n] @ r / max(r @ r, 1e-300), 0, min(bound, 2))
            value = 0.5 * r @ r + L1 * np.abs(codes[:, n]).sum() - s * x[n] @ r + 0.5 * s**2 * r @ r
            np.testing.assert_allclose(gap[n], value, rtol=1e-9, atol=1e-13)
            radius = np.sqrt(max(value - 0.25 * (1 - s) ** 2 * r @ r, 0))
            centre = 0.5 * (1 + s) * np.linalg.norm(r)
            np.testing.assert_allclose(lower[n], min(max(centre - radius, 0) ** 2, r @ r), rtol=1e-6, atol=1e-12)
            highest = max(min((centre + radius) ** 2, x[n] @ x[n]), r @ r)
            np.testing.assert_allclose(upper[n], highest, rtol=1e-6, atol=1e-12)


# Optimal


@parametrize_program
def test_gap_and_agreement(coder):
    """A gap of g bounds the residual's distance to the exact one by sqrt(2 g); exact coders are nearer than that."""
    solution, truth = solve(coder, problems(), tol=2e-6), exact()
    lengths = np.abs(np.sqrt(solution.error) - np.sqrt(truth))
    assert np.all(lengths <= np.sqrt(2 * solution.gap) + 1e-3)
    if coder in EXACT:
        assert solution.gap.max() <= 2e-6
        np.testing.assert_allclose(solution.error, truth, atol=2e-6)
    else:
        assert np.mean(solution.gap <= 2e-6) > 0.9, "the others say by their gap that they need more steps"


@parametrize_exact
def test_optimality_conditions(coder, x64):
    """KKT: |Y_j'r| <= l1 everywhere, Y_j'r = l1 sign(w_j) where w_j is not zero."""
    drawn = problems((20, 12, 10, 8))
    wide = dictionaries.Problems(drawn.atoms.astype(np.float64), drawn.columns.astype(np.float64), drawn.kinds)
    solution = solve(coder, wide, tol=1e-12)
    pull = np.einsum("tmd,tdn->tmn", wide.atoms, np.swapaxes(wide.columns, 1, 2))
    pull -= np.einsum("tmd,tkd,tkn->tmn", wide.atoms, wide.atoms, solution.codes)
    assert np.abs(pull).max() <= L1 + 1e-9
    active = solution.codes != 0
    np.testing.assert_allclose(pull[active], L1 * np.sign(solution.codes[active]), atol=1e-9)
    truth = np.stack([oracles.errors(x, y, l1=L1) for x, y in zip(wide.columns, wide.atoms, strict=True)])
    np.testing.assert_allclose(solution.error, truth, atol=1e-10)


@parametrize_coder
def test_columns_solved_by_zero(coder):
    """|Y'x|_inf <= l1: no steps, no codes, and the error is x'x."""
    drawn, solution = problems(), solve(coder, problems())
    gram, correlation, energy = inputs(drawn.columns, drawn.atoms)
    quiet = np.asarray(jnp.max(jnp.abs(correlation), axis=1)) <= L1
    assert 0.2 < quiet.mean() < 0.9
    assert not solution.steps[quiet].any() and not np.abs(solution.codes).max(axis=1)[quiet].any()
    np.testing.assert_array_equal(solution.error[quiet], np.asarray(energy, np.float64)[quiet])
    assert np.all((solution.upper - solution.lower)[quiet] <= 64 * np.finfo(np.float32).eps)
    edge = np.abs(np.abs(np.asarray(correlation)).max(axis=1) - L1) < 1e-6
    assert edge.sum() > 100, "columns on the edge are part of this test"


# Indifferent


@parametrize_program
def test_zero_padding_is_inert(coder):
    drawn = problems()
    more_atoms = np.concatenate([drawn.atoms, np.zeros_like(drawn.atoms[:, :5])], axis=1)
    more_columns = np.concatenate([drawn.columns, np.zeros_like(drawn.columns[:, :3])], axis=1)
    alone, padded = solve(coder, drawn), solve(coder, dictionaries.Problems(more_atoms, more_columns, drawn.kinds))
    assert not padded.codes[:, 12:].any() and not padded.codes[:, :, 10:].any()
    for name in ("error", "lower", "upper", "gap", "steps"):
        assert not getattr(padded, name)[:, 10:].any(), f"{name} of padding is not zero"
    np.testing.assert_allclose(padded.error[:, :10], alone.error, atol=5e-6 if coder in EXACT else 1e-3)


@parametrize_program
def test_jit_vmap_and_loop_agree(coder):
    drawn = problems()
    together = solve(coder, drawn)
    single = functools.partial(table.SOLVERS[coder].solve, l1=L1)
    compiled = jax.jit(single)
    room = 1e-3 if coder == "proximal" else 2e-6  # all that it promises, on any processor
    for t in range(10):
        alone = compiled(*inputs(drawn.columns[t], drawn.atoms[t]))
        np.testing.assert_allclose(alone.error, together.error[t], atol=room)
    plain = single(*inputs(drawn.columns[0], drawn.atoms[0]))
    np.testing.assert_allclose(plain.error, together.error[0], atol=room)


@parametrize_coder
def test_two_runs_agree_bit_for_bit(coder):
    first, second = solve(coder, problems()), solve(coder, problems())
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
def test_few_places_for_active_atoms_are_admitted():
    """A column that needs more active atoms than there are places is not silently wrong."""
    drawn = problems(l1=0.01)
    solution = solve("feature_sign", drawn, 0.01, max_active=2)
    assert (solution.codes != 0).sum(axis=1).max() == 2
    assert_certified(solution, exact(l1=0.01), drawn.kinds)
    assert solution.gap.max() > 1e-3


def test_solution_is_a_pytree_of_the_promised_shapes():
    blocks = jnp.ones((3, 4)), jnp.ones((5, 4))
    for coder in CODERS:
        solution = jax.eval_shape(functools.partial(reconstruction.solve, coder=coder), *blocks)
        assert [x.shape for x in jax.tree.leaves(solution)] == [(5, 3), (3,), (3,), (3,), (3,), (3,)]
        assert solution.steps.dtype == jnp.int32
