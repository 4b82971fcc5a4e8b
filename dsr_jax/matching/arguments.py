"""What a call of `match` or `shortlist` compares, and how, checked: errors name the argument, its value, the remedy."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dsr_jax.matching import tiles
from dsr_jax.matching.entries import Entries, as_maps, as_scales
from dsr_jax.matching.gallery import Gallery

CODERS = ("active_set", *tiles.CODERS)
MUTE = 4.0  # beyond 1 all codes of unit blocks are zero; larger numbers would only overflow
Figures = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # distance, lower, upper, gap


def compared(
    probe_maps: Any,
    gallery_maps: Any,
    scales: Sequence[int] | None,
    probe_scales: Sequence[int] | None,
    pooling: str | None,
    identities: Sequence[Any] | np.ndarray | None,
    *,
    coder: str,
) -> tuple[Entries, Gallery, str]:
    """What a call compares, checked: probes, gallery, and the coder that it stands for.

    Raises:
      ValueError: see `match.distances`.
    """
    if isinstance(gallery_maps, Gallery):
        gallery = gallery_maps
        _check_own(gallery, identities=identities, scales=scales, pooling=pooling)
    else:
        gallery = Gallery.build(
            gallery_maps,
            identities=identities,
            scales=(1, 2, 3) if scales is None else scales,
            pooling="average" if pooling is None else pooling,
            copy=False,
        )
    chosen = choose_coder(coder)
    probes_at = gallery.scales if probe_scales is None else as_scales("probe_scales", probe_scales)
    given = probe_maps.maps if isinstance(probe_maps, Gallery) else probe_maps
    probes = as_maps("probe_maps", given, scales=probes_at, pooling=gallery.pooling)
    check_channels(probes[0], gallery.maps[0])
    entries = Entries.single(probes, scales=probes_at, pooling=gallery.pooling)
    for i, solid in enumerate(entries.solid.tolist()):
        check_direction("probe_maps", i, len(probes), probes[i].shape, solid)
    return entries, gallery, chosen


def check_direction(argument: str, i: int, count: int, shape: tuple[int, ...], solid: int) -> None:
    """Raises ValueError for map i of ``count`` if none of its blocks has a direction."""
    if not solid:
        raise ValueError(
            f"{argument}{f'[{i}]' if count > 1 else ''} of shape {shape} has no block with a direction, all are zero: "
            "there is nothing to compare, leave it out, or look at its mask, its picture or its network"
        )


def check_channels(probe: Any, other: Any) -> None:
    """Raises ValueError for maps (h, w, d) of two sides that do not have one d."""
    own, theirs = np.shape(probe)[2:], np.shape(other)[2:]
    if own and theirs and own != theirs:
        raise ValueError(
            f"probe_maps and gallery_maps must have the same number of channels d, got {own[0]} and {theirs[0]}"
        )


def options(l1: float, tol: float, max_bytes: int) -> dict[str, Any]:
    """What both ways of coding are given, checked."""
    check_positive("tol", tol, "float32 certifies about 1e-6")
    check_positive("max_bytes", max_bytes, "half a gigabyte, 1 << 29, is the default")
    return {"l1": weight(l1), "tol": float(tol), "max_bytes": int(max_bytes)}


def weight(l1: float, *, most: float = MUTE) -> float:
    """The weight of the penalty, checked."""
    check_positive("l1", l1, "the paper uses 0.4")
    return min(float(l1), most)


def check_positive(argument: str, value: Any, advice: str) -> None:
    """Raises ValueError for anything but a finite number above zero."""
    if np.ndim(value) or not hasattr(value, "__float__") or not 0 < float(value) < np.inf:
        raise ValueError(f"{argument} must be a positive number, got {value!r}; {advice}")


def choose_coder(coder: str) -> str:
    """The coder that "auto" stands for on this machine; any other known name is returned as it is."""
    if coder == "auto":
        return "active_set" if jax.default_backend() == "cpu" else "proximal"
    if coder not in CODERS:
        raise ValueError(f"coder must be 'auto' or one of {sorted(CODERS)}, got {coder!r}")
    return coder


def _check_own(gallery: Gallery, *, identities: Any, scales: Sequence[int] | None, pooling: str | None) -> None:
    """Raises ValueError where a call contradicts what the gallery was built with."""
    if identities is not None:
        raise ValueError("identities belong to the Gallery here: pass them to Gallery.build")
    for argument, given, own in (
        ("scales", None if scales is None else as_scales("scales", scales), gallery.scales),
        ("pooling", pooling, gallery.pooling),
    ):
        if given is not None and given != own:
            raise ValueError(f"{argument} belong to the Gallery, which has {own!r}, got {given!r}: build another one")
