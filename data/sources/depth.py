"""Conversion of grey pictures of more than 8 bits to 8, by the range that the file states, never by its values.

Pictures of a camera of 10 or 12 bits are often stored in files of 16, and fill their darkest sixteenth: read as 16 bits
they are black. The range is known where the file states it: `BitsPerSample`, `MaxSampleValue` and
`SMaxSampleValue` of TIFF (the last two rounded up to whole bits), `sBIT` of PNG. Pillow applies `maxval` of PGM
itself. Where the file says nothing, 16 bits are 16 bits; `data.sources.levels` finds what has become black.
"""

import numpy as np
from PIL import Image

_BITS, _PHOTOMETRIC, _LARGEST = 258, 262, (281, 341)  # tags of TIFF


def stated_bits(picture: Image.Image, encoded: bytes) -> int:
    """Number of bits of a grey picture's values as its file states it; 16 where it does not.

    PNG wants values of fewer significant bits shifted up to 16, which many programs do not do. Values are shifted if
    the bits below are zero in all of them.
    """
    if picture.format == "PNG":
        bits = _significant_bits(encoded)
        shifted = bits < 16 and not (np.asarray(picture) & ((1 << 16 - bits) - 1)).any()
        return 16 if shifted else bits
    if picture.format != "TIFF":
        return 16
    tags = picture.tag_v2  # type: ignore[attr-defined]
    bits = min(16, _first(tags.get(_BITS, 16)))
    largest = [_first(tags[tag]) for tag in _LARGEST if tag in tags]
    return min([bits, *(most.bit_length() for most in largest if most > 0)])


def inverted(picture: Image.Image) -> bool:
    """Whether 0 is white: TIFF of 16 bits, in which Pillow leaves it so."""
    return picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of 0 to 2**bits - 1 as 8 bits; of 16 bits if a larger value shows that they are.

    Example:
      >>> eight_bits(np.array([0, 512, 1023]), 10), eight_bits(np.array([0, 512, 65535]), 10)
      (array([  0, 128, 255], dtype=uint8), array([  0,   2, 255], dtype=uint8))
    """
    if values.size and int(values.max()) >= 1 << bits:
        bits = 16
    if bits < 8:
        return (values.astype(np.int64) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    return (values >> (bits - 8)).astype(np.uint8)


def _significant_bits(encoded: bytes) -> int:
    """The bits in `sBIT`, which stands before the pixels."""
    at = 8
    while at + 12 <= len(encoded) and encoded[at + 4 : at + 8] != b"IDAT":
        length = int.from_bytes(encoded[at : at + 4], "big")
        if encoded[at + 4 : at + 8] == b"sBIT" and length:
            return min(16, encoded[at + 8]) or 16
        at += 12 + length
    return 16


def _first(value: object) -> int:
    """A tag's number, or the first of them; 0 if it is none."""
    number = value[0] if isinstance(value, tuple) and value else value
    return int(number) if isinstance(number, int | float) and 0 <= number < 1 << 32 else 0
