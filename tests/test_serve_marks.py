"""What the page of a search keeps: marks, calibrations from them, entries that it adds; and galleries that change."""

import io
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from data import synthetic
from dsr_jax import calibration, match
from experiments.settings import webpage
from experiments.webpage import marking
from experiments.webpage.kept import Kept, Mark
from experiments.webpage.refusal import Refused
from tests import page_server
from tests.runners import ROOT

GALLERY = ".dsr_jax_gallery_people.csv"
SETTINGS = {"l1": 0.4, "network": "a"}
WRITER = """
import sys
from pathlib import Path
from experiments.webpage.kept import Kept, Mark
kept, number = Kept(Path(sys.argv[1])), int(sys.argv[2])
while True:
    with kept.adding(f"{number}", b"x" * 100_000):
        kept_name = f"{number}"
    kept.mark(Mark(f"{number}", kept_name, None, -1, True, 0.5, 1, {}))
    print(number, flush=True)
    number += 1
"""


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
    own = page_server.copied(folder, tmp_path / "own")
    webpage.kept(own / GALLERY).unlink()
    with page_server.open_page(page_server.settings(own, f"--gallery={own / GALLERY}", pictures=""), own) as page:
        yield page


def place(answer, rank, what):
    return f"/answers/{urllib.parse.quote(answer['answer'])}/{rank}/{what}"


def gallery(folder, **options):
    return match.Gallery.open(folder / GALLERY, grouped=False, **options)


def stranger(number):
    """A picture of somebody who is not in the gallery, as bytes."""
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw(synthetic.people(30)[number], 0, 0, height=64, width=32)).save(buffer, "PNG")
    return buffer.getvalue()


# Marks


def test_marks_are_kept_and_counted(client, folder):
    answer = client.search(client.picture("probe/3.png"), k=3)
    before = client.get("/state").json()["marks"]
    for rank, verdict, right, wrong in ((1, "right", 1, 0), (2, "wrong", 1, 1), (1, "wrong", 0, 2), (1, "none", 0, 1)):
        counts = client.post(place(answer, rank, "mark"), verdict=verdict).json()
        assert (counts["right"] - before["right"], counts["wrong"] - before["wrong"]) == (right, wrong)
    marks = client.get("/marks.json")
    assert marks.headers["content-disposition"].startswith("attachment")
    made = marks.json()[-4:]
    assert [mark["verdict"] for mark in made] == [True, False, False, None]
    first = answer["hits"][0]
    assert (made[0]["name"], made[0]["distance"], made[0]["identity"]) == (
        first["name"],
        first["distance"],
        first["identity"],
    )
    assert made[0]["settings"]["scales"] == [1, 2, 3] and len(made[0]["probe"]) == 64
    assert len({mark["probe"] for mark in made}) == 1 and webpage.kept(folder / GALLERY).exists()
    for path, query, status in (
        (place(answer, 1, "mark"), {"verdict": "maybe"}, 400),
        (place(answer, 9, "mark"), {"verdict": "right"}, 404),
        ("/answers/guessed/1/mark", {"verdict": "right"}, 410),
    ):
        assert client.post(path, **query).status == status
    assert len(client.get("/marks.json").json()) == len(marks.json())


def test_another_box_is_another_probe(client):
    whole = client.picture("gallery/1_0.png")
    for query in ({}, {"box": "0,0,32,48"}):
        answer = client.search(whole, **query)
        client.post(place(answer, 1, "mark"), verdict="right")
    one, other = client.get("/marks.json").json()[-2:]
    assert one["probe"] != other["probe"]


def test_a_calibration_from_marks(alone, monkeypatch):
    reply = alone.post("/calibration")
    assert reply.status == 409 and f"0 answers are marked right and 0 wrong; {marking.NEEDED}" in reply.error
    monkeypatch.setattr(marking, "NEEDED", 3)
    for number in range(3):
        answer = alone.search(alone.picture(f"gallery/{number}_0.png"), k=10)
        alone.post(place(answer, 1, "mark"), verdict="right")
        alone.post(place(answer, 10, "mark"), verdict="wrong")
    version = alone.get("/state").json()["version"]
    assert alone.post("/calibration").json() == {"pairs": [3, 3], "method": "logistic"}
    state = alone.get("/state").json()
    assert state["calibration"]["pairs"] == [3, 3] and state["version"] == version + 1
    answer = alone.search(alone.picture("gallery/4_0.png"), k=10)
    assert answer["hits"][0]["probability"] > answer["hits"][9]["probability"]
    assert answer["nobody"] is None and "nobody is not known: the calibration is of pairs" in answer["remarks"][0]
    assert gallery(alone.people).calibration.fitted_on["network"]


