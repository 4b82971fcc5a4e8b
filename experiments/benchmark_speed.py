"""Speed of the library against that of its peers: in one process, on the same maps, taking turns; ratios first.

    python -m experiments.benchmark_speed --flagfile=experiments/flags/speed.flags --weights=vgg16.npz \\
        --onnx=osnet.onnx --map_tensor=/conv5/relu/Relu_output_0 --workdir=runs/speed
    python -m experiments.benchmark_speed --quick --workdir=runs/speed_quick

Parts: `coder` (matching by every coder and peer on VGG and OSNet maps, single- and multi-scale), `identification` (the
paper's Table 3), `network` (VGG-16 against torch), `steps` (of training, against torch), `growth` (time and memory
against gallery size and blocks, search against all distances). Leaves `speed.json`, one flat object, and `speed.txt`,
the tables. Peers that are not installed are listed as such; without --weights or --onnx maps are stand-ins, and the
tables say so. A machine that does something else meanwhile moves every figure.
"""

from collections.abc import Callable
from typing import Any

import jax

from dsr_jax.cpu import cores
from experiments import run, workdir
from experiments.benchmarks import coder, growth, identification, network, searching, steps
from experiments.benchmarks.alternating import Turns
from experiments.benchmarks.inputs import Inputs
from experiments.benchmarks.maps import MapSet
from experiments.benchmarks.outcome import Part
from experiments.benchmarks.settings import Settings, reduced

SCALES = {"single": (1,), "multi": (1, 2, 3)}


def main(settings: Settings) -> None:
    """The runner."""
    settings = reduced(settings)
    settings.check()
    folder = workdir.opened(settings, "benchmark_speed", partial=settings.partial)
    folder.claim()
    inputs = Inputs(settings)
    folder.begin()
    machine = f"{cores.count()} cores, {jax.devices()[0].device_kind}, {settings.timing.rounds} rounds"
    machine = "Quick run, not a measurement: " * settings.timing.quick + f"{machine}, seed {settings.seed.seed}"
    print(f"\n{machine}", flush=True)
    texts, flat = [machine], dict[str, Any]()
    for name, measure in PARTS.items():
        if name in settings.timing.parts:
            part = measure(settings, inputs)
            texts += [table.text() for table in part.tables]
            print("".join(f"\n{text}\n" for text in texts[-len(part.tables) :]), end="", flush=True)
            flat |= part.flat()
            workdir.write_json(folder.path / "speed.json", flat)
    workdir.write_text(folder.path / "speed.txt", "\n\n".join(texts))


def _coder(settings: Settings, inputs: Inputs) -> Part:
    chosen = settings.part_coder
    probes, gallery = inputs.vgg()
    networks = {"vgg": (probes[: chosen.probes], gallery[: chosen.gallery], inputs.source), "osnet": inputs.osnet()}
    sets = [
        MapSet(f"{name}_{way}", x, y, scales, source)
        for name, (x, y, source) in networks.items()
        for way, scales in SCALES.items()
    ]
    return coder.run(sets, chosen, l1=settings.matching.l1, turns=_turns(settings))


def _identification(settings: Settings, inputs: Inputs) -> Part:
    chosen = settings.part_identification
    gallery = identification.People(inputs.vgg()[1], inputs.chosen.people, inputs.images[1].pictures)
    probes = identification.Probes(*inputs.probes(chosen.identified))
    how: dict[str, Any] = {"l1": settings.matching.l1, "turns": _turns(settings), "source": inputs.source}
    return identification.run(inputs.network, probes, gallery, chosen, **how)


def _network(settings: Settings, _: Inputs) -> Part:
    seed, turns = settings.seed.seed, _turns(settings)
    return network.run(settings.part_network.cases, width=settings.maps.vgg_width, seed=seed, turns=turns)


def _steps(settings: Settings, _: Inputs) -> Part:
    seed, turns = settings.seed.seed, _turns(settings)
    return steps.run(settings.part_steps.case, width=settings.maps.vgg_width, seed=seed, turns=turns)


def _growth(settings: Settings, inputs: Inputs) -> Part:
    chosen, l1, turns = settings.part_growth, settings.matching.l1, _turns(settings)
    specs = growth.specs(chosen, rounds=turns.rounds, l1=l1, seed=settings.seed.seed)
    grown = growth.run(specs, progress=turns.progress)
    gallery, source = inputs.searched()
    probes = inputs.vgg()[0][: chosen.search_probes]
    searched = searching.run(probes, gallery, k=chosen.search_k, l1=l1, turns=turns, source=source)
    return grown._replace(tables=searched.tables + grown.tables, figures=searched.figures | grown.figures)


PARTS: dict[str, Callable[[Settings, Inputs], Part]] = {
    "coder": _coder,
    "identification": _identification,
    "network": _network,
    "steps": _steps,
    "growth": _growth,
}


def _turns(settings: Settings) -> Turns:
    return Turns(settings.timing.rounds, settings.place.progress)


if __name__ == "__main__":
    run.main(main, Settings)
