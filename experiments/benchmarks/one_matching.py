"""One matching, in a process of its own, so that its peak memory is its own.

    python -m experiments.benchmarks.one_matching '{"probes": 10, "gallery": 300, "shape": [10, 3, 512], "rounds": 5}'

Draws maps, matches them and prints one JSON object: seconds, and megabytes resident at three moments: with everything
imported and compiled, with the maps drawn ("before"), and at the peak of building the gallery and matching. The peak is
the kernel's high-water mark of this address space (VmHWM): `ru_maxrss` starts from that of the process that started
this one, so it is only used where there is no /proc.
"""

import itertools
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import blocks, match
from experiments.benchmarks import stand_ins

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SCALES = (1, 2, 3)


class Spec(NamedTuple):
    """A matching of partial maps with gallery maps, multi-scale."""

    probes: int
    gallery: int
    shape: tuple[int, ...]  # (h, w, d) of a whole map
    rounds: int
    l1: float = 0.4
    seed: int = 0
    together: bool = False  # the gallery's maps lie in one array; else in many


class Measured(NamedTuple):
    """Median seconds of the matching, of building the gallery; megabytes at three moments, of the maps; blocks."""

    seconds: float
    build_seconds: float
    imported_mb: float
    before_mb: float
    peak_mb: float
    maps_mb: float
    blocks: int


def megabytes(field: str) -> float:
    """Resident memory of this process: "VmRSS" now, "VmHWM" at its peak, in units of 2^20 bytes.

    Example:
      >>> megabytes("VmHWM") > 0
      True
    """
    if STATUS.exists():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1024)


def run(spec: Spec) -> Measured:
    """Draws the maps, matches them, and looks at the clock and at the memory."""
    shape, l1, seed = spec.shape, spec.l1, spec.seed
    few = stand_ins.drawn(2, shape=shape, seed=seed)
    match.distances(few[:1], few, l1=l1)  # compiles
    imported = megabytes("VmRSS")
    probes = stand_ins.cropped(stand_ins.drawn(spec.probes, shape=shape, seed=seed, view=1), seed=seed)
    # A few hundred drawn people, then copies of them with noise: drawing takes longer than matching.
    people = stand_ins.drawn(min(spec.gallery, 200), shape=shape, seed=seed)
    copies = stand_ins.perturbed(people, spec.gallery - len(people), seed=seed)
    maps: Any = [np.empty(0, np.float32)] * spec.gallery
    if spec.together:
        maps = np.empty((spec.gallery, *shape), np.float32)
    for i, values in enumerate(itertools.chain(people, copies)):
        maps[i] = values
    before = megabytes("VmRSS")
    if RESET.exists():
        RESET.write_text("5")  # the high-water mark begins again here
    begin = time.perf_counter()
    gallery = match.Gallery.build(maps, copy=False)
    build_seconds = time.perf_counter() - begin
    seconds = []
    for _ in range(spec.rounds):
        begin = time.perf_counter()
        match.distances(probes, gallery, l1=l1)
        seconds.append(time.perf_counter() - begin)
    return Measured(
        float(np.median(seconds)),
        build_seconds,
        imported,
        before,
        megabytes("VmHWM"),
        sum(m.nbytes for m in maps) / (1 << 20),
        blocks.count(*shape[:2], scales=SCALES),
    )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(run(Spec(**given | {"shape": tuple(given["shape"])}))._asdict()))
