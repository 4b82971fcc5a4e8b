"""Reader of a prepared data set: `source[i]` is one image with its identity, camera and name.

A data set of person re-identification (paper, Sec. 4) has three splits: `train`, and the `probe` and `gallery` of the
test identities. On disk a split is a set of array_record files that a TensorFlow Datasets builder wrote; here they are
read at random by position, without TensorFlow, and decoded by `data/sources/decoding.py`. Identities, cameras and names
of a split are there without decoding, so that protocols can be drawn first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

SPLITS = ("train", "probe", "gallery")
NOBODY = -1  # junk: no evaluation counts it; a distractor, a wrong answer, has an identity that no probe has
UNKNOWN_CAMERA = -1


class Example(NamedTuple):
    """One image of a person: `image` is (H, W, 3) uint8 RGB; identity -1 is nobody (junk), camera -1 unknown."""

    image: np.ndarray
    identity: int
    camera: int
    name: str


def decode(encoded: bytes) -> np.ndarray:
    """Pixels of a picture file, (H, W, 3) uint8; see `data.sources.decoding`, which is imported with the first one."""
    from data.sources import decoding  # Pillow; a run without pictures does without

    return decoding.decode(encoded)


class Source(Sequence[Example]):
    """One split of a prepared data set, read at random by position.

    `source[i]` and iteration decode one image at a time. `identities`, `cameras` (int64 arrays (n,)) and `names` (list
    of n) describe all images and decode none. Threads may read at once; a pickled source opens its files again.

    Args:
      records: the encoded examples: `records[i]` is a dict with the image's bytes under "image".
      identities: (n,) integers, -1 for nobody.
      cameras: (n,) integers, -1 for unknown.
      names: n names, unique within the split.
      title: name of the split, such as "cuhk03/train".

    Example:
      >>> records = [{"image": b"P6 4 8 255 " + bytes(4 * 8 * 3)}]
      >>> source = Source(records, identities=[7], cameras=[0], names=["a.png"], title="toy/train")
      >>> source[0].image.shape, source[0].identity, source.names
      ((8, 4, 3), 7, ['a.png'])
      >>> source
      Source(toy/train: 1 images, 1 identities, 1 cameras)
    """

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        *,
        identities: Sequence[int],
        cameras: Sequence[int],
        names: Sequence[str],
        title: str,
    ) -> None:
        lengths = {"records": len(records), "identities": len(identities), "cameras": len(cameras), "names": len(names)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"one entry per image is needed, but {title} has {lengths}: prepare it again")
        self._records = records
        self.identities: np.ndarray = np.array(identities, dtype=np.int64)
        self.cameras: np.ndarray = np.array(cameras, dtype=np.int64)
        self.names: list[str] = list(names)
        self.title = title

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, position: SupportsIndex) -> Example:  # type: ignore[override]  # no slices
        """The image at `position`, decoded."""
        at = range(len(self))[position.__index__()]  # negative positions, and IndexError past the end
        image = decode(self._records[at]["image"])
        return Example(image, int(self.identities[at]), int(self.cameras[at]), self.names[at])

    def size(self, position: SupportsIndex) -> tuple[int, int]:
        """(height, width) of the image at `position`, without decoding it."""
        from data.sources import decoding

        return decoding.upright_size(self._records[range(len(self))[position.__index__()]]["image"])

    def __repr__(self) -> str:
        """Title and counts."""
        people, cameras = len(set(self.identities.tolist()) - {NOBODY}), len(set(self.cameras.tolist()))
        return f"Source({self.title}: {len(self)} images, {people} identities, {cameras} cameras)"
