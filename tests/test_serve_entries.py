"""Entries that the page of a search adds, and galleries that change."""

import contextlib
import io
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image

from dsr_jax import match
from experiments.settings import webpage
from experiments.webpage import kept as kept_module
from experiments.webpage.kept import Kept, Mark
from tests import page_server
from tests.page_server import GALLERY, gallery, place, stranger


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return page_server.people(tmp_path_factory.mktemp("marks"))


@pytest.fixture(scope="module")
def client(folder):
    with page_server.open_page(page_server.settings(folder), folder) as client:
        yield client


@pytest.fixture
def alone(client, folder, tmp_path):
    """A page of its own gallery, which a test may spoil."""
    with page_server.open_copy(folder, tmp_path / "own") as page:
        yield page


# Entries


def test_an_added_picture_is_found_and_shown(alone):
    somebody = stranger(20)
    labels = {"name": "new/ä.png", "identity": "42", "camera": "7", "time": "1000.5"}
    added = alone.post("/entries", somebody, **labels).json()
    assert added["pictures"] == 11 and added["name"] == "new/ä.png"
    answer = alone.search(somebody, k=2)
    first = answer["hits"][0]
    assert (first["name"], first["identity"], first["camera"], first["time"]) == ("new/ä.png", "42", 7, 1000.5)
    assert Image.open(io.BytesIO(alone.get(place(answer, 1, "picture")).body)).size == (32, 64)
    assert alone.get(place(answer, 2, "picture")).status == 404, "this page was started without --pictures"
    assert "Your picture from new/ä.png" in alone.get(place(answer, 1, "map")).body.decode()
    assert alone.get("/state").json()["cameras"] == [1, 7]
    again = alone.post("/entries", stranger(21), **labels)
    assert again.status == 409 and "another name" in again.error
    assert alone.search(somebody, k=1)["hits"][0]["name"] == "new/ä.png"
    nameless = [
        alone.post("/entries", stranger(22), identity="43", **part).json()["name"]
        for part in ({}, {"box": "0,0,32,40"}, {"mask": "2,1,gA=="})
    ]
    assert len(set(nameless)) == 3 and {name.partition("/")[0] for name in nameless} == {"added"}
    assert set(nameless) < set(gallery(alone.people).names)


def test_a_box_and_paint_of_an_added_picture(alone):
    whole = alone.picture("gallery/2_0.png")
    alone.post("/entries", whole, name="box", identity="2", box="0,0,32,40")
    half = np.zeros((2, 1), bool)
    half[0] = True
    mask = "2,1," + "gA=="
    assert alone.post("/entries", whole, name="half", identity="2", mask=mask).status == 200
    found = gallery(alone.people)
    np.testing.assert_array_equal(found.masks[found.names.index("half")], np.repeat(half, 2, axis=0).repeat(2, axis=1))
    assert found.masks[found.names.index("box")].all()
    assert alone.search(whole, k=12)["searched"] == 12


@pytest.mark.parametrize(
    ("labels", "wrong"),
    [
        ({}, "say of whom"),
        ({"identity": "1", "camera": "north"}, "camera must be"),
        ({"identity": "1", "time": "noon"}, "time must be"),
        ({"identity": "1", "time": "1e300"}, "time must be"),
        ({"identity": "1", "name": "a" * 300}, "name must have at most"),
        ({"identity": "1", "name": "a\nb"}, "that can be shown"),
    ],
)
def test_labels_that_do_not_fit_add_nothing(client, labels, wrong):
    before = client.get("/state").json()
    reply = client.post("/entries", stranger(20), **labels)
    assert reply.status == 400 and wrong in reply.error
    assert client.get("/state").json() == before


def test_a_failed_addition_leaves_no_picture(tmp_path):
    kept = Kept(tmp_path / "kept.sqlite")
    with pytest.raises(ZeroDivisionError), kept.adding("a", b"content"):
        raise ZeroDivisionError
    assert kept.picture("a") is None
    with kept.adding("a", b"content"):
        Kept(tmp_path / "kept.sqlite").mark(Mark("a", "b", None, -1, True, 0.5, 1, {}))  # nobody waits meanwhile
    assert kept.picture("a") == b"content"
    with pytest.raises(ZeroDivisionError), kept.adding("a", b"another"):
        raise ZeroDivisionError
    assert kept.picture("a") == b"content", "that of the entry that there is"


def test_a_picture_is_kept_before_its_entry(tmp_path):
    kept = Kept(tmp_path / "kept.sqlite")
    with kept.adding("a", b"content"):
        assert kept.picture("a") == b"content"


