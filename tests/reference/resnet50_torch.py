"""Makes resnet50_tiny.pth: a ResNet-50 of width 1/64 in torchvision's names, as torch saves it.

    python tests/reference/resnet50_torch.py

needs torch (made with torch 2.13.0). The numbers come from NumPy by `arrays`, so that a test knows them without torch.
`network` is the same architecture in torch, written for these tests from its description (He et al. 2016, with the
stride on the 3 x 3 convolution), since torchvision is not among their packages.
"""

from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
UNITS = (3, 4, 6, 3)


def arrays(seed: int = 0, *, stem: int = 1, classes: int = 5, units: tuple[int, ...] = UNITS) -> dict[str, np.ndarray]:
    """The state dict of a network with ``stem`` channels (64 in the published one), classifier and counters included.

    Scales and statistics are such that activations neither die nor explode.
    """
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {}

    def convolution(name: str, side: int, before: int, after: int) -> None:
        deviation = (2 / (side * side * before)) ** 0.5
        state[name + ".weight"] = (deviation * rng.standard_normal((after, before, side, side))).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        draws = {
            "weight": rng.uniform(0.5, 1.5, channels),
            "bias": rng.normal(0, 0.3, channels),
            "running_mean": rng.normal(0, 0.3, channels),
            "running_var": rng.uniform(0.5, 2.0, channels),
        }
        state.update({f"{name}.{leaf}": x.astype(np.float32) for leaf, x in draws.items()})
        state[f"{name}.num_batches_tracked"] = np.int64(7)

    convolution("conv1", 7, 3, stem)
    norm("bn1", stem)
    before = stem
    for layer, count in enumerate(units, start=1):
        narrow = stem * 2 ** (layer - 1)
        for unit in range(count):
            name = f"layer{layer}.{unit}"
            for number, (side, start, end) in enumerate(
                ((1, before, narrow), (3, narrow, narrow), (1, narrow, 4 * narrow)), start=1
            ):
                convolution(f"{name}.conv{number}", side, start, end)
                norm(f"{name}.bn{number}", end)
            if unit == 0:
                convolution(f"{name}.downsample.0", 1, before, 4 * narrow)
                norm(f"{name}.downsample.1", 4 * narrow)
            before = 4 * narrow
    state["fc.weight"] = rng.normal(0, 0.1, (classes, before)).astype(np.float32)
    state["fc.bias"] = rng.normal(0, 0.1, classes).astype(np.float32)
    return state


def network(*, stem: int, last_stride: int = 2, classes: int = 5) -> Any:
    """The torch module, whose `features` are res5c: (n, 3, H, W) -> (n, 32 stem, h, w)."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, before: int, narrow: int, stride: int, first: bool):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
            self.conv2 = nn.Conv2d(narrow, narrow, 3, stride=stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(narrow)
            self.conv3, self.bn3 = nn.Conv2d(narrow, 4 * narrow, 1, bias=False), nn.BatchNorm2d(4 * narrow)
            self.downsample = None
            if first:
                shortcut = nn.Conv2d(before, 4 * narrow, 1, stride=stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * narrow))

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet50(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(stem)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            before = stem
            for layer, count in enumerate(UNITS, start=1):
                narrow, stride = stem * 2 ** (layer - 1), {1: 1, 4: last_stride}.get(layer, 2)
                units = []
                for unit in range(count):
                    units.append(Bottleneck(before, narrow, stride if unit == 0 else 1, unit == 0))
                    before = 4 * narrow
                setattr(self, f"layer{layer}", nn.Sequential(*units))
            self.fc = nn.Linear(before, classes)

        def features(self, x: Any) -> Any:
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

        def forward(self, x: Any) -> Any:
            return self.fc(self.features(x).mean((2, 3)))

    return ResNet50()


if __name__ == "__main__":
    import torch

    torch.save(
        {name: torch.from_numpy(np.asarray(x)) for name, x in arrays().items()},
        FOLDER / "resnet50_tiny.pth",
        _use_new_zipfile_serialization=False,
    )
