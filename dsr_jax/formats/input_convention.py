"""The input convention of a foreign weights file by its numbers: "torch", "caffe" or "caffe_rgb".

Names do not say it: converted Caffe networks have torchvision's. Three things in a file can:

- `pixel_mean` and `pixel_std`, which some training code keeps beside the network, say it outright;
- running statistics of the first normalisation are measured on the input. For a filter w and input of the covariance
  s^2 C, the variance of the response is s^2 w'Cw, which gives s: about 1 of "torch" and 54 of "caffe" input (measured
  with C of neighbours that correlate by 0.95 and colours by 0.9). The order of colours is not seen in it;
- without normalisation nothing is measured, and the size of weights does not tell (the first filters of Caffe's VGG-16
  have a standard deviation of 0.2, those of torchvision's are as large, for input that differs by a factor of 58). But
  networks descend from few published ones, with first layers that are known by their signs and hardly move in
  fine-tuning.

Not recognised are other means, and input of 0 to 1 that is not standardised.
"""

from typing import NamedTuple

import numpy as np

from dsr_jax import fcn
from dsr_jax.formats.named_arrays import Tensors

MEANING = {
    "torch": "RGB of 0 to 1, standardised",
    "caffe": "BGR of 0 to 255 without the mean",
    "caffe_rgb": "RGB of 0 to 255 without the mean",
}
# Standard deviations of the input that running statistics may show.
SCALES = {("torch",): (0.6, 5.0), ("caffe", "caffe_rgb"): (12.0, 300.0)}
# Correlations of neighbouring pixels and of colours.
NEIGHBOURS, COLOURS = 0.95, 0.9
# Signs (bit 1: positive) of the first layers of published VGG-16: of Caffe's kernel (input BGR) one pixel above and one
# below the centre, (2, 3, 64); of torchvision's biases (64,). Share of signs that a descendant still has.
CAFFE = "fdb16ec10b7478c0f9384cd50afc711099b1fc15827458d066c723e37d0be7cb624e01f37c8ba71b02c7b137f48b8e5b"
TORCHVISION = "ea92bfc9e3a195f5"
SHARE = 0.9


class Evidence(NamedTuple):
    """The conventions that a file allows (none: it does not tell), how that is known, and whether it is trained."""

    possible: tuple[str, ...]
    reason: str
    trained: bool = True


def evidence(params: fcn.Params, tensors: Tensors) -> Evidence:
    """The conventions that the numbers of a file allow.

    Raises:
      ValueError: if `pixel_mean` and `pixel_std` are of none of the conventions.

    Example:
      >>> import jax
      >>> evidence(fcn.init(jax.random.key(0), width=1 / 64), {}).possible
      ()
    """
    if {"pixel_mean", "pixel_std"} <= tensors.keys():
        return _pixels(tensors)
    if "block1_norm" in params:
        return _statistics(params)
    if "block1_conv" in params:
        return Evidence(("torch",), "it is an OSNet, and those are published for it alone")
    return _ancestor(params)


def decide(found: Evidence, naming: str, choice: str | None) -> tuple[str, str]:
    """The convention, and a remark that says which and why.

    Raises:
      ValueError: if it cannot be known and is not given.

    Example:
      >>> found = Evidence(("torch",), "its pixel_mean and pixel_std say so")
      >>> decide(found, "torchvision", None)
      ('torch', "its input is 'torch' (RGB of 0 to 1, standardised): its pixel_mean and pixel_std say so")
    """
    if choice is not None:
        contradicted = found.possible and choice not in found.possible
        caution = f"; CAUTION: that is unlikely, {found.reason}: {' or '.join(map(repr, found.possible))}"
        return choice, f"its input is {choice!r} ({MEANING[choice]}), as was said" + (caution if contradicted else "")
    if len(found.possible) == 1:
        (convention,), reason = found.possible, found.reason
    elif not found.trained:
        convention, reason = "torch", f"{found.reason}; if it is to be another, give --preprocessing"
    elif naming == "Keras" and (not found.possible or "caffe" in found.possible):
        convention, reason = (
            "caffe",
            f"Keras' names are taken to mean it ({found.reason}); if it is another, give --preprocessing",
        )
    else:
        choices = [f"--preprocessing={name} ({MEANING[name]})" for name in found.possible or MEANING]
        raise ValueError(
            f"its input convention cannot be told from {naming} names, and {found.reason}: give "
            f"{' or '.join(choices)}; in Python preprocessing=..."
        )
    return convention, f"its input is {convention!r} ({MEANING[convention]}): {reason}"


