"""The compiled coder: exact against independent float64 oracles, certified, and indifferent to how it is called."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from dsr_jax.solvers import active_set, certificate

from . import dictionaries, oracles

L1 = 0.4
# (problems, atoms, columns, length): usual; more atoms than one padded row; N >> M; M >> N; one atom and one column.
SHAPES = [(50, 12, 10, 8), (10, 150, 15, 24), (20, 3, 40, 16), (20, 40, 3, 6), (10, 1, 1, 4)]


def products(
    columns: np.ndarray, atoms: np.ndarray, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram (M, M), correlations (N, M) and energies (N,) of one dictionary."""
    x, y = columns.astype(dtype), atoms.astype(dtype)
    return y @ y.T, x @ y.T, np.sum(x * x, axis=1)


def tile(shape: tuple[int, int, int, int] = (6, 40, 70, 16), dtype: Any = np.float32) -> tuple[np.ndarray, ...]:
    """Gram (G, M, M), correlations (G, C, M), energies (C,): the columns of all problems on every dictionary."""
    drawn = dictionaries.draw(3, count=shape[0], m=shape[1], n=shape[2], d=shape[3], l1=L1)
    x = drawn.columns.reshape(-1, shape[3]).astype(dtype)
    y = drawn.atoms.astype(dtype)
    return y @ y.transpose(0, 2, 1), x @ y.transpose(0, 2, 1), np.sum(x * x, axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("l1", [0.4, 0.05])
def test_error_is_exact_and_inside_the_interval_on_degenerate_dictionaries(
    shape: tuple[int, int, int, int], l1: float
) -> None:
    count, m, n, d = shape
    drawn = dictionaries.draw(0, count=count, m=m, n=n, d=d, l1=l1)
    for atoms, columns, kind in zip(drawn.atoms, drawn.columns, drawn.kinds, strict=True):
        truth = oracles.errors(columns, atoms, l1=l1)
        for dtype, tolerance, limit in ((np.float32, 2e-6, 2e-5), (np.float64, 1e-7, 1e-9)):
            gram, correlation, energy = products(columns, atoms, dtype)
            solved = active_set.errors(gram[None], correlation[None], energy, l1=l1)
            # At l1 = 0.05 codes are large (|w|_1 of 5 and more), and rounding with them.
            np.testing.assert_allclose(solved.error[0], truth, atol=tolerance, err_msg=kind)
            assert (solved.gap >= 0).all() and solved.gap.max() <= limit, kind
            # The oracle itself is good to 1e-9 or so.
            assert (solved.lower[0] <= truth + 1e-8).all() and (truth <= solved.upper[0] + 1e-8).all(), kind
            assert (solved.lower <= solved.error).all() and (solved.error <= solved.upper).all(), kind


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_rounding_wins_over_l1_the_interval_is_wide_and_not_nan(dtype: Any) -> None:
    """Nearly equal atoms and a tiny l1: the active system is singular, and its codes may be lost."""
    rng = np.random.default_rng(0)
    for length in (4, 8, 32):
        atoms = dictionaries.unit(1 + 1e-4 * rng.standard_normal((80, length)))
        columns = dictionaries.unit(rng.random((20, length)))
        least = columns - np.linalg.lstsq(atoms.T, columns.T, rcond=None)[0].T @ atoms
        for l1 in (1e-4, 1e-6, 1e-8):
            gram, correlation, energy = products(columns, atoms, dtype)
            solved = active_set.errors(gram[None], correlation[None], energy, l1=l1)
            assert all(np.isfinite(figure).all() for figure in solved)
            assert (solved.lower <= solved.error).all() and (solved.error <= solved.upper).all()
            assert (np.sum(least**2, axis=1) <= solved.upper[0] + 1e-6).all()


def test_codes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    atoms, columns = dictionaries.unit(rng.random((30, 20))), dictionaries.unit(rng.random((25, 20)))
    codes, solved = active_set.codes(*products(columns, atoms, np.float64), l1=0.1)
    lasso = Lasso(alpha=0.1 / 20, fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = np.stack([lasso.fit(atoms.T, x).coef_ for x in columns], axis=1)
    assert codes.shape == (30, 25)
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    np.testing.assert_allclose(solved.error, np.sum((columns.T - atoms.T @ codes) ** 2, axis=0), atol=1e-12)


@given(
    seed=st.integers(0, 10_000),
    m=st.integers(1, 90),
    d=st.integers(2, 30),
    l1=st.sampled_from([0.6, 0.4, 0.1, 0.01]),
    kind=st.sampled_from(dictionaries.KINDS),
)
def test_optimality_conditions_hold(seed: int, m: int, d: int, l1: float, kind: str) -> None:
    drawn = dictionaries.draw(seed, count=1, m=m, n=10, d=d, l1=l1, kinds=(kind,))
    gram, correlation, energy = products(drawn.columns[0], drawn.atoms[0], np.float64)
    codes, _ = active_set.codes(gram, correlation, energy, l1=l1)
    residual = correlation.T - gram @ codes
    assert np.abs(residual).max() <= l1 + 1e-8
    active = codes != 0
    np.testing.assert_allclose(residual[active], l1 * np.sign(codes[active]), atol=1e-8)


def test_figures_are_those_of_the_certificate_of_the_codes(x64: None) -> None:
    atoms, columns = (values[0] for values in dictionaries.draw(5, count=1, m=30, n=20, d=12, l1=0.2)[:2])
    gram, correlation, energy = products(columns, atoms, np.float64)
    for limit in (0, 1, 2, None):
        codes, solved = active_set.codes(gram, correlation, energy, l1=0.2, max_steps=limit)
        target = correlation.T
        expected = certificate.certify(
            jnp.asarray(codes), jnp.asarray(target - gram @ codes), jnp.asarray(target), jnp.asarray(energy), l1=0.2
        )
        for name, value in zip(("error", "lower", "upper", "gap"), expected, strict=True):
            # The bounds take the root of the gap, so a gap of rounding moves them by 1e-8.
            np.testing.assert_allclose(getattr(solved, name), value, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("limits", [{"max_steps": 0}, {"max_steps": 1}, {"max_steps": 3}, {"max_active": 1}])
def test_a_search_that_is_cut_short_says_so(limits: dict[str, int]) -> None:
    gram, correlation, energy = tile()
    exact = active_set.errors(*(a.astype(np.float64) for a in (gram, correlation, energy)), l1=0.1)
    short = active_set.errors(gram, correlation, energy, l1=0.1, **limits)
    assert (short.lower <= exact.error + 1e-6).all() and (exact.error <= short.upper + 1e-6).all()
    assert short.gap.max() > 1e-3
    assert short.steps.max() <= limits.get("max_steps", short.steps.max())


def test_columns_that_need_more_places_than_the_first_attempt_has_are_coded_again() -> None:
    rng = np.random.default_rng(2)
    atoms, columns = dictionaries.unit(rng.standard_normal((120, 150))), dictionaries.unit(rng.random((4, 150)))
    gram, correlation, energy = products(columns, atoms, np.float32)
    codes, solved = active_set.codes(gram, correlation, energy, l1=1e-3)
    assert (np.count_nonzero(codes, axis=0) > active_set.PLACES).all()
    np.testing.assert_allclose(solved.error, oracles.errors(columns, atoms, l1=1e-3), atol=2e-6)
    assert solved.gap.max() < 2e-4  # the rounding of Y'r, 2 eps (1 + |w|_1), times |w|_1, which is about 25


def test_zero_codes_are_exact_and_cost_nothing() -> None:
    gram, correlation, energy = tile()
    bound = float(np.abs(correlation).max())
    solved = active_set.errors(gram, correlation, energy, l1=bound)
    assert not solved.steps.any() and not solved.gap.any()
    np.testing.assert_array_equal(solved.error, np.broadcast_to(energy, solved.error.shape))
    rounding = 17 * np.finfo(np.float32).eps * energy
    assert (solved.error - rounding <= solved.lower).all() and (solved.lower <= solved.error).all()
    assert (solved.error <= solved.upper).all() and (solved.upper <= solved.error + rounding).all()


def test_padding_changes_nothing() -> None:
    gram, correlation, energy = tile()
    alone = active_set.errors(gram, correlation, energy, l1=L1)
    wider = active_set.errors(
        np.pad(gram, ((0, 0), (0, 50), (0, 50))),
        np.pad(correlation, ((0, 0), (0, 7), (0, 50))),
        np.pad(energy, (0, 7)),
        l1=L1,
    )
    room = {"error": 1e-6, "lower": 1e-4, "upper": 1e-4, "gap": 1e-6, "steps": 1}
    for name, one, other in zip(alone._fields, alone, wider, strict=True):
        # Equal to the bit on some processors. On one with AVX2 an error and its gap of 4.5e-7 moved by 4e-8; its bounds
        # are the gap's root away from it, which moved by 2.5e-5.
        np.testing.assert_allclose(one, other[:, : energy.size], rtol=0, atol=room[name])
        assert not other[:, energy.size :].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_layout_and_neighbours_change_nothing(dtype: Any) -> None:
    gram, correlation, energy = tile(dtype=dtype)
    one = active_set.errors(gram, correlation, energy, l1=0.2, threads=1)
    swapped = np.ascontiguousarray(correlation.transpose(1, 0, 2)).transpose(1, 0, 2)
    strided = np.repeat(correlation, 2, axis=2)[:, :, ::2]
    read_only = np.asarray(jnp.asarray(correlation.astype(np.float32))).astype(dtype)
    read_only.flags.writeable = False
    for other in (
        active_set.errors(gram, correlation, energy, l1=0.2, threads=3),
        active_set.errors(gram, swapped, energy, l1=0.2),
        active_set.errors(gram, strided, energy, l1=0.2),
        active_set.errors(gram, read_only if dtype == np.float32 else correlation, energy, l1=0.2),
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    alone = active_set.errors(gram[2:3], correlation[2:3, 5:6], energy[5:6], l1=0.2)
    for a, b in zip(one, alone, strict=True):
        np.testing.assert_array_equal(a[2, 5], b[0, 0])


def test_order_of_atoms_does_not_matter() -> None:
    gram, correlation, energy = tile(dtype=np.float64)
    order = np.random.default_rng(0).permutation(gram.shape[1])
    one = active_set.errors(gram, correlation, energy, l1=L1)
    other = active_set.errors(gram[:, order][:, :, order], correlation[:, :, order], energy, l1=L1)
    np.testing.assert_allclose(one.error, other.error, atol=1e-9)


def test_boosted_and_unnormalised_columns() -> None:
    """Codes of (1 + a) Y'x at l1 are (1 + a) times those of Y'x at l1 / (1 + a), and errors scale with the square."""
    gram, correlation, energy = tile(dtype=np.float64)
    plain = active_set.errors(gram, correlation, energy, l1=L1 / 2.2)
    scaled = active_set.errors(gram, 2.2 * correlation, 2.2**2 * energy, l1=L1)
    np.testing.assert_allclose(scaled.error, 2.2**2 * plain.error, atol=1e-9)


def test_numbers_that_are_not_finite_end_in_numbers() -> None:
    gram, correlation, energy = tile()
    correlation[0, 0, 0], gram[1, 2, 3] = np.nan, np.inf
    solved = active_set.errors(gram, correlation, energy, l1=L1)
    assert solved.error.shape == (6, 420)  # it ends, and writes nowhere else
    np.testing.assert_array_equal(solved.error[2:], active_set.errors(gram[2:], correlation[2:], energy, l1=L1).error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l1": 0.0}, "l1 must be a positive number"),
        ({"l1": float("nan")}, "l1 must be a positive number"),
        ({"gram": np.eye(3)}, "gram must be"),
        ({"gram": np.zeros((1, 3, 4))}, "gram must be"),
        ({"gram": np.zeros((2, 3, 3))}, "agree in G and C"),
        ({"energy": np.ones(5)}, "agree in G and C"),
        ({"gram": np.zeros((1, 3, 3), np.float32)}, "both be float32"),
        ({"max_active": 0}, "max_active must be"),
        ({"max_steps": -1}, "max_steps must be"),
        ({"threads": -1}, "threads must be"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments = {"gram": np.eye(3)[None], "correlation": np.zeros((1, 2, 3)), "energy": np.ones(2), "l1": L1} | change
    with pytest.raises(ValueError, match=message):
        active_set.errors(**arguments)


def test_codes_take_one_dictionary() -> None:
    with pytest.raises(ValueError, match="one dictionary"):
        active_set.codes(np.eye(3)[None], np.zeros((1, 2, 3)), np.ones(2), l1=L1)


def test_nothing_to_code() -> None:
    solved = active_set.errors(np.zeros((2, 3, 3)), np.zeros((2, 0, 3)), np.zeros(0), l1=L1)
    assert solved.error.shape == (2, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_warm_start_changes_the_steps_and_not_the_answer(dtype):
    drawn = dictionaries.draw(0, count=40, m=30, n=12, d=16, l1=0.2)
    cold_steps = warm_steps = 0
    for x, y in zip(drawn.columns, drawn.atoms, strict=True):
        gram, correlation, energy = products(x, y, dtype)
        near, _ = active_set.codes(gram, correlation, energy, l1=0.22)
        cold, expected = active_set.codes(gram, correlation, energy, l1=0.2)
        given = near.copy()
        for start in (near, cold, -cold, np.ones_like(cold)):
            warm, solved = active_set.codes(gram, correlation, energy, l1=0.2, start=start)
            np.testing.assert_allclose(solved.error, expected.error, atol=3e-6)
            assert (solved.gap <= np.maximum(1e-5, 2 * expected.gap)).all()
        np.testing.assert_array_equal(near, given)
        _, solved = active_set.codes(gram, correlation, energy, l1=0.2, start=near)
        cold_steps, warm_steps = cold_steps + expected.steps.sum(), warm_steps + solved.steps.sum()
    assert warm_steps < 0.5 * cold_steps
    absurd, _ = active_set.codes(gram, correlation, energy, l1=0.2, start=np.full_like(near, 1e30))
    assert np.isfinite(absurd).all()
    with pytest.raises(ValueError, match="start must be finite codes of shape"):
        active_set.codes(gram, correlation, energy, l1=0.2, start=near.T)
