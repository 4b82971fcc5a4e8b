"""ResNet-50 in float64 NumPy, image by image without padding: what `dsr_jax.resnet` is held against.

Windows are gathered and multiplied; sizes are torch's floor arithmetic, written out. In training the images of a batch
meet only where their positions are counted for the statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

UNITS = (3, 4, 6, 3)
Statistics = dict[str, dict[str, np.ndarray]]


class ByHand:
    """The network of some parameters.

    Args:
      params: as of `resnet`.
      last_stride: of block 5.
      momentum: None normalises by the running statistics; a number by the batch's, and moves the running ones.
    """

    def __init__(self, params: Mapping[str, Mapping[str, Any]], *, last_stride: int = 2, momentum: float | None = None):
        self.params = {name: {k: np.asarray(x, np.float64) for k, x in leaf.items()} for name, leaf in params.items()}
        self.last_stride, self.momentum = last_stride, momentum
        self.statistics: Statistics = {}

    def maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(h, w, d) of every preprocessed image (H, W, 3)."""
        x = self.normalised("block1_conv", [np.asarray(image, np.float64) for image in images], stride=2, padding=3)
        x = [windows(np.maximum(one, 0), 3, 2, 1, -np.inf).max(axis=(2, 3)) for one in x]
        for block, count in enumerate(UNITS, start=2):
            for unit in "abcdef"[:count]:
                stride = {2: 1, 5: self.last_stride}.get(block, 2) if unit == "a" else 1
                x = self.unit(f"block{block}{unit}", x, stride)
        return x

    def unit(self, name: str, x: list[np.ndarray], stride: int) -> list[np.ndarray]:
        y = [np.maximum(one, 0) for one in self.normalised(f"{name}_conv1", x)]
        y = [np.maximum(one, 0) for one in self.normalised(f"{name}_conv2", y, stride=stride, padding=1)]
        y = self.normalised(f"{name}_conv3", y)
        if f"{name}_shortcut_conv" in self.params:
            x = self.normalised(f"{name}_shortcut_conv", x, stride=stride)
        return [np.maximum(a + b, 0) for a, b in zip(x, y, strict=True)]

    def normalised(self, name: str, x: list[np.ndarray], *, stride: int = 1, padding: int = 0) -> list[np.ndarray]:
        kernel = self.params[name]["kernel"]
        x = [
            np.einsum("hwijc,ijcd->hwd", windows(one, len(kernel), stride, padding, 0.0), kernel, optimize=True)
            for one in x
        ]
        norm = name.replace("conv", "norm")
        return batch_norm(self.params[norm], x, self.momentum, self.statistics.setdefault(norm, {}))


def batch_norm(
    norm: Mapping[str, np.ndarray], x: list[np.ndarray], momentum: float | None, moved: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Normalised by the running statistics or, with a momentum, by the batch's; how these move goes into ``moved``."""
    mean, var = norm["mean"], norm["var"]
    if momentum is not None:
        positions = np.concatenate([one.reshape(-1, one.shape[2]) for one in x])
        mean, var = positions.mean(axis=0), positions.var(axis=0)
        new = {"mean": mean, "var": positions.var(axis=0, ddof=1)}
        moved |= {key: (1 - momentum) * norm[key] + momentum * value for key, value in new.items()}
    return [(one - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"] for one in x]


def windows(x: np.ndarray, side: int, stride: int, padding: int, fill: float) -> np.ndarray:
    """(h, w, side, side, d): the windows of an image that a strided layer sees."""
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    return found[::stride, ::stride].transpose(0, 1, 3, 4, 2)
