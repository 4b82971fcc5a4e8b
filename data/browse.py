"""Command that writes the contact sheet of a prepared data set, a page for a browser, and prints its statistics.

    python -m data.browse --dataset=cuhk03 --data_dir=DATA --out=FOLDER

FOLDER/index.html shows figures per split, people with all their images by camera, training pairs and partial probes.
It opens from disk, without the network. It shows real people where the data set does: it is written to --out and
nowhere else, so choose a FOLDER that the data set's licence allows.

--identities, --images, --pairs and --crops bound the number of each, --seed changes the draw.
"""

import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import data
from data import command
from data.binding import setting
from data.inspection import sheet, statistics
from data.prepare import remarks
from data.source import SPLITS
from dsr_jax import report
from dsr_jax.formats import atomic

_MARK = 'content="dsr_jax contact sheet"'


def browse(
    dataset: str,
    *,
    data_dir: Path,
    out: Path,
    amount: sheet.Amount = sheet.Amount(),  # noqa: B008  # immutable
    size: tuple[int, int] = (320, 120),
    progress: bool = False,
) -> tuple[Path, str]:
    """Writes the contact sheet of a prepared data set.

    Args:
      dataset: a key of `data.DATASETS`.
      data_dir: as for `python -m data.prepare`.
      out: folder of the page; made if absent.
      amount: numbers of people, images, pairs and probes.
      size: (height, width) to which training and evaluation bring whole images.
      progress: show a bar while sizes are read, if that takes long.

    Returns:
      Path of the page, and the statistics as text.

    Raises:
      ValueError: the data set is not prepared, `out` holds something else, or a number is negative.
    """
    if least := [f"{name} is {number}" for name, number in amount._asdict().items() if number < 0]:
        raise ValueError(f"{least[0]}: it must be 0 or more")
    if min(size) < 8:
        raise ValueError(f"size is {size[0]},{size[1]}: height and width must be at least 8 pixels")
    check_out(out)
    fingerprint = data.fingerprint(dataset, data_dir=data_dir)
    builder = data.dataset_builder(dataset, data_dir=data_dir)
    sources = {split: builder.source(split) for split in SPLITS if split in builder.info.splits}
    sizes = {split: statistics.sizes(source, progress=progress) for split, source in sources.items()}
    rows = [
        statistics.statistics(split, source.identities, source.cameras, sizes[split])
        for split, source in sources.items()
    ]
    page = report.write_contact_sheet(
        out,
        title=f"What is in {dataset}",
        remarks=[
            builder.ABOUT,
            *(line.strip() for line in remarks(builder)),
            f"Fingerprint of its source: {fingerprint[:12]}.",
        ],
        tables=[sheet.figures(rows)],
        plots=sheet.spreads(sources, sizes),
        sections=sheet.sections(sources, amount=amount, size=size),
    )
    return page, statistics.table(rows)


def check_out(out: Path) -> None:
    """Checks that `out` can be written to, and holds no page but an older contact sheet.

    Raises:
      ValueError: it holds another page, or is a file.
      OSError: it cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file: name a folder, or one to be made")
    atomic.check_folder(out, remedy="give another --out=FOLDER")
    page = out / "index.html"
    if page.exists() and _MARK not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise ValueError(f"--out={out} holds another page, {page.name}: name another folder")


@dataclass(frozen=True)
class Page:
    """Page."""

    dataset: str = setting("synthetic", "Which data set.", choices=sorted(data.DATASETS))
    data_dir: str | None = setting(None, "Where `python -m data.prepare` put it.", path=True)
    out: str | None = setting(None, "Folder of the page: pictures of the data set are written there.", path=True)
    size: tuple[int, int] = setting(
        (320, 120),
        "Height,width in pixels to which training and evaluation bring images.",
        wanted="height,width such as 320,120",
        check=lambda sides: len(sides) == 2,
    )


@dataclass(frozen=True)
class Amount:
    """What is shown."""

    identities: int = setting(8, "People shown of each side.", low=0)
    images: int = setting(6, "Images shown of each person and camera.", low=1)
    pairs: int = setting(12, "Training pairs shown.", low=0)
    crops: int = setting(12, "Partial probes shown.", low=0)
    seed: int = setting(0, "Seed of everything that is drawn.", low=0)


@dataclass(frozen=True)
class Settings:
    """Settings of the command."""

    page: Page = Page()
    amount: Amount = Amount()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """Prints the statistics and the page's path."""
    values = settings.page
    if not values.data_dir:
        raise ValueError("--data_dir is needed: where the prepared data sets are")
    if not values.out:
        raise ValueError("--out is needed: the folder of the page")
    page, text = browse(
        values.dataset,
        data_dir=Path(values.data_dir),
        out=Path(values.out),
        amount=sheet.Amount(*astuple(settings.amount)),
        size=values.size,
        progress=sys.stderr.isatty(),
    )
    print(text)
    print(f"open {page}")


if __name__ == "__main__":
    command.run(main, Settings)
