"""Part `accelerator`: matching on the device that JAX sees, against the cores of its machine and the product alone.

`homotopy` runs on the device, a GPU or TPU, or the CPU where JAX sees nothing else; the compiled `active_set` runs on
the cores in any case. Both go from maps to certified distances. The floor is one float32 product, at the highest
precision, of all probe positions with all gallery positions, which are on the device already: no exact method does
without it. Exactness is shown on the first pairs, by float64, and on all pairs by the two intervals, which must meet.
"""

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import match
from dsr_jax.cpu import cores
from experiments.benchmarks import device_maps, network, outcome, settings
from experiments.benchmarks.alternating import Contender, Timed, Turns, alternate, ratio
from experiments.benchmarks.maps import MapSet
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.benchmarks.problem import Problem, oracle
from experiments.benchmarks.settings import Case

TOL = 1e-6
COMPILED = "/jax/core/compile/backend_compile_duration"  # the event of JAX that tells of a compilation
CODERS = ("homotopy", "active_set")
HEADER = (
    *("contender", "its time / homotopy's (range)", "of medians", "pairs / s", "% of floor", "compiling, s"),
    *("largest error", "largest gap", "intervals that miss"),
)


class Exactness(NamedTuple):
    """Largest error against float64 and intervals that miss it, on a sample; largest gap of all pairs."""

    largest_error: float
    largest_gap: float
    missing: int


