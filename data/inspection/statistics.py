"""Statistics of a split: identities, images, cameras, images per identity, heights and widths.

The same table is printed when a data set is prepared, checked and browsed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.source import NOBODY, UNKNOWN_CAMERA, Source

COLUMNS = ("identities", "images", "cameras", "images each", "height", "width")
NOTE = "images each, height, width: smallest / median / largest"


class Spread(NamedTuple):
    """Smallest, median and largest of some numbers; zeros of none."""

    low: int
    median: int
    high: int

    def __str__(self) -> str:
        """All three, or the one that they are."""
        return f"{self.low:,}" if self.low == self.high else " / ".join(f"{number:,}" for number in self)


class Statistics(NamedTuple):
    """Counts of a split, and the spread of images per identity and of sizes in pixels."""

    split: str
    identities: int
    images: int
    cameras: int
    each: Spread
    height: Spread
    width: Spread

    def cells(self) -> list[str]:
        """The texts of the `COLUMNS`."""
        counts = [f"{self.identities:,}", f"{self.images:,}", str(self.cameras or "unknown")]
        return [*counts, str(self.each), str(self.height), str(self.width)]


def spread(numbers: NDArray[np.integer]) -> Spread:
    """Smallest, median (of two, the smaller) and largest.

    Example:
      >>> print(spread(np.array([3, 1, 2, 9])))
      1 / 2 / 9
    """
    ordered = np.sort(numbers)
    return Spread(*(int(ordered[i]) for i in (0, (len(ordered) - 1) // 2, -1))) if len(ordered) else Spread(0, 0, 0)


def statistics(
    split: str, identities: NDArray[np.integer], cameras: NDArray[np.integer], sizes: NDArray[np.integer]
) -> Statistics:
    """The statistics of a split."""
    each = np.unique(identities[identities != NOBODY], return_counts=True)[1]
    return Statistics(
        split=split,
        identities=len(each),
        images=len(identities),
        cameras=len(np.unique(cameras[cameras != UNKNOWN_CAMERA])),
        each=spread(each),
        height=spread(sizes[:, 0]),
        width=spread(sizes[:, 1]),
    )


def sizes(source: Source, *, progress: bool = False) -> NDArray[np.int64]:
    """(n, 2) heights and widths of the images, from the heads of their files."""
    bar = tqdm(range(len(source)), desc=f"sizes of {source.title}", unit="image", disable=not progress, delay=2)
    return np.array([source.size(i) for i in bar], np.int64).reshape(-1, 2)


def of_source(source: Source, *, progress: bool = False) -> Statistics:
    """The statistics of a split of a prepared data set."""
    split = source.title.split("/")[-1]
    return statistics(split, source.identities, source.cameras, sizes(source, progress=progress))


def table(rows: Sequence[Statistics]) -> str:
    """The statistics of some splits, aligned.

    Example:
      >>> one = np.array([[128, 64]])
      >>> print(table([statistics("probe", np.array([3]), np.array([-1]), one)]))
      split    identities  images  cameras  images each  height  width
      probe             1       1  unknown            1     128     64
    """
    text = aligned([["split", *COLUMNS], *([row.split, *row.cells()] for row in rows)])
    return f"{text}\n({NOTE})" if " / " in text else text


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns under each other, the first to the left and at least 7 wide, the others to the right.

    Example:
      >>> print(aligned([["split", "images"], ["gallery", "1,000"]]))
      split    images
      gallery   1,000
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    widths[0] = max(7, widths[0])
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )
