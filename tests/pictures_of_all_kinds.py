"""One small picture in every encoding that a data set may bring, each with the pixels that it must be read as."""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

COLOURS = np.array(
    [[200, 30, 40], [30, 180, 60], [40, 60, 220], [240, 220, 30],
     [20, 20, 20], [230, 230, 230], [150, 80, 160], [90, 140, 60]],
    np.uint8,
)  # fmt: skip
# 32 x 16 pixels of eight flat squares, of which no two are alike: JPEG keeps them, and a palette, and turns are seen.
RGB = np.kron(np.arange(8).reshape(4, 2), np.ones((8, 8), int)).astype(np.uint8)
RGB = COLOURS[RGB]
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (32, 1))
OTHER = RGB[::-1, ::-1].copy()


class Kind(NamedTuple):
    """A file, the (32, 16, 3) pixels in it, and how far a lossy one may be from them on average."""

    encoded: bytes
    pixels: np.ndarray
    tolerance: int = 0


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [page.copy() for page in options["append_images"]]
    image.copy().save(buffer, form, **options)  # a copy, since a picture remembers how it was saved before
    return buffer.getvalue()


def png(values: np.ndarray, *, colour: int) -> bytes:
    """A 16-bit PNG of (H, W, channels) values, which Pillow cannot write in all colours."""
    height, width, _ = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(values: np.ndarray, tags: dict[int, int | list[int]]) -> bytes:
    """A TIFF of one strip; entries of `tags` replace those that follow from the values."""
    height, width, channels = values.shape
    bits = [8 * values.itemsize] * channels
    entries: dict[int, int | list[int]] = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels == 3 else 1}
    entries |= {273: 8, 277: channels, 278: height, 279: values.nbytes} | tags
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()
    extra, place, table = b"", 8 + len(pixels), b""
    for tag, value in sorted(entries.items()):
        if isinstance(value, list) and len(value) > 2:
            table += struct.pack("<HHII", tag, 3, len(value), place + len(extra))
            extra += struct.pack(f"<{len(value)}H", *value)
        else:
            table += struct.pack("<HHII", tag, 4, 1, value[0] if isinstance(value, list) else value)
    directory = struct.pack("<H", len(entries)) + table + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, place + len(extra)) + pixels + extra + directory


def ycck() -> bytes:
    """A JPEG as printers' programs write it: YCbCr and black, under Adobe's mark for that."""
    inks = np.asarray(Image.fromarray(255 - RGB).convert("YCbCr"))
    inverted = np.dstack([255 - inks, np.zeros_like(GREY)])  # which saving undoes
    encoded = bytearray(saved(Image.fromarray(inverted, "CMYK"), "JPEG", quality=100, subsampling=0))
    encoded[encoded.index(b"Adobe") + 11] = 2
    return bytes(encoded)


def turned(orientation: int) -> Image.Image:
    """The picture as a camera stores it that was held so; turning it as EXIF says gives it back."""
    image = Image.fromarray(RGB)
    turns = Image.Transpose
    how = {2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE}
    how |= {6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270}
    return image.transpose(how[orientation]) if orientation in how else image


