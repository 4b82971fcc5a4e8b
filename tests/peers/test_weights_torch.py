"""What torch writes, read without it: every format and type of file against torch's own reading."""

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dsr_jax import fcn, resnet, weights
from dsr_jax.formats import torch_file

from ..reference import resnet50_torch, vgg16_torch

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def published(dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    """A VGG-16 of width 1/64 laid out and named as torchvision's, dense layers included."""
    layers: list[torch.nn.Module] = []
    before = 3
    for position, channels in enumerate(vgg16_torch.CHANNELS):
        layers += [torch.nn.Conv2d(before, channels, 3, padding=1), torch.nn.ReLU()]
        before = channels
        if position in (1, 3, 6, 9, 12):
            layers.append(torch.nn.MaxPool2d(2))
    network = torch.nn.Sequential()
    network.add_module("features", torch.nn.Sequential(*layers))
    network.add_module("classifier", torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
    return network.to(dtype)


def assert_loads_as(path, state: dict[str, torch.Tensor]) -> None:
    params = weights.load(path)
    for (layer, leaves), index in zip(params.items(), vgg16_torch.INDICES, strict=True):
        kernel = state[f"features.{index}.weight"].float().permute(2, 3, 1, 0).numpy()
        np.testing.assert_array_equal(leaves["kernel"], kernel, err_msg=layer)
        np.testing.assert_array_equal(leaves["bias"], state[f"features.{index}.bias"].float().numpy(), err_msg=layer)


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_state_dicts(tmp_path, zipped, dtype):
    state = published(dtype).state_dict()
    torch.save(state, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=zipped)
    assert_loads_as(tmp_path / "vgg16.pth", state)
    assert weights.read_card(tmp_path / "vgg16.pth", preprocessing="torch").preprocessing == "torch"


@FORMATS
def test_training_checkpoints_of_parallel_networks(tmp_path, zipped):
    network = published()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.features(torch.randn(1, 3, 32, 32)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{name}": x for name, x in state.items()},
        "optimizer": optimizer.state_dict(),
    }
    torch.save(wrapped, tmp_path / "checkpoint.pt", _use_new_zipfile_serialization=zipped)
    assert_loads_as(tmp_path / "checkpoint.pt", state)


@FORMATS
def test_parameters_instead_of_tensors(tmp_path, zipped):
    parameters = dict(published().named_parameters())
    torch.save(parameters, tmp_path / "vgg16.pth", _use_new_zipfile_serialization=zipped)
    assert_loads_as(tmp_path / "vgg16.pth", {name: x.detach() for name, x in parameters.items()})


@FORMATS
def test_views_strides_and_other_types(tmp_path, zipped):
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    state = {
        "transposed": base.permute(2, 0, 1),
        "offset": base[1, 2:, ::2],
        "same storage": base,
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "bytes": torch.arange(5, dtype=torch.uint8),
    }
    torch.save(state, tmp_path / "any.pth", _use_new_zipfile_serialization=zipped)
    read = torch_file.read_state_dicts(tmp_path / "any.pth")[""]
    assert read.keys() == state.keys()
    for name, x in torch.load(tmp_path / "any.pth", weights_only=True).items():
        np.testing.assert_array_equal(read[name], x.numpy(), err_msg=name)
        assert read[name].dtype == x.numpy().dtype and read[name].shape == tuple(x.shape)


@FORMATS
def test_whole_networks_are_refused(tmp_path, zipped):
    torch.save(published(), tmp_path / "module.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"it names torch.nn.*torch.save\(model.state_dict\(\), path\)"):
        weights.load(tmp_path / "module.pth")


def test_torchscript_is_refused(tmp_path):
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    with pytest.warns(DeprecationWarning):
        torch.jit.script(Twice()).save(str(tmp_path / "script.pt"))
    with pytest.raises(ValueError, match="TorchScript"):
        weights.load(tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["vgg16_tiny.pth", "vgg16_tiny_legacy.pth"])
def test_references_are_what_their_script_makes(name):
    stored = torch.load(vgg16_torch.FOLDER / name, weights_only=True)
    assert stored.keys() == vgg16_torch.arrays().keys()
    for key, x in vgg16_torch.arrays().items():
        np.testing.assert_array_equal(stored[key].numpy(), x)


def test_first_pickles_of_parameters(tmp_path):
    """Parameters of torch 0.1 carry their data first of five parts of state; torch still reads them so."""
    x = torch.arange(6.0).reshape(2, 3)

    class Old:
        def __reduce__(self):
            return torch.nn.parameter.Parameter, (torch.zeros(0),), (x, None, None, True, None)

    torch.save({"features.0.weight": Old()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    theirs = torch.load(tmp_path / "old.pth", weights_only=True)["features.0.weight"]
    ours = torch_file.read_state_dicts(tmp_path / "old.pth")[""]["features.0.weight"]
    np.testing.assert_array_equal(theirs.detach().numpy(), x.numpy())
    np.testing.assert_array_equal(ours, x.numpy())


def test_safetensors_written_by_torch(tmp_path):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    state = published(torch.bfloat16).state_dict()
    safetensors_torch.save_file({name: x.contiguous() for name, x in state.items()}, tmp_path / "vgg16.safetensors")
    assert_loads_as(tmp_path / "vgg16.safetensors", state)
    assert jax.tree.leaves(weights.load(tmp_path / "vgg16.safetensors"))[0].dtype == np.float32


def test_ours_goes_back_into_torchvisions_network(tmp_path):
    """The trained network in torch computes the same maps."""
    params = fcn.init(jax.random.key(0), width=1 / 64)
    params = jax.tree.map(lambda x: x + 0.01, params)  # no bias is zero
    path = tmp_path / "theirs.safetensors"
    weights.save(path, params, weights.Card(width=1 / 64), naming="torchvision")
    features = published().features
    features.load_state_dict({name.removeprefix("features."): x for name, x in load_file(path).items()})
    images = np.random.default_rng(0).standard_normal((2, 96, 64, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    ours = np.asarray(fcn.apply(params, jax.numpy.asarray(images))[0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    torch.save(features.state_dict(), tmp_path / "again.pth")  # what torchvision's users keep
    again = {f"features.{name}": x for name, x in torch.load(tmp_path / "again.pth").items()}
    assert_loads_as(path, again)


def test_a_state_dict_of_ours_is_torchvisions_network(tmp_path):
    """The whole network takes it, dense layers left as they are, and computes the same maps."""
    params = weights.load(vgg16_torch.FOLDER / "vgg16_tiny.pth")
    weights.save(tmp_path / "n.safetensors", params, weights.Card(width=1 / 64), naming="torchvision")
    network = published()
    lacking, unexpected = network.load_state_dict(load_file(tmp_path / "n.safetensors"), strict=False)
    assert not unexpected and {name.split(".")[0] for name in lacking} == {"classifier"}
    images = np.random.default_rng(0).standard_normal((2, 97, 66, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert theirs.max() > 0
    ours = np.asarray(fcn.apply(params, jax.numpy.asarray(images))[0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.max())


def test_a_resnet_in_torch_is_ours(tmp_path):
    params = weights.load(resnet50_torch.FOLDER / "resnet50_tiny.pth")
    head = weights.load_head(resnet50_torch.FOLDER / "resnet50_tiny.pth")
    weights.save(tmp_path / "n.safetensors", params, weights.Card("resnet50", 1 / 64), head=head, naming="torchvision")
    network = resnet50_torch.network(stem=1, classes=len(head["bias"]))
    network.load_state_dict(load_file(tmp_path / "n.safetensors"))  # strict: statistics, classifier
    images = np.random.default_rng(0).standard_normal((2, 65, 64, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network.eval().features(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    ours = np.asarray(jax.jit(resnet.apply)(params, jax.numpy.asarray(images))[0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.max())
    np.testing.assert_array_equal(network.fc.weight.detach().numpy(), np.asarray(head["kernel"]).T)
