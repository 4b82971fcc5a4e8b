"""Speed of the library against that of its peers: in one process, on the same maps, taking turns; ratios first.

    python -m experiments.benchmark_speed --flagfile=experiments/flags/speed.flags --weights=vgg16.npz \\
        --onnx=osnet.onnx --map_tensor=/conv5/relu/Relu_output_0 --workdir=runs/speed
    python -m experiments.benchmark_speed --quick --workdir=runs/speed_quick

Parts: `coder` (matching by every coder and peer on VGG and OSNet maps, single- and multi-scale), `identification` (the
paper's Table 3), `network` (VGG-16 against torch), `steps` (of training, against torch), `growth` (time and memory
against gallery size and blocks, search against all distances), and, where they are named, `accelerator` (a GPU or TPU
against the cores of its machine, without a data set) and `stages` (what the stages of a search keep of exact answers).
Leaves `speed.json`, one flat object, and `speed.txt`, the tables. Peers that are not installed are listed as such;
without --weights or --onnx maps are stand-ins, and the tables say so. A machine that does something else
meanwhile moves every figure.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax

from dsr_jax.cpu import cores
from experiments import run, workdir
from experiments.benchmarks import (
    accelerator,
    coder,
    device_maps,
    growth,
    identification,
    network,
    predicted,
    searching,
    stages,
    steps,
)
from experiments.benchmarks.alternating import Turns
from experiments.benchmarks.maps import MapSet, Store
from experiments.benchmarks.outcome import Part
from experiments.benchmarks.settings import Settings, reduced

if TYPE_CHECKING:
    from experiments.benchmarks.inputs import Inputs


def main(settings: Settings) -> None:
    """The runner."""
    settings = reduced(settings)
    settings.check()
    pictured: dict[str, Any] = {"partial": settings.partial} if settings.pictured else {"data": None}
    folder = workdir.opened(settings, "benchmark_speed", **pictured)
    folder.claim()
    inputs = _inputs(settings) if settings.pictured else None
    folder.begin()
    machine = f"{cores.count()} cores, {jax.devices()[0].device_kind}, {settings.timing.rounds} rounds"
    machine = "Quick run, not a measurement: " * settings.timing.quick + f"{machine}, seed {settings.seed.seed}"
    print(f"\n{machine}", flush=True)
    texts, flat = [machine], dict[str, Any]()
    for name, measure in PARTS.items():
        if name not in settings.timing.parts:
            continue
        for part in measure(settings, inputs):
            texts += [table.text() for table in part.tables]
            print("".join(f"\n{text}\n" for text in texts[-len(part.tables) :]), end="", flush=True)
            flat |= part.flat()
            workdir.write_json(folder.path / "speed.json", flat)
            workdir.write_text(folder.path / "speed.txt", "\n\n".join(texts))


def _inputs(settings: Settings) -> "Inputs":
    from experiments.benchmarks.inputs import Inputs  # Pillow and the reader of data sets: not every part needs them

    return Inputs(settings)


def _coder(settings: Settings, inputs: "Inputs") -> Iterator[Part]:
    chosen = settings.part_coder
    probes, gallery = inputs.vgg()
    networks = {"vgg": (probes[: chosen.probes], gallery[: chosen.gallery], inputs.source), "osnet": inputs.osnet()}
    sets = [
        MapSet(f"{name}_{way}", x, y, scales, source)
        for name, (x, y, source) in networks.items()
        for way, scales in device_maps.SCALES.items()
    ]
    yield coder.run(sets, chosen, l1=settings.matching.l1, turns=_turns(settings))


def _identification(settings: Settings, inputs: "Inputs") -> Iterator[Part]:
    chosen = settings.part_identification
    gallery = identification.People(inputs.vgg()[1], inputs.chosen.people, inputs.images[1].pictures)
    probes = identification.Probes(*inputs.probes(chosen.identified))
    how: dict[str, Any] = {"l1": settings.matching.l1, "turns": _turns(settings), "source": inputs.source}
    yield identification.run(inputs.network, probes, gallery, chosen, **how)


def _network(settings: Settings, _: object) -> Iterator[Part]:
    seed, turns = settings.seed.seed, _turns(settings)
    yield network.run(settings.part_network.cases, width=settings.maps.vgg_width, seed=seed, turns=turns)


def _steps(settings: Settings, _: object) -> Iterator[Part]:
    seed, turns = settings.seed.seed, _turns(settings)
    yield steps.run(settings.part_steps.case, width=settings.maps.vgg_width, seed=seed, turns=turns)


def _growth(settings: Settings, inputs: "Inputs") -> Iterator[Part]:
    chosen, l1, turns = settings.part_growth, settings.matching.l1, _turns(settings)
    specs = growth.specs(chosen, rounds=turns.rounds, l1=l1, seed=settings.seed.seed)
    grown = growth.run(specs, progress=turns.progress)
    gallery, source = inputs.searched()
    probes = inputs.vgg()[0][: chosen.search_probes]
    searched = searching.run(probes, gallery, k=chosen.search_k, l1=l1, turns=turns, source=source)
    yield grown._replace(tables=searched.tables + grown.tables, figures=searched.figures | grown.figures)


def _accelerator(settings: Settings, _: object) -> Iterator[Part]:
    chosen, seed = settings.part_accelerator, settings.seed.seed
    sizes: dict[str, Any] = {"probes": chosen.device_probes, "gallery": chosen.device_gallery}
    store, shape = Store(settings.maps.kept_maps), settings.onnx.stand_in_map
    sets = device_maps.sets(chosen.device_sets, store, **sizes, osnet_shape=shape, seed=seed)
    for maps in sets:
        with accelerator.readable(maps.name):
            part = accelerator.run(maps, chosen, l1=settings.matching.l1, turns=_turns(settings))
        yield part
    case = settings.part_steps.case._replace(batch=chosen.device_batch)
    with accelerator.readable("the network"):
        part = accelerator.run_network(case, width=settings.maps.vgg_width, seed=seed, turns=_turns(settings))
    yield part
    # What the coder takes is measured where the device tells it.
    yield predicted.run(sets, l1=settings.matching.l1, memory=accelerator.peak_bytes() is None)


def _stages(settings: Settings, inputs: "Inputs") -> Iterator[Part]:
    probes, gallery, source = inputs.staged()
    how: dict[str, Any] = {"source": source, "progress": settings.place.progress}
    yield stages.run(probes, gallery, settings.part_stages, l1=settings.matching.l1, **how)


PARTS: dict[str, Callable[[Settings, Any], Iterator[Part]]] = {
    "coder": _coder,
    "identification": _identification,
    "network": _network,
    "steps": _steps,
    "growth": _growth,
    "accelerator": _accelerator,
    "stages": _stages,
}


def _turns(settings: Settings) -> Turns:
    return Turns(settings.timing.rounds, settings.place.progress)


if __name__ == "__main__":
    run.main(main, Settings)
