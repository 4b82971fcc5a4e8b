"""Two processes with two devices each: the results of one, files written once, and what goes wrong said at once."""

import os
import socket
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import pytest

from dsr_jax import sharding
from tests import joined
from tests.runners import ROOT


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def together(*command, count=2, devices=2, each=lambda number: ()):
    """Output of the processes of a command, each given the three flags or arguments that join them."""
    address = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}
    files = [tempfile.TemporaryFile("w+") for _ in range(2 * count)]
    started = [
        subprocess.Popen(
            [sys.executable, *command, *each(address, number)],
            env=environment,
            stdout=files[2 * number],
            stderr=files[2 * number + 1],
        )
        for number in range(count)
    ]
    end = time.monotonic() + 300
    while time.monotonic() < end and any(process.poll() is None for process in started):
        if any(process.poll() for process in started):  # the others may wait for it
            time.sleep(2)
            break
        time.sleep(0.1)
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
    return [dict(np.load(folder / f"{number}.npz")) for number in (0, 1)], folder / "checkpoints"


def test_all_processes_have_the_whole_result(results):
    (first, second), _ = results
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("form", joined.FORMS)
def test_losses_are_those_of_one_device(results, form):
    alone = joined.trained(form, sharding.mesh(jax.devices()[:1]))[1]
    np.testing.assert_allclose(results[0][0][form], alone, rtol=1e-5, atol=1e-5)


def test_distances_and_maps_are_those_of_one_process(results):
    found = results[0][0]
    expected = {
        "active_set": joined.matched("active_set", identities=joined.LABELS).upper,
        "ridge": joined.matched("ridge", identities=joined.LABELS).distance,
        "joint": joined.matched("auto", dictionary="joint", boost=1.2).distance,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
