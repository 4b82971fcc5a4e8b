"""The exact solver of the CPU: Eq. 6 of the paper, every column certified, at compiled speed on all cores.

    minimise over w:  1/2 |x - Y w|^2 + l1 |w|_1

for all columns against each of some dictionaries, given the Gram matrices Y'Y, the correlations Y'x and the energies
x'x, with the figures of `certificate`. The search is in `_active_set_kernel`; here the columns are shared out among
threads, and the few whose gap is above ``tol`` are coded again in float64 with room for every atom. Every column is
coded by itself, so results do not depend on the number of threads.

`errors` and `codes` take and give NumPy arrays, on the host. `coder` is the same search inside jit, vmap and grad (by a
callback to the host), for training on the CPU; on a GPU or TPU use `homotopy`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax.cpu import cores
from dsr_jax.cpu.kernel_cache import flat
from dsr_jax.solvers import _active_set_kernel, certificate
from dsr_jax.solvers._system_kernel import Limits
from dsr_jax.solvers.certificate import Solution

# Active atoms of a column at the first attempt; real maps need at most 20. And columns that are worth a thread.
PLACES, PART = 64, 128


class Figures(NamedTuple):
    """Figures of C columns on each of G dictionaries.

    Attributes:
      error: (G, C) squared reconstruction error |x - Y w|^2.
      lower: (G, C) certified lower bound of the exact squared error.
      upper: (G, C) certified upper bound of the exact squared error.
      gap: (G, C) duality gap, rounding included.
      steps: (G, C) int32 steps that the column took; 0 where w = 0 is exact.
    """

    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gap: np.ndarray
    steps: np.ndarray


def errors(
    gram: np.ndarray,
    correlation: np.ndarray,
    energy: np.ndarray,
    *,
    l1: float,
    tol: float = 1e-6,
    max_active: int | None = None,
    max_steps: int | None = None,
    threads: int | None = None,
    length: int = 1,
) -> Figures:
    """Certified squared errors of every column on every dictionary, without the codes.

    Numbers must be finite; callers check that. Atoms that are all zero (padding) never enter. Fast for C-contiguous
    correlations, and for the transposed view of a contiguous (C, G, M) array, which one matrix product over all
    gallery blocks gives; a tile that stays in the cache (a few MB) is coded about twice as fast as one that does not.

    Args:
      gram: (G, M, M) Y'Y of each dictionary, float32 or float64.
      correlation: (G, C, M) Y'x of each column, of the same type.
      energy: (C,) x'x; 1 for unit blocks, 0 for padding.
      l1: weight of the L1 penalty, > 0.
      tol: columns whose gap is larger at the end are coded once more in float64; float32 certifies about 5e-7. Up to
        1e-5 codes are exact but for rounding; beyond (1e-2), a column is finished at a gap of ``tol``, which saves the
        steps of small coefficients, and the interval shows the loss.
      max_active: places for active atoms of a column; default: as many as it needs.
      max_steps: largest number of steps; default: as many as it needs. 0 or a few give wide, honest intervals soon.
        A column that needs more than either limit says so by its gap and interval, and is not coded again.
      threads: number of threads; default: the cores that this process may use.
      length: d, if the products were formed in the arrays' type: the intervals allow for their rounding. Default:
        products that are right to the last digit.

    Returns:
      `Figures` of the arrays' type.

    Raises:
      ValueError: for shapes or types that do not fit, or l1, max_active, max_steps or threads out of range.

    Source: Lee, Battle, Raina, Ng: Efficient sparse coding algorithms (NIPS 2006); see `certificate`.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.solvers import active_set
      >>> columns = active_set.errors(np.eye(2)[None], np.array([[[0.8, 0.6]]]), np.ones(1), l1=0.4)
      >>> columns.error.round(6).tolist(), columns.steps.tolist()
      ([[0.32]], [[2]])
    """
    return _code(gram, correlation, energy, None, l1, tol, max_active, max_steps, threads, length)


def codes(
    gram: np.ndarray,
    correlation: np.ndarray,
    energy: np.ndarray,
    *,
    l1: float,
    tol: float = 1e-6,
    max_active: int | None = None,
    max_steps: int | None = None,
    threads: int | None = None,
    length: int = 1,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, Figures]:
    """Exact codes of every column on one dictionary, with the figures of `errors`.

    Args:
      gram: (M, M) Y'Y, float32 or float64.
      correlation: (C, M) Y'x of each column, of the same type.
      energy: (C,) x'x.
      l1: weight of the L1 penalty, > 0.
      tol: see `errors`.
      max_active: see `errors`.
      max_steps: see `errors`.
      threads: see `errors`.
      length: see `errors`.
      start: (M, C) codes to begin with, such as those of another l1 nearby; default: zero. The answer is the same, the
        steps are fewer.

    Returns:
      codes: (M, C) W.
      columns: `Figures` with figures of shape (C,).

    Raises:
      ValueError: as `errors`.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.solvers import active_set
      >>> weights, columns = active_set.codes(np.eye(2), np.array([[0.8, 0.6]]), np.ones(1), l1=0.4)
      >>> weights.round(6).ravel().tolist(), columns.error.round(6).tolist()
      ([0.4, 0.2], [0.32])
    """
    if np.ndim(gram) != 2 or np.ndim(correlation) != 2:
        raise ValueError(
            f"codes takes one dictionary: gram (M, M) and correlation (C, M), got {np.shape(gram)} and "
            f"{np.shape(correlation)}; for several use errors, or call it once for each"
        )
    dense = np.zeros(np.shape(correlation), np.asarray(correlation).dtype)
    if start is not None:
        if np.shape(start) != dense.shape[::-1] or not np.isfinite(start).all():
            raise ValueError(f"start must be finite codes of shape {dense.shape[::-1]}, got shape {np.shape(start)}")
        dense[:] = np.transpose(start)
    columns = _code(gram[None], correlation[None], energy, dense, l1, tol, max_active, max_steps, threads, length)
    return dense.T, Figures(*(figure[0] for figure in columns))


def coder(gram: jax.Array, correlation: jax.Array, energy: jax.Array, *, l1: float, tol: float = 1e-6) -> Solution:
    """`codes` as a JAX function: under jit, vmap and grad the host is called with the whole batch.

    Args:
      gram: (M, M) Y'Y.
      correlation: (M, N) Y'X.
      energy: (N,) x'x.
      l1: weight of the L1 penalty, > 0.
      tol: see `errors`.

    Returns:
      A `certificate.Solution`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dsr_jax.solvers import active_set
      >>> solve = jax.jit(lambda c: active_set.coder(jnp.eye(2), c, jnp.ones(1), l1=0.4))
      >>> solve(jnp.array([[0.8], [0.6]])).codes.round(3).ravel().tolist()
      [0.4..., 0.2...]
    """
    codes_shape = jax.ShapeDtypeStruct(correlation.shape, correlation.dtype)
    figure = jax.ShapeDtypeStruct(energy.shape, correlation.dtype)
    steps = jax.ShapeDtypeStruct(energy.shape, jnp.int32)
    shapes: Any = Solution(*(codes_shape, figure, figure, figure, figure, steps))  # type: ignore[arg-type]
    host = functools.partial(_on_host, l1, tol)
    return jax.pure_callback(host, shapes, gram, correlation, energy, vmap_method="broadcast_all")


def _on_host(l1: float, tol: float, gram: Any, correlation: Any, energy: Any) -> Solution:
    """`codes` of every member of a batch with any leading axes."""
    gram, correlation, energy = np.asarray(gram), np.asarray(correlation), np.asarray(energy)
    parts = []
    for place in np.ndindex(energy.shape[:-1]):
        weights, columns = codes(gram[place], np.ascontiguousarray(correlation[place].T), energy[place], l1=l1, tol=tol)
        parts.append((weights, *columns))
    shapes = [correlation.shape] + [energy.shape] * 5
    arrays = [np.stack(column).reshape(shape) for column, shape in zip(zip(*parts, strict=True), shapes, strict=True)]
    return Solution(*arrays)  # type: ignore[arg-type]  # NumPy arrays, which the callback turns into JAX's


def _code(
    gram: np.ndarray,
    correlation: np.ndarray,
    energy: np.ndarray,
    codes: np.ndarray | None,
    l1: float,
    tol: float,
    max_active: int | None,
    max_steps: int | None,
    threads: int | None,
    length: int,
) -> Figures:
    """Both attempts; codes go into ``codes`` (C, M) unless it is None."""
    gram, correlation, energy = np.asarray(gram), np.asarray(correlation), np.asarray(energy)
    _check(gram, correlation, energy, l1, max_active, max_steps, threads)
    atoms = gram.shape[-1]
    limits = Limits(
        float(l1),
        float(tol),
        float(np.finfo(gram.dtype).eps),
        certificate.rounding(length),
        20 * atoms + 100 if max_steps is None else max_steps,
    )
    places = max(1, min(atoms, PLACES if max_active is None else max_active))
    columns, short = _attempt(gram, correlation, energy, codes, limits, places, threads)
    if max_active is not None or max_steps is not None:
        return columns
    for g in np.flatnonzero((short > tol).any(axis=1)):
        bad = np.flatnonzero(short[g] > tol)
        second = np.zeros((bad.size, atoms)) if codes is not None else None
        part = gram[g : g + 1], correlation[g : g + 1, bad], energy[bad]
        wide_gram, wide_correlation, wide_energy = (values.astype(np.float64) for values in part)
        exact, _ = _attempt(wide_gram, wide_correlation, wide_energy, second, limits, atoms, threads)
        better = exact.gap[0] < columns.gap[g, bad]
        for figure, new in zip(columns, exact, strict=True):
            figure[g, bad[better]] = new[0, better]
        if codes is not None and second is not None:
            codes[bad[better]] = second[better]
    return columns


def _attempt(
    gram: np.ndarray,
    correlation: np.ndarray,
    energy: np.ndarray,
    codes: np.ndarray | None,
    limits: Limits,
    places: int,
    threads: int | None,
) -> tuple[Figures, np.ndarray]:
    """One search per column, on all threads, in the arrays' type; ``limits.eps`` is the precision that the data had.

    Also returns the gaps without their allowance for rounding, which no second attempt makes smaller.
    """
    dtype, shape = gram.dtype, correlation.shape
    size = shape[0] * shape[1]
    rows, strides = _rows(correlation)
    problem = _active_set_kernel.Problem(flat(gram), rows, strides, shape, energy.astype(dtype))
    coded = _active_set_kernel.Coded(
        np.empty((5, size), dtype), np.zeros(size, np.int32), np.empty((0, 0), dtype) if codes is None else codes
    )

    def part(start: int, stop: int) -> None:
        _active_set_kernel.solve(_active_set_kernel.space(shape[2], places, dtype), problem, limits, start, stop, coded)

    cores.each(part, size, threads=threads, least=PART)
    error, lower, upper, gap, short = coded.figures.reshape(5, *shape[:2])
    return Figures(error, lower, upper, gap, coded.steps.reshape(shape[:2])), short


def _rows(correlation: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The correlations as one flat array, and how many rows further the next dictionary and the next column are."""
    swapped = correlation.transpose(1, 0, 2)
    if swapped.flags.c_contiguous:
        return flat(swapped), (1, correlation.shape[0])
    return flat(correlation), (correlation.shape[1], 1)


