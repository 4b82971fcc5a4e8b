"""Data set of one's own pictures in folders: `train`, `probe` and `gallery`, in each a folder per person.

    people/probe/ann/a.jpg
    people/gallery/ann/c2_0001.jpg

The folder's name is the identity (how it becomes a number: `labels`). The camera comes from a `c` or `cam` and a number
in the picture's name, set off by `_`, `-`, `.` or blanks (`c2_0001`, `0001_c2s1_000451`, `ann-cam3`), if there is
exactly one such number; otherwise it is unknown, which equals no other. `query` is another word for `probe`.
"""

import collections
from pathlib import Path

from data.builders import labels
from data.builders.builder import Builder
from data.builders.listing import SPLIT_OF, Listing, Record, by_split, check_shown
from data.sources import left_out
from data.sources.tree import Tree, opened

EXPECTED = """\
people/                 folder or archive, of any name
  train/                may be absent
    ann/                a folder per person
      a.jpg ...         a camera only as in c2_a.jpg
  probe/ (or query/)
    bob/ ...
  gallery/
    bob/ ..."""


class IdentityFolders(Builder):
    """A user's own pictures, a folder per person."""

    VERSION = "1.1.0"
    ABOUT = "Pictures in folders: train, probe and gallery, in each a folder per person."
    EXPECTED = EXPECTED

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive; one folder around everything does not matter."""
        tree = opened(source, EXPECTED)
        depth = _depth(tree)
        placed, beside = [], {}
        for name in tree.pictures:
            parts = name.split("/")
            split = SPLIT_OF.get(parts[depth].lower()) if len(parts) > depth + 1 else None
            if split is None:
                beside[name] = "in none of the folders train, probe (or query) and gallery"
                continue
            if len(parts) < depth + 3:
                raise tree.error(EXPECTED, f"has {name}, which is in no person's folder")
            if parts[depth + 1].lower() in SPLIT_OF:
                raise tree.error(EXPECTED, f"has {'/'.join(parts[: depth + 2])}: give the folder that holds the splits")
            placed.append((split, parts[depth + 1], "/".join(parts[depth + 1 :]), name))
        if not placed:
            raise tree.error(EXPECTED, "has no pictures in train, probe or gallery")
        people = labels.identities([person for _, person, _, _ in placed], [name for *_, name in placed])
        pairs = []
        for (split, _, short, name), identity in zip(placed, people.numbers, strict=True):
            check_shown(split, identity, f"--source={source} has {name}")
            pairs.append((split, Record(short, identity, labels.camera_of(name), tree.reader(name))))
        splits = by_split(pairs)
        _check_unique(tree, splits)
        taken = {name for *_, name in placed}
        return Listing(
            splits,
            tree.files(taken),
            labels=people.names,
            remarks=people.remarks + left_out.remarks(tree, taken),
            left_out=left_out.reasons(tree, taken) | beside,
        )


def _depth(tree: Tree) -> int:
    """Number of folders around the folders of the splits."""
    folders = (name.lower().split("/")[:-1] for name in tree.pictures)
    depths = [next((i for i, part in enumerate(parts) if part in SPLIT_OF), None) for parts in folders]
    return min((depth for depth in depths if depth is not None), default=0)


def _check_unique(tree: Tree, splits: dict[str, list[Record]]) -> None:
    for split, records in splits.items():
        counts = collections.Counter(record.name for record in records)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"--source={tree.place} has {twice[0]} twice in {split}, as in query and probe: keep one")
