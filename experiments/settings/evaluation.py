"""Settings of a comparison on a data set, of an evaluation, and what follows from them."""

from dataclasses import dataclass

from experiments.evaluation import centred, choosing, recall
from experiments.evaluation.methods import Method, Options
from experiments.settings.matching import Calibrating, Comparison, Looking, Matching, Page, Variants
from experiments.settings.networks import Network
from experiments.settings.pictures import Chosen, DataSet, HeldOut, Maps, Probes, Searched
from experiments.settings.run import Hosts, Place, Seed


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
    looking: Looking = Looking()
    given: frozenset[str] = frozenset()

    @property
    def searched(self) -> Searched:
        """Which pictures of the data set are compared."""
        return Searched(self.data, self.probes, self.chosen, self.held_out, self.given)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that are compared; see `choosing.chosen`."""
        return choosing.chosen(self.comparison, self.coding, self.variants)

    @property
    def coding(self) -> Options:
        """How the methods code."""
        return Options(self.matching.coder, self.matching.l1, self.variants.multi_shot, self.place.progress)

    def check_held_out(self) -> None:
        """Raises ValueError for held-out people who are not searched."""
        if self.held_out.holdout and self.chosen.subset == "test":
            raise ValueError(
                f"holdout={self.held_out.holdout} has no effect where test people are searched: give --subset=heldout "
                "with it, or leave it out"
            )

    def check_looks(self) -> None:
        """Raises ValueError where several looks have no mean, or methods look at pictures that no camera centres."""
        by = self.looking.centred
        if by is not None and by != centred.BY_CAMERA and not centred.is_pattern(by):
            raise ValueError(
                f"centred must be 'camera', or a pattern of names with a group such as c([0-9]+)s, got {by!r}"
            )
        left = [method.name for method in self.methods if {*centred.WITHOUT} & {*method.names}]
        if by is not None and left:
            raise ValueError(
                f"centred is for methods that compare maps or own vectors, not for {', '.join(left)}: leave them out"
            )
        if len(self.looking.looks) > 1 and any(self.variants.shortlist):
            raise ValueError(
                f"{self._several_looks} cannot be had with a shortlist, which would be another one in each look: give "
                "--shortlist=0"
            )

    @property
    def _several_looks(self) -> str:
        return "mirrored" if self.looking.mirrored else f"several picture_scales {self.looking.picture_scales}"


@dataclass(frozen=True)
class Settings(Compared):
    """Settings of the runner."""

    maps: Maps = Maps()
    calibrating: Calibrating = Calibrating()
    page: Page = Page()

    @property
    def calibrated(self) -> tuple[Method, ...]:
        """The methods that --calibrate and --calibration are about: those whose distances are of pairs alone."""
        return tuple(method for method in self.methods if not method.shortlist and not method.reranked)

    def check_calibrated(self) -> None:
        """Raises ValueError where there is no such method, or distances that no search computes."""
        how = self.calibrating
        if how.wanted and self.looking != Looking():
            raise ValueError(
                "calibrations are for searches, which look at each picture once and as it is: leave "
                f"{', '.join(self.looking.given)} out, or calibrate and calibration"
            )
        if how.wanted and not self.calibrated:
            raise ValueError(
                f"{'calibrate' if how.calibrate != 'none' else 'calibration'} is for distances of all pairs, got "
                f"methods {', '.join(method.title for method in self.methods)}: give --shortlist=0"
            )

    def check_recall(self) -> None:
        """Raises ValueError where --shortlist_recall has no method to count first answers of, or no such shortlist."""
        if not self.page.shortlist_recall:
            return
        choosing.check_stacked("shortlist_recall", self.comparison, self.variants)
        if not any(map(recall.exhaustive, self.methods)):
            raise ValueError(
                "shortlist_recall counts the first answers of dsr_* over all entries, got methods "
                f"{', '.join(method.title for method in self.methods)}: name --methods=dsr_multi with --shortlist=0"
            )
