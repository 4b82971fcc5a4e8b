"""Evaluation: partial probes against a gallery, method by method (Sec. 4.1 to 4.4).

    python -m experiments.evaluate --dataset=folder --data_dir=DATA --weights=vgg16.npz \\
        --methods=resizing,dsr_single,dsr_multi --shots=1 --trials=1 --partial=none --probe_scale=keep --workdir=OUT

Prints a table and writes `metrics.json` with keys "<method>/shots<N>/rank<k>" (k = 1, 3, 5, 10, 20) and
"<method>/shots<N>/mAP", in per cent, means over trials, each with `_low` and `_high`, the 95 % interval by bootstrap
over identities; and `report/index.html` with CMC curves and ranked lists.
"""

from typing import Any

import numpy as np
from absl import flags

import data
from dsr_jax import fcn, match, protocols, report, weights
from dsr_jax.curves import Curve
from experiments import comparison, difference, page, pictures, run, settings

FLAGS = flags.FLAGS
flags.DEFINE_list("methods", ["resizing", "dsr_single", "dsr_multi"], f"Of {', '.join(comparison.METHODS)}.")
flags.DEFINE_list("shots", ["1"], "Gallery images per identity; several numbers: each is evaluated.")
flags.DEFINE_integer("trials", 10, "Random gallery draws averaged.", lower_bound=1)
flags.DEFINE_enum(
    "camera_rule", "cross", ["cross", "any"], "Gallery images from other cameras than the probe's, or any."
)
flags.DEFINE_enum(
    "partial", "crop", ["crop", "none"], "Cut a random part out of each probe, or take probes as they are."
)
flags.DEFINE_list("crop_height", ["0.5", "0.75"], "Smallest and largest visible share of the height.")
flags.DEFINE_list("crop_width", ["0.7", "1.0"], "Smallest and largest visible share of the width.")
flags.DEFINE_integer("crop_seed", 0, "Seed of the crops.", lower_bound=0)
flags.DEFINE_enum(
    "probe_scale", "keep", ["keep", "width"], "Probes keep the gallery's scale, or are brought to its width."
)
flags.DEFINE_enum("subset", "test", ["test", "heldout"], "Test identities, or the --holdout training identities.")
flags.DEFINE_integer("probes_per_identity", 0, "First so many probes per identity and camera; 0: all.", lower_bound=0)
flags.DEFINE_integer("identities", 0, "Only the first so many identities of the subset; 0: all.", lower_bound=0)
flags.DEFINE_string("coder", "auto", "Coder of match.distances.")
flags.DEFINE_float("match_l1", 0.4, "Weight of the L1 penalty in matching.")
flags.DEFINE_integer("ranked_lists", 5, "Ranked lists in the report.", lower_bound=0)


class Data:
    """Probes and gallery, checked, cropped and scaled, before any map is extracted."""

    def __init__(self, size: tuple[int, int]):
        """Reads the split that the flags name and prints what is compared."""
        ranges = {"height_range": settings.shares("crop_height"), "width_range": settings.shares("crop_width")}
        probes, gallery = _first_identities(*_images(), count=FLAGS.identities)
        check = protocols.check_identities(
            probes.identities, gallery.identities, probes.cameras, gallery.cameras, camera_rule=FLAGS.camera_rule
        )
        print(check, flush=True)
        shapes = np.array([picture.shape[:2] for picture in gallery.pictures])
        self.size = size
        self.gallery = pictures.fit_gallery(gallery, size)
        fitted = pictures.fit_probes(
            probes,
            size=size,
            gallery_shape=tuple(np.median(shapes, axis=0).tolist()),
            partial=FLAGS.partial,
            probe_scale=FLAGS.probe_scale,
            seed=FLAGS.crop_seed,
            **ranges,
        )
        kept = pictures.answered(fitted, gallery, camera_rule=FLAGS.camera_rule)
        if not kept.all():
            without = [name for name, good in zip(probes.names, kept, strict=True) if not good]
            print(f"{len(without)} probes without a right answer are left out: {pictures.some(without)}", flush=True)
        self.probes, self.without_answer = fitted.only(kept), int(np.sum(~kept))


