"""What the page of a search keeps out: other sites, slow requests, too many at once."""

import asyncio
import concurrent.futures
import contextlib
import gc
import socket
import threading
import weakref

import pytest

from experiments.webpage import listening, uploads
from experiments.webpage.gate import Gate
from experiments.webpage.refusal import Refused
from experiments.webpage.searcher import Searcher
from experiments.webpage.worker import Worker
from tests import page_server
from tests.page_server import raw, received

TIGHT = ("--uploads=2", "--waiting=1")


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


class Queue:
    """What goes into the search's queue, and what leaves it."""

    def __init__(self):
        self.entered, self.left, self.refused = threading.Semaphore(0), threading.Semaphore(0), 0


@pytest.fixture
def queue(client, monkeypatch):
    found, do = Queue(), Worker.do

    async def told(self, job):
        if self.name != "search":
            return await do(self, job)
        task = asyncio.ensure_future(do(self, job))
        await asyncio.sleep(0)
        found.entered.release()
        try:
            return await task
        except Refused as refused:
            found.refused += refused.status == 503
            raise
        finally:
            found.left.release()

    monkeypatch.setattr(Worker, "do", told)
    return found


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
        {"origin": "http://["},
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
    assert client.send("GET", "/marks.json", None, opened).status == 403
    for destination in ("iframe", "image", "script"):
        headers = opened | {"sec-fetch-dest": destination}
        assert client.send("GET", "/", None, headers).status == 403
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


# Slow clients, and many


def test_a_silent_client_is_cut_off(client, monkeypatch):
    monkeypatch.setattr(listening.Protocol, "head", 0.2)
    for said in (b"", b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-"):
        with socket.create_connection(("127.0.0.1", client.port), timeout=page_server.PATIENCE) as line:
            line.sendall(said)
            assert received(line) == b""


def test_a_slow_upload_is_cut_off(client, picture, monkeypatch):
    monkeypatch.setattr(uploads, "SHARE", 6000)
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


def test_others_are_answered_while_a_search_works(client, picture, monkeypatch, queue):
    release, search = threading.Event(), Searcher.search

    def slow(self, *arguments, **options):
        release.wait(page_server.PATIENCE)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Searcher, "search", slow)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(client.post("/search", picture))) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            assert queue.entered.acquire(timeout=page_server.PATIENCE)
        assert client.get("/").status == 200 and client.get("/marks.json").status == 200
        assert client.get("/state").json()["pictures"] == 10
        refused = client.post("/search", picture)
        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1
    finally:
        release.set()
        for thread in threads:
            thread.join()
    assert [reply.status for reply in replies] == [200, 200]


def test_a_request_takes_no_longer_than_it_may():
    sent = []

    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    gate = Gate(app, host="127.0.0.1", seconds=0.01)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"127.0.0.1")]}
    asyncio.run(gate(scope, None, send))
    assert sent[0]["status"] == 504 and b"too long" in sent[1]["body"]


class Content(bytearray):
    """Bytes that can be watched."""


def test_what_waits_in_vain_leaves_the_queue():
    done = []

    async def act():
        worker, release, begun = Worker("test", 1), threading.Event(), threading.Event()
        try:
            first = asyncio.ensure_future(worker.do(lambda: begun.set() or release.wait()))
            while not begun.is_set():
                await asyncio.sleep(0.01)
            for _ in range(3):
                content = Content(9)
                there = weakref.ref(content)
                second = asyncio.ensure_future(worker.do(lambda content=content: done.append(content)))
                del content
                await asyncio.sleep(0)
                with pytest.raises(Refused) as refused:
                    await worker.do(lambda: None)
                assert refused.value.status == 503 and refused.value.again >= 1
                second.cancel()
                await asyncio.wait([second])
                del second
                gc.collect()
                assert there() is None, "while the first is at work still"
            third = asyncio.ensure_future(worker.do(lambda: 3))
            await asyncio.sleep(0)
            release.set()
            return await first, await third
        finally:
            release.set()
            worker.close()

    assert asyncio.run(act()) == (True, 3) and done == []


def test_what_is_at_work_counts_until_it_is_done():
    async def act():
        worker, release, begun = Worker("test", 0), threading.Event(), threading.Event()
        first = asyncio.ensure_future(worker.do(lambda: begun.set() or release.wait()))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        with pytest.raises(Refused):
            await worker.do(lambda: None)
        worker.close(seconds=0.01)  # which does not wait for ever
        release.set()

    asyncio.run(act())


def test_who_hangs_up_leaves_the_queue(client, picture, monkeypatch, queue):
    release, search, searched = threading.Event(), Searcher.search, []

    def slow(self, *arguments, **options):
        searched.append(arguments)
        release.wait(page_server.PATIENCE)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Searcher, "search", slow)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(client.post, "/search", picture)
            assert queue.entered.acquire(timeout=page_server.PATIENCE)
            for _ in range(3):  # one may wait
                with raw(client, "POST", "/search", f"content-length: {len(picture)}") as line:
                    line.sendall(picture)
                    assert queue.entered.acquire(timeout=page_server.PATIENCE)
                assert queue.left.acquire(timeout=page_server.PATIENCE)
        finally:
            release.set()
        assert first.result().status == 200
    assert client.post("/search", picture).status == 200 and len(searched) == 2 and queue.refused == 0
