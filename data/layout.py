"""The error for a source that is missing or laid out differently: what was expected beside what is there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

_MOST_LINES = 14


def layout_error(
    argument: str, source: Path | None, expected: str, problem: str = "", *, drawn: str | None = None
) -> ValueError:
    """The error that shows the expected tree beside the found one.

    Args:
      argument: name of the flag.
      source: what the user gave.
      expected: a drawing of the tree, a line per entry.
      problem: what is wrong, if it is more than that the source is absent.
      drawn: what the source holds, if it is no plain folder, see `found`.

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
    both = beside(expected, found(source) if drawn is None else drawn)
    return ValueError(f"--{argument}={source} {problem}. Expected beside found:\n{both}")


def found(source: Path, *, names: Sequence[str] | None = None) -> str:
    """A drawing of what lies at `source`, two levels deep and a few entries of each; or of the sorted `names` in it.

    Example:
      >>> print(found(Path("a.zip"), names=["b/c.jpg", "d.txt"]))
      a.zip
        b/
          c.jpg
        d.txt
    """
    if names is not None:
        paths = [tuple(name.split("/")) for name in names]
        shared = os.path.commonprefix([path[:-1] for path in paths])  # folders around everything take one line
        return _cut(["/".join([source.name, *shared]), *_drawn([path[len(shared) :] for path in paths])])
    if not source.exists():
        return "(nothing)"
    if source.is_file():
        return f"{source.name} (a file)"
    lines = [f"{source.name}/"]
    for entry in _some(source):
        lines.append(f"  {entry}")
        if entry.endswith("/"):
            lines += [f"    {inner}" for inner in _some(source / entry)[:4]]
    return _cut(lines)


def _cut(lines: list[str]) -> str:
    return "\n".join(lines[:_MOST_LINES] + ["  ..."] * (len(lines) > _MOST_LINES))


def _drawn(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The first two levels of sorted paths, a few entries of each."""
    inner: dict[str, dict[str, None]] = {}
    for path in paths:
        entries = inner.setdefault(path[0] + "/" * (len(path) > 1), {})
        if len(path) > 1:
            entries[path[1] + "/" * (len(path) > 2)] = None
    lines = []
    for entry in _few(list(inner)):
        lines += [f"  {entry}", *(f"    {name}" for name in _few(list(inner.get(entry, {})), count=3))]
    return lines or ["  (empty)"]


def _some(folder: Path) -> list[str]:
    # Sorted, but a folder of a million files is not listed to its end.
    entries = sorted(itertools.islice(folder.iterdir(), 10_000))
    return _few([entry.name + "/" * entry.is_dir() for entry in entries]) or ["(empty)"]


def _few(names: list[str], *, count: int = 8) -> list[str]:
    return names[:count] + ["..."] * (len(names) > count)


def beside(left: str, right: str) -> str:
    """Two drawings side by side, indented."""
    lines = list(itertools.zip_longest(left.splitlines(), right.splitlines(), fillvalue=""))
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"  {a:<{width}} │ {b}".rstrip() for a, b in lines)