def test_a_calibration_that_knows_nobody(alone, folder, tmp_path):
    rng = np.random.default_rng(0)
    near, far = rng.uniform(0.1, 0.2, 40), rng.uniform(0.18, 1, (40, 9))
    same = np.eye(10, dtype=bool)[np.zeros(40, int)]
    fitted = calibration.fit(np.concatenate([near[:, None], far], axis=1), same, fitted_on=calibration.settings("auto"))
    fitted.save(tmp_path / "fitted.json")
    own, flags = alone.people, (f"--calibration={tmp_path / 'fitted.json'}", "--false_positive_rate=0.1")
    with page_server.open_page(
        page_server.settings(own, f"--gallery={own / GALLERY}", *flags, pictures=""), own
    ) as page:
        assert page.get("/state").json()["calibration"] == {"pairs": [40, 360], "method": "isotonic"}
        answer = page.search(page.picture("gallery/3_0.png"))
        assert answer["nobody"] is False and answer["first_probability"] > 0.5
        assert "Somebody in this gallery, at a false-positive rate of 0.1." in answer["sentences"]
        assert answer["hits"][0]["probability"] > answer["hits"][-1]["probability"]


def mark(number, verdict, distance, settings=SETTINGS):
    return Mark(f"{number}", "a.png", None, -1, verdict, distance, 1, settings)


def test_marks_of_other_settings_do_not_count():
    rng = np.random.default_rng(0)
    right = [mark(i, True, distance) for i, distance in enumerate(rng.uniform(0.1, 0.3, marking.NEEDED))]
    wrong = [mark(i, False, distance) for i, distance in enumerate(rng.uniform(0.3, 0.6, marking.NEEDED))]
    fitted = marking.fitted([*right, *wrong], SETTINGS)
    assert fitted.pairs == (marking.NEEDED, marking.NEEDED) and fitted.probability(
        0.15
    ) > 0.9 > 0.1 > fitted.probability(0.55)
    others = [one._replace(settings={"l1": 0.3, "network": "a"}) for one in wrong]
    with pytest.raises(Refused, match="20 answers are marked right and 0 wrong.*20 marks are of other settings"):
        marking.fitted([*right, *others], SETTINGS)
    upside_down = [one._replace(verdict=not one.verdict) for one in (*right, *wrong)]
    with pytest.raises(Refused, match="No calibration fits"):
        marking.fitted(upside_down, SETTINGS)


@pytest.mark.slow
def test_marks_survive_kills(tmp_path):
    """What was confirmed is there after SIGKILL at any moment, and no half of anything."""
    path, rng = tmp_path / "kept.sqlite", np.random.default_rng(0)
    last = -1
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(last + 1)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(int(rng.integers(2, 12))):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            last = int(rest[-1]) if rest else last
        marks = Kept(path).marks()
        numbers = [int(one.probe) for one in marks]
        assert numbers == list(range(len(numbers))) and len(numbers) > last
        assert all(len(Kept(path).picture(one.name)) == 100_000 for one in marks)
        last = len(numbers) - 1
        file = sqlite3.connect(path)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        file.close()


def test_files_that_are_none(tmp_path):
    (tmp_path / "text").write_text("no database at all, but a text that is long enough" * 30)
    with pytest.raises(ValueError, match="kept"):
        Kept(tmp_path / "text")
    with pytest.raises(OSError, match="--kept"):
        Kept(tmp_path / "no" / "folder")
    file = sqlite3.connect(tmp_path / "later")
    file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(ValueError, match="version 99"):
        Kept(tmp_path / "later")


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
    nameless = alone.post("/entries", stranger(22), identity="43").json()["name"]
    assert nameless.startswith("added/") and nameless in gallery(alone.people).names


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
        pass
    assert kept.picture("a") == b"content"


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


def test_a_full_disk_is_said(client, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    answer = client.search(client.picture("probe/1.png"))
    monkeypatch.setattr(Kept, "mark", full)
    reply = client.post(place(answer, 1, "mark"), verdict="right")
    assert reply.status == 507 and "No space left" in reply.error
    assert json.loads(reply.body)["error"].startswith("It was not kept")
