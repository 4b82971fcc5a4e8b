"""Wording of messages: counts with their nouns, and the first few of many names."""

from collections.abc import Iterable, Sequence


def plural(count: int, one: str, many: str) -> str:
    """A count with its noun.

    Example:
      >>> plural(1, "picture is", "pictures are"), plural(2000, "picture is", "pictures are")
      ('1 picture is', '2,000 pictures are')
    """
    return f"{count:,} {one if count == 1 else many}"


def few(names: Iterable[str], most: int) -> str:
    """At most so many names, and the number of the others.

    Example:
      >>> few(["a", "b", "c"], 2)
      'a, b and 1 more'
    """
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most:,} more" if len(listed) > most else "")


def lines(texts: Sequence[str], most: int, *, indent: str = "  ") -> str:
    """At most so many lines, and one with the number of the others.

    Example:
      >>> print(lines(["a", "b", "c"], 2))
        a
        b
        ... and 1 more
    """
    more = [f"... and {len(texts) - most:,} more"] if len(texts) > most else []
    return "\n".join(f"{indent}{text}" for text in [*texts[:most], *more])
