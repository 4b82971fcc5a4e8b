"""Other people's coders, each with its own scaling of the lasso, set up as its authors would wish.

SPAMS gets float32 columns in Fortran order, all probes' columns in one call per gallery image, with every number of
threads, and also Gram matrix and correlations that NumPy's BLAS has multiplied. scikit-learn, celer and skglm work in
float64. Their alpha multiplies |w|_1 beside 1 / (2 d) |x - Y w|^2, so it is l1 / d (`sparse_encode` divides by itself),
and a gap of ours is d times theirs: celer's tol is relative to |x|^2 / d and means our gap, skglm's bounds a slope and
is divided by d, scikit-learn's is fixed at 1e-8. celer and skglm are spared the columns that w = 0 solves. The ports'
ridge is another distance, without certificate: it is here for its time alone.

What a peer needs in its own memory order is made before the clock starts.
"""

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.solvers import ridge
from experiments.benchmarks.problem import Problem

Job = Callable[[], list[Any]]


@dataclass(frozen=True)
class Peer:
    """A coder to compare with."""

    title: str  # what it is called in the table
    module: str  # what must be installed; empty: nothing
    # The job of a problem; the job returns, for every gallery image, codes (M, columns), or errors (columns,).
    make: Callable[[Problem], Job]
    slow: bool = False  # whether it is given few pairs only
    codes: bool = True  # whether it returns codes, which can be judged

    @property
    def installed(self) -> bool:
        return not self.module or importlib.util.find_spec(self.module) is not None


def dense(codes: Any) -> np.ndarray:
    """Codes (M, columns) as an array; SPAMS gives sparse ones."""
    return codes.toarray() if hasattr(codes, "toarray") else np.asarray(codes)


def spams(problem: Problem, *, threads: int, products: bool) -> Job:
    """LARS in C++ (SPAMS), from the blocks or from Gram matrix and correlations."""
    lasso = functools.partial(
        importlib.import_module("spams").lasso, lambda1=problem.l1, lambda2=0.0, mode=2, numThreads=threads
    )
    rows = problem.columns.astype(np.float32)
    atoms = [y.astype(np.float32) for y in problem.gallery]
    columns, turned = np.asfortranarray(rows.T), [np.asfortranarray(y.T) for y in atoms]
    if not products:
        return lambda: [lasso(columns, D=y) for y in turned]
    # The transposes of C-ordered products are Fortran-ordered, without a copy.
    return lambda: [lasso(columns, Q=(y @ y.T).T, q=(rows @ y.T).T) for y in atoms]


def sparse_encode(problem: Problem, *, algorithm: str) -> Job:
    """scikit-learn, all columns in one call per gallery image."""
    encode = importlib.import_module("sklearn.decomposition").sparse_encode
    x = problem.columns

    def job() -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence: the gap in the table says it
            return [encode(x, y, algorithm=algorithm, alpha=problem.l1).T for y in problem.gallery]

    return job


def celer(problem: Problem) -> Job:
    """Working sets and extrapolation (celer), column by column."""
    module = importlib.import_module("celer")
    alpha = problem.l1 / problem.columns.shape[1]
    return _column_by_column(problem, lambda: module.Lasso(alpha=alpha, fit_intercept=False, tol=1e-6))


def skglm(problem: Problem) -> Job:
    """Anderson-accelerated coordinate descent on working sets (skglm), column by column."""
    module, channels = importlib.import_module("skglm"), problem.columns.shape[1]
    alpha, tol = problem.l1 / channels, 1e-6 / channels
    return _column_by_column(problem, lambda: module.Lasso(alpha=alpha, fit_intercept=False, tol=tol))


def _column_by_column(problem: Problem, model: Callable[[], Any]) -> Job:
    x, turned = problem.columns, [np.asfortranarray(y.T) for y in problem.gallery]

    def image(y: np.ndarray) -> np.ndarray:
        codes = np.zeros((y.shape[1], len(x)))
        for n in np.flatnonzero(np.abs(y.T @ x.T).max(axis=0) > problem.l1):
            codes[:, n] = model().fit(y, x[n]).coef_
        return codes

    def job() -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [image(y) for y in turned]

    return job


def ridge_numpy(problem: Problem) -> Job:
    """The ports' ridge: norms of the residuals of (Y'Y + kappa I)^-1 Y'X."""
    x, atoms = problem.columns.astype(np.float32), [y.astype(np.float32) for y in problem.gallery]

    def image(y: np.ndarray) -> np.ndarray:
        gram = y @ y.T + np.float32(ridge.KAPPA) * np.eye(len(y), dtype=np.float32)
        return np.linalg.norm(x - np.linalg.solve(gram, y @ x.T).T @ y, axis=1)

    return lambda: [image(y) for y in atoms]


def ridge_torch(problem: Problem) -> Job:
    """The same in torch, by Cholesky."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(cores.count())
    x = torch.from_numpy(problem.columns.astype(np.float32))
    atoms = [torch.from_numpy(y.astype(np.float32)) for y in problem.gallery]

    def image(y: Any) -> np.ndarray:
        gram = y @ y.T + ridge.KAPPA * torch.eye(len(y))
        codes = torch.cholesky_solve(y @ x.T, torch.linalg.cholesky(gram))
        return torch.linalg.norm(x - codes.T @ y, dim=1).numpy()

    def job() -> list[Any]:
        with torch.inference_mode():
            return [image(y) for y in atoms]

    return job


def _spams_settings() -> dict[str, Peer]:
    """SPAMS as it can be called: both ways, with all threads (-1), two, one."""
    settings = {}
    for products, way in ((False, "blocks"), (True, "Gram and correlations")):
        for threads, count in ((-1, "all threads"), (2, "2 threads"), (1, "1 thread")):
            name = f"spams_{'products_' if products else ''}{'all' if threads < 0 else threads}"
            make = functools.partial(spams, threads=threads, products=products)
            settings[name] = Peer(f"SPAMS, {way}, {count}", "spams", make)
    return settings


SPAMS = _spams_settings()
PEERS: dict[str, Peer] = {
    **SPAMS,
    "sklearn_cd": Peer(
        "scikit-learn, cd", "sklearn", functools.partial(sparse_encode, algorithm="lasso_cd"), slow=True
    ),
    "sklearn_lars": Peer(
        "scikit-learn, lars", "sklearn", functools.partial(sparse_encode, algorithm="lasso_lars"), slow=True
    ),
    "celer": Peer("celer", "celer", celer, slow=True),
    "skglm": Peer("skglm", "skglm", skglm, slow=True),
    "ridge_numpy": Peer("ridge, NumPy", "", ridge_numpy, codes=False),
    "ridge_torch": Peer("ridge, torch", "torch", ridge_torch, codes=False),
}
