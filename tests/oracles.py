"""Independent float64 implementations, in NumPy and SciPy only, that the tests hold the library against.

- `vgg16`: the network as nine shifted products per convolution, one image at a time.
- `blocks`: windows by loops (Eq. 1, 2, Sec. 3.4).
- `residual`: the lasso of Eq. 6 through its dual, the projection of x onto the polytope |Y'r|_inf <= l1, as a least
  distance problem solved by non-negative least squares (Lawson, Hanson: Solving Least Squares Problems, chapter 23).
  Neither descent nor a path: it shares no idea with the coders, and degenerate dictionaries do not trouble it. It
  checks itself: primal and dual value must agree to `GAP`.
- `distance`: Eq. 4 of two maps.
- `seen`: blocks and their weights where positions are masked and weighted, window by window.
- `maxsim`: one minus the mean of the largest cosines, pair by pair.
- `authors`: the authors' released code, by coordinate descent on its objective as it stands. It checks itself: the
  conditions of optimality must hold to `GAP`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.optimize

GAP = 1e-11


def vgg16(params: Mapping[str, Mapping[str, Any]], image: np.ndarray, *, output_stride: int = 32) -> np.ndarray:
    """Map (h, w, d) of one preprocessed image (H, W, 3)."""
    x = np.asarray(image, np.float64)
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            layer = params[f"block{block}_conv{number}"]
            x = np.maximum(_convolve(x, np.asarray(layer["kernel"], np.float64)) + np.asarray(layer["bias"]), 0)
        if block < 5 or output_stride == 32:
            height, width, depth = x.shape[0] // 2, x.shape[1] // 2, x.shape[2]
            x = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, depth).max(axis=(1, 3))
    return x


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))


def blocks(feature_map: np.ndarray, *, scales: Sequence[int] = (1,), pooling: str = "average") -> np.ndarray:
    """Unit blocks (n, d) of one map, all scales stacked."""
    x = np.asarray(feature_map, np.float64)
    pool = {"average": np.mean, "max": np.max}[pooling]
    found = []
    for s in scales:
        for i in range(x.shape[0] - s + 1):
            for j in range(x.shape[1] - s + 1):
                found.append(pool(x[i : i + s, j : j + s], axis=(0, 1)))
    lengths = [np.linalg.norm(b) for b in found]
    return np.stack([b / n if n else b for b, n in zip(found, lengths, strict=True)])


def seen(
    feature_map: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    weights: Any = None,
    scales: Sequence[int] = (1,),
    pooling: str = "average",
) -> tuple[np.ndarray, np.ndarray]:
    """Unit blocks (n, d) of what is visible of each window, and their weights (n,), which are 0 of an empty one.

    The weight is that of `match.distances`: 1, the squared length of the average over the whole window (of the maximum
    over the visible part), or the mean of the positions' weights over the whole window.
    """
    x = np.asarray(feature_map, np.float64)
    mask = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    found, sums = [], []
    for s in scales:
        for i in range(x.shape[0] - s + 1):
            for j in range(x.shape[1] - s + 1):
                inside = np.ix_(range(i, i + s), range(j, j + s))
                visible = x[inside][mask[inside]]
                if not len(visible) or not np.any(visible):
                    found.append(np.zeros(x.shape[2]))
                    sums.append(0.0)
                    continue
                block = visible.max(axis=0) if pooling == "max" else visible.sum(axis=0) / s**2
                length = np.linalg.norm(block)
                found.append(block / length if length else block)
                weight = length**2 if isinstance(weights, str) else 1.0 if weights is None else weights[inside].mean()
                sums.append(weight if length else 0.0)
    return np.stack(found), np.array(sums)


def maxsim(
    probe: np.ndarray,
    images: Sequence[np.ndarray],
    *,
    scales: Sequence[int] = (1,),
    probe_scales: Sequence[int] | None = None,
    pooling: str = "average",
) -> float:
    """MaxSim distance of a probe map to the maps of one entry; an entry without any direction is at 1."""
    x = solid(blocks(probe, scales=scales if probe_scales is None else probe_scales, pooling=pooling))
    y = [solid(blocks(image, scales=scales, pooling=pooling)) for image in images]
    every = [block for one in y for block in one]
    return 1 - float(np.mean([max((float(a @ b) for b in every), default=0.0) for a in x]))


def solid(all_blocks: np.ndarray) -> np.ndarray:
    """The blocks that are not zero."""
    return np.array([block for block in all_blocks if np.any(block)])


def residual(x: np.ndarray, atoms: np.ndarray, *, l1: float) -> np.ndarray:
    """Exact residual r = x - Y w of one block x (d,) on the dictionary ``atoms`` (M, d).

    The projection z = r - x of smallest length with -l1 <= Y_j'(x + z) <= l1 is read off the residual of the
    non-negative least squares problem min |E u - f| with E = [A'; b'], f = (0, ..., 0, 1), where A z >= b.
    """
    x, atoms = np.asarray(x, np.float64), np.asarray(atoms, np.float64)
    correlation = atoms @ x
    if np.abs(correlation).max() <= l1:
        return x
    system = np.vstack([np.hstack([-atoms.T, atoms.T]), np.hstack([correlation - l1, -correlation - l1])])
    aim = np.append(np.zeros(len(x)), 1.0)
    multipliers, _ = scipy.optimize.nnls(system, aim, maxiter=50 * system.shape[1])
    left = system @ multipliers - aim
    codes = (multipliers[: len(atoms)] - multipliers[len(atoms) :]) / -left[-1]
    found = x - codes @ atoms
    gap = duality_gap(x, atoms, codes, l1=l1)
    if gap > GAP:
        raise ArithmeticError(f"the oracle fails: duality gap {gap}")
    return found


def duality_gap(x: np.ndarray, atoms: np.ndarray, codes: np.ndarray, *, l1: float) -> float:
    """Primal value of the codes less the dual value of their residual, scaled into the polytope: by definition."""
    left = x - codes @ atoms
    point = left * min(1.0, l1 / max(np.abs(atoms @ left).max(), 1e-300))
    primal = 0.5 * left @ left + l1 * np.abs(codes).sum()
    return float(primal - 0.5 * (x @ x - (x - point) @ (x - point)))


def errors(probe_blocks: np.ndarray, gallery_blocks: np.ndarray, *, l1: float = 0.4) -> np.ndarray:
    """Exact squared errors (N,) of the probe's blocks."""
    return np.array([np.sum(residual(x, gallery_blocks, l1=l1) ** 2) for x in np.asarray(probe_blocks)])


