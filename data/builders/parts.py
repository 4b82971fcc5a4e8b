"""Data sets made of folders: which folder is which split, and the pattern of its pictures' names.

Most data sets of the field are folders of pictures whose names begin with the person. A `Part` is one such folder; a
data set is a list of them, or several lists where it circulates in several layouts. The folders lie at any depth, in
upper or lower case. Identity and camera come from a picture's file name alone.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from data.builders.listing import Listing, Record, by_split
from data.source import UNKNOWN_CAMERA
from data.sources import left_out
from data.sources.tree import Tree, stem


class Part(NamedTuple):
    """A folder of a data set."""

    split: str  # what its pictures are for
    folder: str  # its name; upper and lower case are the same
    # Of a picture's whole name without extension, with the group `identity` and perhaps `camera`.
    pattern: re.Pattern[str]
    example: str  # a name that fits, for the message about one that does not
    camera: int = UNKNOWN_CAMERA  # the camera, where the names do not say it
    junk: int | None = None  # identity of pictures that are left out and counted


def listing(tree: Tree, layouts: Sequence[Sequence[Part]], expected: str) -> Listing:
    """The pictures of the first layout whose folders are all there.

    Raises:
      ValueError: no layout fits, a folder is there twice or in another, or pictures have names that say nothing
        or are repeated.
    """
    pictures = tree.pictures
    matches = [[(part, folder(tree, pictures, part.folder)) for part in layout] for layout in layouts]
    nearest = max(matches, key=lambda layout: sum(bool(names) for _, names in layout) / len(layout))
    if missing := [part.folder for part, names in nearest if not names]:
        raise tree.error(expected, f"lacks pictures in {' and '.join(dict.fromkeys(missing))}")
    _check_apart(tree, nearest)
    pairs: list[tuple[str, Record]] = []
    remarks = []
    for part, names in nearest:
        _check_names(tree, part, names)
        records = [record for name in names if (record := _record(tree, part, name)).identity != part.junk]
        pairs += [(part.split, record) for record in records]
        if len(records) < len(names):
            remarks.append(
                f"{len(names) - len(records):,} of {len(names):,} pictures in {part.folder} are junk "
                f"(identity {part.junk}): evaluation ignores them, so they are left out."
            )
    taken = {name for _, names in nearest for name in names}
    return Listing(
        by_split(pairs),
        tree.files(taken),
        remarks=[*remarks, *left_out.remarks(tree, taken, unused=left_out.outside(tree, taken))],
        left_out=left_out.reasons(tree, taken),
    )


def _check_apart(tree: Tree, layout: Sequence[tuple[Part, Sequence[str]]]) -> None:
    """Raises ValueError for a picture in two splits, as where a folder called query lies around everything."""
    part_of: dict[str, str] = {}
    for part, names in layout:
        for name in names:
            if name in part_of:
                raise ValueError(
                    f"--source={tree.place} has {name}, which lies in {part_of[name]} and in {part.folder}: "
                    "give the folder that holds both"
                )
            part_of[name] = part.folder


def folder(tree: Tree, pictures: Sequence[str], wanted: str) -> list[str]:
    """The pictures below the folder of a name, at any depth.

    Raises:
      ValueError: two such folders lie at the same depth.

    Example:
      >>> from pathlib import Path
      >>> tree = Tree(Path("x"), {})
      >>> folder(tree, ["set/Query/1.jpg", "set/gallery/1.jpg", "set/old/query/1.jpg"], "query")
      ['set/Query/1.jpg']
    """
    below: dict[tuple[str, ...], list[str]] = {}
    for name in pictures:
        folders = name.split("/")[:-1]
        at = next((i for i, part in enumerate(folders) if part.casefold() == wanted.casefold()), None)
        if at is not None:
            below.setdefault(tuple(folders[: at + 1]), []).append(name)
    depth = min(map(len, below), default=0)
    roots = [root for root in below if len(root) == depth]
    if len(roots) > 1:
        both = " and ".join("/".join(root) for root in roots[:2])
        raise ValueError(f"--source={tree.place} has the folder {wanted} twice, {both}: name the one that is meant")
    return below[roots[0]] if roots else []


def _check_names(tree: Tree, part: Part, names: Sequence[str]) -> None:
    """Raises ValueError for a name that does not have the part's pattern, or is repeated."""
    odd = [name for name in names if not part.pattern.fullmatch(stem(name))]
    if odd:
        raise ValueError(
            f"--source={tree.place}: {len(odd):,} of {len(names):,} pictures in {part.folder} are not named like "
            f"{part.example}, such as {odd[0]}: the name must say who it is. Take away what is not of the data set"
        )
    first: dict[str, str] = {}
    for name in names:
        if (before := first.setdefault(stem(name), name)) != name:
            raise ValueError(
                f"--source={tree.place} holds the picture {stem(name)} twice, as {before} and {name}: keep one copy"
            )


def _record(tree: Tree, part: Part, name: str) -> Record:
    match = part.pattern.fullmatch(stem(name))
    groups = match.groupdict() if match else {}
    camera = int(groups["camera"]) if groups.get("camera") else part.camera
    return Record(name.rpartition("/")[2], int(groups["identity"]), camera, tree.reader(name))
