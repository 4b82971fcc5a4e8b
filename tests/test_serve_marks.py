"""What the page of a search keeps: marks, and calibrations from them."""

import json
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from dsr_jax import calibration, networks
from experiments.settings import webpage
from experiments.webpage import marking
from experiments.webpage.kept import Kept, Mark
from experiments.webpage.refusal import Refused
from tests import page_server
from tests.page_server import GALLERY, gallery, place
from tests.runners import ROOT

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
    with page_server.open_copy(folder, tmp_path / "own") as page:
        yield page


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
    assert made[0]["settings"]["maps"] == networks.MAPS
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


def test_a_full_disk_is_said(client, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    answer = client.search(client.picture("probe/1.png"))
    monkeypatch.setattr(Kept, "mark", full)
    reply = client.post(place(answer, 1, "mark"), verdict="right")
    assert reply.status == 507 and "No space left" in reply.error
    assert json.loads(reply.body)["error"].startswith("It was not kept")