def device() -> str:
    """What JAX computes on, in words."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return "the CPU: JAX sees no accelerator"
    return f"{len(devices)} x {devices[0].device_kind}"


def peak_bytes() -> int | None:
    """Largest memory that this process has had on a device; None where the device does not tell."""
    stats = [one.memory_stats() or {} for one in jax.local_devices()]
    peaks = [int(one["peak_bytes_in_use"]) for one in stats if "peak_bytes_in_use" in one]
    return max(peaks) if peaks else None


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Seconds that XLA spends on each program that it compiles within the block."""
    seconds: list[float] = []

    def heard(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED:
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Errors of XLA, or torch, within the block as an OSError: memory that is not there, a device that is lost.

    Args:
      what: what is measured, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise OSError(
            f"{what} failed on {device()}: {reason}. What was measured before is in speed.json; where memory is short, "
            "give a smaller --device_gallery, --device_bytes or --device_batch"
        ) from error


def run(maps: MapSet, chosen: settings.Accelerator, *, l1: float, turns: Turns) -> Part:
    """Times the coders and the product on one set of maps.

    Args:
      maps: the maps.
      chosen: how many pairs are compared with float64, and the memory ceiling.
      l1: weight of the L1 penalty.
      turns: of the alternation.
    """
    begin = time.perf_counter()
    gallery = match.Gallery.build(maps.gallery, scales=maps.scales)

    def matched(coder: str) -> match.Distances:
        return match.distances(maps.probes, gallery, coder=coder, l1=l1, tol=TOL, max_bytes=chosen.device_bytes)

    pairs = len(maps.probes) * len(maps.gallery)
    with compilations() as compiled:
        matched("homotopy")
    peak = peak_bytes()
    contenders = [Contender(coder, functools.partial(matched, coder), pairs) for coder in CODERS]
    contenders.append(Contender("floor", _product(maps, chosen.device_bytes), pairs))
    times = alternate(contenders, turns, label=f"accelerator, {maps.name}")
    places = [_spread(len(side), chosen.device_checked) for side in (maps.probes, maps.gallery)]
    x, y = ([side[i] for i in at] for side, at in zip((maps.probes, maps.gallery), places, strict=True))
    sample = Problem.of(x, y, scales=maps.scales, l1=l1)
    truth, work = oracle(sample), device_maps.work(sample)
    exact = {coder: _exactness(times[coder].result, truth, np.ix_(*places)) for coder in CODERS}
    apart = _apart(*(times[coder].result for coder in CODERS))
    key = f"accelerator/{maps.name}"
    figures: Figures = {
        **{f"{key}/pairs": pairs, f"{key}/programs": len(compiled), f"{key}/compile_seconds": sum(compiled)},
        **{f"{key}/intervals_apart": apart, f"{key}/seconds": time.perf_counter() - begin},
        **{f"{key}/zero_columns": work.zero, f"{key}/codes_per_column": work.codes},
        **({} if peak is None else {f"{key}/peak_device_bytes": peak}),
    }
    for name, timed in times.items():
        figures |= _speed(f"{key}/{name}", timed, times)
    for coder, one in exact.items():
        figures |= {f"{key}/{coder}/{name}": value for name, value in one._asdict().items()}
    notes = [
        f"maps: {maps.source}",
        f"{len(maps.probes)} probes x {len(maps.gallery)} gallery maps, on average "
        f"{np.mean([len(x) for x in sample.probes]):.1f} and {np.mean([len(y) for y in sample.gallery]):.1f} blocks of "
        f"{maps.gallery[0].shape[2]} numbers; l1 = {l1}, tol = {TOL:g}",
        f"w = 0 solves {work.zero:.0%} of the columns; {work.codes:.2f} non-zero codes per column (sample)",
        f"peak memory of the device until here: {_megabytes(peak)}; tiles within {_megabytes(chosen.device_bytes)}",
        f"error and intervals: on {truth.shape[0]} x {truth.shape[1]} pairs, spread over all, against float64; of all "
        f"pairs {apart} whose two intervals do not meet (must be 0, as must those that miss)",
        f"compiling: {len(compiled)} programs, at the first call. Floor: product of all positions, float32 at the "
        "highest precision, on one device",
    ]
    return Part([Table(f"Accelerator, {maps.name}", HEADER, _rows(times, exact, sum(compiled)), notes)], figures)


def run_network(case: Case, *, width: float, seed: int, turns: Turns) -> Part:
    """Times VGG-16, forward and a training step, in bfloat16 and float32, against torch on the same device."""
    platform = jax.local_devices()[0].platform
    place = {"gpu": "cuda"}.get(platform, platform)
    ways = {f"{case.name}_{dtype}": (case, network.Way(dtype, place)) for dtype in ("bfloat16", "float32")}
    table, figures = network.measured(ways, width=width, seed=seed, turns=turns, key="accelerator/network")
    notes = [
        f"VGG-16 of {width:g} of its width, random weights, on {device()}; each at its default precision of float32",
        "torch: channels_last, bfloat16 by autocast, on a GPU compiled by torch.compile",
        *table.notes,
    ]
    return Part([table._replace(title="Accelerator, network", notes=notes)], figures)


def _rows(times: dict[str, Timed], exact: dict[str, Exactness], compiling: float) -> list[tuple[outcome.Cell, ...]]:
    titles = {
        "homotopy": f"homotopy on {device()}",
        "active_set": f"active_set, compiled, {cores.count()} cores",
        "floor": "floor: product of positions",
    }
    rows: list[tuple[outcome.Cell, ...]] = []
    for name, timed in times.items():
        against: tuple[outcome.Cell, ...] = (1, None)
        if name != "homotopy":
            against = outcome.cells(ratio(timed, times["homotopy"]))
        share = 100 * float(np.median(times["floor"].seconds / timed.seconds))
        seconds = compiling if name == "homotopy" else None
        rows.append((titles[name], *against, 1 / timed.median, share, seconds, *(exact.get(name) or (None,) * 3)))
    return rows


def _speed(key: str, timed: Timed, times: dict[str, Timed]) -> Figures:
    figures: Figures = {
        f"{key}/pairs_per_second": 1 / timed.median,
        f"{key}/floor_share": float(np.median(times["floor"].seconds / timed.seconds)),
    }
    return figures if timed is times["homotopy"] else {key: ratio(timed, times["homotopy"])} | figures


def _spread(total: int, count: int) -> list[int]:
    """Up to ``count`` places of ``total``, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, count).round().astype(int)).tolist()


def _exactness(result: match.Distances, truth: np.ndarray, at: tuple[np.ndarray, ...]) -> Exactness:
    """Of the pairs ``at`` whose float64 distances are ``truth``; the gap of all."""
    missed = (truth < result.lower[at]) | (truth > result.upper[at])
    return Exactness(
        float(np.abs(result.distance[at] - truth).max()), float(result.gap.max()), int(np.count_nonzero(missed))
    )


def _apart(one: match.Distances, other: match.Distances) -> int:
    """Pairs whose intervals do not meet."""
    return int(np.count_nonzero((one.lower > other.upper) | (other.lower > one.upper)))


def _product(maps: MapSet, limit: int) -> Any:
    """A job: the product of all positions of both sides, in tiles whose results are within a limit of bytes."""
    x, y = (jax.device_put(_positions(side)) for side in (maps.probes, maps.gallery))
    rows = max(1, min(len(y), limit // (4 * len(x))))
    tiles = [y[start : start + rows] for start in range(0, len(y), rows)]

    @jax.jit
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b.T, precision="highest")

    def job() -> None:
        for tile in tiles:
            jax.block_until_ready(product(x, tile))

    return job


def _positions(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors of all positions below each other, float32."""
    flat = np.concatenate([values.reshape(-1, values.shape[2]) for values in maps])
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30), np.float32)


def _megabytes(count: int | None) -> str:
    return "not told" if count is None else f"{count / (1 << 20):,.0f} MB"
