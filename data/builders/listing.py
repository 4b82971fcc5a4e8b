"""Listing of a source: the records of each split before anything is stored, its fingerprint, and a check of all.

A data-set module turns its source into a `Listing`. Every picture of a listing is decoded once before the first byte of
a data set is written. The contents of the source's files make the fingerprint, by which a changed source is noticed.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from data.source import NOBODY, SPLITS, decode
from data.sources import levels, wording

SPLIT_OF = {split: split for split in SPLITS} | {"query": "probe"}  # names of splits in sources
_SHOWN = 10  # names of damaged pictures
CAUTION = "Take care: "  # beginning of a remark that says that results may be wrong


@dataclasses.dataclass(frozen=True)
class Record:
    """One picture before it is stored; `read()` returns the bytes of its file."""

    name: str
    identity: int
    camera: int
    read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Listing:
    """Content of a source."""

    # Split name to records, in the order in which they will be stored; empty splits are dropped.
    splits: Mapping[str, Sequence[Record]]
    # Name to path of every file whose content the data set is made of.
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    settings: str = ""  # anything else that determines the data set, such as a seed
    # Label of each numbered identity, for sources whose identities are names.
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    remarks: Sequence[str] = ()  # sentences for the user about how the source was read
    # Name to reason of files that may be pictures and are not taken, see `data.sources.left_out`.
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := set(self.splits) - set(SPLITS):
            raise ValueError(f"splits {sorted(unknown)} are unknown: use {', '.join(SPLITS)}")
        object.__setattr__(self, "splits", {split: records for split, records in self.splits.items() if records})

    def __len__(self) -> int:
        """Number of pictures in all splits."""
        return sum(map(len, self.splits.values()))

    def fingerprint(self, *, progress: bool = False) -> str:
        """SHA-256 over the settings and over the names and contents of the files; moving a source keeps it."""
        digest = hashlib.sha256(self.settings.encode())
        for name, path in tqdm(sorted(self.files.items()), desc="fingerprint", unit="file", disable=not progress):
            digest.update(f"\n{name}\n{path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                for block in iter(functools.partial(file.read, 1 << 20), b""):
                    digest.update(block)
        return digest.hexdigest()


def by_split(records: Iterable[tuple[str, Record]]) -> dict[str, list[Record]]:
    """Records of each split, in their order, from (split, record) pairs."""
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for split, record in records:
        splits[split].append(record)
    return splits


def check_shown(split: str, identity: int, place: str) -> None:
    """Raises ValueError for a training image of nobody, which has nothing to be trained on."""
    if split == "train" and identity == NOBODY:
        raise ValueError(f"{place}: a training image must show somebody, but its identity is {NOBODY}")


def checked(listing: Listing, *, skip_bad: bool = False, progress: bool = False) -> tuple[Listing, list[str]]:
    """Decodes every picture once.

    Returns:
      The listing of the readable pictures, with a remark about those of (nearly) one colour, and a line "name: reason"
      per picture left out.

    Raises:
      ValueError: a picture is damaged and `skip_bad` is off, or none is left.
    """
    good: dict[str, list[Record]] = {split: [] for split in listing.splits}
    bad, flat = [], []
    with tqdm(total=len(listing), desc="check", unit="image", disable=not progress) as bar:
        for split, records in listing.splits.items():
            for record in records:
                try:
                    image = decode(record.read())
                except (ValueError, OSError) as error:
                    bad.append(f"{record.name}: {error}")
                else:
                    good[split].append(record)
                    flat += [f"{split}/{record.name}"] if levels.spanned(image) < levels.FEW else []
                bar.update()
    if bad and not skip_bad:
        raise ValueError(
            f"{len(bad)} of {len(listing)} images cannot be read, nothing was written:\n{wording.lines(bad, _SHOWN)}\n"
            "Replace these files, or pass --skip_bad to leave them out."
        )
    if not any(good.values()):
        raise ValueError("no image to build a data set from" + (f":\n{wording.lines(bad, _SHOWN)}" if bad else ""))
    remarks = [*listing.remarks, *([levels.remark(flat, len(listing) - len(bad))] if flat else [])]
    return dataclasses.replace(listing, splits=good, remarks=remarks), bad
