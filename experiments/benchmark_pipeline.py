"""Speed of the way from pictures to batches: images per second, where the time goes, and with how many threads.

    python -m experiments.benchmark_pipeline --dataset=cuhk03 --data_dir=DATA --workdir=runs/pipeline

Three inputs: the training split of --dataset, drawn people cut out of 1080p video (400 to 800 pixels high), and whole
1920 x 1080 frames out of which they are cut at each use. All are decoded, brought to size, augmented and stacked as in
training; "held" is what images in memory reach from the second epoch on, "decoded" is without any memory. Medians over
rounds that take turns. A machine that does something else meanwhile moves every figure, least those per second of
processor time. Leaves `pipeline.json`, one flat object, and `pipeline.txt`, the tables.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from data import Source, views
from data.binding import setting
from dsr_jax.cpu import cores
from experiments import run, workdir
from experiments.benchmarks import footage
from experiments.benchmarks.alternating import Spread
from experiments.benchmarks.outcome import Cell, Figures, Part, Table
from experiments.benchmarks.settings import several, sides
from experiments.settings import pictures
from experiments.settings import run as runs
from experiments.training import batches
from experiments.training.stream import Stream

EVERYTHING = 1 << 60  # bytes that may be held
IMAGES = 2048  # of each input; drawn ones again and again, for Grain's shuffle of few takes longer than their views
STAGES = ("read", "resize", "whole", "patch")


@dataclass(frozen=True)
class Pipeline:
    """Pipeline."""

    view_sizes: tuple[str, ...] = several(
        ("160x64", "320x120"),
        "HEIGHTxWIDTH to which images are brought.",
        "HEIGHTxWIDTH such as 160x64",
        lambda values: all(map(sides, values)),
    )
    threads_tried: tuple[int, ...] = several(
        (0, 1, 2, 4),
        "Threads that make batches; 0: each is made when it is needed.",
        "whole numbers such as 0,2",
        lambda values: min(values) >= 0,
    )
    views_per_batch: int = setting(32, "Views per batch.", low=1)
    drawn_pictures: int = setting(96, "Drawn crops, and as many drawn frames.", low=1)
    pipeline_rounds: int = setting(3, "Times that each case is timed, in turns.", low=1)
    timed_seconds: float = setting(2.0, "Processor time of each timing, about; at least eight batches.", low=0.0)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Text to height and width."""
        return {text.replace("x", " x "): sides(text) for text in self.view_sizes}


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    place: runs.Place = runs.Place()
    data: pictures.DataSet = pictures.DataSet()
    seed: runs.Seed = runs.Seed()
    pipeline: Pipeline = Pipeline()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """The runner."""
    chosen, seed = settings.pipeline, settings.seed.seed
    folder = workdir.opened(settings, "benchmark_pipeline")
    folder.claim()
    inputs = {
        settings.data.dataset: settings.data.split("train"),
        "1080p crops": footage.crops(chosen.drawn_pictures, seed=seed),
        "1080p frames": footage.frames(chosen.drawn_pictures, seed=seed),
    }
    folder.begin()
    machine = f"{cores.count()} cores, batches of {chosen.views_per_batch}, {chosen.pipeline_rounds} rounds"
    print(f"\n{machine}\n", flush=True)
    texts, flat = [machine], dict[str, Any]()
    for measure in (_stages, _rates):
        part = measure(inputs, chosen, seed)
        texts, flat = [*texts, part.tables[0].text()], flat | part.flat()
        print(texts[-1], flush=True)
    workdir.write_json(folder.path / "pipeline.json", flat)
    workdir.write_text(folder.path / "pipeline.txt", "\n\n".join(texts))


def _stages(inputs: dict[str, Source], chosen: Pipeline, seed: int) -> Part:
    """Microseconds per image of each step, one after another in one thread."""
    rows: list[tuple[Cell, ...]] = []
    figures: Figures = {}
    rounds = chosen.pipeline_rounds
    for name, source in inputs.items():
        some = np.random.default_rng(seed).permutation(len(source))[:200].tolist()
        images = [source[i].image for i in some]
        read = _microseconds(source.__getitem__, some, rounds)
        for text, size in chosen.sizes.items():
            resized = list(enumerate(views.resize(image, size) for image in images))
            times = [
                read,
                _microseconds(functools.partial(views.resize, size=size), images, rounds),
                _microseconds(functools.partial(_view, views.whole, size), resized, rounds),
                _microseconds(functools.partial(_view, views.patch, size), resized, rounds),
            ]
            rows.append((f"{name}, {text}", *times))
            figures |= {f"{name}/{text}/{stage}_us": value for stage, value in zip(STAGES, times, strict=True)}
    notes = ["read: from disk or memory, and decoded; the rest from images in memory; best of the rounds"]
    header = ("microseconds of processor time per image", *STAGES)
    return Part([Table("Where the time goes", header, rows, notes)], figures)


