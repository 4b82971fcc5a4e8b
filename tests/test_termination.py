"""SIGTERM: training saves and the run exits with a code of its own; a second start ends where it would have."""

import os
import shutil
import signal
import threading

import pytest

from dsr_jax import weights
from experiments import finetune, pretrain, run, termination

from . import kills
from .runners import SMALL, call, contents


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_raised_at_once_outside_of_training():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(termination.Terminated), termination.raised():
        terminate()
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_is_noted_and_raised_on_leaving():
    reached = []
    with pytest.raises(termination.Terminated), termination.raised(), termination.noted() as told:
        assert not told()
        terminate()
        assert told()
        reached.append(True)
    assert reached


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
    def job():
        raise error

    assert run.attempt(job) == termination.EXIT_CODE == 75
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


def test_training_saves_the_step_and_goes_on_from_it(people, tmp_path, monkeypatch, capsys):
    assert pretrained(people, tmp_path / "whole") == 0
    log = run.Workdir.log

    def told_to_end(self, **entry):
        log(self, **entry)
        if entry["step"] == 3:
            terminate()

    with monkeypatch.context() as patched:
        patched.setattr(run.Workdir, "log", told_to_end)
        assert pretrained(people, tmp_path / "run") == 75
    assert not (tmp_path / "run" / weights.WORKDIR_FILE).exists()
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints" / "identification").iterdir()] == ["3"]
    capsys.readouterr()
    assert pretrained(people, tmp_path / "run", "--checkpoint_every=1", "--progress") == 0  # both free
    assert "identification: resumed at step 3 of 6" in capsys.readouterr().out
    assert kills.differences(tmp_path / "whole", tmp_path / "run") == []


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
    monkeypatch.setattr(finetune.training, "Start", lambda workdir, **_: terminate())
    assert pretrained(people, tmp_path / "run") == 75
    assert contents(tmp_path) == {}
