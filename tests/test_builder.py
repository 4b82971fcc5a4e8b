"""A data set is there whole or not at all: killed, out of space, two at once, changed sources, other versions."""

import errno
import fcntl
import functools
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import data
from data.builders import placing
from data.builders.builder import Builder, build
from data.builders.listing import Listing, Record
from data.prepare import prepare, remarks
from tests import disks
from tests.test_data import ROWS, people_csv

ROOT = Path(__file__).resolve().parent.parent


def listing(value: int = 0, *, count: int = 2, size: int = 50) -> Listing:
    records = [Record(f"{i}.png", i, 0, functools.partial(bytes, [value] * size)) for i in range(count)]
    return Listing({"probe": records})


def sums(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def builder_in(place: Path) -> Builder:
    return data.dataset_builder("folder", data_dir=place)


@pytest.mark.slow
def test_build_killed_anywhere_leaves_nothing_or_everything(tmp_path):
    command = [sys.executable, "-m", "tests.killed", str(tmp_path), "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["first", "replacing"]


def test_build_of_one_source_makes_the_same_bytes(tmp_path):
    people_csv(tmp_path / "mine", ROWS)
    command = [sys.executable, "-m", "data.prepare", "--dataset=folder", f"--source={tmp_path / 'mine' / 'people.csv'}"]
    # Another process hashes otherwise, which is what the order of a record's features hung on.
    subprocess.run([*command, f"--data_dir={tmp_path / 'a'}"], cwd=ROOT, check=True, capture_output=True)
    prepare("folder", tmp_path / "mine" / "people.csv", data_dir=tmp_path / "b")
    assert sums(tmp_path / "a") == sums(tmp_path / "b") and len(sums(tmp_path / "a")) == 6


def test_build_on_a_full_disk_leaves_nothing_and_names_it(tmp_path):
    """A file may not grow beyond 4 KiB here, which ArrayRecord hears of when it closes it, as on a full disk."""
    builder = builder_in(tmp_path)
    noise = os.urandom(8192)
    with (
        disks.full(4096),
        pytest.raises(OSError, match="cannot write the data set.*free some space, or give another --data_dir"),
    ):
        build(builder, Listing({"probe": [Record("a", 0, 0, lambda: noise)]}), fingerprint="")
    assert not builder.is_built and list(tmp_path.iterdir()) == []


def test_prepare_names_a_data_dir_without_permission_before_it_reads(tmp_path, monkeypatch):
    people_csv(tmp_path / "mine", ROWS)
    monkeypatch.setattr("data.prepare.checked", lambda *_, **__: pytest.fail("pictures were read"))
    source = tmp_path / "mine" / "people.csv"
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"file is no folder: give another --data_dir"):
            prepare("folder", source, data_dir=place)
    disks.refuse(monkeypatch)
    with pytest.raises(OSError, match=rf"{tmp_path} cannot be written to \(Read-only .*: give another --data_dir"):
        prepare("folder", source, data_dir=tmp_path / "new" / "deeper")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_build_raises_no_space_left_with_its_number(tmp_path, monkeypatch):
    def full(path: object, examples: object) -> None:
        raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing {path}")

    monkeypatch.setattr("tensorflow_datasets.core.ExampleWriter.write", lambda self, path, examples: full(path, 0))
    with pytest.raises(OSError, match="free some space") as caught:
        build(builder_in(tmp_path), listing(), fingerprint="")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_build_in_two_processes_at_once(tmp_path):
    source = people_csv(tmp_path / "mine", ROWS)
    command = [sys.executable, "-m", "data.prepare", "--dataset=folder", f"--source={source}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, f"--data_dir={tmp_path / 'data'}"], cwd=ROOT, **pipes) for _ in range(2)]
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["folder"]


def test_build_waits_for_another_process_and_uses_its_result(tmp_path):
    first, second = builder_in(tmp_path), builder_in(tmp_path)
    reads, inside, go_on = [], threading.Event(), threading.Event()

    def read() -> bytes:
        reads.append(0)
        inside.set()
        assert go_on.wait(600)
        return b"x"

    content = Listing({"probe": [Record("a", 0, 0, read)]})
    threads = [
        threading.Thread(target=build, args=(one, content), kwargs={"fingerprint": "f"}) for one in (first, second)
    ]
    threads[0].start()
    assert inside.wait(600)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(reads) == 1 and first.source("probe").names == second.source("probe").names == ["a"]


def test_placing_completes_a_killed_removal(tmp_path):
    build(builder_in(tmp_path), listing(), fingerprint="")
    (tmp_path / ".building-folder-x" / "replaced").mkdir(parents=True)  # the folder beside it is gone already
    (tmp_path / ".building-folder-y" / "folder" / "1.1.0").mkdir(parents=True)  # never finished
    assert len(builder_in(tmp_path).source("probe")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_build_passes_on_another_error_of_a_picture(tmp_path):
    def fail() -> bytes:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        build(builder_in(tmp_path), Listing({"probe": [Record("a", 0, 0, fail)]}), fingerprint="")
    assert list(tmp_path.iterdir()) == []


def test_build_refuses_another_source_built_in_the_meantime(tmp_path):
    build(builder_in(tmp_path), listing(1), fingerprint="one")
    with pytest.raises(ValueError, match="folder in .* is there, built from another source: pass --overwrite"):
        build(builder_in(tmp_path), listing(2), fingerprint="two")
    replaced = builder_in(tmp_path)
    build(replaced, listing(2, count=3), fingerprint="two", overwrite=True)
    assert len(replaced.source("probe")) == 3 and replaced.info.metadata["fingerprint"] == "two"


def test_placing_locked_takes_a_deleted_lock_anew(tmp_path):
    order = []
    with placing.locked(tmp_path, "x"):
        waiting = threading.Thread(target=lambda: order.append(_locked_once(tmp_path)))
        waiting.start()
    waiting.join()
    assert order == [True] and list(tmp_path.iterdir()) == []


def _locked_once(place: Path) -> bool:
    with placing.locked(place, "x"):
        return (place / ".x.lock").exists()


def test_placing_locked_names_a_file_system_without_locks(tmp_path, monkeypatch):
    def fail(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="file system without locks .*: prepare the data set in a local folder"):
        build(builder_in(tmp_path), listing(), fingerprint="")


# Versions


class Old(Builder):
    """A data set as older code writes it."""

    VERSION = "1.0.0"
    name = "changing"

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        if source is None:
            raise ValueError("--source is needed")
        return listing()


class New(Old):
    """The same as newer code writes it."""

    VERSION = "1.10.0"
    name = "changing"


@pytest.fixture
def versions(monkeypatch):
    monkeypatch.setitem(data.DATASETS, "changing", Old)
    return lambda builder: monkeypatch.setitem(data.DATASETS, "changing", builder)


def test_builder_notices_data_of_an_older_version(tmp_path, versions):
    prepare("changing", tmp_path, data_dir=tmp_path)
    assert data.load("changing", "probe", data_dir=tmp_path).names == ["0.png", "1.png"]
    versions(New)
    older = r"(?s)prepared by an older version of its builder \(1.0.0; this one is 1.10.0\): run\n.*--dataset=changing"
    with pytest.raises(ValueError, match=older):
        data.load("changing", "probe", data_dir=tmp_path)
    with pytest.raises(ValueError, match=older):
        prepare("changing", None, data_dir=tmp_path)
    ready = prepare("changing", tmp_path, data_dir=tmp_path)
    assert len(data.load("changing", "probe", data_dir=tmp_path)) == 2
    assert any("1.0.0 was written by another version of the builder: delete it" in line for line in remarks(ready))


def test_builder_notices_data_of_a_newer_version(tmp_path, versions):
    versions(New)
    prepare("changing", tmp_path, data_dir=tmp_path)
    versions(Old)
    with pytest.raises(ValueError, match=r"newer version of its builder \(1.10.0; .*update this code, or run"):
        data.load("changing", "probe", data_dir=tmp_path)


def test_build_replaces_a_folder_that_is_no_data_set(tmp_path):
    place = tmp_path / "folder" / data.DATASETS["folder"].VERSION
    place.mkdir(parents=True)
    (place / "half a copy").touch()
    prepared = builder_in(tmp_path)
    assert not prepared.is_built
    build(prepared, listing(), fingerprint="")
    assert len(prepared.source("probe")) == 2 and not (place / "half a copy").exists()


def test_builder_source_names_a_missing_shard(tmp_path):
    prepared = builder_in(tmp_path)
    build(prepared, listing(), fingerprint="")
    next(Path(prepared.data_dir).glob("*probe*")).unlink()
    with pytest.raises(
        ValueError, match="folder-probe.array_record.* is missing: prepare folder again, with --overwrite"
    ):
        prepared.source("probe")
