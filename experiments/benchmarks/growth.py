"""Part `growth`: time and peak memory against the size of the gallery and the blocks per image.

Every size is matched in a fresh process (`one_matching`), so that its peak is its own. A large data set, 1,400 probes
against 5,332 gallery images, is such a process too.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmarks import outcome, settings
from experiments.benchmarks.one_matching import Measured, Spec
from experiments.benchmarks.outcome import Figures, Part, Table

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = (
    *("", "pairs / s, of the first's", "pairs / s", "s / probe", "blocks", "peak MB", "of it: imported", "maps"),
    *("tiles, result", "s to build"),
)
TITLES = {
    "gallery": "Growth with the gallery",
    "shape": "Growth with the blocks per image",
    "large": "A large matching",
}


def specs(chosen: settings.Growth, *, rounds: int, l1: float, seed: int) -> dict[str, dict[str, Spec]]:
    """Kind to name to matching: of gallery sizes, of shapes of the maps, and a large one of a list and of one array."""
    common: dict[str, Any] = {"l1": l1, "seed": seed}
    sizes, shapes = chosen.growth_sizes, chosen.shapes
    middle = sizes[min(1, len(sizes) - 1)]
    ways = {"list": False, "array": True}
    probes, gallery = chosen.memory_probes, chosen.memory_gallery
    return {
        "gallery": {str(size): Spec(chosen.growth_probes, size, shapes[0], rounds, **common) for size in sizes},
        "shape": {
            "x".join(map(str, shape)): Spec(chosen.growth_probes, middle, shape, rounds, **common) for shape in shapes
        },
        "large": {
            f"{probes}x{gallery}/{way}": Spec(probes, gallery, shapes[0], 1, **common, together=together)
            for way, together in ways.items()
        },
    }


def run(chosen: Mapping[str, Mapping[str, Spec]], *, progress: bool) -> Part:
    """Runs every matching in a process of its own, one at a time; the same matching once."""
    names = {spec: f"{kind}/{name}" for kind, group in chosen.items() for name, spec in group.items()}
    bar = tqdm(names.items(), desc="growth", unit="process", disable=not progress)
    measured = {spec: _process(name, spec) for spec, name in bar}
    figures: Figures = {}
    for kind, group in chosen.items():
        for name, spec in group.items():
            one, key = measured[spec], f"growth/{kind}/{name}"
            figures |= {
                f"{key}/pairs_per_second": _rate(spec, one),
                f"{key}/seconds_per_probe": one.seconds / spec.probes,
                f"{key}/peak_mb": one.peak_mb,
                f"{key}/before_mb": one.before_mb,
                f"{key}/maps_mb": one.maps_mb,
                f"{key}/over_before_mb": one.peak_mb - one.before_mb,
                f"{key}/blocks": one.blocks,
            }
    tables = [_table(kind, {spec: measured[spec] for spec in group.values()}) for kind, group in chosen.items()]
    return Part(tables, figures)


def _table(kind: str, measured: dict[Spec, Measured]) -> Table:
    first = _rate(*next(iter(measured.items())))
    rows: list[tuple[outcome.Cell, ...]] = []
    for spec, one in measured.items():
        title = f"{spec.probes} x {spec.gallery:,} maps of {' x '.join(map(str, spec.shape))}"
        if kind == "large":
            title += ", one array" if spec.together else ", a list of arrays"
        rate = _rate(spec, one)
        memory = one.peak_mb, one.imported_mb, one.before_mb - one.imported_mb, one.peak_mb - one.before_mb
        speed = rate / first, rate, one.seconds / spec.probes
        rows.append((title, *speed, one.blocks, *map(round, memory), one.build_seconds))
    notes = [
        "drawn maps, multi-scale, each line in a process of its own, which compiles before; 1 MB = 2^20 bytes resident",
        "peak = imported (Python, JAX, compiled code) + maps that the caller holds + what building and matching add;",
        "the gallery is not copied but tile by tile (copy=False, which is what match.distances does with lists)",
    ]
    return Table(TITLES[kind], HEADER, rows, notes)


def _rate(spec: Spec, one: Measured) -> float:
    """Pairs per second."""
    return spec.probes * spec.gallery / one.seconds


def _process(name: str, spec: Spec) -> Measured:
    """What the process of a matching printed."""
    command = [sys.executable, "-m", "experiments.benchmarks.one_matching", json.dumps(spec._asdict())]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["it was killed: too little memory?"])[-1]
        raise ValueError(
            f"growth: the process for {name} ended with code {finished.returncode} ({last}); give smaller "
            "--growth_sizes, --growth_maps or --memory_gallery, or leave growth out of --parts"
        )
    return Measured(**json.loads(finished.stdout.strip().splitlines()[-1]))
