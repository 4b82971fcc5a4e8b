"""Options of a source: `--source=PATH#name=value,name=value`.

A data set that can be read in more than one way, such as one of twenty test sets, lists its options with their
defaults. A data set that is drawn has no path, only options: `--source=people=200,seed=1`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path


def parted(source: Path | None, defaults: Mapping[str, str]) -> tuple[Path | None, dict[str, str]]:
    """The path of a source, and its options with the defaults filled in.

    A path that exists as it stands has no options, even with a `#` in it.

    Raises:
      ValueError: an unknown option, or one without a value.

    Example:
      >>> parted(Path("cuhk03#split=3"), {"split": "0"})
      (PosixPath('cuhk03'), {'split': '3'})
      >>> parted(Path("cuhk03"), {"split": "0"})
      (PosixPath('cuhk03'), {'split': '0'})
    """
    if source is None or source.exists() or "#" not in str(source):
        return source, dict(defaults)
    path, _, text = str(source).rpartition("#")
    return Path(path), options(text, defaults)


def options(text: str, defaults: Mapping[str, str]) -> dict[str, str]:
    """`name=value,name=value` as a dict, with the defaults filled in.

    Example:
      >>> options("seed=1, people=20", {"people": "210", "seed": "0"})
      {'people': '20', 'seed': '1'}
      >>> options("sead=1", {"people": "210", "seed": "0"})
      Traceback (most recent call last):
      ...
      ValueError: --source: sead=1 is no option; there are people=210, seed=0
    """
    read: dict[str, str] = {}
    for option in text.split(","):
        name, equals, value = (part.strip() for part in option.partition("="))
        if name not in defaults or not equals or not value:
            known = ", ".join(f"{name}={value}" for name, value in defaults.items())
            raise ValueError(f"--source: {option.strip()} is no option; there are {known}")
        if name in read:
            raise ValueError(f"--source: {name} is there twice, {name}={read[name]} and {name}={value}: keep one")
        read[name] = value
    return {**defaults, **read}


def integer(options: Mapping[str, str], name: str, *, low: int, high: int) -> int:
    """Value of an option that must be a whole number.

    Raises:
      ValueError: it is no whole number, or out of its range.

    Example:
      >>> integer({"split": "20"}, "split", low=0, high=19)
      Traceback (most recent call last):
      ...
      ValueError: --source: split=20 must be a whole number from 0 to 19
    """
    text = options[name]
    if not (text.isascii() and text.isdigit() and low <= int(text[:18]) <= high and len(text) <= 18):
        raise ValueError(f"--source: {name}={text} must be a whole number from {low} to {high}")
    return int(text)


def choice(options: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """Value of an option that must be one of some words."""
    if options[name] not in choices:
        raise ValueError(f"--source: {name}={options[name]} must be one of {', '.join(choices)}")
    return options[name]
