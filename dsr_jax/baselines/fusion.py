"""Fusion: several methods' distances brought to one scale and added, AMC + SWM as in Sec. 4.4, or any."""

import numpy as np


def distances(amc: np.ndarray, swm: np.ndarray, *, weight: float = 0.7) -> np.ndarray:
    """``weight`` of the one and ``1 - weight`` of the other, (P, G), each probe's distances stretched to [0, 1] before.

        s(d) = (d - min d) / (max d - min d) over the gallery of one probe

    The paper gives the weights, 0.7 for AMC and 0.3 for SWM, and leaves the scale open. Where all of a
    probe's distances by one of them are equal, the other decides. Stretched per probe, the sums rank one
    probe's gallery; compared between probes, as in an ROC, they say less than the parts.

    Raises:
      ValueError: if the shapes differ or the weight is out of range.

    Example:
      >>> distances(np.array([[0.2, 0.4, 0.3]]), np.array([[9.0, 5.0, 7.0]])).round(2).tolist()
      [[0.3, 0.7, 0.5]]
    """
    if amc.shape != swm.shape or amc.ndim != 2:
        raise ValueError(f"amc and swm must both be (P, G), got shapes {amc.shape} and {swm.shape}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}; the paper uses 0.7")
    return weight * _stretched(amc) + (1 - weight) * _stretched(swm)


def standardised(*distances: np.ndarray) -> np.ndarray:
    """The mean of several methods' distances, (P, G) each, those of every probe standardised before.

        s(d) = (d - mean d) / standard deviation of d, over the gallery of one probe

    All weigh the same: nothing is tuned, so that nothing can be tuned on the people who are then judged. Where all of a
    probe's distances by one method are equal, the others decide. A scale per probe says how far a gallery image stands
    out from the others; a gallery of few images has few to stand out from. Of one method alone it changes no rank, and
    most error rates at one threshold for all probes (T-norm, Auckenthaler, Carey and Lloyd-Thomas, 2000).

    Raises:
      ValueError: if the shapes differ, or there is nothing.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.baselines import fusion
      >>> fusion.standardised(np.array([[0.2, 0.4, 0.3]]), np.array([[9.0, 5.0, 9.0]])).round(2).tolist()
      [[-0.26, -0.09, 0.35]]
    """
    if not distances or any(each.ndim != 2 or each.shape != distances[0].shape for each in distances):
        raise ValueError(f"distances must all be (P, G) of one shape, got {[each.shape for each in distances]}")
    return np.mean([_standardised(np.asarray(each, np.float64)) for each in distances], axis=0)


def _standardised(distances: np.ndarray) -> np.ndarray:
    around = distances - distances.mean(axis=1, keepdims=True)
    spread = around.std(axis=1, keepdims=True)
    return np.divide(around, spread, where=spread > 1e-9, out=np.zeros(around.shape))


def _stretched(distances: np.ndarray) -> np.ndarray:
    low = distances.min(axis=1, keepdims=True)
    spread = distances.max(axis=1, keepdims=True) - low
    return np.divide(distances - low, spread, where=spread > 0, out=np.zeros(distances.shape))
