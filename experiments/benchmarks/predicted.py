"""Prediction of the floor on an H100 by counting: operations and bytes of the product of positions, nothing measured.

The compiler counts both in the program of the product. The peaks of the chip's data sheet then bound its time from
below: arithmetic in float32 units, or in three passes of bfloat16 on tensor cores, and memory traffic. How many steps a
column takes depends on the data, so the time of the coding is not predicted; of it stands here what it has to read at
least where correlations of blocks lie in memory, and what the compiler sets aside for `homotopy`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dsr_jax import blocks
from dsr_jax.solvers import table
from experiments.benchmarks import outcome
from experiments.benchmarks.maps import Maps, MapSet
from experiments.benchmarks.outcome import Figures, Part, Table

HEADER = (
    *("maps", "operations", "bytes", "float32, ms", "3 x bfloat16, ms", "memory, ms", "pairs / s at most"),
    *("block correlations, bytes", "read once, ms", "homotopy, bytes set aside"),
)


class Chip(NamedTuple):
    """Peaks of a chip's data sheet: operations per second in float32 and dense bfloat16, bytes per second."""

    name: str
    float32: float
    bfloat16: float
    bandwidth: float


H100 = Chip("H100 (SXM)", 67e12, 990e12, 3.35e12)


class Counted(NamedTuple):
    """Operations of a program, and bytes that it reads and writes."""

    operations: float
    bytes: float


def product(rows: int, columns: int, channels: int) -> Counted:
    """What the compiler counts in the float32 product (rows, channels) x (channels, columns).

    Raises:
      ValueError: if the backend counts nothing.

    Example:
      >>> product(2, 3, 4)
      Counted(operations=48.0, bytes=104.0)
    """
    shapes = (jax.ShapeDtypeStruct((count, channels), jnp.float32) for count in (rows, columns))
    cost = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision="highest")).lower(*shapes).cost_analysis()
    if cost is None:
        raise ValueError(f"the backend {jax.default_backend()!r} counts no operations: nothing can be predicted on it")
    return Counted(float(cost["flops"]), float(cost["bytes accessed"]))


def run(sets: Sequence[MapSet], *, l1: float, chip: Chip = H100, memory: bool = True) -> Part:
    """Predicts the floor of every set on a chip.

    Args:
      sets: the maps.
      l1: weight of the L1 penalty.
      chip: the chip.
      memory: whether `homotopy` is compiled to see what memory it takes.
    """
    figures: Figures = {}
    rows: list[tuple[outcome.Cell, ...]] = []
    for maps in sets:
        x, y = (_counts(side, maps.scales) for side in (maps.probes, maps.gallery))
        counted = product(x[0], y[0], maps.gallery[0].shape[2])
        pairs, correlations = len(maps.probes) * len(maps.gallery), 4.0 * x[1] * y[1]
        seconds = counted.operations / chip.float32, 3 * counted.operations / chip.bfloat16
        traffic, read = counted.bytes / chip.bandwidth, correlations / chip.bandwidth
        most = pairs / max(min(seconds), traffic)
        aside = _set_aside(maps, l1) if memory else None
        key = f"accelerator/predicted/{maps.name}"
        figures |= {
            **{f"{key}/operations": counted.operations, f"{key}/bytes": counted.bytes},
            **{f"{key}/float32_seconds": seconds[0], f"{key}/bfloat16_seconds": seconds[1]},
            **{f"{key}/memory_seconds": traffic, f"{key}/pairs_per_second_at_most": most},
            **{f"{key}/correlation_bytes": correlations, f"{key}/correlation_seconds": read},
            **({} if aside is None else {f"{key}/homotopy_bytes": aside}),
        }
        milliseconds = (1000 * value for value in (*seconds, traffic))
        rows.append((maps.name, *counted, *milliseconds, most, correlations, 1000 * read, aside))
    notes = [
        f"PREDICTED, NOT MEASURED: counts divided by the peaks of the data sheet, {chip.float32 / 1e12:g} TFLOP/s in "
        f"float32, {chip.bfloat16 / 1e12:g} in bfloat16, {chip.bandwidth / 1e12:g} TB/s",
        "operations and bytes: of one product of all positions; pairs / s at most: by it alone, the faster arithmetic",
        "the coding is not predicted: its steps depend on the data. Read once: the least that it reads where the",
        "  correlations of all blocks lie in memory; set aside: by the compiler here, for one probe and one entry",
    ]
    return Part([Table(f"Accelerator, {chip.name}: predicted, not measured", HEADER, rows, notes)], figures)


def _counts(maps: Maps, scales: tuple[int, ...]) -> tuple[int, int]:
    """Positions and blocks of some maps."""
    shapes = [values.shape[:2] for values in maps]
    return sum(h * w for h, w in shapes), sum(blocks.count(*shape, scales=scales) for shape in shapes)


def _set_aside(maps: MapSet, l1: float) -> int | None:
    """Bytes beside arguments and results that the compiler sets aside for one pair; None where it does not tell."""
    columns, atoms = (_counts(side[:1], maps.scales)[1] for side in (maps.probes, maps.gallery))
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((atoms, atoms), (atoms, columns), (columns,)))
    solver = table.SOLVERS["homotopy"].solve
    analysis = jax.jit(lambda *a: solver(*a, l1=l1, tol=1e-6)[1:5]).lower(*shapes).compile().memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)
