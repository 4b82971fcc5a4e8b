"""Part `coder`: P probes matched with G gallery maps, ours against every peer, on several sets of maps.

Ours goes from maps to certified distances (Eq. 1 to 4), at tol = 1e-6. Peers are given blocks that are cut already and
return codes only: the residual, and any certificate, is not in their time. SPAMS' line is the best of its settings. The
floor is what no exact method can avoid, the product of all blocks of both sides by NumPy's BLAS, in tiles that stay in
the cache. Accuracy is against the float64 oracle on the first pairs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import match
from experiments.benchmarks import outcome, peers, settings
from experiments.benchmarks.alternating import Contender, Ratio, Timed, Turns, alternate, ratio
from experiments.benchmarks.maps import MapSet
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.benchmarks.problem import Problem, judge, oracle

TOL = 1e-6
OURS = "active_set"
TITLES = {
    OURS: "active_set, Gallery built",
    "active_set_raw": "active_set, lists of maps",
    "homotopy": "homotopy (XLA)",
    "feature_sign": "feature_sign (XLA)",
    "proximal": "proximal (XLA)",
    "maxsim": "maxsim (another distance)",
    "floor": "floor: product of all blocks",
    "floor_single": "floor of single-scale blocks",
}
HEADER = (
    *("coder", "time / ours (range)", "of medians", "pairs / s", "% of floor", "largest error", "mean error"),
    *("largest gap", "pairs timed"),
)
# Bytes of a tile of the floor's product: as much as the matcher's own.
TILE = 1 << 23


class Accuracy(NamedTuple):
    """Largest and mean error of the distance, and largest duality gap."""

    largest_error: float
    mean_error: float
    largest_gap: float


class Measured(NamedTuple):
    """A contender: time against ours (None: it is ours), speed, share of the floor's speed, pairs timed, accuracy.

    What computes something else than our distances has no accuracy.
    """

    name: str
    ratio: Ratio | None
    pairs_per_second: float
    floor_share: float
    pairs: int
    accuracy: Accuracy | None

    def figures(self, key: str) -> Figures:
        """Under a key."""
        figures: Figures = {} if self.ratio is None else {key: self.ratio}
        figures |= {f"{key}/{name}": getattr(self, name) for name in ("pairs_per_second", "floor_share", "pairs")}
        return figures | ({f"{key}/{name}": v for name, v in self.accuracy._asdict().items()} if self.accuracy else {})


def run(sets: Sequence[MapSet], chosen: settings.Coder, *, l1: float, turns: Turns) -> Part:
    """Times every coder on every set.

    Args:
      sets: the maps.
      chosen: which pairs are compared with the oracle, and which are timed on slow peers.
      l1: weight of the L1 penalty.
      turns: of the alternation.
    """
    tables: list[Table] = []
    figures: Figures = {}
    for maps in sets:
        problem = Problem.of(maps.probes, maps.gallery, scales=maps.scales, l1=l1)
        measured = _measure(maps, problem, chosen, turns)
        best = _best_spams(measured)
        tables.append(_table(maps, problem, measured, best, chosen))
        key = f"coder/{maps.name}"
        for name, one in measured.items():
            figures |= one.figures(f"{key}/{name}")
        if best:
            figures |= measured[best].figures(f"{key}/spams_best") | {f"{key}/spams_best/setting": best}
    return Part(tables, figures)


def _measure(maps: MapSet, problem: Problem, chosen: settings.Coder, turns: Turns) -> dict[str, Measured]:
    contenders = [*_floors(maps, problem), *_ours(maps, l1=problem.l1, checked=chosen.checked)]
    for name, peer in peers.PEERS.items():
        if peer.installed:
            part = problem.first(chosen.few) if peer.slow else problem
            contenders.append(Contender(name, peer.make(part), work=part.pairs))
    times = alternate(contenders, turns, label=f"coder, {maps.name}")
    truth = oracle(problem.first(chosen.checked))
    return {
        contender.name: _measured(
            contender, times, _accuracy(contender.name, times[contender.name].result, problem, truth, few=chosen.few)
        )
        for contender in contenders
    }


def _measured(contender: Contender, times: dict[str, Timed], accuracy: Accuracy | None) -> Measured:
    timed = times[contender.name]
    return Measured(
        contender.name,
        None if contender.name == OURS else ratio(timed, times[OURS]),
        pairs_per_second=1 / timed.median,
        floor_share=float(np.median(times["floor"].seconds / timed.seconds)),
        pairs=int(contender.work),
        accuracy=accuracy,
    )


def _best_spams(measured: dict[str, Measured]) -> str:
    """The fastest setting of SPAMS; empty where it is not installed."""
    return max(measured.keys() & peers.SPAMS.keys(), key=lambda name: measured[name].pairs_per_second, default="")


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
        Contender("homotopy", matched("homotopy", maps.probes, gallery), pairs),
        Contender("feature_sign", matched("feature_sign", probes, few), less),
        Contender("proximal", matched("proximal", probes, few), less),
        Contender("maxsim", matched("maxsim", maps.probes, gallery), pairs),
    ]


def _floors(maps: MapSet, problem: Problem) -> list[Contender]:
    floors = [Contender("floor", _product(problem), problem.pairs)]
    if maps.scales != (1,):
        single = Problem.of(maps.probes, maps.gallery, scales=(1,), l1=problem.l1)
        floors.append(Contender("floor_single", _product(single), single.pairs))
    return floors


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


def _accuracy(name: str, result: Any, problem: Problem, truth: np.ndarray, *, few: int) -> Accuracy | None:
    """Against the oracle's distances; None for what computes something else."""
    if isinstance(result, match.Distances) and result.coder != "maxsim":
        wrong = result.distance[: len(truth), : truth.shape[1]].astype(np.float64) - truth[: len(result.distance)]
        gap = float(result.gap.max())
    elif name in peers.PEERS and peers.PEERS[name].codes:
        part = problem.first(min(few, len(truth)) if peers.PEERS[name].slow else len(truth))
        columns = sum(map(len, part.probes))
        distances, gap = judge([peers.dense(codes)[:, :columns] for codes in result[: len(part.gallery)]], part)
        wrong = distances - truth[: len(part.probes), : len(part.gallery)]
    else:
        return None
    return Accuracy(float(np.abs(wrong).max()), float(np.abs(wrong).mean()), gap)


