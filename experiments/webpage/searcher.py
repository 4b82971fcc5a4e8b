"""The search behind the page: one network, one gallery, and what requests do with them, one after the other.

The gallery is opened once; before each use it is looked at, and opened again only where it has changed meanwhile, by
the page or by another program. An answer keeps the version that it is of.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import views
from data.source import decode
from dsr_jax import calibration, match, report
from dsr_jax.gallery.filters import NothingLeft
from dsr_jax.gallery.stored import StoredGallery
from experiments.evaluation.features import Network
from experiments.searching import answers, probes, showing
from experiments.searching.answers import Answer
from experiments.searching.listed import Listed, Picture
from experiments.settings.searching import Compared
from experiments.settings.webpage import Limits
from experiments.webpage import asked, marking, uploads
from experiments.webpage.held import Held
from experiments.webpage.kept import Kept
from experiments.webpage.padding import Padded, WarmUp
from experiments.webpage.refusal import Refused, reading, unreadable

PROBE = "Your picture"  # its name in sentences


@dataclasses.dataclass(frozen=True)
class How:
    """How is compared, and the false-positive rate of "nobody"."""

    matching: Compared
    rate: float


class Searched(NamedTuple):
    """An answer, what is held of it, and what is said of it."""

    answer: Answer
    held: Held
    sentences: list[str]


class Searcher:
    """Network, gallery and the file of what the page keeps.

    One thread at a time may call `search`, `map`, `add` and `calibrate`; others the rest.

    Args:
      folder: of the gallery.
      network: what makes the maps.
      about: what it is, as the gallery has it.
      listed: the pictures of the gallery, if they were given.
      kept: marks, and pictures that were added.
      how: how is compared.
      limits: of pictures.
    """

    def __init__(
        self,
        folder: Path,
        network: Network,
        about: Mapping[str, Any],
        listed: Listed | None,
        kept: Kept,
        how: How,
        limits: Limits,
    ) -> None:
        self._folder, self._about = folder, dict(about)
        self._network = Padded(*network)
        self.warming = WarmUp(self._network)
        self._how, self._limits, self.kept = how, limits, kept
        self._pictures: dict[str, Picture] = {one.name: one for one in listed.pictures} if listed else {}
        self._factors = _factors(listed, network.size)
        self._lock, self._seen = threading.Lock(), self._stamp()
        self._opened = match.Gallery.open(folder, network=self._about, grouped=False)

    @property
    def scales(self) -> tuple[str, ...]:
        """The ways to bring a probe to the scale of the gallery, see --probe_scale."""
        return ("width", "keep") if self._factors else ("width",)

    def gallery(self) -> StoredGallery:
        """The gallery as it is now.

        Raises:
          Refused: if it is gone, or became that of another network.
        """
        try:
            with self._lock:
                seen = self._stamp()
                if seen != self._seen:
                    former = self._opened
                    self._opened = match.Gallery.open(self._folder, network=self._about, grouped=False)
                    self._seen = seen
                    former.forget()  # answers that are held show entries of it, and search it no more
        except (ValueError, OSError) as error:
            raise unreadable(error) from error
        return self._opened

    @reading()
    def search(self, content: bytes, part: asked.Part, wanted: asked.Filters, *, k: int, scale: str) -> Searched:
        """The answer to a picture.

        Raises:
          Refused: for a picture, a part, or filters that cannot be answered, and for a gallery that cannot be read.
        """
        gallery = self.gallery()
        conditions = {name: value for name, value in wanted._asdict().items() if value is not None}
        try:
            chosen = gallery.where(**conditions) if conditions else gallery
        except NothingLeft as error:
            raise Refused(404, "No picture of the gallery fits the filters: take fewer of them.") from error
        probe = self._probe(content, part, scale)
        how: dict[str, Any] = {"matching": self._how.matching, "rate": self._how.rate}
        try:
            with reading():
                (found,) = answers.answer([probe], chosen, k=k, **how, insist=False)
        except ValueError as error:
            raise Refused(422, str(error)) from error
        shown = chosen.part(found.found.hits.entries)
        held = Held(probe, part.digest(content, scale), tuple(found.hits), shown, self.settings())
        return Searched(found, held, showing.sentences(found, self._how.rate))

    def map(self, held: Held, rank: int) -> str:
        """How the probe of an answer was rebuilt from one of its places, as a piece of HTML.

        Raises:
          Refused: if picture or map cannot be read any more.
        """
        hit = held.place(rank)
        picture = self._pixels(hit.name)
        if picture is None:
            height, width = self._network.size
            picture = np.full((height, width, 3), 127, np.uint8)
        try:
            values = held.shown.maps[rank - 1]
        except ValueError as error:
            raise Refused(410, "The gallery has changed since this answer: search again.") from error
        entry = hit.name, values, picture
        stride = self._network.output_stride
        rebuilt = showing.reconstruction(held.probe, entry, stride=stride, matching=self._how.matching)
        return report.reconstruction_maps([rebuilt])

    def picture(self, name: str) -> bytes | None:
        """The picture of an entry as a JPEG file at the network's size; None where there is none."""
        pixels = self._pixels(name)
        return None if pixels is None else report.jpeg(pixels)

    @reading()
    def add(self, content: bytes, part: asked.Part, labels: asked.Labels) -> StoredGallery:
        """The gallery with a picture, or a part of one, as a new entry; whole or not at all.

        Raises:
          Refused: for a picture or labels that do not fit, and for a gallery that cannot be read.
          OSError: if it cannot be written.
        """
        gallery = self.gallery()
        pixels = views.resize(part.cut(uploads.picture(content, self._limits)), self._network.size)
        values = self._map(pixels)
        mask = part.mask(self._network.size, values.shape[:2], self._network.output_stride)
        what: dict[str, Any] = {"names": [labels.name], "cameras": [labels.camera], "times": [labels.time]}
        if mask is not None:
            what["masks"] = [mask]
        if gallery.people is None and labels.identity is not None:
            raise Refused(400, "This gallery has no identities: leave the identity empty, and say it in the name.")
        if gallery.people is not None:
            what["identities"] = [self._identity(gallery, labels.identity)]
        if labels.name in gallery.names:
            raise Refused(409, f"There is an entry {labels.name!r} already: give another name.")
        try:
            with reading(), self.kept.adding(labels.name, report.jpeg(pixels)):
                gallery.add([values], **what)
        except ValueError as error:
            if labels.name in self.gallery().names:
                raise Refused(409, f"There is an entry {labels.name!r} already: give another name.") from error
            raise Refused(422, str(error)) from error
        return self.gallery()

    def calibrate(self) -> calibration.Calibration:
        """Fits the marks, and keeps the calibration with the gallery.

        Raises:
          Refused: for too few marks, or such as no calibration fits.
        """
        fitted = marking.fitted(self.kept.marks(), self.settings())
        self.gallery().calibrated(fitted)
        return fitted

    def settings(self) -> dict[str, Any]:
        """What distances are of now, as a calibration's ``fitted_on``."""
        gallery = self._opened
        how: dict[str, Any] = {"scales": gallery.scales, "pooling": gallery.pooling, "images_per_entry": 1}
        found = calibration.settings(**self._how.matching.how, **how)
        found["scales"], found["probe_scales"] = list(found["scales"]), list(found["probe_scales"])
        named = {
            name: self._about[name]
            for name in ("maps", "preprocessing", "output_stride", "size")
            if name in self._about
        }
        return found | {"network": self._about["sha256"]} | named

    def warm_up(self) -> None:
        """Searches once, so that no request waits for what the first search compiles; the usual shapes follow."""
        height, width = self._network.size
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        probe = probes.Seen(PROBE, pixels, self._map(pixels))
        answers.answer([probe], self.gallery(), k=1, matching=self._how.matching, rate=0.5, insist=False)
        self.warming.start()

    def _probe(self, content: bytes, part: asked.Part, scale: str) -> probes.Seen:
        if scale not in self.scales:
            raise Refused(400, f"The scale must be one of {', '.join(self.scales)}: choose it again.")
        pixels = part.cut(uploads.picture(content, self._limits))
        try:
            (found,) = probes.seen([(PROBE, pixels)], self._network, self._factors if scale == "keep" else None)
        except ValueError as error:
            reason = str(error).removeprefix("probe ").partition(": give another part")[0]
            raise Refused(422, f"This part cannot be searched: {reason}. Draw another box.") from error
        return found._replace(mask=part.mask(found.picture.shape[:2], found.map.shape[:2], self._network.output_stride))

    def _map(self, pixels: np.ndarray) -> np.ndarray:
        return self._network.maps([pixels])[0]

    def _pixels(self, name: str) -> np.ndarray | None:
        """The picture of an entry at the network's size; None where it is not there or cannot be read."""
        listed = self._pictures.get(name)
        try:
            content = self.kept.picture(name) if listed is None else listed.read()
            return None if content is None else views.resize(decode(content), self._network.size)
        except (ValueError, OSError):
            return None

    def _identity(self, gallery: StoredGallery, text: str | None) -> Any:
        """An identity of the gallery's kind."""
        if text is None:
            raise Refused(400, "This gallery has identities: say of whom the picture is.")
        if isinstance((gallery.people or ("",))[0], str):
            return text
        if not text.isdecimal():
            raise Refused(400, "Identities of this gallery are whole numbers: give one.")
        return int(text)

    def _stamp(self) -> Any:
        """What changes whenever the gallery does."""
        found = set()
        for manifest in self._folder.glob("_versions/*.manifest"):
            with contextlib.suppress(FileNotFoundError):  # another program drops versions just now
                state = manifest.stat()
                found.add((manifest.name, state.st_ino, state.st_mtime_ns))
        return frozenset(found)


def _factors(listed: Listed | None, size: tuple[int, int]) -> tuple[float, float] | None:
    """By how much gallery pictures are enlarged; None where none can be looked at: that scale is not offered then."""
    try:
        return probes.gallery_factors(listed, size)
    except ValueError:
        return None
