"""Paths on a few atoms: codes at their end, events on degenerate dictionaries, and paths that are cut short."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax.solvers import path

from . import dictionaries, oracles

L1 = 0.4


def followed(atoms, columns, *, l1=L1, max_steps=60):
    """The path of every column on all atoms of its dictionary; (T, M, d) and (T, N, d), in their own precision."""
    y, x = jnp.asarray(atoms), jnp.asarray(columns)
    correlation = jnp.einsum("tmd,tnd->mtn", y, x).reshape(y.shape[1], -1)
    gram = jnp.repeat(jnp.moveaxis(y @ jnp.swapaxes(y, 1, 2), 0, -1), x.shape[1], axis=-1)
    found = jax.jit(functools.partial(path.follow, l1=l1, max_steps=max_steps))(gram, correlation)
    return path.Path(*(np.asarray(part).reshape(*part.shape[:-1], *x.shape[:2]) for part in found))


@pytest.mark.parametrize("l1", [L1, 0.05])
def test_codes_at_the_end_leave_the_exact_residual(l1, x64):
    drawn = dictionaries.draw(5, count=20, m=9, n=5, d=8, l1=l1)
    atoms, columns = drawn.atoms.astype(np.float64), drawn.columns.astype(np.float64)
    found = followed(atoms, columns, l1=l1)
    assert found.finished.all()
    for t, kind in enumerate(drawn.kinds):
        for n, x in enumerate(columns[t]):
            residual = x - found.codes[:, t, n] @ atoms[t]
            truth = oracles.residual(x, atoms[t], l1=l1)
            np.testing.assert_allclose(residual, truth, atol=1e-7, err_msg=f"{kind} {t}, column {n}")


def test_steps_are_the_events():
    """An orthogonal dictionary has an event for each correlation above l1, and none below."""
    columns = np.array([[0.8, 0.6, 0.0], [0.3, 0.3, 0.1], [0.0, 0.0, -1.0]], np.float32)
    found = followed(np.eye(3, dtype=np.float32)[None], columns[None])
    assert found.steps.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(found.codes[:, 0], np.sign(columns.T) * np.maximum(np.abs(columns.T) - L1, 0), atol=1e-6)


def test_an_atom_that_is_hidden_by_its_copy_takes_its_place(x64):
    """The copy is nearer to what is left; they differ by less than rounding leaves of their Schur complement."""
    first = np.array([1.0, 0.0, 0.0])
    second = np.array([1.0, 1e-8, 0.0]) / np.hypot(1.0, 1e-8)
    column = np.array([0.9, np.sqrt(0.19), 0.0])
    found = followed(np.stack([first, second])[None], column[None, None])
    assert found.finished.all() and found.codes[0, 0, 0] == 0 and found.codes[1, 0, 0] > 0.4


def test_equal_atoms_do_not_take_turns():
    atoms = np.repeat(np.array([[0.6, 0.8]], np.float32), 4, axis=0)
    found = followed(atoms[None], np.array([[[1.0, 0.0], [0.6, 0.8]]], np.float32))
    assert found.steps.tolist() == [[1, 1]] and found.finished.all()


def test_a_path_that_is_cut_short_says_so_and_has_the_codes_of_a_larger_penalty(x64):
    drawn = dictionaries.draw(0, count=4, m=12, n=6, d=16, l1=0.01, kinds=("gaussian",))
    atoms, columns = drawn.atoms.astype(np.float64), drawn.columns.astype(np.float64)
    found = followed(atoms, columns, l1=0.01, max_steps=3)
    assert not found.finished.all() and found.steps.max() == 3
    for t, n in zip(*np.nonzero(~found.finished), strict=True):
        left = atoms[t] @ (columns[t, n] - found.codes[:, t, n] @ atoms[t])
        level = np.abs(left).max()
        assert level > 0.01
        active = np.abs(found.codes[:, t, n]) > 1e-9
        np.testing.assert_allclose(left[active], level * np.sign(found.codes[active, t, n]), atol=1e-9)
