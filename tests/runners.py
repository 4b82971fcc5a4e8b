"""Runners in the tests: drawn people as a prepared folder, a tiny network, and how a runner is started."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from PIL import Image

import data.prepare
from data import synthetic
from dsr_jax import fcn
from experiments import evaluate, run

ROOT = Path(__file__).resolve().parent.parent
flags.FLAGS(["tests"])  # Grain reads flags of its own
HEIGHT, WIDTH = 64, 32
PARAMS = fcn.init(jax.random.key(0), width=1 / 32)
RANKS = (1, 3, 5, 10, 20)
SMALL = ("--size=64,32", "--output_stride=16", "--noprogress")
METHODS = ("resizing", "dsr_single", "dsr_multi")
COMPARE = ("--methods=resizing,dsr_single,dsr_multi", "--trials=1", "--partial=none")


def call(runner, *arguments):
    """Runs a runner in this process: the exit code."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return run.attempt(runner.main, runner.Settings, arguments)


def start(module, *arguments, **options):
    """Starts a runner in a process of its own (whose one device rounds otherwise than the eight of the tests)."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **options)


def finished(process):
    """Output and errors of a process that must succeed."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output, errors


def write_people(folder, listed, *, cameras=True):
    """Draws a picture per row (path, identity, camera, role, share of the height that is seen) and the CSV."""
    crowd = {who.identity: who for who in synthetic.people(12)}
    lines = [("path", "identity", "camera", "role") if cameras else ("path", "identity", "role")]
    for number, (path, identity, camera, role, seen) in enumerate(listed):
        picture = synthetic.draw(crowd[max(identity, 0)], camera, number, height=HEIGHT, width=WIDTH)  # -1 is nobody
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[: round(seen * HEIGHT)]).save(folder / path)
        lines.append((path, identity, camera, role) if cameras else (path, identity, role))
    with (folder / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "people.csv"


def prepared(folder, listed, **options):
    """A prepared data set of those pictures: its --data_dir."""
    data.prepare.prepare("folder", write_people(folder, listed, **options), data_dir=folder / "data")
    return folder / "data"


def listing(probes=(0, 1, 2, 3, 4), gallery=(0, 1, 2, 3, 4), *, cameras=(0, 1), shots=1):
    found = [(f"probe/{i}.png", i, cameras[0], "probe", 0.6 + 0.05 * i) for i in probes]
    return found + [(f"gallery/{i}_{s}.png", i, cameras[1], "gallery", 1.0) for i in gallery for s in range(shots)]


def people(folder):
    """--data_dir with four people to train on and five to test on."""
    train = [(f"train/{i}_{c}.png", i, c, "train", 1.0) for i in (8, 9, 10, 11) for c in (0, 1)]
    return prepared(folder, listing() + train)


def network(folder):
    """A tiny random network as a Keras file."""
    path = folder / "vgg16.npz"
    np.savez(path, **{f"{layer}/{name}": values for layer, leaf in PARAMS.items() for name, values in leaf.items()})
    return path


def metrics_of(workdir):
    return json.loads((Path(workdir) / "metrics.json").read_text())


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in Path(folder).rglob("*") if f.is_file()}


def evaluated(data_dir, network, workdir, *arguments, code=0):
    common = ("--dataset=folder", f"--data_dir={data_dir}", f"--weights={network}", f"--workdir={workdir}")
    assert call(evaluate, *common, *SMALL, *COMPARE, "--ranked_lists=1", *arguments) == code
    return metrics_of(workdir) if code == 0 else {}
