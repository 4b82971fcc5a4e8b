"""Part `coder`: matching P probes with G gallery maps, ours against every peer, on several sets of maps.

Ours goes from maps to certified distances (Eq. 1 to 4), at tol = 1e-6. Peers are given blocks that are cut already and
return codes only: the residual, and any certificate, is not in their time. SPAMS' line is the best of its settings. The
floor is what no exact method can avoid, the product of all blocks of both sides by NumPy's BLAS, in tiles that stay in
the cache. Accuracy is against the float64 oracle on the first pairs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dsr_jax import match
from experiments.benchmarks import outcome, peers
from experiments.benchmarks.alternating import Contender, Timed, alternate, fastest, ratio
from experiments.benchmarks.maps import MapSet
from experiments.benchmarks.outcome import Figures, Part, Table, number
from experiments.benchmarks.problem import Problem, judge, oracle

TOL = 1e-6
OURS = "active_set"
TITLES = {
    OURS: "active_set, Gallery built",
    "active_set_raw": "active_set, lists of maps",
    "feature_sign": "feature_sign (XLA)",
    "proximal": "proximal (XLA)",
    "floor": "floor: product of all blocks",
    "floor_single": "floor of single-scale blocks",
}
HEADER = (
    *("coder", "time / ours", "range", "of medians", "pairs / s", "% of floor", "largest error", "mean error"),
    *("largest gap", "pairs timed"),
)
# Bytes of a tile of the floor's product: as much as the matcher's own.
TILE = 1 << 23


def run(sets: Sequence[MapSet], *, l1: float, rounds: int, checked: int, few: int, progress: bool) -> Part:
    """Times every coder on every set.

    Args:
      sets: the maps.
      l1: weight of the L1 penalty.
      rounds: of the alternation.
      checked: the first so many probes and gallery images are compared with the oracle; XLA's coders get these alone.
      few: the same for peers that work column by column in Python.
      progress: whether to show a progress bar.
    """
    tables, figures = [], Figures()
    for maps in sets:
        table, found = _measure(maps, l1=l1, rounds=rounds, checked=checked, few=few, progress=progress)
        tables.append(table)
        figures |= {f"coder/{maps.name}/{key}": value for key, value in found.items()}
    return Part(tables, figures)


def _measure(
    maps: MapSet, *, l1: float, rounds: int, checked: int, few: int, progress: bool
) -> tuple[Table, dict[str, float | int | str]]:
    problem = Problem.of(maps.probes, maps.gallery, scales=maps.scales, l1=l1)
    installed = {name: peer for name, peer in peers.PEERS.items() if peer.installed}
    contenders = [*_floors(maps, problem), *_ours(maps, l1=l1, checked=checked)]
    for name, peer in installed.items():
        part = problem.first(few) if peer.slow else problem
        contenders.append(Contender(name, peer.make(part), work=part.pairs))
    times = alternate(contenders, rounds=rounds, label=f"coder, {maps.name}", progress=progress)
    truth = oracle(problem.first(checked))
    accuracy = {name: _accuracy(name, times[name].result, problem, truth, few=few) for name in times}
    figures: Figures = {}
    for contender in contenders:
        figures |= _figures(contender, times, accuracy[contender.name])
    best = fastest({name: times[name] for name in peers.SPAMS if name in times}) if "spams_all" in times else ""
    if best:
        figures |= {k.replace(best, "spams_best", 1): v for k, v in figures.items() if k.startswith(f"{best}/")}
        figures["spams_best/setting"] = best
    missing = {peer.module for name, peer in peers.PEERS.items() if name not in installed}
    return _table(maps, contenders, figures, times, best, problem, sorted(missing), checked, few), figures


def _ours(maps: MapSet, *, l1: float, checked: int) -> list[Contender]:
    """The library's coders; "auto" is the active set on a CPU. The first is what the others are compared with."""
    gallery = match.Gallery.build(maps.gallery, scales=maps.scales)
    probes, few = maps.probes[:checked], match.Gallery.build(maps.gallery[:checked], scales=maps.scales)

    def matched(coder: str, x: Any, y: Any, **options: Any) -> Callable[[], match.Distances]:
        return lambda: match.distances(x, y, coder=coder, l1=l1, tol=TOL, **options)

    pairs, less = len(maps.probes) * len(maps.gallery), len(probes) * len(few.maps)
    return [
        Contender(OURS, matched("active_set", maps.probes, gallery), pairs),
        Contender("active_set_raw", matched("active_set", maps.probes, maps.gallery, scales=maps.scales), pairs),
        Contender("feature_sign", matched("feature_sign", probes, few), less),
        Contender("proximal", matched("proximal", probes, few), less),
    ]


