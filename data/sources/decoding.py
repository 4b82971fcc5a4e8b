"""Decoding of picture files: RGB pixels or an error that says why, in bounded memory, without warnings.

The format follows from the bytes, never from the name. The announced size is checked before anything is unpacked: a
crop of a person is not larger than `LARGEST`. Of animations and files of many pages the first picture is taken.
"""

import functools
import io
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from data.sources import depth, signatures

# Formats of cameras, phones and data sets; the list keeps a hostile file from an exotic decoder.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "JPEG2000")
LARGEST = 64_000_000  # pixels; a frame of 8K video has 33 million

_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_TILE = (322, 323)  # width and height of the tiles of a TIFF file

_T = TypeVar("_T")


def decode(encoded: bytes) -> np.ndarray:
    """Pixels of a picture file, RGB and upright.

    The EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB (grey of 9 to 16 bits by
    the range that its file states, see `data.sources.depth`), transparency is dropped.

    Returns:
      (H, W, 3) uint8.

    Raises:
      ValueError: no picture, a damaged one, one of more than `LARGEST` pixels, or one of numbers that are no colours
        (floating point, 32 bits, CIE Lab).

    Example:
      >>> buffer = io.BytesIO()
      >>> Image.new("L", (4, 8), 255).save(buffer, "PNG")
      >>> decode(buffer.getvalue()).shape
      (8, 4, 3)
    """
    return _read(encoded, lambda picture: _pixels(picture, encoded))


def upright_size(encoded: bytes) -> tuple[int, int]:
    """(height, width) of the picture that `decode` would return, from the head of the file.

    Raises:
      ValueError: the bytes do not begin like a picture, or `decode` would refuse it for its size.
    """
    return _read(encoded, _upright_size)


def orientation(encoded: bytes) -> int:
    """The EXIF orientation by which `decode` turns a picture, 1 to 8; 1, upright, where the file has none.

    Raises:
      ValueError: as for `upright_size`.
    """
    return _read(encoded, _orientation)


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    # Of TIFF, Pillow gives the upright size itself.
    turned = picture.format != "TIFF" and picture.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    return (width, height) if turned else (height, width)


def _read(encoded: bytes, act: Callable[[Image.Image], _T]) -> _T:
    """`act(picture)` of the opened picture, its errors made ValueErrors."""
    try:
        _check_size(*_webp_size(encoded))
        with _SILENCE, Image.open(io.BytesIO(encoded), formats=_known()) as picture:
            _check_size(*picture.size)
            if picture.format == "TIFF":
                _check_size(*(int(picture.tag_v2.get(tag, 0)) for tag in _TILE))  # type: ignore[attr-defined]
            return act(picture)
    except (_Refused, MemoryError):
        raise
    except UnidentifiedImageError:
        if (form := signatures.form_of(encoded[: signatures.HEAD])) in signatures.UNREAD:
            raise ValueError(f"an image file of {form}, which is not read: save it as .jpg or .png") from None
        raise ValueError(f"not an image file of a known format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Refused(f"an image too large to be a crop of a person: {error}") from None
    except Exception as error:  # Pillow's decoders have no common error for damaged files
        raise ValueError(f"a damaged image file ({error or type(error).__name__})") from error


@functools.cache
def _known() -> list[str]:
    """The formats that this Pillow reads: before 11.3 it has no AVIF."""
    Image.init()
    return [form for form in FORMATS if form in Image.OPEN]


class _Refused(ValueError):
    """Refusal of an undamaged picture."""


def _check_size(width: int, height: int) -> None:
    if width * height > LARGEST:
        raise _Refused(
            f"an image too large to be a crop of a person: it says it has {width} x {height} pixels, and "
            f"{LARGEST:,} are the most"
        )


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) in a WebP file's head, since Pillow allocates them while opening; (0, 0) for other files."""
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WEBP":
        return 0, 0
    if encoded[12:16] == b"VP8X":
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    if encoded[12:16] == b"VP8L":
        packed = int.from_bytes(encoded[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    return tuple(int.from_bytes(encoded[at : at + 2], "little") & 0x3FFF for at in (26, 28))  # type: ignore[return-value]


def _pixels(picture: Image.Image, encoded: bytes) -> np.ndarray:
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return np.array(_rgb(ImageOps.exif_transpose(picture)))
    bits, inverted = depth.stated_bits(picture, encoded), depth.inverted(picture)
    values = np.asarray(ImageOps.exif_transpose(picture))
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise _Refused(f"an image of the numbers {low} to {high}: save it with 8 or 16 bits per channel")
    grey = depth.eight_bits(values, bits)
    return np.repeat((255 - grey if inverted else grey)[..., None], 3, axis=2)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode not in _EIGHT_BITS:
        kind = {"F": "floating-point numbers", "LAB": "CIE Lab colours"}.get(picture.mode, f"mode {picture.mode}")
        raise _Refused(f"an image of {kind}, which are no colours to show: save it with 8 or 16 bits per channel")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


class _Silence:
    """Filter that ignores Pillow's warnings while any thread decodes.

    `warnings.catch_warnings` replaces the filters of the whole process, and threads would restore them in the wrong
    order. Here the first thread adds a filter and the last removes it, and it concerns Pillow alone.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._filter = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            filters: list[Any] = warnings.filters  # type: ignore[assignment]
            if self._filter not in filters:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = filters[0]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            filters: list[Any] = warnings.filters  # type: ignore[assignment]
            if not self._inside and self._filter in filters:
                filters.remove(self._filter)


_SILENCE = _Silence()
