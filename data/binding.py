"""Binding of frozen dataclasses to command-line flags: a field is a flag, a class is a group under `--help`.

    @dataclass(frozen=True)
    class Matching:
        '''How maps are compared'''

        l1: float = setting(0.4, "Weight of the L1 penalty.", low=0.0)

    @dataclass(frozen=True)
    class Settings:                          # of a runner: its groups, with its own defaults
        matching: Matching = Matching()
        given: frozenset[str] = frozenset()  # names of the flags that were on the command line

    settings = binding.read(Settings, ["--l1=0.3"])

A runner reads its flags once, in `main`; everything below gets values. Names are unique within a runner, whatever the
group, so that settings are a flat object in `config.json`. absl parses: flag files, `--noprogress`, near misses.
"""

import contextlib
import dataclasses
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

S = TypeVar("S")


def setting(
    default: Any,
    help: str,  # noqa: A002  # absl's name
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    path: bool = False,
    wanted: str = "",
    check: Callable[[tuple[Any, ...]], bool] | None = None,
    free: bool = False,
    aliases: Sequence[str] = (),
) -> Any:
    """A field of a group, which is a flag.

    Args:
      default: its value where neither runner nor command line give another.
      help: what it is for.
      low: the least of a number.
      high: the largest.
      choices: all that text may be.
      path: whether text is a path: ~ is the home folder.
      wanted: of a tuple, what it must be, for the error: "two shares in (0, 1] such as 0.5,0.75".
      check: of a tuple, whether it is.
      free: whether a later start in the same workdir may change it, because it changes no result.
      aliases: names that it had before.
    """
    rule = {name: value for name, value in locals().items() if name != "default"}
    return dataclasses.field(default=default, metadata=rule)


def read(kind: type[S], arguments: Sequence[str]) -> S:
    """Settings from the command line.

    Args:
      kind: a runner's settings: a dataclass of groups, each with a default.
      arguments: the command line without the program.

    Raises:
      ValueError: for flags that the runner does not have, values that they do not take, and arguments that are none.
    """
    values = flag_values(kind)
    with readable():
        rest = values(["", *arguments])[1:]
    if rest:
        raise ValueError(f"what is {rest[0]!r}? Every argument is a --flag=value; see --help")
    by_name = {name: values[name].value for name, _, _ in _declared(kind)}
    former = aliases(kind)
    given = frozenset(former.get(name, name) for name in [*by_name, *former] if values[name].present)
    return dataclasses.replace(replaced(kind(), **by_name), given=given)  # type: ignore[type-var]


def flag_values(kind: type) -> flags.FlagValues:
    """The flags of a runner's settings, not parsed yet."""
    values = flags.FlagValues()
    for name, group, default in _declared(kind):
        flags.DEFINE_flag(_flag(group, name, default), values, module_name=_title(group))
        for alias in _field(group, name).metadata["aliases"]:
            flags.DEFINE_alias(alias, name, flag_values=values, module_name="Names of before")
    return values


def help_text(kind: type, about: str) -> str:
    """What a runner does, then its flags by what they are about."""
    values = flag_values(kind)
    titles = dict.fromkeys(_title(group) for _, group, _ in _declared(kind))
    parts = [values.module_help(title) for title in titles]
    return f"{about.rstrip()}\n{''.join(parts)}\n\n--flagfile=FILE reads flags from a file, one a line.\n"


def names(kind: type) -> list[str]:
    """The names of a runner's flags."""
    return [name for name, _, _ in _declared(kind)]


def free(kind: type) -> frozenset[str]:
    """The flags that a later start in the same workdir may change."""
    return frozenset(name for name, group, _ in _declared(kind) if _field(group, name).metadata["free"])


def aliases(kind: type) -> dict[str, str]:
    """Earlier name to name of flags that were called otherwise."""
    return {old: name for name, group, _ in _declared(kind) for old in _field(group, name).metadata["aliases"]}


def values(settings: Any) -> dict[str, Any]:
    """Name to value of all settings."""
    groups = (getattr(settings, part.name) for part in _groups(type(settings)))
    return {item.name: getattr(group, item.name) for group in groups for item in dataclasses.fields(group)}


