"""Start of a command, of `data` or `experiments`: streams that can show any name, help, errors in one line."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import flags, logging

from data import binding

HELP = frozenset({"--help", "--helpfull", "--helpshort", "-help", "-helpfull", "-h", "-?"})
S = TypeVar("S")


def show_anything() -> None:
    r"""Makes standard output and error write characters that their encoding lacks as escapes such as \xe9.

    Otherwise a name in a message ends the command with another error, where the locale is ASCII or the name is no text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """For help: printing ends quietly where the reader of standard output has read enough, ``--help | head -3``."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end


def begin(kind: type) -> None:
    """Prepares streams and logging, leaves the flags of other packages at their defaults, and answers --help."""
    show_anything()
    if HELP & set(sys.argv[1:]):
        with reader_may_leave():
            print(binding.help_text(kind, sys.modules["__main__"].__doc__ or ""))
        sys.exit(0)
    flags.FLAGS(sys.argv[:1])
    logging.use_absl_handler()


def attempt(job: Callable[[S], None], kind: type[S], arguments: Sequence[str]) -> int:
    """Does a command's job with the settings of a command line; the exit code, 1 after an error that is printed."""
    try:
        job(binding.read(kind, arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(job: Callable[[S], None], kind: type[S]) -> None:
    """Runs a command of `data`: its `main` with its settings, see `binding`."""
    begin(kind)
    sys.exit(attempt(job, kind, sys.argv[1:]))