def _floors(maps: MapSet, problem: Problem) -> list[Contender]:
    found = [Contender("floor", _product(problem), problem.pairs)]
    if maps.scales != (1,):
        single = Problem.of(maps.probes, maps.gallery, scales=(1,), l1=problem.l1)
        found.append(Contender("floor_single", _product(single), single.pairs))
    return found


def _product(problem: Problem) -> Callable[[], None]:
    """All correlations, a tile at a time into one buffer."""
    x = problem.columns.astype(np.float32)
    y = np.concatenate(problem.gallery).astype(np.float32)
    atoms = max(1, min(len(y), TILE // (4 * len(x))))
    buffer = np.empty((atoms, len(x)), np.float32)

    def job() -> None:
        for start in range(0, len(y), atoms):
            part = y[start : start + atoms]
            np.matmul(part, x.T, out=buffer[: len(part)])

    return job


def _accuracy(name: str, result: Any, problem: Problem, truth: np.ndarray, *, few: int) -> tuple[float, ...]:
    """Largest and mean error of the distance, and largest gap; nothing for what computes something else."""
    if isinstance(result, match.Distances):
        count = min(len(truth), len(result.distance))
        wrong = np.abs(result.distance[: len(truth), : truth.shape[1]].astype(np.float64) - truth[:count])
        return float(wrong.max()), float(wrong.mean()), float(result.gap.max())
    if name not in peers.PEERS or not peers.PEERS[name].codes:
        return ()
    part = problem.first(min(few, len(truth)) if peers.PEERS[name].slow else len(truth))
    columns = sum(map(len, part.probes))
    codes = [peers.dense(codes)[:, :columns] for codes in result[: len(part.gallery)]]
    distances, gap = judge(codes, part)
    wrong = np.abs(distances - truth[: len(part.probes), : len(part.gallery)])
    return float(wrong.max()), float(wrong.mean()), gap


def _figures(contender: Contender, times: dict[str, Timed], accuracy: tuple[float, ...]) -> Figures:
    name, own = contender.name, times[contender.name]
    found: Figures = {} if name == OURS else outcome.ratio_figures(name, ratio(own, times[OURS]))
    found |= {
        f"{name}/pairs_per_second": 1 / own.median,
        f"{name}/floor_share": float(np.median(times["floor"].seconds / own.seconds)),
        f"{name}/pairs": int(contender.work),
    }
    return found | dict(
        zip((f"{name}/{key}" for key in ("largest_error", "mean_error", "largest_gap")), accuracy, strict=False)
    )


def _table(
    maps: MapSet,
    contenders: Sequence[Contender],
    figures: Figures,
    times: dict[str, Timed],
    best: str,
    problem: Problem,
    missing: Sequence[str],
    checked: int,
    few: int,
) -> Table:
    rows = []
    for name in [contender.name for contender in contenders]:
        title = TITLES.get(name) or peers.PEERS[name].title
        cells = outcome.ratio_cells(ratio(times[name], times[OURS])) if name != OURS else ("1", "", "")
        each = [figures.get(f"{name}/{key}") for key in ("largest_error", "mean_error", "largest_gap")]
        rest = ["" if value is None else number(float(value)) for value in each]
        rate, share = (float(figures[f"{name}/{key}"]) for key in ("pairs_per_second", "floor_share"))
        counted = f"{figures[f'{name}/pairs']:,}"
        rows.append((title + " *" * (name == best), *cells, number(rate), number(100 * share), *rest, counted))
    rows.sort(key=lambda row: (row[0].startswith("floor"), row[0] != TITLES[OURS], not row[0].endswith("*")))
    rows += [(f"{module}: not installed", *("",) * (len(HEADER) - 1)) for module in missing]
    blocks = np.mean([len(x) for x in problem.probes]), np.mean([len(y) for y in problem.gallery])
    notes = [
        f"maps: {maps.source}",
        f"{len(maps.probes)} probes x {len(maps.gallery)} gallery maps, on average {blocks[0]:.1f} and {blocks[1]:.1f} "
        f"blocks of {maps.gallery[0].shape[2]} numbers; l1 = {problem.l1}, ours at gap <= {TOL:g}",
        "* the best setting of SPAMS: the ratio that counts. Ours: from maps to certified distances. Peers: from",
        "  blocks that are cut already to codes only, without the residual (ridge, another distance: with it).",
        f"  XLA's coders match the first {checked} x {checked} pairs only, scikit-learn, celer and skglm (float64) the",
        f"  first {few} x {few}; their rates are scaled. feature_sign and proximal are made for accelerators.",
        f"  Errors: |distance - float64 oracle| on the first {checked} x {checked} pairs. Gap: ours as certified for",
        "  all pairs timed, peers' recomputed from their codes in float64 (celer's own dual point certifies less).",
    ]
    return Table(f"Coder, {maps.name}", HEADER, rows, notes)