def replaced(settings: S, **changes: Any) -> S:
    """The same settings with other values of some flags.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Matching:
      ...     l1: float = setting(0.4, "Weight of the L1 penalty.")
      >>> @dataclasses.dataclass(frozen=True)
      ... class Settings:
      ...     matching: Matching = Matching()
      >>> replaced(Settings(), l1=0.3).matching.l1
      0.3
    """
    parts: dict[str, Any] = {}
    for part in _groups(type(settings)):
        group = getattr(settings, part.name)
        own = {item.name: changes.pop(item.name) for item in dataclasses.fields(group) if item.name in changes}
        parts[part.name] = dataclasses.replace(group, **own)
    if changes:
        raise TypeError(f"{type(settings).__module__} has no setting {', '.join(changes)}")
    return dataclasses.replace(settings, **parts)  # type: ignore[type-var]


def parsed(kind: type, name: str, text: str) -> Any:
    """The value that a flag has where the command line says ``text``."""
    flag = flag_values(kind)[name]
    with readable():
        flag.parse(text)
    return flag.value


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Errors of absl as ValueErrors, without absl's own words before ours."""
    try:
        yield
    except flags.Error as error:
        if isinstance(error, flags.UnrecognizedFlagError):
            raise UnknownFlag(f"{error}; see --help", error.flagname) from error
        if isinstance(error.__context__, Unwanted):
            raise ValueError(str(error.__context__)) from error
        raise ValueError(f"{error}; see --help") from error


class UnknownFlag(ValueError):
    """A flag that the runner does not have."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class Unwanted(ValueError):
    """A value that a tuple cannot be; the message is complete."""


class PathParser(flags.ArgumentParser[str]):
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


class _Tuples(flags.ArgumentParser[tuple[Any, ...]]):
    """Items with commas between."""

    def __init__(self, name: str, item: Callable[[str], Any], rule: Mapping[str, Any], *, optional: bool) -> None:
        self._name, self._item, self._rule, self._optional = name, item, rule, optional

    def parse(self, argument: Any) -> Any:
        """The items; None where there are none and that is allowed.

        Raises:
          Unwanted: if they are not what is wanted.
        """
        given = argument.split(",") if isinstance(argument, str) else list(argument)
        texts = [str(text).strip() for text in given if str(text).strip()]
        if not texts and self._optional:
            return None
        try:
            found = tuple(self._item(text) for text in texts)
            sound = self._rule["check"] is None or self._rule["check"](found)
        except ValueError:
            sound = False
        if not sound:
            raise Unwanted(f"{self._name} must be {self._rule['wanted']}, got {','.join(texts) or 'nothing'}")
        return found

    def flag_type(self) -> str:
        """What --help calls it."""
        return "comma list"


def _flag(group: type, name: str, default: Any) -> flags.Flag:
    rule, kind = _field(group, name).metadata, _kind(group, name)
    about = rule["help"]
    if typing.get_origin(kind) is tuple:
        parser: Any = _Tuples(name, typing.get_args(kind)[0], rule, optional=_field(group, name).default is None)
        return flags.Flag(parser, flags.CsvListSerializer(","), name, default, about)
    if kind is bool:
        return flags.BooleanFlag(name, default, about)
    if rule["choices"]:
        return flags.EnumFlag(name, default, about, list(rule["choices"]))
    parsers = {
        int: lambda: flags.IntegerParser(rule["low"], rule["high"]),
        float: lambda: flags.FloatParser(rule["low"], rule["high"]),
        str: PathParser if rule["path"] else flags.ArgumentParser,
    }
    return flags.Flag(parsers[kind](), flags.ArgumentSerializer(), name, default, about)


def _declared(kind: type) -> Iterator[tuple[str, type, Any]]:
    """Name, group and this runner's default of every flag."""
    for part in _groups(kind):
        group: Any = part.default
        for item in dataclasses.fields(group):
            yield item.name, type(group), getattr(group, item.name)


def _groups(kind: type) -> list[dataclasses.Field[Any]]:
    return [part for part in dataclasses.fields(kind) if dataclasses.is_dataclass(part.default)]


def _field(group: type, name: str) -> dataclasses.Field[Any]:
    return next(item for item in dataclasses.fields(group) if item.name == name)


def _kind(group: type, name: str) -> Any:
    """The type of a field, None left out."""
    kind = typing.get_type_hints(group)[name]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _title(group: type) -> str:
    return (group.__doc__ or group.__name__).splitlines()[0].rstrip(".")
