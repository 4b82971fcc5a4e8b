"""A page on this machine that searches a gallery for the person in a part of a picture.

    python -m experiments.serve --gallery=PATH --weights=osnet.pth
    python -m experiments.serve --pictures=FOLDER --weights=osnet.pth

The page takes a picture by choice, drop or paste; the part that shows the person is marked by a box or a brush. Its
answers are those of experiments.search: the nearest entries with distance, certified interval, what the place is proven
against, and probabilities where the gallery has a calibration. It shows from which parts of an entry the probe was
rebuilt, takes marks of right and wrong answers, fits a calibration on them, and adds pictures to the gallery.

With --pictures new pictures are indexed first, and answers are shown with their pictures. The page listens on 127.0.0.1
alone unless --host says otherwise; nobody is asked for a password. docs/serve.md explains what is kept where, and what
is safe.
"""

import importlib.util
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import run, search
from experiments.searching import listed
from experiments.settings import searching, webpage

if TYPE_CHECKING:
    from experiments.webpage.app import Page

NEEDED = ("starlette", "uvicorn")  # which no other runner needs: they are imported when a page is opened


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    searched: searching.Searched = searching.Searched()
    network: searching.Network = searching.Network()
    served: webpage.Served = webpage.Served()
    limits: webpage.Limits = webpage.Limits()
    matching: searching.Compared = searching.Compared()
    judged: searching.Judged = searching.Judged()
    given: frozenset[str] = frozenset()

    def check(self) -> None:
        """Raises ValueError for flags that lack another one, before any long work."""
        if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
            raise ValueError(
                f"{' and '.join(missing)} must be installed: pip install --editable '.[serve]', or make setup"
            )
        self.searched.place()
        self.matching.check()
        self.judged.check()
        lacking = {"prune", "skip_bad", "form", "role", "index_batch", "map_dtype"} & self.given
        if not self.searched.pictures and lacking:
            raise ValueError(f"{sorted(lacking)[0]} is about pictures: give --pictures with it, or leave it out")


def main(settings: Settings) -> None:
    """The runner."""
    settings.check()
    from experiments.webpage import listening

    with listening.bound(settings.served) as listener:
        page = ready(settings)
        address = listening.address(listener)
        if not _is_loopback(settings.served.host):
            print(
                f"WARNING: --host={settings.served.host} lets other machines in. Nobody is asked for a password, and "
                "nothing is encrypted: whoever reaches this port sees the gallery's pictures, and adds to it.",
                flush=True,
            )
        print(f"page: {address} (Ctrl-C ends it)", flush=True)
        try:
            listening.serve(page.app, listener, settings.limits)
        finally:
            page.close()
    print("the page is closed", flush=True)


def ready(settings: Settings) -> "Page":
    """The page, after its gallery is brought up to date and everything was tried once."""
    from experiments.webpage import app, kept, searcher

    fitted = search.given_calibration(settings.judged.calibration)
    source = settings.searched.pictures
    there = listed.pictures(Path(source), form=settings.searched.form, role=settings.searched.role) if source else None
    network, about = search.described(settings.network)
    indexed = search.brought_up_to_date(settings.searched, there, network, about)
    search.calibrated(indexed.gallery, fitted)
    print(indexed.text, flush=True)
    folder = settings.searched.place()
    keeping = kept.Kept(Path(settings.served.kept) if settings.served.kept else webpage.kept(folder))
    keeping.forget(set(indexed.gallery.names))
    how = searcher.How(settings.matching, settings.judged.false_positive_rate)
    behind = searcher.Searcher(folder, network, about, there, keeping, how, settings.limits)
    page = app.Page(behind, settings.served, settings.limits)
    behind.warm_up()
    return page


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    run.main(main, Settings)
