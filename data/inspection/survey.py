"""Survey of a source: size, digests and difference hash of every picture, decoded once.

Pictures are decoded one after another; a few numbers of each stay. Bytes and pixels are compared by the first 128 bits
of their SHA-256, looks by a difference hash: the picture, grey, averaged down
to 16 rows of 9, and a bit for every two neighbours of a row that says whether it gets brighter. A copy that was
compressed, made brighter or scaled anew keeps almost all of its 128 bits, while two people who stand alike in the same
clothes do not. Each of the 9 x 16 is the mean over its exact area, parts of pixels included: Pillow's filters round to
whole pixels somewhere, and of copies of half the size they would miss one in eight.
"""

import dataclasses
import functools
import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from data.builders.listing import Listing
from data.sources import levels
from data.sources.decoding import decode

ROWS, COLUMNS = 16, 8  # of the difference hash, in the shape of a person


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Survey of n pictures."""

    names: list[str]  # n names, as "split/name"
    splits: NDArray[np.str_]  # (n,) name of the split
    identities: NDArray[np.int64]  # (n,), -1 for nobody
    cameras: NDArray[np.int64]  # (n,), -1 for unknown
    sizes: NDArray[np.int64]  # (n, 2) heights and widths, zero where a picture cannot be read
    contents: NDArray[np.uint64]  # (n, 2) uint64 of the bytes of the file, zero where there are none
    pixels: NDArray[np.uint64]  # (n, 2) uint64 of the decoded picture, zero where it cannot be read
    looks: NDArray[np.uint64]  # (n, 2) uint64, the difference hash, zero where a picture cannot be read
    levels: NDArray[np.int64]  # (n,) number of brightness levels, see `levels`; zero where a picture cannot be read
    refused: dict[int, str]  # position to reason, of pictures that cannot be read

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(n,) which pictures can be read."""
        return self.sizes[:, 0] > 0


def inspect(listing: Listing, *, progress: bool = False) -> Inspection:
    """Reads every picture of a listing once."""
    everything = [(split, record) for split, records in listing.splits.items() for record in records]
    sizes = np.zeros((len(everything), 2), np.int64)
    contents, pixels, looks = (np.zeros((len(everything), 2), np.uint64) for _ in range(3))
    spanned = np.zeros(len(everything), np.int64)
    refused = {}
    for i, (_, record) in enumerate(tqdm(everything, desc="look", unit="image", disable=not progress, delay=2)):
        try:
            encoded = record.read()
            image = decode(encoded)
        except (ValueError, OSError) as error:
            refused[i] = str(error)
            continue
        sizes[i] = image.shape[:2]
        contents[i], pixels[i] = digest(encoded), digest(repr(image.shape).encode() + image.tobytes())
        looks[i], spanned[i] = difference_hash(image), levels.spanned(image)
    return Inspection(
        names=[f"{split}/{record.name}" for split, record in everything],
        splits=np.array([split for split, _ in everything], dtype=np.str_),
        identities=np.array([record.identity for _, record in everything], np.int64),
        cameras=np.array([record.camera for _, record in everything], np.int64),
        sizes=sizes,
        contents=contents,
        pixels=pixels,
        looks=looks,
        levels=spanned,
        refused=refused,
    )


def digest(content: bytes) -> NDArray[np.uint64]:
    """The first 128 bits of the SHA-256, as (2,) uint64."""
    return np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint64)


def difference_hash(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The 128 bits of a picture's difference hash, as (2,) uint64.

    Example:
      >>> ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 128, axis=0).repeat(3, axis=2)
      >>> difference_hash(ramp), difference_hash(ramp[:, ::-1])
      (array([18446744073709551615, 18446744073709551615], dtype=uint64), array([0, 0], dtype=uint64))
    """
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    values = np.rint(_shares(len(grey), ROWS) @ grey @ _shares(grey.shape[1], COLUMNS + 1).T)
    return np.packbits(values[:, 1:] > values[:, :-1]).view(np.uint64)


@functools.lru_cache(maxsize=256)
def _shares(pixels: int, parts: int) -> NDArray[np.float32]:
    """(parts, pixels): the share that each pixel has in the mean of each of some equal parts of a line."""
    ends = np.linspace(0, pixels, parts + 1)[:, None]
    starts = np.arange(pixels)
    within = np.minimum(ends[1:], starts + 1) - np.maximum(ends[:-1], starts)
    return (np.maximum(within, 0) * parts / pixels).astype(np.float32)