def check() -> dict[str, comparison.Method]:
    """The methods that the flags name; errors here come before any long work.

    Raises:
      ValueError: for flags of the evaluation that make no sense, or probes and gallery that are not there.
    """
    if not FLAGS.match_l1 > 0:
        raise ValueError(f"match_l1 must be positive, got {FLAGS.match_l1}; the paper uses 0.4")
    match.choose_coder(FLAGS.coder)
    for flag in ("crop_height", "crop_width"):
        settings.shares(flag)
    settings.integers("shots")
    if not FLAGS.methods:
        raise ValueError(f"methods is empty: give one or several of {', '.join(comparison.METHODS)}")
    if FLAGS.subset == "heldout":
        _heldout(data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir))
    else:
        for split in ("probe", "gallery"):
            data.load(FLAGS.dataset, split, data_dir=FLAGS.data_dir)
    return {name: _method(name) for name in FLAGS.methods}


def compare(workdir: run.Workdir, networks: dict[str, comparison.Network]) -> dict[str, Any]:
    """Evaluates each network by every method, prints the table, writes the report, returns the metrics.

    Args:
      workdir: where the report goes; begun here if it was not.
      networks: label ("before", "after"; "" for the only one) to network; all of one size.

    Returns:
      Flat metrics; keys begin with "<label>/" where the label is not empty.
    """
    methods = check()
    protocol = {n: comparison.Protocol(n, FLAGS.trials, FLAGS.camera_rule, FLAGS.seed) for n in _shots()}
    found = Data(next(iter(networks.values())).size)
    trials = {shots: comparison.draws(found.probes, found.gallery, how) for shots, how in protocol.items()}
    for shots, drawn in trials.items():
        _print(comparison.shortages(drawn, shots=shots))
    first = comparison.draws(found.probes, found.gallery, comparison.Protocol(1, 1, FLAGS.camera_rule, FLAGS.seed))
    used = comparison.used([*first, *(trial for drawn in trials.values() for trial in drawn)])
    probed: difference.Probed = {}
    curves: dict[str, list[Curve]] = {}
    ranked: list[report.RankedList] = []
    for label, network in networks.items():
        maps = comparison.sides(
            network, found.probes, found.gallery, used, resized="resizing" in methods, progress=FLAGS.progress
        )
        for shots, how in protocol.items():
            for name, method in methods.items():
                key = "/".join(part for part in (label, name, f"shots{shots}") if part)
                scores = comparison.score(
                    method, maps, found.probes, found.gallery, how, label=key, progress=FLAGS.progress
                )
                probed[key] = comparison.per_probe(scores)
                curves.setdefault(f"{shots} shot", []).append(page.curve(name, label, scores))
        ranked = _ranked(methods, maps, found, first[0])
    identities = found.probes.identities
    figures = page.flat({key: comparison.summarise(values, identities) for key, values in probed.items()})
    workdir.begin()
    difference.write(workdir.path / difference.FILE, probed, identities)
    _publish(workdir, figures, curves, ranked, found)
    if len(networks) == 2:
        before, after = ({k.removeprefix(f"{n}/"): v for k, v in probed.items() if k.startswith(n)} for n in networks)
        print(difference.table(after, before, identities, title=" minus ".join(reversed(list(networks)))))
    return figures | {
        "probes": len(found.probes.names),
        "probes_without_answer": found.without_answer,
        "gallery": len(found.gallery.names),
        "trials": FLAGS.trials,
    }


def network(path: str) -> comparison.Network:
    """The network of a weights file or a training run's workdir, at the size of the flags or its own."""
    card = weights.read_card(path)
    return describe(weights.load(path), card)