def input_deviation(params: fcn.Params) -> float | None:
    """The standard deviation of the input on which a ResNet's first running variances were measured.

    `None` if they were never moved, or are not positive.
    """
    kernel = np.asarray(params["block1_conv"]["kernel"], np.float64)
    mean, var = (np.asarray(params["block1_norm"][name], np.float64) for name in ("mean", "var"))
    side = np.arange(len(kernel))
    pixels = NEIGHBOURS ** np.abs(side[:, None] - side)
    colours = np.full((3, 3), COLOURS) + (1 - COLOURS) * np.eye(3)
    unit = np.einsum("abco,ai,bj,ck,ijko->o", kernel, pixels, pixels, colours, kernel, optimize=True)
    used = (unit > 0) & (var > 0)
    if np.all((mean == 0) & (var == 1)) or not used.any():
        return None
    return float(np.sqrt(np.median(var[used] / unit[used])))


def _pixels(tensors: Tensors) -> Evidence:
    """The convention of pixel_mean and pixel_std."""
    mean, deviation = (np.ravel(tensors[name]).astype(np.float64) for name in ("pixel_mean", "pixel_std"))
    factor = 255 if np.max(mean, initial=0) <= 1 else 1
    for name, (_, scale, means, deviations) in fcn.CONVENTIONS.items():
        expected = np.array(means) / scale, np.array(deviations) / scale
        given = mean * factor, deviation * factor
        if all(
            x.shape == (3,) and np.allclose(x, y, rtol=0.05, atol=0.5) for x, y in zip(given, expected, strict=True)
        ):
            return Evidence((name,), "its pixel_mean and pixel_std say so")
    raise ValueError(
        f"its pixel_mean {mean.tolist()} and pixel_std {deviation.tolist()} are of none of the input conventions "
        f"{', '.join(f'{name} ({what})' for name, what in MEANING.items())}"
    )


def _statistics(params: fcn.Params) -> Evidence:
    """The conventions that a ResNet's running statistics allow."""
    deviation, first = input_deviation(params), params["block1_norm"]
    if deviation is None:
        trained = bool(np.any(np.asarray(first["scale"]) != 1) or np.any(np.asarray(first["bias"]) != 0))
        of_no_input = "the running statistics of its first layer are those of no input"
        return Evidence((), of_no_input if trained else "its first layer is untrained, and expects nothing", trained)
    reason = f"the running variances of its first layer are those of input of standard deviation {deviation:.2g}"
    return Evidence(next((names for names, (a, b) in SCALES.items() if a <= deviation <= b), ()), reason)


def _ancestor(params: fcn.Params) -> Evidence:
    """The convention of the published VGG-16 that a network descends from."""
    layer = {leaf: np.asarray(x) for leaf, x in params["block1_conv1"].items()}
    if layer["kernel"].shape == (3, 3, 3, 64):
        rows = layer["kernel"][[0, 2], 1]
        shares = {"caffe": _alike(rows, CAFFE), "caffe_rgb": _alike(rows[:, ::-1], CAFFE)}
        shares["torch"] = _alike(layer["bias"], TORCHVISION)
        best = max(shares, key=lambda name: shares[name])
        if shares[best] >= SHARE:
            publisher = "torchvision's" if best == "torch" else "Caffe's"
            return Evidence((best,), f"its first layer is that of {publisher} published VGG-16")
    return Evidence((), "its first layer is that of no published VGG-16")


def _alike(x: np.ndarray, signs: str) -> float:
    """Share of the signs that are those of a published network."""
    return float(np.mean(np.unpackbits(np.frombuffer(bytes.fromhex(signs), np.uint8)) == (x.ravel() > 0)))
