"""Evaluation: partial probes against a gallery, method by method (Sec. 4.1 to 4.4).

    python -m experiments.evaluate --dataset=folder --data_dir=DATA --weights=vgg16.npz \\
        --methods=resizing,swm,amc,amc_swm,dsr_single,dsr_multi --shots=1,3 --partial=none --workdir=OUT

Prints the tables and writes `metrics.json` with keys "<method>/shots<N>/<figure>", or "<method>/whole/<figure>" where
nothing is drawn: rank1, 3, 5, 10, 20, mAP, mINP, EER (equal error rate) and TPR@F (true-positive rate at the
false-positive rate F), in per cent, each with `_low` and `_high`, the 95 % interval by bootstrap over identities.
Rank-k, mAP and mINP (equal to mAP where everybody is one entry) are means over trials, the figures of verification
are of the pairs of all trials. Beside them stands what was compared: "partial", "camera_rule", how many cameras are
unknown, how many probes are larger or much smaller than whole people. `report/index.html` has curves, histograms,
ranked lists and reconstruction maps. The distances stay in `distances/`: a stopped run goes on, and a later one that
names further --methods or --shots beside the earlier ones computes only what is new.

    python -m experiments.evaluate --maps=maps.npz --methods=global_average,dsr_single,dsr_multi --workdir=OUT

does the same with maps that any other network wrote (`dsr_jax.map_file`, docs/your-own-network.md).
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import flags

from dsr_jax import fcn, match, report, weights
from dsr_jax.evaluation import protocols
from experiments import difference, run, settings
from experiments.evaluation import comparison, features, given_maps, kept, methods, page, paper, selection, showing

FLAGS = flags.FLAGS
flags.DEFINE_list("methods", ["resizing", "dsr_single", "dsr_multi"], f"Of {', '.join(methods.METHODS)}.")
flags.DEFINE_list(
    "shots",
    ["1"],
    "Gallery images per identity; several numbers: each is evaluated. 'whole': nothing is drawn, every gallery image "
    "is an entry of its own (single query, as Market-1501 and CUHK03's 767/700 are evaluated).",
)
flags.DEFINE_integer("trials", 10, "Random gallery draws averaged.", lower_bound=1)
flags.DEFINE_string("coder", "auto", "Coder of match.distances.")
flags.DEFINE_float("match_l1", 0.4, "Weight of the L1 penalty in matching.")
flags.DEFINE_enum(
    "multi_shot", "stack", methods.MULTI_SHOT, "DSR on several shots: one dictionary of all, the nearest, their mean."
)
flags.DEFINE_list(
    "rerank",
    None,
    "k1,k2,weight of k-reciprocal re-ranking, 20,6,0.3 in its paper: methods that compare maps (global_average, dsr, "
    "ridge) are shown once more, re-ranked. All gallery images are compared with one another.",
)
flags.DEFINE_list(
    "shortlist",
    ["0"],
    "K: pooled features (the ranking of global_average) choose the K entries of each probe that DSR codes; who is not "
    "on the list comes after it by pooled distance. 0: DSR codes all. The method is then called dsr_multi_topK, and "
    "terminal, metrics.json and report say which figures rest on pooled distances. Junk and images that the camera "
    "rule removes take no place. Several numbers: each is evaluated. Methods other than DSR with a lasso per image "
    "compare everybody as ever.",
)
flags.DEFINE_integer("window_stride", 0, "Pixels between the windows of swm; 0: one output cell.", lower_bound=0)
flags.DEFINE_integer("ranked_lists", 5, "Ranked lists in the report.", lower_bound=0)
flags.DEFINE_integer("reconstructions", 3, "Probes in the report shown as they were rebuilt.", lower_bound=0)
flags.DEFINE_enum(
    "paper", "none", ["none", *paper.DATASETS], "The data set for which the paper's figures stand beside ours."
)
# Flags that may differ in a later start in the same workdir: the distances of what was compared before are kept.
ADDED = frozenset({"methods", "shots", "shortlist", "ranked_lists", "reconstructions", "paper"})
# Flags without effect on a runner that shares the others but compares by methods of its own.
OWN = (*sorted(ADDED), "maps", "multi_shot", "rerank", "shortlist", "window_stride")


def check() -> dict[str, methods.Method]:
    """The methods that the flags name; errors here come before any long work.

    Raises:
      ValueError: for flags of the evaluation that make no sense, or probes and gallery that are not there.
    """
    if not FLAGS.match_l1 > 0:
        raise ValueError(f"match_l1 must be positive, got {FLAGS.match_l1}; the paper uses 0.4")
    match.choose_coder(FLAGS.coder)
    shots()
    if not FLAGS.methods:
        raise ValueError(f"methods is empty: give one or several of {', '.join(methods.METHODS)}")
    chosen = _shortlisted({name: _method(name) for name in FLAGS.methods})
    if FLAGS.maps:
        given_maps.check(chosen, whole=comparison.WHOLE in shots())
    else:
        selection.check()
    return chosen | {f"{name}_reranked": method for name, method in _reranked(chosen).items()}


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
    size = next(iter(networks.values())).size
    found = given.selection if given else selection.Selection(size)
    trials = draws(found)
    told = remarks(found, trials, chosen, size)
    _print(told)
    results = []
    sides: features.Features | given_maps.Sides
    for label, network in networks.items():
        sides = given.sides if given else prepared(network, found, trials)
        results += compared(workdir, label, network, sides, found, trials, chosen)
        own = [f"{label}: {remark}" if label else remark for remark in sides.remarks]
        _print(own)
        told += own
    figures = page.flat(results)
    print(f"\n{caption(found)}\n{page.text(figures, dataset=FLAGS.paper)}", flush=True)
    print(f"\n{page.paired_text(results, champion(chosen))}".rstrip(), flush=True)
    _print([f"{result.key}: {remark}" for result in results for remark in result.remarks])
    workdir.begin()  # nothing is written before the figures are seen
    difference.write(
        workdir.path / difference.FILE, {result.key: result.per_probe for result in results}, found.probes.identities
    )
    print(f"report: {_write_page(workdir, results, networks, chosen, found, told)}")
    if len(networks) == 2:
        _print_difference(results, list(networks))
    return figures | {
        "probes": len(found.probes.names),
        "probes_without_answer": found.without_answer,
        "gallery": len(found.gallery.names),
        "trials": FLAGS.trials,
        **found.metrics,
    }


def shots() -> tuple[int, ...]:
    """The conditions that --shots names.

    Raises:
      ValueError: if they are no numbers of at least 1 or "whole".
    """
    given = [str(value).strip() for value in FLAGS.shots]
    if not given or not all(value == "whole" or (value.isdecimal() and int(value) > 0) for value in given):
        raise ValueError(
            f"shots must be numbers of at least 1, or 'whole', such as 1,3, got {','.join(given) or 'nothing'}"
        )
    return tuple(dict.fromkeys(comparison.WHOLE if value == "whole" else int(value) for value in given))


def caption(found: selection.Selection, varied: str = "") -> str:
    """What was compared, for the head of a table; the flag that is ``varied`` stands without a value."""
    drawn = any(number != comparison.WHOLE for number in shots())
    trials = "--trials varied" if varied == "trials" else f"mean of {FLAGS.trials} draws"
    return found.caption(varied) + f", {trials}" * drawn


def champion(chosen: Iterable[str]) -> str:
    """The method that the others are compared with: DSR multi-scale, or else the last one named."""
    names = list(chosen)
    return next((name for name in names if methods.untopped(name) == "dsr_multi"), names[-1])


def draws(found: selection.Selection) -> dict[int, list[protocols.Trial]]:
    """The gallery draws of all trials, for every number of --shots."""
    return {
        number: comparison.draws(
            found.probes, found.gallery, comparison.Protocol(number, FLAGS.trials, selection.camera_rule(), FLAGS.seed)
        )
        for number in shots()
    }


def remarks(
    found: selection.Selection, trials: dict[int, list[protocols.Trial]], chosen: Iterable[str], size: tuple[int, int]
) -> list[str]:
    """What is to be told of probes, gallery and draws before the first number."""
    told = [*found.remarks]
    for shots, drawn in trials.items():
        told += comparison.shortages(drawn, shots=shots)
    if {"swm", "amc_swm"} & set(chosen) and (scaled := features.larger(found.probes, size)):
        told.append(f"swm: {len(scaled)} probes are larger than the gallery's size and are scaled to fit")
    return told


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
    files = kept.Kept(workdir, kept.digest(network, found.probes, found.gallery, _options(), FLAGS.window_stride))

    def distances(name: str, shots: int) -> list[np.ndarray]:
        key = "/".join(part for part in (label, name, comparison.condition(shots)) if part)
        return files.get(key, trials[shots], functools.partial(compute, name, shots, key))

    def compute(name: str, shots: int, key: str) -> list[np.ndarray]:
        method = chosen.get(name) or _method(name)
        if method.fuse:
            parts = [distances(part, shots) for part in method.parts]
            return [method.fuse(*of_trial) for of_trial in zip(*parts, strict=True)]
        who = found.probes.identities
        return comparison.distances(method, sides, trials[shots], label=key, progress=FLAGS.progress, identities=who)

    return [
        comparison.Result(
            label,
            name,
            shots,
            trials[shots],
            distances(name, shots),
            found.probes.identities,
            method.shortlist,
        )
        for shots in trials
        for name, method in chosen.items()
    ]


def network() -> features.Network:
    """The network of --weights, at the size of the flags or its own."""
    given = settings.given_network()
    return describe(given.params, given.card)


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
        flag_values, free = (
            selection.flag_values("evaluate", contents=given.digest),
            ADDED | {*given_maps.WITHOUT_EFFECT},
        )
        workdir = run.Workdir(folder, flag_values, free=free)
        workdir.claim()
        workdir.write_metrics(compare(workdir, {"": given.network}, given))
        print(f"metrics: {workdir.path / 'metrics.json'}")
        return
    if not FLAGS.weights:
        raise ValueError(
            "weights is missing: give --weights=FILE (.npz, .safetensors, .pth) or a training run's workdir"
        )
    workdir = run.Workdir(folder, selection.flag_values("evaluate"), free=ADDED)
    workdir.claim()
    workdir.write_metrics(compare(workdir, {"": network()}))
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
        caption=caption(found),
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
        {
            f"{result.method}/{comparison.condition(result.shots)}": result.per_probe
            for result in results
            if result.label == label
        }
        for label in labels
    )
    print(difference.table(after, before, results[0].identities, title=" minus ".join(reversed(labels))))


def _method(name: str) -> methods.Method:
    if name not in methods.METHODS:
        raise ValueError(f"methods knows {', '.join(methods.METHODS)}; got {name!r}")
    return methods.METHODS[name](_options())


def _reranked(chosen: dict[str, methods.Method]) -> dict[str, methods.Method]:
    """Those that --rerank shows once more."""
    if not FLAGS.rerank:
        return {}
    try:
        k1, k2, weight = int(FLAGS.rerank[0]), int(FLAGS.rerank[1]), float(FLAGS.rerank[2])
        if min(k1, k2) < 1 or not 0 <= weight <= 1 or len(FLAGS.rerank) > 3:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"rerank must be k1,k2,weight such as 20,6,0.3, got {','.join(FLAGS.rerank)}") from None
    if any(number > 1 for number in shots()):
        raise ValueError("rerank compares gallery images among themselves: use --shots=whole or --shots=1 with it")
    found = {name: method for name, method in chosen.items() if method.maps}
    if not found:
        raise ValueError(f"rerank is for methods that compare maps, not {', '.join(chosen)}: name dsr_multi or another")
    return {name: methods.reranked(method, k1=k1, k2=k2, weight=weight) for name, method in found.items()}


def _shortlisted(chosen: dict[str, methods.Method]) -> dict[str, methods.Method]:
    """The methods, those that can with every length of --shortlist."""
    given = [str(value).strip() for value in FLAGS.shortlist]
    if not given or not all(value.isdecimal() for value in given):
        raise ValueError(
            f"shortlist must be a number of entries to code for each probe, 0 for all, got "
            f"{','.join(given) or 'nothing'}; 100 is usual"
        )
    lengths = list(dict.fromkeys(map(int, given)))
    if lengths == [0]:
        return chosen
    if FLAGS.rerank:
        raise ValueError("rerank compares all with all, which a shortlist leaves out: give one of the two")
    if FLAGS.multi_shot != "stack" and any(number > 1 for number in shots()):
        raise ValueError(f"shortlist codes the images of a person as one dictionary, not multi_shot={FLAGS.multi_shot}")
    if not any(method.listed for method in chosen.values()):
        raise ValueError(
            "shortlist is for dsr_single, dsr_double and dsr_multi by a coder that certifies, got methods "
            f"{', '.join(chosen)} and coder {FLAGS.coder}"
        )
    found: dict[str, methods.Method] = {}
    for name, method in chosen.items():
        for length in lengths if method.listed else [0]:
            found |= methods.shortlisted(name, method, length)
    return found


def _options() -> methods.Options:
    return methods.Options(FLAGS.coder, FLAGS.match_l1, FLAGS.multi_shot, FLAGS.progress)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    run.main(main)
