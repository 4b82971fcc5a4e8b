"""Selection of probes and gallery: the data set's split, cropped and scaled as the settings, or else the data set, say.

Everything that can be wrong with the data is found here, before any map is extracted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

import data
from dsr_jax.evaluation import candidates, labels, protocols
from experiments.evaluation import features, pictures, scales, spoiling
from experiments.evaluation import looks as looking
from experiments.settings.pictures import Searched


class Selection:
    """Probes and gallery, checked, cropped and scaled, before any map is extracted.

    Args:
      size: (height, width) to which whole images are brought.

    Attributes:
      probes: the probes as they are matched.
      gallery: the gallery images, brought to the size.
      camera_rule: a name of `candidates.RULES`.
      without_answer: how many probes were left out because nobody in the gallery is their right answer.
      scale: how large the probes are beside whole people.
      remarks: what averages over the probes would hide.
    """

    pictured = True  # whether there are pictures to show
    weighted = "norm"  # by what the methods that weight blocks weight them

    def __init__(self, searched: Searched, size: tuple[int, int]):
        """Reads the split and prints what is compared."""
        self._searched, how = searched, searched.probes
        self.camera_rule = rule = searched.camera_rule
        probes, gallery = _first_identities(*_images(searched), count=searched.chosen.identities)
        print(checked(probes, gallery, camera_rule=rule, identities=searched.chosen.identities), flush=True)
        shapes = np.array([picture.shape[:2] for picture in gallery.pictures])
        scaling: dict[str, Any] = {"size": size, "partial": searched.partial}
        scaling["gallery_shape"] = tuple(np.median(shapes, axis=0).tolist())
        twice = pictures.searching_themselves(probes, gallery, camera_rule=rule)
        self.gallery = pictures.fit_gallery(gallery, size)
        fitted = pictures.fit_probes(probes, how, factor=how.probe_factor, multiple=how.probe_multiple, **scaling)
        fitted = spoiling.spoiled(fitted, how.spoil, seed=how.crop_seed)
        answered = candidates.answered(pictures.labels(fitted, gallery, camera_rule=rule))
        self.remarks: list[str] = _of_cropping(searched) + pictures.of_one_colour(probe=probes, gallery=gallery)
        self.remarks += without_answer(probes.names, answered)
        if twice.any():
            names = [name for name, itself in zip(probes.names, twice, strict=True) if itself]
            self.remarks.append(
                f"{len(names)} probes search a gallery that holds their own picture, which no method can miss: "
                f"{pictures.some(names)}"
            )
        self.probes, self.without_answer = fitted.only(answered), int(np.sum(~answered))
        self.scale = scales.compared(
            scales.Sides(np.array([picture.shape[:2] for picture in self.probes.pictures]), self.probes.cameras),
            scales.Sides(pictures.whole_shapes(shapes, how, **scaling), gallery.cameras),
            camera_rule=rule,
        )
        self.remarks += scales.remarks(
            self.scale, partial=searched.partial, probe_scale=how.probe_scale, factor=how.probe_factor
        )

    def sides(
        self,
        network: features.Network,
        drawn: Sequence[int],
        *,
        looks: Sequence[looking.Look] = (looking.Look(),),
        centred: str | None = None,
        **options: Any,
    ) -> tuple[features.Sides, ...]:
        """What the network makes of the probes and of the gallery images that are ``drawn``, computed when needed.

        Args:
          looks: at the pictures; one `features.Sides` of each.
          centred: by what they are centred, see `centred.cameras`.
          options: of `features.Features`.
        """
        return looking.sides(looks, network, self.probes, self.gallery, drawn, centred=centred, **options)

    def caption(self, varied: str = "") -> str:
        """What was compared, for the head of a table; the flag that is ``varied`` stands without a value."""
        searched, chosen = self._searched, self._searched.chosen
        first = f"the first {chosen.identities} " * bool(chosen.identities)
        few = f"the first {chosen.probes_per_identity} probes of each camera, " * bool(chosen.probes_per_identity)
        cropping = f"--{varied} varied" if varied.startswith("crop_") else _cropping(searched)
        scaling = f"--{varied} varied" if varied.startswith("probe_") else _scaling(searched)
        dataset, subset = searched.data.dataset, chosen.subset
        broken = f"{spoiling.WAYS[searched.probes.spoil]}, " * (searched.probes.spoil != "none" and varied != "spoil")
        return f"{dataset}, {first}{subset} identities, {few}{cropping}, {scaling}, {broken}{self.answering}"

    @property
    def answering(self) -> str:
        """Which gallery images may be a right answer, for the head of a table."""
        rule = candidates.rule(self.camera_rule)
        if rule.hides is None:
            return rule.caption
        (unknown, probes), (others, gallery) = (_unknown(side) for side in (self.probes, self.gallery))
        may = "pictures of the probe's own camera may count as right"
        if unknown == probes or others == gallery:
            return f"cameras unknown: {may}"
        some = f" where known (unknown of {unknown} of {probes} probes, {others} of {gallery} gallery images: {may})"
        return rule.caption + some * bool(unknown or others)

    @property
    def metrics(self) -> dict[str, Any]:
        """What was compared, for `metrics.json`."""
        return {"camera_rule": self.camera_rule, "partial": self._searched.partial} | self.counts

    @property
    def sizes(self) -> dict[str, int]:
        """How many probes and gallery images there are, for `metrics.json`."""
        probes, gallery = len(self.probes.names), len(self.gallery.names)
        return {"probes": probes, "probes_without_answer": self.without_answer, "gallery": gallery}

    @property
    def counts(self) -> dict[str, int]:
        """Images by unknown cameras, and probes of a doubtful scale."""
        unknown = {"probe_cameras_unknown": self.probes, "gallery_cameras_unknown": self.gallery}
        return {name: _unknown(side)[0] for name, side in unknown.items()} | self.scale.counts


def checked(
    probes: pictures.Images, gallery: pictures.Images, *, camera_rule: str, identities: int = 0
) -> protocols.IdentityCheck:
    """Counts of probes and gallery, and of the people in both.

    Args:
      identities: how many --identities were chosen; 0: all.

    Raises:
      ValueError: if no probe has a right answer; it says how many there are of what, and what to do.
    """
    for role, side in (("probe", probes), ("gallery", gallery)):
        if len(side.identities) and not _unknown(side)[1]:
            raise ValueError(
                f"all {len(side.identities)} {role} images are of nobody (identity {protocols.UNKNOWN}), which no "
                "evaluation counts: give those of known people another identity"
            )
    try:
        return protocols.check_identities(pictures.labels(probes, gallery, camera_rule=camera_rule))
    except ValueError as error:
        fewer = f" identities={identities} chooses among them: give more, or 0 for all." * bool(identities)
        raise ValueError(f"{error}{fewer}") from error


def without_answer(names: Sequence[str], answered: np.ndarray) -> list[str]:
    """A remark on the probes that are left out; none where there are none."""
    left_out = [name for name, good in zip(names, answered, strict=True) if not good]
    return [f"{len(left_out)} probes without a right answer are left out: {pictures.some(left_out)}"] * bool(left_out)


def check(searched: Searched) -> None:
    """Reads the data set far enough to know that it is there."""
    searched.check()
    if searched.chosen.subset == "heldout":
        _held_out(searched, searched.data.split("train"))
    else:
        for split in ("probe", "gallery"):
            searched.data.split(split)


def _unknown(side: pictures.Images) -> tuple[int, int]:
    """How many images are by unknown cameras, and how many there are; those of nobody do not count."""
    counted = side.identities != protocols.UNKNOWN
    return int(np.sum(counted & (side.cameras == protocols.UNKNOWN))), int(np.sum(counted))


def _of_cropping(searched: Searched) -> list[str]:
    """What a user should know of whether probes are cropped."""
    dataset = searched.data.dataset
    known = data.DATASETS[dataset].PROBES
    if known == "partial" and searched.partial == "crop":
        return [f"the probes of {dataset} are partial already: --partial=crop cuts another part out of each"]
    if known == "unknown" and searched.probes.partial is None:
        return [
            f"whether the probes of {dataset} are whole is not known, so they are not cropped: --partial=none says the "
            "same, --partial=crop cuts a random part out of each"
        ]
    return []


def _cropping(searched: Searched) -> str:
    """Whether probes are cropped, for the head of a table."""
    already = "partial already, " * (data.DATASETS[searched.data.dataset].PROBES == "partial")
    if searched.partial == "none":
        return f"{already}not cropped"
    (low, high), (left, right) = searched.probes.crop_height, searched.probes.crop_width
    shares = f"{100 * low:g}-{100 * high:g} % of the height, {100 * left:g}-{100 * right:g} % of the width"
    return f"{already}cropped to {shares}"


def _scaling(searched: Searched) -> str:
    """The scale of the probes, for the head of a table."""
    factor, multiple = searched.probes.probe_factor, searched.probes.probe_multiple
    scale = "scale kept" if searched.probes.probe_scale == "keep" else "brought to the gallery's width"
    scale += f", then enlarged by {factor:g}" * (factor != 1)
    return scale + f", sides in multiples of {multiple} pixels" * (multiple != 1)


def _images(searched: Searched) -> tuple[pictures.Images, pictures.Images]:
    """Probes and gallery as read."""
    limit = searched.chosen.probes_per_identity
    if searched.chosen.subset == "test":
        probe, gallery = (searched.data.split(name) for name in ("probe", "gallery"))
        return pictures.read(probe, limit_per_identity=limit), pictures.read(gallery)
    source = searched.data.split("train")
    held = _held_out(searched, source)
    return pictures.read(source, held, limit_per_identity=limit), pictures.read(source, held)


def _first_identities(
    probes: pictures.Images, gallery: pictures.Images, *, count: int
) -> tuple[pictures.Images, pictures.Images]:
    """Probes and gallery images of the first ``count`` probe identities; 0: of all."""
    if not count:
        return probes, gallery
    chosen = np.unique(probes.identities[probes.identities != protocols.UNKNOWN])[:count]
    return probes.only(np.isin(probes.identities, chosen)), gallery.only(np.isin(gallery.identities, chosen))


def _held_out(searched: Searched, source: data.Source) -> list[int]:
    """The images of the held-out identities: probes and gallery at once, told apart by their cameras alone."""
    count, people = searched.people.holdout, len(labels.images_by_identity(source.identities))
    if people < 2:
        raise ValueError(
            f"{source.title} has {people} people in {len(source)} images, those of nobody not counted: "
            "subset=heldout searches among some of at least two; use --subset=test, or prepare more people to train on"
        )
    if not 0 < count < people:
        raise ValueError(f"holdout must be between 1 and {people - 1} to search among them, got {count}")
    chosen = labels.held_out(source.identities, count, which=searched.people.holdout_from)
    held = np.flatnonzero(np.isin(source.identities, chosen))
    rule = searched.camera_rule
    if not all(candidates.hidden(np.array([own]), own, camera_rule=rule) for own in set(source.cameras[held].tolist())):
        raise ValueError(
            "subset=heldout would find each probe's own image in the gallery: it needs training images of known "
            "cameras and --camera_rule=cross"
        )
    return held.tolist()
