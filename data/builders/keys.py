"""Hints about columns and keys that are not read, such as `camid` where `camera` is meant (see `near_names`)."""

from collections.abc import Iterable, Sequence

from data.builders.listing import CAUTION
from dsr_jax.formats.near_names import LOOSE, meaning

__all__ = ["hint", "meaning", "unread"]


def hint(wanted: Sequence[str], names: Iterable[str]) -> str:
    """End of a message that says what to rename, where needed names are absent; or nothing.

    Example:
      >>> hint(["identity", "role"], ["path", "pid", "split", "age"])
      '; rename pid to identity, split to role'
    """
    renamed = [
        f"{name} to {as_}" for as_ in wanted for name in names if as_ in (meaning(name), LOOSE.get(name.lower()))
    ]
    return f"; rename {', '.join(renamed)}" if renamed else ""


def unread(what: str, names: Iterable[str], known: Sequence[str]) -> list[str]:
    """A remark on names that are not read, each with the known one that it is near to.

    Example:
      >>> unread("people.csv: columns", ["age", "cam"], ["path", "camera"])
      ['Take care: people.csv: columns that are not read: age, cam (camera is read); read are path, camera.']
    """
    listed = [f"{name} ({near} is read)" if (near := meaning(name)) in known else name for name in names]
    return [f"{CAUTION}{what} that are not read: {', '.join(listed)}; read are {', '.join(known)}."] if listed else []
