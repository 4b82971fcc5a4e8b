"""CUHK03 (Li et al., CVPR 2014): 1,467 people, five camera pairs, boxes of a detector and boxes drawn by hand.

Two kinds of boxes and two protocols make four data sets. The 767/700 protocol (Zhong et al., CVPR 2017) is a MATLAB
file that lists every picture with its label and camera, and the pictures of each split. The first paper's
protocol is twenty test sets of 100 people (`#split=0` to `#split=19`, by default the first): the other
1,367 train, a test person's pictures by camera 1 are probes and those by camera 2 the gallery, drawn single-shot.

The pictures come as the official `cuhk-03.mat` (HDF5), as a folder or archive of `p_iii_c_kk.png` (camera pair, person,
camera, picture; written by torchreid and fast-reid), as one of `IIII_KK.jpg` (person over all pairs, picture, both
from 0), or as `CUHK03-NP` (names of Market-1501's form, which hold the 767/700 protocol). Boxes drawn by hand are those
below a folder or archive with `label` in its name.
"""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np

from data.builders import cuhk03_protocols as protocols
from data.builders import parts
from data.builders.builder import Builder
from data.builders.cropping import encoded
from data.builders.cuhk03_protocols import Picture
from data.builders.listing import Listing, Record, by_split
from data.sources import left_out, options
from data.sources.tree import Tree, opened, stem

_PICTURES = """\
  cuhk-03.mat                  official release
  images_BOXES/                folder or archive
    1_001_1_01.png ...         p_iii_c_kk
  cuhk03_BOXES.zip             or folder
    0000_00.jpg ...            IIII_KK"""
_NEW = f"""\
cuhk03/
  cuhk03_new_protocol_config_BOXES.mat
  and the pictures, as one of
{_PICTURES}
or CUHK03-NP, BOXES/ in it
  bounding_box_train/, bounding_box_test/, query/
    0001_c1_1.png ..."""
_CLASSIC = f"""\
cuhk03/
  cuhk-03.mat or splits_classic_BOXES.json
  and the pictures, as one of
{_PICTURES}"""
EXPECTED = _NEW.replace("BOXES", "detected")

_NP = [
    [
        parts.Part(split, folder, re.compile(r"(?P<identity>\d{4})_c(?P<camera>[12])_\d+"), "0001_c1_1.png")
        for split, folder in [("train", "bounding_box_train"), ("probe", "query"), ("gallery", "bounding_box_test")]
    ]
]

# Errors of h5py for a damaged file, or another kind of file.
_NO_RELEASE = (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError)

# Reader of every picture, and the files on disk with the pictures.
_Pictures = tuple[dict[Picture, Callable[[], bytes]], dict[str, Path]]
_NOT_NAMED = "not named like 1_001_1_01.png or 0000_00.jpg"


