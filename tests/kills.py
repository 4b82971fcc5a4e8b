"""Kills a training with SIGKILL again and again, and starts it again each time: it must end as if nothing had happened.

    python -m tests.kills --runner=pretrain --kills=20 --workdir=/tmp/kills

A tiny network learns drawn people, once without interruption and once killed ``--kills`` times in one run: by turns
at any moment of a process (also while it starts), in a step, and within a save, whose half-written folder must be there
when the process is dead. The trained network must then be the same file and the log the same lines, but for the times
in them. Prints a line per kill and what was compared; the exit code says whether all was equal.
"""

import argparse
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dsr_jax import weights
from experiments.training import stream
from tests import runners

TIMES = stream.TIMING  # what no two runs have in common
ARGUMENTS = {
    "pretrain": ("--pretrain_steps={steps}", "--pretrain_batch_size=4"),
    "finetune": (
        *("--pretrain_steps=0", "--steps={steps}", "--batch_size=4", "--positives=16", "--negatives=16"),
        *("--id_loss_weight=0.5", "--noevaluate"),
    ),
}
PHASES = {"pretrain": "identification", "finetune": "reconstruction"}


class Kill(NamedTuple):
    """What a kill hit: the last step in the log and in a whole checkpoint, and whether a save was half done."""

    moment: str
    logged: int
    saved: int
    within_save: bool


def start(runner: str, data_dir: Path, workdir: Path, steps: int) -> subprocess.Popen:
    """Starts a training with a checkpoint every third step, so that saves are always near."""
    own = [argument.format(steps=steps) for argument in ARGUMENTS[runner]]
    common = ("--dataset=folder", f"--data_dir={data_dir}", f"--workdir={workdir}", "--width=0.03125")
    return runners.start(
        f"experiments.{runner}", *common, *runners.SMALL, "--plot_every=1", "--checkpoint_every=3", *own
    )


def killed(runner: str, data_dir: Path, workdir: Path, *, steps: int, kills: int, seed: int) -> list[Kill]:
    """Runs a training to its end, killed so often on the way."""
    rng, found = random.Random(seed), []
    while len(found) < kills:
        moment = ("within a save", "in a step", "any moment")[len(found) % 3]
        begun, before, born = time.monotonic(), _logged(workdir), time.time()
        process = start(runner, data_dir, workdir, steps)
        if moment == "any moment":
            _until(process, _passed(begun + rng.uniform(0, 12)))
        else:
            # Room is left for the kills to come: no more than an equal share of the steps that remain.
            share = max(1, (steps - before) // (kills - len(found) + 1))
            _until(process, _reached(workdir, before + rng.randint(1, share)))
            if moment == "within a save":
                half_saved = functools.partial(_half_saved, workdir, runner, born)
                _until(process, functools.partial(_stopped, process, half_saved))
            else:
                _until(process, _passed(time.monotonic() + rng.uniform(0, 0.03)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"it ended with {process.returncode} before kill {len(found) + 1}: give more --steps")
        found.append(Kill(moment, _logged(workdir), _saved(workdir, runner), _half_saved(workdir, runner, born)))
        print(f"kill {len(found):2d}, {moment}: {found[-1]}", flush=True)
    runners.finished(start(runner, data_dir, workdir, steps))
    return found


def differences(whole: Path, other: Path) -> list[str]:
    """What differs between the ends of two trainings."""
    named = {weights.WORKDIR_FILE: Path.read_bytes, "log.jsonl": lines, "metrics.json": Path.read_bytes}
    return [name for name, read in named.items() if read(whole / name) != read(other / name)]  # type: ignore[operator]


def lines(log: Path) -> list[str]:
    """The lines of a log without the times in them."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [json.dumps({name: value for name, value in entry.items() if name not in TIMES}) for entry in entries]


def _until(process: subprocess.Popen, holds: Callable[[], bool]) -> None:
    while process.poll() is None and not holds():
        time.sleep(0.001)


def _stopped(process: subprocess.Popen, holds: Callable[[], bool]) -> bool:
    """Stops a process in a state that lasts milliseconds; it runs on if the state was over before it stood still."""
    if not holds():
        return False
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if holds():
        return True
    process.send_signal(signal.SIGCONT)
    return False


def _passed(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() >= moment


def _reached(workdir: Path, step: int) -> Callable[[], bool]:
    return lambda: _logged(workdir) >= step


def _logged(workdir: Path) -> int:
    log = workdir / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _saved(workdir: Path, runner: str) -> int:
    markers = (workdir / "checkpoints" / PHASES[runner]).glob("[0-9]*/commit_success.txt")
    return max((int(marker.parent.name) for marker in markers), default=0)


def _half_saved(workdir: Path, runner: str, born: float) -> bool:
    """Whether there is a half-written checkpoint that is younger than a process; one that a kill left may be older."""
    halves = (workdir / "checkpoints" / PHASES[runner]).glob("*orbax-checkpoint-tmp*")
    return any(_changed(half) > born for half in halves)


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_ctime
    except FileNotFoundError:  # complete by now
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=sorted(PHASES), default="pretrain")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workdir", type=Path, required=True, help="an empty or new folder")
    given = parser.parse_args()
    if given.workdir.exists() and any(given.workdir.iterdir()):
        raise SystemExit(f"{given.workdir} is not empty: give another --workdir")
    (given.workdir / "people").mkdir(parents=True)
    data_dir = runners.people(given.workdir / "people")
    runners.finished(start(given.runner, data_dir, given.workdir / "whole", given.steps))
    options = {"steps": given.steps, "kills": given.kills, "seed": given.seed}
    found = killed(given.runner, data_dir, given.workdir / "killed", **options)
    different = differences(given.workdir / "whole", given.workdir / "killed")
    within = sum(kill.within_save for kill in found)
    print(
        f"{given.runner}: {len(found)} kills in {given.steps} steps, {within} of them within a save: "
        f"{', '.join(different) + ' differ' if different else 'network, log and metrics are the same'}"
    )
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
