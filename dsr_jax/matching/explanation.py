"""Explanation of one distance: the codes, laid out over the positions of both maps."""

from dataclasses import dataclass

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching import compiled
from dsr_jax.matching.comparison import MUTE, Comparison
from dsr_jax.solvers import active_set


@dataclass(frozen=True)
class Explanation:
    """Which part of a probe was rebuilt from which part of a gallery image.

    Attributes:
      codes: (h, w, H, W) float32, for each probe position the coefficients of the gallery's positions. A code of a
        larger block is shared out evenly among the positions that its atom averages, and a probe position has the mean
        over the blocks that hold it. Of MaxSim a block's only coefficient is its largest cosine.
      rebuilt: (h, w) float32 in [0, 1], share of each probe position that was rebuilt: one minus the squared error of
        its blocks, mean over them; of MaxSim the mean of their cosines, in [-1, 1]. NaN where all of them are zero.
      distance: the distance of the two maps.
    """

    codes: np.ndarray
    rebuilt: np.ndarray
    distance: float


def of(comparison: Comparison) -> Explanation:
    """Codes of the one pair of a probe map and a gallery map, spread over their positions."""
    probes, gallery = comparison.probes, comparison.gallery.as_entries
    gram, correlation, energy = compiled.problem(probes.positions, gallery.positions, 0, 0)
    if comparison.coder == "maxsim":
        codes, error = _largest(gram, correlation)
    else:
        codes, columns = active_set.codes(gram, correlation, energy, l1=min(comparison.l1, MUTE))
        error = columns.error
    size, other = probes.maps[0].shape[:2], gallery.maps[0].shape[:2]
    inside = blocks.members(*size, scales=tuple(sorted(probes.scales)))
    atoms = blocks.members(*other, scales=tuple(sorted(gallery.scales)))
    atoms = atoms / atoms.sum(axis=1, keepdims=True)
    share = inside / np.maximum(inside.sum(axis=0), 1)
    directed = inside * (energy > 0)[:, None]
    with np.errstate(invalid="ignore"):
        rebuilt = (1 - error) @ directed / directed.sum(axis=0)
    distance = float(error[energy > 0].mean())
    spread = (share.T @ (codes.T @ atoms)).reshape(*size, *other)
    return Explanation(spread.astype(np.float32), rebuilt.reshape(size).astype(np.float32), distance)


def _largest(gram: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (M, N) that are the largest cosine of each column, and one minus it."""
    directed = np.diagonal(gram) > 0
    nearest = np.argmax(np.where(directed, correlation, -np.inf), axis=1)
    columns = np.arange(len(correlation))
    codes = np.zeros(correlation.T.shape, np.float32)
    codes[nearest, columns] = correlation[columns, nearest]  # 0 without any direction
    return codes, 1 - codes[nearest, columns]
