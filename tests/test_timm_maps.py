"""Maps of a network of timm: a stand-in with its documented contract, and one for torch."""

import contextlib
import sys
import types

import numpy as np
import pytest

from dsr_jax import map_file, match
from dsr_jax.adapters import timm_maps

MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
CELL = 8


class Tensor:
    """As much of a tensor as is used."""

    device, dtype = "cpu", "float32"

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def to(self, device, dtype):
        assert (device, dtype) == ("cpu", "float32")
        return self

    def float(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


class Network:
    """A network of timm: two stages of maps, of cells of half their side and of their side."""

    def __init__(self, **config):
        self.pretrained_cfg = {"mean": MEAN, "std": DEVIATION} | config
        self.training, self.batches, self.asked = False, [], []

    def parameters(self):
        return iter([Tensor(np.zeros(1))])

    def forward_intermediates(self, x, indices=None, norm=False, output_fmt="NCHW", intermediates_only=False):
        assert norm and output_fmt == "NCHW" and intermediates_only
        if min(x.shape[2:]) < CELL:
            raise AssertionError("too small")
        self.batches.append(x.shape[0])
        self.asked.append(indices)
        chosen = range(2 - indices, 2) if isinstance(indices, int) else indices
        return [Tensor(cells(x.values, (CELL // 2, CELL)[i])) for i in chosen]


def cells(values, side):
    """(n, c, h, w) pictures to (n, c side side, h / side, w / side) maps."""
    n, c, h, w = values.shape[0], values.shape[1], values.shape[2] // side, values.shape[3] // side
    cut = values[:, :, : h * side, : w * side].reshape(n, c, h, side, w, side)
    return cut.transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h, w)


def alone(picture, side=CELL):
    """The map of one picture, computed apart."""
    values = (picture / 255 - MEAN) / np.array(DEVIATION)
    return cells(values.transpose(2, 0, 1)[None], side)[0].transpose(1, 2, 0)


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    """Stand-in for torch."""
    module = types.ModuleType("torch")
    module.from_numpy, module.inference_mode = Tensor, contextlib.nullcontext
    monkeypatch.setitem(sys.modules, "torch", module)


def test_maps_of_pictures_of_any_size_are_those_of_each_alone():
    given = pictures((32, 16), (32, 16), (20, 30), (32, 16))
    found = list(timm_maps.maps(Network(), given))
    assert [m.shape for m in found] == [(4, 2, 192), (4, 2, 192), (2, 3, 192), (4, 2, 192)]
    assert all(m.dtype == np.float32 and np.allclose(m, alone(p), atol=1e-5) for m, p in zip(found, given, strict=True))


def test_consecutive_pictures_of_one_size_run_together():
    network = Network()
    list(timm_maps.maps(network, pictures(*[(16, 16)] * 5, (24, 16), (16, 16)), batch_size=3))
    assert network.batches == [3, 2, 1, 1] and network.asked == [1] * 4


def test_stage():
    network = Network()
    (found,) = timm_maps.maps(network, pictures((32, 16)), stage=-2)
    assert network.asked == [[-2]] and found.shape == (8, 4, 48)
    assert np.allclose(found, alone(*pictures((32, 16)), side=CELL // 2), atol=1e-5)


def test_pictures_are_read_one_after_the_other():
    read = []
    found = timm_maps.maps(
        Network(), (read.append(i) or p for i, p in enumerate(pictures((16, 16), (24, 16), (16, 8))))
    )
    next(found)
    assert read == [0, 1]


def test_maps_are_matched_and_written(tmp_path):
    whole = pictures((64, 32), (64, 32), (64, 32))
    network = Network()
    maps = timm_maps.maps(network, [whole[1][16:48, 8:], *whole])
    map_file.write(tmp_path / "maps.npz", maps, identities=[1, 0, 1, 2], roles=["probe", *["gallery"] * 3])
    found = map_file.read(tmp_path / "maps.npz")
    assert match.distances(found.side("probe").maps, found.side("gallery").maps).distance.argmin() == 1


def test_torch_is_needed_for_maps_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = timm_maps.maps(Network(), pictures((16, 16)))
    with pytest.raises(ModuleNotFoundError, match="torch"):
        next(found)


def test_network_in_training_mode():
    network = Network()
    network.training = True
    with pytest.raises(ValueError, match=r"network.*eval"):
        timm_maps.maps(network, [])


def test_network_of_something_else():
    with pytest.raises(ValueError, match=r"network.*object"):
        timm_maps.maps(object(), [])


@pytest.mark.parametrize("config", [{"mean": ()}, {"std": (0.5,)}])
def test_network_without_mean_or_deviation(config):
    with pytest.raises(ValueError, match="pretrained_cfg"):
        timm_maps.maps(Network(**config), [])


def test_batch_size_of_none():
    with pytest.raises(ValueError, match="batch_size"):
        timm_maps.maps(Network(), [], batch_size=0)


@pytest.mark.parametrize(
    "picture", [np.zeros((16, 16, 3)), np.zeros((16, 16), np.uint8), np.zeros((3, 16, 16), np.uint8)]
)
def test_wrong_picture_is_named(picture):
    with pytest.raises(ValueError, match=r"pictures\[1\]"):
        list(timm_maps.maps(Network(), [*pictures((16, 16)), picture]))


def test_picture_that_the_network_refuses_is_named():
    with pytest.raises(ValueError, match=r"pictures\[2\] of 4 x 16 .*too small.*dynamic_img_size"):
        list(timm_maps.maps(Network(), pictures((16, 16), (16, 16), (4, 16))))
