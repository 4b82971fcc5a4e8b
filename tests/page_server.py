"""A page of tests: drawn people, a tiny network, a real server in a thread, and a client that sends what it is told."""

import asyncio
import contextlib
import http.client
import io
import json
import re
import shutil
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from PIL import Image

from data import binding, synthetic
from dsr_jax import match
from experiments import serve
from experiments.settings import webpage
from experiments.webpage import listening
from tests.runners import listing, network, write_people

SMALL = ("--size=64,32", "--output_stride=16", "--preprocessing=caffe", "--noprogress", "--port=0", "--seconds=600")
GALLERY = ".dsr_jax_gallery_people.csv"  # of these people
PATIENCE = 300  # seconds for an answer


@dataclass
class Reply:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json()["error"]


@dataclass
class Client:
    """A client of a page on this machine; every request has a connection of its own."""

    port: int
    token: str = ""
    people: Path = field(default_factory=Path)

    def send(self, method: str, path: str, body: Any = None, headers: Any = None, **query: Any) -> Reply:
        """A request, with the page's token if it changes something."""
        address = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        own = {"x-page-token": self.token} if method == "POST" else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, address, body, own | (headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Reply:
        return self.send("GET", path, **query)

    def post(self, path: str, body: Any = None, **query: Any) -> Reply:
        return self.send("POST", path, body, **query)

    def search(self, body: bytes, **query: Any) -> Any:
        """The answer to a picture, which must come."""
        reply = self.post("/search", body, **query)
        assert reply.status == 200, reply.body
        return reply.json()

    def picture(self, name: str) -> bytes:
        return (self.people / name).read_bytes()


def people(folder: Path, **options: Any) -> Path:
    """Five drawn people, two pictures each, and a probe of each; and the network's file."""
    write_people(folder, listing(shots=2), **options)
    network(folder)
    return folder


def settings(folder: Path, *arguments: str, pictures: str = "people.csv") -> serve.Settings:
    """Settings of a page of these people."""
    place = (f"--pictures={folder / pictures}",) if pictures else ()
    return binding.read(serve.Settings, [*place, f"--weights={folder / 'vgg16.npz'}", *SMALL, *arguments])


@contextlib.contextmanager
def open_page(how: serve.Settings, folder: Path) -> Iterator[Client]:
    """The page, served in a thread."""
    before = jax.config.jax_numpy_dtype_promotion, jax.config.jax_numpy_rank_promotion
    # As users have it, in all threads.
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        with listening.bound(how.served) as listener:
            page = serve.ready(how)
            server = listening.server(page.app, how.limits)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
            thread.start()
            try:
                client = Client(listener.getsockname()[1], people=folder)
                html = client.get("/").body.decode()
                client.token = re.search(r'name="page-token" content="([^"]+)"', html)[1]
                yield client
            finally:
                server.should_exit = True
                thread.join()
                page.close()
    finally:
        jax.config.update("jax_numpy_dtype_promotion", before[0])
        jax.config.update("jax_numpy_rank_promotion", before[1])


@contextlib.contextmanager
def open_copy(folder: Path, to: Path, *arguments: str) -> Iterator[Client]:
    """A page of a copy of the gallery alone, without marks."""
    own = copied(folder, to)
    webpage.kept(own / GALLERY).unlink()
    with open_page(settings(own, f"--gallery={own / GALLERY}", *arguments, pictures=""), own) as page:
        yield page


def place(answer: Any, rank: int, what: str) -> str:
    """The address of a place of an answer."""
    return f"/answers/{urllib.parse.quote(answer['answer'])}/{rank}/{what}"


def gallery(folder: Path, **options: Any) -> Any:
    """The gallery of these people, or of a copy."""
    return match.Gallery.open(folder / GALLERY, grouped=False, **options)


def stranger(number: int) -> bytes:
    """A picture of somebody who is not in the gallery."""
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw(synthetic.people(30)[number], 0, 0, height=64, width=32)).save(buffer, "PNG")
    return buffer.getvalue()


def copied(folder: Path, to: Path) -> Path:
    """A copy of people with their gallery."""
    return Path(shutil.copytree(folder, to))


@contextlib.contextmanager
def raw(client: Client, method: str, path: str, *headers: str) -> Iterator[socket.socket]:
    """A connection on which the head of a request was sent."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE) as line:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: 127.0.0.1:{client.port}",
            f"x-page-token: {client.token}",
            *headers,
        ]
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        yield line


def received(line: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)
