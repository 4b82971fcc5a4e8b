"""Part `growth`: time and peak memory against the size of the gallery and the blocks per image.

Every size is matched in a fresh process (`one_matching`), so that its peak is its own. What is asked of a large data
set, 1,400 probes against 5,332 gallery images, is such a process too.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmarks.outcome import Figures, Part, Table, number

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = (
    *("", "pairs / s, of the first's", "pairs / s", "s / probe", "blocks", "peak MB", "of it: imported", "maps"),
    *("tiles, result", "s to build"),
)
Spec = dict[str, Any]


def shapes(sizes: Sequence[str], channels: int) -> list[tuple[int, int, int]]:
    """(h, w, channels) of every HEIGHTxWIDTH.

    Raises:
      ValueError: if one is something else.

    Example:
      >>> shapes(["10x3"], 512)
      [(10, 3, 512)]
    """
    found = []
    for text in sizes:
        sides = str(text).split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
            raise ValueError(f"growth_maps must be HEIGHTxWIDTH in positions such as 10x3,16x8, got {text!r}")
        found.append((int(sides[0]), int(sides[1]), channels))
    if not found:
        raise ValueError("growth_maps is empty: give HEIGHTxWIDTH such as 10x3,16x8")
    return found


def specs(
    sizes: Sequence[int],
    shapes: Sequence[tuple[int, int, int]],
    *,
    probes: int,
    large: tuple[int, int],
    rounds: int,
    l1: float,
    seed: int,
) -> dict[str, Spec]:
    """Name to what a process is asked to match.

    Args:
      sizes: gallery sizes, of maps of the first shape.
      shapes: (h, w, d) of maps, each with the second gallery size (or the only one).
      probes: how many.
      large: probes and gallery images of a large matching, done once from a list of maps and once from one array.
      rounds: of the others.
      l1: weight of the L1 penalty.
      seed: of the maps.
    """
    common: Spec = {"probes": probes, "rounds": rounds, "l1": l1, "seed": seed}
    found = {f"gallery/{size}": {**common, "gallery": size, "shape": shapes[0]} for size in sizes}
    middle = sizes[min(1, len(sizes) - 1)]
    for shape in shapes:
        found[f"shape/{'x'.join(map(str, shape))}"] = {**common, "gallery": middle, "shape": shape}
    many = {"probes": large[0], "gallery": large[1], "shape": shapes[0], "rounds": 1}
    for together, way in ((False, "list"), (True, "array")):
        found[f"large/{large[0]}x{large[1]}/{way}"] = {**common, **many, "together": together}
    return found


def run(asked: dict[str, Spec], *, progress: bool) -> Part:
    """Runs every matching in a process of its own, one at a time."""
    done: dict[str, dict[str, Any]] = {}
    for name, spec in tqdm(asked.items(), desc="growth", unit="process", disable=not progress):
        same = next((found for found in done if asked[found] == spec), None)
        done[name] = done[same] if same else _process(name, spec)
    figures: Figures = {}
    for name, found in done.items():
        pairs = asked[name]["probes"] * asked[name]["gallery"]
        figures |= {
            f"growth/{name}/pairs_per_second": pairs / found["median"],
            f"growth/{name}/seconds_per_probe": found["median"] / asked[name]["probes"],
            f"growth/{name}/peak_mb": found["peak_mb"],
            f"growth/{name}/before_mb": found["before_mb"],
            f"growth/{name}/maps_mb": found["maps_mb"],
            f"growth/{name}/over_before_mb": found["peak_mb"] - found["before_mb"],
            f"growth/{name}/blocks": found["blocks"],
        }
    titles = {
        "gallery": "Growth with the gallery",
        "shape": "Growth with the blocks per image",
        "large": "A large matching",
    }
    tables = [_table(kind, title, asked, done) for kind, title in titles.items()]
    return Part(tables, figures)


def _table(kind: str, title: str, asked: dict[str, Spec], done: dict[str, dict[str, Any]]) -> Table:
    rows, first = [], 0.0
    for name in [name for name in asked if name.startswith(f"{kind}/")]:
        spec, found = asked[name], done[name]
        rate = spec["probes"] * spec["gallery"] / found["median"]
        first = first or rate
        label = f"{spec['probes']} x {spec['gallery']:,} maps of {' x '.join(map(str, spec['shape']))}"
        label += {None: "", False: ", a list of arrays", True: ", one array"}[spec.get("together")]
        memory = [found["peak_mb"], found["imported_mb"], found["before_mb"] - found["imported_mb"]]
        memory.append(found["peak_mb"] - found["before_mb"])
        each = [rate / first, rate, found["median"] / spec["probes"]]
        cells = [*map(number, each), str(found["blocks"]), *(f"{mb:,.0f}" for mb in memory)]
        rows.append((label, *cells, number(found["build_seconds"])))
    notes = [
        "drawn maps, multi-scale, each line in a process of its own, which compiles before; 1 MB = 2^20 bytes resident",
        "peak = imported (Python, JAX, compiled code) + maps that the caller holds + what building and matching add;",
        "the gallery is not copied but tile by tile (copy=False, which is what match.distances does with lists)",
    ]
    return Table(title, HEADER, rows, notes)


def _process(name: str, spec: Spec) -> dict[str, Any]:
    """What the process printed.

    Raises:
      ValueError: if it failed.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.one_matching", json.dumps(spec)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["it was killed: too little memory?"])[-1]
        raise ValueError(
            f"growth: the process for {name} ended with code {finished.returncode} ({last}); give smaller "
            "--growth_sizes, --growth_maps or --memory_gallery, or leave growth out of --parts"
        )
    return dict(json.loads(finished.stdout.strip().splitlines()[-1]))
