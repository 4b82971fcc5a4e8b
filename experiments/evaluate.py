"""Evaluation: partial probes against a gallery, method by method (Sec. 4.1 to 4.4).

    python -m experiments.evaluate --dataset=folder --data_dir=DATA --weights=vgg16.npz \\
        --methods=resizing,swm,amc,amc_swm,dsr_single,dsr_multi --shots=1,3 --partial=none --workdir=OUT

Prints the tables and writes `metrics.json` with keys "<method>/shots<N>/<figure>": rank1, 3, 5, 10, 20, mAP, mINP, EER
(equal error rate) and TPR@F (true-positive rate at the false-positive rate F), in per cent, each with `_low` and
`_high`, the 95 % interval by bootstrap over identities. Rank-k, mAP and mINP (here that of mAP: everybody is one entry)
are means over trials, the figures of verification are of the pairs of all trials. `report/index.html` has curves,
histograms, ranked lists and reconstruction maps. The distances stay in `distances/`: a stopped run goes on, and a later
one that names further --methods or --shots beside the earlier ones computes only what is new.

    python -m experiments.evaluate --maps=maps.npz --methods=global_average,dsr_single,dsr_multi --workdir=OUT

does the same with maps that any other network wrote (`dsr_jax.map_file`, docs/your-own-network.md).
"""

import functools
from collections.abc import Iterable
from typing import Any

from absl import flags

from dsr_jax import fcn, match, protocols, report, weights
from experiments import (
    comparison,
    difference,
    features,
    given_maps,
    kept,
    methods,
    page,
    paper,
    run,
    selection,
    settings,
    showing,
)

FLAGS = flags.FLAGS
flags.DEFINE_list("methods", ["resizing", "dsr_single", "dsr_multi"], f"Of {', '.join(methods.METHODS)}.")
flags.DEFINE_list("shots", ["1"], "Gallery images per identity; several numbers: each is evaluated.")
flags.DEFINE_integer("trials", 10, "Random gallery draws averaged.", lower_bound=1)
flags.DEFINE_string("coder", "auto", "Coder of match.distances.")
flags.DEFINE_float("match_l1", 0.4, "Weight of the L1 penalty in matching.")
flags.DEFINE_enum(
    "multi_shot", "stack", methods.MULTI_SHOT, "DSR on several shots: one dictionary of all, the nearest, their mean."
)
flags.DEFINE_integer("window_stride", 0, "Pixels between the windows of swm; 0: one output cell.", lower_bound=0)
flags.DEFINE_integer("ranked_lists", 5, "Ranked lists in the report.", lower_bound=0)
flags.DEFINE_integer("reconstructions", 3, "Probes in the report shown as they were rebuilt.", lower_bound=0)
flags.DEFINE_enum(
    "paper", "none", ["none", *paper.DATASETS], "The data set for which the paper's figures stand beside ours."
)
# Flags that may differ in a later start in the same workdir: the distances of what was compared before are kept.
ADDED = frozenset({"methods", "shots", "ranked_lists", "reconstructions", "paper"})
# Flags without effect on a runner that shares the others but compares by methods of its own.
OWN = (*sorted(ADDED), "maps", "multi_shot", "window_stride")


def check() -> dict[str, methods.Method]:
    """The methods that the flags name; errors here come before any long work.

    Raises:
      ValueError: for flags of the evaluation that make no sense, or probes and gallery that are not there.
    """
    if not FLAGS.match_l1 > 0:
        raise ValueError(f"match_l1 must be positive, got {FLAGS.match_l1}; the paper uses 0.4")
    match.choose_coder(FLAGS.coder)
    settings.integers("shots")
    if not FLAGS.methods:
        raise ValueError(f"methods is empty: give one or several of {', '.join(methods.METHODS)}")
    chosen = {name: _method(name) for name in FLAGS.methods}
    if FLAGS.maps:
        given_maps.check(chosen)
    else:
        selection.check()
    return chosen


