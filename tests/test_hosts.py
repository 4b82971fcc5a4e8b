"""Two processes with two devices each: the results of one, files written once, and what goes wrong said at once."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import pytest

from dsr_jax import extract
from dsr_jax.parallel import hosts, sharding
from experiments import finetune
from experiments.training import checkpoint, termination
from tests import joined, kills
from tests.runners import ROOT, SMALL, call, metrics_of

ONE = sharding.mesh(jax.devices()[:1])
PATIENCE = 60  # seconds for the others to end when one has failed; JAX itself ends one that waits only after 100


@contextlib.contextmanager
def held_port():
    """A port that nobody listens on and that the system gives to nobody else; process 0 shares it, as gRPC may."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def together(*command, each, meanwhile=lambda started: None):
    """Output of two processes of a command, each given the three flags or arguments that join them."""
    with held_port() as port:
        return outputs(command, f"127.0.0.1:{port}", each, meanwhile)


def outputs(command, address, each, meanwhile):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    files = [tempfile.TemporaryFile("w+") for _ in range(4)]
    started = [
        subprocess.Popen(
            [sys.executable, *command, *each(address, number)],
            env=environment,
            stdout=files[2 * number],
            stderr=files[2 * number + 1],
        )
        for number in (0, 1)
    ]
    end = time.monotonic() + 600
    while time.monotonic() < end and any(process.poll() is None for process in started):
        if any(process.poll() for process in started):
            end = min(end, time.monotonic() + PATIENCE)
        meanwhile(started)
        time.sleep(0.01)
    for process in started:
        process.kill()
    found = []
    for process, output, errors in zip(started, files[::2], files[1::2], strict=True):
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
            file.close()
        found.append((process.wait(), *texts))
    return found


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def succeeded(found):
    assert all(code == 0 for code, *_ in found), found
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the two processes found, and the folder of their checkpoint."""
    folder = tmp_path_factory.mktemp("joined")

    def arguments(address, number):
        return str(folder / f"{number}.npz"), address, "2", str(number), str(folder / "checkpoints")

    succeeded(together("-m", "tests.joined", each=arguments))
    return [arrays_of(folder / f"{number}.npz") for number in (0, 1)], folder / "checkpoints"


@pytest.mark.slow
def test_all_processes_have_the_whole_result(results):
    (first, second), _ = results
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("form", joined.FORMS)
def test_losses_are_those_of_one_device(results, form):
    alone = joined.trained(form, ONE)[1]
    np.testing.assert_allclose(results[0][0][form], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_distances_and_maps_are_those_of_one_process(results):
    found = results[0][0]
    expected = {
        "active_set": joined.matched("active_set", identities=joined.LABELS).upper,
        "ridge": joined.matched("ridge", identities=joined.LABELS).distance,
        "joint": joined.matched("auto", dictionary="joint", boost=1.2).distance,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    options = {"convention": "torch", "output_stride": 16, "max_buckets": 1}
    maps = extract.maps(joined.network("resnet50")[0], joined.images(), **options)
    assert {one.shape[:2] for one in maps} == {(2, 2), (3, 2), (2, 3)}
    for i, values in enumerate(maps):
        np.testing.assert_allclose(found[f"resnet_map{i}"], values, rtol=1e-4, atol=1e-5 * values.max())


@pytest.mark.slow
def test_checkpoints_are_written_once_and_by_all_alike(results):
    (first, _), folder = results
    np.testing.assert_allclose(first["restored"], first["signed"], rtol=1e-5, atol=1e-5)
    assert checkpoint.Checkpoints(folder).steps() == [joined.HALF]
    alone, _, step = checkpoint.Checkpoints(folder).restore(joined.trained("signed", ONE, count=joined.HALF)[0])
    later = joined.trained("signed", ONE, count=joined.HALF, state=alone, first=step)[1]
    np.testing.assert_allclose(later, first["signed"][joined.HALF :], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_processes_that_differ_are_told_in_what(results):
    message = str(results[0][0]["disagreement"])
    assert message.startswith("the processes differ in flags: --steps; give all of them the same flags")


ASKED = (
    *("--dataset=folder", *SMALL, "--frozen_blocks=4", "--frozen_views=1", "--id_loss_weight=0.5", "--trials=1"),
    *("--steps=2", "--positives=4", "--negatives=2", "--batch_size=3", "--checkpoint_every=1", "--partial=none"),
    "--methods=resizing,dsr_single",
)


@pytest.mark.slow
def test_a_workdir_that_cannot_be_had_ends_all_processes(tmp_path, people, network):
    """The first process looks, and the others do not wait for it."""
    (tmp_path / "file").touch()
    arguments = (*ASKED, f"--data_dir={people}", f"--weights={network}", f"--workdir={tmp_path / 'file' / 'out'}")

    def flags(address, number):
        return *arguments, f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"

    (first, _, refused), (second, _, told) = together("-m", "experiments.finetune", each=flags)
    assert (first, second) == (1, 1)
    assert "file is no folder: give another --workdir" in refused
    assert "the processes differ in whether the first has the workdir: --workdir" in told


@pytest.mark.slow
def test_a_runner_as_two_processes_and_then_as_one(tmp_path, people, network):
    """Fine-tuning with evaluation, whose last step is then taken again on the eight devices of this process."""
    workdir = tmp_path / "out"
    arguments = (*ASKED, f"--data_dir={people}", f"--weights={network}", f"--workdir={workdir}")

    def flags(address, number):
        return *arguments, f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"

    (_, said, _), (_, silent, _) = succeeded(together("-m", "experiments.finetune", each=flags))
    assert "report: " in said and "rank1" in said and "report" not in silent and "rank1" not in silent
    log = [json.loads(line) for line in kills.lines(workdir / "log.jsonl")]
    assert [entry["step"] for entry in log] == [1, 2]
    figures, kept = metrics_of(workdir), {p.name: arrays_of(p) for p in (workdir / "distances").iterdir()}
    assert len(json.loads((workdir / "config.json").read_text())["device"]) == 4
    assert not list(workdir.rglob("*.partial")) and len(kept) == 4
    for name in ("metrics.json", "network.safetensors"):
        (workdir / name).unlink()
    for name in ("checkpoints/reconstruction/2", "distances"):
        shutil.rmtree(workdir / name)
    assert call(finetune, *arguments) == 0
    again = [json.loads(line) for line in kills.lines(workdir / "log.jsonl")]
    assert again[0] == log[0]
    assert again[1].pop("phase") == log[1].pop("phase") == "reconstruction"
    assert again[1] == pytest.approx(log[1], rel=1e-5, abs=1e-5)
    assert metrics_of(workdir) == pytest.approx(figures)
    for name, content in kept.items():
        found = arrays_of(workdir / "distances" / name)
        for key in content:
            if key.startswith("distances"):
                tolerance = 1e-6 if "dsr" in name else 1e-5 * np.abs(content[key]).max()
                np.testing.assert_allclose(found[key], content[key], atol=tolerance, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_and_nothing_is_lost(tmp_path, people, network):
    """A scheduler takes one machine away: both save the step that they are at; a start elsewhere goes on from it."""
    workdir = tmp_path / "out"
    asked = [flag for flag in ASKED if not flag.startswith(("--steps", "--positives", "--negatives"))]
    long = "--steps=20", "--positives=60", "--negatives=0", "--noevaluate", "--checkpoint_every=100"
    arguments = (*asked, *long, f"--data_dir={people}", f"--weights={network}", f"--workdir={workdir}")

    def flags(address, number):
        return *arguments, f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"

    def steps():
        return [json.loads(line)["step"] for line in kills.lines(workdir / "log.jsonl")]

    sent = []

    def end_one(started):
        log = workdir / "log.jsonl"
        if not sent and log.exists() and log.read_bytes().count(b"\n") >= 2:
            sent.append(started[1].send_signal(signal.SIGTERM))

    found = together("-m", "experiments.finetune", each=flags, meanwhile=end_one)
    assert [code for code, *_ in found] == [termination.EXIT_CODE] * 2, found
    stopped = steps()
    assert 2 <= len(stopped) < 20 and not (workdir / "network.safetensors").exists()
    assert (workdir / "checkpoints" / "reconstruction" / str(stopped[-1])).is_dir()
    assert call(finetune, *arguments) == 0  # on the eight devices of this process
    assert steps() == list(range(1, 21)) and (workdir / "network.safetensors").exists()


@pytest.mark.slow
def test_a_process_that_fails_does_not_wait_for_the_others(tmp_path, people, network):
    """One has other flags than the other: both say so, and end."""
    arguments = (*ASKED, f"--data_dir={people}", f"--weights={network}", f"--workdir={tmp_path / 'out'}")

    def flags(address, number):
        joining = f"--coordinator_address={address}", "--num_processes=2", f"--process_id={number}"
        return *arguments, f"--seed={number}", *joining

    for code, _, errors in together("-m", "experiments.finetune", each=flags):
        assert code == 1 and "error: the processes differ in flags or workdir: --seed;" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, None), "coordinator_address and process_id are missing beside num_processes: several processes"),
        ((None, 2, 0), "coordinator_address is missing beside num_processes and process_id"),
        (("localhost:1234", None, None), "num_processes and process_id are missing beside coordinator_address"),
        (("localhost:1234", 2, 2), "process_id must be 0 to 1 of 2 processes, got 2"),
        (("localhost:1234", 2, -1), "process_id must be 0 to 1 of 2 processes, got -1"),
        (("localhost:1234", 0, 0), "num_processes must be at least 1, got 0"),
        (("localhost", 2, 0), "coordinator_address must be host:port .* got 'localhost'"),
        (("localhost:http", 2, 0), "coordinator_address must be host:port .* got 'localhost:http'"),
        (("localhost:70000", 2, 0), "coordinator_address must be host:port .* got 'localhost:70000'"),
        ((":1234", 2, 0), "coordinator_address must be host:port .* got ':1234'"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_joined(given, message):
    with pytest.raises(ValueError, match=message):
        hosts.connect(*given)


@pytest.mark.parametrize(
    ("variable", "value", "launcher"),
    [
        ("SLURM_STEP_NUM_TASKS", "16", "SLURM"),
        ("SLURM_STEP_NUM_TASKS", "1", ""),
        ("OMPI_COMM_WORLD_SIZE", "2", "Open MPI"),
        ("TPU_WORKER_HOSTNAMES", "host0,host1", "Cloud TPU"),
        ("TPU_WORKER_HOSTNAMES", "localhost", ""),
        ("SLURM_JOB_ID", "7", ""),
    ],
)
def test_launchers_say_how_many_they_started(monkeypatch, variable, value, launcher):
    for known in hosts.LAUNCHERS.values():
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(variable, value)
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: asked.append(given))
    assert hosts.launched() == launcher
    assert hosts.connect() is bool(launcher) and asked == [(None, None, None)] * bool(launcher)


def test_the_cluster_is_asked_where_that_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: asked.append(given))
    assert hosts.connect("auto") and asked == [(None, None, None)]

    def nobody(*_):
        raise RuntimeError("deadline exceeded\n...")

    monkeypatch.setattr(jax.distributed, "initialize", nobody)
    with pytest.raises(ValueError, match="coordinator_address 127.0.0.1:99: the processes did not join"):
        hosts.connect("127.0.0.1:99", 2, 0)


def test_a_process_0_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(hosts, "PATIENCE", 0.0)
    with pytest.raises(ValueError, match="coordinator_address 127.0.0.1:[0-9]+ does not answer .* start process 0"):
        with held_port() as port:
            hosts.connect(f"127.0.0.1:{port}", 2, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("total", [0, 1, 4, 7, 8])
def test_parts_follow_each_other_and_are_alike(monkeypatch, count, total):
    monkeypatch.setattr(hosts, "count", lambda: count)
    parts = [range(total)[part] for part in hosts._parts(total)]
    assert [i for part in parts for i in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("total", [1, 5, 6])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_columns_come_together_in_blocks_of_rows(monkeypatch, total, block):
    """Both processes in turn, each answered with what the other would have said."""
    whole = np.random.default_rng(0).random((2, 3, total)).astype(np.float32)
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "BLOCK", block)
    parts = hosts._parts(total)
    widest, said = max(part.stop - part.start for part in parts), []

    def gather(mine):
        rows = slice(sum(map(len, said)), sum(map(len, said)) + len(mine))
        said.append(mine)
        blocks = [np.zeros_like(mine) for _ in parts]
        for one, part in zip(blocks, parts, strict=True):
            one[:, : part.stop - part.start] = whole.reshape(6, total)[rows, part]
        np.testing.assert_array_equal(mine, blocks[1])
        return np.stack(blocks)

    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
    np.testing.assert_array_equal(hosts.together(whole[..., parts[1]], total), whole)
    assert {piece.shape[1] for piece in said} == {widest} and len(said) == (6 if block == 1 else 1)
