"""Our coders against spams, celer, skglm and scikit-learn, each with its own scaling of the lasso, on one problem.

scikit-learn, celer and skglm minimise 1 / (2 d) |x - Y w|^2 + alpha |w|_1, so their alpha is l1 / d. SPAMS' `lasso`
(mode 2) has Eq. 6's scaling.
"""

import functools
from collections.abc import Callable

import celer
import jax.numpy as jnp
import numpy as np
import pytest
import skglm
import sklearn.linear_model
import spams

from dsr_jax import reconstruction
from dsr_jax.solvers import table

from .. import dictionaries, oracles

L1 = 0.4
# Where a descent converges; SPAMS in float64 needs atoms that are not equal.
KINDS = ("gaussian", "non-negative")


@functools.cache
def problem(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Float64 columns (12, 16) and atoms (20, 16)."""
    drawn = dictionaries.draw(0, count=1, m=20, n=12, d=16, l1=L1, kinds=(kind,))
    return drawn.columns[0].astype(np.float64), drawn.atoms[0].astype(np.float64)


def descent(model: Callable[..., object]) -> Callable[..., np.ndarray]:
    """Codes (M, N) of a scikit-learn estimator, column by column; zero columns are solved by zero."""

    def codes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = np.zeros((len(y), len(x)))
        for n in np.flatnonzero(np.abs(y @ x.T).max(axis=0) > L1):
            found[:, n] = model(alpha=L1 / x.shape[1], fit_intercept=False).fit(np.asfortranarray(y.T), x[n]).coef_
        return found

    return codes


def lars(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    found = spams.lasso(np.asfortranarray(x.T), D=np.asfortranarray(y.T), lambda1=L1, mode=2, numThreads=1)
    return found.toarray()


PEERS = {
    "scikit-learn": descent(functools.partial(sklearn.linear_model.Lasso, tol=1e-10, max_iter=100_000)),
    "celer": descent(functools.partial(celer.Lasso, tol=1e-10)),
    "skglm": descent(functools.partial(skglm.Lasso, tol=1e-10)),
    "spams": lars,
}


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", PEERS)
def test_same_errors_and_codes(peer, kind):
    x, y = problem(kind)
    theirs = PEERS[peer](x, y)
    truth = oracles.errors(x, y, l1=L1)
    residuals = x - theirs.T @ y
    np.testing.assert_allclose(np.sum(residuals**2, axis=1), truth, atol=1e-6, err_msg=f"{peer} and the oracle differ")
    assert np.any(theirs != 0)
    for coder in table.names("training"):
        ours = reconstruction.solve(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), l1=L1, coder=coder)
        exact = coder != "proximal"
        np.testing.assert_allclose(ours.error, truth, atol=2e-6 if exact else 1e-3)
        np.testing.assert_allclose(ours.codes, theirs, atol=1e-4 if exact else 1e-2)
