"""The maps that are timed: of a data set's pictures through VGG-16 and an ONNX network, or stand-ins that say so.

Pictures are chosen once: the first gallery images of some people, person by person for the first shot, then for the
second, and partial probes of these people, cropped as `experiments.evaluate` crops them. Maps are extracted once and
kept in a file that knows what they are of.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import data
from dsr_jax.formats import atomic
from experiments.evaluation import pictures

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
    """The first images of the first people; as many as there are, where fewer.

    Raises:
      ValueError: if probes and gallery share nobody.
    """
    shared = np.intersect1d(probe.identities, gallery.identities)
    who = shared[shared != data.NOBODY][:people].tolist()
    if not who:
        raise ValueError("dataset has nobody who is in probes and gallery: prepare another one")
    places = {i: np.flatnonzero(gallery.identities == i)[:shots].tolist() for i in who}
    ordered = [(places[i][shot], i) for shot in range(shots) for i in who if shot < len(places[i])]
    own = {i: np.flatnonzero(probe.identities == i).tolist() for i in who}
    turns = [own[i][turn] for turn in range(max(map(len, own.values()))) for i in who if turn < len(own[i])]
    return Chosen(turns[:probes], [place for place, _ in ordered], [i for _, i in ordered])


def read(
    probe: data.Source, gallery: data.Source, chosen: Chosen, *, size: tuple[int, int], **cropping: Any
) -> tuple[pictures.Images, pictures.Images]:
    """The chosen probes, partial and scaled (see `pictures.fit_probes`), and gallery pictures of ``size``."""
    images = pictures.read(gallery, chosen.gallery)
    shape = np.median([picture.shape[:2] for picture in images.pictures], axis=0).tolist()
    probes = pictures.fit_probes(pictures.read(probe, chosen.probes), size=size, gallery_shape=tuple(shape), **cropping)
    return probes, pictures.fit_gallery(images, size)


class Store:
    """Maps in one ``.npz`` file, each list with what it is of; without a file nothing is kept.

    Args:
      path: the file, which need not exist.

    Raises:
      ValueError: if it is something else.
      OSError: if it could not be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None):
        """Opens the file; see the class."""
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

    def get(self, key: str, about: dict[str, Any], make: Callable[[], Maps]) -> Maps:
        """The maps of a key: from the file, or made and kept.

        Raises:
          ValueError: if the file has maps of something else under this key; the message names the difference.
        """
        about = json.loads(json.dumps(about))
        if f"{key}/about" in self._content:
            kept = json.loads(str(self._content[f"{key}/about"]))
            if kept != about:
                names = sorted(name for name in {*kept, *about} if kept.get(name) != about.get(name))
                told = "; ".join(f"{name}: {kept.get(name)!r} there, {about.get(name)!r} now" for name in names)
                raise ValueError(
                    f"kept_maps {self._path} holds other {key} maps ({told}): give another --kept_maps=FILE.npz"
                )
            return _split(self._content[f"{key}/values"], self._content[f"{key}/shapes"])
        found = [np.asarray(values, np.float32) for values in make()]
        if self._path is not None:
            self._content[f"{key}/about"] = np.array(json.dumps(about))
            self._content[f"{key}/values"] = np.concatenate([values.ravel() for values in found])
            self._content[f"{key}/shapes"] = np.array([values.shape for values in found])
            self._write(self._path)
        return found

    def _write(self, path: Path) -> None:
        with atomic.opened(path) as file:
            np.savez(file, **self._content)


def digest(path: str | os.PathLike[str]) -> str:
    """What tells one weights file from another."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _split(values: np.ndarray, shapes: np.ndarray) -> Maps:
    ends = np.cumsum(np.prod(shapes, axis=1))[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes.tolist(), strict=True)]


def some(values: Sequence[Any], count: int) -> str:
    """How many there are of what was asked, for a note.

    Example:
      >>> some([1, 2], 3), some([1, 2], 2)
      ('2 (of 3 asked: there are no more)', '2')
    """
    return f"{len(values)}" + (f" (of {count} asked: there are no more)" if len(values) < count else "")
