"""Evaluation: partial probes against a gallery, method by method (Sec. 4.1 to 4.4).

    python -m experiments.evaluate --dataset=folder --data_dir=DATA --weights=vgg16.npz \\
        --methods=resizing,swm,amc,amc_swm,dsr_single,dsr_multi --shots=1,3 --partial=none --workdir=OUT

Prints the tables and writes `metrics.json` with keys "<method>/shots<N>/<figure>", or "<method>/whole/<figure>" where
nothing is drawn: rank1, 3, 5, 10, 20, mAP, mINP, EER (equal error rate) and TPR@F (true-positive rate at the
false-positive rate F), in per cent, each with `_low` and `_high`, the 95 % interval by bootstrap over identities.
Rank-k, mAP and mINP are means over trials, figures of verification are of the pairs of all trials. Beside them stand
"partial", "camera_rule", the number of unknown cameras and of probes larger or much smaller than whole people.
--picture_scales=0.8,1,1.25 looks at every picture in three sizes and averages distances,
--centred takes off what all pictures of a camera share (docs/which-matcher.md).
--calibrate adds probabilities, judged on people that they were not fitted on (docs/calibration.md), and
--shortlist_recall what shortlists would keep. `report/index.html` has curves, histograms, ranked lists and
reconstruction maps. Distances stay in `distances/`: a stopped run goes on, and a later one that names further --methods
or --shots computes only what is new.

    python -m experiments.evaluate --maps=maps.npz --methods=global_average,dsr_single,dsr_multi --workdir=OUT

does the same with maps that any other network wrote (`dsr_jax.map_file`, docs/your-own-network.md).
"""

from collections.abc import Sequence
from typing import Any

from dsr_jax import fcn, networks, weights
from experiments import run
from experiments.evaluation import (
    calibrating,
    calibration_people,
    comparison,
    features,
    given_maps,
    page,
    publishing,
    recall,
    scoring,
    selection,
    unseen,
)
from experiments.evaluation.methods import Method, comparing_vectors
from experiments.settings.evaluation import Compared, Settings
from experiments.settings.networks import Network
from experiments.workdir import Workdir, opened

# Settings that may differ in a later start in the same workdir: the distances of what was compared before are stored.
ADDED = frozenset(
    {"methods", "shots", "shortlist", "shortlist_by", "shortlist_recall", "ranked_lists", "reconstructions", "paper"}
)


def check(settings: Compared, params: fcn.Params | None = None) -> None:
    """Checks settings and data before any long work, and whether the network, if there is one, has what is compared."""
    settings.matching.check()
    settings.check_held_out()
    settings.check_looks()
    if isinstance(settings, Settings):
        settings.check_recall()
    methods, whole = settings.methods, comparison.WHOLE in settings.comparison.conditions
    if isinstance(settings, Settings) and settings.maps.maps:
        path = settings.maps.maps
        given_maps.check(path, methods, camera_rule=settings.probes.camera_rule, whole=whole, given=settings.given)
    else:
        if params is not None:
            check_vectors(methods, params)
        selection.check(settings.searched)


def check_vectors(chosen: Sequence[Method], params: fcn.Params) -> None:
    """Raises ValueError where a method compares own vectors, and the network has none."""
    comparing = comparing_vectors(chosen)
    if comparing and not networks.has_vector(params):
        raise ValueError(
            f"methods {', '.join(comparing)} compare own vectors, which this network ({networks.architecture(params)}) "
            "does not have: take an OSNet with its layer 'vector', give a file of maps and vectors with --maps, or "
            "take global_average, the average of the map, in their place"
        )


def compare(
    workdir: Workdir,
    settings: Settings,
    compared: dict[str, features.Network],
    selected: selection.Selection | None = None,
) -> dict[str, Any]:
    """Evaluates each network by every method, prints the tables, writes the report, returns the metrics.

    Args:
      workdir: where the report goes; begun here if it was not.
      settings: what is compared, and how.
      compared: label ("before", "after"; "" for the only one) to network; all of one size.
      selected: probes and gallery; default: those of the data set.

    Returns:
      Flat metrics; keys begin with "<label>/" where the label is not empty.
    """
    last = list(compared.values())[-1]
    # Data: which probes search which gallery, and what the trials draw from it.
    selected = selected or selection.Selection(settings.searched, last.size)
    trials = scoring.draws(selected, settings)
    remarks = publishing.say(scoring.remarks(selected, trials, settings, last.size))
    people = None
    if settings.calibrating.wanted:
        of_first = next(iter(trials.values()))
        people = calibration_people.chosen(settings, selected, of_first, workdir.configuration.get("data"))
    # Maps of each network, distances by each method, figures of the distances.
    results: list[comparison.Result] = []
    recalls: list[recall.Recall] = []
    for label, network in compared.items():
        sides = scoring.sides(selected, trials, settings, network)
        scored = scoring.Scoring(workdir, settings, network, sides, selected, trials, label)
        results += (of_network := scored.results())
        recalls += scored.recalls(of_network) if settings.page.shortlist_recall else []
        found = dict.fromkeys(remark for look in sides for remark in look.remarks)
        remarks += publishing.say([f"{label}: {remark}" if label else remark for remark in found])
    # Tables and page.
    judged = calibrating.judged(settings, results, last, selected, people) if people else []
    parts = [recall.part(recalls)] * bool(recalls) + [calibrating.part(judged)] * bool(judged)
    publishing.publish(workdir, settings, results, selected, last, remarks, parts)
    calibrating.save(workdir, judged)
    metrics = page.flat(results) | {name: value for part in parts for name, value in part.metrics.items()}
    return metrics | selected.sizes | {"trials": settings.comparison.trials} | selected.metrics


def describe(params: fcn.Params, card: weights.Card, network: Network) -> features.Network:
    """A network with the size and stride that the settings or its card say."""
    size, stride = network.of_card(card)
    return features.Network(params, card.preprocessing, stride, size, network.compute)


def described(settings: Compared) -> features.Network:
    """The network of --weights, which must not have been trained on held-out people that are to be searched."""
    network = settings.network.read()
    if settings.chosen.subset == "heldout":
        unseen.check(network.card, settings.data, settings.held_out)
    return describe(network.params, network.card, settings.network)


def main(settings: Settings) -> None:
    """The runner."""
    settings.place.folder()
    selected = None
    if settings.maps.maps:
        check(settings)
        selected = given_maps.Selected(settings.maps.maps, camera_rule=settings.probes.camera_rule)
        calibrating.check(settings, selected.network, weighted=selected.weighted)
        network, free = selected.network, ADDED | given_maps.WITHOUT_EFFECT
        workdir = opened(settings, "evaluate", free=free, data=selected.digest)
    else:
        network = described(settings)  # without --weights no data set is drawn
        check(settings, network.params)
        calibrating.check(settings, network)
        workdir = opened(settings, "evaluate", free=ADDED, partial=settings.searched.partial)
    workdir.claim()
    print(f"metrics: {workdir.write_metrics(compare(workdir, settings, {'': network}, selected))}")


if __name__ == "__main__":
    run.main(main, Settings)
