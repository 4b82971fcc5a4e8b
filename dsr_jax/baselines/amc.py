"""Ambiguity-sensitive matching, local to local (Sec. 4.1, its reference [33]).

Probe and gallery images are cut into square patches with half overlap, each patch goes through the network by itself
(64 x 64 pixels give 2 x 2 x 512 = 2,048 numbers), and every probe patch is sparsely coded over the patches of the whole
gallery. The paper leaves the rest to its reference and says little of it; chosen here:

- A patch is 2 x 2 output cells: the paper's 64 pixels at an output stride of 32. Where half overlap does not reach the
  far edge, one more patch is flush with it. An image smaller than a patch is not cut: it is one patch of its own size,
  with its map repeated to 2 x 2 by its last row or column.
- Vectors have unit length. Coding is Eq. 6 over the joint dictionary of all gallery patches, all shots of a person
  among them; the error of a person is |x - Y_k w_k|^2 with that person's coefficients alone (`joint`).
- The weight of a probe patch is one minus its ambiguity, taken as the sparsity concentration index of Wright et al.
  (the paper's reference [23], Eq. 15): K persons, w_k the coefficients of person k,

      weight = (K max_k |w_k|_1 / |w|_1 - 1) / (K - 1)   in [0, 1],

  1 where one person alone rebuilds the patch, 0 where all do equally. With one person there is no ambiguity: 1.
- The distance of a person is the weighted mean of the errors of the probe's patches; with weights of zero (nothing was
  coded) the plain one, of the patches that are not zero.
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from dsr_jax.baselines import windows
from dsr_jax.solvers import joint

L1 = 0.2  # held-out rank-1 at 0.05, 0.1, 0.2, 0.4: 10.2, 10.5, 9.0, 9.0 (+-3), rank-10 34.3, 33.8, 34.0, 29.7
CELLS = 2  # output cells along the side of a patch
COLUMNS = 256  # coded at a time


def patches(image: np.ndarray, *, output_stride: int = 32) -> list[np.ndarray]:
    """The support areas of an (H, W, 3) image: squares of 2 x 2 output cells with half overlap.

    Example:
      >>> areas = patches(np.zeros((320, 120, 3), np.uint8))
      >>> len(areas), areas[0].shape
      (27, (64, 64, 3))
    """
    side = CELLS * output_stride
    size = min(side, image.shape[0]), min(side, image.shape[1])
    return windows.cut(image, size, (output_stride, output_stride))


def vectors(maps: Sequence[np.ndarray]) -> np.ndarray:
    """(n, 2 * 2 * d) unit-length vectors of the maps of n patches, each of at most 2 x 2 positions.

    Raises:
      ValueError: for larger maps.

    Example:
      >>> vectors([np.ones((2, 2, 1)), np.ones((2, 1, 1))]).tolist()
      [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    """
    if any(max(m.shape[:2]) > CELLS for m in maps):
        raise ValueError(f"maps must be of patches of at most {CELLS} x {CELLS} positions: cut them with amc.patches")
    filled = [np.pad(m, ((0, CELLS - m.shape[0]), (0, CELLS - m.shape[1]), (0, 0)), mode="edge").ravel() for m in maps]
    found = np.stack(filled).astype(np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, lengths, where=lengths > 0, out=np.zeros_like(found))


def distances(
    probe_patches: Sequence[np.ndarray],
    gallery_patches: Sequence[np.ndarray],
    *,
    identities: Sequence[int] | None = None,
    l1: float = L1,
    progress: str = "",
) -> np.ndarray:
    """Distance of every probe to every person of the gallery.

    Args:
      probe_patches: P arrays (patches, n) of unit-length vectors, see `vectors`.
      gallery_patches: G such arrays, one per image.
      identities: G numbers 0 ... K - 1, which images are one person's; default: each image is a person.
      l1: weight of the L1 penalty.
      progress: what the progress bar says; empty: no bar.

    Returns:
      (P, K) float32 in [0, 1], or slightly above where a person's coefficients alone overshoot.

    Raises:
      ValueError: if there are no probes or no gallery images, the identities are not 0 ... K - 1, or all patches of a
        probe are zero.

    Source: Zheng et al., Partial Person Re-identification, ICCV 2015; Wright et al., PAMI 2009, for the index.

    Example:
      >>> x = np.eye(3, dtype=np.float32)
      >>> distances([x[:1], x[1:]], [x[:1], x[1:]]).round(2)
      array([[0.04, 1.  ], [1.  , 0.04]], dtype=float32)
    """
    owner = np.arange(len(gallery_patches)) if identities is None else np.asarray(identities)
    if not len(probe_patches) or not len(gallery_patches):
        raise ValueError(f"{len(probe_patches)} probes and {len(gallery_patches)} gallery images: give at least one")
    if len(owner) != len(gallery_patches) or not np.array_equal(np.unique(owner), np.arange(np.max(owner) + 1)):
        raise ValueError(f"identities must be {len(gallery_patches)} numbers that cover 0 ... K - 1, got {owner}")
    solid = [np.any(part, axis=1) for part in probe_patches]
    for p, some in enumerate(solid):
        if not some.any():
            raise ValueError(f"probe_patches[{p}] are all zero, there is nothing to compare: leave this probe out")
    atoms = np.concatenate(gallery_patches)
    owners = np.repeat(owner, [len(part) for part in gallery_patches])
    found = np.empty((len(probe_patches), int(np.max(owner)) + 1), np.float32)
    with tqdm(total=len(probe_patches), desc=progress, unit="probe", disable=not progress) as bar:
        for first, last in joint.parts(np.array([len(part) for part in probe_patches]), COLUMNS):
            counts = [len(part) for part in probe_patches[first:last]]
            columns = joint.code(np.concatenate(probe_patches[first:last]), atoms, owners, l1=l1)
            edges = np.cumsum(counts)[:-1]
            clear = np.split(clarity(columns.weight), edges)
            for p, errors, weight in zip(range(first, last), np.split(columns.error, edges), clear, strict=True):
                found[p] = np.average(errors, axis=0, weights=weight if weight.any() else solid[p])
            bar.update(last - first)
    return found


def clarity(weight: np.ndarray) -> np.ndarray:
    """(C,) one minus the ambiguity of columns, by the L1 norms (C, K) of their coefficients: 0 where nothing was coded.

    Example:
      >>> clarity(np.array([[0.3, 0.0], [0.2, 0.2], [0.0, 0.0]])).tolist()
      [1.0, 0.0, 0.0]
    """
    total, persons = weight.sum(axis=1), weight.shape[1]
    share = np.divide(weight.max(axis=1), total, where=total > 0, out=np.zeros(len(weight)))
    if persons == 1:
        return share
    return np.maximum(persons * share - 1, 0) / (persons - 1)
