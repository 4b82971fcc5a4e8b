"""Reading a prepared data set: `source[i]` is one image with its identity, camera and name.

A data set of person re-identification (paper, Sec. 4) has three splits: `train`, and the `probe` and `gallery`
of the test identities. On disk a split is a set of array_record files that a TensorFlow Datasets builder wrote;
here they are read at random by position, without TensorFlow, and decoded with Pillow. Identities, cameras and
names of a whole split are known without touching an image, so protocols can be drawn before anything is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SPLITS = ("train", "probe", "gallery")
NOBODY = -1  # identity of a distractor
UNKNOWN_CAMERA = -1

# What cameras, phones and data sets write. Named, so that a hostile file cannot reach an exotic decoder.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")


class Example(NamedTuple):
    """One image of a person: `image` is (H, W, 3) uint8 RGB; identity -1 is nobody, camera -1 is unknown."""

    image: np.ndarray
    identity: int
    camera: int
    name: str


def decode(encoded: bytes) -> np.ndarray:
    """Decodes a picture file to RGB, upright.

    The EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB, transparency is dropped.

    Args:
      encoded: the bytes of a JPEG, PNG, BMP, TIFF, WebP, GIF or PPM file.

    Returns:
      (H, W, 3) uint8.

    Raises:
      ValueError: the bytes are no picture, or a truncated one.

    Example:
      >>> buffer = io.BytesIO()
      >>> Image.new("L", (4, 8), 255).save(buffer, "PNG")
      >>> decode(buffer.getvalue()).shape
      (8, 4, 3)
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            return np.array(_rgb(ImageOps.exif_transpose(picture)))
    except UnidentifiedImageError:
        raise ValueError(f"not an image file of a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"an image too large to be a crop of a person: {error}") from None
    except (OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ValueError) as error:
        # Pillow's decoders have no common error for damaged files.
        raise ValueError(f"a damaged image file ({error})") from error


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":  # convert("RGB") would clip 16 bits at 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


class Source(Sequence[Example]):
    """One split of a prepared data set, read at random by position.

    `len(source)`, `source[i]` and iteration decode one image at a time. `identities`, `cameras` (int64 arrays (n,))
    and `names` (list of n) describe all images and decode none. Any number of threads may read; a pickled
    source opens its files again where it is unpickled.

    Args:
      records: the encoded examples: `records[i]` is a dict with the image's bytes under "image".
      identities: (n,) integers, -1 for nobody.
      cameras: (n,) integers, -1 for unknown.
      names: n names, unique within the split.
      title: what the representation says, such as "cuhk03/train".

    Example:
      >>> buffer = io.BytesIO()
      >>> Image.new("RGB", (4, 8)).save(buffer, "PNG")
      >>> records = [{"image": buffer.getvalue()}]
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
        """Keeps what it is given; see the class."""
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

    def __iter__(self) -> Iterator[Example]:
        """Every image in order."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        """Title and counts."""
        people, cameras = len(set(self.identities.tolist()) - {NOBODY}), len(set(self.cameras.tolist()))
        return f"Source({self.title}: {len(self)} images, {people} identities, {cameras} cameras)"
