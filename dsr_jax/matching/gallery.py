"""The `Gallery`: maps with their labels, checked and put in order once, saved and loaded."""

import dataclasses
import functools
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dsr_jax.calibration import Calibration, from_text
from dsr_jax.formats import atomic
from dsr_jax.matching import visibility
from dsr_jax.matching.checks import as_labels, as_scales
from dsr_jax.matching.entries import Entries, gather
from dsr_jax.parallel import hosts

if TYPE_CHECKING:
    from dsr_jax.gallery.stored import StoredGallery


@dataclass(frozen=True, eq=False)
class Gallery:
    """Gallery maps, checked and put in order once; saved and loaded.

    An entry is what a probe is compared with: one map, or all maps of one identity stacked into one dictionary. Only
    the maps are kept, copied, whatever the scales (and the blocks of maps that cannot be pooled, see `Positions`).

    Attributes:
      maps: the (h, w, d) float32 maps; they may be read lazily, see `parts.LazyMaps`.
      identities: one label per map (integers or strings), or None: every map is an entry of its own.
      names: one name per map, or None.
      scales: sides of the windows.
      pooling: "average" or "max".
      masks: of each map (h, w) of bool, False where it is masked, and zero; or None.
      calibration: from distances to probabilities, see `dsr_jax.calibration`; or None.
    """

    maps: Sequence[Any]  # arrays; with the type given, checkers at run time would read some
    identities: tuple[Any, ...] | None
    names: tuple[str, ...] | None
    scales: tuple[int, ...]
    pooling: str
    masks: tuple[np.ndarray, ...] | None = None
    calibration: Calibration | None = None

    @classmethod
    def build(
        cls,
        gallery_maps: Any,
        *,
        identities: Sequence[Any] | np.ndarray | None = None,
        names: Sequence[str] | None = None,
        scales: Sequence[int] = (1, 2, 3),
        pooling: str = "average",
        masks: Any = None,
        copy: bool = True,
        calibration: Calibration | None = None,
    ) -> "Gallery":
        """Checks the maps and keeps them.

        Args:
          gallery_maps: one (h, w, d) array or a sequence of such arrays, of any sizes with one d.
          identities: which maps belong together, a label per map; default: every map is an entry of its own.
          names: a name per map, shown to people.
          scales: sides of the windows whose averages are blocks.
          pooling: "average" or "max".
          masks: one (h, w) array per map, True (or 1) where it is visible: masked positions leave the dictionary.
          copy: copy the maps, so that later changes to the caller's arrays do not affect the gallery. Without, the
            memory is that of the arrays, which must not change.
          calibration: of distances such as those to this gallery, see `calibrated`.

        Returns:
          The gallery.

        Raises:
          ValueError: for maps of a wrong rank, of different d, with NaN or infinity, too small for the scales, or an
            empty gallery; for identities or names of another length or kind; for masks of another number or shape, of
            numbers other than 0 and 1, or without a visible position; for a calibration of other scales.

        Example:
          >>> import numpy as np
          >>> from dsr_jax import match
          >>> gallery = match.Gallery.build([np.ones((4, 2, 8)), np.eye(8)[None]], names=["a.png", "b.png"])
          >>> len(gallery.maps), gallery.entries
          (2, 2)
        """
        sides = as_scales("scales", scales)
        maps, shown = visibility.applied("gallery_maps", gallery_maps, "masks", masks, scales=sides, pooling=pooling)
        labels = as_labels("identities", identities, len(maps))
        called = as_labels("names", names, len(maps), kinds=(str, os.PathLike))
        if copy:
            maps = _together(maps, [i for group in gather(labels, len(maps))[0] for i in group])
        found = None if called is None else tuple(map(str, called))
        gallery = cls(tuple(maps), labels, found, sides, pooling, shown)
        return gallery if calibration is None else gallery.calibrated(calibration)

    def calibrated(self, calibration: Calibration | None) -> "Gallery":
        """The same gallery with a calibration, by which `search` then gives probabilities; None: without.

        Raises:
          ValueError: if it was fitted on other scales or pooling than the gallery's, or is none.
        """
        if calibration is not None:
            if not isinstance(calibration, Calibration):
                raise ValueError(
                    f"calibration must be a calibration.Calibration, got {calibration!r:.80}: a file's is "
                    "calibration.load(path)"
                )
            calibration.check(scales=self.scales, pooling=self.pooling)
        return dataclasses.replace(self, calibration=calibration)

    @staticmethod
    def create(
        folder: str | os.PathLike[str],
        maps: Iterable[Any],
        *,
        names: Sequence[str],
        identities: Sequence[Any] | np.ndarray | None = None,
        cameras: Sequence[Any] | np.ndarray | None = None,
        times: Sequence[Any] | np.ndarray | None = None,
        vectors: Iterable[Any] | None = None,
        masks: Iterable[Any] | None = None,
        network: Any = None,
        dtype: str = "float16",
        scales: Sequence[int] = (1, 2, 3),
        pooling: str = "average",
    ) -> "StoredGallery":
        """Makes a gallery on disk, whole or not at all, of maps that are taken one at a time; needs dsr_jax[gallery].

        Args:
          folder: a new or empty folder.
          maps: the (h, w, d) maps of one d, a generator for instance.
          names: a name per map, each once.
          identities: which maps belong together, a label per map; default: every map is an entry of its own.
          cameras: a whole number per map, -1 where unknown.
          times: seconds or a datetime per map, None where unknown.
          vectors: the network's own vector of each image, (e,).
          masks: an (h, w) mask per map, True where a position counts, or None where all do.
          network: what made the maps: a `weights.Card` with its sha256, or any mapping that tells networks and
            preprocessings apart. Maps of another one are then refused.
          dtype: type of the maps on disk, "float16" (finer), "bfloat16" (wider) or "float32".
          scales: sides of the windows whose averages are blocks.
          pooling: "average" or "max".

        Returns:
          The gallery, open.

        Raises:
          ValueError: as `build`; for lists of another length, and for a folder that is not empty.
          OSError: if it cannot be written, naming the folder and the reason.

        Example:
          >>> import tempfile
          >>> import numpy as np
          >>> from dsr_jax import match
          >>> maps = np.random.default_rng(0).random((3, 6, 3, 32))
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     gallery = match.Gallery.create(folder, maps, names=["a.png", "b.png", "c.png"])
          ...     gallery = gallery.remove(names=["b.png"])
          ...     match.search(maps[2, :3], match.Gallery.open(folder), k=1).names
          ('c.png',)
        """
        from dsr_jax.gallery import opening  # its packages are an extra

        labels = opening.Labels.checked(names, identities, cameras, times)
        beside = {"vectors": vectors, "masks": masks, "network": network}
        return opening.create(folder, maps, labels, dtype=dtype, scales=scales, pooling=pooling, **beside)

    @staticmethod
    def open(
        folder: str | os.PathLike[str],
        *,
        version: int | None = None,
        network: Any = None,
        grouped: bool = True,
        scales: Sequence[int] | None = None,
        pooling: str | None = None,
    ) -> "StoredGallery":
        """Opens a gallery that `create` made, without reading its maps; needs dsr_jax[gallery].

        Args:
          folder: where it is.
          version: one of its versions; default: the newest.
          network: the network of the maps that it will be compared with, as of `create`.
          grouped: whether the maps of one identity are one entry; else each map is.
          scales: sides of the windows; default: those that it was created with.
          pooling: "average" or "max"; default: likewise.

        Raises:
          ValueError: if there is no gallery, or not this version; for the gallery of another network or format.
        """
        from dsr_jax.gallery import opening  # its packages are an extra

        how: dict[str, Any] = {"grouped": grouped, "scales": scales, "pooling": pooling}
        return opening.opened(folder, version=version, network=network, **how)

    @property
    def entries(self) -> int:
        """Number of dictionaries: maps, or identities where labels were given."""
        return len(self.maps) if self.identities is None else len(dict.fromkeys(self.identities))

    @functools.cached_property
    def as_entries(self) -> Entries:
        """The maps in groups, one per entry."""
        return Entries(self.maps, gather(self.identities, len(self.maps))[0], self.scales, self.pooling, self.masks)

    def part(self, entries: Sequence[int] | np.ndarray, *, scales: tuple[int, ...] | None = None) -> "Gallery":
        """A gallery of some of the entries, in ascending order, with other scales if they are given; not calibrated."""
        rows = [i for entry in entries for i in self.as_entries.groups[entry]]
        maps = tuple(self.maps[i] for i in rows)
        identities = None if self.identities is None else tuple(self.identities[i] for i in rows)
        names = None if self.names is None else tuple(self.names[i] for i in rows)
        masks = None if self.masks is None else tuple(self.masks[i] for i in rows)
        how: dict[str, Any] = {"scales": scales or self.scales, "masks": masks, "calibration": None}
        return replace(self, maps=maps, identities=identities, names=names, **how)

    @functools.cached_property
    def local(self) -> Entries:
        """The entries that this process answers for: all of them, unless there are several processes."""
        return self.as_entries if hosts.count() == 1 else self.as_entries.part(hosts.part(self.entries))

    @property
    def labels(self) -> tuple[Any, ...] | None:
        """The entries' identities, in the order of their first appearance, or None where there are none."""
        return gather(self.identities, len(self.maps))[1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the gallery to one ``.npz`` file, whole or not at all.

        Raises:
          OSError: if it cannot be written, naming file and reason.
        """
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
        if self.masks is not None:
            content["masks"] = np.concatenate([mask.ravel() for mask in self.masks])
        if self.calibration is not None:
            content["calibration"] = np.array(self.calibration.text)
        with atomic.opened(path) as file:
            np.savez(file, **content)

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
            masks = None
            if "masks" in content:
                ends = np.cumsum([h * w for h, w, _ in shapes])[:-1]
                each = np.split(content["masks"], ends)
                masks = [part.reshape(s[:2]) for part, s in zip(each, shapes, strict=True)]
            fitted = from_text(str(content["calibration"])) if "calibration" in content else None
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
            masks=masks,
            calibration=fitted,
        )


def _together(maps: Sequence[np.ndarray], order: Sequence[int]) -> list[np.ndarray]:
    """The same maps, copied and in memory one after another in the given order, as they will be multiplied."""
    rows = np.concatenate([maps[i].reshape(-1, maps[i].shape[2]) for i in order])
    ends = np.cumsum([maps[i].shape[0] * maps[i].shape[1] for i in order])
    placed = dict(zip(order, np.split(rows, ends[:-1]), strict=True))
    return [placed[i].reshape(m.shape) for i, m in enumerate(maps)]
