"""The error for a source that is missing or laid out differently: what was expected beside what is there."""

from __future__ import annotations

import itertools
from pathlib import Path

_MOST_LINES = 14


def layout_error(argument: str, source: Path | None, expected: str, problem: str = "") -> ValueError:
    """The error that shows the expected tree beside the found one.

    Args:
      argument: name of the flag.
      source: what the user gave.
      expected: a drawing of the tree, a line per entry.
      problem: what is wrong, if it is more than that the source is absent.

    Returns:
      A `ValueError` to raise.

    Example:
      >>> print(layout_error("source", Path("/nowhere"), "people.csv"))
      --source=/nowhere does not exist. Expected beside found:
        people.csv │ (nothing)
    """
    if source is None:
        return ValueError(f"--{argument} is needed. Expected:\n" + "\n".join(f"  {x}" for x in expected.splitlines()))
    if not problem:
        problem = "is not what this data set reads" if source.exists() else "does not exist"
    return ValueError(f"--{argument}={source} {problem}. Expected beside found:\n{beside(expected, found(source))}")


def found(source: Path) -> str:
    """A drawing of what lies at `source`, two levels deep and a few entries of each."""
    if not source.exists():
        return "(nothing)"
    if source.is_file():
        return f"{source.name} (a file)"
    lines = [f"{source.name}/"]
    for entry in _some(source):
        lines.append(f"  {entry}")
        if entry.endswith("/"):
            lines += [f"    {inner}" for inner in _some(source / entry)[:4]]
    return "\n".join(lines[:_MOST_LINES] + ["  ..."] * (len(lines) > _MOST_LINES))


def _some(folder: Path, *, count: int = 8) -> list[str]:
    # Sorted, but a folder of a million files is not listed to its end.
    entries = sorted(itertools.islice(folder.iterdir(), 10_000))
    names = [entry.name + "/" * entry.is_dir() for entry in entries]
    return names[:count] + ["..."] * (len(names) > count) or ["(empty)"]


def beside(left: str, right: str) -> str:
    """Two drawings side by side, indented."""
    lines = list(itertools.zip_longest(left.splitlines(), right.splitlines(), fillvalue=""))
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"  {a:<{width}} │ {b}".rstrip() for a, b in lines)
