"""The table of solvers, what each needs and can, and the one choice that ``coder="auto"`` stands for.

A solver is a function `(gram (M, M), correlation (M, N), energy (N,), *, l1, tol) -> certificate.Solution` that works
inside jit and vmap, in float32 and float64. `matching` runs it in one of its engines; `reconstruction` calls it. Beside
the solvers stand two other distances of the same products, ridge and MaxSim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsr_jax import cpu
from dsr_jax.solvers import active_set, feature_sign, homotopy, maxsim, proximal, ridge


@dataclass(frozen=True)
class Memory:
    """Numbers that a solver in XLA keeps at once, by what the compiler sets aside for tiles of several shapes.

    Attributes:
      atom: for each atom of each column.
      column: for each column beside these.
      square: for each pair of atoms of a dictionary.
      dictionary: for each dictionary, however few its atoms and columns.
    """

    atom: int = 0
    column: int = 0
    square: int = 0
    dictionary: int = 0


@dataclass(frozen=True)
class Solver:
    """What a solver needs and can.

    Attributes:
      solve: the function, see ``figure``.
      engines: which engine of `matching` runs it on a CPU, and which elsewhere: "compiled" and "maxsim" need a CPU
        (inside jit a call of the host), "xla" runs on every backend.
      memory: the `Memory` that it takes in XLA.
      exact: its codes are exact but for rounding; else within what its gap says.
      figure: what a column's figure is. "lasso": the squared error of Eq. 6. "residual": the norm of what other codes
        leave, by `(gram, atoms (M, d), columns (N, d)) -> (N,)`. "cosine": one minus the largest, without codes, by
        `(correlation (M, N), directed (M,), energy (N,)) -> (N,)`.
    """

    solve: Callable[..., Any]
    engines: tuple[str, str]
    memory: Memory = Memory()
    exact: bool = True
    figure: str = "lasso"

    @property
    def certified(self) -> bool:
        """Whether distances come with an interval that holds the exact one, and a gap."""
        return self.figure != "residual"

    @property
    def training(self) -> bool:
        """Whether it gives codes, inside jit, vmap and grad."""
        return self.figure == "lasso"

    @property
    def engine(self) -> str:
        """The engine for this backend."""
        return self.engines[0 if cpu.fast() else 1]


XLA = "xla", "xla"
SOLVERS = {
    "active_set": Solver(active_set.coder, ("compiled", "compiled")),
    "homotopy": Solver(homotopy.homotopy, XLA, Memory(11, square=4, dictionary=4 * homotopy.ROOM)),
    "proximal": Solver(proximal.proximal, XLA, Memory(20, 40), exact=False),
    "feature_sign": Solver(feature_sign.feature_sign, XLA, Memory(40, 2500)),
    "ridge": Solver(ridge.errors, XLA, Memory(20), exact=False, figure="residual"),
    "maxsim": Solver(maxsim.distances, ("maxsim", "xla"), Memory(2), figure="cosine"),
}
# What "auto" is on a CPU, and elsewhere.
AUTO = "active_set", "homotopy"


def names(use: str) -> tuple[str, ...]:
    """The solvers for a use, "matching" or "training".

    Example:
      >>> from dsr_jax.solvers import table
      >>> table.names("training")
      ('active_set', 'homotopy', 'proximal', 'feature_sign')
    """
    return tuple(name for name, solver in SOLVERS.items() if use == "matching" or solver.training)


def choose(coder: str, *, use: str, certified: bool = False) -> str:
    """The solver that a call asks for; of "auto" the one for this backend.

    Args:
      coder: "auto" or a name of `SOLVERS`.
      use: "matching" or "training".
      certified: whether the result has to be certified.

    Returns:
      A name of `SOLVERS`.

    Raises:
      ValueError: naming the solvers that there are, or for one without the certificate that is needed.

    Example:
      >>> from dsr_jax.solvers import table
      >>> table.choose("proximal", use="training")
      'proximal'
    """
    if coder == "auto":
        return AUTO[0 if cpu.fast() else 1]
    if coder not in names(use):
        raise ValueError(f"coder must be 'auto' or one of {sorted(names(use))}, got {coder!r}")
    if certified and not SOLVERS[coder].certified:
        raise ValueError(
            f"coder must not be {coder!r} here: it has no certificate; use match.distances(coder={coder!r})"
        )
    return coder
