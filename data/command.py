"""Command-line parts shared by `data` and `experiments`: flags that hold paths, streams that can show any name."""

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags

HELP = frozenset({"--help", "--helpfull", "--helpshort", "-help", "-helpfull", "-h", "-?"})

flags.disclaim_key_flags()  # a flag belongs to the module that calls `define_path`


class PathParser(flags.ArgumentParser):
    """Parser of a path: ~ is the home folder whether or not a shell has seen it, and is expanded at once."""

    def parse(self, argument: str) -> str:
        """The path without ~ or ~user at its beginning.

        Raises:
          ValueError: if there is no such home, and no file of that name either.
        """
        path = os.path.expanduser(argument)
        if path.startswith("~") and not os.path.lexists(path):
            home = path.split("/")[0]
            raise ValueError(f"there is no home folder {home}: write ./{path} for a file of that name")
        return path

    def flag_type(self) -> str:
        """Its name in --help."""
        return "path"


def define_path(name: str, default: str | None, help: str) -> None:  # noqa: A002  # absl's name
    """Defines a flag that holds a path; every such flag is defined by this function, so that ~ works in all of them.

    Args:
      name: of the flag.
      default: its default.
      help: its help.
    """
    flags.DEFINE(PathParser(), name, default, help, serializer=flags.ArgumentSerializer())


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


def reporting(program: str) -> Callable[[Callable[[], None]], Callable[[Sequence[str]], None]]:
    """Decorator of a command: takes the arguments left by the flags, prints a ValueError or OSError, exit code 1.

    Args:
      program: name of the command in messages.
    """

    def decorated(command: Callable[[], None]) -> Callable[[Sequence[str]], None]:
        @functools.wraps(command)
        def main(argv: Sequence[str]) -> None:
            try:
                if len(argv) > 1:
                    raise ValueError(f"what is {argv[1]!r}? Every argument is a --flag=value; see --help")
                command()
            except (ValueError, OSError) as error:
                print(f"{program}: {error}", file=sys.stderr)
                sys.exit(1)

        return main

    return decorated


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a command: parses the flags and calls ``main`` with the arguments left."""
    show_anything()
    with contextlib.nullcontext() if HELP.isdisjoint(sys.argv) else reader_may_leave():
        app.run(main)
