"""Uploads to the page of a search: too large, too many pixels, bombs, other formats, mutations."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.settings.webpage import Limits
from experiments.webpage import uploads
from experiments.webpage.refusal import Refused
from tests import page_server, quick
from tests.page_server import raw, received

TIGHT = ("--upload_megabytes=1", "--upload_megapixels=1")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LARGE = "gallery/4_1.png"  # a picture of the gallery that is larger than uploads may be
BOMB = 400_000_000  # bytes that a bomb unpacks to


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = page_server.people(tmp_path_factory.mktemp("uploads"))
    with Image.open(folder / LARGE) as picture:
        picture.resize((1100, 1000)).save(folder / LARGE)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with page_server.open_page(page_server.settings(folder, *TIGHT), folder) as client:
        yield client


@pytest.fixture(scope="module")
def picture(client):
    return client.picture("probe/3.png")


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def deflated(size):
    """Zeros, packed."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(size // 1_000_000):
        parts.append(packer.compress(bytes(1_000_000)))
    return b"".join(parts) + packer.flush()


def png_of(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def bombs():
    packed = deflated(BOMB)
    whole = deflated(1_000_000)
    return {
        "200 megapixels": png_of(20_000, 10_000, chunk(b"IDAT", deflated(1_000_000))),
        "pixels beyond the head": png_of(100, 100, chunk(b"IDAT", packed)),
        "text": png_of(100, 100, chunk(b"zTXt", b"a\0\0" + packed), chunk(b"IDAT", whole)),
        "profile": png_of(100, 100, chunk(b"iCCP", b"a\0\0" + packed), chunk(b"IDAT", whole)),
        "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + bytes(20),
        "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 20_000, 10_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }


@pytest.mark.skipif(not os.access(CLEAR, os.W_OK), reason="the system does not tell the peak of memory")
def test_bombs_take_no_memory():
    limits = Limits()
    uploads.picture(png(np.zeros((64, 64, 3), np.uint8)), limits)  # what is imported at the first picture
    for name, content in bombs().items():
        CLEAR.write_text("5")
        before = peak()
        outcome = contextlib.nullcontext() if name == "pixels beyond the head" else pytest.raises(Refused)
        with outcome if name not in ("text", "profile") else contextlib.suppress(Refused):
            uploads.picture(content, limits)
        assert peak() - before < 20_000_000, name


def test_a_jpeg_file_of_many_parts_is_refused():
    """Each scan decodes the whole picture again; each APP1 segment copies those before it."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"A" * 10
    scans, segments = content[:-2] + 5000 * last + content[-2:], content[:2] + 5000 * segment + content[2:]
    beside = content[:2] + b"\xff\xfe\0\4\xff\xd9" + 5000 * segment + content[2:]  # the end is in a comment
    for bomb in (scans, segments, beside):
        with pytest.raises(Refused, match="more parts than cameras write") as refused:
            uploads.picture(bomb, Limits())
        assert refused.value.status == 422
    allowed = content[:2] + 50 * segment + content[2:-2] + 20 * last + content[-2:]
    for good in (content, allowed, content + 500 * b"\xff\xda\0\2"):  # what follows the end is not read
        assert uploads.picture(good, Limits()).shape == (64, 64, 3)


def peak():
    return 1024 * int(next(line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")))


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_pixels_and_formats(client):
    big = client.post("/search", png(np.zeros((1001, 1000, 3), np.uint8)))
    assert big.status == 413 and "1000 x 1001 pixels, more than 1 million" in big.error
    for form, status in (("JPEG", 200), ("BMP", 200), ("WEBP", 200), ("GIF", 415), ("TIFF", 415), ("AVIF", 415)):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 64), "red").save(buffer, form)
        assert client.post("/search", buffer.getvalue()).status == status, form
    for content, status in (
        (b"", 400),
        (b"PK\x03\x04" + bytes(99), 415),
        (b"<svg/>", 415),
        (b"\x89PNG\r\n\x1a\n", 422),
    ):
        reply = client.post("/search", content)
        assert reply.status == status and reply.error.endswith("."), content


def test_a_large_picture_of_the_gallery_is_shown(client, picture):
    answer = client.search(picture, k=10)
    rank = [hit["name"] for hit in answer["hits"]].index(LARGE) + 1
    reply = client.get(f"/answers/{answer['answer']}/{rank}/picture")
    assert reply.status == 200 and Image.open(io.BytesIO(reply.body)).size == (32, 64)


def test_a_packed_request_is_refused(client, picture):
    reply = client.send("POST", "/search", picture, {"content-encoding": "gzip"})
    assert reply.status == 415 and "packed" in reply.error


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_cut_off(client, chunked):
    """The answer may be lost with the connection, as with any server; the body does not come to its end."""
    size, piece = 64, bytes(1_000_000)
    head = "transfer-encoding: chunked" if chunked else f"content-length: {size * len(piece)}"
    with raw(client, "POST", "/search", head) as line:
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(size):
                line.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent += 1
        assert sent < size or b" 413 " in received(line)


@pytest.mark.parametrize("count", quick.only((60,), (60, 1000)))
def test_mutated_uploads_are_answered_or_refused(client, folder, count):
    """Pictures of every format with bytes changed, cut, doubled and mixed; afterwards all is as before."""
    rng, kinds = np.random.default_rng(count), []
    drawn = Image.open(folder / "gallery" / "3_0.png").convert("RGB")
    for form in ("PNG", "JPEG", "WEBP", "BMP"):
        buffer = io.BytesIO()
        drawn.save(buffer, form)
        kinds.append(buffer.getvalue())
    before = client.search(kinds[0])["hits"]
    statuses = set()
    for turn in range(count):
        content = bytearray(kinds[turn % 4])
        for _ in range(rng.integers(1, 9)):
            at, kind = int(rng.integers(len(content))), rng.integers(4)
            if kind == 0:
                content[at] = rng.integers(256)
            elif kind == 1:
                content[at : at + int(rng.integers(1, 30))] = rng.bytes(int(rng.integers(30)))
            elif kind == 2:
                del content[max(at, 2) :]
            else:
                content[at:at] = content[at // 2 : at]
            content = content or bytearray(b"B")
        reply = client.post("/search", bytes(content[:900_000]), k=1)
        statuses.add(reply.status)
        assert reply.status in (200, 413, 415, 422), (reply.status, reply.body)
    assert {415, 422} & statuses and client.search(kinds[0])["hits"] == before
