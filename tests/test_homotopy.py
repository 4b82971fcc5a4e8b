"""Working sets and stages of the homotopy solver: every column is coded, in whatever stage, whoever is beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax.solvers import homotopy
from dsr_jax.solvers.homotopy import Stage

from . import dictionaries, oracles

L1 = 0.1


@functools.cache
def problem(count=1, m=60, n=90, d=64):
    """Gram, correlations and energies of dictionaries of non-negative atoms, their blocks, and the exact errors."""
    drawn = dictionaries.draw(1, count=count, m=m, n=n, d=d, l1=L1, kinds=("non-negative",))
    y, x = jnp.asarray(drawn.atoms), jnp.asarray(drawn.columns)
    exact = np.stack([oracles.errors(b, a, l1=L1) for a, b in zip(drawn.atoms, drawn.columns, strict=True)])
    return (y @ jnp.swapaxes(y, 1, 2), y @ jnp.swapaxes(x, 1, 2), jnp.sum(x * x, axis=-1)), exact


def solved(values, **options):
    return jax.jit(jax.vmap(functools.partial(homotopy.homotopy, l1=L1, **options)))(*values)


def test_columns_beyond_those_coded_at_once():
    values, exact = problem()
    assert values[1].shape[2] > homotopy.STAGES[0].least
    found = solved(values)
    np.testing.assert_allclose(found.error, exact, atol=2e-6)
    nonzero = np.sum(found.codes != 0, axis=1)
    assert (nonzero > homotopy.STAGES[0].places).any(), "some columns must need another stage"


def test_columns_may_have_any_number_of_atoms():
    """More active atoms than any stage has places but the last, which is the whole dictionary."""
    drawn = dictionaries.draw(1, count=1, m=200, n=8, d=256, l1=0.01, kinds=("non-negative",))
    y, x = jnp.asarray(drawn.atoms), jnp.asarray(drawn.columns)
    values = y @ jnp.swapaxes(y, 1, 2), y @ jnp.swapaxes(x, 1, 2), jnp.sum(x * x, axis=-1)
    found = jax.jit(jax.vmap(functools.partial(homotopy.homotopy, l1=0.01)))(*values)
    exact = oracles.errors(drawn.columns[0], drawn.atoms[0], l1=0.01)
    assert np.sum(found.codes != 0, axis=1).max() > 2 * homotopy.STAGES[-1].places
    assert np.all(found.lower[0] <= exact) and np.all(exact <= found.upper[0])
    np.testing.assert_allclose(found.error[0], exact, atol=1e-5)


def test_working_sets_grow_to_the_exact_codes_whatever_the_first_were():
    """Sets too small to hold the answer at first: what exceeds l1 joins, round after round."""
    values, exact = problem()
    found = solved(values, stages=(Stage(2, 4, 1, 1.0, 1), Stage(20, 100, 12, 0.5, 1)))
    np.testing.assert_allclose(found.error, exact, atol=2e-6)
    assert found.gap.max() < 1e-5


def test_stages_of_accelerators_give_the_same():
    values, exact = problem()
    found = solved(values, stages=homotopy.WIDE)
    np.testing.assert_allclose(found.error, exact, atol=2e-6)
    np.testing.assert_allclose(found.error, solved(values).error, atol=1e-6)


def test_columns_do_not_depend_on_each_other():
    (gram, correlation, energy), _ = problem()
    order = np.random.default_rng(0).permutation(correlation.shape[2])
    one, other = solved((gram, correlation, energy)), solved((gram, correlation[..., order], energy[:, order]))
    np.testing.assert_array_equal(one.steps[:, order], other.steps)
    np.testing.assert_allclose(one.error[:, order], other.error, atol=1e-6)