def test_a_file_that_another_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_module, "WAIT", 0.01)
    kept = Kept(tmp_path / "kept.sqlite")
    with contextlib.closing(sqlite3.connect(kept.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="another process is writing: try again"), kept.adding("a", b"content"):
            pytest.fail("it was not kept")


def test_pictures_of_entries_that_are_gone_are_dropped(tmp_path):
    kept = Kept(tmp_path / "kept.sqlite")
    for name in ("a", "b"):
        with kept.adding(name, b"content"):
            pass
    kept.forget({"a"})
    assert kept.picture("b") == b"content", "it may be added just now"
    kept.forget({"a"}, seconds=0)
    assert kept.picture("a") == b"content" and kept.picture("b") is None


def test_a_listed_picture_goes_before_a_kept_one(folder, tmp_path):
    own = page_server.copied(folder, tmp_path / "own")
    buffer = io.BytesIO()
    Image.new("RGB", (32, 64), "red").save(buffer, "PNG")
    with Kept(webpage.kept(own / GALLERY)).adding("gallery/3_0.png", buffer.getvalue()):
        pass
    with page_server.open_page(page_server.settings(own), own) as page:
        answer = page.search(page.picture("gallery/3_0.png"), k=1)
        assert answer["hits"][0]["name"] == "gallery/3_0.png"
        shown = np.asarray(Image.open(io.BytesIO(page.get(place(answer, 1, "picture")).body)), float)
    wanted = np.asarray(Image.open(own / "gallery" / "3_0.png").convert("RGB"), float)
    assert abs(shown - wanted).mean() < 10


def test_a_gallery_without_identities_takes_none(folder, client, tmp_path):
    own = tmp_path / "plain"
    (own / "gallery").mkdir(parents=True)
    for name in ("0_0.png", "1_0.png"):
        shutil.copy(folder / "gallery" / name, own / "gallery" / name)
    shutil.copy(folder / "vgg16.npz", own / "vgg16.npz")
    with page_server.open_page(page_server.settings(own, pictures="gallery"), own) as page:
        assert page.get("/state").json()["identities"] is False
        reply = page.post("/entries", stranger(20), identity="5")
        assert reply.status == 400 and "no identities" in reply.error
        assert page.post("/entries", stranger(20), name="x.png").json()["pictures"] == 3
        assert page.search(stranger(20))["hits"][0]["name"] == "x.png"


# Galleries that change


def test_what_another_program_does_is_seen(alone):
    picture = alone.picture("gallery/3_0.png")
    answer = alone.search(picture, k=10)
    there = gallery(alone.people)
    there.remove(names=["gallery/3_0.png"]).compact()
    later = alone.search(picture, k=10)
    assert later["searched"] == 9 and "gallery/3_0.png" not in {hit["name"] for hit in later["hits"]}
    reply = alone.get(place(answer, 1, "map"))
    assert reply.status == 410 and "search again" in reply.error
    assert alone.post(place(answer, 1, "mark"), verdict="right").status == 200


def test_a_gallery_that_is_gone_or_of_another_network(alone):
    picture = alone.picture("gallery/3_0.png")
    answer = alone.search(picture)
    network = dict(gallery(alone.people).network)
    shutil.rmtree(alone.people / GALLERY)
    for reply in (alone.post("/search", picture), alone.get("/state"), alone.post("/entries", picture, identity="1")):
        assert reply.status == 503 and "start the page again" in reply.error
    assert alone.get(place(answer, 1, "map")).status == 410
    maps = np.random.default_rng(0).random((3, 4, 2, 16)).astype(np.float32)
    match.Gallery.create(alone.people / GALLERY, maps, names=list("abc"), network=network | {"sha256": "another"})
    reply = alone.post("/search", picture)
    assert reply.status == 503 and "sha256 is" in reply.error
    assert alone.get("/").status == 200


def test_a_gallery_that_is_damaged(alone):
    picture = alone.picture("gallery/3_0.png")
    for file in (alone.people / GALLERY / "data").iterdir():
        file.unlink()
    replies = [alone.post("/search", picture, **filters) for filters in ({}, {"cameras": "0,1"})]
    for file in (alone.people / GALLERY / "_versions").iterdir():
        file.touch()  # so that it is opened again
    replies += [alone.get("/state"), alone.post("/entries", picture, identity="1")]
    for reply in replies:
        assert reply.status == 503 and "start the page again" in reply.error and "/" not in reply.error, reply.error
