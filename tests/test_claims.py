"""A workdir is looked at and locked before the long work, by every runner, and let go in the end."""

import errno
import fcntl
import os
import re
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from data import browse
from dsr_jax import extract, map_file, weights
from dsr_jax.formats import atomic, locks
from experiments import (
    benchmark_pipeline,
    benchmark_speed,
    blend,
    claims,
    evaluate,
    export,
    finetune,
    pretrain,
    run,
    sweep,
)
from experiments.evaluation import comparison
from experiments.training import loop, start
from tests import disks, kills
from tests.runners import COMPARE, SMALL, call, contents, evaluated, metrics_of

TRAINING = ("--width=0.03125", "--plot_every=0", "--pretrain_steps=2", "--pretrain_batch_size=4")
RUNNERS = {
    "evaluate": (evaluate, "--weights=NETWORK", *COMPARE, *SMALL),
    "evaluate maps": (evaluate, "--maps=MAPS", "--methods=dsr_single", "--trials=1"),
    "sweep": (sweep, "--vary=l1", "--values=0.1;0.4", "--weights=NETWORK", "--methods=dsr_single", *SMALL),
    "pretrain": (pretrain, *TRAINING, *SMALL),
    "pretrain seeds": (pretrain, *TRAINING, *SMALL, "--seeds=2"),
    "finetune": (finetune, *TRAINING, *SMALL, "--steps=2", "--batch_size=2"),
    "benchmark_speed": (benchmark_speed, "--quick"),
    "benchmark_pipeline": (benchmark_pipeline,),
    "blend": (blend, "--weights=NETWORK", "--trained=NETWORK", "--holdout=2", *SMALL),
}


@pytest.fixture
def started(people, network, tmp_path, monkeypatch):
    """Starts a runner in OUT; no pixel may go through a network, and nothing be trained or compared."""
    map_file.write(
        tmp_path / "maps.npz", np.ones((2, 3, 2, 8)), identities=[1, 1], roles=["probe", "gallery"], cameras=[0, 1]
    )
    for module, name in ((extract, "maps"), (comparison, "distances"), (loop, "fit"), (start, "Start")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    for name in ("Inputs", "_stages", "OnnxNetwork"):
        for module in (benchmark_speed, benchmark_pipeline):
            monkeypatch.setattr(
                module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"), raising=False
            )

    def begin(name, workdir):
        runner, *arguments = RUNNERS[name]
        data = () if "maps" in name else ("--dataset=folder", f"--data_dir={people}")
        given = [text.replace("NETWORK", str(network)).replace("MAPS", f"{tmp_path}/maps.npz") for text in arguments]
        return call(runner, *data, "--noprogress", f"--workdir={workdir}", *given)

    return begin


def test_every_runner_with_a_workdir_is_looked_at_here():
    opening, files = r"= (workdir\.)?opened\(settings, ", Path(run.__file__).parent.rglob("*.py")
    written = {path.stem for path in files if re.search(opening, path.read_text())}
    assert {"pretrain", "finetune", "sweep", "benchmark_speed", "benchmark_pipeline", "seeds"} <= written
    assert written - {"seeds", "evaluate"} <= {name.split()[0] for name in RUNNERS}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_workdir_that_cannot_be_written_is_said_before_the_work(started, tmp_path, monkeypatch, capsys, runner):
    (tmp_path / "nas").touch()
    before = contents(tmp_path)
    assert started(runner, tmp_path / "nas" / "out") == 1
    assert f"error: {tmp_path / 'nas'} is no folder: give another --workdir" in capsys.readouterr().err
    disks.refuse(monkeypatch)
    assert started(runner, tmp_path / "new" / "out") == 1
    error = f"error: {tmp_path} cannot be written to (Read-only file system): give another --workdir"
    assert error in capsys.readouterr().err
    assert contents(tmp_path) == before and not (tmp_path / "new").exists()


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_second_run_learns_of_the_first_before_it_works(started, tmp_path, capsys, runner):
    (tmp_path / "out").mkdir()
    with locks.held(tmp_path / "out" / claims.LOCK, busy=pytest.fail):
        before = contents(tmp_path)
        assert started(runner, tmp_path / "out") == 1
        told = capsys.readouterr().err
        assert f"out is in use by another run, process {os.getpid()} on {os.uname().nodename}: wait" in told
        assert contents(tmp_path) == before


@pytest.mark.parametrize("folder", claims.FOLDERS)
def test_what_is_in_a_workdir_is_looked_at_as_well(started, tmp_path, capsys, folder):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / folder).touch()
    assert started("evaluate", tmp_path / "out") == 1
    assert f"{folder} is no folder: give another --workdir" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [folder]


def test_what_was_made_for_nothing_goes_again_and_what_was_there_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), claims.released():
        claims.claim(tmp_path / "runs" / "deep")
        assert (tmp_path / "runs" / "deep" / claims.LOCK).exists()
        (tmp_path / "runs" / "other").mkdir()
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["other", "runs"]
    with claims.released():
        claims.claim(tmp_path / "runs" / "other")
    assert (tmp_path / "runs" / "other").is_dir() and not list((tmp_path / "runs" / "other").iterdir())


