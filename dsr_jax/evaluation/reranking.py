"""k-reciprocal re-ranking (Zhong et al., CVPR 2017): neighbours of neighbours correct a ranking, without training.

Section 4.7 compares without it; published tables often have it. Two images are alike when their
k-reciprocal neighbourhoods overlap. With all P probes and G gallery images as one set of n, D their distances with
every row divided by its largest, and N(i, k) the k nearest of i besides i itself,

    R(i, k) = {j in N(i, k) + {i}: i in N(j, k) + {j}}
    R*(i)   = R(i, k1), joined by every R(j, k1 / 2), j in R(i, k1), of which more than 2/3 are in R(i, k1)
    V_ij    = exp(-D_ij) / sum over R*(i) for j in R*(i), else 0; then averaged over the k2 nearest of i, i included
    J_ij    = 1 - sum_l min(V_il, V_jl) / (2 - sum_l min(V_il, V_jl))
    result  = (1 - weight) J + weight D

As in the published code R counts the image itself and k1 / 2 is rounded to even. That code squares Euclidean distances
first; DSR's are squared errors already, and all are taken as they are. It relies on no image being nearer to an image
than the image itself, and divides by zero where one is; here the image comes first by definition.
"""

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

ROWS = 512  # sorted at a time


def k_reciprocal(
    probe_gallery: ArrayLike,
    probe_probe: ArrayLike,
    gallery_gallery: ArrayLike,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> NDArray[np.float32]:
    """Distances of every probe to every gallery image after re-ranking.

    Memory: (P + G)^2 float32 for the distances of all with all, 2.1 GB at Market-1501's 3,368 and 19,732; what is
    computed from them is sparse.

    Args:
      probe_gallery: (P, G) distances.
      probe_probe: (P, P) distances among the probes; row i is how far i is from the others (DSR's are not symmetric).
      gallery_gallery: (G, G) distances among the gallery images.
      k1: neighbours that count as reciprocal.
      k2: neighbours over which a neighbourhood is averaged; 1: it is not.
      weight: share of the original distance, in [0, 1].

    Returns:
      (P, G) float32.

    Raises:
      ValueError: for shapes that do not fit, distances that are negative or no numbers, or parameters out of range.

    Source: Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.

    Example:
      >>> x, y = np.array([0.0]), np.array([0.9, 1.0, -1.1])
      >>> distances = [(a[:, None] - b) ** 2 for a, b in ((x, y), (x, x), (y, y))]
      >>> k_reciprocal(*distances, k1=1, k2=1).round(2)
      array([[0.9 , 0.95, 1.  ]], dtype=float32)
    """
    between, probes, gallery = (np.asarray(part, np.float32) for part in (probe_gallery, probe_probe, gallery_gallery))
    _check(between, probes, gallery, k1, k2, weight)
    count = len(probes)
    distances = np.block([[probes, between], [between.T, gallery]])
    largest = distances.max(axis=1, keepdims=True)
    np.divide(distances, largest, where=largest > 0, out=distances)
    nearest = _nearest(distances, max(k1 + 1, k2))
    reciprocal, close = _reciprocal(nearest[:, : k1 + 1]), _reciprocal(nearest[:, : round(k1 / 2) + 1])
    encoded = _encoded(_expanded(reciprocal, close), distances)
    if k2 > 1:
        encoded = _chosen(nearest[:, :k2]) @ encoded / np.float32(k2)
    mixed = (1 - weight) * _jaccard(encoded, count) + weight * distances[:count, count:]
    return mixed.astype(np.float32)


def _nearest(distances: NDArray, k: int) -> NDArray[np.intp]:
    """(n, k) every image itself, then the nearest others in ascending order, ties in theirs."""
    found = np.empty((len(distances), k), np.intp)
    for first in range(0, len(distances), ROWS):
        part = distances[first : first + ROWS].copy()
        np.fill_diagonal(part[:, first:], -1)
        found[first : first + ROWS] = np.argsort(part, axis=1, kind="stable")[:, :k]
    return found


def _chosen(columns: NDArray[np.intp]) -> scipy.sparse.csr_array:
    """(n, n) with ones at the columns, (n, k), of each row."""
    count, k = columns.shape
    ones = np.ones(count * k, np.float32)
    return scipy.sparse.csr_array((ones, columns.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))


def _reciprocal(nearest: NDArray[np.intp]) -> scipy.sparse.csr_array:
    chosen = _chosen(nearest)
    return chosen.multiply(chosen.T).tocsr()


def _expanded(reciprocal: scipy.sparse.csr_array, close: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """R*: where it is not zero."""
    shared = (reciprocal @ close.T).multiply(reciprocal).tocoo()  # |R(i, k1) and R(j, k1 / 2)|, for j in R(i, k1)
    sizes = close.sum(axis=1)
    taken = shared.data > np.float32(2 / 3) * sizes[shared.col]
    at = (shared.row[taken], shared.col[taken])
    joined = scipy.sparse.csr_array((np.ones(len(at[0]), np.float32), at), shape=reciprocal.shape)
    return (reciprocal + joined @ close).tocsr()


def _encoded(neighbours: scipy.sparse.csr_array, distances: NDArray) -> scipy.sparse.csr_array:
    """V before it is averaged."""
    rows, columns = neighbours.nonzero()
    near = scipy.sparse.csr_array((np.exp(-distances[rows, columns]), (rows, columns)), shape=neighbours.shape)
    return (scipy.sparse.diags_array(1 / near.sum(axis=1)) @ near).tocsr()


def _jaccard(encoded: scipy.sparse.csr_array, probes: int) -> NDArray[np.float32]:
    """(P, G) J: each probe meets only the images that share a neighbour with it."""
    count = encoded.shape[0]
    holders = encoded.tocsc()
    found = np.empty((probes, count - probes), np.float32)
    for i in range(probes):
        own = slice(encoded.indptr[i], encoded.indptr[i + 1])
        overlap = np.zeros(count, np.float64)
        for neighbour, value in zip(encoded.indices[own], encoded.data[own], strict=True):
            at = slice(holders.indptr[neighbour], holders.indptr[neighbour + 1])
            overlap[holders.indices[at]] += np.minimum(holders.data[at], value)
        found[i] = 1 - overlap[probes:] / (2 - overlap[probes:])
    return found


def _check(between: NDArray, probes: NDArray, gallery: NDArray, k1: int, k2: int, weight: float) -> None:
    if between.ndim != 2 or 0 in between.shape:
        raise ValueError(f"probe_gallery must be (P, G) with P and G at least 1, got shape {between.shape}")
    for name, part, side in (("probe_probe", probes, 0), ("gallery_gallery", gallery, 1)):
        if part.shape != (between.shape[side],) * 2:
            raise ValueError(
                f"{name} must be {(between.shape[side],) * 2} beside a probe_gallery of {between.shape}, "
                f"got {part.shape}"
            )
    for name, part in (("probe_gallery", between), ("probe_probe", probes), ("gallery_gallery", gallery)):
        if not (np.isfinite(part).all() and part.min() >= 0):
            raise ValueError(f"{name} holds negative distances, NaN or infinity: every distance must be a number >= 0")
    count = sum(between.shape)
    if not (1 <= k1 < count and 1 <= k2 <= count):
        raise ValueError(
            f"k1={k1} and k2={k2} must be at least 1 and below the {count} images; the paper uses 20 and 6"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}; the paper uses 0.3")