def kinds() -> dict[str, Kind]:
    """Name to picture."""
    image, grey, other = Image.fromarray(RGB), Image.fromarray(GREY), Image.fromarray(OTHER)
    palette = image.quantize(8, dither=Image.Dither.NONE)
    alpha = Image.fromarray(ALPHA)
    coloured, faint = image.copy(), Image.merge("LA", (grey, alpha))
    coloured.putalpha(alpha)
    greys = np.repeat(GREY[..., None], 3, axis=2)
    bits = np.where(greys > 127, 255, 0).astype(np.uint8)
    one = Image.fromarray(bits[..., 0]).convert("1")
    cmyk = Image.fromarray(np.dstack([255 - RGB, np.zeros_like(GREY)]), "CMYK")
    exact, best = {"lossless": True}, {"quality": 100, "subsampling": 0}
    deep, deep_grey = RGB.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
    avif = {"quality": 100, "subsampling": "4:4:4"}
    film = {"save_all": True, "append_images": [other, other]}
    found = {
        "JPEG": Kind(saved(image, "JPEG", **best), RGB, 3),
        "JPEG, progressive": Kind(saved(image, "JPEG", progressive=True, **best), RGB, 3),
        "JPEG, grey": Kind(saved(grey, "JPEG", quality=100), greys, 2),
        "JPEG, CMYK": Kind(saved(cmyk, "JPEG", quality=100, subsampling=0), RGB, 3),
        "JPEG, YCCK": Kind(ycck(), RGB, 4),
        "JPEG, two pictures (MPO)": Kind(saved(image, "MPO", save_all=True, append_images=[other], **best), RGB, 3),
        "PNG": Kind(saved(image, "PNG"), RGB),
        "PNG, grey": Kind(saved(grey, "PNG"), greys),
        "PNG, 1 bit": Kind(saved(one, "PNG"), bits),
        "PNG, palette": Kind(saved(palette, "PNG"), RGB),
        "PNG, palette, one colour transparent": Kind(saved(palette, "PNG", transparency=0), RGB),
        "PNG, palette, partly transparent": Kind(saved(palette, "PNG", transparency=bytes(range(0, 256, 32))), RGB),
        "PNG, one colour transparent": Kind(saved(image, "PNG", transparency=(200, 30, 40)), RGB),
        "PNG, RGBA": Kind(saved(coloured, "PNG"), RGB),
        "PNG, LA": Kind(saved(faint, "PNG"), greys),
        "PNG, 16 bits, grey": Kind(saved(Image.fromarray(deep_grey), "PNG"), greys),
        "PNG, 16 bits, RGB": Kind(png(deep, colour=2), RGB),
        "PNG, 16 bits, RGBA": Kind(png(np.dstack([deep, ALPHA * np.uint16(257)]), colour=6), RGB),
        "PNG, 16 bits, LA": Kind(png(np.dstack([deep_grey, ALPHA * np.uint16(257)]), colour=4), greys),
        "PNG, animated": Kind(saved(image, "PNG", **film), RGB),
        "GIF": Kind(saved(palette, "GIF"), RGB),
        "GIF, transparent": Kind(saved(palette, "GIF", transparency=0), RGB),
        "GIF, animated": Kind(saved(image, "GIF", **film), RGB),
        "WebP": Kind(saved(image, "WEBP", quality=100), RGB, 12),  # its colours are of half the size
        "WebP, lossless": Kind(saved(image, "WEBP", **exact), RGB),
        "WebP, RGBA": Kind(saved(coloured, "WEBP", exact=True, **exact), RGB),
        "WebP, animated": Kind(saved(image, "WEBP", **exact, **film), RGB),
        "BMP": Kind(saved(image, "BMP"), RGB),
        "BMP, palette": Kind(saved(palette, "BMP"), RGB),
        "BMP, 1 bit": Kind(saved(one, "BMP"), bits),
        "TIFF": Kind(saved(image, "TIFF"), RGB),
        "TIFF, LZW": Kind(saved(image, "TIFF", compression="tiff_lzw"), RGB),
        "TIFF, deflate": Kind(saved(image, "TIFF", compression="tiff_adobe_deflate"), RGB),
        "TIFF, JPEG": Kind(saved(image, "TIFF", compression="jpeg", quality=100), RGB, 12),
        "TIFF, 1 bit, fax": Kind(saved(one, "TIFF", compression="group4"), bits),
        "TIFF, palette": Kind(saved(palette, "TIFF"), RGB),
        "TIFF, CMYK": Kind(saved(cmyk, "TIFF"), RGB),
        "TIFF, RGBA": Kind(saved(coloured, "TIFF"), RGB),
        "TIFF, LA": Kind(saved(faint, "TIFF"), greys),
        "TIFF, 16 bits, grey": Kind(saved(Image.fromarray(deep_grey), "TIFF"), greys),
        "TIFF, 16 bits, RGB": Kind(tiff(deep, {}), RGB),
        "TIFF, three pages": Kind(saved(image, "TIFF", **film), RGB),
        "AVIF": Kind(saved(image, "AVIF", **avif), RGB, 3),
        "JPEG 2000": Kind(saved(image, "JPEG2000"), RGB),
        "JPEG 2000, bare": Kind(saved(image, "JPEG2000", no_jp2=True), RGB),
        "JPEG 2000, 16 bits, grey": Kind(saved(Image.fromarray(deep_grey), "JPEG2000"), greys),
        "PPM": Kind(saved(image, "PPM"), RGB),
        "PPM, 16 bits": Kind(b"P6 16 32 65535\n" + deep.astype(">u2").tobytes(), RGB),
        "PGM, 16 bits": Kind(b"P5 16 32 65535\n" + deep_grey.astype(">u2").tobytes(), greys),
        "PBM": Kind(saved(one, "PPM"), bits),
    }  # fmt: skip
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for form, options, tolerance in (
            ("JPEG", best, 3),
            ("PNG", {}, 0),
            ("WEBP", exact, 0),
            ("TIFF", {}, 0),
            ("AVIF", avif, 3),
        ):
            encoded = saved(turned(orientation), form, exif=exif, **options)
            found[f"{form}, held as {orientation}"] = Kind(encoded, RGB, tolerance)
    return found
