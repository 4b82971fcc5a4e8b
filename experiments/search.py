"""Search of a folder of pictures for the person in a partial picture.

    python -m experiments.search --pictures=FOLDER --weights=osnet.pth --probe=half.jpg --k=10
    python -m experiments.search --pictures=FOLDER --weights=osnet.pth --probe=street.jpg --box=310,40,64,96 --out=PAGE
    python -m experiments.search --pictures=people.csv --weights=osnet.pth --probe=half.jpg --cameras=0,3 --json

The first call makes a gallery of all pictures, in FOLDER/.dsr_jax_gallery; later calls index what is new or changed and
answer at once. A call that is killed goes on where it was. Names of pictures are paths below FOLDER. With
--form=people the folder of a picture says who it is; a CSV or a COCO JSON as of data.prepare says also from which
camera. Without --probe the pictures are only indexed.

The answer is a table of the nearest pictures: distance, its certified interval, and what the place is proven against:
the whole gallery, a stage of the search (of more than 1,000 pictures), or nothing. With --calibration=FILE it also has
probabilities, and says when the probe is nobody in the gallery. --out=FOLDER writes a page that shows from which parts
of a picture the probe was rebuilt. docs/search.md explains it all.
"""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import binding
from dsr_jax import calibration
from dsr_jax.formats import atomic
from dsr_jax.gallery.stored import StoredGallery
from experiments import run
from experiments.evaluation.features import Network
from experiments.searching import answers, indexing, listed, probes, showing
from experiments.settings import searching


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    searched: searching.Searched = searching.Searched()
    network: searching.Network = searching.Network()
    probe: searching.Probe = searching.Probe()
    filters: searching.Filters = searching.Filters()
    matching: searching.Compared = searching.Compared()
    judged: searching.Judged = searching.Judged()
    shown: searching.Shown = searching.Shown()
    given: frozenset[str] = frozenset()

    def check(self) -> None:
        """Raises ValueError for flags that lack another one, before any long work."""
        self.searched.place()
        self.matching.check()
        answering = (searching.Filters, searching.Probe, searching.Shown)
        if not self.probe.probe:
            names = {name for kind in answering for name in kind.__dataclass_fields__} - {"probe", "json"}
            if useless := sorted(names & self.given):
                raise ValueError(f"{useless[0]} is about an answer: give --probe=PICTURE with it, or leave it out")
        if not self.searched.pictures:
            lacking = {"out", "prune", "skip_bad", "form", "role", "index_batch", "map_dtype"} & self.given
            if lacking:
                raise ValueError(f"{sorted(lacking)[0]} is about pictures: give --pictures with it, or leave it out")
            if not self.probe.probe and not self.judged.calibration:
                raise ValueError("pictures is missing: give --pictures to index, --probe to search, or both")
        self.judged.check()
        if self.shown.out:
            self._check_out(Path(self.shown.out))

    def _check_out(self, out: Path) -> None:
        """Raises ValueError where a page would be among the pictures, or in the place of something else."""
        if self.searched.pictures and out.resolve().is_relative_to(listed.path(self.searched.pictures).resolve()):
            raise ValueError(f"out={out} is among --pictures, its pictures would be searched: give another folder")
        if out.is_dir() and any(out.iterdir()) and showing.MARK not in _beginning(out / "index.html"):
            raise ValueError(f"out={out} holds something else than the page of a search: give another folder")
        atomic.check_folder(out, remedy="give another --out=FOLDER")


def _beginning(page: Path) -> str:
    """The first letters of a file, none of one that is not there."""
    return page.read_text(encoding="utf-8", errors="replace")[:2000] if page.is_file() else ""


def main(settings: Settings) -> None:
    """The runner."""
    settings.check()
    if not settings.shown.json:
        search(settings)
        return
    with contextlib.redirect_stdout(sys.stderr):  # remarks; standard output has one object alone
        found = search(settings)
    print(json.dumps(found, allow_nan=False))


