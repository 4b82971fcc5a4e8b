"""Comparison of probes with a gallery: the arguments of `match` and `shortlist`, checked once and put in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tqdm import tqdm

from dsr_jax import calibration
from dsr_jax.matching import checks, compiled, maxsim, parts, search, visibility, weighting, xla
from dsr_jax.matching.entries import Entries
from dsr_jax.matching.gallery import Gallery
from dsr_jax.matching.search import Nearest
from dsr_jax.parallel import hosts
from dsr_jax.solvers import table
from dsr_jax.solvers.certificate import check_l1

MUTE = 4.0  # an l1 beyond 1 leaves no codes of unit blocks; a larger one than this would only overflow


@runtime_checkable
class Engine(Protocol):
    """What every engine can: all pairs, listed pairs, and the nearest entries of one probe."""

    def distances(self, *, progress: bool = False) -> np.ndarray:
        """Distance, lower, upper, gap of all pairs: (4, P, G) float32."""

    def listed(self, pairs: np.ndarray, *, progress: tqdm | None = None) -> np.ndarray:
        """The same of chosen pairs (n, 2), numbers of probe and entry: (4, n) float32."""

    def nearest(self, k: int) -> Nearest:
        """The k nearest entries of the only probe."""


ENGINES = {"compiled": compiled.Engine, "maxsim": maxsim.Engine, "xla": xla.Engine}


@dataclass(frozen=True)
class Comparison:
    """Probes and gallery, and how they are compared.

    Attributes:
      probes: entries of one map each.
      gallery: the gallery.
      coder: name of the solver.
      l1: weight of the L1 penalty.
      tol: largest duality gap of a column.
      max_bytes: memory ceiling, beside the maps and the result.
      weighted: by what the probes' blocks are weighted, "equal", "norm" or "given".
      even: whether the weights that were given are all equal: then they are "equal" ones, too.
    """

    probes: Entries
    gallery: Gallery
    coder: str
    l1: float
    tol: float
    max_bytes: int
    weighted: str = "equal"
    even: bool = False

    def engine(self, entries: Entries | None = None) -> Engine:
        """The engine of the solver, for all gallery entries or for some.

        Raises:
          ValueError: if not even one pair fits into ``max_bytes``.
        """
        make = ENGINES[table.SOLVERS[self.coder].engine]
        over = self.gallery.as_entries if entries is None else entries
        l1 = min(self.l1, MUTE)
        return make(self.probes, over, coder=self.coder, l1=l1, tol=self.tol, max_bytes=self.max_bytes)

    def distances(self, *, progress: bool) -> np.ndarray:
        """Distance, lower, upper, gap, (4, P, G) float32: each process codes a part, all have the result."""
        local = self.gallery.local
        figures = [np.empty((4, len(self.probes), 0), np.float32)]
        if len(local):
            figures += [self.engine(part).distances(progress=progress) for part in parts.in_memory(local)]
        return hosts.together(np.concatenate(figures, axis=2), self.gallery.entries)

    def nearest(self, k: int) -> Nearest:
        """The k nearest entries of the only probe; where maps are read lazily, those of each part are merged."""
        found = (
            (len(part), self.engine(part).nearest(min(k, len(part))))
            for part in parts.in_memory(self.gallery.as_entries)
        )
        return search.merged(found, k)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the distances, by name: what a calibration of them was fitted on."""
        how: dict[str, Any] = {"scales": self.gallery.scales, "probe_scales": self.probes.scales}
        how["probe_weights"] = "equal" if self.even else self.weighted
        alone = self.gallery.identities is None
        how["images_per_entry"] = 1 if alone else max(map(len, self.gallery.as_entries.groups))
        return calibration.settings(self.coder, l1=self.l1, pooling=self.gallery.pooling, **how)

    def asked(self, fitted: calibration.Calibration) -> dict[str, Any]:
        """What a calibration is asked for: the settings, of which equal weights may be called as it calls them."""
        given = {"probe_weights": self.weighted} if fitted.fitted_on.get("probe_weights") == self.weighted else {}
        return self.settings | given

    def check(self, fitted: calibration.Calibration) -> None:
        """Raises ValueError where a calibration is of other distances."""
        fitted.check(**self.asked(fitted))

    @property
    def counted(self) -> np.ndarray:
        """(P,) share of each probe's blocks that are counted: that have a direction, and weigh anything."""
        return self.probes.counted


