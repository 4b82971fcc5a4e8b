"""How fast is it, against whom? Every peer in the same process, on the same maps, taking turns; ratios first.

    python -m experiments.benchmark_speed --flagfile=experiments/flags/speed.flags --weights=vgg16.npz \\
        --onnx=osnet.onnx --map_tensor=/conv5/relu/Relu_output_0 --workdir=runs/speed
    python -m experiments.benchmark_speed --quick --workdir=runs/speed_quick

Parts: `coder` (matching by every coder and peer on VGG and OSNet maps, single- and multi-scale), `identification` (the
paper's Table 3), `network` (VGG-16 against torch), `steps` (of training, against torch), `growth` (time and memory
against gallery size and blocks, search against all distances). Leaves `speed.json`, one flat object, `speed.txt`, the
tables, and `speed.png`. Peers that are not installed are listed as such; without --weights or --onnx maps are
stand-ins, and the tables say so. A machine that does something else meanwhile moves every figure.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags

from data import command
from dsr_jax.cpu import cores
from experiments import any_network, evaluate, run, settings
from experiments.benchmarks import asked, coder, drawing, growth, identification, network, searching, steps
from experiments.benchmarks.inputs import Inputs
from experiments.benchmarks.maps import MapSet
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.evaluation import selection

# With the flags of any_network and of evaluate: networks, pictures, crops.
FLAGS = any_network.FLAGS
PARTS = ("coder", "identification", "network", "steps", "growth")
SCALES = {"single": (1,), "multi": (1, 2, 3)}
CHANNELS = 512  # of the maps that growth draws

flags.DEFINE_list("parts", list(PARTS), f"Of {', '.join(PARTS)}.")
flags.DEFINE_integer("rounds", 5, "Times that each contender is timed, in turns; at least 5 but for --quick.")
flags.DEFINE_bool(
    "quick", False, "Everything small and two rounds, to see that it works; flags given beside it stay as given."
)
command.define_path(
    "kept_maps",
    None,
    "File (.npz) in which extracted maps are kept: a second run with the same flags reads them from it.",
)
flags.DEFINE_list("onnx_size", ["256", "128"], "Height,width of the input of the --onnx network, in pixels.")
flags.DEFINE_list(
    "stand_in_map", ["16", "8", "128"], "Height,width,channels of the maps that stand in where --onnx is missing."
)
flags.DEFINE_float(
    "vgg_width", 1.0, "Width of the VGG-16 with random weights: part network, and all maps where --weights is missing."
)
flags.DEFINE_integer("probes", 60, "coder: probe maps.", lower_bound=1)
flags.DEFINE_integer("gallery", 60, "coder: gallery maps; every probe is matched with each.", lower_bound=1)
flags.DEFINE_integer(
    "checked", 8, "coder: the first so many probes x gallery maps are compared with a float64 oracle, and are all that "
    "XLA's coders are timed on.", lower_bound=1
)  # fmt: skip
flags.DEFINE_integer(
    "few", 3, "coder: the first so many probes x gallery maps are all that scikit-learn, celer and skglm are timed on.",
    lower_bound=1,
)  # fmt: skip
flags.DEFINE_integer("people", 60, "identification: people in the gallery.", lower_bound=1)
flags.DEFINE_list("people_shots", ["1", "3"], "identification: gallery images per person; each number is timed.")
flags.DEFINE_integer("identified", 5, "identification: probes per timing, one after another.", lower_bound=1)
flags.DEFINE_integer(
    "windowed", 2, "identification: gallery images that SWM is timed on; its time is multiplied.", lower_bound=1
)
flags.DEFINE_list(
    "network_sizes", ["320x120/32", "160x64/16"], "network: image sizes, HEIGHTxWIDTH/STRIDE, stride 16 or 32."
)
flags.DEFINE_list("batches", ["4", "8"], "network: images per batch; each number is timed with each size.")
flags.DEFINE_string("step_size", "160x64/16", "steps: image height x width / output stride.")
flags.DEFINE_integer("step_batch", 32, "steps: images, or pairs of whole image and patch, per step.", lower_bound=1)
flags.DEFINE_list("growth_sizes", ["60", "300", "1000", "5000", "20000"], "growth: gallery sizes, each in a process.")
flags.DEFINE_list(
    "growth_maps", ["10x3", "5x3", "10x6", "16x8", "20x10"],
    "growth: HEIGHTxWIDTH of maps, for the growth with the blocks per image; gallery sizes use the first.",
)  # fmt: skip
flags.DEFINE_integer("growth_probes", 10, "growth: probes of each matching.", lower_bound=1)
flags.DEFINE_integer("search_gallery", 5000, "growth: gallery images that are searched.", lower_bound=1)
flags.DEFINE_enum(
    "search_maps", "real", ["real", "perturbed"],
    "growth: search the data set's gallery, each image extracted (5,000 take a quarter of an hour; see --kept_maps), "
    "or copies with noise of a few. Data sets that have too few images are perturbed in any case.",
)  # fmt: skip
flags.DEFINE_integer("search_k", 10, "growth: nearest images that a search names.", lower_bound=1)
flags.DEFINE_integer("search_probes", 5, "growth: probes that search, one after another.", lower_bound=1)
flags.DEFINE_integer("memory_probes", 1400, "growth: probes of the matching whose peak memory counts.", lower_bound=1)
flags.DEFINE_integer("memory_gallery", 5332, "growth: gallery images of it.", lower_bound=1)

# What --quick does to flags that are not given.
QUICK: dict[str, Any] = {
    **{"rounds": 2, "vgg_width": 1 / 16, "size": ["160", "96"], "probes": 4, "gallery": 5, "checked": 3, "few": 2},
    **{"people": 4, "identified": 2, "network_sizes": ["64x32/16"], "batches": ["2"], "growth_sizes": ["5", "20"]},
    **{"step_size": "64x32/16", "step_batch": 2},
    **{
        "stand_in_map": ["5", "3", "16"],
        "growth_maps": ["3x2", "2x2"],
        "growth_probes": 2,
        "search_gallery": 80,
        "search_k": 3,
        "search_probes": 2,
    },
    **{"memory_probes": 4, "memory_gallery": 30},
    **{"crop_height": ["0.6", "0.6"], "crop_width": ["1.0", "1.0"]},  # one shape: less to compile
}
WITHOUT_EFFECT = (
    *evaluate.OWN,
    *("trials", "camera_rule", "subset", "holdout", "probes_per_identity", "identities", "coder", "probe_factor"),
)


def main() -> None:
    """The runner."""
    if FLAGS.quick:
        for name, value in QUICK.items():
            FLAGS.set_default(name, value)
    _check()
    run.alone("benchmark_speed")
    workdir = run.Workdir(settings.workdir_given(), selection.flag_values("benchmark_speed"))
    workdir.claim()
    inputs = Inputs()
    workdir.begin()
    machine = f"{cores.count()} cores, {jax.devices()[0].device_kind}, {FLAGS.rounds} rounds, seed {FLAGS.seed}"
    machine = "Quick run, not a measurement: " * FLAGS.quick + machine
    print(f"\n{machine}", flush=True)
    tables: list[Table] = []
    figures: Figures = {}
    for name, job in JOBS.items():
        if name in FLAGS.parts:
            found = job(inputs)
            tables, figures = [*tables, *found.tables], figures | found.figures
            _print(found.tables)
            run.write_json(workdir.path / "speed.json", figures)
    summary = asked.table(figures)
    _print([summary])
    run.write_text(workdir.path / "speed.txt", "\n\n".join([machine, *(t.text() for t in [*tables, summary])]))
    print(f"plot: {drawing.write(workdir.path / 'speed.png', figures, title=machine)}")


def _coder(inputs: Inputs) -> Part:
    probes, gallery = inputs.vgg()
    found = {"vgg": (probes[: FLAGS.probes], gallery[: FLAGS.gallery], inputs.source), "osnet": inputs.osnet()}
    sets = [
        MapSet(f"{net}_{way}", x, y, SCALES[way], source) for net, (x, y, source) in found.items() for way in SCALES
    ]
    options: dict[str, Any] = {name: FLAGS[name].value for name in ("rounds", "checked", "few", "progress")}
    return coder.run(sets, l1=FLAGS.match_l1, **options)


def _identification(inputs: Inputs) -> Part:
    gallery = identification.People(inputs.vgg()[1], inputs.chosen.people, inputs.read[1].pictures)
    return identification.run(
        inputs.network,
        identification.Probes(*inputs.shown(FLAGS.identified)),
        gallery,
        shots=settings.integers("people_shots"),
        people=FLAGS.people,
        l1=FLAGS.match_l1,
        windowed=FLAGS.windowed,
        rounds=FLAGS.rounds,
        progress=FLAGS.progress,
        source=inputs.source,
    )


def _network(_: Inputs) -> Part:
    options = {"seed": FLAGS.seed, "rounds": FLAGS.rounds, "progress": FLAGS.progress}
    return network.run(_cases(), width=FLAGS.vgg_width, **options)


def _steps(_: Inputs) -> Part:
    options = {"seed": FLAGS.seed, "rounds": FLAGS.rounds, "progress": FLAGS.progress}
    return steps.run(_step_case(), width=FLAGS.vgg_width, **options)


def _growth(inputs: Inputs) -> Part:
    options = {"l1": FLAGS.match_l1, "rounds": FLAGS.rounds}
    large = FLAGS.memory_probes, FLAGS.memory_gallery
    sizes, shapes = settings.integers("growth_sizes"), growth.shapes(FLAGS.growth_maps, CHANNELS)
    specs = growth.specs(sizes, shapes, probes=FLAGS.growth_probes, large=large, seed=FLAGS.seed, **options)
    grown = growth.run(specs, progress=FLAGS.progress)
    gallery, source = inputs.searched()
    probes = inputs.vgg()[0][: FLAGS.search_probes]
    found = searching.run(probes, gallery, k=FLAGS.search_k, progress=FLAGS.progress, source=source, **options)
    return Part([*found.tables, *grown.tables], found.figures | grown.figures)


JOBS: dict[str, Callable[[Inputs], Part]] = {
    "coder": _coder,
    "identification": _identification,
    "network": _network,
    "steps": _steps,
    "growth": _growth,
}


def _cases() -> list[network.Case]:
    return network.cases(FLAGS.network_sizes, settings.integers("batches"))


def _step_case() -> network.Case:
    return network.cases([FLAGS.step_size], [FLAGS.step_batch], flag="step_size")[0]


def _check() -> None:
    """Errors that come before any long work.

    Raises:
      ValueError: for flags that make no sense, or have no effect here.
    """
    unknown = [name for name in FLAGS.parts if name not in JOBS]
    if unknown or not FLAGS.parts:
        raise ValueError(f"parts must be one or several of {', '.join(JOBS)}, got {','.join(FLAGS.parts) or 'nothing'}")
    if FLAGS.rounds < (1 if FLAGS.quick else 5):
        raise ValueError(f"rounds must be at least 5 for a median that means something, got {FLAGS.rounds}; or --quick")
    if not FLAGS.match_l1 > 0:
        raise ValueError(f"match_l1 must be positive, got {FLAGS.match_l1}; the paper uses 0.4")
    if FLAGS.few > FLAGS.checked:
        raise ValueError(f"few must not exceed checked, which the oracle solves, got {FLAGS.few} and {FLAGS.checked}")
    for name in ("people_shots", "batches", "growth_sizes"):
        settings.integers(name)
    for name in ("crop_height", "crop_width"):
        settings.shares(name)
    growth.shapes(FLAGS.growth_maps, CHANNELS)
    _cases()
    _step_case()
    settings.refuse(WITHOUT_EFFECT)


def _print(tables: Sequence[Table]) -> None:
    for table in tables:
        print(f"\n{table.text()}", flush=True)


if __name__ == "__main__":
    run.main(main)
