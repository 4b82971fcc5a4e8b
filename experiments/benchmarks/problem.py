"""The coding problems of all pairs of some maps, in float64: what every contender is given, and what is true.

Blocks are cut in float64 (Eq. 1, 2, Sec. 3.4) and handed to each peer in the type and memory order that it
likes. `oracle` is the distance of the exact coder in float64; `judge` says how far codes of any origin are from it, and
their duality gap (see `dsr_jax.solvers.certificate`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dsr_jax import blocks
from dsr_jax.solvers import active_set, certificate

Floats = NDArray[np.float64]


class Problem(NamedTuple):
    """Unit-length blocks of probes (N, d) and of gallery images (M, d), float64, and the weight of the penalty."""

    probes: list[Floats]
    gallery: list[Floats]
    l1: float

    @classmethod
    def of(
        cls, probes: Sequence[np.ndarray], gallery: Sequence[np.ndarray], *, scales: tuple[int, ...], l1: float
    ) -> "Problem":
        """Of (h, w, d) maps."""
        x, y = ([blocks.cut_exactly(m, scales=scales) for m in side] for side in (probes, gallery))
        return cls(x, y, l1)

    def first(self, count: int) -> "Problem":
        """The first so many probes with the first so many gallery images."""
        return Problem(self.probes[:count], self.gallery[:count], self.l1)

    @property
    def pairs(self) -> int:
        return len(self.probes) * len(self.gallery)

    @property
    def columns(self) -> Floats:
        """The blocks of all probes below each other, (sum of N, d)."""
        return np.concatenate(self.probes)

    def distances(self, errors: Sequence[np.ndarray]) -> Floats:
        """(P, G) means over each probe's blocks of the errors (sum of N,) on every gallery image."""
        counts = np.array([len(x) for x in self.probes])
        starts = np.cumsum([0, *counts[:-1]])
        return np.stack([np.add.reduceat(np.asarray(e, np.float64), starts) / counts for e in errors], axis=1)


def oracle(problem: Problem) -> Floats:
    """Distances (P, G) of the active-set coder in float64."""
    x = problem.columns
    energy, errors = np.sum(x * x, axis=1), []
    for y in problem.gallery:
        solved = active_set.errors((y @ y.T)[None], (x @ y.T)[None], energy, l1=problem.l1, tol=1e-9)
        errors.append(solved.error[0])
    return problem.distances(errors)


def judge(codes: Sequence[np.ndarray], problem: Problem) -> tuple[Floats, float]:
    """Distances (P, G) that codes (M, sum of N) of every gallery image stand for, and their largest duality gap."""
    x = problem.columns
    energy, errors, largest = np.sum(x * x, axis=1), [], 0.0
    for y, w in zip(problem.gallery, codes, strict=True):
        w = np.asarray(w, np.float64)
        residual = x - w.T @ y
        errors.append(np.sum(residual * residual, axis=1))
        with jax.enable_x64(True):
            gaps = certificate.certify(*map(jnp.asarray, (w, y @ residual.T, y @ x.T, energy)), l1=problem.l1)[3]
            largest = max(largest, float(gaps.max()))
    return problem.distances(errors), largest
