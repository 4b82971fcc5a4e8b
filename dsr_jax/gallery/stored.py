"""A gallery on disk, as users hold it: a version that stays as it is, and the changes that make the next one."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dsr_jax.calibration import Calibration
from dsr_jax.gallery import changes
from dsr_jax.gallery.rows import Labels
from dsr_jax.gallery.snapshot import CALIBRATION, Snapshot


class StoredGallery(Snapshot):
    """A gallery in a folder, as `Gallery.open` and `Gallery.create` return it: a version of it that never changes.

    Labels are read at their first use, maps when they are compared: `match.distances` and `match.search` go through
    the gallery part by part. Changes are made to the newest version, whole or not at all, and return the next one.
    """

    def add(
        self,
        maps: Iterable[Any],
        *,
        names: Sequence[str],
        identities: Sequence[Any] | np.ndarray | None = None,
        cameras: Sequence[Any] | np.ndarray | None = None,
        times: Sequence[Any] | np.ndarray | None = None,
        vectors: Iterable[Any] | None = None,
        masks: Iterable[Any] | None = None,
    ) -> "StoredGallery":
        """Adds maps, which are taken one at a time; others can read, add and remove meanwhile.

        Args:
          maps: the (h, w, d) maps, a generator for instance.
          names: a name per map, which no other map of the gallery has.
          identities: a label per map, if the gallery has identities.
          cameras: a whole number per map, -1 where unknown.
          times: seconds or a datetime per map, None where unknown.
          vectors: the network's own vector of each image, if the gallery has vectors.
          masks: an (h, w) mask per map, True where a position counts, or None where all do.

        Returns:
          The next version of the whole gallery.

        Raises:
          ValueError: for maps of another d, or as of `Gallery.build`; for labels of another length or kind than the
            gallery has, for a name that is taken, and for a gallery whose network was not named when it was opened.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        labels = Labels.checked(names, identities, cameras, times)
        return self._written(maps, labels, vectors, masks, replace=False)

    def replace(self, maps: Iterable[Any], *, names: Sequence[str], **labels: Any) -> "StoredGallery":
        """Puts maps and all their labels in the place of those of the same names, at once.

        Args:
          maps: the (h, w, d) maps.
          names: names that the gallery has.
          **labels: identities, cameras, times, vectors and masks, as of `add`.

        Returns:
          The next version of the whole gallery.

        Raises:
          ValueError: as `add`, and for a name that the gallery does not have.
          OSError: as `add`.
        """
        beside = {name: labels.pop(name, None) for name in ("vectors", "masks")}
        return self._written(maps, Labels.checked(names, **labels), **beside, replace=True)

    def remove(self, *, names: Iterable[str] | None = None, identities: Iterable[Any] | None = None) -> "StoredGallery":
        """Removes maps by their names or by their identities; `compact` takes them off the disk.

        Args:
          names: names that the gallery has.
          identities: identities that the gallery has, all maps of which go.

        Returns:
          The next version of the whole gallery.

        Raises:
          ValueError: for a name or an identity that the gallery does not have, and unless one of both is given.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        if (names is None) == (identities is None):
            raise ValueError("names or identities must be given, one of them: which maps to remove")
        if identities is None:
            return self._next(changes.remove(self._table, "names", names))
        return self._next(changes.remove(self._table, "identities", identities))

    def note(self, name: str, value: Any) -> "StoredGallery":
        """Keeps a value that JSON has under a name, as a new version; None removes it.

        Raises:
          ValueError: for a value that JSON does not have.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        try:
            text = None if value is None else json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"value of note {name!r} must be what JSON has ({error}), got {value!r:.80}") from error
        return self._next(self._table.note(name, text))

    def calibrated(self, calibration: Calibration | None) -> "StoredGallery":
        """Keeps a calibration, by which a search then gives probabilities, as a new version; None removes it.

        It is the note "calibration". Galleries that are opened from then on have it, and what filters leave of them.

        Raises:
          ValueError: if it was fitted on other scales or pooling than the gallery's, or, as far as both are known, on
            another network, or on images that were brought to it in another way.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        if calibration is not None:
            known, named = self.network or {}, ("preprocessing", "output_stride", "size", "maps")
            made_by = {"network": known.get("sha256")} | {name: known.get(name) for name in named}
            calibration.check(scales=self.scales, pooling=self.pooling, **made_by)
        return self.note(CALIBRATION, None if calibration is None else calibration.text)

    def restore(self, version: int) -> "StoredGallery":
        """Makes an older version the newest one; those between stay.

        Raises:
          ValueError: if there is no such version.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        return self._next(self._table.restore(version))

    def compact(self, *, keep: int = 1) -> "StoredGallery":
        """Rewrites small files and those with removed maps, and drops all but the newest ``keep`` versions.

        An older version that is open can no longer be read then. Needs room for what is rewritten; other changes wait.

        Raises:
          ValueError: for keep < 1.
          OSError: if it cannot be written, naming the folder and the reason.
        """
        if not (isinstance(keep, int | np.integer) and keep >= 1):
            raise ValueError(f"keep must be a whole number >= 1, got {keep!r}: the newest version is always kept")
        return self._next(self._table.compact(int(keep)))

    def _written(
        self, maps: Iterable[Any], labels: Labels, vectors: Any, masks: Any, *, replace: bool
    ) -> "StoredGallery":
        if self.network is not None and self._options.get("network") is None:
            raise ValueError(
                f"network: {self._table.where} keeps the maps of one network: name that of the new maps, "
                "Gallery.open(folder, network=...)"
            )
        content = {"vectors": vectors, "masks": masks}
        return self._next(changes.write(self._table, maps, labels, replace=replace, **content))
