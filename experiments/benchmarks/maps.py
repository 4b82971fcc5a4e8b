"""Maps of the benchmark: of a data set's pictures through VGG-16 and an ONNX network, or stand-ins that say so.

Pictures are chosen once: the first gallery images of some people, person by person for the first shot, then for the
second, and partial probes of these people, cropped as `experiments.evaluate` crops them. Maps are extracted once and
stored in a file with a description of what they are of.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import data
from dsr_jax.formats import atomic
from experiments.settings import former

Maps = list[np.ndarray]


class MapSet(NamedTuple):
    """Maps of probes and gallery, the scales of their blocks, and where they come from, in words."""

    name: str
    probes: Maps
    gallery: Maps
    scales: tuple[int, ...]
    source: str


class Chosen(NamedTuple):
    """Positions of the chosen images in the probe and gallery splits, and the person of each gallery image."""

    probes: list[int]
    gallery: list[int]
    people: list[int]


def choose(probe: data.Source, gallery: data.Source, *, probes: int, people: int, shots: int) -> Chosen:
    """The first images of the first people; as many as there are, where fewer."""
    shared = np.intersect1d(probe.identities, gallery.identities)
    chosen = shared[shared != data.NOBODY][:people].tolist()
    if not chosen:
        raise ValueError("dataset has nobody who is in probes and gallery: prepare another one")
    places = {i: np.flatnonzero(gallery.identities == i)[:shots].tolist() for i in chosen}
    ordered = [(places[i][shot], i) for shot in range(shots) for i in chosen if shot < len(places[i])]
    shown = {i: np.flatnonzero(probe.identities == i).tolist() for i in chosen}
    turns = [shown[i][turn] for turn in range(max(map(len, shown.values()))) for i in chosen if turn < len(shown[i])]
    return Chosen(turns[:probes], [place for place, _ in ordered], [i for _, i in ordered])


class Store:
    """Store of maps in one ``.npz`` file, each list with a description; without a file nothing is stored.

    Args:
      path: the file, which need not exist.

    Raises:
      ValueError: if it is something else.
      OSError: if it could not be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None):
        self._path, self._content = None if path is None else Path(path), {}
        if self._path is not None:
            atomic.check_file(self._path, remedy="give another --kept_maps=FILE.npz")
        if self._path is not None and self._path.exists():
            try:
                with open(self._path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                    self._content = {name: file[name] for name in file.files}
            except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"kept_maps {self._path} is not a file of maps: give another --kept_maps=FILE.npz"
                ) from error

    def stored(self, key: str) -> Maps:
        """The maps of a key, whatever they are of; none if the file has none."""
        if f"{key}/values" not in self._content or f"{key}/shapes" not in self._content:
            return []
        return _split(self._content[f"{key}/values"], self._content[f"{key}/shapes"])

    def get(self, key: str, about: dict[str, Any], make: Callable[[], Maps]) -> Maps:
        """The maps of a key: from the file, or made and stored.

        Raises:
          ValueError: if the file has maps of something else under this key; the message names the difference.
        """
        about = json.loads(json.dumps(about))
        if f"{key}/about" in self._content:
            stored = former.translated(json.loads(str(self._content[f"{key}/about"])), about, {})
            if stored != about:
                names = sorted(name for name in {*stored, *about} if stored.get(name) != about.get(name))
                differences = [f"{name}: {stored.get(name)!r} there, {about.get(name)!r} now" for name in names]
                raise ValueError(
                    f"kept_maps {self._path} holds other {key} maps ({'; '.join(differences)}): give another "
                    "--kept_maps=FILE.npz"
                )
            return _split(self._content[f"{key}/values"], self._content[f"{key}/shapes"])
        maps = [np.asarray(values, np.float32) for values in make()]
        if self._path is not None:
            self._content[f"{key}/about"] = np.array(json.dumps(about))
            self._content[f"{key}/values"] = np.concatenate([values.ravel() for values in maps])
            self._content[f"{key}/shapes"] = np.array([values.shape for values in maps])
            with atomic.opened(self._path) as file:
                np.savez(file, **self._content)
        return maps


def _split(values: np.ndarray, shapes: np.ndarray) -> Maps:
    ends = np.cumsum(np.prod(shapes, axis=1))[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes.tolist(), strict=True)]
