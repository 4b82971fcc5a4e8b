"""Command that writes the contact sheet of a prepared data set, a page for a browser, and prints its statistics.

    python -m data.browse --dataset=cuhk03 --data_dir=DATA --out=FOLDER

FOLDER/index.html shows figures per split, people with all their images by camera, training pairs and partial probes.
It opens from disk, without the network. It shows real people where the data set does: it is written to --out and
nowhere else, so choose a FOLDER that the data set's licence allows.

--identities, --images, --pairs and --crops bound the number of each, --seed changes the draw.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

import data
from data import command
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


def define_flags() -> None:
    """Defines the flags; a function, so that importing this module leaves other programs' flags alone."""
    flags.DEFINE_enum("dataset", "synthetic", sorted(data.DATASETS), "Which data set.")
    command.define_path("data_dir", None, "Where `python -m data.prepare` put it.")
    command.define_path("out", None, "Folder of the page: pictures of the data set are written there.")
    default = sheet.Amount()
    flags.DEFINE_integer("identities", default.identities, "People shown of each side.", lower_bound=0)
    flags.DEFINE_integer("images", default.images, "Images shown of each person and camera.", lower_bound=1)
    flags.DEFINE_integer("pairs", default.pairs, "Training pairs shown.", lower_bound=0)
    flags.DEFINE_integer("crops", default.crops, "Partial probes shown.", lower_bound=0)
    flags.DEFINE_integer("seed", default.seed, "Seed of everything that is drawn.", lower_bound=0)
    flags.DEFINE_list("size", ["320", "120"], "Height,width in pixels to which training and evaluation bring images.")


@command.reporting("data.browse")
def main() -> None:
    """Prints the statistics and the page's path."""
    values = flags.FLAGS
    for name, meaning in (("data_dir", "where the prepared data sets are"), ("out", "the folder of the page")):
        if not getattr(values, name):
            raise ValueError(f"--{name} is needed: {meaning}")
    page, text = browse(
        values.dataset,
        data_dir=Path(values.data_dir),
        out=Path(values.out),
        amount=sheet.Amount(values.identities, values.images, values.pairs, values.crops, values.seed),
        size=_size(values.size),
        progress=sys.stderr.isatty(),
    )
    print(text)
    print(f"open {page}")


def _size(sides: Sequence[str]) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in sides)
    except ValueError:
        raise ValueError(f"--size={','.join(sides)} must be height,width such as 320,120") from None
    return height, width


if __name__ == "__main__":
    define_flags()
    command.run(main)
