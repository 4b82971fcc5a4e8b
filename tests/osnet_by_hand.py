"""OSNet in float64 NumPy, image by image without padding: what `dsr_jax.osnet` is held against.

As in `resnet_by_hand`, the images of a batch meet only where their positions are counted for the statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .resnet_by_hand import Statistics, batch_norm, windows

EPSILON = 1e-5
Maps = list[np.ndarray]


class ByHand:
    """The network of some parameters.

    Args:
      params: as of `osnet`.
      momentum: None normalises by the running statistics; a number by the batch's, and moves the running ones.
    """

    def __init__(self, params: Mapping[str, Mapping[str, Any]], *, momentum: float | None = None):
        self.params = {name: {k: np.asarray(x, np.float64) for k, x in leaf.items()} for name, leaf in params.items()}
        self.momentum = momentum
        self.statistics: Statistics = {}

    def maps(self, images: Sequence[np.ndarray]) -> Maps:
        """(h, w, d) of every preprocessed image (H, W, 3), before the last ReLU."""
        x = relu(self.convolved("block1_conv", [np.asarray(image, np.float64) for image in images], stride=2))
        x = [windows(one, 3, 2, 1, -np.inf).max(axis=(2, 3)) for one in x]
        for block in (2, 3, 4):
            for unit in "ab":
                x = self.unit(f"block{block}{unit}", x)
            if block < 4:
                x = [windows(one, 2, 2, 0, 0.0).mean(axis=(2, 3)) for one in self.layer(f"block{block}_conv", x)]
        return self.convolved("block5_conv", x)

    def vectors(self, maps: Maps) -> np.ndarray:
        """The own vector of every map."""
        dense, norm = self.params["vector"], self.params["vector_norm"]
        x = np.stack([one.mean((0, 1)) for one in relu(maps)]) @ dense["kernel"] + dense["bias"]
        return np.maximum((x - norm["mean"]) / np.sqrt(norm["var"] + EPSILON) * norm["scale"] + norm["bias"], 0)

    def unit(self, name: str, x: Maps) -> Maps:
        narrow = self.layer(f"{name}_conv1", x)
        total = [np.zeros_like(one) for one in narrow]
        for stream, steps in enumerate(("a", "ab", "abc", "abcd"), start=1):
            y = narrow
            for step in steps:
                y = self.convolved(f"{name}_stream{stream}{step}_point", y)
                y = self.layer(f"{name}_stream{stream}{step}_conv", y)
            total = [a + b * self.gate(name, b.mean((0, 1))) for a, b in zip(total, y, strict=True)]
        y = self.convolved(f"{name}_conv3", total)
        inside = "block3b_instance_norm" in self.params
        if inside:
            y = self.instance(name, y)
        if f"{name}_shortcut_conv" in self.params:
            x = self.convolved(f"{name}_shortcut_conv", x)
        y = [a + b for a, b in zip(x, y, strict=True)]
        return relu(y if inside else self.instance(name, y))

    def gate(self, name: str, mean: np.ndarray) -> np.ndarray:
        first, second = (self.params[f"{name}_gate_conv{number}"] for number in (1, 2))
        hidden = np.maximum(mean @ first["kernel"][0, 0] + first["bias"], 0)
        return 1 / (1 + np.exp(-(hidden @ second["kernel"][0, 0] + second["bias"])))

    def layer(self, name: str, x: Maps) -> Maps:
        return relu(self.convolved(name, x))

    def convolved(self, name: str, x: Maps, *, stride: int = 1) -> Maps:
        """The convolution and what normalises it."""
        kernel = self.params[name]["kernel"]
        side, sums = len(kernel), "hwijc,ijc->hwc" if self.depthwise(name) else "hwijc,ijcd->hwd"
        kernel = kernel[:, :, 0] if self.depthwise(name) else kernel
        x = [np.einsum(sums, windows(one, side, stride, side // 2, 0.0), kernel, optimize=True) for one in x]
        x = [one + self.params[name].get("bias", 0.0) for one in x]
        if name == "block1_conv":
            x = self.instance("block1", x)
        norm = name.replace("conv", "norm") if "conv" in name else ""
        if norm not in self.params:
            return x
        return batch_norm(self.params[norm], x, self.momentum, self.statistics.setdefault(norm, {}))

    def depthwise(self, name: str) -> bool:
        return "_stream" in name and name.endswith("_conv")

    def instance(self, name: str, x: Maps) -> Maps:
        """Normalised by each image's own statistics, where there is such a layer."""
        norm = self.params.get(f"{name}_instance_norm")
        if norm is None:
            return x
        return [
            (one - one.mean((0, 1))) / np.sqrt(one.var((0, 1)) + EPSILON) * norm["scale"] + norm["bias"] for one in x
        ]


def relu(x: Maps) -> Maps:
    return [np.maximum(one, 0) for one in x]
