"""Whatever bytes come, they are read rightly or refused by name: in bounded memory, and without a warning."""

import collections
import concurrent.futures
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.prepare import prepare
from data.sources import decoding
from data.sources.decoding import decode, upright_size
from tests import pictures_of_all_kinds as pictures
from tests.test_data import people_csv

KINDS = pictures.kinds()
LOSSLESS = [name for name, kind in KINDS.items() if kind.tolerance == 0]
MEMORY = Path("/proc/self/statm")


@contextmanager
def at_most(extra: int) -> Iterator[None]:
    """Lets this process map no more than `extra` bytes beside what it has."""
    resource = pytest.importorskip("resource")
    if not MEMORY.exists():
        pytest.skip("needs /proc to know how much memory is mapped")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(MEMORY.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + extra, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(encoded: bytes) -> np.ndarray | str:
    """The pixels, or why there are none."""
    try:
        return decode(encoded)
    except ValueError as error:
        assert str(error).strip() and "image" in str(error)
        return str(error)


# Read rightly


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_as_what_it_shows(name):
    kind = KINDS[name]
    read = decode(kind.encoded)
    assert read.shape == (32, 16, 3) and read.dtype == np.uint8 and read.flags.writeable
    assert np.abs(read.astype(int) - kind.pixels).mean() <= kind.tolerance
    assert upright_size(kind.encoded) == (32, 16)


def test_the_name_of_a_file_says_nothing(tmp_path):
    rows = [("a.jpg", "1", "0", "probe"), ("b.png", "1", "1", "gallery"), ("c.TIF", "1", "1", "train")]
    source = people_csv(tmp_path, rows)
    for (path, *_), kind in zip(rows, ("PNG", "TIFF, LZW", "GIF"), strict=True):
        (tmp_path / path).write_bytes(KINDS[kind].encoded)
    read = prepare("folder", source, data_dir=tmp_path / "data")
    for split in ("train", "probe", "gallery"):
        np.testing.assert_array_equal(read.source(split)[0].image, pictures.RGB)
        assert read.source(split).size(0) == (32, 16)


# Refused by name


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "not an image file of a known format"),
        (bytes(1000), "not an image file of a known format"),
        (b"<html>404 Not Found</html>", "not an image file"),
        (b"%PDF-1.7 " * 20, "not an image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image file"),
        (b"GIF89a", "image file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an image file of HEIF, which is not read: save it as .jpg or .png"),
        (b"\xff\xd8\xff", "image file"),
        (pictures.tiff(np.zeros((3, 2, 1), np.float32), {339: 3}), "of floating-point numbers.*save it with 8 or 16"),
        (pictures.tiff(np.full((3, 2, 1), 70_000, np.uint32), {}), "of the numbers 70000 to 70000: save it with 8"),
        (pictures.tiff(np.full((3, 2, 1), -3, np.int32), {339: 2}), "of the numbers -3 to -3"),
        (pictures.tiff(np.zeros((3, 2, 3), np.uint8), {262: 8}), "of CIE Lab colours"),
        (b"P6 0 4 255\n", "image file"),
        (b"P6 4 8 255 " + bytes(10), "a damaged image file"),
    ],
)
def test_what_is_no_picture_of_ours_is_refused(encoded, message):
    with pytest.raises(ValueError, match=message):
        decode(encoded)


def huge(form: str, side: int) -> bytes:
    """A file of some bytes whose head claims side x side pixels."""
    wide, high = struct.pack(">I", side), struct.pack("<I", side)
    if form == "PNG":
        head = pictures.chunk(b"IHDR", wide + wide + b"\x08\x02\0\0\0")
        return KINDS["PNG"].encoded[:8] + head + KINDS["PNG"].encoded[33:]
    if form == "JPEG":
        encoded = bytearray(KINDS["JPEG"].encoded)
        at = encoded.index(b"\xff\xc0")
        encoded[at + 5 : at + 9] = 2 * struct.pack(">H", side)
        return bytes(encoded)
    if form == "GIF":
        return b"GIF89a" + 2 * struct.pack("<H", side) + KINDS["GIF"].encoded[10:]
    if form == "BMP":
        return KINDS["BMP"].encoded[:18] + high + high + KINDS["BMP"].encoded[26:]
    if form == "TIFF":
        return pictures.tiff(np.zeros((2, 2, 3), np.uint8), {256: side, 257: side})
    if form == "TIFF, tiles":
        return pictures.tiff(np.zeros((2, 2, 3), np.uint8), {322: side, 323: side, 324: 8, 325: 12, 259: 5})
    if form == "WebP":
        side = min(side, 16383)  # the most that the format can say
        encoded = bytearray(KINDS["WebP"].encoded)
        at = encoded.index(b"\x9d\x01\x2a") + 3
        encoded[at : at + 4] = 2 * struct.pack("<H", side)
        return bytes(encoded)
    if form == "WebP, lossless":
        side = min(side, 16383) - 1
        encoded = bytearray(KINDS["WebP, lossless"].encoded)
        encoded[21:25] = struct.pack("<I", side | side << 14)
        return bytes(encoded)
    if form == "WebP, animated":
        encoded = bytearray(KINDS["WebP, animated"].encoded)
        encoded[24:30] = 2 * struct.pack("<I", side - 1)[:3]
        return bytes(encoded)
    if form == "AVIF":
        side = min(side, 16384)  # beyond it the decoder finds no picture
        wide = struct.pack(">I", side)
        encoded = bytearray(KINDS["AVIF"].encoded)
        at = encoded.index(b"ispe") + 8
        encoded[at : at + 8] = wide + wide
        return bytes(encoded)
    if form.startswith("JPEG 2000"):
        encoded = bytearray(KINDS[form].encoded)
        at = encoded.index(b"\xff\x51") + 6  # sizes of the picture; then where it begins, and the sizes of a tile
        encoded[at : at + 8] = encoded[at + 16 : at + 24] = wide + wide
        if b"ihdr" in encoded:
            at = encoded.index(b"ihdr") + 4
            encoded[at : at + 8] = wide + wide
        return bytes(encoded)
    return f"P6 {side} {side} 255\n".encode() + bytes(10)


