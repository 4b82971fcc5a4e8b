"""Tree of a source: its files by name, in a folder, an archive, or archives in a folder.

Names are paths below the source, with `/`, sorted; the place of the source itself never matters. Files that operating
systems leave behind (`._a.jpg`, `__MACOSX`, `Thumbs.db`, dot files) are absent. A folder without a picture outside its
archives is read through them: `Market-1501.zip` in it is a folder of that name.

A picture is a file with the extension of a form that `decoding` reads, in upper or lower case; or without an extension,
or with a number for one, if its bytes begin like such a form. Other files that may be pictures: see `left_out`.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from data.sources import signatures
from data.sources.archive import check_form, is_archive, is_packed, members
from data.sources.layout import drawing, layout_error
from data.sources.members import Limits, Member, is_unreadable
from data.sources.tarred import Unnamed

# Extensions of `decoding.FORMATS`.
PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
_LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "icon\r"}
_BLOCK = 1 << 20
_LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Tree:
    """The files of a source: `names` in order, `read(name)` a file's bytes."""

    place: Path  # the path of the source
    members: Mapping[str, Member]  # every file by its name, sorted
    limits: Limits = _LIMITS  # largest content that is read
    # Form of the members that begin like a picture and are not named like one.
    forms: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Name to reason of entries that cannot be read, such as a link to nothing.
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hidden: Sequence[str] = ()  # pictures with a name, or in a folder, that begins with a dot

    @property
    def pictures(self) -> list[str]:
        """The names of the pictures, by extension, or by their bytes where they have none."""
        return [name for name in self.members if is_picture(name) or self._is_nameless_picture(name)]

    def _is_nameless_picture(self, name: str) -> bool:
        return not extension(name) and self.forms.get(name, signatures.UNREAD[0]) not in signatures.UNREAD

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
          ValueError: it is damaged, or larger than any picture.
          OSError: it is gone.
        """
        return b"".join(self._blocks(name, self.limits.picture))

    def reader(self, name: str) -> Callable[[], bytes]:
        """`read` of that name, for a `Record`."""
        return functools.partial(self.read, name)

    def handle(self, name: str) -> Path | IO[bytes]:
        """A file of any size for a library that seeks in it: its path, or a copy of an archive's member."""
        member = self.members[name]
        if not is_archive(member.file):
            return member.file
        copy = Unnamed()
        for block in self._blocks(name, self.limits.total):
            copy.write(block)
        copy.seek(0)
        return copy

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        member = self.members[name]
        size = 0
        for block in member.blocks() if member.size <= most else ():
            size += len(block)
            if size > most:
                break
            yield block
        if max(size, member.size) > most:
            raise ValueError(f"{name} in {self.place} is larger than {most:,} bytes: not read")

    def files(self, names: Iterable[str]) -> dict[str, Path]:
        """The files on disk that hold the names, for `Listing.files`."""
        paths = sorted({self.members[name].file for name in names})
        return {path.relative_to(self.place).as_posix() if path != self.place else "": path for path in paths}

    def drawn(self) -> str:
        """A drawing of its first two levels, also inside archives."""
        plain = all(not is_archive(member.file) for member in self.members.values())
        return drawing(self.place, names=None if plain and self.place.is_dir() else list(self.members))

    def error(self, expected: str, problem: str) -> ValueError:
        """The error that shows the expected tree beside this one."""
        if packed := next((name for name in self.members if is_packed(name)), None):
            alone = is_archive(Path(packed)) and self.members[packed].file == self.place / packed  # not in an archive
            problem += f"; {packed} in it is not read: unpack it{', or give it alone' if alone else ''}"
        return layout_error(self.place, expected, problem, drawn=self.drawn())

    def only(self, keep: Callable[[str], bool]) -> "Tree":
        """The part of the tree with the names for which `keep(name)` is true."""
        return dataclasses.replace(self, members={name: m for name, m in self.members.items() if keep(name)})


