"""Maps that another network wrote into a file (`dsr_jax.map_file`), in the place of pictures and a network.

The file says who probes and gallery are; maps are read when a method asks. There are no pictures, so methods that look
at pictures, and flags that change them, are refused by name.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import flags

from dsr_jax import map_file
from dsr_jax.evaluation import protocols
from experiments.evaluation import methods, pictures, scales, selection
from experiments.evaluation.features import Network, hidden

FLAGS = flags.FLAGS
# Methods that stretch, cut or look again at the pictures.
OF_PICTURES = ("resizing", "swm", "amc", "amc_swm")
# Flags of an evaluation that are about pictures or a network of ours.
WITHOUT_EFFECT = (
    *("weights", "preprocessing", "size", "output_stride", "compute", "dataset", "data_dir", "holdout", "subset"),
    *("partial", "crop_height", "crop_width", "crop_seed", "probe_scale", "probe_factor"),
    *("probes_per_identity", "identities", "window_stride", "ranked_lists", "reconstructions"),
)


class Given:
    """A file's probes and gallery, as an evaluation selects and compares them: both a selection and a method's sides.

    Attributes:
      selection: probes and gallery by identity, camera and name; their pictures have no pixels.
      sides: their maps.
      digest: SHA-256 of the file's contents.
      network: stands for the network that is not here, by the file's digest.

    Raises:
      ValueError: if the file is not a whole file of maps, or no probe has an answer in its gallery.
    """

    def __init__(self, path: str):
        """Opens the file and prints what is compared."""
        file = map_file.read(path)
        self.selection = Selected(file)
        self.sides = Sides(file, self.selection)
        self.digest = file.digest
        digest = np.frombuffer(bytes.fromhex(file.digest), np.uint8)
        self.network = Network({"map_file": {"digest": digest}}, "maps of a file", 0, (0, 0))


class Selected(selection.Selection):
    """Probes and gallery of a file, as `selection.Selection` has those of a data set."""

    def __init__(self, file: map_file.MapFile):
        """Leaves out probes without an answer, and says so."""
        probes, self.gallery = (_images(file.side(role)) for role in map_file.ROLES)
        print(checked(file), flush=True)
        self.answered = pictures.answered(probes, self.gallery, camera_rule=selection.camera_rule())
        self.probes, self.without_answer = probes.only(self.answered), int(np.sum(~self.answered))
        self.remarks: list[str] = []
        if self.without_answer:
            without = [probes.names[p] for p in np.flatnonzero(~self.answered)]
            self.remarks.append(f"{len(without)} probes without a right answer are left out: {pictures.some(without)}")
        shapes = [np.array([values[:2] for values in file.side(role).maps.shapes]) for role in map_file.ROLES]
        self.scale = scales.compared(
            scales.Sides(shapes[0][self.answered], self.probes.cameras),
            scales.Sides(shapes[1], self.gallery.cameras),
            camera_rule=selection.camera_rule(),
            cells=True,
        )
        self.remarks += scales.remarks_of_maps(self.scale)

    def caption(self, varied: str = "") -> str:
        """What was compared, for the head of a table."""
        del varied  # nothing of a file can be
        return f"maps of {Path(FLAGS.maps).name}, {self.searched}"


class Sides:
    """The maps, read when asked for: what `features.Sides` asks for and a file has."""

    def __init__(self, file: map_file.MapFile, found: Selected):
        """Reads nothing yet."""
        self._probe, self._names = file.side("probe").maps.only(np.flatnonzero(found.answered)), found.probes.names
        self.remarks: list[str] = []  # of the maps that were read
        self.gallery = file.side("gallery").maps
        self.resized: tuple[np.ndarray, ...] = ()
        self.windows = np.empty((0, 0), np.float32)
        self.patches: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]] = ((), ())

    @functools.cached_property
    def probe(self) -> map_file.Maps:
        """The probes' maps, all looked at once."""
        self.remarks = hidden(self._probe, self._names)
        return self._probe


def check(chosen: Mapping[str, methods.Method], *, whole: bool) -> None:
    """Errors of the flags and of the file's labels, before any long work.

    Args:
      chosen: the methods by name.
      whole: whether every gallery image is an entry.

    Raises:
      ValueError: for methods and flags that need pictures, a joint dictionary larger than memory may be, and whatever
        is wrong with the file; see `map_file.read`.
    """
    refused = [name for name in chosen if name in OF_PICTURES]
    if refused:
        raise ValueError(
            f"methods {', '.join(refused)} look at pictures, which a file of maps has not: name those that compare "
            "maps, such as --methods=global_average,dsr_single,dsr_multi"
        )
    for name in WITHOUT_EFFECT:
        if FLAGS[name].present:  # also where it says what is the default of a data set
            raise ValueError(f"{name} has no effect on the maps of a file: leave it out, or leave out --maps")
    file = map_file.read(FLAGS.maps)
    checked(file)
    for method in chosen.values():
        if method.dictionary and whole:  # otherwise what is drawn decides
            methods.check_held(file.side("gallery").maps, method.dictionary)


def checked(file: map_file.MapFile) -> protocols.IdentityCheck:
    """Who searches whom.

    Raises:
      ValueError: if there are no probes, no gallery, or nobody in both.
    """
    probes, gallery = (file.side(role) for role in map_file.ROLES)
    for role, side in (("probe", probes), ("gallery", gallery)):
        if not len(side.maps):
            raise ValueError(
                f"maps {FLAGS.maps} has no {role} maps: give map_file.write the roles of all, {map_file.ROLES}"
            )
    return selection.checked(_images(probes), _images(gallery))


def _images(side: map_file.MapFile) -> pictures.Images:
    """The labels of one side; its pictures have no pixels."""
    nothing = [np.empty((0, 0, 3), np.uint8)] * len(side.maps)
    return pictures.Images(nothing, side.identities, side.cameras, list(side.names))
