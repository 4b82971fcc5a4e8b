"""Data sets for person re-identification, read without TensorFlow.

    python -m data.prepare --dataset=NAME --source=PATH --data_dir=DATA    once
    data.load("NAME", "probe", data_dir="DATA")                            from then on

NAME is a key of `DATASETS`; docs/data.md describes each: what it expects as PATH, where to get it, its options.
`synthetic` is built where it is first used.

The rooms import in one direction (`tests/test_imports.py`):

    sources      folders and archives as trees of files, decoding of pictures             no other room
    synthetic    drawn people                                                             no other room
    reading      source.py, views.py, sampling.py, decoded.py: for evaluation, training   sources
    builders     a module per data set, and the parts that they share                     sources, synthetic, reading
    inspection   the check, statistics, the contact sheet                                 sources, reading, builders
    commands     this interface, prepare.py, browse.py, draw.py, command.py, binding.py   all

A new data set is a module with a `Builder` in `data/builders/` (see `builder.py` and `listing.py` there; `parts.py`
where folders are splits and names begin with the person) and a line in `DATASETS`, "module:Class".
"""

import os
import pkgutil
from collections import UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA, Example, Source, decode

if TYPE_CHECKING:
    from data.builders.builder import Builder

__all__ = ["DATASETS", "Example", "NOBODY", "SPLITS", "Source", "UNKNOWN_CAMERA", "decode", "load"]
__all__ += ["dataset_builder", "fingerprint"]


class _Datasets(UserDict[str, Any]):
    """Mapping of names to builder classes; one given as "module:Class" is imported when it is first read.

    The names are there without TensorFlow Datasets, whose import takes seconds.
    """

    def __getitem__(self, name: str) -> "type[Builder]":
        if isinstance(self.data[name], str):
            self.data[name] = pkgutil.resolve_name(self.data[name])
        builder: type[Builder] = self.data[name]
        return builder


DATASETS = _Datasets(
    {
        "synthetic": "data.builders.synthetic:Synthetic",
        "market1501": "data.builders.market1501:Market1501",
        "market1501_multi_query": "data.builders.market1501:Market1501MultiQuery",
        "partial_reid": "data.builders.partial_reid:PartialReid",
        "partial_reid_occluded": "data.builders.partial_reid:PartialReidOccluded",
        "occluded_reid": "data.builders.occluded_reid:OccludedReid",
        "partial_ilids": "data.builders.partial_ilids:PartialIlids",
        "partial_ilids_simulated": "data.builders.partial_ilids:PartialIlidsSimulated",
        "cuhk01": "data.builders.cuhk01:Cuhk01",
        "cuhk03": "data.builders.cuhk03:Cuhk03",
        "cuhk03_labelled": "data.builders.cuhk03:Cuhk03Labelled",
        "cuhk03_classic": "data.builders.cuhk03:Cuhk03Classic",
        "cuhk03_classic_labelled": "data.builders.cuhk03:Cuhk03ClassicLabelled",
        "folder": "data.builders.folder:Folder",
        "identity_folders": "data.builders.identity_folders:IdentityFolders",
        "coco_boxes": "data.builders.coco_boxes:CocoBoxes",
    }
)


def dataset_builder(name: str, *, data_dir: str | os.PathLike[str]) -> "Builder":
    """The builder of a data set; `is_built` says whether it is prepared, `info` describes it.

    Args:
      name: a key of `DATASETS`.
      data_dir: folder of the prepared data sets.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset {name!r} is unknown: use one of {', '.join(sorted(DATASETS))}")
    from data.builders.builder import quiet  # imports TensorFlow Datasets

    with quiet():
        return DATASETS[name](data_dir=os.path.abspath(os.path.expanduser(data_dir)))


def load(dataset: str, split: str, *, data_dir: str | os.PathLike[str]) -> Source:
    """A split of a prepared data set; nothing is decoded yet.

    The synthetic data set is built at once (some seconds) if it is not there.

    Args:
      dataset: a key of `DATASETS`.
      split: "train", "probe" or "gallery".
      data_dir: as for `python -m data.prepare`.

    Returns:
      A `Source`: `source[i]` decodes one image, `source.identities`, `.cameras` and `.names` describe all.

    Raises:
      ValueError: unknown data set or split, or one that is not prepared; the message names the command.

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
    """Digest of a prepared data set's source: it differs between two data sets of one name.

    Raises:
      ValueError: the data set is not prepared, as for `load`.
    """
    return str(_prepared(dataset, data_dir).info.metadata["fingerprint"])


def _prepared(dataset: str, data_dir: str | os.PathLike[str]) -> "Builder":
    """The builder of a prepared data set; the synthetic one is built if it is not there."""
    prepared = dataset_builder(dataset, data_dir=data_dir)
    if not prepared.is_built:
        if dataset != "synthetic":
            raise prepared.absence()
        from data.builders.builder import build

        print(f"{dataset} is drawn into {prepared.data_dir}: it was not there", flush=True)
        listing = prepared.listing(None)
        build(prepared, listing, fingerprint=listing.fingerprint())
        prepared = dataset_builder(dataset, data_dir=data_dir)
    return prepared
