"""Error for a source that is missing or laid out differently: the expected tree beside the one that is there."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

_MOST_LINES = 14
_MOST_ENTRIES = 8  # of a folder


def layout_error(source: Path | None, expected: str, problem: str = "", *, drawn: str | None = None) -> ValueError:
    """The error that shows the expected tree beside the found one.

    Example:
      >>> print(layout_error(Path("/nowhere"), "people.csv"))
      --source=/nowhere does not exist. Expected beside found:
        people.csv │ (nothing)
    """
    if source is None:
        return ValueError("--source is needed. Expected:\n" + "\n".join(f"  {x}" for x in expected.splitlines()))
    if not problem:
        problem = "is not what this data set reads" if source.exists() else "does not exist"
    both = beside(expected, drawing(source) if drawn is None else drawn)
    return ValueError(f"--source={source} {problem}. Expected beside found:\n{both}")


def drawing(source: Path, *, names: Sequence[str] | None = None) -> str:
    """Drawing of a source, two levels deep and a few entries of each; or of the sorted `names` in it.

    Example:
      >>> print(drawing(Path("a.zip"), names=["b/c.jpg", "d.txt"]))
      a.zip
        b/
          c.jpg
        d.txt
      >>> print(drawing(Path("set"), names=["a.zip/b/c/1.jpg", "a.zip/b/d/2.jpg", "readme.txt"]))
      set
        a.zip/b/
          c/
          d/
        readme.txt
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
    """The first two levels of sorted paths, a few entries of each; a folder with nothing beside it takes no level."""
    groups = [list(group) for _, group in itertools.groupby(paths, key=lambda path: path[0])]
    lines = []
    for entries in groups[:_MOST_ENTRIES]:
        shared = os.path.commonprefix([entry[:-1] for entry in entries])
        lines.append("  " + ("/".join(shared) + "/" if shared else entries[0][0]))
        rest = [entry[len(shared) :] for entry in entries] if shared else []
        inner = dict.fromkeys(entry[0] + "/" * (len(entry) > 1) for entry in rest)
        lines += [f"    {name}" for name in _few(list(inner), count=3)]
    lines += ["  ..."] * (len(groups) > _MOST_ENTRIES)
    return lines or ["  (empty)"]


def _some(folder: Path) -> list[str]:
    # Sorted, but a folder of a million files is not listed to its end.
    entries = sorted(itertools.islice(folder.iterdir(), 10_000))
    return _few([entry.name + "/" * entry.is_dir() for entry in entries]) or ["(empty)"]


def _few(names: list[str], *, count: int = _MOST_ENTRIES) -> list[str]:
    return names[:count] + ["..."] * (len(names) > count)


def beside(left: str, right: str) -> str:
    """Two drawings side by side, indented."""
    lines = list(itertools.zip_longest(left.splitlines(), right.splitlines(), fillvalue=""))
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"  {a:<{width}} │ {b}".rstrip() for a, b in lines)