def compare(
    workdir: run.Workdir, networks: dict[str, features.Network], given: given_maps.Given | None = None
) -> dict[str, Any]:
    """Evaluates each network by every method, prints the tables, writes the report, returns the metrics.

    Args:
      workdir: where the report goes; begun here if it was not.
      networks: label ("before", "after"; "" for the only one) to network; all of one size.
      given: maps that are compared in the place of a network's.

    Returns:
      Flat metrics; keys begin with "<label>/" where the label is not empty.
    """
    chosen = check()
    found = given.selection if given else selection.Selection(next(iter(networks.values())).size)
    trials = draws(found)
    told = list(given.selection.remarks) if given else []
    told += [line for shots, drawn in trials.items() for line in comparison.shortages(drawn, shots=shots)]
    _print(told)
    results = []
    sides: features.Features | given_maps.Sides
    for label, network in networks.items():
        sides = given.sides if given else prepared(network, found, trials)
        results += compared(workdir, label, network, sides, found, trials, chosen)
    workdir.begin()
    difference.write(
        workdir.path / difference.FILE, {result.key: result.per_probe for result in results}, found.probes.identities
    )
    figures = page.flat(results)
    print(page.text(figures, dataset=FLAGS.paper), flush=True)
    print(f"\n{page.paired_text(results, champion(chosen))}".rstrip(), flush=True)
    _print([f"{result.key}: {remark}" for result in results for remark in result.remarks])
    print(f"report: {_write_page(workdir, results, networks, chosen, found, told)}")
    if len(networks) == 2:
        _print_difference(results, list(networks))
    return figures | {
        "probes": len(found.probes.names),
        "probes_without_answer": found.without_answer,
        "gallery": len(found.gallery.names),
        "trials": FLAGS.trials,
    }


def champion(chosen: Iterable[str]) -> str:
    """The method that the others are compared with: DSR multi-scale, or else the last one named."""
    names = list(chosen)
    return "dsr_multi" if "dsr_multi" in names else names[-1]


def draws(found: selection.Selection) -> dict[int, list[protocols.Trial]]:
    """The gallery draws of all trials, for every number of --shots."""
    return {
        shots: comparison.draws(
            found.probes, found.gallery, comparison.Protocol(shots, FLAGS.trials, selection.camera_rule(), FLAGS.seed)
        )
        for shots in dict.fromkeys(settings.integers("shots"))
    }


def prepared(
    network: features.Network, found: selection.Selection, trials: dict[int, list[protocols.Trial]]
) -> features.Features:
    """What the network makes of the probes and of the gallery images that are drawn."""
    used = comparison.used([trial for drawn in trials.values() for trial in drawn])
    return features.Features(
        network, found.probes, found.gallery, used, window_stride=FLAGS.window_stride, progress=FLAGS.progress
    )


def compared(
    workdir: run.Workdir,
    label: str,
    network: features.Network,
    sides: features.Features | given_maps.Sides,
    found: selection.Selection,
    trials: dict[int, list[protocols.Trial]],
    chosen: dict[str, methods.Method],
) -> list[comparison.Result]:
    """Every method on one network, for every number of shots; what the workdir keeps is not computed again."""
    if {"swm", "amc_swm"} & set(chosen) and isinstance(sides, features.Features) and sides.larger:
        print(f"swm: {len(sides.larger)} probes are larger than the gallery's size and are scaled to fit", flush=True)
    files = kept.Kept(workdir, kept.digest(network, found.probes, found.gallery, _options(), FLAGS.window_stride))
    results = []
    for shots, drawn in trials.items():
        for name, method in chosen.items():
            key = "/".join(part for part in (label, name, f"shots{shots}") if part)
            compute = functools.partial(comparison.distances, method, sides, drawn, label=key, progress=FLAGS.progress)
            distances = files.get(key, drawn, compute)
            results.append(comparison.Result(label, name, shots, drawn, distances, found.probes.identities))
    return results


