"""How many images per second become batches, where the time goes, and with how many threads?

    python -m experiments.benchmark_pipeline --dataset=cuhk03 --data_dir=DATA --workdir=runs/pipeline

Three inputs: the training split of --dataset, drawn people cut out of 1080p video (400 to 800 pixels high), and whole
1920 x 1080 frames out of which they are cut at each use. All are decoded, brought to size, augmented and stacked as in
training; "held" is what images in memory reach from the second epoch on, "decoded" is without any memory. Medians over
rounds that take turns. A machine that does something else meanwhile moves every figure, least those per second of
processor time. Leaves `pipeline.json`, one flat object, and `pipeline.txt`, the tables.
"""

import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from absl import flags

import data
from data import Source, views
from dsr_jax.cpu import cores
from experiments import run, settings
from experiments.benchmarks import footage
from experiments.benchmarks.outcome import Figures, Table, number
from experiments.training import batches
from experiments.training.stream import Stream

FLAGS = flags.FLAGS
EVERYTHING = 1 << 60  # bytes that may be held
IMAGES = 2048  # of each input; drawn ones again and again, for Grain's shuffle of few takes longer than their views
flags.DEFINE_list("view_sizes", ["160x64", "320x120"], "HEIGHTxWIDTH to which images are brought.")
flags.DEFINE_list("threads_tried", ["0", "1", "2", "4"], "Threads that make batches; 0: made when asked for.")
flags.DEFINE_integer("views_per_batch", 32, "Views per batch.", lower_bound=1)
flags.DEFINE_integer("drawn_pictures", 96, "Drawn crops, and as many drawn frames.", lower_bound=1)
flags.DEFINE_integer("pipeline_rounds", 3, "Times that each case is timed, in turns.", lower_bound=1)
flags.DEFINE_float(
    "timed_seconds", 2.0, "Processor time of each timing, about; at least eight batches.", lower_bound=0.0
)


def main() -> None:
    """The runner."""
    sizes, threads = [_shape(text) for text in FLAGS.view_sizes], _threads()
    if not sizes:
        raise ValueError("view_sizes is empty: give HEIGHTxWIDTH such as 160x64")
    workdir = run.Workdir(settings.workdir_given(), run.flag_values("benchmark_pipeline"))
    workdir.claim()
    inputs = {
        FLAGS.dataset: data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir),
        "1080p crops": footage.crops(FLAGS.drawn_pictures, seed=FLAGS.seed),
        "1080p frames": footage.frames(FLAGS.drawn_pictures, seed=FLAGS.seed),
    }
    workdir.begin()
    machine = f"{cores.count()} cores, batches of {FLAGS.views_per_batch}, {FLAGS.pipeline_rounds} rounds"
    print(f"\n{machine}\n", flush=True)
    figures: Figures = {}
    tables = [_stages(inputs, sizes, figures)]
    print(tables[0].text(), flush=True)
    tables.append(_rates(inputs, sizes, threads, figures))
    print(tables[1].text(), flush=True)
    run.write_json(workdir.path / "pipeline.json", figures)
    run.write_text(workdir.path / "pipeline.txt", "\n\n".join([machine, *(table.text() for table in tables)]))


def _rates(inputs: dict[str, Source], sizes: list[tuple[int, int]], threads: list[int], figures: Figures) -> Table:
    """Images per second with each number of threads."""
    cases: dict[tuple[str, tuple[int, int], str], Any] = {}
    for name, source in inputs.items():
        chosen = np.arange(IMAGES) % len(source)
        people = batches.People(source, chosen, np.arange(IMAGES), source.cameras[chosen])
        for size in sizes:
            # From memory all inputs are alike.
            for memory, limit in (("decoded", 0), ("held", EVERYTHING))[: 2 if name == FLAGS.dataset else 1]:
                drawn = batches.ImageViews(people, size=size, augmentation=views.Augmentation(), limit=limit)
                if limit:
                    for i in range(IMAGES):
                        drawn.whole(i, np.random.default_rng(0))
                cases[name, size, memory] = batches.identification(
                    drawn, people.classes, batch_size=FLAGS.views_per_batch, patch_share=0.5, seed=FLAGS.seed
                )
    found: dict[Any, list[tuple[float, float]]] = {(*case, crew): [] for case in cases for crew in threads}
    counts = {case: _count(dataset) for case, dataset in cases.items()}
    for _ in range(FLAGS.pipeline_rounds):
        for *case, crew in found:
            found[*case, crew].append(_images_per_second(cases[*case], counts[*case], crew))
    rows = []
    for name, size, memory in cases:
        cells = []
        for crew in threads:
            rates, of_processor = zip(*found[name, size, memory, crew], strict=True)
            cells.append(f"{number(statistics.median(rates))} ({number(min(rates))} - {number(max(rates))})")
            figures[f"{name}/{_text(size)}/{memory}/threads{crew}"] = statistics.median(rates)
            figures[f"{name}/{_text(size)}/{memory}/threads{crew}_processor"] = statistics.median(of_processor)
        every = [rate for crew in threads for _, rate in found[name, size, memory, crew]]
        rows.append((f"{name}, {_text(size)}, {memory}", *cells, number(statistics.median(every))))
    header = ("images per second, median (range)", *(f"{crew} threads" for crew in threads), "of processor time")
    return Table("From pictures to batches", header, rows, ["half of the views are patches, all are augmented"])


