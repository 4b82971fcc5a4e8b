"""What every runner does around its job: the workdir, its configuration, its log, and errors that a person can read.

A workdir belongs to one configuration: `config.json` is written once the inputs have been checked, and a later start
with other flags is an error that names them. `log.jsonl` has one object per step, `metrics.json` the final numbers.
Of several processes, which share the workdir, the first alone writes and speaks. A workdir is one run's at a time, see
`claims`.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

import data
from data import command
from dsr_jax import weights
from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts
from experiments import claims
from experiments.training import termination
from experiments.training.termination import EXIT_CODE, Terminated, raised

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "coordinator_address",
    None,
    "Several hosts: host:port of process 0, the same for all; auto: JAX asks the cluster. Without it a launcher that "
    "started several processes (SLURM, Open MPI) is asked, else this is the only one.",
)
flags.DEFINE_integer("num_processes", None, "Several hosts: how many processes, with --coordinator_address.")
flags.DEFINE_integer("process_id", None, "Several hosts: which of them this is, 0 to num_processes - 1.")
# They say where a run happens, and are no part of what it is.
PROCESSES = ("coordinator_address", "num_processes", "process_id")
# Flags that may differ between two starts in one workdir: they change no result.
FREE_FLAGS = frozenset(
    {
        *("workdir", "maps", "kept_maps", "flagfile", "progress", "data_dir", "frozen_cache", "checkpoint_every"),
        *("plot_every", "image_memory", "reading_threads"),  # of --maps the contents count, see `evaluate`
    }
)
# What is in the weights file, whose path says little.
WEIGHTS_CONTENT = "weights' content"
HELP = frozenset({"--help", "-help", "-h", "-?"})


class Workdir:
    """A run's folder: `config.json`, `log.jsonl`, `metrics.json`, `report/`.

    Nothing is written before `begin`, so that a run which stops at bad input leaves nothing behind.

    Args:
      path: the folder.
      flag_values: name to value of every flag that defines the run.
      free: further flags than `FREE_FLAGS` that a later start may change.

    Raises:
      ValueError: if the folder belongs to another configuration, or processes differ in it or in what they see of it;
        the message names the flags that differ.
    """

    def __init__(
        self, path: str | os.PathLike[str], flag_values: dict[str, Any], *, free: frozenset[str] = frozenset()
    ):
        """Checks the folder; see the class."""
        self.path, self.flags, self._claimed = Path(path), flag_values, False
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"workdir {self.path} is a file: give --workdir=FOLDER")
        if (self.path / "config.json").exists():
            _check_same(read_json(self.path / "config.json").get("flags", {}), flag_values, self.path, free)
        seen = {f"--{name}": value for name, value in flag_values.items() if name not in FREE_FLAGS}
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
        write_json(self.path / "config.json", {"flags": self.flags, **environment()})

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

    def check(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Compares what a checkpoint says of its configuration with what is the case now.

        Raises:
          ValueError: if it is another configuration; the message names the flags that differ.
        """
        _check_same(before, now, self.path, frozenset())

    def write_metrics(self, metrics: dict[str, Any]) -> Path:
        """Writes `metrics.json`, one flat object, whole or not at all."""
        return write_json(self.path / "metrics.json", metrics)

    def metrics(self) -> dict[str, Any]:
        """The final numbers if the run has finished, else nothing."""
        file = self.path / "metrics.json"
        return read_json(file) if file.exists() else {}


def environment() -> dict[str, Any]:
    """Versions, git revision and device: what a number must have beside it."""
    packages = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")
    return {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": [str(device.device_kind) for device in jax.devices()],
        "processors": os.cpu_count(),
    }


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Writes a JSON file whole or not at all."""
    return write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def flag_values(module: str, *, contents: str | None = None) -> dict[str, Any]:
    """Name to value of the flags that a runner's module (and the modules it shares flags with) defined.

    Beside them "runner", "data": the data set's fingerprint, since a folder's name says little of what is in it, or the
    ``contents`` of what takes the place of a data set, which is then not looked for; and "weights' content": the
    checksum of the weights file, which another path may lead to.
    """
    values = {flag.name: flag.value for found in _own_flags().values() for flag in found if flag.name not in PROCESSES}
    if contents is None:
        contents = data.fingerprint(flags.FLAGS.dataset, data_dir=flags.FLAGS.data_dir)
    return values | {"runner": module, "data": contents} | _weights_content(values.get("weights"))


def _weights_content(path: str | None) -> dict[str, str]:
    """The checksum of --weights, or of each seed's network under it; nothing if there is no such file (any longer)."""
    given = Path(path or "")
    files = [given] if path and given.is_file() else []
    if path and given.is_dir():
        files = sorted(given.glob(weights.WORKDIR_FILE)) or sorted(given.glob(f"seed*/{weights.WORKDIR_FILE}"))
    return {WEIGHTS_CONTENT: " ".join(map(weights.checksum, files))} if files else {}


