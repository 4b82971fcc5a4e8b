"""What the page of a search keeps out: other sites, large, strange and slow requests, too many at once."""

import asyncio
import contextlib
import io
import os
import socket
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.settings.webpage import Limits
from experiments.webpage import listening, uploads
from experiments.webpage.gate import Gate
from experiments.webpage.refusal import Refused
from experiments.webpage.searcher import Searcher
from experiments.webpage.worker import Worker
from tests import page_server, quick

TIGHT = ("--upload_megabytes=1", "--upload_megapixels=1", "--uploads=2", "--waiting=1", "--seconds=6")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
BOMB = 400_000_000  # bytes that a bomb unpacks to


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return page_server.people(tmp_path_factory.mktemp("limits"))


@pytest.fixture(scope="module")
def client(folder):
    with page_server.open_page(page_server.settings(folder, *TIGHT), folder) as client:
        yield client


@pytest.fixture(scope="module")
def picture(client):
    return client.picture("probe/3.png")


# Other sites


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:{port}", "", "[", "10.0.0.1"])
def test_a_foreign_host_is_refused(client, picture, host):
    headers = {"host": host.format(port=client.port)}
    for method, path, body in (("GET", "/", None), ("GET", "/state", None), ("POST", "/search", picture)):
        reply = client.send(method, path, body, headers)
        assert reply.status == 421 and "address" in reply.error
    assert client.send("GET", "/state", None, {"host": "localhost:9"}).status == 200  # through a tunnel


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"x-page-token": ""},
        {"x-page-token": "guessed"},
        {"x-page-token": "g\xe4"},
    ],
)
def test_a_change_from_another_site_is_refused(client, picture, headers):
    before = client.get("/state").json()
    for path in ("/search", "/entries", "/calibration", "/answers/any/1/mark"):
        reply = client.send("POST", path, picture, headers)
        assert reply.status == 403, path
    assert client.get("/state").json() == before


def test_other_sites_can_open_the_page_and_read_nothing(client):
    opened = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.send("GET", "/", None, opened).status == 200
    for destination in ("iframe", "image", "script"):
        headers = opened | {"sec-fetch-dest": destination}
        assert client.send("GET", "/state", None, headers).status == 403
    assert client.send("GET", "/state", None, {"origin": "http://evil.example"}).status == 403


def test_every_answer_has_the_headers_of_all(client, picture):
    replies = [client.get("/"), client.get("/state"), client.get("/nothing"), client.post("/search", b"x")]
    replies += [client.post("/search", picture), client.send("GET", "/", None, {"host": "evil.example"})]
    for reply in replies:
        assert reply.headers["cache-control"] == "no-store" and reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"] and "set-cookie" not in reply.headers
        assert "server" not in reply.headers and "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("host", "names", "own", "foreign"),
    [
        ("0.0.0.0", (), ["10.0.0.7:80", "[fe80::1]:80", "localhost"], ["evil.example", "10.0.0.7.evil.example"]),
        ("0.0.0.0", ("Search.Example",), ["search.example:8765"], ["other.example"]),
        ("::1", (), ["[::1]:8765", "localhost"], ["10.0.0.7"]),
    ],
)
def test_hosts_of_an_open_page(host, names, own, foreign):
    reached = []

    async def app(scope, receive, send):
        reached.append(dict(scope["headers"])[b"host"].decode())

    async def ignore(*_):
        return None

    gate = Gate(app, host=host, names=names, seconds=60)
    for name in [*own, *foreign]:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", name.encode())]}
        asyncio.run(gate(scope, ignore, ignore))
    assert reached == own


# Large and strange uploads


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


@contextlib.contextmanager
def raw(client, method, path, *headers):
    """A connection on which the head of a request was sent."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=page_server.PATIENCE) as line:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: 127.0.0.1:{client.port}",
            f"x-page-token: {client.token}",
            *headers,
        ]
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        yield line


def received(line):
    """All that comes until the connection is closed."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


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


# Slow clients, and many


def test_a_silent_client_is_cut_off(client, monkeypatch):
    monkeypatch.setattr(listening.Protocol, "head", 0.2)
    for said in (b"", b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-"):
        with socket.create_connection(("127.0.0.1", client.port), timeout=page_server.PATIENCE) as line:
            line.sendall(said)
            assert received(line) == b""


def test_a_slow_upload_is_cut_off(client, picture):
    with raw(client, "POST", "/search", f"content-length: {len(picture)}") as line:
        line.sendall(picture[:10])
        assert b" 408 " in received(line)


def test_too_many_uploads_are_to_come_again(client, picture):
    with contextlib.ExitStack() as lines:
        for _ in range(2):
            line = lines.enter_context(raw(client, "POST", "/search", f"content-length: {len(picture)}"))
            line.sendall(picture[:10])
        reply = client.post("/search", picture)
        while reply.status == 200:  # the others are not there yet
            reply = client.post("/search", picture)
        assert reply.status == 503 and int(reply.headers["retry-after"]) >= 1
        assert client.get("/").status == 200


def test_others_are_answered_while_a_search_works(client, picture, monkeypatch):
    release, at_work, search = threading.Event(), threading.Event(), Searcher.search

    def slow(self, *arguments, **options):
        at_work.set()
        release.wait(page_server.PATIENCE)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Searcher, "search", slow)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(client.post("/search", picture))) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        assert at_work.wait(page_server.PATIENCE)
        assert client.get("/").status == 200 and client.get("/marks.json").status == 200
        assert client.get("/state").json()["pictures"] == 10
        refused = client.post("/search", picture)
        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1
    finally:
        release.set()
        for thread in threads:
            thread.join()
    assert sorted(reply.status for reply in replies) in ([200, 200], [200, 503])


@pytest.mark.slow
def test_a_request_takes_no_longer_than_it_may(client, picture, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(Searcher, "map", lambda *_: release.wait(page_server.PATIENCE))
    answer = client.search(picture)["answer"]
    try:
        reply = client.get(f"/answers/{answer}/1/map")
    finally:
        release.set()
    assert reply.status == 503 and "too long" in reply.error


def test_what_waits_in_vain_leaves_the_queue():
    async def act():
        worker, release = Worker("test", 1), threading.Event()
        try:
            first = asyncio.ensure_future(worker.do(release.wait))
            second = asyncio.ensure_future(worker.do(lambda: pytest.fail("it was given up")))
            await asyncio.sleep(0)
            with pytest.raises(Refused) as refused:
                await worker.do(lambda: None)
            assert refused.value.status == 503 and refused.value.again >= 1
            second.cancel()
            await asyncio.wait([second])
            await asyncio.sleep(0)
            third = asyncio.ensure_future(worker.do(lambda: 3))
            await asyncio.sleep(0)
            release.set()
            return await first, await third
        finally:
            worker.close()

    assert asyncio.run(act()) == (True, 3)
