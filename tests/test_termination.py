"""SIGTERM and SIGHUP: training saves and the run exits with a code of its own; a second start ends where it would."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from dsr_jax import weights
from experiments import pretrain, run
from experiments import workdir as workdirs
from experiments.training import checkpoint, termination

from . import kills
from .runners import ROOT, SMALL, call, contents


def terminate(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def attended():
    """SIGHUP as of a terminal, also where the tests run under nohup; children inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


both = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])


@both
def test_it_is_raised_at_once_outside_of_training(number):
    before = signal.getsignal(number)
    with pytest.raises(termination.Terminated), termination.raised():
        terminate(number)
    assert signal.getsignal(number) == before


@both
def test_it_is_noted_and_raised_on_leaving(number):
    reached = []
    with pytest.raises(termination.Terminated), termination.raised(), termination.noted() as told:
        assert not told()
        terminate(number)
        assert told()
        reached.append(True)
    assert reached


def test_a_hang_up_that_is_ignored_as_under_nohup_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination.raised(), termination.noted() as told:
            terminate(signal.SIGHUP)
            assert not told()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_terminal_that_is_closed_saves_the_step(people, tmp_path):
    """The training leads the session of a terminal of its own, writes its bar and its last words to it, and goes on."""
    master, terminal = pty.openpty()
    lead = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", lead, sys.executable]
    command += ["-m", "experiments.pretrain", "--dataset=folder", f"--data_dir={people}", *SMALL[:2]]
    command += ["--width=0.03125", "--plot_every=0", "--pretrain_batch_size=4", "--pretrain_steps=100000"]
    command += ["--checkpoint_every=100000", f"--workdir={tmp_path / 'run'}"]
    process = subprocess.Popen(
        command,
        **dict.fromkeys(("stdin", "stdout", "stderr"), terminal),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    os.close(terminal)
    log, end = tmp_path / "run" / "log.jsonl", time.monotonic() + 600
    while not (log.exists() and log.read_bytes().count(b"\n") > 2) and time.monotonic() < end:
        select.select([master], [], [], 0.05)[0] and os.read(master, 1 << 16)
    os.close(master)
    assert process.wait(timeout=600) == 75
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    saved = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints" / "identification").steps()
    assert saved == steps[-1:] and 2 < saved[0] < 100000


def test_what_another_process_was_told_ends_this_one_too(monkeypatch):
    monkeypatch.setattr(termination, "_anywhere", lambda here: True)
    with pytest.raises(termination.Terminated), termination.noted() as told:
        assert told()


def test_an_error_in_the_block_is_told_rather_than_the_signal():
    with pytest.raises(ZeroDivisionError), termination.noted():
        terminate()
        raise ZeroDivisionError


def test_other_threads_leave_signals_alone():
    found = []

    def work():
        with termination.raised(), termination.noted() as told:
            found.append(told())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.mark.parametrize("error", [termination.Terminated(), ValueError("INTERNAL: ...callback: Terminated:")])
def test_the_exit_code_is_its_own_whoever_reports_it(error, capsys):
    def job(settings):
        raise error

    assert run.attempt(job, pretrain.Settings, []) == termination.EXIT_CODE == 75
    assert "start again with the same flags" in capsys.readouterr().err


def pretrained(people, workdir, *arguments):
    common = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--plot_every=0",
        "--pretrain_batch_size=4",
        *SMALL,
    )
    return call(pretrain, *common, "--pretrain_steps=6", f"--workdir={workdir}", *arguments)


@pytest.mark.slow
def test_training_saves_the_step_and_goes_on_from_it(people, tmp_path, monkeypatch, capsys):
    assert pretrained(people, tmp_path / "whole") == 0
    log = workdirs.Workdir.log

    def told_to_end(self, **entry):
        log(self, **entry)
        if entry["step"] == 3:
            terminate()

    with monkeypatch.context() as patched:
        patched.setattr(workdirs.Workdir, "log", told_to_end)
        assert pretrained(people, tmp_path / "run") == 75
    assert not (tmp_path / "run" / weights.WORKDIR_FILE).exists()
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints" / "identification").iterdir()] == ["3"]
    capsys.readouterr()
    assert pretrained(people, tmp_path / "run", "--checkpoint_every=1", "--progress") == 0  # both free
    assert "identification: resumed at step 3 of 6" in capsys.readouterr().out
    assert kills.differences(tmp_path / "whole", tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_training_goes_on_from_before_a_damaged_checkpoint_and_ends_the_same(people, tmp_path, capsys):
    assert pretrained(people, tmp_path / "run", "--checkpoint_every=2") == 0
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    (tmp_path / "run" / "metrics.json").unlink()
    newest = tmp_path / "run" / "checkpoints" / "identification" / "6"
    for file in (file for file in newest.rglob("*") if file.is_file() and "commit" not in file.name):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.warns(UserWarning, match="6 is damaged, passed over"):
        assert pretrained(people, tmp_path / "run", "--checkpoint_every=2") == 0
    assert "resumed at step 4 of 6" in capsys.readouterr().out
    assert kills.differences(tmp_path / "whole", tmp_path / "run") == []


def test_a_signal_before_training_ends_the_run_as_well(people, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "Start", lambda *_, **__: terminate())
    assert pretrained(people, tmp_path / "run") == 75
    assert contents(tmp_path) == {}