def envelope(probe_blocks: np.ndarray, gallery_blocks: np.ndarray, *, l1: float = 0.4) -> float:
    """Twice the coding minimum of Eq. 6, averaged over the probe's blocks.

    By strong duality the minimum is 1/2 x'x - 1/2 |x - r|^2: the residual alone gives it.
    """
    values = []
    for x in np.asarray(probe_blocks, np.float64):
        off = x - residual(x, gallery_blocks, l1=l1)
        values.append(x @ x - off @ off)
    return float(np.mean(values))


def distance(
    probe_map: np.ndarray,
    gallery_maps: Sequence[np.ndarray],
    *,
    l1: float = 0.4,
    scales: Sequence[int] = (1,),
    probe_scales: Sequence[int] | None = None,
    pooling: str = "average",
) -> float:
    """Eq. 4 of a probe and the gallery images of one identity: the mean over the probe's blocks with a direction."""
    x = solid(blocks(probe_map, scales=scales if probe_scales is None else probe_scales, pooling=pooling))
    y = np.concatenate([blocks(m, scales=scales, pooling=pooling) for m in gallery_maps])
    return float(errors(x, y, l1=l1).mean())


def authors(
    probe_map: np.ndarray,
    people: Sequence[Sequence[np.ndarray]],
    *,
    l1: float = 0.4,
    boost: float = 1.2,
    scales: Sequence[int] = (1, 2, 3, 4),
    pooling: str = "max",
) -> np.ndarray:
    """(people,) distances of one probe: one dictionary of everybody's blocks, each person's coefficients alone."""
    parts = [np.concatenate([blocks(m, scales=scales, pooling=pooling) for m in own]) for own in people]
    atoms, edges = np.concatenate(parts), np.cumsum([len(part) for part in parts])[:-1]
    errors = []
    for x in solid(blocks(probe_map, scales=(1,))):
        codes = np.split(boosted_codes(x, atoms, l1=l1, boost=boost), edges)
        errors.append([np.sum((x - own @ part) ** 2) for own, part in zip(codes, parts, strict=True)])
    return np.mean(errors, axis=0)


def boosted_codes(x: np.ndarray, atoms: np.ndarray, *, l1: float, boost: float) -> np.ndarray:
    """The w that minimises 1/2 |x - Y w|^2 - boost x'Y w + l1 |w|_1, one coefficient after the other."""
    x, atoms = np.asarray(x, np.float64), np.asarray(atoms, np.float64)
    gram, codes, slope = atoms @ atoms.T, np.zeros(len(atoms)), (1 + boost) * (atoms @ x)
    energy = np.diag(gram)

    def sweep(members: np.ndarray) -> float:
        largest = 0.0
        for j in members:
            aim = slope[j] + energy[j] * codes[j]
            change = np.sign(aim) * max(abs(aim) - l1, 0) / energy[j] - codes[j]
            codes[j] += change
            slope[:] -= change * gram[j]
            largest = max(largest, abs(change))
        return largest

    while sweep(np.flatnonzero(energy)) > 1e-13:
        while sweep(np.flatnonzero(codes)) > 1e-13:
            pass
    slope = (1 + boost) * (atoms @ x) - gram @ codes
    off = np.where(codes, np.abs(slope - l1 * np.sign(codes)), np.abs(slope) - l1)
    if off.size and off.max() > GAP:
        raise ArithmeticError(f"the oracle fails: optimality is missed by {off.max()}")
    return codes