def main(job: Callable[[], None]) -> None:
    """Runs a runner: parses the flags, turns bad input into one clear message and exit code 1."""

    def parse(argv: list[str]) -> list[str]:
        if HELP & set(argv[1:]):
            print(help_text())
            sys.exit(0)
        rest = app.parse_flags_with_usage(argv)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # JAX and Orbax tell much that a user need not know
        # Orbax also tells, at length, of errors that it then raises, and that are told by us.
        logging.get_absl_logger().addFilter(lambda record: "_SignalingThread" not in record.getMessage())
        return rest

    def joined(argv: list[str]) -> None:
        try:
            code = attempt(lambda: _together(job), argv[1:])
        except Exception:
            if not jax.distributed.is_initialized():
                raise
            traceback.print_exc()
            code = 1
        if code and jax.distributed.is_initialized():
            hosts.leave(code)
        sys.exit(code)

    command.show_anything()
    app.run(joined, flags_parser=parse)


def _together(job: Callable[[], None]) -> None:
    """Does a job together with the other processes, if there are any; only the first of them speaks."""
    if not hosts.connect(*(FLAGS[name].value for name in PROCESSES)):
        job()
        return
    with contextlib.ExitStack() as silent:
        if not hosts.first():
            FLAGS["progress"].value = False
            silent.enter_context(
                contextlib.redirect_stdout(silent.enter_context(open(os.devnull, "w", encoding="utf-8")))
            )
        job()
        hosts.wait("the end")


def alone(runner: str) -> None:
    """Raises ValueError where a runner that measures one process was started as several."""
    if hosts.count() > 1:
        raise ValueError(f"num_processes is {hosts.count()}: {runner} measures one process, on all its devices")


def attempt(job: Callable[[], None], arguments: Sequence[str] = ()) -> int:
    """Runs a job whose flags are parsed.

    DSR_TRACEBACK=1 in the environment shows tracebacks.

    Returns:
      The exit code: 0, 1 for an error, 130 for Ctrl-C, `termination.EXIT_CODE` for SIGTERM and SIGHUP.
    """
    try:
        if arguments:
            raise ValueError(f"what is {arguments[0]!r}? Every argument is a --flag=value; see --help")
        with raised(), claims.released():
            job()
    except (KeyboardInterrupt, Terminated, ValueError, OSError) as error:
        for kind, code in ((KeyboardInterrupt, 130), (Terminated, EXIT_CODE)):
            # One that comes while XLA waits for a function of ours is reported by XLA, as an error of its own.
            if isinstance(error, kind) or kind.__name__ in str(error):
                termination.hang_up()
                print("\nstopped: start again with the same flags to go on from the last checkpoint", file=sys.stderr)
                return code
        if os.environ.get("DSR_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def help_text() -> str:
    """What the runner does, its own flags, then those that it shares with others."""
    about = sys.modules["__main__"].__doc__ or ""
    return (
        about + "".join(flags.FLAGS.module_help(module) for module in _own_flags()) + "\n\n--helpfull lists all flags."
    )


def _own_flags() -> dict[str, list[flags.Flag]]:
    """The flags by module: those of the program first, then those of the runners' modules."""
    by_module = flags.FLAGS.flags_by_module_dict()
    names = [name for name in by_module if name.startswith("experiments.")]
    return {name: by_module[name] for name in [sys.argv[0], *names] if name in by_module}


def _check_same(before: dict[str, Any], now: dict[str, Any], path: Path, free: frozenset[str]) -> None:
    # A flag that there was not yet at the time is at its default: with defaults results stay what they were.
    since = {name: flags.FLAGS[name].default for name in set(now) - set(before) if name in flags.FLAGS}
    before = json.loads(json.dumps(since, default=str)) | before
    now = json.loads(json.dumps(now, default=str))
    if {WEIGHTS_CONTENT} <= before.keys() & now.keys():  # it is compared, and the path is not
        before, now = before | {"weights": None}, now | {"weights": None}
    else:  # as long as nobody had written it down
        before, now = ({k: v for k, v in values.items() if k != WEIGHTS_CONTENT} for values in (before, now))
    changed = [
        f"--{name}: {before.get(name)!r} before, {now.get(name)!r} now"
        for name in sorted(set(before) | set(now))
        if before.get(name) != now.get(name) and name not in FREE_FLAGS | free
    ]
    if changed:
        raise ValueError(
            f"workdir {path} belongs to another configuration ({'; '.join(changed)}): "
            "use the same flags to go on, or another --workdir"
        )


def _before(line: str, phase: str, after: int) -> bool:
    """Whether a line of the log is whole and no step of the phase beyond ``after``."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:  # cut off when the run was killed
        return False
    return entry.get("phase") != phase or entry.get("step", 0) <= after


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that a run wrote.

    Raises:
      ValueError: if it is something else.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not the JSON that a run writes ({error}): give another --workdir") from error


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all; of several processes the first does it."""
    if not hosts.first():
        return path
    return atomic.write(path, text.encode(errors="backslashreplace"))


def _git(*arguments: str) -> str:
    if not shutil.which("git"):
        return ""
    here = Path(__file__).parent
    found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, errors="replace", check=False)
    return found.stdout.strip()
