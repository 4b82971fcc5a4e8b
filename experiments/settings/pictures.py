"""Which pictures: the data set, its held-out people, and how probes are cropped and scaled."""

import math
from dataclasses import dataclass, replace
from typing import Any

import data
from data.binding import setting
from dsr_jax.evaluation import candidates, labels

CROPPING = ("crop_height", "crop_width", "crop_seed")


def _shares(values: tuple[float, ...]) -> bool:
    low, high = values
    return 0 < low <= high <= 1


@dataclass(frozen=True)
class DataSet:
    """Data."""

    dataset: str = setting("synthetic", f"Prepared data set: {', '.join(data.DATASETS)}.")
    data_dir: str = setting("datasets", "Where `python -m data.prepare` put it.", path=True, free=True)

    @property
    def builder(self) -> Any:
        """The class that builds the data set, which says how it is evaluated."""
        if self.dataset not in data.DATASETS:
            raise ValueError(f"dataset {self.dataset!r} is unknown: use one of {', '.join(sorted(data.DATASETS))}")
        return data.DATASETS[self.dataset]

    def split(self, name: str) -> data.Source:
        """A split of the data set: "train", "probe" or "gallery"."""
        return data.load(self.dataset, name, data_dir=self.data_dir)


@dataclass(frozen=True)
class Maps:
    """Maps of another network."""

    maps: str | None = setting(
        None,
        "A file of maps that any network wrote (dsr_jax.map_file), which also names probes and gallery: in the place "
        "of --dataset and --weights.",
        path=True,
        free=True,  # its contents count
    )


@dataclass(frozen=True)
class HeldOut:
    """Held-out people."""

    holdout: int = setting(0, "Training identities kept for choosing flags.", low=0)
    holdout_from: str = setting(
        "spread",
        "Which they are: spread evenly over the labels, or the last ones. Labels are often sorted by camera; those of "
        "CUHK03 are, and its last ones ask how a network does with cameras that it was not trained on.",
        choices=labels.HELD_OUT,
    )

    def check(self, given: frozenset[str]) -> None:
        """Raises ValueError for --holdout_from among the flags ``given`` where nobody is held out."""
        if "holdout_from" in given and not self.holdout:
            raise ValueError(
                f"holdout_from={self.holdout_from} has no effect where nobody is held out: give --holdout=N with it"
            )


@dataclass(frozen=True)
class CameraRule:
    """Probes."""

    camera_rule: str | None = setting(
        None,
        "Gallery images from other cameras than the probe's, or any; default: as the data set is evaluated, mostly "
        "cross.",
        choices=tuple(candidates.RULES),
    )


@dataclass(frozen=True)
class Partial:
    """Probes."""

    partial: str | None = setting(
        None,
        "Cut a random part out of each probe, or take probes as they are; default: crop where the data set's probes "
        "are whole people, none where they are partial already, or nobody knows, as of one's own pictures.",
        choices=("crop", "none"),
    )


@dataclass(frozen=True)
class Rules(Partial, CameraRule):
    """Probes."""


@dataclass(frozen=True)
class Shown(Partial):
    """Probes."""

    crop_height: tuple[float, float] = setting(
        (0.5, 0.75),
        "Smallest and largest visible share of the height.",
        wanted="two shares in (0, 1] such as 0.5,0.75",
        check=_shares,
    )
    crop_width: tuple[float, float] = setting(
        (0.7, 1.0),
        "Smallest and largest visible share of the width.",
        wanted="two shares in (0, 1] such as 0.5,0.75",
        check=_shares,
    )
    crop_seed: int = setting(0, "Seed of the crops.", low=0)
    probe_scale: str = setting(
        "keep", "Probes keep the gallery's scale, or are brought to its width.", choices=("keep", "width")
    )


@dataclass(frozen=True)
class Probes(Shown, Rules):
    """Probes."""

    probe_factor: float = setting(
        1.0, "Enlarge probes by this factor against the gallery's scale: a known mismatch.", low=0.01
    )
    probe_multiple: int = setting(
        1,
        "Then bring each side of a probe to the nearest multiple of so many pixels: 16 with an OSNet, whose cells are "
        "16 x 16, so that no row or column is half seen.",
        low=1,
    )
    spoil: str = setting(
        "none",
        "What is done to each probe then, to see what a method stands: a piece of another person before it, few "
        "pixels, or a part missing in the middle; masked: methods of blocks and global_average are told where.",
        choices=("none", "occluder", "occluder_masked", "coarse", "gap", "gap_masked"),
    )


@dataclass(frozen=True)
class Chosen:
    """Which of them are searched."""

    subset: str = setting("test", "Test identities, or the --holdout training identities.", choices=("test", "heldout"))
    probes_per_identity: int = setting(0, "First so many probes per identity and camera; 0: all.", low=0)
    identities: int = setting(0, "Only the first so many identities of the subset; 0: all.", low=0)


@dataclass(frozen=True)
class Searched:
    """Probes and gallery of a run as its flags say, in one value: what `evaluation.selection` reads."""

    data: DataSet
    probes: Probes
    chosen: Chosen = Chosen()
    people: HeldOut = HeldOut()  # of the training identities
    given: frozenset[str] = frozenset()

    @property
    def camera_rule(self) -> str:
        """The flag, or else the data set's own rule."""
        return self.probes.camera_rule or str(self.data.builder.CAMERA_RULE)

    @property
    def partial(self) -> str:
        """The flag, or else "crop" where the data set's probes are known to be whole, and "none"."""
        return self.probes.partial or ("crop" if self.data.builder.PROBES == "whole" else "none")

    def held_out(self) -> "Searched":
        """The same among the held-out people."""
        return replace(self, chosen=replace(self.chosen, subset="heldout"))

    def check(self) -> None:
        """Raises ValueError for flags that make no sense together."""
        self.people.check(self.given)
        given = [name for name in CROPPING if name in self.given]
        if given and self.probes.partial is None and self.partial == "none":
            raise ValueError(
                f"{given[0]} has no effect: probes of {self.data.dataset} are not cropped unless --partial=crop is "
                "given"
            )
        if not math.isfinite(self.probes.probe_factor):
            raise ValueError(f"probe_factor must be a number, got {self.probes.probe_factor}; 1 keeps the scale")
