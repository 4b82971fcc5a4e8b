"""Matching as an API: Algorithm 1 of the paper for any number of probe and gallery maps of any sizes.

    result = match.distances(probe_maps, gallery_maps)      # (P, G) distances, each with a certified interval

The blocks of every map are cut (Eq. 1, 2, Sec. 3.4), each pair is coded (Eq. 6) and the mean squared error of the
probe's blocks is the distance (Eq. 4). The pair matrix is worked off in tiles: memory is bounded by ``max_bytes``, not
by the size of the gallery.

Coders: "active_set" (exact, compiled, for the CPU, where `pooled` gives it the correlations of all scales for the
price of one), "proximal" (batched matrix products, the natural one on GPU and TPU) and "feature_sign" (exact, XLA)
compute the same distance; "ridge" is the closed form of the later PyTorch ports, another one, kept for comparison.
"""

import functools
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dsr_jax import pooled, tiles
from dsr_jax.entries import Entries, as_labels, as_maps, as_scales, gather
from dsr_jax.positions import Positions

__all__ = ["CODERS", "Distances", "Gallery", "distances"]

CODERS = ("active_set", *tiles.CODERS)


@dataclass(frozen=True)
class Distances:
    """Distances of P probes to G gallery entries.

    Attributes:
      distance: (P, G) float32, mean squared reconstruction error of the probe's blocks, in [0, 1].
      lower: (P, G) certified lower bound of the exact distance (NaN for ridge, which has no certificate).
      upper: (P, G) certified upper bound of the exact distance.
      gap: (P, G) largest duality gap of the pair's columns.
      identities: G labels of the entries, or None where none were given.
      coder: the coder that was used.
    """

    distance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gap: np.ndarray
    identities: tuple[Any, ...] | None
    coder: str


