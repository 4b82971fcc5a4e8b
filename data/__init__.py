"""Data sets for person re-identification, read without TensorFlow.

    python -m data.prepare --dataset=NAME --source=PATH --data_dir=DATA    once
    data.load("NAME", "probe", data_dir="DATA")                            from then on

`synthetic` needs no source and is built where it is first used; `folder` reads one's own pictures through a CSV.
A new data set is a module with a `Builder` (see `data/builder.py` and `data/listing.py`) and a line in `DATASETS`.
"""

from __future__ import annotations

import os
from pathlib import Path

from data.builder import Builder, build, quiet
from data.cuhk03 import Cuhk03
from data.folder import Folder
from data.listing import Listing, Record, checked
from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA, Example, Source, decode
from data.synthetic import Synthetic

__all__ = ["DATASETS", "Example", "NOBODY", "SPLITS", "Source", "UNKNOWN_CAMERA", "decode", "load"]
__all__ += ["Builder", "Listing", "Record", "build", "checked", "dataset_builder", "fingerprint"]

DATASETS: dict[str, type[Builder]] = {"synthetic": Synthetic, "cuhk03": Cuhk03, "folder": Folder}


def dataset_builder(name: str, *, data_dir: str | os.PathLike[str]) -> Builder:
    """The builder of a data set, which knows whether it `is_built` and its `info`.

    Args:
      name: a key of `DATASETS`.
      data_dir: the folder that holds (or will hold) the prepared data sets.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset {name!r} is unknown: use one of {', '.join(sorted(DATASETS))}")
    with quiet():
        return DATASETS[name](data_dir=os.path.abspath(os.path.expanduser(data_dir)))


def load(dataset: str, split: str, *, data_dir: str | os.PathLike[str]) -> Source:
    """Opens a split of a prepared data set; nothing is decoded yet.

    The synthetic data set is built on the spot (some seconds) if it is not there.

    Args:
      dataset: "synthetic", "cuhk03", "folder".
      split: "train", "probe" or "gallery".
      data_dir: where `python -m data.prepare` put it.

    Returns:
      A `Source`: `source[i]` decodes one image, `source.identities`, `.cameras` and `.names` describe all.

    Raises:
      ValueError: unknown data set or split, or a data set that is not prepared; the message says how to.

    Example:
      >>> load("cuhk03", "probe", data_dir="/nowhere")
      Traceback (most recent call last):
      ...
      ValueError: cuhk03 is not prepared in /nowhere: run
        python -m data.prepare --dataset=cuhk03 --source=PATH --data_dir=/nowhere
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: use one of {', '.join(SPLITS)}")
    prepared = _prepared(dataset, data_dir)
    if split not in prepared.info.splits:
        raise ValueError(
            f"{dataset} in {Path(data_dir)} has no split {split!r}, only {', '.join(prepared.info.splits)}"
        )
    return prepared.source(split)


def fingerprint(dataset: str, *, data_dir: str | os.PathLike[str]) -> str:
    """What tells one prepared data set from another of the same name: a digest of its source's contents.

    Raises:
      ValueError: as `load`, where the data set is not prepared.
    """
    return str(_prepared(dataset, data_dir).info.metadata["fingerprint"])


def _prepared(dataset: str, data_dir: str | os.PathLike[str]) -> Builder:
    """The builder of a data set that is there; the synthetic one is built if it is not."""
    prepared = dataset_builder(dataset, data_dir=data_dir)
    if not prepared.is_built:
        if dataset != "synthetic":
            raise prepared.absence()
        listing = prepared.listing(None)
        build(prepared, listing, fingerprint=listing.fingerprint())
        prepared = dataset_builder(dataset, data_dir=data_dir)
    return prepared
