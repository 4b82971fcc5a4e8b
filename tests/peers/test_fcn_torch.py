"""The network against torch with the same weights, drawn ones and ImageNet's, at sizes that divide and that do not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dsr_jax import fcn, weights

SIZES = [(320, 120), (64, 64), (97, 53), (33, 200)]


@functools.partial(jax.jit, static_argnames="output_stride")
def apply(params, images, *, output_stride):
    return fcn.apply(params, images, output_stride=output_stride)[0]


def features(params: fcn.Params, image: np.ndarray, *, output_stride: int) -> np.ndarray:
    """torchvision's `vgg16().features`, written out: (h, w, d)."""
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            layer = params[f"block{block}_conv{number}"]
            kernel = torch.from_numpy(np.array(layer["kernel"]).transpose(3, 2, 0, 1).copy())
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, torch.from_numpy(np.array(layer["bias"])), padding=1))
        if block < 5 or output_stride == 32:
            x = torch.nn.functional.max_pool2d(x, 2, 2)
    return x[0].permute(1, 2, 0).numpy()


@pytest.fixture(scope="module", params=["random", "imagenet"])
def params(request, shared) -> fcn.Params:
    if request.param == "imagenet":
        return weights.load(shared("weights/vgg16_imagenet_conv.npz"))
    drawn, rng = fcn.init(jax.random.key(0)), np.random.default_rng(0)
    return {
        name: {"kernel": layer["kernel"], "bias": jnp.asarray(rng.normal(0, 0.1, layer["bias"].shape), jnp.float32)}
        for name, layer in drawn.items()
    }


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_same_maps(params, size, capsys):
    pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
    image = np.asarray(fcn.preprocess(pixels))
    for output_stride in (32, 16):
        if min(size) < output_stride:
            continue
        theirs = features(params, image, output_stride=output_stride)
        ours = np.asarray(apply(params, jnp.asarray(image)[None], output_stride=output_stride)[0])
        assert ours.shape == theirs.shape
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        with capsys.disabled():
            print(
                f"\n{size[0]} x {size[1]}, stride {output_stride}: largest relative difference {difference:.1e}", end=""
            )
        assert difference <= 1e-4