def _check(
    gram: np.ndarray,
    correlation: np.ndarray,
    energy: np.ndarray,
    l1: float,
    max_active: int | None,
    max_steps: int | None,
    threads: int | None,
) -> None:
    if gram.ndim != 3 or correlation.ndim != 3 or gram.shape != (len(gram), *correlation.shape[2:] * 2):
        raise ValueError(f"gram must be (G, M, M) and correlation (G, C, M), got {gram.shape} and {correlation.shape}")
    if len(gram) != len(correlation) or energy.shape != correlation.shape[1:2]:
        raise ValueError(
            f"gram (G, M, M), correlation (G, C, M) and energy (C,) must agree in G and C, got {gram.shape}, "
            f"{correlation.shape} and {energy.shape}"
        )
    if gram.dtype != correlation.dtype or gram.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"gram and correlation must both be float32 or both float64, got {gram.dtype} and {correlation.dtype}; "
            "convert them with astype"
        )
    certificate.check_l1(l1)
    if max_active is not None and max_active < 1:
        raise ValueError(f"max_active must be >= 1, or None for as many as a column needs, got {max_active}")
    if max_steps is not None and max_steps < 0:
        raise ValueError(f"max_steps must be >= 0, or None for as many as a column needs, got {max_steps}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be >= 1, or None for all cores, got {threads}")
