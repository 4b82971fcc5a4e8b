"""Which probes search which gallery: the data set's split, cropped and scaled as the flags, or else the data set, say.

Everything that can be wrong with the data is found here, before any map is extracted.
"""

from typing import Any

import numpy as np
from absl import flags

import data
from data import command
from dsr_jax.evaluation import protocols
from experiments import run, settings
from experiments.evaluation import pictures, scales

FLAGS = flags.FLAGS
command.define_path(
    "maps",
    None,
    "A file of maps that any network wrote (dsr_jax.map_file), which also says who probes and gallery are: in the "
    "place of --dataset and --weights.",
)
flags.DEFINE_enum(
    "camera_rule",
    None,
    ["cross", "any"],
    "Gallery images from other cameras than the probe's, or any; default: as the data set is evaluated, mostly cross.",
)
flags.DEFINE_enum(
    "partial",
    None,
    ["crop", "none"],
    "Cut a random part out of each probe, or take probes as they are; default: crop where the data set's probes are "
    "whole people, none where they are partial already, or nobody knows, as of one's own pictures.",
)
flags.DEFINE_list("crop_height", ["0.5", "0.75"], "Smallest and largest visible share of the height.")
flags.DEFINE_list("crop_width", ["0.7", "1.0"], "Smallest and largest visible share of the width.")
flags.DEFINE_integer("crop_seed", 0, "Seed of the crops.", lower_bound=0)
flags.DEFINE_enum(
    "probe_scale", "keep", ["keep", "width"], "Probes keep the gallery's scale, or are brought to its width."
)
flags.DEFINE_float(
    "probe_factor",
    1.0,
    "Enlarge probes by this factor against the gallery's scale: a known mismatch.",
    lower_bound=0.01,
)
flags.DEFINE_enum("subset", "test", ["test", "heldout"], "Test identities, or the --holdout training identities.")
flags.DEFINE_integer("probes_per_identity", 0, "First so many probes per identity and camera; 0: all.", lower_bound=0)
flags.DEFINE_integer("identities", 0, "Only the first so many identities of the subset; 0: all.", lower_bound=0)
CROPPING = ("crop_height", "crop_width", "crop_seed")


