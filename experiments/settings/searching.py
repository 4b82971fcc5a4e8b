"""What is searched, by which probes, and how the answer is shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.binding import setting
from experiments.searching import listed
from experiments.settings import networks
from experiments.settings.matching import Matching

FOLDER = ".dsr_jax_gallery"  # of a gallery beside its pictures


@dataclass(frozen=True)
class Network(networks.Network):
    """Network."""

    weights: str | None = setting(
        None,
        "A weights file of NumPy, safetensors, torch or ONNX, whatever its name, or the workdir of a training run; "
        "--network is the same.",
        path=True,
        aliases=("network",),
    )


@dataclass(frozen=True)
class Searched:
    """Pictures and gallery."""

    pictures: str | None = setting(
        None,
        "The pictures to search: a folder or an archive, a CSV as of data.prepare, or a COCO JSON. What is new or "
        "changed is indexed. Without it the gallery is searched as it is.",
        path=True,
    )
    gallery: str | None = setting(
        None, "Folder of the gallery; default: .dsr_jax_gallery in the folder of --pictures.", path=True
    )
    form: str = setting(
        "auto",
        "How --pictures are read. pictures: every picture below, of unknown people; people: a folder per person; "
        "folder: a CSV with path,identity,camera,role; coco_boxes: people cut out by the boxes of a COCO JSON. "
        "auto: by the ending, .csv and .json, else pictures.",
        choices=("auto", *listed.FORMS),
    )
    role: str = setting(
        "gallery", "Which rows of a CSV, which boxes of a COCO JSON.", choices=("gallery", "probe", "train")
    )
    skip_bad: bool = setting(False, "Name pictures that cannot be read, and go on; otherwise they are an error.")
    prune: bool = setting(False, "Remove entries whose pictures are gone from --pictures; otherwise they stay.")
    map_dtype: str = setting(
        "float16", "Type of the maps in a new gallery.", choices=("float16", "bfloat16", "float32")
    )
    index_batch: int = setting(256, "Pictures that become a version of the gallery together.", low=1)
    progress: bool = setting(True, "Show progress bars.")

    def place(self) -> Path:
        """The folder of the gallery.

        Raises:
          ValueError: if neither --gallery nor --pictures says it.
        """
        if self.gallery:
            return Path(self.gallery)
        if not self.pictures:
            raise ValueError("pictures is missing: give --pictures=FOLDER, or --gallery=FOLDER of an earlier search")
        source = listed.path(self.pictures)
        return source / FOLDER if source.is_dir() else source.parent / f"{FOLDER}_{source.name}"


@dataclass(frozen=True)
class Probe:
    """Probe."""

    probe: str | None = setting(
        None, "The picture to search for, a part of somebody; or a folder of such pictures.", path=True
    )
    box: tuple[int, ...] | None = setting(
        None,
        "x,y,width,height in pixels of the upright --probe: the part of it that shows the person.",
        wanted="x,y,width,height in pixels such as 40,10,64,96",
        check=lambda sides: len(sides) == 4 and min(sides) >= 0 and min(sides[2:]) > 0,
    )
    probe_scale: str = setting(
        "width",
        "Bring the probe to the width of gallery pictures (as wide a part as they show), or keep its scale to theirs "
        "(cut out of pictures such as those).",
        choices=("width", "keep"),
    )
    k: int = setting(10, "How many entries are shown.", low=1)


@dataclass(frozen=True)
class Compared(Matching):
    """Matching."""

    coder: str = setting("auto", "Solver of the coding, or maxsim: see match.distances.")
    probe_weights: str = setting(
        "equal",
        "How much each part of the probe counts: all alike, or by the squared norm of its features, which is worth "
        "about a point with a network that nobody trained on such pictures (docs/search.md).",
        choices=("equal", "norm"),
    )

    @property
    def how(self) -> dict[str, Any]:
        """These settings as arguments of `match` and `shortlist`."""
        return {"l1": self.l1, "coder": self.coder, "probe_weights": None if self.probe_weights == "equal" else "norm"}


@dataclass(frozen=True)
class Filters:
    """Filters: what may answer."""

    cameras: tuple[int, ...] | None = setting(
        None, "Only pictures of these cameras.", wanted="numbers of cameras such as 0,3"
    )
    identities: tuple[str, ...] | None = setting(None, "Only pictures of these people.", wanted="identities")
    after: str | None = setting(None, "Only pictures of this time or later: 2026-11-27, 2026-11-27T14:30, or seconds.")
    before: str | None = setting(None, "Only pictures of before this time.")


@dataclass(frozen=True)
class Judged:
    """Probabilities."""

    calibration: str | None = setting(
        None,
        "A file of calibration.Calibration.save, such as evaluate --calibrate writes: it is kept with the gallery, and "
        "answers have probabilities from then on.",
        path=True,
    )
    false_positive_rate: float = setting(
        0.01, "Of probes of people who are not in the gallery, the share that may be answered all the same.", low=0.0
    )

    def check(self) -> None:
        """Raises ValueError for a rate that is none."""
        if not 0 < self.false_positive_rate < 1:
            raise ValueError(f"false_positive_rate must be in (0, 1), got {self.false_positive_rate}")


@dataclass(frozen=True)
class Shown:
    """Answer."""

    json: bool = setting(False, "Print one JSON object in the place of tables (docs/search.md).")
    out: str | None = setting(
        None, "Folder of a page with probe, nearest pictures and reconstruction maps; needs --pictures.", path=True
    )
    reconstructions: int = setting(3, "Pictures on the page from which the probe is shown rebuilt.", low=0)