def compared(
    probe_maps: Any,
    gallery_maps: Any,
    *,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    identities: Sequence[Any] | np.ndarray | None = None,
    probe_weights: Any = None,
    probe_masks: Any = None,
    gallery_masks: Any = None,
    coder: str = "auto",
    certified: bool = False,
    l1: float = 0.4,
    tol: float = 1e-6,
    max_bytes: int = 1 << 29,
) -> Comparison:
    """Checks what a call compares.

    Args:
      probe_maps: see `match.distances`, like all others but one.
      gallery_maps: maps, or a `Gallery`.
      scales: sides of the windows.
      probe_scales: the same for the probes.
      pooling: "average" or "max".
      identities: a label per gallery map.
      probe_weights: None, "norm" or a number for every position.
      probe_masks: which positions of the probes are visible.
      gallery_masks: the same of the gallery.
      coder: "auto" or the name of a solver.
      certified: whether the solver must have a certificate.
      l1: weight of the L1 penalty.
      tol: largest duality gap of a column.
      max_bytes: memory ceiling.

    Returns:
      The `Comparison`.

    Raises:
      ValueError: see `match.distances`.
    """
    check_numbers(l1, tol, max_bytes)
    chosen = table.choose(coder, use="matching", certified=certified)
    if isinstance(gallery_maps, Gallery):
        gallery = gallery_maps
        _check_built(gallery, identities=identities, scales=scales, pooling=pooling, gallery_masks=gallery_masks)
        if not len(gallery.maps):
            raise ValueError("gallery_maps is a Gallery without any map: add some")
    else:
        sides = checks.as_scales("scales", (1, 2, 3) if scales is None else scales)
        how: dict[str, Any] = {"scales": sides, "pooling": "average" if pooling is None else pooling}
        if gallery_masks is not None:  # checked here, so that errors call them by the name of this argument
            gallery_maps, gallery_masks = visibility.applied(
                "gallery_maps", gallery_maps, "gallery_masks", gallery_masks, **how
            )
        gallery = Gallery.build(gallery_maps, identities=identities, masks=gallery_masks, copy=False, **how)
    probes_at = gallery.scales if probe_scales is None else checks.as_scales("probe_scales", probe_scales)
    probes, shown = _probes(probe_maps, probe_masks, probe_weights, scales=probes_at, pooling=gallery.pooling)
    checks.check_channels(probes[0], gallery.maps[0])
    how = {"scales": tuple(sorted(probes_at)), "pooling": gallery.pooling}
    entries = Entries.single(probes, masks=shown, **how)
    for i, directed in enumerate(entries.directed.tolist()):
        checks.check_direction("probe_maps", i, len(probes), probes[i].shape, directed)
    if probe_weights is not None:
        entries = replace(entries, weights=weighting.of(probe_weights, probes, shown, **how))
    weighted = "equal" if probe_weights is None else weighting.NORM if isinstance(probe_weights, str) else "given"
    even = weighted == "given" and entries.weights is None
    return Comparison(entries, gallery, chosen, float(l1), float(tol), int(max_bytes), weighted, even)


def _probes(
    maps: Any, masks: Any, weights: Any, *, scales: tuple[int, ...], pooling: str
) -> tuple[Sequence[np.ndarray], tuple[np.ndarray, ...] | None]:
    """The probes, zero where masked, and their masks.

    Raises:
      ValueError: naming what is wrong with maps or masks, or given beside a `Gallery`.
    """
    if not isinstance(maps, Gallery):
        return visibility.applied("probe_maps", maps, "probe_masks", masks, scales=scales, pooling=pooling)
    if masks is not None:
        raise ValueError("probe_masks belong to the Gallery here: pass them to Gallery.build(masks=...)")
    if not (weights is None or isinstance(weights, str)):
        raise ValueError(
            f"probe_weights must be None or 'norm' where probe_maps is a Gallery, got {weights!r:.80}: a Gallery has "
            "no weights, pass its maps (gallery.maps) with them"
        )
    return checks.as_maps("probe_maps", maps.maps, scales=scales, pooling=pooling), maps.masks


def check_numbers(l1: float, tol: float, max_bytes: int) -> None:
    """Raises ValueError for anything but finite numbers above zero."""
    check_l1(l1)
    checks.check_positive("tol", tol, "float32 certifies about 1e-6")
    checks.check_positive("max_bytes", max_bytes, "half a gigabyte, 1 << 29, is the default")


def _check_built(
    gallery: Gallery, *, identities: Any, scales: Sequence[int] | None, pooling: str | None, gallery_masks: Any
) -> None:
    """Raises ValueError where a call contradicts what the gallery was built with."""
    if identities is not None:
        raise ValueError("identities belong to the Gallery here: pass them to Gallery.build")
    if gallery_masks is not None:
        raise ValueError("gallery_masks belong to the Gallery here: pass them to Gallery.build(masks=...)")
    for argument, given, built in (
        ("scales", None if scales is None else checks.as_scales("scales", scales), gallery.scales),
        ("pooling", pooling, gallery.pooling),
    ):
        if given is not None and given != built:
            raise ValueError(f"{argument} belong to the Gallery, which has {built!r}, got {given!r}: build another one")
