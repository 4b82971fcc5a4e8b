"""Atomic writes: all or nothing, one plain error on a full disk, and places that are looked at before the work."""

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from dsr_jax import fcn, map_file, match, weights
from dsr_jax.formats import atomic
from dsr_jax.report import assets
from experiments import workdir as workdirs
from experiments.benchmarks.maps import Store
from experiments.evaluation import paired
from experiments.training import divergence
from tests import disks

ROOT = Path(__file__).resolve().parent.parent
ROOM = 1 << 12
PARAMS = fcn.init(jax.random.key(0), width=1 / 16)
LARGE = np.random.default_rng(0).random((1, 100, 100), dtype=np.float32)  # more than there is room for


@pytest.fixture
def full() -> Iterator[None]:
    """A disk on which no file can grow beyond `ROOM` bytes."""
    with disks.full(ROOM):
        yield


def _divergence(path: Path) -> None:
    workdir = workdirs.Workdir(path.parent, {})
    with contextlib.suppress(ValueError):  # what it is for
        divergence.check({"loss": np.nan}, {"inputs": LARGE}, phase="x", step=1, limit=1, workdir=workdir)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "whole": ("file", lambda path: atomic.write(path, LARGE.tobytes())),
    "gallery": ("gallery.npz", lambda path: match.Gallery.build([LARGE], scales=(1,)).save(path)),
    "maps": ("maps.npz", lambda path: map_file.write(path, [LARGE], identities=[1])),
    "weights": ("vgg.safetensors", lambda path: weights.save(path, PARAMS, weights.Card(width=1 / 16))),
    "figures": ("figures.npz", lambda path: paired.write(path, {"a": {"rank1": LARGE}}, np.arange(1))),
    "kept maps": ("kept.npz", lambda path: Store(path).get("vgg", {}, lambda: [LARGE])),
    "page": ("index.html", lambda path: assets.replace(path.parent, {"picture-1.jpg": LARGE.tobytes()}, "page")),
    "bad batch": ("bad_batch.npz", _divergence),
    "text": ("speed.txt", lambda path: workdirs.write_text(path, "x" * 2 * ROOM)),
}


@pytest.mark.parametrize("before", [None, b"older"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_plain_error_and_leaves_nothing(full, tmp_path, writer, before):
    name, write = WRITERS[writer]
    path = tmp_path / name
    if before and writer != "kept maps":
        path.write_bytes(before)
    there = sorted(tmp_path.iterdir())
    with pytest.raises(
        OSError, match=re.escape(f"{path} cannot be written ({os.strerror(errno.EFBIG)}): free")
    ) as told:
        write(path)
    assert told.value.errno == errno.EFBIG
    assert sorted(tmp_path.iterdir()) == there and (path not in there or path.read_bytes() == before)


def test_what_fails_while_it_is_written_keeps_its_own_words(tmp_path):
    """A map's own file that is not there is not the file that is written."""

    def maps():
        yield LARGE
        (tmp_path / "picture.png").read_bytes()

    with pytest.raises(FileNotFoundError, match=r"picture\.png'$"):
        map_file.write(tmp_path / "maps.npz", maps(), identities=[1, 2])
    assert list(tmp_path.iterdir()) == []


def test_folders_and_devices_are_not_replaced(tmp_path):
    for target, reason in ((tmp_path, "is a folder"), (Path(os.devnull), "is no ordinary file")):
        for act in (atomic.check_file, functools.partial(atomic.write, content=b"x")):
            with pytest.raises(OSError, match=f"{target} {reason}: name another file"):
                act(target)
    assert Path(os.devnull).is_char_device()


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    atomic.check_folder(tmp_path / "new" / "deeper")
    atomic.check_file(tmp_path / "new" / "file")
    atomic.check_file(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError, match="link is a link that leads nowhere: give another"):
        atomic.check_folder(tmp_path / "link" / "below", remedy="give another")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, where nobody may write")
def test_a_place_that_refuses_is_named_with_the_reason():
    with pytest.raises(OSError, match=r"/proc cannot be written to \(.*\): give another --workdir"):
        atomic.check_folder("/proc/out", remedy="give another --workdir")


def test_files_are_written_here_alone():
    """The log is appended to; the null device and /proc take no files beside them."""
    writing = re.compile(
        r'(?<!archive\.)open\([^()\n]*"[wxa]b?\+?"|(?<!workdir)\.write_(text|bytes)\(|os\.(replace|rename)\(|open_memmap'
    )
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("data", "dsr_jax", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if writing.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"experiments/run.py", "experiments/workdir.py", "experiments/benchmarks/one_matching.py"}


def test_text_is_read_and_written_as_utf_8():
    """Whatever the locale says."""
    reading = re.compile(r'\.read_text\(\)|open\([^()\n]*"[wxa]"\)|\.write_text\([^()\n]*\)')
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("data", "dsr_jax", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if reading.search(re.sub(r"^ *(\.\.\.|>>>).*$", "", path.read_text(encoding="utf-8"), flags=re.M))
    }
    assert found == {"experiments/benchmarks/one_matching.py"}  # /proc