def opened(source: Path | None, expected: str, *, limits: Limits = _LIMITS) -> Tree:
    """The tree of a source.

    Raises:
      ValueError: it does not exist, is neither, or an archive is damaged or not to be trusted.
    """
    if source is None or not source.exists():
        raise layout_error(source, expected)
    unreadable: dict[str, str] = {}
    if source.is_dir():
        everything = dict(_walk(source, unreadable))
        if not any(is_picture(name) and not _is_left_behind(name) for name in everything):
            everything = _mounted(everything, limits)
    else:
        check_form(source)
        if not is_archive(source):
            raise layout_error(source, expected)
        everything = members(source, limits=limits)
    files = {name: everything[name] for name in sorted(everything) if not _is_left_behind(name)}
    for name in [*files, *unreadable]:
        if is_unreadable(name):
            raise ValueError(f"--source={source} holds a file with an unreadable name, {ascii(name)}: rename it")
    forms = _forms(files, unreadable)
    unreadable = {name: unreadable[name] for name in sorted(unreadable) if not _is_left_behind(name)}
    hidden = [name for name in sorted(everything) if _is_hidden(name)]
    return Tree(source, files, limits, forms, unreadable, hidden)


def gathered(folder: Path, names: Iterable[str]) -> Tree:
    """Tree of the files of these names below a folder that exist; for a list beside its pictures."""
    return Tree(folder, {name: _member(folder / name) for name in sorted(set(names)) if (folder / name).is_file()})


def is_picture(name: str) -> bool:
    """Whether the name has a picture's extension.

    Example:
      >>> [is_picture(name) for name in ("a/B.JPG", "c.webp", "d.mat")]
      [True, True, False]
    """
    return name.lower().endswith(PICTURES)


def extension(name: str) -> str:
    """Extension of a file's name, with the dot and in small letters; empty for none, or for a number.

    Example:
      >>> extension("a.b/c.HEIC"), extension("a.b/c"), extension("frame.000123")
      ('.heic', '', '')
    """
    last = name.rpartition("/")[2].lower()
    dotted = PurePosixPath(last).suffix
    return "" if dotted[1:].isdigit() else dotted


def stem(name: str) -> str:
    """A picture's file name without its extension, repeated or not, and without its folders.

    Example:
      >>> stem("query/0001_c1s1_001051_00.jpg.JPG")
      '0001_c1s1_001051_00'
    """
    last = name.rpartition("/")[2]
    while is_picture(last):
        last = last.rpartition(".")[0]
    return last


def _is_left_behind(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _LEFT_BEHIND for part in name.split("/"))


def _is_hidden(name: str) -> bool:
    """Whether it is a picture that a user hid; `._a.jpg` is a file that a Mac puts beside a.jpg."""
    parts = name.split("/")
    by_system = any(part.lower() in _LEFT_BEHIND for part in parts) or parts[-1].startswith("._")
    picture = is_picture(name.removesuffix(".icloud"))  # not loaded yet
    return picture and not by_system and any(part.startswith(".") for part in parts)


def _forms(members: Mapping[str, Member], unreadable: dict[str, str]) -> dict[str, str]:
    """The forms of pictures that are not named like one; files that cannot be read are added to `unreadable`."""
    forms = {}
    for name, member in members.items():
        if not is_picture(name) and not is_packed(name):
            try:
                form = signatures.form_of(next(member.blocks(), b"")[: signatures.HEAD])
            except (ValueError, OSError) as error:
                unreadable[name] = getattr(error, "strerror", None) or str(error)
                continue
            if form:
                forms[name] = form
    return forms


def _walk(folder: Path, unreadable: dict[str, str]) -> Iterator[tuple[str, Member]]:
    """The files below a folder. Links are followed, since a user made them, but not in a circle.

    Entries that are neither files nor folders are added to `unreadable`.
    """
    above: dict[str, frozenset[tuple[int, int]]] = {}  # of each folder, the folders around it
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        here = os.stat(place)
        outer = above.get(os.path.dirname(place), frozenset())
        if (here.st_dev, here.st_ino) in outer:
            folders.clear()
            continue
        above[place] = outer | {(here.st_dev, here.st_ino)}
        for name in names:
            path = Path(place, name)
            if path.is_file():
                yield path.relative_to(folder).as_posix(), _member(path)
            else:
                reason = "a link to nothing" if path.is_symlink() else "a pipe, a socket or a device"
                unreadable[path.relative_to(folder).as_posix()] = reason


def _raise(error: OSError) -> None:
    raise error


def _member(path: Path) -> Member:
    """A file on disk."""
    return Member(0, functools.partial(_file_blocks, path), path)


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _mounted(files: Mapping[str, Member], limits: Limits) -> dict[str, Member]:
    """The files of a folder, each archive replaced by its members, below the archive's name."""
    mounted: dict[str, Member] = {}
    for name, member in files.items():
        if is_archive(member.file) and not _is_left_behind(name):
            mounted |= {f"{name}/{inner}": m for inner, m in members(member.file, limits=limits).items()}
        else:
            mounted[name] = member
    return mounted
