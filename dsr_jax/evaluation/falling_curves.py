"""Curves from a distance to a probability that never rises: isotonic regression, and a logistic curve.

A curve is an array: (2, K) of "isotonic", distances, ascending, and the probabilities there, with straight lines
between; (2, 1) of "logistic", slope and intercept of the log odds. Fitting needs scikit-learn, reading does not.
"""

import numpy as np
from numpy.typing import NDArray

METHODS = ("isotonic", "logistic")
Curve = NDArray[np.float64]


def fit(distances: NDArray[np.float64], same: NDArray[np.bool_], *, method: str) -> Curve:
    """The curve of a method.

    Args:
      distances: (n,).
      same: (n,) whether each pair is of one person. Where distances do not tell, the curve is flat.
      method: one of `METHODS`.

    Raises:
      ValueError: for another method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    return (_isotonic if method == "isotonic" else _logistic)(distances, same)


def check(name: str, curve: Curve, *, method: str) -> None:
    """Raises ValueError, naming it, for what is no curve of a method."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if not curve.size or not np.isfinite(curve).all():
        raise ValueError(f"{name} must be finite numbers, got {curve.size} of which some are not")
    places, values = curve
    if method == "logistic":
        if curve.shape[1] != 1 or places[0] > 0:
            raise ValueError(f"{name} must be a slope that does not rise and an intercept, got {curve.tolist()}")
    elif np.any(np.diff(places) < 0) or np.any(np.diff(values) > 0) or values.min() < 0 or values.max() > 1:
        raise ValueError(f"{name} must be ascending distances with probabilities that do not rise")


def at(curve: Curve, distances: NDArray[np.float64], *, method: str) -> NDArray[np.float64]:
    """The probabilities at some distances, of any shape.

    Example:
      >>> at(np.array([[0.2, 0.4], [1.0, 0.0]]), np.array([0.1, 0.3, 0.9]), method="isotonic").round(6).tolist()
      [1.0, 0.5, 0.0]
    """
    if method == "isotonic":
        return np.asarray(np.interp(distances, *curve))
    slope, intercept = curve[:, 0]
    return np.asarray(1 / (1 + np.exp(-np.clip(slope * distances + intercept, -700, 700))))


def _isotonic(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> Curve:
    """The falling curve that is nearest to the labels."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(increasing=False, y_min=0, y_max=1, out_of_bounds="clip").fit(distances, same)
    return np.stack([fitted.X_thresholds_, fitted.y_thresholds_]).astype(np.float64)


def _logistic(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> Curve:
    """The likeliest curve for Platt's targets, which is finite where the two kinds of pairs do not overlap."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = distances.mean(), distances.std() or 1.0
    targets = np.where(same, (same.sum() + 1) / (same.sum() + 2), 1 / ((~same).sum() + 2))
    columns = np.tile((distances - middle) / spread, 2)[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        columns, np.repeat([1, 0], len(distances)), sample_weight=np.concatenate([targets, 1 - targets])
    )
    slope = float(fitted.coef_[0, 0]) / spread
    if slope >= 0:
        return np.array([[0.0], [np.log((same.sum() + 1) / ((~same).sum() + 1))]])
    return np.array([[slope], [float(fitted.intercept_[0]) - slope * middle]])