def search(settings: Settings) -> dict[str, Any]:
    """Indexes and answers; prints both, and returns what --json prints."""
    fitted = given_calibration(settings.judged.calibration)
    source = settings.searched.pictures
    # Pictures before the network: an empty folder needs no weights.
    there = listed.pictures(Path(source), form=settings.searched.form, role=settings.searched.role) if source else None
    network, about = described(settings.network)
    indexed = brought_up_to_date(settings.searched, there, network, about)
    gallery = calibrated(indexed.gallery, fitted)
    print(indexed.text, flush=True)
    found = answered(settings, there, network, gallery)
    for answer in found if not settings.shown.json else ():
        print(f"\n{showing.text(answer, settings.judged.false_positive_rate)}")
    page = None
    if settings.shown.out and there is not None:
        how: dict[str, Any] = {
            "rate": settings.judged.false_positive_rate,
            "matching": settings.matching,
        }
        how |= {"reconstructions": settings.shown.reconstructions, "config": binding.values(settings)}
        page = str(showing.page(Path(settings.shown.out), found, there, network, **how))
        print(f"page: {page}")
    counts = {name: getattr(indexed, name) for name in ("added", "replaced", "removed", "unchanged")}
    return {
        "gallery": str(settings.searched.place()),
        "version": gallery.version,
        "pictures": len(gallery.maps),
        "indexed": counts | {"gone": list(indexed.gone), "skipped": list(indexed.skipped)},
        "answers": [answers.as_json(answer) for answer in found],
        "page": page,
    }


def given_calibration(file: str | None) -> calibration.Calibration | None:
    """The calibration of --calibration.

    Raises:
      ValueError: if the file is none, or was fitted on entries of several pictures.
    """
    if not file:
        return None
    try:
        fitted = calibration.load(file)
        fitted.check(images_per_entry=1)
        return fitted
    except ValueError as error:
        raise ValueError(f"calibration: {error}") from error


def calibrated(gallery: StoredGallery, fitted: calibration.Calibration | None) -> StoredGallery:
    """The gallery with a calibration that is given; a new version, unless it has this one."""
    has = gallery.calibration
    if fitted is None or (has is not None and has.text == fitted.text):
        return gallery
    return gallery.calibrated(fitted)


def described(settings: searching.Network) -> tuple[Network, dict[str, Any]]:
    """The network of --weights, and what a gallery says of it."""
    read = settings.read()
    size, stride = settings.of_card(read.card)
    network = Network(read.params, read.card.preprocessing, stride, size, settings.compute)
    return network, indexing.made_by(network, read.card.architecture)


def brought_up_to_date(
    searched: searching.Searched, there: listed.Listed | None, network: Network, about: dict[str, Any]
) -> indexing.Indexed:
    """The gallery after its pictures are indexed, or as it is where none are given; says what is odd."""
    if there is None:
        gallery = indexing.opened(searched.place(), about)
        if gallery is None:
            raise ValueError(f"gallery: there is none in {searched.place()}: give --pictures to make it")
        return indexing.Indexed(gallery, unchanged=len(gallery.maps))
    for remark in there.remarks:
        print(remark, flush=True)
    indexed = indexing.index(there, network, about, searched)
    if indexed.skipped:
        print("\n".join(["cannot be read, left out:", *(f"  {line}" for line in indexed.skipped)]))
    if indexed.gone:
        print(f"{len(indexed.gone)} entries are not among --pictures any more, and stay: --prune removes them")
    return indexed


def answered(
    settings: Settings, there: listed.Listed | None, network: Network, gallery: StoredGallery
) -> list[answers.Answer]:
    """The answers to the probes; none without --probe."""
    if not settings.probe.probe:
        return []
    chosen = answers.filtered(gallery, settings.filters)
    seen = probes.read(settings.probe, network, there)
    return answers.answer(
        seen,
        chosen,
        k=settings.probe.k,
        matching=settings.matching,
        rate=settings.judged.false_positive_rate,
        insist="false_positive_rate" in settings.given,
    )


if __name__ == "__main__":
    run.main(main, Settings)
