"""OSNet in torchreid's names: a state dict drawn by NumPy, and the same architecture in torch.

`arrays` needs no torch. `network` is written for these tests from the description (Zhou et al., ICCV 2019, and TPAMI
2021 for the forms with instance normalisation), with the names that deep-person-reid gives its modules, which are not
among the tests' packages.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

STREAMS = (1, 2, 3, 4)  # light convolutions of each
INSIDE = {(2, 0), (2, 1), (3, 1), (4, 0)}  # units of the AIN form that normalise each image before the sum


def arrays(form: str, seed: int = 0, *, stem: int = 4, classes: int = 5) -> dict[str, np.ndarray]:
    """The state dict of a network with ``stem`` channels in block 1 (64 of x1.0), classifier and counters included.

    Scales and statistics are such that activations neither die nor explode.
    """
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {}
    for name, kind, before, after, side in _layers(form, stem):
        shape: tuple[int, ...] = (after, before, side, side)
        if kind == "dense":
            shape = (after, before)
        if kind in ("convolution", "dense", "gate"):
            deviation = (2 / np.prod(shape[1:])) ** 0.5
            state[f"{name}.weight"] = (deviation * rng.standard_normal(shape)).astype(np.float32)
            if kind != "convolution":
                state[f"{name}.bias"] = rng.normal(0, 0.3, after).astype(np.float32)
            continue
        draws = {"weight": rng.uniform(0.5, 1.5, after), "bias": rng.normal(0, 0.3, after)}
        if kind == "batch":
            draws |= {"running_mean": rng.normal(0, 0.3, after), "running_var": rng.uniform(0.5, 2.0, after)}
            state[f"{name}.num_batches_tracked"] = np.int64(7)
        state |= {f"{name}.{leaf}": x.astype(np.float32) for leaf, x in draws.items()}
    state["classifier.weight"] = rng.normal(0, 0.1, (classes, 512)).astype(np.float32)
    state["classifier.bias"] = rng.normal(0, 0.1, classes).astype(np.float32)
    return state


def _layers(form: str, stem: int) -> Iterator[tuple[str, str, int, int, int]]:
    """Name, kind, channels in and out and side of every layer, in the order of computation."""
    yield "conv1.conv", "convolution", 3, stem, 7
    yield "conv1.bn", "batch" if form == "plain" else "instance", 0, stem, 0
    before = stem
    for block, after in ((2, 4 * stem), (3, 6 * stem), (4, 8 * stem)):
        for unit in (0, 1):
            yield from _unit(form, f"conv{block}.{unit}", (block, unit), before, after)
            before = after
        if block < 4:
            name = f"pool{block}.0" if form == "ain" else f"conv{block}.2.0"
            yield f"{name}.conv", "convolution", after, after, 1
            yield f"{name}.bn", "batch", 0, after, 0
    yield "conv5.conv", "convolution", before, before, 1
    yield "conv5.bn", "batch", 0, before, 0
    yield "fc.0", "dense", before, 512, 0
    yield "fc.1", "batch", 0, 512, 0


def _unit(
    form: str, name: str, place: tuple[int, int], before: int, after: int
) -> Iterator[tuple[str, str, int, int, int]]:
    narrow = after // 4
    hidden = max(1, narrow // 16)
    yield f"{name}.conv1.conv", "convolution", before, narrow, 1
    yield f"{name}.conv1.bn", "batch", 0, narrow, 0
    for count in STREAMS:
        for step in range(count):
            if form == "ain":
                light = f"{name}.conv2.{count - 1}.layers.{step}"
            else:
                light = f"{name}.conv2{'abcd'[count - 1]}" + (f".{step}" if count > 1 else "")
            yield f"{light}.conv1", "convolution", narrow, narrow, 1
            yield f"{light}.conv2", "convolution", 1, narrow, 3
            yield f"{light}.bn", "batch", 0, narrow, 0
    yield f"{name}.gate.fc1", "gate", narrow, hidden, 1
    yield f"{name}.gate.fc2", "gate", hidden, narrow, 1
    yield f"{name}.conv3.conv", "convolution", narrow, after, 1
    inside = form == "ain" and place in INSIDE
    if not inside:
        yield f"{name}.conv3.bn", "batch", 0, after, 0
    if before != after:
        yield f"{name}.downsample.conv", "convolution", before, after, 1
        yield f"{name}.downsample.bn", "batch", 0, after, 0
    if inside or (form == "ibn" and place[0] == 2):
        yield f"{name}.IN", "instance", 0, after, 0


def network(form: str, *, stem: int = 4, classes: int = 5) -> Any:
    """The torch module: `featuremaps` are conv5's before their ReLU; a call in evaluation gives the own vectors."""
    import torch
    from torch import nn

    class Normalised(nn.Module):
        """A convolution, its normalisation if it has one, and ReLU if wanted."""

        def __init__(
            self, before: int, after: int, side: int = 1, stride: int = 1, norm: str = "batch", relu: bool = True
        ):
            super().__init__()
            self.conv = nn.Conv2d(before, after, side, stride, side // 2, bias=False)
            kinds = {"batch": nn.BatchNorm2d, "instance": lambda n: nn.InstanceNorm2d(n, affine=True)}
            self.bn = kinds[norm](after) if norm else nn.Identity()
            self.activation = nn.ReLU() if relu else nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.activation(self.bn(self.conv(x)))

    class Light(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.conv1 = nn.Conv2d(width, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
            self.bn = nn.BatchNorm2d(width)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.bn(self.conv2(self.conv1(x))))

    class Stream(nn.Module):
        def __init__(self, width: int, count: int):
            super().__init__()
            self.layers = nn.Sequential(*(Light(width) for _ in range(count)))

        def forward(self, x: Any) -> Any:
            return self.layers(x)

    class Gate(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.fc1 = nn.Conv2d(width, max(1, width // 16), 1)
            self.fc2 = nn.Conv2d(max(1, width // 16), width, 1)

        def forward(self, x: Any) -> Any:
            return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))

    class Unit(nn.Module):
        def __init__(self, before: int, after: int, place: tuple[int, int]):
            super().__init__()
            narrow = after // 4
            self.inside = form == "ain" and place in INSIDE
            self.conv1 = Normalised(before, narrow)
            if form == "ain":
                self.conv2 = nn.ModuleList([Stream(narrow, count) for count in STREAMS])
            else:
                self.conv2a = Light(narrow)
                for count in STREAMS[1:]:
                    lights = nn.Sequential(*(Light(narrow) for _ in range(count)))
                    setattr(self, f"conv2{'abcd'[count - 1]}", lights)
            self.gate = Gate(narrow)
            self.conv3 = Normalised(narrow, after, norm="" if self.inside else "batch", relu=False)
            self.downsample = Normalised(before, after, relu=False) if before != after else nn.Identity()
            has_norm = self.inside or (form == "ibn" and place[0] == 2)
            self.IN = nn.InstanceNorm2d(after, affine=True) if has_norm else nn.Identity()

        def forward(self, x: Any) -> Any:
            narrow = self.conv1(x)
            streams = self.conv2 if form == "ain" else [getattr(self, f"conv2{letter}") for letter in "abcd"]
            y = self.conv3(sum(self.gate(stream(narrow)) for stream in streams))
            if self.inside:
                return torch.relu(self.IN(y) + self.downsample(x))
            return torch.relu(self.IN(y + self.downsample(x)))

    class OSNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = Normalised(3, stem, 7, 2, norm="batch" if form == "plain" else "instance")
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            before = stem
            for block, after in ((2, 4 * stem), (3, 6 * stem), (4, 8 * stem)):
                parts: list[Any] = [Unit(before, after, (block, 0)), Unit(after, after, (block, 1))]
                behind = nn.Sequential(Normalised(after, after), nn.AvgPool2d(2, stride=2))
                if block < 4 and form == "ain":
                    setattr(self, f"pool{block}", behind)
                elif block < 4:
                    parts.append(behind)
                setattr(self, f"conv{block}", nn.Sequential(*parts))
                before = after
            self.conv5 = Normalised(before, before, relu=False)
            self.fc = nn.Sequential(nn.Linear(before, 512), nn.BatchNorm1d(512), nn.ReLU())
            self.classifier = nn.Linear(512, classes)

        def featuremaps(self, x: Any) -> Any:
            x = self.maxpool(self.conv1(x))
            for name in ("conv2", "pool2", "conv3", "pool3", "conv4", "conv5"):
                x = getattr(self, name)(x) if hasattr(self, name) else x
            return x

        def forward(self, x: Any) -> Any:
            vector = self.fc(torch.relu(self.featuremaps(x)).mean((2, 3)))
            return self.classifier(vector) if self.training else vector

    return OSNet()