class Selection:
    """Probes and gallery, checked, cropped and scaled, before any map is extracted.

    Attributes:
      probes: the probes as they are matched.
      gallery: the gallery images, brought to the size.
      without_answer: how many probes were left out because nobody in the gallery is their right answer.
      scale: how large the probes are beside whole people.
      remarks: what averages over the probes would hide.
    """

    def __init__(self, size: tuple[int, int], *, subset: str | None = None):
        """Reads the split that the flags name, or ``subset``, and prints what is compared."""
        ranges: dict[str, Any] = {
            "height_range": settings.shares("crop_height"),
            "width_range": settings.shares("crop_width"),
        }
        self._subset = subset or FLAGS.subset
        probes, gallery = _first_identities(*_images(self._subset), count=FLAGS.identities)
        print(checked(probes, gallery), flush=True)
        shapes = np.array([picture.shape[:2] for picture in gallery.pictures])
        how: dict[str, Any] = {"size": size, "partial": partial(), "probe_scale": FLAGS.probe_scale}
        how["gallery_shape"] = tuple(np.median(shapes, axis=0).tolist())
        own = pictures.searching_themselves(probes, gallery, camera_rule=camera_rule())
        self.gallery = pictures.fit_gallery(gallery, size)
        fitted = pictures.fit_probes(probes, factor=FLAGS.probe_factor, seed=FLAGS.crop_seed, **how, **ranges)
        kept = pictures.answered(fitted, gallery, camera_rule=camera_rule())
        self.remarks: list[str] = _of_cropping() + pictures.of_one_colour(probe=probes, gallery=gallery)
        if not kept.all():
            without = [name for name, good in zip(probes.names, kept, strict=True) if not good]
            self.remarks.append(f"{len(without)} probes without a right answer are left out: {pictures.some(without)}")
        if own.any():
            found = [name for name, twice in zip(probes.names, own, strict=True) if twice]
            self.remarks.append(
                f"{len(found)} probes search a gallery that holds their own picture, which no method can miss: "
                f"{pictures.some(found)}"
            )
        self.probes, self.without_answer = fitted.only(kept), int(np.sum(~kept))
        self.scale = scales.compared(
            scales.Sides(np.array([picture.shape[:2] for picture in self.probes.pictures]), self.probes.cameras),
            scales.Sides(pictures.whole_shapes(shapes, **how), gallery.cameras),
            camera_rule=camera_rule(),
        )
        self.remarks += scales.remarks(
            self.scale, partial=how["partial"], probe_scale=FLAGS.probe_scale, factor=FLAGS.probe_factor
        )

    def caption(self, varied: str = "") -> str:
        """What was compared, for the head of a table; the flag that is ``varied`` stands without a value."""
        first = f"the first {FLAGS.identities} " * bool(FLAGS.identities)
        few = f"the first {FLAGS.probes_per_identity} probes of each camera, " * bool(FLAGS.probes_per_identity)
        cropping = f"--{varied} varied" if varied.startswith("crop_") else _cropping()
        scaling = f"--{varied} varied" if varied.startswith("probe_") else _scaling()
        return f"{FLAGS.dataset}, {first}{self._subset} identities, {few}{cropping}, {scaling}, {self.searched}"

    @property
    def searched(self) -> str:
        """Which gallery images may be a right answer, for the head of a table."""
        if camera_rule() == "any":
            return "gallery images of any camera"
        (unknown, probes), (others, gallery) = (_unknown(side) for side in (self.probes, self.gallery))
        may = "pictures of the probe's own camera may count as right"
        if unknown == probes or others == gallery:
            return f"cameras unknown: {may}"
        some = f" where known (unknown of {unknown} of {probes} probes, {others} of {gallery} gallery images: {may})"
        return "gallery images of other cameras" + some * bool(unknown or others)

    @property
    def metrics(self) -> dict[str, Any]:
        """What was compared, for `metrics.json`."""
        sides = {"probe_cameras_unknown": self.probes, "gallery_cameras_unknown": self.gallery}
        counts = {name: _unknown(side)[0] for name, side in sides.items()} | self.scale.counts
        return {"camera_rule": camera_rule()} | ({} if FLAGS.maps else {"partial": partial()}) | counts


def camera_rule() -> str:
    """The flag, or else the data set's own rule; of a file of maps "cross"."""
    if FLAGS.maps:
        return FLAGS.camera_rule or "cross"
    return FLAGS.camera_rule or data.DATASETS[FLAGS.dataset].CAMERA_RULE


def partial() -> str:
    """The flag, or else "crop" where the data set's probes are known to be whole, and "none"."""
    return FLAGS.partial or ("crop" if data.DATASETS[FLAGS.dataset].PROBES == "whole" else "none")


def flag_values(runner: str, *, contents: str | None = None) -> dict[str, Any]:
    """`run.flag_values`; where the data set decides about --partial, with what it decided."""
    values = run.flag_values(runner, contents=contents)
    return values if FLAGS.maps else values | {"partial": partial()}


def checked(probes: pictures.Images, gallery: pictures.Images) -> protocols.IdentityCheck:
    """Who searches whom.

    Raises:
      ValueError: if no probe has a right answer; it says how many there are of what, and what to do.
    """
    for role, side in (("probe", probes), ("gallery", gallery)):
        if len(side.identities) and not _unknown(side)[1]:
            raise ValueError(
                f"all {len(side.identities)} {role} images are of nobody (identity {protocols.UNKNOWN}), whom no "
                "evaluation counts: give those of known people another identity"
            )
    labels = probes.identities, gallery.identities, probes.cameras, gallery.cameras
    try:
        return protocols.check_identities(*labels, camera_rule=camera_rule())
    except ValueError as error:
        fewer = f" identities={FLAGS.identities} chooses among them: give more, or 0 for all." * bool(FLAGS.identities)
        raise ValueError(f"{error}{fewer}") from error


