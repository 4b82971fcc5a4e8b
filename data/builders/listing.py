"""What a source holds before anything is stored: who is in which picture of which split, and whether it is readable.

A data-set module turns its source into a `Listing`. Every picture of a listing is decoded once before the first byte of
a data set is written, and the contents of the source's files make a fingerprint by which a changed source is noticed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from data.source import SPLITS, decode
from data.sources import levels

# What the splits are called in other people's folders and files.
SPLIT_OF = {split: split for split in SPLITS} | {"query": "probe"}
CAUTION = "Take care: "  # what a remark begins with that says that results may be wrong


@dataclasses.dataclass(frozen=True)
class Record:
    """One picture before it is stored: `read()` gives the bytes of its file, whatever it lies in."""

    name: str
    identity: int
    camera: int
    read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds: records per split, and what makes its fingerprint.

    Args:
      splits: split name to records, in the order in which they will be stored. Empty splits are left out.
      files: name to path of every file whose contents the data set is made of.
      settings: anything else that determines it, for data that come from no file.
      labels: for sources whose identities are not integers, the label that each number stands for.
      remarks: what a user should know of how the source was read, a sentence each.
      left_out: name to reason of files that may be pictures and are not taken, see `data.sources.left_out`.
    """

    splits: Mapping[str, Sequence[Record]]
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    settings: str = ""
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    remarks: Sequence[str] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

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


def checked(listing: Listing, *, skip_bad: bool = False, progress: bool = False) -> tuple[Listing, list[str]]:
    """Decodes every picture once.

    Args:
      listing: what is to be built.
      skip_bad: leave damaged pictures out instead of raising.
      progress: show a progress bar.

    Returns:
      The listing of the good pictures, with a remark about those of (nearly) one colour, and one line "name: reason"
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
            f"{len(bad)} of {len(listing)} images cannot be read, nothing was written:\n{_first(bad)}\n"
            "Replace these files, or pass --skip_bad to leave them out."
        )
    kept = {split: records for split, records in good.items() if records}
    if not kept:
        raise ValueError("no image to build a data set from" + (f":\n{_first(bad)}" if bad else ""))
    remarks = [*listing.remarks, *([levels.remark(flat, len(listing) - len(bad))] if flat else [])]
    return dataclasses.replace(listing, splits=kept, remarks=remarks), bad


def _first(lines: Sequence[str], *, count: int = 10) -> str:
    more = [f"... and {len(lines) - count} more"] if len(lines) > count else []
    return "\n".join(f"  {line}" for line in [*lines[:count], *more])
