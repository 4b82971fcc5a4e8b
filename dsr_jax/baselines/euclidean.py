"""Euclidean distances of all pairs of vectors by one matrix product, much faster than scipy's cdist."""

import numpy as np

from dsr_jax.cpu import cores


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j| (P, G) of every pair of vectors x (P, n) and y (G, n), of their type, float32 at least.

        |x - y|^2 = x'x - 2 x'y + y'y

    Equal vectors may come out at a distance of about 1e-3 of their length, not at 0: float32 cancels there.

    Raises:
      ValueError: if the vectors are not equally long.

    Example:
      >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]])).tolist()
      [[5.0, 1.0]]
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be (P, n) and (G, n) with one n, got shapes {x.shape} and {y.shape}")
    product = np.empty((len(x), len(y)), np.result_type(x, y, np.float32))
    cores.matmul(x, y.T, product)
    product *= -2  # and so on in its place: of probes x gallery there is one array
    product += np.einsum("ij,ij->i", x, x)[:, None]
    product += np.einsum("ij,ij->i", y, y)[None, :]
    np.maximum(product, 0, out=product)
    return np.sqrt(product, out=product)
