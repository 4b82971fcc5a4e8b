"""Ray: a gallery in shards, each kept open by an actor, on one machine or many; answers are merged exactly.

    gallery = ray_shards.Shards.open("people", shards=4)         # one folder that all machines see
    gallery = ray_shards.Shards.open(["/a/people", "/b/people"])  # or one per shard, see `placed`
    found = gallery.search(probe_maps, k=10)[0]                  # as one `shortlist.search` of everything

Needs ray (the extra `ray`), which is imported when a gallery is opened.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax.calibration import from_text
from dsr_jax.matching import checks, shards, visibility, weighting
from dsr_jax.matching.gallery import Gallery
from dsr_jax.matching.shards import Merged

__all__ = ["Shards"]


class Actor:
    """What runs in the process of a shard."""

    def open(self, folder: str, part: tuple[int, int] | None, how: Mapping[str, Any]) -> shards.About:
        """Opens the shard, entries ``part`` of a gallery or all of them, and says what it is."""
        gallery = Gallery.open(folder, **how)
        self.shard = shards.Shard(gallery, None if part is None else range(*part))
        fitted, held = gallery.calibration, self.shard.gallery
        where = folder if part is None else f"{folder}, entries {part[0]} to {part[1] - 1}"
        labels = (held.labels or ()) if part is None else ()  # those of parts of one gallery differ
        made = gallery.network, gallery.channels, gallery.scales, gallery.pooling
        return shards.About(where, held.entries, labels, *made, None if fitted is None else fitted.text)

    def answers(self, probes: Sequence[tuple[Any, Mapping[str, Any]]], k: int) -> list[shards.Answer | None]:
        """The answer to every probe, each with its options."""
        return [self.shard.answer(probe, k, **options) for probe, options in probes]


class Shards:
    """A gallery in shards that are open in actors of Ray, until this object is gone."""

    def __init__(self, actors: Sequence[Any], opening: Sequence[tuple[str, Any, Mapping[str, Any]]]) -> None:
        """Actors, and what each is to open; use `open`."""
        self._actors = actors
        self._names = [f"shard {number} ({folder})" for number, (folder, *_) in enumerate(opening)]
        told = self._each([actor.open.remote(*one) for actor, one in zip(actors, opening, strict=True)])
        self.about: tuple[shards.About, ...] = tuple(told)
        self._names = [f"shard {number} ({one.where})" for number, one in enumerate(self.about)]
        shards.check(self.about)
        text = self.about[0].calibration
        self.calibration = None if text is None else from_text(text)

    @classmethod
    def open(
        cls,
        folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        shards: int | None = None,
        placed: Sequence[Mapping[str, Any]] | None = None,
        version: int | None = None,
        **how: Any,
    ) -> "Shards":
        """Starts an actor per shard, each of which opens its own.

        Args:
          folders: a gallery that all machines see, and this process, too; or one gallery per shard, each seen by the
            machine of its actor. Maps of one identity must then be in one gallery.
          shards: of one gallery, how many; at most one per entry.
          placed: options of Ray per actor (``num_cpus``, ``resources``, ...), which say on which machine it runs.
          version: of one gallery, its version; default: the newest.
          **how: network, grouped, scales and pooling of `Gallery.open`.

        Raises:
          ValueError: naming the shard, if one cannot be opened, or has maps of another network, other scales, another
            calibration, or an identity of another shard.
          RuntimeError: naming the shard, if its actor died.
          ModuleNotFoundError: without ray.
        """
        import ray

        opening: list[tuple[str, tuple[int, int] | None, dict[str, Any]]]
        if isinstance(folders, str | os.PathLike):
            if not (isinstance(shards, int | np.integer) and shards >= 1):
                raise ValueError(f"shards must be a whole number >= 1 for one gallery, got {shards!r}")
            gallery = Gallery.open(folders, version=version, **how)
            count = min(int(shards), gallery.entries)
            edges = [gallery.entries * i // count for i in range(count + 1)]
            parts = zip(edges[:-1], edges[1:], strict=True)
            opening = [(os.fspath(folders), part, how | {"version": gallery.version}) for part in parts]
        else:
            if shards is not None or version is not None or not folders:
                raise ValueError(
                    f"folders must be one gallery for shards= and version=, and at least one, got {folders}"
                )
            opening = [(os.fspath(folder), None, how) for folder in folders]
        if placed is not None and len(placed) != len(opening):
            raise ValueError(f"placed must have options for each of {len(opening)} shards, got {len(placed)}")
        make = ray.remote(Actor)
        actors = [make.options(**(placed[i] if placed else {})).remote() for i in range(len(opening))]
        return cls(actors, opening)

    def search(
        self,
        probe_maps: Any,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        probe_weights: Any = None,
        probe_masks: Any = None,
        **options: Any,
    ) -> list[Merged]:
        """The k entries nearest to every probe, as of one search of all shards.

        Args:
          probe_maps: one (h, w, d) array or a sequence of them.
          k: how many.
          where: conditions of `StoredGallery.where`.
          probe_weights: None, "norm" or an (h, w) array per probe.
          probe_masks: an (h, w) array per probe.
          **options: those of `shortlist.search`; ``whole``, ``first`` and ``second`` are of each shard.

        Raises:
          ValueError: naming the shard, as `shortlist.search`; if ``where`` leaves nothing in any shard.
          RuntimeError: naming the shard, if its actor died: open the shards again.
        """
        import ray

        probes = checks.as_maps("probe_maps", probe_maps, scales=(1,), pooling="average")
        masks, _ = visibility.both(probe_masks, len(probes), None, 0)
        weights = None if probe_weights is None else weighting.planes(probe_weights, len(probes))
        shown = [
            (
                probe,
                options
                | {
                    "where": where,
                    "probe_masks": None if masks is None else masks[i],
                    "probe_weights": None if weights is None else weights[i],
                },
            )
            for i, probe in enumerate(probes)
        ]
        sent = ray.put(shown)  # once, whatever the number of shards
        answers = self._each([actor.answers.remote(sent, int(k)) for actor in self._actors])
        return [shards.merge(one, int(k), calibration=self.calibration) for one in zip(*answers, strict=True)]

    def _each(self, references: Sequence[Any]) -> list[Any]:
        """What the actors return; an error names the shard."""
        import ray

        returned = []
        for name, reference in zip(self._names, references, strict=True):
            try:
                returned.append(ray.get(reference))
            except ray.exceptions.RayTaskError as error:
                raise ValueError(f"{name}: {error.cause}") from error
            except ray.exceptions.RayError as error:
                reason = str(error).splitlines()[0]
                raise RuntimeError(f"{name}: its actor died ({reason}): open the shards again") from error
        return returned
