"""Archive reader: the members of a .zip, .tar or .tar.gz, read in place and never unpacked to paths.

An archive from the internet is hostile until its index has been read. Refused by name, before a byte is unpacked:
paths that leave the archive (absolute, `..`, drives, backslashes), links, devices, encrypted or repeated members, more
members or more unpacked bytes than `Limits` allow. Wrong sizes are detected while reading, and memory stays bounded.
Only in a zip that was made on Windows a backslash is a `/`.

A zip and a .tar are read at random. A .tar.gz cannot be, so that it is unpacked once, in one pass, to an unnamed file
in the temporary folder (`TMPDIR`), which vanishes with the program; from then on it is a .tar.
"""

import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from data.sources import tarred
from data.sources.members import BLOCK, DAMAGED, Index, Limits, Member

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_WINDOWS = 0  # as the system that made a member of a zip
_FOREIGN = (".rar", ".7z", ".tar.bz2", ".tar.xz", ".gz", ".xz", ".bz2")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive of a form that is read.

    Example:
      >>> is_archive(Path("Market-1501.ZIP")), is_archive(Path("a.jpg"))
      (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def is_packed(name: str) -> bool:
    """Whether the name is that of an archive of any form.

    Example:
      >>> is_packed("Partial-REID_Dataset.RAR"), is_packed("a.zip"), is_packed("a.jpg")
      (True, True, False)
    """
    return name.lower().endswith(SUFFIXES + _FOREIGN)


def check_form(path: Path) -> None:
    """Refuses archives of other forms.

    Example:
      >>> check_form(Path("Partial-REID_Dataset.rar"))
      Traceback (most recent call last):
      ...
      ValueError: Partial-REID_Dataset.rar: .zip, .tar and .tar.gz are read; unpack it and give the folder
    """
    if is_packed(path.name) and not is_archive(path):
        raise ValueError(f"{path}: .zip, .tar and .tar.gz are read; unpack it and give the folder")


def members(path: Path, *, limits: Limits) -> dict[str, Member]:
    """The files in an archive by their names, in the archive's order.

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
        # The name as it was stored: ZipFile cuts it at a zero byte.
        name = member.orig_filename
        if member.create_system == _WINDOWS and "/" not in name:
            name = name.replace("\\", "/")
        form = stat.S_IFMT(member.external_attr >> 16)
        kind = "folder" if name.endswith("/") else {0: "file", stat.S_IFREG: "file"}.get(form, "a link or a device")
        if member.flag_bits & 1:
            kind = "encrypted"
        index.add(name, member.file_size, kind=kind, blocks=_zipped(archive, member))
    return index.members


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            with archive.open(member) as file:
                while block := file.read(BLOCK):  # never more than was announced, and then the checksum fails
                    yield block
        except DAMAGED as error:
            raise ValueError(f"{member.filename} in {archive.filename} is damaged ({error})") from error

    return blocks