def check(subset: str | None = None) -> None:
    """Reads what the flags name far enough to know that it is there.

    Raises:
      ValueError: for flags of the selection that make no sense, or probes and gallery that are not there.
    """
    for flag in ("crop_height", "crop_width"):
        settings.shares(flag)
    given = [name for name in CROPPING if FLAGS[name].present]
    if given and FLAGS.partial is None and partial() == "none":
        raise ValueError(
            f"{given[0]} has no effect: probes of {FLAGS.dataset} are not cropped unless --partial=crop is given"
        )
    if not np.isfinite(FLAGS.probe_factor):
        raise ValueError(f"probe_factor must be a number, got {FLAGS.probe_factor}; 1 keeps the scale")
    if (subset or FLAGS.subset) == "heldout":
        _heldout(data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir))
    else:
        for split in ("probe", "gallery"):
            data.load(FLAGS.dataset, split, data_dir=FLAGS.data_dir)


def _unknown(side: pictures.Images) -> tuple[int, int]:
    """How many images are by unknown cameras, and how many there are; those of nobody do not count."""
    counted = side.identities != protocols.UNKNOWN
    return int(np.sum(counted & (side.cameras == protocols.UNKNOWN))), int(np.sum(counted))


def _of_cropping() -> list[str]:
    """What a user should know of whether probes are cropped."""
    known = data.DATASETS[FLAGS.dataset].PROBES
    if known == "partial" and partial() == "crop":
        return [f"the probes of {FLAGS.dataset} are partial already: --partial=crop cuts another part out of each"]
    if known == "unknown" and FLAGS.partial is None:
        return [
            f"whether the probes of {FLAGS.dataset} are whole is not known, so they are not cropped: --partial=none "
            "says the same, --partial=crop cuts a random part out of each"
        ]
    return []


def _cropping() -> str:
    """Whether probes are cropped, for the head of a table."""
    known = data.DATASETS[FLAGS.dataset].PROBES
    already = "partial already, " * (known == "partial")
    if partial() == "none":
        return f"{already}not cropped"
    (low, high), (left, right) = settings.shares("crop_height"), settings.shares("crop_width")
    shares = f"{100 * low:g}-{100 * high:g} % of the height, {100 * left:g}-{100 * right:g} % of the width"
    return f"{already}cropped to {shares}"


def _scaling() -> str:
    """The scale of the probes, for the head of a table."""
    scale = "scale kept" if FLAGS.probe_scale == "keep" else "brought to the gallery's width"
    return scale + f", then enlarged by {FLAGS.probe_factor:g}" * (FLAGS.probe_factor != 1)


def _images(subset: str) -> tuple[pictures.Images, pictures.Images]:
    limit = FLAGS.probes_per_identity
    if subset == "test":
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
    if len(labels) < 2:
        raise ValueError(
            f"{source.title} has {len(labels)} people in {len(source)} images, those of nobody not counted: "
            "subset=heldout searches among some of at least two; use --subset=test, or prepare more people to train on"
        )
    if not 0 < FLAGS.holdout < len(labels):
        raise ValueError(f"holdout must be between 1 and {len(labels) - 1} to search among them, got {FLAGS.holdout}")
    held = np.flatnonzero(np.isin(source.identities, labels[-FLAGS.holdout :]))
    if camera_rule() == "any" or (source.cameras[held] == data.UNKNOWN_CAMERA).any():
        raise ValueError(
            "subset=heldout would find each probe's own image in the gallery: it needs training images of known "
            "cameras and --camera_rule=cross"
        )
    return held.tolist()