def describe(params: fcn.Params, card: weights.Card) -> comparison.Network:
    """The network with the size and stride that the flags or its card say."""
    stride, size = settings.output_stride(card.output_stride), settings.size(card.extra.get("size"))
    return comparison.Network(params, card.preprocessing, stride, size, FLAGS.compute)


def main() -> None:
    """The runner."""
    workdir = run.Workdir(settings.workdir_given(), run.flag_values("evaluate"))
    if not FLAGS.weights:
        raise ValueError(
            "weights is missing: give --weights=FILE (.npz, .safetensors, .pth) or a training run's workdir"
        )
    workdir.write_metrics(compare(workdir, {"": network(FLAGS.weights)}))
    print(f"metrics: {workdir.path / 'metrics.json'}")


def _images() -> tuple[pictures.Images, pictures.Images]:
    limit = FLAGS.probes_per_identity
    if FLAGS.subset == "test":
        probe, gallery = (data.load(FLAGS.dataset, split, data_dir=FLAGS.data_dir) for split in ("probe", "gallery"))
        return pictures.read(probe, limit_per_identity=limit), pictures.read(gallery)
    source = data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir)
    held = _heldout(source)
    return pictures.read(source, held, limit_per_identity=limit), pictures.read(source, held)


def _first_identities(
    probes: pictures.Images, gallery: pictures.Images, *, count: int
) -> tuple[pictures.Images, pictures.Images]:
    """Probes and gallery images of the first ``count`` probe identities; 0: of all."""
    if not count:
        return probes, gallery
    chosen = np.unique(probes.identities[probes.identities != protocols.UNKNOWN])[:count]
    return probes.only(np.isin(probes.identities, chosen)), gallery.only(np.isin(gallery.identities, chosen))


def _heldout(source: data.Source) -> list[int]:
    """The images of the held-out identities: probes and gallery at once, told apart by their cameras alone."""
    labels = np.unique(source.identities[source.identities >= 0])
    if not 0 < FLAGS.holdout < len(labels):
        raise ValueError(f"holdout must be between 1 and {len(labels) - 1} for --subset=heldout, got {FLAGS.holdout}")
    held = np.flatnonzero(np.isin(source.identities, labels[-FLAGS.holdout :]))
    if FLAGS.camera_rule == "any" or (source.cameras[held] == data.UNKNOWN_CAMERA).any():
        raise ValueError(
            "subset=heldout would find each probe's own image in the gallery: it needs training images of known "
            "cameras and --camera_rule=cross"
        )
    return held.tolist()


def _method(name: str) -> comparison.Method:
    if name not in comparison.METHODS:
        raise ValueError(f"methods knows {', '.join(comparison.METHODS)}; got {name!r}")
    return comparison.METHODS[name](coder=FLAGS.coder, l1=FLAGS.match_l1)


def _shots() -> tuple[int, ...]:
    return tuple(dict.fromkeys(settings.integers("shots")))


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _ranked(
    methods: dict[str, comparison.Method], maps: comparison.Sides, found: Data, first: protocols.Trial
) -> list[report.RankedList]:
    """Some probes with their nearest gallery images of the first draw, by the last method."""
    name, method = list(methods.items())[-1]
    return page.ranked_lists(
        name, method, maps, found.probes, found.gallery, first, count=FLAGS.ranked_lists, seed=FLAGS.seed
    )


def _publish(
    workdir: run.Workdir,
    figures: dict[str, Any],
    curves: dict[str, list[Curve]],
    ranked: list[report.RankedList],
    found: Data,
) -> None:
    print(page.text(figures), flush=True)
    written = page.write(
        workdir.path / "report",
        figures,
        curves,
        ranked,
        title=f"Partial re-identification: {FLAGS.dataset}",
        caption=f"{FLAGS.dataset}, {FLAGS.subset} identities: rank-k and mAP in per cent, mean of {FLAGS.trials} draws",
        summary=f"{len(found.probes.names)} probes against {len(found.gallery.names)} gallery images.",
        config=workdir.flags,
    )
    print(f"report: {written}")


if __name__ == "__main__":
    run.main(main)
