"""Maps by the contract of timm's networks, with torch itself: types, devices, precision, gradients."""

import numpy as np
import pytest

from dsr_jax import match
from dsr_jax.adapters import timm_maps

MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)


def network():
    """A small network with what timm's have, and its map in torch."""
    torch = pytest.importorskip("torch", reason="needs the package torch (extra peers)")

    class Network(torch.nn.Module):
        pretrained_cfg = {"mean": MEAN, "std": DEVIATION}

        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 32, 3, stride=2, padding=1)
            self.norm = torch.nn.BatchNorm2d(32)
            self.last = torch.nn.Conv2d(32, 64, 8, stride=8)

        def forward_intermediates(self, x, indices=None, norm=False, output_fmt="NCHW", intermediates_only=False):
            assert indices == 1 and norm and output_fmt == "NCHW" and intermediates_only
            return [self.last(self.norm(self.first(x)).relu())]

    torch.manual_seed(0)
    return torch, Network().eval()


def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 32), (64, 32), (50, 37))]


def test_maps_are_those_of_each_picture_alone():
    torch, net = network()
    for picture, found in zip(pictures(), timm_maps.maps(net, pictures()), strict=True):
        values = (torch.from_numpy(picture) / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
        with torch.no_grad():
            how = {"indices": 1, "norm": True, "intermediates_only": True}
            (alone,) = net.forward_intermediates(values.permute(2, 0, 1)[None], **how)
        assert np.allclose(found, alone[0].permute(1, 2, 0).numpy(), atol=1e-5) and found.dtype == np.float32


def test_network_in_half_precision():
    torch, net = network()
    exact = list(timm_maps.maps(net, pictures()))
    half = list(timm_maps.maps(net.to(torch.bfloat16), pictures()))
    assert all(m.dtype == np.float32 for m in half)
    assert all(0 < np.abs(a - b).max() <= 0.05 * np.abs(a).max() for a, b in zip(exact, half, strict=True))


def test_maps_are_matched():
    _, net = network()
    whole = pictures()
    probes = timm_maps.maps(net, [whole[1][:48], whole[2][:, :32]])
    assert match.distances(list(probes), list(timm_maps.maps(net, whole))).distance.argmin(axis=1).tolist() == [1, 2]


def test_picture_that_the_network_refuses():
    _, net = network()
    with pytest.raises(ValueError, match=r"pictures\[0\] of 8 x 40 pixels"):
        list(timm_maps.maps(net, [np.zeros((8, 40, 3), np.uint8)]))
