"""Matcher for wildlife-tools: similarity of two data sets of maps, for its SimilarityPipeline and WildFusion.

    pipeline = SimilarityPipeline(matcher=wildlife.Matcher(), extractor=..., calibration=IsotonicCalibration())

The similarity is 1 minus the distance of `match` (Eq. 4): larger is better. It is not symmetric: data set 0 holds the
probes, 1 the gallery. wildlife-tools itself is not imported; of its data sets ``features``, ``labels_string``, ``len``
and indexing are used.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsr_jax.matching import checks
from dsr_jax.matching.comparison import compared

__all__ = ["Extractor", "MapDataset", "Matcher"]


@dataclass(frozen=True)
class Matcher:
    """What wildlife-tools calls a matcher: compares the maps of two data sets.

    Attributes:
      coder: as for `shortlist.distances`; "maxsim" compares without coding.
      l1: weight of the L1 penalty.
      scales: sides of the windows whose averages are blocks.
      probe_weights: None or "norm".
      tol: largest duality gap of a column.
      max_bytes: memory ceiling, beside the maps.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.adapters import wildlife
      >>> maps = np.random.default_rng(0).random((3, 6, 3, 32))
      >>> animals = wildlife.MapDataset(maps, np.array(["ann", "bob", "cy"]))
      >>> wildlife.Matcher()(animals, animals, pairs=[(0, 0), (0, 2)]).round(1)
      array([[0.8, nan, 0.7],
             [nan, nan, nan],
             [nan, nan, nan]])
    """

    coder: str = "auto"
    l1: float = 0.4
    scales: tuple[int, ...] = (1, 2, 3)
    probe_weights: str | None = None
    tol: float = 1e-6
    max_bytes: int = 1 << 29

    def __call__(self, dataset0: Any, dataset1: Any, pairs: Any = None, **_: Any) -> np.ndarray:
        """The similarity of every map of the first data set to every map of the second, or of some pairs.

        Args:
          dataset0: n0 probes; its ``features`` are maps (h, w, d) of any sizes.
          dataset1: n1 gallery maps, the same.
          pairs: (n, 2) numbers of probe and gallery map, the only ones to compare; default: all.
          **_: of no effect, as in wildlife-tools' own matchers.

        Returns:
          (n0, n1) float64, NaN where ``pairs`` does not ask. (wildlife-tools writes calibrated scores into it; its
          isotonic calibration keeps ties apart by the last digits of a float64.)

        Raises:
          ValueError: for data sets without maps, pairs that are not (n, 2) numbers of maps, the coder "ridge", and as
            `match.distances`.
        """
        probes, gallery = (self._maps(f"dataset{i}", dataset) for i, dataset in enumerate((dataset0, dataset1)))
        chosen = None if pairs is None else _checked(pairs, (len(probes), len(gallery)))
        similarity = np.full((len(probes), len(gallery)), np.nan)
        if chosen is not None and not len(chosen):
            return similarity
        comparison = compared(
            probes,
            gallery,
            coder=self.coder,
            certified=True,
            l1=self.l1,
            scales=self.scales,
            probe_weights=self.probe_weights,
            tol=self.tol,
            max_bytes=self.max_bytes,
        )
        if chosen is None:
            return 1 - comparison.distances(progress=False)[0].astype(np.float64)
        similarity[tuple(chosen.T)] = 1 - comparison.engine().listed(chosen)[0].astype(np.float64)
        return similarity

    def _maps(self, argument: str, dataset: Any) -> list[np.ndarray]:
        """The checked maps of a data set."""
        if not hasattr(dataset, "features"):
            raise ValueError(
                f"{argument} must have features, the maps (h, w, d), got {type(dataset).__name__}: give the pipeline "
                "extractor=wildlife.Extractor(...)"
            )
        scales = checks.as_scales("scales", self.scales)
        return checks.as_maps(f"{argument}.features", dataset.features, scales=scales, pooling="average")


@dataclass(frozen=True)
class MapDataset:
    """Maps with their labels, as much of a FeatureDataset as pipelines use.

    Attributes:
      features: n maps (h, w, d), of any sizes.
      labels_string: n identities.
    """

    features: Sequence[Any] | np.ndarray
    labels_string: np.ndarray

    def __len__(self) -> int:
        """Number of maps."""
        return len(self.features)


class Extractor:
    """What wildlife-tools calls an extractor: the maps of a data set of pictures.

    Args:
      maps: from pictures (H, W, 3) of uint8, read one after the other, to their maps: `functools.partial` of
        `timm_maps.maps`, of `extract.maps`, or a function of yours.
    """

    def __init__(self, maps: Callable[[Iterable[np.ndarray]], Iterable[Any]]):
        self._maps = maps

    def __call__(self, dataset: Any) -> MapDataset:
        """The maps of a data set whose items are pictures, or (picture, label), untransformed."""
        items = (dataset[i] for i in range(len(dataset)))
        pictures = (np.asarray(item[0] if isinstance(item, tuple) else item) for item in items)
        return MapDataset(list(self._maps(pictures)), np.asarray(dataset.labels_string))


def _checked(pairs: Any, shape: tuple[int, int]) -> np.ndarray:
    """The pairs (n, 2), which may be none."""
    chosen = np.asarray(pairs)
    if not chosen.size:
        return np.empty((0, 2), np.int64)
    if chosen.ndim != 2 or chosen.shape[1] != 2 or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"pairs must be (n, 2) whole numbers of probe and gallery map, got shape {chosen.shape} of {chosen.dtype}"
        )
    if (chosen < 0).any() or (chosen >= shape).any():
        raise ValueError(
            f"pairs must be numbers of {shape[0]} probes and {shape[1]} gallery maps, from 0, got up to "
            f"{chosen.max(axis=0).tolist()}, down to {chosen.min(axis=0).tolist()}"
        )
    return chosen.astype(np.int64)