@dataclass(frozen=True)
class Gallery:
    """Gallery maps, checked and put in order once; saved and loaded.

    An entry is what a probe is compared with: one map, or all maps of one identity stacked into one dictionary. Only
    the maps are kept: blocks are cut tile by tile, whatever the scales.

    Attributes:
      maps: the (h, w, d) float32 maps.
      identities: one label per map (integers or strings), or None: every map is an entry of its own.
      names: one name per map, or None.
      scales: sides of the windows.
      pooling: "average" or "max".
    """

    maps: tuple[np.ndarray, ...]
    identities: tuple[Any, ...] | None
    names: tuple[str, ...] | None
    scales: tuple[int, ...]
    pooling: str

    @classmethod
    def build(
        cls,
        gallery_maps: Any,
        *,
        identities: Sequence[Any] | None = None,
        names: Sequence[str] | None = None,
        scales: Sequence[int] = (1, 2, 3),
        pooling: str = "average",
    ) -> "Gallery":
        """Checks the maps and keeps them.

        Args:
          gallery_maps: one (h, w, d) array or a sequence of such arrays, of any sizes with one d.
          identities: which maps belong together, a label per map; default: every map is an entry of its own.
          names: a name per map, for people.
          scales: sides of the windows whose averages are blocks.
          pooling: "average" or "max".

        Returns:
          The gallery.

        Raises:
          ValueError: for maps of a wrong rank, of different d, with NaN or infinity, too small for the scales, or an
            empty gallery; for identities or names of another length or kind.

        Example:
          >>> import numpy as np
          >>> from dsr_jax import match
          >>> gallery = match.Gallery.build([np.ones((4, 2, 8)), np.eye(8)[None]], names=["a.png", "b.png"])
          >>> len(gallery.maps), gallery.entries
          (2, 2)
        """
        sides = as_scales("scales", scales)
        maps = as_maps("gallery_maps", gallery_maps, scales=sides, pooling=pooling)
        labels = as_labels("identities", identities, len(maps))
        called = as_labels("names", names, len(maps), kinds=(str, os.PathLike))
        return cls(tuple(maps), labels, None if called is None else tuple(map(str, called)), sides, pooling)

    @property
    def entries(self) -> int:
        """Number of dictionaries: maps, or identities where labels were given."""
        return len(self.maps) if self.identities is None else len(dict.fromkeys(self.identities))

    @functools.cached_property
    def positions(self) -> Positions:
        """The maps as `pooled` multiplies them."""
        return Positions.of(Entries(self.maps, gather(self.identities, len(self.maps))[0], self.scales, self.pooling))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the gallery to one ``.npz`` file, whole or not at all."""
        shapes = np.array([m.shape for m in self.maps])
        content: dict[str, Any] = {
            "values": np.concatenate([m.ravel() for m in self.maps]),
            "shapes": shapes,
            "scales": np.array(self.scales),
            "pooling": np.array(self.pooling),
        }
        if self.identities is not None:
            content["identities"] = np.array(self.identities)
        if self.names is not None:
            content["names"] = np.array(self.names, dtype=str)
        partial = f"{os.fspath(path)}.partial"
        with open(partial, "wb") as file:
            np.savez(file, **content)
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Gallery":
        """Reads what `save` wrote.

        Raises:
          ValueError: if the file is not a gallery.
        """
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            shapes = [tuple(shape) for shape in content["shapes"].tolist()]
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
            maps = [part.reshape(s) for part, s in zip(np.split(content["values"], ends), shapes, strict=True)]
            scales, pooling = content["scales"].tolist(), str(content["pooling"])
        except (KeyError, OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"path must be a file that Gallery.save wrote, got {os.fspath(path)!r}: {error}"
            ) from error
        return cls.build(
            maps,
            identities=content["identities"].tolist() if "identities" in content else None,
            names=content["names"].tolist() if "names" in content else None,
            scales=scales,
            pooling=pooling,
        )


def distances(
    probe_maps: Any,
    gallery_maps: Any,
    *,
    l1: float = 0.4,
    scales: Sequence[int] | None = None,
    probe_scales: Sequence[int] | None = None,
    pooling: str | None = None,
    identities: Sequence[Any] | None = None,
    coder: str = "auto",
    tol: float = 1e-5,
    max_bytes: int = 1 << 29,
    progress: bool = False,
) -> Distances:
    """Distance of every probe to every gallery entry (Algorithm 1), with certified intervals.

    Args:
      probe_maps: one (h, w, d) array or a sequence of such arrays of any sizes (NumPy, JAX, anything with
        ``__array__``), or a `Gallery`, each map of which is then a probe.
      gallery_maps: the same, but a `Gallery` brings its own identities, scales and pooling.
      l1: weight of the L1 penalty, the paper's beta, in Eq. 6's scaling.
      scales: sides of the windows whose averages are blocks; (1,) is the paper's single-scale, (1, 2, 3) multi-scale
        and the default. Scales that exceed a map are skipped for it.
      probe_scales: the same for the probes; default: as ``scales``.
      pooling: "average" (the paper, the default) or "max" (the authors' released code).
      identities: a label per gallery map: maps of one identity form one dictionary (the paper's multi-shot). The
        columns of the result are then the identities, in the order in which they first appear. Any label is a label:
        leave out images of nobody (-1) first.
      coder: "auto" (active_set on CPU, proximal elsewhere), "active_set", "proximal", "feature_sign", or "ridge".
      tol: largest duality gap of a column; float32 certifies about 1e-6.
      max_bytes: memory ceiling of the tiles of this call, beside the maps and the result.
      progress: whether to show a progress bar.

    Returns:
      A `Distances`. A probe map of zeros has nothing to rebuild: its distance to everybody is 0, which means nothing.

    Raises:
      ValueError: for maps of a wrong rank, of different d, with NaN or infinity, empty or smaller than one block, and
        for l1, tol, scales, coder or max_bytes out of their range.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import match
      >>> probe, image = np.random.default_rng(0).random((2, 6, 3, 32))
      >>> result = match.distances(probe, [image, probe])
      >>> result.distance.shape, bool(result.distance[0, 1] < result.distance[0, 0])
      ((1, 2), True)
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
        )
    if not l1 > 0 or not np.isfinite(l1):
        raise ValueError(f"l1 must be positive, got {l1}; the paper uses 0.4")
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol}; float32 certifies about 1e-6")
    chosen = choose_coder(coder)
    probes_at = gallery.scales if probe_scales is None else as_scales("probe_scales", probe_scales)
    given = probe_maps.maps if isinstance(probe_maps, Gallery) else probe_maps
    probes = as_maps("probe_maps", given, scales=probes_at, pooling=gallery.pooling)
    if probes[0].shape[2] != gallery.maps[0].shape[2]:
        raise ValueError(
            f"probe_maps and gallery_maps must have the same number of channels d, got {probes[0].shape[2]} and "
            f"{gallery.maps[0].shape[2]}"
        )
    groups, labels = gather(gallery.identities, len(gallery.maps))
    probe_entries = Entries.single(probes, scales=probes_at, pooling=gallery.pooling)
    options: dict[str, Any] = {"l1": float(l1), "tol": float(tol), "max_bytes": int(max_bytes), "progress": progress}
    if chosen == "active_set":
        figures = pooled.solve(Positions.of(probe_entries), gallery.positions, **options)
    else:
        entries = Entries(gallery.maps, groups, gallery.scales, gallery.pooling)
        figures = tiles.solve(probe_entries, entries, coder=chosen, **options)
    return Distances(*figures, identities=labels, coder=chosen)


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
