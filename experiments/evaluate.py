"""Evaluation: partial probes against a gallery, method by method (Sec. 4.1 to 4.4).

    python -m experiments.evaluate --dataset=folder --data_dir=DATA --weights=vgg16.npz \\
        --methods=resizing,swm,amc,amc_swm,dsr_single,dsr_multi --shots=1,3 --partial=none --workdir=OUT

Prints the tables and writes `metrics.json` with keys "<method>/shots<N>/<figure>", or "<method>/whole/<figure>" where
nothing is drawn: rank1, 3, 5, 10, 20, mAP, mINP, EER (equal error rate) and TPR@F (true-positive rate at the
false-positive rate F), in per cent, each with `_low` and `_high`, the 95 % interval by bootstrap over identities.
Rank-k, mAP and mINP are means over trials, figures of verification are of the pairs of all trials. Beside them stand
"partial", "camera_rule", the number of unknown cameras and of probes larger or much smaller than whole people.
`report/index.html` has curves, histograms, ranked lists and reconstruction maps. Distances stay in `distances/`: a
stopped run goes on, and a later one that names further --methods or --shots computes only what is new.

    python -m experiments.evaluate --maps=maps.npz --methods=global_average,dsr_single,dsr_multi --workdir=OUT

does the same with maps that any other network wrote (`dsr_jax.map_file`, docs/your-own-network.md).
"""

from dataclasses import dataclass
from typing import Any

from dsr_jax import fcn, weights
from experiments import run
from experiments.evaluation import choosing, comparison, features, given_maps, page, publishing, scoring, selection
from experiments.evaluation.methods import Method, Options
from experiments.settings.matching import Comparison, Matching, Page, Variants
from experiments.settings.networks import Network
from experiments.settings.pictures import Chosen, DataSet, HeldOut, Maps, Probes, Searched
from experiments.settings.run import Hosts, Place, Seed
from experiments.workdir import Workdir, opened

# Settings that may differ in a later start in the same workdir: the distances of what was compared before are stored.
ADDED = frozenset({"methods", "shots", "shortlist", "ranked_lists", "reconstructions", "paper"})


@dataclass(frozen=True)
class Compared:
    """Settings of every comparison on a data set."""

    place: Place = Place()
    hosts: Hosts = Hosts()
    data: DataSet = DataSet()
    network: Network = Network()
    held_out: HeldOut = HeldOut()
    seed: Seed = Seed()
    probes: Probes = Probes()
    chosen: Chosen = Chosen()
    matching: Matching = Matching()
    comparison: Comparison = Comparison()
    variants: Variants = Variants()
    given: frozenset[str] = frozenset()

    @property
    def searched(self) -> Searched:
        """Which pictures of the data set are compared."""
        return Searched(self.data, self.probes, self.chosen, self.held_out.holdout, self.given)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that are compared; see `choosing.chosen`."""
        return choosing.chosen(self.comparison, self.coding, self.variants)

    @property
    def coding(self) -> Options:
        """How the methods code."""
        return Options(self.matching.coder, self.matching.l1, self.variants.multi_shot, self.place.progress)


@dataclass(frozen=True)
class Settings(Compared):
    """Settings of the runner."""

    maps: Maps = Maps()
    page: Page = Page()


def check(settings: Compared) -> None:
    """Checks settings and data before any long work."""
    settings.matching.check()
    methods, whole = settings.methods, comparison.WHOLE in settings.comparison.conditions
    if isinstance(settings, Settings) and settings.maps.maps:
        path = settings.maps.maps
        given_maps.check(path, methods, camera_rule=settings.probes.camera_rule, whole=whole, given=settings.given)
    else:
        given_maps.check_vectors(methods, None)
        selection.check(settings.searched)


def compare(
    workdir: Workdir,
    settings: Settings,
    networks: dict[str, features.Network],
    selected: selection.Selection | None = None,
) -> dict[str, Any]:
    """Evaluates each network by every method, prints the tables, writes the report, returns the metrics.

    Args:
      workdir: where the report goes; begun here if it was not.
      settings: what is compared, and how.
      networks: label ("before", "after"; "" for the only one) to network; all of one size.
      selected: probes and gallery; default: those of the data set.

    Returns:
      Flat metrics; keys begin with "<label>/" where the label is not empty.
    """
    methods, seed, last = settings.methods, settings.seed.seed, list(networks.values())[-1]
    conditions, count = settings.comparison.conditions, settings.comparison.trials
    stride, coding = settings.variants.window_stride, settings.coding
    # Data: which probes search which gallery, and what the trials draw from it.
    selected = selected or selection.Selection(settings.searched, last.size)
    trials = scoring.draws(selected, conditions, count, seed)
    remarks = publishing.say(scoring.remarks(selected, trials, methods, last.size))
    # Maps of each network, distances by each method, figures of the distances.
    results = []
    for label, network in networks.items():
        sides = selected.sides(network, scoring.drawn(trials), window_stride=stride, progress=coding.progress)
        results += scoring.results(
            workdir, network, sides, selected, trials, methods, label=label, coding=coding, window_stride=stride
        )
        remarks += publishing.say([f"{label}: {remark}" if label else remark for remark in sides.remarks])
    # Tables and page.
    name, caption = settings.maps.maps or settings.data.dataset, page.caption(selected.caption(), conditions, count)
    shown, l1 = settings.page, settings.matching.l1
    publishing.publish(workdir, results, selected, last, name, caption, remarks, shown=shown, l1=l1, seed=seed)
    return page.flat(results) | selected.sizes | {"trials": count} | selected.metrics


def describe(params: fcn.Params, card: weights.Card, network: Network) -> features.Network:
    """A network with the size and stride that the settings or its card say."""
    size, stride = network.of_card(card)
    return features.Network(params, card.preprocessing, stride, size, network.compute)


def described(settings: Network) -> features.Network:
    """The network of --weights."""
    network = settings.read()
    return describe(network.params, network.card, settings)


def main(settings: Settings) -> None:
    """The runner."""
    settings.place.folder()
    selected = None
    if settings.maps.maps:
        check(settings)
        selected = given_maps.Selected(settings.maps.maps, camera_rule=settings.probes.camera_rule)
        network, free = selected.network, ADDED | given_maps.WITHOUT_EFFECT
        workdir = opened(settings, "evaluate", free=free, data=selected.digest)
    else:
        network = described(settings.network)  # without --weights no data set is drawn
        check(settings)
        workdir = opened(settings, "evaluate", free=ADDED, partial=settings.searched.partial)
    workdir.claim()
    print(f"metrics: {workdir.write_metrics(compare(workdir, settings, {'': network}, selected))}")


if __name__ == "__main__":
    run.main(main, Settings)
