"""Euclidean distance on pooled features (Sec. 4.7, the baseline of Market-1501): one vector per image, of any size."""

from collections.abc import Iterable

import numpy as np

from dsr_jax.baselines import euclidean


def distances(probe_maps: Iterable[np.ndarray], gallery_maps: Iterable[np.ndarray]) -> np.ndarray:
    """Euclidean distances (P, G) in [0, 2] of the maps' averages over their positions, each of unit length.

    Unit length, which the paper does not mention, makes this the ranking of the cosine, as re-id networks use it. An
    average of zeros has no direction: it is at sqrt(2) from every other, the distance of a cosine of 0.

    Example:
      >>> x = np.array([[[3.0, 0.0]]])
      >>> distances([x], [np.tile(x, (4, 2, 1)), x[..., ::-1]]).round(3).tolist()
      [[0.0, 1.414...]]
    """
    probes, gallery = _averages(probe_maps), _averages(gallery_maps)
    found = euclidean.distances(probes, gallery)
    found[~probes.any(axis=1)] = found[:, ~gallery.any(axis=1)] = np.sqrt(2)
    return found


def _averages(maps: Iterable[np.ndarray]) -> np.ndarray:
    found = np.stack([np.mean(m, axis=(0, 1), dtype=np.float64) for m in maps])
    found /= np.maximum(np.abs(found).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # squares stay in range
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, lengths, where=lengths > 0, out=np.zeros_like(found)).astype(np.float32)