FORMS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "TIFF, tiles", "WebP", "WebP, lossless", "WebP, animated", "PPM"]
FORMS += ["AVIF", "JPEG 2000", "JPEG 2000, bare"]


@pytest.mark.parametrize("side", [9000, 60_000])  # between our limit and Pillow's warning, and beyond its error
@pytest.mark.parametrize("form", FORMS)
def test_huge_claims_are_refused_before_memory_is_taken(form, side):
    with at_most(32 << 20), pytest.raises(ValueError, match="too large to be a crop of a person"):
        decode(huge(form, side))
    with at_most(32 << 20), pytest.raises(ValueError, match="too large to be a crop of a person"):
        upright_size(huge(form, side))


@pytest.mark.parametrize("side", [9000, 60_000])
def test_a_jpeg_2000_whose_inside_is_larger_than_its_head_says_is_refused(side):
    large = huge("JPEG 2000", side)
    small = bytearray(large)
    at = small.index(b"ihdr") + 4
    small[at : at + 8] = struct.pack(">II", 32, 16)
    with at_most(64 << 20), pytest.raises(ValueError, match="a damaged image file"):
        decode(bytes(small))


def test_an_avif_needs_its_decoder(monkeypatch):
    """Before 11.3 Pillow has none: the file is refused, and no other."""
    monkeypatch.delitem(Image.OPEN, "AVIF")
    decoding._known.cache_clear()
    try:
        assert "not an image file of a known format" in outcome(KINDS["AVIF"].encoded)
        np.testing.assert_array_equal(decode(KINDS["PNG"].encoded), pictures.RGB)
    finally:
        decoding._known.cache_clear()


def test_the_limit_is_the_last_size_that_is_read(monkeypatch):
    monkeypatch.setattr(decoding, "LARGEST", 32 * 16)
    assert decode(KINDS["PNG"].encoded).shape == (32, 16, 3)
    monkeypatch.setattr(decoding, "LARGEST", 32 * 16 - 1)
    for name in ("PNG", "JPEG", "WebP", "WebP, lossless", "WebP, RGBA", "GIF", "TIFF"):
        with pytest.raises(ValueError, match="says it has 16 x 32 pixels, and 511 are the most"):
            decode(KINDS[name].encoded)


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch):
    def fail(picture: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "_rgb", fail)
    with pytest.raises(MemoryError):
        decode(KINDS["PNG"].encoded)


# A thousand damaged ones


def test_truncated_files_give_the_whole_picture_or_none():
    """At 5 random places of each of 78 files."""
    rng = np.random.default_rng(0)
    outcomes = collections.Counter()
    with at_most(1 << 30):
        for name, kind in KINDS.items():
            whole = decode(kind.encoded)
            for at in rng.integers(len(kind.encoded), size=5):
                read = outcome(kind.encoded[:at])
                refused = isinstance(read, str)
                outcomes[refused] += 1
                # Ends that only close the file may be missing, pixels may not.
                assert refused or np.array_equal(read, whole), f"{name} cut at {at} of {len(kind.encoded)}"
    assert outcomes.total() == 5 * len(KINDS) and outcomes[True] > 4 * outcomes[False]


def test_flipped_bits_give_a_picture_or_a_refusal():
    """Up to five bits in each of 8 copies of 78 files, more often where the headers are."""
    rng = np.random.default_rng(1)
    refused = read = 0
    with at_most(1 << 30):
        for kind in KINDS.values():
            for _ in range(8):
                damaged = bytearray(kind.encoded)
                for _ in range(rng.integers(1, 6)):
                    near = len(damaged) if rng.random() < 0.5 else min(len(damaged), 120)
                    damaged[rng.integers(near)] ^= 1 << int(rng.integers(8))
                found = outcome(bytes(damaged))
                if isinstance(found, str):
                    refused += 1
                else:
                    read += 1
                    assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8 and found.size
    assert refused > 100 and read > 100 and refused + read == 8 * len(KINDS)


# Warnings


WARNS = huge("PNG", 9500)  # between Pillow's warning and its error


def test_pillow_warns_of_these():
    """Otherwise the tests below would show nothing."""
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(WARNS))
    with pytest.warns(UserWarning):
        Image.open(io.BytesIO(truncated_tag())).load()


def truncated_tag() -> bytes:
    """A TIFF whose resolution lies beyond its end: complained of, and of no importance."""
    tags = {282: 8}
    encoded = bytearray(pictures.tiff(pictures.RGB, tags))
    entry = encoded.index(struct.pack("<HHII", 282, 4, 1, 8))
    encoded[entry : entry + 12] = struct.pack("<HHII", 282, 5, 1, 10**6)
    return bytes(encoded)


@pytest.mark.parametrize("action", ["error", "always"])
def test_no_warning_escapes_whatever_the_filters(action):
    with warnings.catch_warnings(record=action == "always") as caught:
        warnings.simplefilter(action)
        assert "too large" in outcome(WARNS)
        np.testing.assert_array_equal(decode(truncated_tag()), pictures.RGB)
    assert not caught


def test_filters_are_left_as_they_were_by_any_number_of_threads():
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for read in pool.map(decode, [truncated_tag(), KINDS["JPEG"].encoded] * 200):
            assert read.shape == (32, 16, 3)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)
