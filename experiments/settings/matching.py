"""How probes and gallery are compared, and what is shown of it."""

from dataclasses import dataclass, fields

import numpy as np

from data.binding import setting
from dsr_jax import calibration
from dsr_jax.shortlist import BY
from dsr_jax.solvers import certificate
from experiments.evaluation import comparison, looks, methods, paper

WHOLE = "whole"


@dataclass(frozen=True)
class Penalty:
    """Matching."""

    l1: float = setting(0.4, "Weight of the L1 penalty, the paper's beta.", aliases=("match_l1",))

    def check(self) -> None:
        """Raises ValueError for a weight that is none."""
        certificate.check_l1(self.l1)


@dataclass(frozen=True)
class Matching(Penalty):
    """Matching."""

    coder: str = setting("auto", "Solver of the methods dsr_*, see match.distances.")


@dataclass(frozen=True)
class Comparison:
    """Comparison."""

    methods: tuple[str, ...] = setting(
        ("resizing", "dsr_single", "dsr_multi"),
        f"Of {', '.join(methods.METHODS)}. A name with + is a fusion of several, such as dsr_multi+own_vector: the "
        "mean of their distances, each standardised per probe over the gallery; dsr_multi_standardised is one alone, "
        "standardised so.",
        wanted=f"one or several of {', '.join(methods.METHODS)}, or fusions of them such as dsr_multi+own_vector, or "
        "one alone standardised as in a fusion, such as dsr_multi_standardised",
        check=lambda values: bool(values) and all(map(methods.known, values)),
    )
    shots: tuple[str, ...] = setting(
        ("1",),
        "Gallery images per identity; several numbers: each is evaluated. 'whole': nothing is drawn, every gallery "
        "image is an entry of its own (single query, as Market-1501 and CUHK03's 767/700 are evaluated).",
        wanted="numbers of at least 1, or 'whole', such as 1,3",
        check=lambda values: (
            bool(values) and all(value == WHOLE or (value.isdecimal() and int(value) > 0) for value in values)
        ),
    )
    trials: int = setting(10, "Random gallery draws averaged.", low=1)

    @property
    def conditions(self) -> tuple[int, ...]:
        """--shots as numbers, `comparison.WHOLE` where nothing is drawn, each once."""
        return tuple(dict.fromkeys(comparison.WHOLE if text == WHOLE else int(text) for text in self.shots))


@dataclass(frozen=True)
class Variants:
    """Variants of the methods."""

    multi_shot: str = setting(
        "stack",
        "DSR and MaxSim on several shots: one dictionary of all, the nearest, their mean.",
        choices=methods.MULTI_SHOT,
    )
    rerank: tuple[float, ...] | None = setting(
        None,
        "k1,k2,weight of k-reciprocal re-ranking, 20,6,0.3 in its paper: methods that compare maps (global_average, "
        "dsr, maxsim, ridge) are shown once more, re-ranked. All gallery images are compared with one another.",
        wanted="k1,k2,weight such as 20,6,0.3",
        check=lambda values: (
            len(values) == 3 and all(k >= 1 and k.is_integer() for k in values[:2]) and 0 <= values[2] <= 1
        ),
    )
    shortlist: tuple[int, ...] = setting(
        (0,),
        "K: a coarse distance chooses the K entries of each probe that DSR codes; the others come after them by that "
        "distance. 0: DSR codes all. The method is then called dsr_multi_topK, and terminal, metrics.json and report "
        "say which figures rest on the coarse distance. Junk and images that the "
        "camera rule removes take no place. Several numbers: each is evaluated. Methods other than DSR with a lasso "
        "per image compare all entries as ever.",
        wanted="a number of entries to code for each probe, 0 for all; 100 is usual",
        check=lambda values: bool(values) and min(values) >= 0,
    )
    shortlist_by: str = setting(
        "pooled",
        "The coarse distance of --shortlist: pooled features (the ranking of global_average), MaxSim of the averages "
        "of the probe's rows with 8 stripes of rows of each gallery map, or of all positions (maxsim). The method is "
        "then called dsr_multi_topK_stripes.",
        choices=BY,
    )
    window_stride: int = setting(0, "Pixels between the windows of swm; 0: one output cell.", low=0)


@dataclass(frozen=True)
class Looking:
    """Looks at pictures."""

    picture_scales: tuple[float, ...] = setting(
        (1.0,),
        "Factors by which the pictures of both sides are enlarged once more, sides in multiples of the output stride; "
        "several: a distance is the mean of those in each size. 0.75,1,1.25 costs four times as much as 1.",
        wanted="factors such as 0.75,1,1.25, each once",
        check=lambda values: (
            bool(values) and all(0 < value < np.inf for value in values) and len(set(values)) == len(values)
        ),
    )
    mirrored: bool = setting(
        False, "Every probe is also looked at as in a mirror: a distance is the mean of both. Costs twice as much."
    )
    centred: str | None = setting(
        None,
        "Take off the maps and own vectors what all pictures of a camera share, probes and gallery apart: 'camera', or "
        "a pattern whose groups say the camera in a picture's name, ([0-9])_[0-9]+_([0-9])_ for CUHK03, whose protocol "
        "has two cameras for five pairs of them. For networks that were not trained on pictures of these cameras.",
    )

    @property
    def looks(self) -> tuple[looks.Look, ...]:
        """All looks at a picture; one where the flags are not given."""
        return looks.of(self.picture_scales, mirrored=self.mirrored)

    @property
    def given(self) -> list[str]:
        """The flags that say something else than their defaults."""
        return [item.name for item in fields(self) if getattr(self, item.name) != item.default]


@dataclass(frozen=True)
class Calibrating:
    """Probabilities."""

    calibrate: str = setting(
        "none",
        "Fit probabilities of distances, and thresholds for 'nobody in this gallery', on the pairs of one half of the "
        "people, judge them on those of the other half (reliability diagram, expected calibration error), and keep "
        "them in `calibration/` of the workdir. Isotonic wants hundreds of people; logistic is for few, at least 4.",
        choices=("none", *calibration.METHODS),
        free=True,
    )
    calibration: str | None = setting(
        None,
        "The workdir of an earlier evaluation with --calibrate, of the same network, methods and settings on other "
        "people: what its calibrations are worth here.",
        path=True,
        free=True,
    )

    @property
    def wanted(self) -> bool:
        """Whether there is anything to judge."""
        return self.calibrate != "none" or self.calibration is not None


@dataclass(frozen=True)
class Page:
    """Page."""

    shortlist_recall: bool = setting(
        False,
        "A table of what shortlists would keep: the share of probes whose first answer by dsr_*, of all entries, is "
        "among the 10, 20, 50 and 100 nearest by each coarse distance of --shortlist_by.",
    )
    ranked_lists: int = setting(5, "Ranked lists in the report.", low=0)
    reconstructions: int = setting(3, "Probes in the report shown as they were rebuilt.", low=0)
    paper: str = setting(
        "none", "The data set for which the paper's figures stand beside ours.", choices=("none", *paper.DATASETS)
    )
