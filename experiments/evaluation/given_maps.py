"""Maps that another network wrote into a file (`dsr_jax.map_file`), in the place of pictures and a network.

The file names probes and gallery; maps are read when a method asks. There are no pictures, so methods that look
at pictures, and settings that change them, are refused by name.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsr_jax import map_file
from dsr_jax.evaluation import candidates, protocols
from dsr_jax.matching import visibility
from experiments.evaluation import looks as looking
from experiments.evaluation import methods, pictures, scales, selection
from experiments.evaluation.features import NONE, Network, hidden
from experiments.settings import matching, networks
from experiments.settings import pictures as settings

CAMERA_RULE = "cross"
_GROUPS = (networks.Network, settings.DataSet, settings.HeldOut, settings.Chosen, settings.Probes, matching.Looking)
# Settings of an evaluation that are about pictures or a network of ours.
WITHOUT_EFFECT = frozenset(
    {item.name for group in _GROUPS for item in dataclasses.fields(group)} - {"camera_rule"}
    | {"window_stride", "ranked_lists", "reconstructions"}
)


class Selected(selection.Selection):
    """Probes and gallery of a file, as `selection.Selection` has those of a data set; pictures have no pixels.

    Attributes:
      digest: SHA-256 of the file's contents.
      weighted: by what the methods that weight blocks weight them, "norm" or "given".
      network: stands for the network that is not here, by the file's digest.
    """

    pictured = False

    def __init__(self, path: str, *, camera_rule: str | None = None):
        """Leaves out probes without an answer; prints what is compared."""
        self._path, self._file, self.camera_rule = path, map_file.read(path), camera_rule or CAMERA_RULE
        probes, self.gallery = (_images(self._file.side(role)) for role in map_file.ROLES)
        print(checked(self._file, path, self.camera_rule), flush=True)
        answered = candidates.answered(pictures.labels(probes, self.gallery, camera_rule=self.camera_rule))
        self.probes, self.without_answer = probes.only(answered), int(np.sum(~answered))
        self._answered = answered
        shapes = [np.array([values[:2] for values in self._file.side(role).maps.shapes]) for role in map_file.ROLES]
        self.scale = scales.compared(
            scales.Sides(shapes[0][answered], self.probes.cameras),
            scales.Sides(shapes[1], self.gallery.cameras),
            camera_rule=self.camera_rule,
            cells=True,
        )
        self.remarks = selection.without_answer(probes.names, answered) + scales.remarks_of_maps(self.scale)
        self.digest = self._file.digest
        self.weighted = "norm" if self._file.side("probe").weights is None else "given"
        digest = np.frombuffer(bytes.fromhex(self.digest), np.uint8)
        self.network = Network({"map_file": {"digest": digest}}, "maps of a file", 0, (0, 0))

    def sides(
        self,
        network: Network,
        drawn: Sequence[int],
        *,
        looks: Sequence[looking.Look] = (looking.Look(),),
        centred: str | None = None,
        **options: Any,
    ) -> tuple["Sides", ...]:
        """The maps of the file, each read when a method asks for it; the file is one look."""
        return (Sides(self._file, np.flatnonzero(self._answered), self.probes.names),)

    def caption(self, varied: str = "") -> str:
        """What was compared, for the head of a table."""
        return f"maps of {Path(self._path).name}, {self.answering}"

    @property
    def metrics(self) -> dict[str, Any]:
        """What was compared, for `metrics.json`."""
        return {"camera_rule": self.camera_rule} | self.counts


class Sides:
    """Maps of a file, read when a method asks: what `features.Sides` asks for and a file has.

    Args:
      probes: the positions of the probes that are compared, among the file's probes.
    """

    def __init__(self, file: map_file.MapFile, probes: np.ndarray, names: Sequence[str]):
        probe, gallery = (file.side(role) for role in map_file.ROLES)
        self._probe, self._names = probe.maps.only(probes), names
        self.remarks: list[str] = []  # of the maps that were read
        self.gallery = gallery.maps
        own, others = probe.vectors, gallery.vectors
        self.vectors = (NONE, NONE) if own is None or others is None else (own[probes], others)
        self.masks = visibility.some(probe.masks, probes), gallery.masks
        self.weights = visibility.some(probe.weights, probes), gallery.weights
        self.resized: tuple[np.ndarray, ...] = ()
        self.windows = NONE
        self.resized_vectors = (NONE, NONE)
        self.patches: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]] = ((), ())

    @functools.cached_property
    def probe(self) -> map_file.Maps:
        """The probes' maps, all looked at once."""
        self.remarks = hidden(visibility.each_hidden(self._probe, self.masks[0]), self._names)
        if self.weights[0] is not None:
            self.remarks.append("the file has weights, by which the methods *_weighted weight, not by feature norms")
        return self._probe


def check(
    path: str, chosen: Sequence[methods.Method], *, camera_rule: str | None, whole: bool, given: frozenset[str]
) -> None:
    """Errors of the settings and of the file's labels, before any long work.

    Raises:
      ValueError: for methods and settings that need pictures, a joint dictionary larger than memory may be, and
        whatever is wrong with the file; see `map_file.read`.
    """
    refused = [method.name for method in chosen if {*methods.OF_PICTURES} & {*method.names}]
    if refused:
        raise ValueError(
            f"methods {', '.join(refused)} look at pictures, which a file of maps has not: name those that compare "
            "maps, such as --methods=global_average,dsr_single,dsr_multi"
        )
    if "centred" in given:
        raise ValueError(
            "centred is for pictures of a data set: centre the maps with dsr_jax.centring before map_file.write"
        )
    for name in sorted(WITHOUT_EFFECT & given):  # also where it says what is the default of a data set
        raise ValueError(f"{name} has no effect on the maps of a file: leave it out, or leave out --maps")
    file = map_file.read(path)
    checked(file, path, camera_rule or CAMERA_RULE)
    _check_vectors(chosen, file.vectors, path)
    for method in chosen:
        if method.dictionary and whole:  # otherwise what is drawn decides
            methods.check_held(file.side("gallery").maps, method.dictionary)


def _check_vectors(chosen: Sequence[methods.Method], vectors: np.ndarray | None, path: str) -> None:
    """Raises ValueError where a method compares own vectors, and the file has none, or some are zero."""
    comparing = ", ".join(methods.comparing_vectors(chosen))
    if comparing and vectors is None:
        raise ValueError(
            f"methods {comparing} compare vectors that a network gave beside its maps; maps {path} has none: give "
            "map_file.write vectors="
        )
    if comparing and vectors is not None and len(zero := np.flatnonzero(~np.any(vectors, axis=1))):
        raise ValueError(f"methods {comparing}: maps {path} has vectors that are zero: {pictures.some(zero.tolist())}")


def checked(file: map_file.MapFile, path: str, camera_rule: str) -> protocols.IdentityCheck:
    """Counts of probes and gallery, and of the people in both."""
    probes, gallery = (file.side(role) for role in map_file.ROLES)
    for role, side in (("probe", probes), ("gallery", gallery)):
        if not len(side.maps):
            raise ValueError(f"maps {path} has no {role} maps: give map_file.write the roles of all, {map_file.ROLES}")
    return selection.checked(_images(probes), _images(gallery), camera_rule=camera_rule)


def _images(side: map_file.MapFile) -> pictures.Images:
    """The labels of one side; its pictures have no pixels."""
    nothing = [np.empty((0, 0, 3), np.uint8)] * len(side.maps)
    return pictures.Images(nothing, side.identities, side.cameras, list(side.names))
