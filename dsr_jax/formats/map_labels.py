"""Labels in a file of maps: identities, cameras, names and roles, and arrays that are nearly called so."""

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from dsr_jax.evaluation.labels import UNKNOWN, integers
from dsr_jax.formats.near_names import LOOSE, meaning

ROLES = ("probe", "gallery")
LABELS = ("identities", "cameras", "names", "roles")
_WANTED = {"identity": "identities", "camera": "cameras", "role": "roles"}


def check_names(where: str, labels: Collection[str], others: Sequence[str]) -> None:
    """Checks the names of a file's arrays that are no maps.

    Raises:
      ValueError: if there are no identities, or another array is nearly called like a label that decides figures.

    Warns:
      UserWarning: of arrays that are not read.
    """
    if "identities" not in labels and not any(map(meaning, others)):
        loose = [name for name in others if LOOSE.get(name.lower().removesuffix("s")) == "identity"]
        raise ValueError(f"it has no array 'identities'{f': rename {loose[0]!r}' if loose else ''}")
    for name in others:
        if (wanted := _WANTED.get(meaning(name) or "")) is not None:
            raise ValueError(f"the array {name!r} is not read, {wanted!r} is: rename it")
    if others:
        remark = f"{where}: arrays that are not read: {', '.join(others)}; read are {', '.join(LABELS)}"
        warnings.warn(remark, stacklevel=3)


def checked(
    count: int, *, identities: Any, cameras: Any = None, names: Any = None, roles: Any = None
) -> dict[str, Any]:
    """All four labels of ``count`` maps as arrays.

    Raises:
      ValueError: naming the label that is wrong.
    """
    labels = {
        "identities": integers(identities, "identities"),
        "cameras": integers(np.full(count, UNKNOWN) if cameras is None else cameras, "cameras"),
        "names": np.array(
            [str(i) for i in range(count)] if names is None else [str(name) for name in names], dtype=str
        ),
        "roles": np.array(["gallery"] * count if roles is None else [str(role) for role in roles], dtype=str),
    }
    for name in ("identities", "cameras"):
        if np.any(labels[name] < UNKNOWN):
            raise ValueError(f"{name} must be whole numbers >= 0, or -1 for unknown, got {labels[name].min()}")
    for name, value in labels.items():
        if value.shape != (count,):
            raise ValueError(f"{name} must have one entry per map, got shape {value.shape} for {count} maps")
    strange = sorted(set(labels["roles"].tolist()) - set(ROLES))
    if strange:
        raise ValueError(f"roles must be 'probe' or 'gallery', got {', '.join(map(repr, strange[:3]))}")
    return labels