def network(path: str) -> features.Network:
    """The network of a weights file or a training run's workdir, at the size of the flags or its own."""
    card = weights.read_card(path)
    return describe(weights.load(path), card)


def describe(params: fcn.Params, card: weights.Card) -> features.Network:
    """The network with the size and stride that the flags or its card say."""
    stride, size = settings.output_stride(card.output_stride), settings.size(card.extra.get("size"))
    return features.Network(params, card.preprocessing, stride, size, FLAGS.compute)


def main() -> None:
    """The runner."""
    folder = settings.workdir_given()
    if FLAGS.maps:
        check()
        given = given_maps.Given(FLAGS.maps)
        workdir = run.Workdir(folder, run.flag_values("evaluate") | {"data": given.digest}, free=ADDED)
        workdir.write_metrics(compare(workdir, {"": given.network}, given))
        print(f"metrics: {workdir.path / 'metrics.json'}")
        return
    workdir = run.Workdir(folder, run.flag_values("evaluate"), free=ADDED)
    if not FLAGS.weights:
        raise ValueError(
            "weights is missing: give --weights=FILE (.npz, .safetensors, .pth) or a training run's workdir"
        )
    workdir.write_metrics(compare(workdir, {"": network(FLAGS.weights)}))
    print(f"metrics: {workdir.path / 'metrics.json'}")


def _write_page(
    workdir: run.Workdir,
    results: list[comparison.Result],
    networks: dict[str, features.Network],
    chosen: dict[str, methods.Method],
    found: selection.Selection,
    told: list[str],
) -> Any:
    """The page: ranked lists by the last method, reconstructions by the last of DSR's, both of the last network."""
    _, network = list(networks.items())[-1]
    probes, gallery = found.probes, found.gallery
    last = next(result for result in reversed(results) if result.shots == results[0].shots)
    pictured = not FLAGS.maps  # there is nothing to show of a file of maps but figures and curves
    ranked = [
        showing.ranked_list(last, probe, probes, gallery)
        for probe in showing.chosen(last, count=FLAGS.ranked_lists * pictured, seed=FLAGS.seed)
    ]
    rebuilt: list[report.Reconstruction] = []
    explained = [one for one in results if one.shots == last.shots and chosen[one.method].scales]
    if explained:
        coded = explained[-1]
        for probe in showing.chosen(coded, count=FLAGS.reconstructions * pictured, seed=FLAGS.seed):
            rebuilt += showing.reconstructions(
                coded, network, probe, probes, gallery, l1=FLAGS.match_l1, scales=chosen[coded.method].scales
            )
    return page.write(
        workdir.path / "report",
        results,
        ranked=ranked,
        reconstructions=rebuilt,
        title=f"Partial re-identification: {FLAGS.maps or FLAGS.dataset}",
        caption=selection.caption(),
        summary=" ".join(
            [f"{len(probes.names)} probes against {len(gallery.names)} gallery images.", *(f"{line}." for line in told)]
        ),
        config=workdir.flags,
        champion=champion(chosen),
        dataset=FLAGS.paper,
    )


def _print_difference(results: list[comparison.Result], labels: list[str]) -> None:
    """The second network minus the first, probe by probe."""
    before, after = (
        {f"{result.method}/shots{result.shots}": result.per_probe for result in results if result.label == label}
        for label in labels
    )
    print(difference.table(after, before, results[0].identities, title=" minus ".join(reversed(labels))))


def _method(name: str) -> methods.Method:
    if name not in methods.METHODS:
        raise ValueError(f"methods knows {', '.join(methods.METHODS)}; got {name!r}")
    return methods.METHODS[name](_options())


def _options() -> methods.Options:
    return methods.Options(FLAGS.coder, FLAGS.match_l1, FLAGS.multi_shot)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    run.main(main)
