"""Which probes search which gallery: the data set's split, cropped and scaled as the flags say.

Everything that can be wrong with the data is found here, before any map is extracted.
"""

from pathlib import Path

import numpy as np
from absl import flags

import data
from dsr_jax import protocols
from experiments import pictures, settings

FLAGS = flags.FLAGS
flags.DEFINE_string(
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
    "partial", "crop", ["crop", "none"], "Cut a random part out of each probe, or take probes as they are."
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


class Selection:
    """Probes and gallery, checked, cropped and scaled, before any map is extracted.

    Attributes:
      probes: the probes as they are matched.
      gallery: the gallery images, brought to the size.
      without_answer: how many probes were left out because nobody in the gallery is their right answer.
      remarks: what averages over the probes would hide.
    """

    def __init__(self, size: tuple[int, int], *, subset: str | None = None):
        """Reads the split that the flags name, or ``subset``, and prints what is compared."""
        ranges = {"height_range": settings.shares("crop_height"), "width_range": settings.shares("crop_width")}
        probes, gallery = _first_identities(*_images(subset or FLAGS.subset), count=FLAGS.identities)
        check = protocols.check_identities(
            probes.identities, gallery.identities, probes.cameras, gallery.cameras, camera_rule=camera_rule()
        )
        print(check, flush=True)
        shapes = np.array([picture.shape[:2] for picture in gallery.pictures])
        own = pictures.searching_themselves(probes, gallery, camera_rule=camera_rule())
        self.gallery = pictures.fit_gallery(gallery, size)
        fitted = pictures.fit_probes(
            probes,
            size=size,
            gallery_shape=tuple(np.median(shapes, axis=0).tolist()),
            partial=FLAGS.partial,
            probe_scale=FLAGS.probe_scale,
            factor=FLAGS.probe_factor,
            seed=FLAGS.crop_seed,
            **ranges,
        )
        kept = pictures.answered(fitted, gallery, camera_rule=camera_rule())
        self.remarks: list[str] = pictures.of_one_colour(probe=probes, gallery=gallery)
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


def camera_rule() -> str:
    """The flag, or else the data set's own rule; of a file of maps "cross"."""
    if FLAGS.maps:
        return FLAGS.camera_rule or "cross"
    return FLAGS.camera_rule or data.DATASETS[FLAGS.dataset].CAMERA_RULE


def caption() -> str:
    """What was compared, for the head of a table."""
    galleries = "of other cameras" if camera_rule() == "cross" else "of any camera"
    compared = f"maps of {Path(FLAGS.maps).name}" if FLAGS.maps else f"{FLAGS.dataset}, {FLAGS.subset} identities"
    return f"{compared}, gallery images {galleries}"


def check(subset: str | None = None) -> None:
    """Reads what the flags name far enough to know that it is there.

    Raises:
      ValueError: for flags of the selection that make no sense, or probes and gallery that are not there.
    """
    for flag in ("crop_height", "crop_width"):
        settings.shares(flag)
    if not np.isfinite(FLAGS.probe_factor):
        raise ValueError(f"probe_factor must be a number, got {FLAGS.probe_factor}; 1 keeps the scale")
    if (subset or FLAGS.subset) == "heldout":
        _heldout(data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir))
    else:
        for split in ("probe", "gallery"):
            data.load(FLAGS.dataset, split, data_dir=FLAGS.data_dir)


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
    if not 0 < FLAGS.holdout < len(labels):
        raise ValueError(f"holdout must be between 1 and {len(labels) - 1} to search among them, got {FLAGS.holdout}")
    held = np.flatnonzero(np.isin(source.identities, labels[-FLAGS.holdout :]))
    if camera_rule() == "any" or (source.cameras[held] == data.UNKNOWN_CAMERA).any():
        raise ValueError(
            "subset=heldout would find each probe's own image in the gallery: it needs training images of known "
            "cameras and --camera_rule=cross"
        )
    return held.tolist()
