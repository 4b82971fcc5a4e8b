"""Workdir of a run: `config.json`, `log.jsonl`, `metrics.json`, `report/`.

A workdir belongs to one configuration: `config.json` is written once the inputs have been checked, and a later start
with other settings is an error that names them. `log.jsonl` has one object per step, `metrics.json` the final numbers.
Of several processes, which share the workdir, the first alone writes. A workdir is one run's at a time, see `claims`.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax

import data
from data import binding
from dsr_jax import weights
from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts
from experiments import claims
from experiments.settings import former

WEIGHTS_CONTENT = "weights' content"
# Flags of networks' files, whose path says little, and under what name it is written down what is in them.
CONTENTS = {"weights": WEIGHTS_CONTENT, "trained": "trained's content"}
PROCESSES = ("coordinator_address", "num_processes", "process_id")  # where a run happens is no part of what it is


class Workdir:
    """A run's folder.

    Nothing is written before `begin`, so that a run which stops at bad input leaves nothing behind.

    Args:
      configuration: name to value of everything that defines the run; see `configuration`.
      free: names of it that a later start may change.
      defaults: name to value of settings that an earlier configuration may not know yet: results were as with these.

    Raises:
      ValueError: if the folder belongs to another configuration, or processes differ in it or in what they see of it;
        the message names the flags that differ.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        configuration: dict[str, Any],
        *,
        free: frozenset[str] = frozenset(),
        defaults: dict[str, Any] | None = None,
    ):
        self.path, self.configuration, self._free, self._claimed = Path(path), configuration, free, False
        self._defaults = defaults or {}
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"workdir {self.path} is a file: give --workdir=FOLDER")
        if (self.path / "config.json").exists():
            self.check(read_json(self.path / "config.json").get("flags", {}))
        seen = {f"--{name}": value for name, value in configuration.items() if name not in free}
        files = {name: (self.path / name).exists() for name in ("config.json", "metrics.json")}
        hosts.agree("flags or workdir", seen | files)

    def claim(self) -> None:
        """Makes the folder this run's own until it ends; every runner does so before anything takes long.

        Raises:
          ValueError: if another run is at work in it.
          OSError: if it cannot be written to.
        """
        problem: OSError | ValueError | None = None
        try:
            self._own()
        except (OSError, ValueError) as error:
            problem = error
        try:  # the other processes are to hear of it, too
            hosts.agree("whether the first has the workdir", {"--workdir": problem is None})
        finally:
            if problem is not None:
                raise problem

    def begin(self) -> None:
        """Writes `config.json` with flags, versions, revision and device."""
        self._own()
        write_json(self.path / "config.json", {"flags": self.configuration, **environment()})

    def _own(self) -> None:
        if hosts.first() and not self._claimed:
            claims.claim(self.path)
            self._claimed = True

    def log(self, **entry: Any) -> None:
        """Appends one object to `log.jsonl`."""
        if not hosts.first():
            return
        log = self.path / "log.jsonl"
        with atomic.named(log), open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def forget(self, *, phase: str, after: int) -> None:
        """Takes the steps of a phase after a checkpoint out of the log: they are about to be done again."""
        log = self.path / "log.jsonl"
        before = log.read_text(encoding="utf-8") if log.exists() else ""
        kept = "".join(f"{line}\n" for line in before.splitlines() if _before(line, phase, after))
        if kept != before:  # it may also want its last line's end
            write_text(log, kept)

    def check(self, before: dict[str, Any]) -> None:
        """Compares an earlier configuration, of `config.json` or a checkpoint, with this one.

        Raises:
          ValueError: if it is another; the message names the flags that differ.
        """
        now, defaults = (json.loads(json.dumps(one, default=str)) for one in (self.configuration, self._defaults))
        before = former.translated(before, now, defaults)
        for flag, content in CONTENTS.items():
            # What is in the file is compared, and the path is not; but as long as that was not written down the path.
            left_out = flag if {content} <= before.keys() & now.keys() else content
            before, now = ({k: v for k, v in one.items() if k != left_out} for one in (before, now))
        changed = [
            f"--{name}: {before.get(name)!r} before, {now.get(name)!r} now"
            for name in sorted(set(before) | set(now))
            if before.get(name) != now.get(name) and name not in self._free
        ]
        if changed:
            raise ValueError(
                f"workdir {self.path} belongs to another configuration ({'; '.join(changed)}): "
                "use the same flags to go on, or another --workdir"
            )

    def write_metrics(self, metrics: dict[str, Any]) -> Path:
        """Writes `metrics.json`, one flat object, whole or not at all."""
        return write_json(self.path / "metrics.json", metrics)

    def metrics(self) -> dict[str, Any]:
        """The final numbers if the run has finished, else nothing."""
        file = self.path / "metrics.json"
        return read_json(file) if file.exists() else {}


def opened(settings: Any, runner: str, *, free: frozenset[str] = frozenset(), **more: Any) -> Workdir:
    """The --workdir of a runner.

    Args:
      settings: the runner's, with `run.Place` as ``place``.
      free: settings that a later start may change, beside those that are declared so.
      more: further parts of the configuration; "data", the contents of what is in the place of a data set.
    """
    return Workdir(
        settings.place.folder(),
        configuration(settings, runner, **more),
        free=binding.free(type(settings)) | free,
        defaults=binding.values(type(settings)()),
    )


def configuration(settings: Any, runner: str, **more: Any) -> dict[str, Any]:
    """Name to value of everything that defines a run.

    The settings; "runner"; "data": the data set's fingerprint, since a folder's name says little of what is in it;
    "weights' content", and that of other networks in `CONTENTS`: the file's checksum, to which another path may lead.
    """
    values = {name: value for name, value in binding.values(settings).items() if name not in PROCESSES}
    if "data" not in more:
        more["data"] = data.fingerprint(settings.data.dataset, data_dir=settings.data.data_dir)
    read = {content: _checksums(values[flag]) for flag, content in CONTENTS.items() if values.get(flag)}
    return values | {"runner": runner} | {content: sums for content, sums in read.items() if sums} | more


def environment() -> dict[str, Any]:
    """Versions, git revision and device: what a number must have beside it."""
    packages = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")
    return {
        "versions": {name: _version(name) for name in packages},
        "python": platform.python_version(),
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": [str(device.device_kind) for device in jax.devices()],
        "processors": os.cpu_count(),
    }


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Writes a JSON file whole or not at all."""
    return write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that a run wrote."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not the JSON that a run writes ({error}): give another --workdir") from error


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all; of several processes the first does it."""
    if not hosts.first():
        return path
    return atomic.write(path, text.encode(errors="backslashreplace"))


def _checksums(path: str) -> str:
    """That of a weights file, or of each seed's network under a folder; empty if there is none (any longer)."""
    given = Path(path)
    files = [given] if given.is_file() else []
    if given.is_dir():
        files = sorted(given.glob(weights.WORKDIR_FILE)) or sorted(given.glob(f"seed*/{weights.WORKDIR_FILE}"))
    return " ".join(map(weights.checksum, files))


def _before(line: str, phase: str, after: int) -> bool:
    """Whether a line of the log is whole and no step of the phase beyond ``after``."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:  # cut off when the run was killed
        return False
    return entry.get("phase") != phase or entry.get("step", 0) <= after


def _version(package: str) -> str | None:
    """Its version, or None where it is not installed: not every run needs every package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    if not shutil.which("git"):
        return ""
    here = Path(__file__).parent
    found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, errors="replace", check=False)
    return found.stdout.strip()