def _stages(inputs: dict[str, Source], sizes: list[tuple[int, int]], figures: Figures) -> Table:
    """Microseconds per image of each step, one after another in one thread."""
    rows = []
    for name, source in inputs.items():
        some = np.random.default_rng(FLAGS.seed).permutation(len(source))[:200].tolist()
        images = [source[i].image for i in some]
        read = _microseconds(functools.partial(_read, source, some), len(some))
        for size in sizes:
            resized = [views.resize(image, size) for image in images]
            times = {
                "read": read,
                "resize": _microseconds(functools.partial(_resize, images, size), len(some)),
                "whole": _microseconds(functools.partial(_view, views.whole, resized, size), len(some)),
                "patch": _microseconds(functools.partial(_view, views.patch, resized, size), len(some)),
            }
            rows.append((f"{name}, {_text(size)}", *(number(value) for value in times.values())))
            for stage, value in times.items():
                figures[f"{name}/{_text(size)}/{stage}_us"] = value
    notes = ["read: from disk or memory, and decoded; the rest from images in memory; best of the rounds"]
    return Table(
        "Where the time goes",
        ("microseconds of processor time per image", "read", "resize", "whole", "patch"),
        rows,
        notes,
    )


def _read(source: Source, positions: list[int], k: int) -> None:
    source[positions[k]]


def _resize(images: list[np.ndarray], size: tuple[int, int], k: int) -> None:
    views.resize(images[k], size)


def _view(kind: Callable[..., Any], images: list[np.ndarray], size: tuple[int, int], k: int) -> None:
    kind(images[k], np.random.default_rng(k), size=size, augmentation=views.Augmentation())


def _microseconds(call: Callable[[int], object], count: int) -> float:
    """Processor time per call, the best of the rounds."""
    call(0)  # compiles
    rounds = []
    for _ in range(FLAGS.pipeline_rounds):
        start = time.thread_time()
        for k in range(count):
            call(k)
        rounds.append(time.thread_time() - start)
    return min(rounds) / count * 1e6


def _images_per_second(dataset: grain.MapDataset, count: int, threads: int) -> tuple[float, float]:
    """Of ``count`` batches that nobody works on: per second, and per second of processor time."""
    start, begun = time.perf_counter(), time.process_time()
    with Stream(dataset, start=0, stop=count, threads=threads) as stream:
        images = sum(len(batch["inputs"]) for batch in stream)  # to the end: no thread works on after it
    return images / (time.perf_counter() - start), images / max(time.process_time() - begun, 1e-9)


def _count(dataset: grain.MapDataset) -> int:
    """So many batches as take the time asked for, in one thread, and enough for several."""
    dataset[0]
    start = time.thread_time()
    dataset[1]
    return max(8, math.ceil(FLAGS.timed_seconds / max(time.thread_time() - start, 1e-4)))


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _shape(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.split("x"))
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(f"view_sizes must be HEIGHTxWIDTH such as 160x64, got {text!r}")
    return height, width


def _threads() -> list[int]:
    given = FLAGS.threads_tried
    if not given or not all(text.strip().isdecimal() for text in given):
        raise ValueError(f"threads_tried must be whole numbers such as 0,2, got {','.join(given) or 'nothing'}")
    return [int(text) for text in given]


if __name__ == "__main__":
    run.main(main)
