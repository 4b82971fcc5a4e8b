"""CUHK03 with detected boxes under the 767/700 protocol (Zhong et al., CVPR 2017): 1,467 people, five camera pairs.

The protocol is a MATLAB file that lists every picture `p_iii_c_kk.png` (camera pair, person, camera, picture) with its
label and camera, and 1-based indices of training, query and gallery pictures. The pictures come as the official
`cuhk-03.mat` (HDF5), as a folder tree or zip of `p_iii_c_kk.png`, or as one of `IIII_KK.jpg` (person over all pairs,
picture, both from 0). Whatever they come in, they are found by the protocol's names; the camera is the protocol's
`camId`, the identity its `labels`.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from PIL import Image

from data.builder import Builder
from data.layout import layout_error
from data.listing import Listing, Record

EXPECTED = """\
cuhk03/
  cuhk03_new_protocol_config_detected.mat
  and the pictures, as one of
  cuhk-03.mat                  official release
  images_detected/             folder or .zip
    1_001_1_01.png ...         p_iii_c_kk
  cuhk03_detected.zip          or folder
    0000_00.jpg ...            IIII_KK"""

# People of the camera pairs before pair p, for the names IIII_KK.
_PEOPLE_BEFORE = {1: 0, 2: 843, 3: 1283, 4: 1360, 5: 1418}
_OFFICIAL = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})\.(?:png|jpg)", re.IGNORECASE)
_COMPACT = re.compile(r"\d{4}_\d{2}\.(?:png|jpg)", re.IGNORECASE)
_LARGEST_PICTURE = 16 << 20  # bytes, unpacked: nothing honest comes near, a zip bomb does

# Pictures and people of the real protocol.
_IMAGES = {"train": 7365, "probe": 1400, "gallery": 5332}
_PEOPLE = {"train": 767, "probe": 700, "gallery": 700}

_DAMAGED = (scipy.io.matlab.MatReadError, zlib.error)  # what SciPy raises beside the usual


class Protocol(NamedTuple):
    """The protocol file: names, labels and cameras of all n pictures, 0-based positions per split."""

    names: list[str]
    labels: np.ndarray
    cameras: np.ndarray
    splits: dict[str, np.ndarray]


def protocol(path: Path) -> Protocol:
    """Reads and checks a protocol file.

    Args:
      path: the MATLAB file with `filelist`, `labels`, `camId`, `train_idx`, `query_idx` and `gallery_idx`.

    Raises:
      ValueError: the file is something else or contradicts itself, or it is the real protocol (14,097 pictures) and
        its counts are not 7,365 / 1,400 / 5,332 pictures of 767 / 700 / 700 people.
    """
    try:
        content = scipy.io.loadmat(path)
        names = [str(cell.item()) for cell in content["filelist"].ravel()]
        labels, cameras = (content[key].ravel().astype(np.int64) for key in ("labels", "camId"))
        keys = {"train": "train_idx", "probe": "query_idx", "gallery": "gallery_idx"}
        splits = {split: content[key].ravel().astype(np.int64) - 1 for split, key in keys.items()}
    except (*_DAMAGED, OSError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path} is not the 767/700 protocol of CUHK03 ({error})") from error
    read = Protocol(names, labels, cameras, splits)
    _check(read, path)
    return read


def _check(read: Protocol, path: Path) -> None:
    count = len(read.names)
    if not len(read.labels) == len(read.cameras) == count:
        raise ValueError(f"{path} lists {count} pictures, {len(read.labels)} labels, {len(read.cameras)} cameras")
    for split, positions in read.splits.items():
        if positions.size and not 0 <= positions.min() <= positions.max() < count:
            raise ValueError(f"{path}: indices of {split} must lie in 1..{count}")
    people = {split: set(read.labels[positions].tolist()) for split, positions in read.splits.items()}
    if people["train"] & (people["probe"] | people["gallery"]) or people["probe"] - people["gallery"]:
        raise ValueError(f"{path}: training and test people must differ, and every probe have a mate in the gallery")
    images = {split: len(np.unique(positions)) for split, positions in read.splits.items()}
    found = {split: len(members) for split, members in people.items()}
    if count == sum(_IMAGES.values()) and (images, found) != (_IMAGES, _PEOPLE):
        raise ValueError(f"{path} has {images} images of {found} people; CUHK03 has {_IMAGES} of {_PEOPLE}")


def compact_name(name: str) -> str:
    """The picture `p_iii_c_kk.png` as `IIII_KK`, person and picture counted over all camera pairs from 0.

    Example:
      >>> compact_name("2_001_1_03.png")
      '0843_02'
    """
    match = _OFFICIAL.fullmatch(name)
    if not match:
        raise ValueError(f"picture name {name!r} must have the form p_iii_c_kk.png")
    pair, person, _, picture = map(int, match.groups())
    return f"{_PEOPLE_BEFORE[pair] + person - 1:04d}_{picture - 1:02d}"


class Cuhk03(Builder):
    """CUHK03, detected boxes, 767/700 protocol."""

    VERSION = "1.0.0"
    ABOUT = "CUHK03, detected boxes: 767 people for training, 700 for testing, two cameras each."
    EXPECTED = EXPECTED
    CITATION = "W. Li, R. Zhao, T. Xiao, X. Wang: DeepReID, CVPR 2014; Z. Zhong et al.: Re-ranking, CVPR 2017."

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The protocol's pictures under `source`, a folder in one of the layouts of the module's description."""
        if source is None or not source.is_dir():
            raise layout_error("source", source, EXPECTED)
        configs = sorted(p for p in source.rglob("*.mat") if "config_detected" in p.name.lower())
        if len(configs) != 1:
            raise layout_error("source", source, EXPECTED, f"needs one *config_detected.mat, found {len(configs)}")
        read = protocol(configs[0])
        pictures, files = _pictures(source)
        if not pictures:
            raise layout_error("source", source, EXPECTED, "holds no pictures of CUHK03")
        readers = [pictures.get(Path(n).stem) or pictures.get(compact_name(n)) for n in read.names]
        missing = [name for name, reader in zip(read.names, readers, strict=True) if reader is None]
        if missing:
            raise ValueError(
                f"--source={source} lacks {len(missing)} of the protocol's {len(read.names)} pictures, such as "
                f"{missing[0]} (or {compact_name(missing[0])}.jpg): unpack or copy it again, whole"
            )
        splits = {}
        for split, positions in read.splits.items():
            splits[split] = [
                Record(read.names[i], int(read.labels[i]), int(read.cameras[i]), reader)
                for i in np.unique(positions).tolist()
                if (reader := readers[i]) is not None
            ]
        named = {path.relative_to(source).as_posix(): path for path in [configs[0], *files]}
        return Listing({split: records for split, records in splits.items() if records}, named)


