"""Grey of 8 to 16 bits in files of 16: read by the range that the file states, never by what it holds."""

import struct

import numpy as np
import pytest
from PIL import Image

from data.sources import levels
from data.sources.decoding import decode
from tests import pictures_of_all_kinds as pictures
from tests.pictures_of_all_kinds import GREY, RGB, chunk, png, saved, tiff

GREYS = np.repeat(GREY[..., None], 3, axis=2)


def of_bits(bits: int) -> np.ndarray:
    """The grey picture with values of so many bits, (32, 16, 1) uint16, their lowest bits used."""
    return np.maximum(GREY.astype(np.uint16)[..., None] << (bits - 8), 1) + (1 if bits > 8 else 0)


def png_of(values: np.ndarray, significant: int) -> bytes:
    """A grey PNG of 16 bits with `sBIT`."""
    plain = png(values, colour=0)
    return plain[:33] + chunk(b"sBIT", bytes([significant])) + plain[33:]


def packed_12(values: np.ndarray) -> bytes:
    """A TIFF of 12 bits, two values in three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    triples = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    content = triples.astype(np.uint8).reshape(32, 24, 1)
    return tiff(content, {256: 16, 258: [12], 279: content.size})


STATED = {
    **{f"TIFF, MaxSampleValue of {b} bits": tiff(of_bits(b), {281: (1 << b) - 1}) for b in (8, 10, 12, 14)},
    "TIFF, MaxSampleValue that is just the largest": tiff(of_bits(10), {281: int(of_bits(10).max())}),
    "TIFF, SMaxSampleValue": tiff(of_bits(10), {341: 1023}),
    "TIFF, 12 bits packed": packed_12(of_bits(12)[..., 0]),
    **{f"PNG, sBIT {b}": png_of(of_bits(b), b) for b in (8, 10, 12)},
    "PNG, sBIT 10, shifted up as it should be": png_of(of_bits(10) << 6, 10),
    "PGM, maxval 1023": b"P5 16 32 1023\n" + of_bits(10).astype(">u2").tobytes(),
    "PGM, maxval 4095": b"P5 16 32 4095\n" + of_bits(12).astype(">u2").tobytes(),
    "TIFF, 16 bits, 0 is white": tiff(65535 - of_bits(16), {262: 0}),
}


@pytest.mark.parametrize("name", STATED)
def test_the_range_that_a_file_states_is_the_range(name):
    read = decode(STATED[name]).astype(int)
    assert read.shape == (32, 16, 3) and np.abs(read - GREYS).max() <= 1
    assert levels.spanned(read.astype(np.uint8)) >= levels.FEW


UNSTATED = {
    **{f"TIFF, {b} bits": tiff(of_bits(b), {}) for b in (8, 10, 12)},
    **{f"PNG, {b} bits": png(of_bits(b), colour=0) for b in (8, 10, 12)},
    "TIFF, 12 bits in 32": tiff(of_bits(12).astype(np.uint32), {}),
    "TIFF, colours of 10 bits": tiff(RGB.astype(np.uint16) << 2, {}),
    "PNG, colours of 12 bits": png(RGB.astype(np.uint16) << 4, colour=2),
    "PNG, dark and shifted up as it should be": png_of((GREY.astype(np.uint16)[..., None] >> 4) << 6, 10),
    "PNG, transparent, nothing below": saved(Image.new("RGBA", (16, 32)), "PNG"),
    "PNG, one colour": saved(Image.new("RGB", (16, 32), (200, 30, 40)), "PNG"),
}


@pytest.mark.parametrize("name", UNSTATED)
def test_what_no_file_states_is_not_stretched_and_counts_as_one_colour(name):
    assert levels.spanned(decode(UNSTATED[name])) < levels.FEW


def test_a_range_that_the_values_leave_is_none():
    full = tiff(GREY.astype(np.uint16)[..., None] * 257, {281: 1023})
    np.testing.assert_array_equal(decode(full), GREYS)
    np.testing.assert_array_equal(decode(png_of(GREY.astype(np.uint16)[..., None] * 257, 10)), GREYS)


@pytest.mark.parametrize("wrong", [0, 1 << 31])
def test_a_stated_range_that_is_none_is_not_used(wrong):
    np.testing.assert_array_equal(decode(tiff(GREY.astype(np.uint16)[..., None] * 257, {281: wrong})), GREYS)


def test_a_dark_picture_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(GREY.astype(np.uint16) * 257).transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(decode(saved(deep, "PNG", exif=exif)), GREYS)


def test_pictures_of_every_kind_are_of_more_than_one_colour():
    for name, kind in pictures.kinds().items():
        assert levels.spanned(decode(kind.encoded)) >= levels.FEW, name


def test_few_bright_pixels_do_not_hide_that_a_picture_is_black():
    dark = np.zeros((64, 32, 3), np.uint8)
    assert levels.spanned(dark) == 1
    dark[0, :10] = 255  # half a per cent
    assert levels.spanned(dark) == 1
    dark[:4] = 255
    assert levels.spanned(dark) == 256


def test_floating_point_is_refused_whatever_its_range():
    for most in (1, 255):
        values = np.linspace(0, most, 512, dtype=np.float32).reshape(32, 16, 1)
        with pytest.raises(ValueError, match="an image of floating-point numbers"):
            decode(tiff(values, {339: 3}))
    with pytest.raises(ValueError, match="an image of floating-point numbers"):
        decode(b"Pf 4 4 -1.0\n" + struct.pack("<16f", *range(16)))
