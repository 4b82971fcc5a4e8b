"""Command that prepares a data set for training and evaluation, and prints its statistics.

    python -m data.prepare --dataset=synthetic --data_dir=DATA
    python -m data.prepare --dataset=cuhk03 --source=path/to/cuhk03 --data_dir=DATA
    python -m data.prepare --dataset=folder --source=people.csv --data_dir=DATA
    python -m data.prepare --dataset=folder --source=people.csv --check

All data sets, and the source that each expects: docs/data.md.

Every picture is decoded once before anything is written; a damaged one is an error (or is left out and listed, with
--skip_bad). The data set appears in DATA/NAME whole or not at all. A second call finds it ready, checks that the source
has not changed, and prints the table again; --overwrite builds it anew. Remarks below the table name files that may be
pictures and were not taken, pictures of (nearly) one colour, and more.

--check builds nothing: it prints the expected tree beside the actual one, counts, and all that is odd (see
`data/inspection/check.py`). Its last line says whether the source is usable, or why not; so does the exit code, 0 or 1.

people.csv has the columns path,identity,camera,role: role is train, probe or gallery, paths are relative to the CSV,
camera may be absent (unknown), identity is a whole number or a name; -1 is nobody (junk), which no evaluation counts.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import data
from data import command
from data.binding import setting
from data.builders.listing import Listing, checked
from data.inspection import statistics
from data.inspection.check import check
from data.source import NOBODY, SPLITS
from data.sources import left_out
from dsr_jax.formats import atomic

if TYPE_CHECKING:
    from data.builders.builder import Builder


def prepare(
    dataset: str,
    source: Path | None,
    *,
    data_dir: Path,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> "Builder":
    """Builds the data set unless it is there already.

    Args:
      dataset: a key of `data.DATASETS`.
      source: its file or folder; None where it needs none, or is built already.
      data_dir: folder for prepared data sets.
      skip_bad: leave damaged pictures out, listed under "skipped" in the metadata.
      overwrite: build again.
      progress: show progress bars.

    Returns:
      The builder, ready to be read.

    Raises:
      ValueError: bad source, or a source that has changed since the data set was built.
      OSError: `data_dir` cannot be written.
    """
    builder = data.dataset_builder(dataset, data_dir=data_dir)
    if builder.is_built and not overwrite and source is None:
        return builder
    listing = _listing(builder, source)
    if overwrite or not builder.is_built:
        atomic.check_folder(data_dir, remedy="give another --data_dir")
    fingerprint = listing.fingerprint(progress=progress)
    if builder.is_built and not overwrite:
        if fingerprint != builder.info.metadata["fingerprint"]:
            raise ValueError(
                f"{source} has changed since {dataset} was built in {data_dir}: "
                "pass --overwrite to build it again, or leave --source out to go on with what is there."
            )
        _add_remarks(builder, listing)
        return builder
    if listing.files:
        good, skipped = checked(listing, skip_bad=skip_bad, progress=progress)
    else:
        good, skipped = listing, []  # drawn pictures cannot be damaged
    from data.builders.builder import build  # imports TensorFlow Datasets

    build(builder, good, fingerprint=fingerprint, skipped=skipped, overwrite=overwrite, progress=progress)
    return data.dataset_builder(dataset, data_dir=data_dir)


def _add_remarks(builder: "Builder", listing: Listing) -> None:
    """Adds remarks, in memory and not on disk, on files that have come to the source since and are not taken."""
    before = builder.info.metadata.get("remarks", [])
    fresh = [sentence for sentence in left_out.sentences(listing.left_out) if sentence not in before]
    builder.info.metadata["remarks"] = [*fresh, *before]


def _listing(builder: "Builder", source: Path | None) -> Listing:
    """The listing of the source; without a source, a data set of another version is the likelier error."""
    try:
        return builder.listing(source)
    except ValueError as error:
        if source is None and builder.other_versions:
            raise builder.absence() from error
        raise


def remarks(builder: "Builder") -> list[str]:
    """Remarks below the table: probes without mates, images of nobody, left-out pictures, numbered labels."""
    index, metadata = builder.info.metadata["index"], builder.info.metadata
    people = {split: set(columns["identities"]) - {NOBODY} for split, columns in index.items()}
    lines = []
    if "probe" in people and "gallery" in people:
        shared = people["probe"] & people["gallery"]
        lines.append(f"{len(shared):,} of {len(people['probe']):,} probe identities are in the gallery.")
    if both := people.get("train", set()) & (people.get("probe", set()) | people.get("gallery", set())):
        lines.append(f"Take care: {len(both):,} identities are both trained on and tested on.")
    nobody = sum(columns["identities"].count(NOBODY) for columns in index.values())
    lines += [f"{nobody:,} images show nobody (identity {NOBODY}): no evaluation counts them."] if nobody else []
    lines += metadata.get("remarks", [])  # sets that were built before there were remarks have none
    if skipped := metadata["skipped"]:
        lines += [f"{len(skipped):,} images were left out:", *(f"  {line}" for line in skipped)]
    lines += [
        f"{path} was written by another version of the builder: delete it if no other checkout reads it."
        for path in builder.other_versions
    ]
    if labels := list(metadata["labels"].items()):
        some = ", ".join(f"{label} = {number}" for number, label in labels[:8])
        lines.append(f"Identities were numbered: {some}{', ...' if len(labels) > 8 else ''}")
    return lines


@dataclass(frozen=True)
class DataSet:
    """Data set."""

    dataset: str = setting("synthetic", "Which data set.", choices=sorted(data.DATASETS))
    source: str | None = setting(
        None, "What it is built from: a folder, an archive or one's own CSV; PATH#name=value has options.", path=True
    )
    data_dir: str | None = setting(None, "Folder for prepared data sets; made if absent.", path=True)
    skip_bad: bool = setting(False, "Leave damaged or non-image files out and list them.")
    check: bool = setting(False, "Build nothing: look at everything, say what is odd, and whether it is usable.")
    overwrite: bool = setting(False, "Build again even if the data set is there.")


@dataclass(frozen=True)
class Settings:
    """Settings of the command."""

    data: DataSet = DataSet()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """Prints the table, or the report of a check."""
    values = settings.data
    options = {"skip_bad": values.skip_bad, "progress": sys.stderr.isatty()}
    source = Path(values.source) if values.source else None
    if values.check:
        if values.overwrite:
            raise ValueError("--check builds nothing, and --overwrite builds again: pass one of them")
        report = check(data.DATASETS[values.dataset], source, **options)
        print(report)
        sys.exit(0 if report.usable else 1)
    if not values.data_dir:
        raise ValueError("--data_dir is needed: the folder of the prepared data sets")
    builder = prepare(values.dataset, source, data_dir=Path(values.data_dir), overwrite=values.overwrite, **options)
    splits = [builder.source(split) for split in SPLITS if split in builder.info.splits]
    print(f"{values.dataset} is ready in {builder.data_dir}")
    print(statistics.table([statistics.of_source(split, progress=options["progress"]) for split in splits]))
    print("\n".join(remarks(builder)))


if __name__ == "__main__":
    command.run(main, Settings)