# Name without extension to reader, and the files that are read.
_Pictures = tuple[Mapping[str, Callable[[], bytes]], list[Path]]


def _pictures(source: Path) -> _Pictures:
    """A tree first, then zips, then the official file."""
    return _from_tree(source) or _from_zips(source) or _from_mat(source) or ({}, [])


def _is_picture(name: str) -> bool:
    return bool(_OFFICIAL.fullmatch(name) or _COMPACT.fullmatch(name))


def _unique(found: Mapping[str, Any], name: str, place: object) -> str:
    stem = Path(name).stem
    if stem in found:
        raise ValueError(f"--source holds the picture {stem} twice, the second time in {place}: keep one copy")
    return stem


def _from_tree(source: Path) -> _Pictures | None:
    paths: dict[str, Path] = {}
    for path in sorted(source.rglob("*")):
        # The official tools write hand-drawn boxes under the same names beside the detected ones.
        if "labeled" not in path.parent.name.lower() and _is_picture(path.name):
            paths[_unique(paths, path.name, path)] = path
    return ({stem: path.read_bytes for stem, path in paths.items()}, list(paths.values())) if paths else None


def _from_zips(source: Path) -> _Pictures | None:
    pictures: dict[str, Callable[[], bytes]] = {}
    used = []
    for path in sorted(source.rglob("*.zip")):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{path} is not a zip file that can be read ({error}): copy it again") from error
        members = [m for m in archive.infolist() if _is_picture(m.filename.split("/")[-1])]
        for member in members:
            stem = _unique(pictures, member.filename.split("/")[-1], path)
            pictures[stem] = functools.partial(_read_member, archive, member)
        used += [path] if members else []
    return (pictures, used) if pictures else None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The member's bytes, in memory only: no path in the archive is ever written to."""
    if member.file_size > _LARGEST_PICTURE or member.flag_bits & 1:
        raise ValueError(f"{member.filename} in {archive.filename} is encrypted or larger than any picture")
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise ValueError(f"{member.filename} in {archive.filename} is damaged ({error})") from error


def _from_mat(source: Path) -> _Pictures | None:
    path = next(iter(sorted(source.rglob("cuhk-03.mat"))), None)
    if path is None:
        return None
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path} is an HDF5 file: `pip install h5py` to read it, or give the pictures") from error
    file = h5py.File(path, "r")
    pictures = {}
    for pair, reference in enumerate(file["detected"][0], 1):
        people = file[reference]  # (10 pictures, people): MATLAB's order is the reverse of NumPy's
        for person in range(people.shape[1]):
            for picture, cell in enumerate(people[:, person], 1):
                if file[cell].ndim == 3:  # an absent picture is an empty matrix
                    stem = f"{pair}_{person + 1:03d}_{1 if picture <= 5 else 2}_{picture:02d}"
                    pictures[stem] = functools.partial(_read_cell, file, cell)
    return pictures, [path]


def _read_cell(file: Any, cell: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(file[cell][()].T, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
