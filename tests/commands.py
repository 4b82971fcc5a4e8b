"""Runs a command of `data` in this process, with flags of its own."""

from types import ModuleType

import pytest
from absl import flags

_DEFINE = ("DEFINE_enum", "DEFINE_string", "DEFINE_bool", "DEFINE_integer", "DEFINE_list", "DEFINE")


def defined(module: ModuleType) -> flags.FlagValues:
    """The flags of a command of `data`."""
    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        for name in _DEFINE:
            define = getattr(flags, name)
            patch.setattr(flags, name, lambda *a, define=define, **k: define(*a, flag_values=values, **k))
        module.define_flags()
    return values


def command(module: ModuleType, *arguments: str) -> int:
    """The exit code of `python -m module` with the arguments; what it prints is the test's to capture."""
    values = defined(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        rest = values([module.__name__, *arguments])
        try:
            module.main(rest)
        except SystemExit as error:
            return int(error.code or 0)
    return 0