class Cuhk03(Builder):
    """CUHK03, detected boxes, 767/700 protocol."""

    VERSION = "1.0.0"
    ABOUT = "CUHK03, detected boxes: 767 people for training, 700 for testing, two cameras each."
    EXPECTED = EXPECTED
    CITATION = "W. Li, R. Zhao, T. Xiao, X. Wang: DeepReID, CVPR 2014; Z. Zhong et al.: Re-ranking, CVPR 2017."
    LICENCE = "For academic research; read the authors' terms on the page. The pictures show real people."
    HOMEPAGE = "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html; the protocol: CUHK03-NP of Z. Zhong"
    PROBES = "whole"
    COUNTS = {"detected, 767/700": protocols.REAL[14_097]}
    boxes: ClassVar[str] = "detected"

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The protocol's pictures under `source`, in one of the layouts of the module's description."""
        whole = opened(source, cls.EXPECTED)
        tree = _of_boxes(whole, cls.boxes)
        configs = [name for name in whole.members if name.endswith(".mat") and f"config_{cls.boxes}" in name.lower()]
        if not configs and all(parts.folder(tree, tree.pictures, part.folder) for part in _NP[0]):
            return parts.listing(tree, _NP, cls.EXPECTED)
        if len(configs) != 1:
            problem = f"needs one *config_{cls.boxes}.mat, found {len(configs)}"
            raise whole.error(cls.EXPECTED, problem)
        read = protocols.protocol(whole.handle(configs[0]), title=f"{whole.place}/{configs[0]}")
        pictures, files = _pictures(whole, tree, cls.boxes, cls.EXPECTED)
        readers = [pictures.get(picture) if (picture := protocols.picture_of(n)) else None for n in read.names]
        missing = [name for name, reader in zip(read.names, readers, strict=True) if reader is None]
        if missing:
            raise ValueError(
                f"--source={source} lacks {len(missing)} of the protocol's {len(read.names)} pictures, such as "
                f"{missing[0]} (or {protocols.compact_name(missing[0])}.jpg): unpack or copy it again, whole"
            )
        splits = {}
        for split, positions in read.splits.items():
            splits[split] = [
                Record(read.names[i], int(read.labels[i]), int(read.cameras[i]), reader)
                for i in np.unique(positions).tolist()
                if (reader := readers[i]) is not None
            ]
        return Listing(splits, whole.files(configs) | files, left_out=_left_out(tree))


class Cuhk03Labelled(Cuhk03):
    """CUHK03, boxes drawn by hand, 767/700 protocol."""

    ABOUT = "CUHK03, boxes drawn by hand: 767 people for training, 700 for testing, two cameras each."
    EXPECTED = _NEW.replace("BOXES", "labeled")
    COUNTS = {"labelled, 767/700": protocols.REAL[14_096]}
    boxes = "labeled"


class Cuhk03Classic(Cuhk03):
    """CUHK03, detected boxes, one of the first paper's twenty test sets of 100 people."""

    ABOUT = "CUHK03, detected boxes: 1,367 people for training, 100 for testing, one of twenty such splits."
    EXPECTED = _CLASSIC.replace("BOXES", "detected")
    CITATION = "W. Li, R. Zhao, T. Xiao, X. Wang: DeepReID, CVPR 2014."
    COUNTS = {}  # pictures per split are not published

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`; the option `split` is the number of the test set, from 0."""
        place, chosen = options.parted(source, {"split": "0"})
        whole = opened(place, cls.EXPECTED)
        tree = _of_boxes(whole, cls.boxes)
        sets, files_of_sets = _test_sets(whole, cls.boxes, cls.EXPECTED)
        split = options.integer(chosen, "split", low=0, high=len(sets) - 1)
        pictures, files = _pictures(whole, tree, cls.boxes, cls.EXPECTED)
        if absent := sets[split] - {picture[:2] for picture in pictures}:
            pair, person = min(absent)
            raise ValueError(
                f"--source={place} has no picture of {len(absent)} people of test set {split}, such as person "
                f"{person} of camera pair {pair} ({pair}_{person:03d}_...): unpack or copy it again, whole"
            )
        pairs = []
        for picture, read in sorted(pictures.items()):
            camera = protocols.camera(picture)
            role = "train" if picture[:2] not in sets[split] else "probe" if camera == 1 else "gallery"
            name = f"{picture[0]}_{picture[1]:03d}_{camera}_{picture[2]:02d}.png"
            pairs.append((role, Record(name, protocols.identity(picture), camera, read)))
        settings = f"cuhk03 classic {cls.boxes} {cls.VERSION} split={split}"
        remark = f"This is test set {split} of {len(sets)}."
        return Listing(
            by_split(pairs), files_of_sets | files, settings=settings, remarks=[remark], left_out=_left_out(tree)
        )


class Cuhk03ClassicLabelled(Cuhk03Classic):
    """CUHK03, boxes drawn by hand, one of the first paper's twenty test sets of 100 people."""

    ABOUT = "CUHK03, boxes drawn by hand: 1,367 people for training, 100 for testing, one of twenty such splits."
    EXPECTED = _CLASSIC.replace("BOXES", "labeled")
    boxes = "labeled"


def _of_boxes(tree: Tree, boxes: str) -> Tree:
    """The tree without the other boxes, which have the same names."""
    by_hand = {name for name in tree.members if "label" in name.rpartition("/")[0].lower()}
    return tree.only(lambda name: (name in by_hand) == (boxes == "labeled"))


def _pictures(whole: Tree, tree: Tree, boxes: str, expected: str) -> _Pictures:
    """The pictures from picture files, or else from the official file."""
    names: dict[Picture, str] = {}
    for name in tree.pictures:
        if picture := protocols.picture_of(name):
            if picture in names:
                raise ValueError(
                    f"--source holds the picture {stem(name)} twice, in {names[picture]} and {name}: keep one copy"
                )
            names[picture] = name
    if names:
        return {picture: tree.reader(name) for picture, name in names.items()}, tree.files(names.values())
    if (official := _official(whole)) is None:
        raise whole.error(expected, "holds no pictures of CUHK03")
    try:
        return dict(_cells(_mat(whole, official), boxes)), whole.files([official])
    except _NO_RELEASE as error:
        raise ValueError(f"{official} in {whole.place} is no release of CUHK03 ({error}): copy it again") from error


def _left_out(tree: Tree) -> dict[str, str]:
    """Files that may be pictures and are not CUHK03's."""
    odd = {name: _NOT_NAMED for name in tree.pictures if not protocols.picture_of(name)}
    return left_out.reasons(tree, ()) | odd


def _official(tree: Tree) -> str | None:
    return next((name for name in tree.members if name.rpartition("/")[2].lower() == "cuhk-03.mat"), None)


def _mat(tree: Tree, name: str) -> h5py.File:
    return h5py.File(tree.handle(name), "r")


def _cells(file: h5py.File, boxes: str) -> Iterator[tuple[Picture, Callable[[], bytes]]]:
    for pair, reference in enumerate(file[boxes][0], 1):
        people = file[reference]  # (10 pictures, people): MATLAB's order is the reverse of NumPy's
        for person in range(people.shape[1]):
            for picture, cell in enumerate(people[:, person], 1):
                if file[cell].ndim == 3:  # an absent picture is an empty matrix
                    yield (pair, person + 1, picture), functools.partial(_read_cell, file, cell)


def _read_cell(file: Any, cell: Any) -> bytes:
    return encoded(np.asarray(file[cell][()].T, dtype=np.uint8))


def _test_sets(tree: Tree, boxes: str, expected: str) -> tuple[list[set[tuple[int, int]]], dict[str, Path]]:
    """The test sets, and the file on disk that holds them."""
    wanted = f"splits_classic_{boxes}.json"
    name = next((name for name in tree.members if name.rpartition("/")[2].lower() == wanted), None)
    if name is not None:
        sets = protocols.test_sets_of_json(tree.read(name), title=f"{tree.place}/{name}")
        return sets, tree.files([name])
    if (official := _official(tree)) is None:
        raise tree.error(expected, f"has neither cuhk-03.mat nor {wanted}, which say who is tested on")
    try:
        with _mat(tree, official) as file:
            return protocols.test_sets_of_mat(file), tree.files([official])
    except _NO_RELEASE as error:
        raise ValueError(f"{official} in {tree.place} has no test sets ({error}): copy it again") from error
