"""Prepares a data set for training and evaluation, and prints what is in it.

    python -m data.prepare --dataset=synthetic --data_dir=DATA
    python -m data.prepare --dataset=cuhk03 --source=path/to/cuhk03 --data_dir=DATA
    python -m data.prepare --dataset=folder --source=people.csv --data_dir=DATA

All data sets, what each is built from and what it expects: docs/data.md, or `python -c 'import data; help(data)'`.

Every picture is decoded once before anything is written; a damaged one stops it (or is left out and listed, with
--skip_bad). The data set appears in DATA/NAME whole or not at all. A second call finds it ready, checks that the
source is still the one it was built from, and prints the table again; --overwrite builds anew.

people.csv has the columns path,identity,camera,role: role is train, probe or gallery, paths are relative to the CSV,
camera may be absent (unknown), identity is any label; -1 is nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

import data
from data.builder import Builder, build
from data.listing import Listing, checked
from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA, Source


def prepare(
    dataset: str,
    source: Path | None,
    *,
    data_dir: Path,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Builder:
    """Builds the data set unless it is there already.

    Args:
      dataset: a key of `data.DATASETS`.
      source: file or folder that it is built from; None where it needs none, or where it is built already.
      data_dir: folder for prepared data sets.
      skip_bad: leave damaged pictures out, listed under "skipped" in the metadata.
      overwrite: build again.
      progress: show progress bars.

    Returns:
      The builder, ready to be read.

    Raises:
      ValueError: bad source, or a source that has changed since the data set was built.
    """
    builder = data.dataset_builder(dataset, data_dir=data_dir)
    if builder.is_built and not overwrite and source is None:
        return builder
    listing = _listing(builder, source)
    fingerprint = listing.fingerprint(progress=progress)
    if builder.is_built and not overwrite:
        if fingerprint != builder.info.metadata["fingerprint"]:
            raise ValueError(
                f"{source} has changed since {dataset} was built in {data_dir}: "
                "pass --overwrite to build it again, or leave --source out to go on with what is there."
            )
        return builder
    if listing.files:
        good, skipped = checked(listing, skip_bad=skip_bad, progress=progress)
    else:
        good, skipped = listing, []  # what is drawn cannot be damaged
    build(builder, good, fingerprint=fingerprint, skipped=skipped, overwrite=overwrite, progress=progress)
    return data.dataset_builder(dataset, data_dir=data_dir)


def _listing(builder: Builder, source: Path | None) -> Listing:
    """What is to be built; where no source is named, an older data set is the more likely reason to say so."""
    try:
        return builder.listing(source)
    except ValueError as error:
        if source is None and builder.other_versions:
            raise builder.absence() from error
        raise


def table(sources: Sequence[Source]) -> str:
    """The statistics of some splits: identities, images and cameras, aligned.

    Args:
      sources: the splits, each titled "dataset/split".

    Example:
      >>> from data.source import Source
      >>> print(table([Source([{}], identities=[3], cameras=[-1], names=["a.png"], title="toy/probe")]))
      split    identities  images  cameras
      probe             1       1  unknown
    """
    lines = [f"{'split':<8}{'identities':>11}{'images':>8}{'cameras':>9}"]
    for source in sources:
        people = set(source.identities.tolist()) - {NOBODY}
        cameras = set(source.cameras.tolist()) - {UNKNOWN_CAMERA}
        split = source.title.split("/")[-1]
        lines.append(f"{split:<8}{len(people):>11,}{len(source):>8,}{len(cameras) or 'unknown':>9}")
    return "\n".join(lines)


def remarks(builder: Builder) -> list[str]:
    """What a user should know beside the table: mates, nobody, left-out pictures, numbered labels."""
    index, metadata = builder.info.metadata["index"], builder.info.metadata
    people = {split: set(columns["identities"]) - {NOBODY} for split, columns in index.items()}
    lines = []
    if "probe" in people and "gallery" in people:
        shared = people["probe"] & people["gallery"]
        lines.append(f"{len(shared):,} of {len(people['probe']):,} probe identities are in the gallery.")
    if both := people.get("train", set()) & (people.get("probe", set()) | people.get("gallery", set())):
        lines.append(f"Take care: {len(both):,} identities are both trained on and tested on.")
    nobody = sum(columns["identities"].count(NOBODY) for columns in index.values())
    lines += [f"{nobody:,} images show nobody (identity {NOBODY})."] if nobody else []
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


def define_flags() -> None:
    """Defines the flags; a function, so that importing this module leaves other programs' flags alone."""
    flags.DEFINE_enum("dataset", "synthetic", sorted(data.DATASETS), "Which data set.")
    flags.DEFINE_string(
        "source", None, "What it is built from: a folder, an archive or one's own CSV; PATH#name=value has options."
    )
    flags.DEFINE_string("data_dir", None, "Folder for prepared data sets; made if absent.")
    flags.DEFINE_bool("skip_bad", False, "Leave damaged or non-image files out and list them.")
    flags.DEFINE_bool("overwrite", False, "Build again even if the data set is there.")


def main(argv: Sequence[str]) -> None:
    """Runs the command line: the table on standard output, or a message and exit code 1."""
    asked = flags.FLAGS
    try:
        if len(argv) > 1:
            raise ValueError(f"what is {argv[1]!r}? Every argument is a --flag=value; see --help")
        if not asked.data_dir:
            raise ValueError("--data_dir is needed: the folder in which prepared data sets are kept")
        builder = prepare(
            asked.dataset,
            Path(asked.source).expanduser() if asked.source else None,
            data_dir=Path(asked.data_dir),
            skip_bad=asked.skip_bad,
            overwrite=asked.overwrite,
            progress=sys.stderr.isatty(),
        )
    except (ValueError, OSError) as error:
        print(f"data.prepare: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{asked.dataset} is ready in {builder.data_dir}")
    print(table([builder.source(split) for split in SPLITS if split in builder.info.splits]))
    print("\n".join(remarks(builder)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
