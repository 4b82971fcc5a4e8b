"""The members of a .zip, .tar or .tar.gz, read where they lie: nothing is ever unpacked to a path.

An archive from the internet is hostile until its index has been read. Refused by name, before a byte is unpacked:
paths that leave the archive (absolute, `..`, drives, backslashes), links, devices, encrypted or repeated members, more
members or more unpacked bytes than `Limits` allow. Sizes that lie are found while reading, and memory stays bounded.

A zip and a .tar are read at random. A .tar.gz cannot be, so that it is unpacked once, in one pass, to a file without
a name in the temporary folder (`TMPDIR`), which vanishes with the program; from then on it is a .tar.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from data import tarred
from data.members import BLOCK, DAMAGED, Index, Limits, Member

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_FOREIGN = (".rar", ".7z", ".tar.bz2", ".tar.xz", ".gz", ".xz", ".bz2")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive which is read.

    Example:
      >>> is_archive(Path("Market-1501.ZIP")), is_archive(Path("a.jpg"))
      (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def check_form(path: Path) -> None:
    """Refuses archives of other forms.

    Example:
      >>> check_form(Path("Partial-REID_Dataset.rar"))
      Traceback (most recent call last):
      ...
      ValueError: Partial-REID_Dataset.rar: .zip, .tar and .tar.gz are read; unpack it and give the folder
    """
    if path.name.lower().endswith(_FOREIGN) and not is_archive(path):
        raise ValueError(f"{path}: .zip, .tar and .tar.gz are read; unpack it and give the folder")


def members(path: Path, *, limits: Limits) -> dict[str, Member]:
    """The files in an archive by their names, in the archive's order.

    Args:
      path: the archive.
      limits: what it may hold.

    Raises:
      ValueError: it is damaged, or not to be trusted; the message names the member.
    """
    return _zip(path, limits) if path.name.lower().endswith(".zip") else tarred.members(path, limits=limits)


def _zip(path: Path, limits: Limits) -> dict[str, Member]:
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise ValueError(f"{path} is not a zip file that can be read ({error}): copy it again") from error
    index = Index(path, limits)
    for member in archive.infolist():
        form = stat.S_IFMT(member.external_attr >> 16)
        kind = "folder" if member.is_dir() else {0: "file", stat.S_IFREG: "file"}.get(form, "a link or a device")
        if member.flag_bits & 1:
            kind = "encrypted"
        # The name as it was stored: ZipFile cuts it at a zero byte.
        index.add(member.orig_filename, member.file_size, kind=kind, blocks=_zipped(archive, member))
    return index.found


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            with archive.open(member) as file:
                while block := file.read(BLOCK):  # never more than was announced, and then the checksum fails
                    yield block
        except DAMAGED as error:
            raise ValueError(f"{member.filename} in {archive.filename} is damaged ({error})") from error

    return blocks
