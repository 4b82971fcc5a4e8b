"""Data sets for person re-identification, read without TensorFlow.

    python -m data.prepare --dataset=NAME --source=PATH --data_dir=DATA    once
    data.load("NAME", "probe", data_dir="DATA")                            from then on

PATH is what was downloaded, a folder or a .zip, .tar, .tar.gz; PATH#name=value chooses among ways to read it.

    market1501, market1501_multi_query                     Market-1501; probes from `query` or from `gt_bbox`
    partial_reid, partial_reid_occluded                    Partial-REID; partial or occluded pictures ask
    occluded_reid                                          Occluded-REID
    partial_ilids, partial_ilids_simulated                 Partial-iLIDS as published, or cut from i-LIDS (#seed=)
    cuhk01                                                 CUHK01 (#test=100,seed=1)
    cuhk03, cuhk03_labelled                                CUHK03, 767/700 protocol; detected boxes, or by hand
    cuhk03_classic, cuhk03_classic_labelled                CUHK03, the twenty test sets of 100 people (#split=3)
    folder                                                 one's own pictures, listed in a CSV
    identity_folders                                       one's own pictures, a folder per person
    coco_boxes                                             one's own pictures or frames, with boxes in a COCO JSON
    synthetic                                              drawn people: no source, or people=700,seed=1,difficulty=hard

`synthetic` is built where it is first used. What each expects, and where to get it, is in `docs/data.md`. A new data
set is a module with a `Builder` in `data/builders/` (see `builder.py` and `listing.py` there; `parts.py` where folders
are splits and names say who it is) and a line in `DATASETS`, "module:Class".
"""

from __future__ import annotations

import os
import pkgutil
from collections import UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.builders.listing import Listing, Record, checked
from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA, Example, Source, decode

if TYPE_CHECKING:
    from data.builders.builder import Builder, build

__all__ = ["DATASETS", "Example", "NOBODY", "SPLITS", "Source", "UNKNOWN_CAMERA", "decode", "load"]
__all__ += ["Builder", "Listing", "Record", "build", "checked", "dataset_builder", "fingerprint"]


class _Datasets(UserDict[str, Any]):
    """Mapping of names to builder classes; a class given as "module:Class" is imported when it is first read.

    So the names are known without TensorFlow Datasets, whose import takes seconds.
    """

    def __getitem__(self, name: str) -> type[Builder]:
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


def __getattr__(name: str) -> Any:
    """`Builder` and `build`, imported when they are first asked for, as TensorFlow Datasets is with them."""
    if name not in ("Builder", "build"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return pkgutil.resolve_name(f"data.builders.builder:{name}")


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
    from data.builders.builder import quiet  # imports TensorFlow Datasets

    with quiet():
        return DATASETS[name](data_dir=os.path.abspath(os.path.expanduser(data_dir)))


def load(dataset: str, split: str, *, data_dir: str | os.PathLike[str]) -> Source:
    """Opens a split of a prepared data set; nothing is decoded yet.

    The synthetic data set is built on the spot (some seconds) if it is not there.

    Args:
      dataset: a key of `DATASETS`.
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
        from data.builders.builder import build

        print(f"{dataset} is drawn into {prepared.data_dir}: it was not there", flush=True)
        listing = prepared.listing(None)
        build(prepared, listing, fingerprint=listing.fingerprint())
        prepared = dataset_builder(dataset, data_dir=data_dir)
    return prepared