def _rates(inputs: dict[str, Source], chosen: Pipeline, seed: int) -> Part:
    """Images per second with each number of threads."""
    datasets: dict[tuple[str, str, str], grain.MapDataset] = {}
    for number, (name, source) in enumerate(inputs.items()):
        for text, size in chosen.sizes.items():
            # From memory all inputs are alike.
            for memory, limit in (("decoded", 0), ("held", EVERYTHING))[: 1 if number else 2]:
                datasets[name, text, memory] = _batches(source, size, limit, chosen, seed)
    counts = {case: _count(dataset, chosen.timed_seconds) for case, dataset in datasets.items()}
    rates: dict[Any, list[tuple[float, float]]] = {(c, n): [] for c in datasets for n in chosen.threads_tried}
    for _ in range(chosen.pipeline_rounds):
        for case, threads in rates:
            rates[case, threads].append(_images_per_second(datasets[case], counts[case], threads))
    rows: list[tuple[Cell, ...]] = []
    figures: Figures = {}
    for case in datasets:
        cells: list[Spread] = []
        every: list[float] = []
        for threads in chosen.threads_tried:
            by_clock, of_processor = zip(*rates[case, threads], strict=True)
            cells.append(Spread.of(by_clock))
            every += of_processor
            figures["/".join((*case, f"threads{threads}"))] = cells[-1].median
            figures["/".join((*case, f"threads{threads}_processor"))] = Spread.of(of_processor).median
        rows.append((", ".join(case), *cells, Spread.of(every).median))
    names = (f"{threads} threads" for threads in chosen.threads_tried)
    notes = ["half of the views are patches, all are augmented"]
    header = ("images per second, median (range)", *names, "of processor time")
    return Part([Table("From pictures to batches", header, rows, notes)], figures)


def _batches(source: Source, size: tuple[int, int], limit: int, chosen: Pipeline, seed: int) -> grain.MapDataset:
    """Batches of an input as in training; with a limit every image is decoded and held before."""
    positions = np.arange(IMAGES) % len(source)
    people = batches.People(source, positions, np.arange(IMAGES), source.cameras[positions])
    drawn = batches.ImageViews(people, size=size, augmentation=views.Augmentation(), limit=limit)
    if limit:
        for i in range(IMAGES):
            drawn.whole(i, np.random.default_rng(0))
    return batches.identification(
        drawn, people.classes, batches.Batching(chosen.views_per_batch, seed), patch_share=0.5
    )


def _view(kind: Callable[..., object], size: tuple[int, int], numbered: tuple[int, np.ndarray]) -> object:
    seed, image = numbered
    return kind(image, np.random.default_rng(seed), size=size, augmentation=views.Augmentation())


def _microseconds(call: Callable[[Any], object], items: Sequence[Any], rounds: int) -> float:
    """Processor time per item, the best of the rounds."""
    call(items[0])  # compiles
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        for item in items:
            call(item)
        times.append(time.thread_time() - start)
    return min(times) / len(items) * 1e6


def _images_per_second(dataset: grain.MapDataset, count: int, threads: int) -> tuple[float, float]:
    """Of ``count`` batches that nothing else waits for: per second, and per second of processor time."""
    start, begun = time.perf_counter(), time.process_time()
    with Stream(dataset, start=0, stop=count, threads=threads) as stream:
        images = sum(len(batch["inputs"]) for batch in stream)  # to the end: no thread works on after it
    return images / (time.perf_counter() - start), images / max(time.process_time() - begun, 1e-9)


def _count(dataset: grain.MapDataset, seconds: float) -> int:
    """Number of batches that take so much time in one thread, and enough for several."""
    dataset[0]
    start = time.thread_time()
    dataset[1]
    return max(8, math.ceil(seconds / max(time.thread_time() - start, 1e-4)))


if __name__ == "__main__":
    run.main(main, Settings)
