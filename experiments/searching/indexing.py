"""A gallery on disk brought up to date with its pictures: new ones added, changed ones replaced, gone ones removed.

A picture is changed if the time of its file, its identity or its camera is another than the gallery's. Maps are made
and written batch by batch, each batch a version of the gallery, so that a process that dies loses one batch at most.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data import views
from data.source import decode
from data.sources.wording import lines
from dsr_jax import match, networks, weights
from dsr_jax.gallery import place
from dsr_jax.gallery.stored import StoredGallery
from experiments.evaluation.features import Network
from experiments.searching.listed import Listed, Picture
from experiments.settings.searching import Searched

SHOWN = 10  # names in a message


class Indexed(NamedTuple):
    """What was done to a gallery."""

    gallery: StoredGallery
    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    gone: tuple[str, ...] = ()  # entries without a picture that stayed
    skipped: tuple[str, ...] = ()  # "name: reason"

    @property
    def text(self) -> str:
        """What was done, in a sentence."""
        done = f"{self.added} added, {self.replaced} replaced, {self.removed} removed, {self.unchanged} unchanged"
        return f"gallery: {len(self.gallery.maps)} pictures ({done})"


def made_by(network: Network, architecture: str) -> dict[str, Any]:
    """The network of a gallery's maps, and how pictures are brought to it."""
    return {
        "architecture": architecture,
        "maps": networks.MAPS,
        "sha256": weights.digest(network.params),
        "preprocessing": network.convention,
        "output_stride": network.output_stride,
        "size": list(network.size),
    }


def opened(folder: Path, about: Mapping[str, Any]) -> StoredGallery | None:
    """The gallery in a folder, every picture an entry; None where there is none yet."""
    return match.Gallery.open(folder, network=dict(about), grouped=False) if place.finished(folder) else None


def index(listed: Listed, network: Network, about: Mapping[str, Any], how: Searched) -> Indexed:
    """Brings the gallery up to date.

    Args:
      listed: the pictures.
      network: what makes the maps.
      about: what it is, see `made_by`.
      how: where the gallery is, and how it is indexed.

    Raises:
      ValueError: for the gallery of another network, and for pictures that cannot be read, unless they are skipped.
      OSError: if the gallery cannot be written.
    """
    folder = how.place()
    gallery = opened(folder, about)
    if gallery is None:
        place.check_new(folder)
    new, changed, gone = _compared(listed, gallery, folder)
    skipped: list[str] = []
    counts = {"added": 0, "replaced": 0}
    total = len(new) + len(changed)
    with tqdm(total=total, desc="index", unit="picture", disable=not (how.progress and total)) as bar:
        for word, wanted in (("added", new), ("replaced", changed)):
            for start in range(0, len(wanted), how.index_batch):
                batch = wanted[start : start + how.index_batch]
                good, seen = _read(batch, network, how, skipped)
                if good:
                    gallery = _written(gallery, folder, good, network.maps(seen), about, how, word == "replaced")
                    counts[word] += len(good)
                bar.update(len(batch))
    if gallery is None:
        raise ValueError(f"pictures: none of {how.pictures} can be read:\n{lines(skipped, SHOWN)}")
    removed = len(gone) if how.prune else 0
    if removed:
        gallery = gallery.remove(names=gone)
    unchanged = len(listed.pictures) - len(new) - len(changed)
    return Indexed(gallery, **counts, removed=removed, unchanged=unchanged, gone=gone[removed:], skipped=tuple(skipped))


def _compared(
    listed: Listed, gallery: StoredGallery | None, folder: Path
) -> tuple[list[Picture], list[Picture], tuple[str, ...]]:
    """The pictures that are new, those that have changed, and the names of entries whose pictures are gone."""
    if gallery is None:
        return listed.pictures, [], ()
    known = listed.pictures[0].identity is not None
    if known != (gallery.people is not None):
        has, have = ("no ", "") if known else ("", "no ")
        raise ValueError(
            f"form: pictures read as {listed.form} have {have}identities, and gallery {str(folder)!r} has {has}"
            "identities: give the --form that it was made with, or another --gallery=FOLDER"
        )
    people = gallery.people or [None] * len(gallery.names)
    columns = gallery.names, people, gallery.cameras.tolist(), gallery.times.tolist()
    there = {name: tuple(rest) for name, *rest in zip(*columns, strict=True)}
    new = [one for one in listed.pictures if one.name not in there]
    changed = [one for one in listed.pictures if one.name in there and one[1:4] != there[one.name]]
    names = {one.name for one in listed.pictures}
    return new, changed, tuple(name for name in gallery.names if name not in names)


def _read(
    batch: Sequence[Picture], network: Network, how: Searched, skipped: list[str]
) -> tuple[list[Picture], list[np.ndarray]]:
    """The pictures of a batch that can be read, and their pixels at the network's size; others join ``skipped``."""
    good, seen, bad = [], [], []
    for one in batch:
        try:
            pixels = decode(one.read())
        except (ValueError, OSError) as error:
            bad.append(f"{one.name}: {error}")
            continue
        good.append(one)
        seen.append(views.resize(pixels, network.size))
    if bad and not how.skip_bad:
        raise ValueError(
            f"pictures: {len(bad)} cannot be read:\n{lines(bad, SHOWN)}\n"
            "Replace these files, or pass --skip_bad to leave them out; what was indexed before them stays."
        )
    skipped += bad
    return good, seen


def _written(
    gallery: StoredGallery | None,
    folder: Path,
    good: Sequence[Picture],
    maps: Sequence[np.ndarray],
    about: Mapping[str, Any],
    how: Searched,
    replace: bool,
) -> StoredGallery:
    """The next version of the gallery, or its first.

    Raises:
      ValueError: if another call has indexed these pictures meanwhile, and for maps that cannot be kept.
    """
    content: dict[str, Any] = {"names": [one.name for one in good], "cameras": [one.camera for one in good]}
    content["times"] = [one.time for one in good]
    if good[0].identity is not None:
        content["identities"] = [one.identity for one in good]
    try:
        if gallery is None:
            match.Gallery.create(folder, maps, **content, network=dict(about), dtype=how.map_dtype)
            return match.Gallery.open(folder, network=dict(about), grouped=False)
        return gallery.replace(maps, **content) if replace else gallery.add(maps, **content)
    except ValueError as error:
        before, now = gallery, opened(folder, about)
        if now is None or (before is not None and now.version == before.version):
            raise
        raise ValueError(
            f"gallery {str(folder)!r} was changed meanwhile by another call ({error}): call again when that is done"
        ) from error
