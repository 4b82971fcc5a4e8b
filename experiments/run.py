"""Start of a runner: its settings from the command line, its processes, and errors that a person can read."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from absl import logging

from data import binding, command
from dsr_jax.parallel import hosts
from experiments import claims
from experiments.settings import former
from experiments.training import termination
from experiments.training.termination import EXIT_CODE, Terminated, raised

RUNNERS = (
    "pretrain",
    "finetune",
    "evaluate",
    "search",
    "serve",
    "sweep",
    "difference",
    "export",
    "benchmark_speed",
    "benchmark_pipeline",
)
S = TypeVar("S")


def main(job: Callable[[S], None], kind: type[S]) -> None:
    """Runs a runner: its settings from the command line, bad input as one clear message and exit code 1."""
    command.begin(kind)
    logging.set_verbosity(logging.WARNING)  # JAX and Orbax tell much that a user need not know
    # Orbax also tells, at length, of errors that it then raises, and that are told by us.
    logging.get_absl_logger().addFilter(lambda record: "_SignalingThread" not in record.getMessage())
    try:
        code = attempt(job, kind, sys.argv[1:])
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    if code and jax.distributed.is_initialized():
        hosts.leave(code)
    sys.exit(code)


def attempt(job: Callable[[S], None], kind: type[S], arguments: Sequence[str]) -> int:
    """Runs a runner's job with the settings of a command line.

    DSR_TRACEBACK=1 in the environment shows tracebacks.

    Returns:
      The exit code: 0, 1 for an error, 130 for Ctrl-C, `termination.EXIT_CODE` for SIGTERM and SIGHUP.
    """
    try:
        settings = binding.read(kind, arguments)
        with raised(), claims.released():
            _together(job, settings)
    except (KeyboardInterrupt, Terminated, ValueError, OSError) as error:
        for signal, code in ((KeyboardInterrupt, 130), (Terminated, EXIT_CODE)):
            # One that comes while XLA waits for a function of ours is reported by XLA, as an error of its own.
            if isinstance(error, signal) or signal.__name__ in str(error):
                termination.hang_up()
                print("\nstopped: start again with the same flags to go on from the last checkpoint", file=sys.stderr)
                return code
        if os.environ.get("DSR_TRACEBACK"):
            raise
        elsewhere = _instead(error.name) if isinstance(error, binding.UnknownFlag) else ""
        print(f"error: {error}{elsewhere}", file=sys.stderr)
        return 1
    return 0


def _instead(flag: str) -> str:
    """What says the same as a flag that is gone, or which runners have it; empty if none has."""
    if flag in former.REPLACED:
        return f". It is gone: {former.REPLACED[flag]}"
    found = []
    for runner in RUNNERS:
        kind = importlib.import_module(f"experiments.{runner}").Settings
        name = binding.aliases(kind).get(flag, flag)
        if name in binding.names(kind):
            found.append(runner if name == flag else f"{runner} (as --{name})")
    return f". It is a flag of {', '.join(found)}" if found else ""


def _together(job: Callable[[S], None], settings: S) -> None:
    """Does a job together with the other processes, if there are any; only the first of them speaks."""
    own: Any = settings
    place = getattr(own, "hosts", None)
    if place is None or not hosts.connect(place.coordinator_address, place.num_processes, place.process_id):
        job(settings)
        return
    with contextlib.ExitStack() as silent:
        if not hosts.first():
            settings = binding.replaced(settings, progress=False)
            nowhere = silent.enter_context(open(os.devnull, "w", encoding="utf-8"))
            silent.enter_context(contextlib.redirect_stdout(nowhere))
        job(settings)
        hosts.wait("the end")
