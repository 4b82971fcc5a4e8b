"""What the commands of `data` and `experiments` share: flags that hold paths, and streams that can show any name."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

flags.disclaim_key_flags()  # a flag belongs to the module that calls `define_path`


class PathParser(flags.ArgumentParser):
    """A path, whose ~ is the home folder whether or not a shell has seen it; it is kept and shown expanded."""

    def parse(self, argument: str) -> str:
        """The path without ~ or ~user at its beginning.

        Raises:
          ValueError: if nobody knows that home, and there is no file of that name either.
        """
        path = os.path.expanduser(argument)
        if path.startswith("~") and not os.path.lexists(path):
            home = path.split("/")[0]
            raise ValueError(f"there is no home folder {home}: write ./{path} for a file of that name")
        return path

    def flag_type(self) -> str:
        """What --help calls it."""
        return "path"


def define_path(name: str, default: str | None, help: str) -> None:  # noqa: A002  # absl's name
    """Defines a flag that holds a path; every such flag is defined here, so that ~ is the home folder in all of them.

    Args:
      name: of the flag.
      default: its value if it is not given.
      help: what it is for.
    """
    flags.DEFINE(PathParser(), name, default, help, serializer=flags.ArgumentSerializer())


def show_anything() -> None:
    r"""Lets standard output and error write what their encoding has no letters for as escapes such as \xe9.

    Otherwise a name in a message would end the command with an error of its own, where the locale is ASCII or the name
    is no text at all.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[Sequence[str]], Any]) -> None:
    """Runs a command of `data`: parses the flags and calls ``main`` with what is left of the arguments."""
    show_anything()
    app.run(main)
