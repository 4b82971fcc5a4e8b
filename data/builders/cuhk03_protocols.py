"""Protocols of CUHK03: the 767/700 protocol and the twenty test sets of the first paper.

A picture is `(pair, person, picture)`: the camera pair (1 to 5), the person in it and the picture (1 to 10, from 6 on
by the second camera), all from 1. Files are named after it as `p_iii_c_kk`, or as `IIII_KK` with person and picture
over all pairs from 0.
"""

import json
import re
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from data.sources.tree import stem

Picture = tuple[int, int, int]

# People of each camera pair, and of the pairs before it, for the names IIII_KK.
PEOPLE = {1: 843, 2: 440, 3: 77, 4: 58, 5: 49}
_PEOPLE_BEFORE = {1: 0, 2: 843, 3: 1283, 4: 1360, 5: 1418}
_OFFICIAL = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})")
_COMPACT = re.compile(r"(\d{4})_(\d{2})")

# Pictures and people of the real protocol, by its number of pictures: detected and labelled boxes.
REAL = {
    14_097: {"train": (7_365, 767), "probe": (1_400, 700), "gallery": (5_332, 700)},
    14_096: {"train": (7_368, 767), "probe": (1_400, 700), "gallery": (5_328, 700)},
}

_DAMAGED = (scipy.io.matlab.MatReadError, zlib.error)  # of SciPy, beside the usual errors


class Protocol(NamedTuple):
    """The protocol file: names, labels and cameras of all n pictures, 0-based positions per split."""

    names: list[str]
    labels: np.ndarray
    cameras: np.ndarray
    splits: dict[str, np.ndarray]


def protocol(file: Path | IO[bytes], *, title: str = "") -> Protocol:
    """Reads and checks a file of the 767/700 protocol.

    Args:
      file: the MATLAB file with `filelist`, `labels`, `camId`, `train_idx`, `query_idx` and `gallery_idx`.
      title: name of the file in messages.

    Raises:
      ValueError: the file is something else or contradicts itself, or it is one of the real ones (14,097 pictures for
        detected boxes, 14,096 for labelled ones) and its counts are not those of `REAL`.
    """
    title = title or str(file)
    try:
        content = scipy.io.loadmat(file)
        names = [str(cell.item()) for cell in content["filelist"].ravel()]
        labels, cameras = (content[key].ravel().astype(np.int64) for key in ("labels", "camId"))
        keys = {"train": "train_idx", "probe": "query_idx", "gallery": "gallery_idx"}
        splits = {split: content[key].ravel().astype(np.int64) - 1 for split, key in keys.items()}
    except (*_DAMAGED, OSError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{title} is not the 767/700 protocol of CUHK03 ({error})") from error
    read = Protocol(names, labels, cameras, splits)
    _check(read, title)
    return read


def _check(read: Protocol, title: str) -> None:
    count = len(read.names)
    if not len(read.labels) == len(read.cameras) == count:
        raise ValueError(f"{title} lists {count} pictures, {len(read.labels)} labels, {len(read.cameras)} cameras")
    for split, positions in read.splits.items():
        if positions.size and not 0 <= positions.min() <= positions.max() < count:
            raise ValueError(f"{title}: indices of {split} must lie in 1..{count}")
    people = {split: set(read.labels[positions].tolist()) for split, positions in read.splits.items()}
    if people["train"] & (people["probe"] | people["gallery"]) or people["probe"] - people["gallery"]:
        raise ValueError(f"{title}: training and test people must differ, and every probe have a mate in the gallery")
    counts = {split: (len(np.unique(positions)), len(people[split])) for split, positions in read.splits.items()}
    if counts != REAL.get(count, counts):
        raise ValueError(f"{title} has {counts} (images, people) per split; CUHK03 has {REAL[count]}")


def picture_of(name: str) -> Picture | None:
    """The picture that a file's name stands for; None if it has neither form.

    Example:
      >>> picture_of("images/2_001_1_03.png"), picture_of("0843_02.jpg"), picture_of("readme.png")
      ((2, 1, 3), (2, 1, 3), None)
    """
    if match := _OFFICIAL.fullmatch(stem(name)):
        pair, person, _, picture = map(int, match.groups())
        return pair, person, picture
    if match := _COMPACT.fullmatch(stem(name)):
        person, picture = map(int, match.groups())
        pair = max(pair for pair, before in _PEOPLE_BEFORE.items() if person >= before)
        return pair, person - _PEOPLE_BEFORE[pair] + 1, picture + 1
    return None


def compact_name(name: str) -> str:
    """The picture `p_iii_c_kk.png` as `IIII_KK`, person and picture counted over all camera pairs from 0.

    Example:
      >>> compact_name("2_001_1_03.png")
      '0843_02'
    """
    if not _OFFICIAL.fullmatch(stem(name)) or (of := picture_of(name)) is None:
        raise ValueError(f"picture name {name!r} must have the form p_iii_c_kk.png")
    return f"{identity(of):04d}_{of[2] - 1:02d}"


def identity(picture: Picture) -> int:
    """The number of a person over all camera pairs, from 0.

    Example:
      >>> identity((2, 1, 3))
      843
    """
    return _PEOPLE_BEFORE[picture[0]] + picture[1] - 1


def camera(picture: Picture) -> int:
    """The camera of the pair, 1 or 2.

    Example:
      >>> camera((2, 1, 5)), camera((2, 1, 6))
      (1, 2)
    """
    return 1 if picture[2] <= 5 else 2


def test_sets_of_mat(file: h5py.File) -> list[set[tuple[int, int]]]:
    """The test sets of `cuhk-03.mat`, each a set of (pair, person)."""
    sets = []
    for reference in file["testsets"][0]:
        pairs, people = np.asarray(file[reference], dtype=np.int64)  # (2, people): MATLAB's order is the reverse
        sets.append(set(zip(pairs.tolist(), people.tolist(), strict=True)))
    return sets


def test_sets_of_json(content: bytes, *, title: str) -> list[set[tuple[int, int]]]:
    """The test sets of torchreid's `splits_classic_detected.json`, by the names of their query pictures.

    Raises:
      ValueError: the file is something else.
    """
    try:
        splits: Any = json.loads(content)
        queries = [[str(entry[0]).replace("\\", "/") for entry in split["query"]] for split in splits]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{title} is no list of splits with their query pictures ({error})") from error
    sets = []
    for names in queries:
        pictures = [picture_of(name) for name in names]
        if not names or None in pictures:
            raise ValueError(f"{title}: query pictures must be named p_iii_c_kk.png, unlike {names[:1]}")
        sets.append({picture[:2] for picture in pictures if picture})
    return sets
