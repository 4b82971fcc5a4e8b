"""Part `stages`: what each stage of `shortlist.search` keeps of the exact answer, and what half precision changes.

The exact answer is `match.search` in the whole gallery. A stage keeps an entry that is among so many nearest by the
stage's distance. Maps in half precision are compared with the probes as a gallery on disk keeps them; the `near`
entries that are nearest by MaxSim stand for the gallery there.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsr_jax import match
from dsr_jax.matching import stripes
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.benchmarks.settings import Stages

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
PLACES = 10  # of the exact answer
HEADER = ("by", *(f"{length:,}" for length in LENGTHS))
DTYPES = {"float16": np.float16, "bfloat16": jnp.bfloat16}


def run(
    probes: Sequence[np.ndarray],
    gallery: Sequence[np.ndarray],
    chosen: Stages,
    *,
    l1: float,
    source: str,
    progress: bool,
) -> Part:
    """Recall of the stages and changes by half precision, for these probes in this gallery."""
    built = match.Gallery.build(list(gallery), scales=chosen.stage_scales, copy=False)
    positions = match.Gallery.build(list(gallery), scales=(1,), copy=False)
    places: dict[str, list[np.ndarray]] = {"stripes": [], "maxsim": []}
    distances: dict[str, list[np.ndarray]] = {name: [] for name in ("float32", *DTYPES)}
    for probe in tqdm(probes, desc="stages", unit="probe", disable=not progress):
        exact = match.search(probe, built, PLACES, l1=l1, max_bytes=chosen.stage_bytes).entries
        maxsim = match.distances(probe, positions, coder="maxsim").distance[0]
        for by, distance in (("stripes", stripes.distances(probe, positions)), ("maxsim", maxsim)):
            places[by].append(np.argsort(np.argsort(distance, kind="stable"), kind="stable")[exact])
        near = [gallery[i] for i in np.sort(np.argsort(maxsim, kind="stable")[: chosen.stage_near])]
        for name, found in distances.items():
            maps = [m.astype(DTYPES[name]).astype(np.float32) for m in near] if name in DTYPES else near
            found.append(match.distances(probe, maps, l1=l1, scales=chosen.stage_scales).distance[0])
    notes = [source, f"{len(probes)} probes, {len(gallery):,} gallery maps, scales {chosen.stage_scales}"]
    recalls, figures = _recall({by: np.array(found) for by, found in places.items()}, len(gallery))
    changes, more = _changes({name: np.array(found) for name, found in distances.items()})
    header = ("maps in", "first answers that change, %", f"of the first {PLACES} that leave, %", "largest change")
    return Part(
        [
            Table("Stages of a search: exact answers kept, %", HEADER, recalls, notes),
            Table("Half precision", header, changes, [*notes, f"among the {chosen.stage_near} nearest by MaxSim"]),
        ],
        figures | more,
    )


def _recall(places: dict[str, np.ndarray], entries: int) -> tuple[list[tuple[Any, ...]], Figures]:
    """Rows and figures of the places (probes, `PLACES`) that exact answers have by each stage."""
    rows: list[tuple[Any, ...]] = []
    figures: Figures = {}
    for by, found in places.items():
        for title, which in (("first", found[:, :1]), (f"first {PLACES}", found)):
            shares = {length: 100 * float(np.mean(which < length)) for length in LENGTHS if length < entries}
            rows.append((f"{by}, {title}", *(shares.get(length) for length in LENGTHS)))
            key = f"stages/{by}/{title.replace(' ', '')}"
            figures |= {f"{key}@{length}": share for length, share in shares.items()}
    return rows, figures


def _changes(distances: dict[str, np.ndarray]) -> tuple[list[tuple[Any, ...]], Figures]:
    """Rows and figures of the distances (probes, entries) of maps in half precision."""
    exact, rows, figures = distances["float32"], list[tuple[Any, ...]](), dict[str, Any]()
    order = np.argsort(exact, axis=1, kind="stable")[:, :PLACES]
    for name in DTYPES:
        other = np.argsort(distances[name], axis=1, kind="stable")[:, :PLACES]
        first = 100 * float(np.mean(other[:, 0] != order[:, 0]))
        left = 100 * float(np.mean([np.isin(a, b, invert=True) for a, b in zip(order, other, strict=True)]))
        largest = float(np.abs(distances[name] - exact).max())
        rows.append((name, first, left, largest))
        figures |= dict(
            zip((f"stages/{name}/{what}" for what in ("first", "left", "largest")), rows[-1][1:], strict=True)
        )
    return rows, figures
