"""Explanation of one distance: the codes, laid out over the positions of both maps."""

from dataclasses import dataclass

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching import compiled
from dsr_jax.matching.comparison import MUTE, Comparison
from dsr_jax.matching.entries import Entries
from dsr_jax.solvers import active_set


@dataclass(frozen=True)
class Explanation:
    """Which part of a probe was rebuilt from which part of a gallery image.

    Attributes:
      codes: (h, w, H, W) float32, for each probe position the coefficients of the gallery's positions. A code of a
        larger block is shared out evenly among the positions that its atom averages, and a probe position has the mean
        over the blocks that hold it. Of MaxSim a block's only coefficient is its largest cosine.
      rebuilt: (h, w) float32 in [0, 1], share of each probe position that was rebuilt: one minus the squared error of
        its blocks, mean over them; of MaxSim the mean of their cosines, in [-1, 1]. NaN where all of them are zero, or
        the position is masked.
      distance: the distance of the two maps.
      weights: (h, w) float32, share of the distance's weights that each probe position has, 1 in all: a block's weight
        is shared out evenly among its positions, masked ones excepted.
      visible: (h, w) bool, False where the probe is masked.
      gallery_visible: (H, W) bool, False where the gallery map is masked.
    """

    codes: np.ndarray
    rebuilt: np.ndarray
    distance: float
    weights: np.ndarray
    visible: np.ndarray
    gallery_visible: np.ndarray


def of(comparison: Comparison) -> Explanation:
    """Codes of the one pair of a probe map and a gallery map, spread over their positions."""
    probes, gallery = comparison.probes, comparison.gallery.as_entries
    gram, correlation, energy = compiled.problem(probes.positions, gallery.positions, 0, 0)
    if comparison.coder == "maxsim":
        codes, error = _largest(gram, correlation)
    else:
        codes, columns = active_set.codes(gram, correlation, energy, l1=min(comparison.l1, MUTE))
        error = columns.error
    (size, visible, inside), (other, shown, atoms) = (_laid(side) for side in (probes, gallery))
    atoms = atoms / np.maximum(atoms.sum(axis=1, keepdims=True), 1)
    share = inside / np.maximum(inside.sum(axis=0), 1)
    directed = inside * (energy > 0)[:, None]
    with np.errstate(invalid="ignore"):
        rebuilt = (1 - error) @ directed / directed.sum(axis=0)
    weights = probes.positions.weights / probes.positions.total[0]
    spread = (share.T @ (codes.T @ atoms)).reshape(*size, *other)
    return Explanation(
        spread.astype(np.float32),
        rebuilt.reshape(size).astype(np.float32),
        float((weights * error).sum()),
        (weights @ (directed / np.maximum(directed.sum(axis=1, keepdims=True), 1))).reshape(size).astype(np.float32),
        visible,
        shown,
    )


def _laid(side: Entries) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Height and width of a side's only map, which of its positions are visible, and which of these each block has."""
    size = side.maps[0].shape[:2]
    visible = np.ones(size, bool) if side.masks is None else side.masks[0]
    return size, visible, blocks.members(*size, scales=tuple(sorted(side.scales))) * visible.reshape(-1)


def _largest(gram: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (M, N) that are the largest cosine of each column, and one minus it."""
    directed = np.diagonal(gram) > 0
    nearest = np.argmax(np.where(directed, correlation, -np.inf), axis=1)
    columns = np.arange(len(correlation))
    codes = np.zeros(correlation.T.shape, np.float32)
    codes[nearest, columns] = correlation[columns, nearest]  # 0 without any direction
    return codes, 1 - codes[nearest, columns]
