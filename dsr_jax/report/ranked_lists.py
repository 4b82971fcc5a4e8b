"""Ranked lists (Fig. 12): a probe and its nearest gallery pictures, right and wrong marked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsr_jax.report import assets


@dataclass(frozen=True)
class Hit:
    """One gallery entry of a ranked list: (H, W, 3) uint8 picture, identity, distance, whether it is right."""

    image: NDArray[np.uint8]
    identity: int
    distance: float
    right: bool


@dataclass(frozen=True)
class RankedList:
    """A probe and the nearest gallery entries in order; `first_hit` is the 0-based place of the first right one."""

    title: str
    probe: NDArray[np.uint8]
    identity: int
    hits: tuple[Hit, ...]
    first_hit: int = -1


def context(entry: RankedList, files: assets.Files) -> dict[str, object]:
    """A list as the template reads it; its pictures are added to the files.

    Raises:
      ValueError: if a picture is not (H, W, 3) uint8.
    """
    hits = [(hit, assets.picture(files, hit.image)) for hit in entry.hits]
    return {"entry": entry, "probe": assets.picture(files, entry.probe), "hits": hits}