def test_a_file_system_without_locks_is_a_caution(people, network, tmp_path, monkeypatch, capsys):
    def fail(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    evaluated(people, network, tmp_path / "out", "--methods=resizing")
    assert "file system without locks: see to it that no other run uses it" in capsys.readouterr().out


@pytest.mark.slow
def test_reading_a_workdir_that_is_at_work_is_no_work_in_it(people, network, tmp_path):
    assert (
        call(pretrain, "--dataset=folder", f"--data_dir={people}", *TRAINING, *SMALL, f"--workdir={tmp_path / 'net'}")
        == 0
    )
    with locks.held(tmp_path / "net" / claims.LOCK, busy=pytest.fail):
        evaluated(people, tmp_path / "net", tmp_path / "out", "--methods=resizing")
        # A finished training only says what it came to.
        again = ("--dataset=folder", f"--data_dir={people}", *TRAINING, *SMALL, f"--workdir={tmp_path / 'net'}")
        assert call(pretrain, *again) == 0


LONG = 100_000  # steps of a training that is killed long before its end


@pytest.mark.slow
def test_a_second_training_is_refused_and_one_that_was_killed_leaves_no_lock(people, tmp_path):
    workdir = tmp_path / "out"
    first = kills.start("pretrain", people, workdir, LONG)
    try:
        end = time.monotonic() + 600
        while kills._logged(workdir) < 3 and first.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        second = kills.start("pretrain", people, workdir, LONG)
        _, errors = second.communicate(timeout=600)
        assert second.returncode == 1 and f"in use by another run, process {first.pid} on " in errors
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert (workdir / claims.LOCK).exists()
    third = kills.start("pretrain", people, workdir, LONG)
    line = third.stdout.readline()
    third.send_signal(signal.SIGKILL)
    third.communicate()
    assert re.match(rf"identification: resumed at step \d+ of {LONG}", line)


def test_what_was_computed_outlives_a_disk_that_is_full_by_then(people, network, tmp_path, monkeypatch, capsys):
    """The figures are printed, and the distances lie elsewhere, from where they can be put back."""
    arguments = ("--methods=dsr_single", "--trials=1")
    opened = atomic.opened

    def full(path):
        if (tmp_path / "out") in Path(path).parents:
            with atomic.named(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path)

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "opened", full)
        evaluated(people, network, tmp_path / "out", *arguments, code=1)
    output, errors = capsys.readouterr()
    assert "config.json cannot be written (No space left on device): free some space" in errors
    assert re.search(r"dsr_single/shots1 +\d", output), "no figures"
    (rescued,) = (tmp_path / "tmp").rglob("*.npz")
    place = tmp_path / "out" / "distances" / "dsr_single-shots1.npz"
    assert f"the distances are in {rescued}: move that file to {place}, and a later start goes on from it" in output
    place.parent.mkdir(parents=True)
    rescued.rename(place)
    with monkeypatch.context() as patched:
        patched.setattr(comparison, "distances", lambda *_, **__: pytest.fail("computed again"))
        evaluated(people, network, tmp_path / "out", *arguments)
    assert f"{metrics_of(tmp_path / 'out')['dsr_single/shots1/rank1']:.1f}" in output


def test_distances_that_nobody_can_keep_are_used_all_the_same(people, network, tmp_path, monkeypatch, capsys):
    def full(path):
        with atomic.named(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(atomic, "opened", full)
    evaluated(people, network, tmp_path / "out", "--methods=dsr_single", code=1)
    output = capsys.readouterr().out
    assert "used in this run and not kept; nor are they elsewhere: " in output
    assert not list((tmp_path / "tmp").iterdir())
    assert re.search(r"dsr_single/shots1 +\d", output)


# Other places


def test_what_is_exported_or_kept_is_looked_at_before_the_work(people, network, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(weights, "load", lambda path: pytest.fail("weights were read"))
    for out, error in ((tmp_path / "file" / "v.zip", "file is no folder"), (tmp_path, "is a folder")):
        assert call(export, f"--weights={network}", f"--out={out}") == 1
        assert f"{error}: give another --out=FILE" in capsys.readouterr().err
    speed = ("--quick", "--dataset=folder", f"--data_dir={people}", f"--workdir={tmp_path / 'out'}")
    assert call(benchmark_speed, *speed, f"--kept_maps={tmp_path / 'file' / 'maps.npz'}") == 1
    assert "file is no folder: give another --kept_maps=FILE.npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(OSError, match="file is no folder: give another --out=FOLDER"):
        browse.check_out(tmp_path / "file" / "page")


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_is_said_and_a_whole_one_may_be_read_only(people, tmp_path, monkeypatch, capsys):
    frozen = ("--frozen_blocks=4", "--frozen_views=1", f"--frozen_cache={tmp_path / 'file' / 'cache'}")
    arguments = ("--dataset=folder", f"--data_dir={people}", *TRAINING, *SMALL, *frozen)
    (tmp_path / "file").touch()
    assert call(pretrain, *arguments, f"--workdir={tmp_path / 'a'}") == 1
    assert "file is no folder: give another --frozen_cache" in capsys.readouterr().err and not (tmp_path / "a").exists()
    (tmp_path / "file").unlink()
    assert call(pretrain, *arguments, f"--workdir={tmp_path / 'a'}") == 0
    opened, tried = atomic.opened, atomic.check_folder

    def refuse(path):
        assert (tmp_path / "file") not in Path(path).parents, "the cache was written to"
        return opened(path)

    def look(folder, **options):
        assert Path(folder) != tmp_path / "file" / "cache", "the cache was tried"
        tried(folder, **options)

    monkeypatch.setattr(atomic, "opened", refuse)
    monkeypatch.setattr(atomic, "check_folder", look)
    assert call(pretrain, *arguments, f"--workdir={tmp_path / 'b'}") == 0
    assert metrics_of(tmp_path / "b") == metrics_of(tmp_path / "a")
