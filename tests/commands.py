"""Runs a command of `data` in this process."""

from types import ModuleType

from data import command as commands


def command(module: ModuleType, *arguments: str) -> int:
    """The exit code of `python -m module` with the arguments; what it prints is the test's to capture."""
    try:
        return commands.attempt(module.main, module.Settings, arguments)
    except SystemExit as error:
        return int(error.code or 0)
