"""ResNet-50 against torch with the same weights: maps, and in training the statistics, at sizes that do not divide."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dsr_jax import losses, resnet, weights
from dsr_jax.formats import resnet50_names

from ..reference import resnet50_torch

SIZES = [(256, 128), (97, 53), (65, 200)]


@functools.partial(jax.jit, static_argnames="last_stride")
def apply(params, images, *, last_stride):
    return resnet.apply(params, images, last_stride=last_stride)[0]


@functools.partial(jax.jit, static_argnames="last_stride")
def train(params, images, *, last_stride):
    return resnet.train(params, images, last_stride=last_stride)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """The full network, 23.5 million parameters, drawn."""
    return {name: torch.from_numpy(np.asarray(x)) for name, x in resnet50_torch.arrays(stem=64, classes=751).items()}


@pytest.fixture(scope="module")
def params(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet50.pth"
    torch.save(state, path)
    return weights.load(path)


def theirs(state, last_stride: int, training: bool) -> torch.nn.Module:
    network = resnet50_torch.network(stem=64, last_stride=last_stride, classes=751)
    network.load_state_dict(state)
    return network.train(training)


def images(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((count, *size, 3)).astype(np.float32)


def difference(ours: np.ndarray, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("last_stride", [2, 1])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_same_maps_and_pool5(params, state, size, last_stride, capsys):
    x = images(2, size)
    with torch.no_grad():
        expected = theirs(state, last_stride, False).features(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    maps = apply(params, jnp.asarray(x), last_stride=last_stride)
    found = difference(np.asarray(maps), expected.permute(0, 2, 3, 1).numpy())
    sizes = jnp.full((2, 2), jnp.array(maps.shape[1:3]))
    pooled = difference(np.asarray(losses.pooled(maps, sizes)), expected.mean((2, 3)).numpy())
    with capsys.disabled():
        print(f"\n{size[0]} x {size[1]}, last stride {last_stride}: relative difference {found:.1e}", end="")
    assert found <= 1e-4 and pooled <= 1e-4


@pytest.mark.parametrize("last_stride", [2, 1])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_same_training(params, state, size, last_stride, capsys):
    """Maps by the batch's statistics, and every running statistic moved alike.

    Fifty normalisations by a batch amplify rounding: torch in float32 is as far from torch in float64 (6e-5).
    """
    x, network = images(3, size), theirs(state, last_stride, True)
    with torch.no_grad():
        expected = network.features(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    maps, _, statistics = train(params, jnp.asarray(x), last_stride=last_stride)
    found = difference(np.asarray(maps), expected.permute(0, 2, 3, 1).numpy())
    moved = resnet50_names.to_params({name: x.numpy() for name, x in network.state_dict().items()})
    off = max(
        difference(np.asarray(value), np.asarray(moved[layer][leaf]))
        for layer, leaves in statistics.items()
        for leaf, value in leaves.items()
    )
    with capsys.disabled():
        print(f"\n{size}, last stride {last_stride}: maps {found:.1e}, statistics {off:.1e}", end="")
    assert found <= 1e-4 and off <= 1e-4


def test_same_training_in_float64(x64):
    """Without rounding to amplify, nothing is left of the difference."""
    state = {name: torch.from_numpy(np.asarray(x)) for name, x in resnet50_torch.arrays(stem=4).items()}
    network = resnet50_torch.network(stem=4)
    network.load_state_dict(state)
    params = resnet50_names.to_params({name: x.numpy() for name, x in network.state_dict().items()})
    params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
    network, x = network.double().train(), images(3, (97, 53)).astype(np.float64)
    with torch.no_grad():
        expected = network.features(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    run = jax.jit(functools.partial(resnet.train, dtype=jnp.float64))
    maps, _, statistics = run(params, jnp.asarray(x))
    assert difference(np.asarray(maps), expected.permute(0, 2, 3, 1).numpy()) <= 1e-9
    for name, leaf in (("layer3.5.bn2.running_mean", "mean"), ("layer3.5.bn2.running_var", "var")):
        moved = network.state_dict()[name].numpy()
        assert difference(np.asarray(statistics["block4f_norm2"][leaf]), moved) <= 1e-9


def test_the_classifier_is_torchs(state, tmp_path):
    torch.save(state, tmp_path / "resnet50.pth")
    head = weights.load_head(tmp_path / "resnet50.pth", classes=751)
    pooled = np.random.default_rng(0).random((2, 2048), np.float32)
    expected = torch.nn.functional.linear(torch.from_numpy(pooled), state["fc.weight"], state["fc.bias"]).numpy()
    ours = pooled @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_state_dicts_of_parallel_training(tmp_path, zipped):
    """Counters, the prefix of the wrapper, and what else is in a training checkpoint."""
    network = resnet50_torch.network(stem=2)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": x for name, x in network.state_dict().items()}}
    torch.save(wrapped, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    params = weights.load(tmp_path / "c.pth")
    expected = network.state_dict()["layer4.2.conv2.weight"].permute(2, 3, 1, 0).numpy()
    np.testing.assert_array_equal(params["block5c_conv2"]["kernel"], expected)
    assert weights.read_card(tmp_path / "c.pth") == weights.Card("resnet50", width=2 / 64, preprocessing="torch")


def test_parameters_alone_are_refused(tmp_path):
    torch.save(dict(resnet50_torch.network(stem=1).named_parameters()), tmp_path / "p.pth")
    with pytest.raises(ValueError, match=r"batch-norm statistics are missing.*model.state_dict\(\)"):
        weights.load(tmp_path / "p.pth")


def test_reference_is_what_its_script_makes():
    stored = torch.load(resnet50_torch.FOLDER / "resnet50_tiny.pth", weights_only=True)
    arrays = resnet50_torch.arrays()
    assert stored.keys() == arrays.keys()
    for key, x in arrays.items():
        np.testing.assert_array_equal(stored[key].numpy(), x)
