"""Where the page of a search is served, and what it takes at most."""

from dataclasses import dataclass
from pathlib import Path

from data.binding import setting

MEGA = 1_000_000


@dataclass(frozen=True)
class Served:
    """Page."""

    host: str = setting(
        "127.0.0.1",
        "The address that listens. Anything else than 127.0.0.1 or ::1 lets other machines in, and nobody is asked for "
        "a password.",
    )
    port: int = setting(8765, "The port that listens; 0: any that is free.", low=0, high=65535)
    host_names: tuple[str, ...] | None = setting(
        None,
        "More names by which browsers may call this machine, for another --host; other names are refused.",
        wanted="names such as search.example.org",
    )
    kept: str | None = setting(
        None,
        "The file of marks and of pictures that the page adds; default: the folder of the gallery with .page.sqlite "
        "after it.",
        path=True,
    )
    k: int = setting(10, "How many entries are shown, where the page does not say it.", low=1, high=100)


@dataclass(frozen=True)
class Limits:
    """Limits."""

    upload_megabytes: int = setting(20, "Size of an uploaded file.", low=1, high=200)
    upload_megapixels: int = setting(40, "Pixels of an uploaded picture.", low=1, high=64)
    uploads: int = setting(8, "Uploads that are read at once; others are to come again.", low=1)
    waiting: int = setting(24, "Searches that may wait for their turn; others are to come again.", low=0)
    seconds: int = setting(60, "Time of a request, its turn waited for; a third of it for its upload.", low=3)
    connections: int = setting(200, "Open connections; others are refused.", low=2)

    @property
    def bytes(self) -> int:
        """Bytes of an upload."""
        return self.upload_megabytes * MEGA

    @property
    def pixels(self) -> int:
        """Pixels of a picture."""
        return self.upload_megapixels * MEGA


def kept(gallery: Path) -> Path:
    """The file of what the page keeps, beside its gallery.

    Example:
      >>> kept(Path("people/.dsr_jax_gallery")).name
      '.dsr_jax_gallery.page.sqlite'
    """
    return gallery.with_name(f"{gallery.name}.page.sqlite")