def _table(maps: MapSet, problem: Problem, measured: dict[str, Measured], best: str, chosen: settings.Coder) -> Table:
    """Ours first, then the best setting of SPAMS, the others, the floors, and what is not installed."""
    order = sorted(measured, key=lambda name: (name.startswith("floor"), name != OURS, name != best))
    rows = [_row(measured[name], mark=" *" * (name == best)) for name in order]
    missing = sorted({peer.module for peer in peers.PEERS.values() if not peer.installed})
    rows += [(f"{module}: not installed", *[None] * (len(HEADER) - 1)) for module in missing]
    blocks = np.mean([len(x) for x in problem.probes]), np.mean([len(y) for y in problem.gallery])
    checked, few = chosen.checked, chosen.few
    notes = [
        f"maps: {maps.source}",
        f"{len(maps.probes)} probes x {len(maps.gallery)} gallery maps, on average {blocks[0]:.1f} and {blocks[1]:.1f} "
        f"blocks of {maps.gallery[0].shape[2]} numbers; l1 = {problem.l1}, ours at gap <= {TOL:g}",
        "* the best setting of SPAMS: the ratio that counts. Ours: from maps to certified distances. Peers: from",
        "  blocks that are cut already to codes only, without the residual (ridge, another distance: with it).",
        f"  feature_sign and proximal match the first {checked} x {checked} pairs only, scikit-learn, celer and skglm",
        f"  (float64) the first {few} x {few}; their rates are scaled. homotopy is made for accelerators.",
        f"  Errors: |distance - float64 oracle| on the first {checked} x {checked} pairs. Gap: ours as certified for",
        "  all pairs timed, peers' recomputed from their codes in float64 (celer's own dual point certifies less).",
    ]
    return Table(f"Coder, {maps.name}", HEADER, rows, notes)


def _row(one: Measured, *, mark: str) -> tuple[outcome.Cell, ...]:
    title = TITLES.get(one.name) or peers.PEERS[one.name].title
    ratio_cells = outcome.cells(one.ratio) if one.ratio else (1, None)
    speed = one.pairs_per_second, 100 * one.floor_share
    return title + mark, *ratio_cells, *speed, *(one.accuracy or (None, None, None)), one.pairs
