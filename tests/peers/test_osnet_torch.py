"""OSNet against torch (every form, forwards and backwards) and against onnxruntime (a real network)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import osnet, weights

from .. import torch_files
from ..reference import osnet_torch
from ..test_fcn import relative

STEM = 16  # x0.25


@functools.cache
def images(height: int = 96, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, height, width, 3)).astype(np.float32)


def loaded(form, *, stem=STEM):
    """The network in torch, with the drawn state dict."""
    torch = pytest.importorskip("torch", reason="needs the package torch (extra peers)")
    network = osnet_torch.network(form, stem=stem)
    state = osnet_torch.arrays(form, stem=stem)
    network.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in state.items()})
    return torch, network.eval()


def ours(tmp_path, form, *, stem=STEM):
    state = osnet_torch.arrays(form, stem=stem)
    return weights.read(torch_files.write(tmp_path / "network.pth", state), preprocessing="torch").params


def first(x):
    """Channels first, in torch."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(("stem", "size"), [(16, (97, 61)), (32, (256, 128))])
@pytest.mark.parametrize("form", osnet.FORMS)
def test_maps_and_vectors(tmp_path, form, stem, size):
    torch, network = loaded(form, stem=stem)
    x = images(*size)
    with torch.no_grad():
        maps, vectors = network.featuremaps(torch.from_numpy(first(x))), network(torch.from_numpy(first(x)))
    params = ours(tmp_path, form, stem=stem)
    found, sizes = jax.jit(osnet.apply)(params, jnp.asarray(x))
    assert relative(np.asarray(found), maps.numpy().transpose(0, 2, 3, 1)) <= 1e-5
    assert relative(np.asarray(osnet.vector(params, found, sizes)), vectors.numpy()) <= 1e-5


@pytest.mark.parametrize("form", ["plain", "ain"])
def test_gradient_and_statistics_of_a_training_step(tmp_path, form):
    """Of three batches the middle one: a rectifier whose input is rounding away from 0 is open in one library only."""
    params = ours(tmp_path, form, stem=4)

    @jax.jit
    def step(params, x):
        def loss(params):
            maps, _, statistics = osnet.train(params, x)
            return jnp.sum(jnp.square(jnp.maximum(maps, 0))), statistics

        return jax.value_and_grad(loss, has_aux=True)(params)

    light = "conv3.1.conv2.2.layers.1" if form == "ain" else "conv3.1.conv2c.1"
    kernels = {
        "block1_conv": "conv1.conv",
        "block3b_stream3b_conv": f"{light}.conv2",
        "block3b_stream3b_point": f"{light}.conv1",
        "block4a_shortcut_conv": "conv4.0.downsample.conv",
    }
    differences: dict[str, list[float]] = {}
    for seed in range(3):
        torch, network = loaded(form, stem=4)
        network.train()
        x = images(seed=seed)
        # After the ReLU: squares of what is normalised over the batch always have the same sum.
        torch.sum(torch.relu(network.featuremaps(torch.from_numpy(first(x)))) ** 2).backward()
        (_, statistics), slope = step(params, jnp.asarray(x))
        theirs = {name: leaf.grad.numpy() for name, leaf in network.named_parameters() if leaf.grad is not None}
        pairs = {
            name: (slope[name]["kernel"], theirs[f"{other}.weight"].transpose(2, 3, 1, 0))
            for name, other in kernels.items()
        }
        pairs["bias"] = slope["block3b_gate_conv2"]["bias"], theirs["conv3.1.gate.fc2.bias"]
        for name, (found, expected) in pairs.items():
            differences.setdefault(name, []).append(relative(np.asarray(found), expected))
        for leaf, other in (("mean", "running_mean"), ("var", "running_var")):
            found, expected = statistics["block3b_stream3b_norm"][leaf], network.state_dict()[f"{light}.bn.{other}"]
            assert relative(np.asarray(found), expected.numpy()) <= 1e-4
    assert {name: np.median(each) <= 1e-3 for name, each in differences.items()} == dict.fromkeys(differences, True)


def test_the_network_of_msmt17_is_onnxruntimes(shared):
    """Maps and own vectors of the shared file, of pictures of its size."""
    onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime (extra peers)")
    path = shared("weights/osnet_x0_25_msmt17.onnx")
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name="/conv5/conv/Conv_output_0"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = images(*osnet.SIZE)
    vectors, maps = session.run(None, {"images": first(x)})
    params = weights.load(path)
    found, sizes = jax.jit(osnet.apply)(params, jnp.asarray(x))
    assert relative(np.asarray(found), maps.transpose(0, 2, 3, 1)) <= 1e-4
    assert relative(np.asarray(osnet.vector(params, found, sizes)), vectors) <= 1e-4


@pytest.mark.parametrize("form", osnet.FORMS)
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_an_export_of_torch_is_read(tmp_path, form):
    """Written by torch itself, normalisations folded."""
    pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
    torch, network = loaded(form)
    torch.onnx.export(network, torch.from_numpy(first(images())), tmp_path / "network.onnx", dynamo=False)
    found, _ = jax.jit(osnet.apply)(weights.load(tmp_path / "network.onnx"), jnp.asarray(images()))
    with torch.no_grad():
        expected = network.featuremaps(torch.from_numpy(first(images()))).numpy()
    assert relative(np.asarray(found), expected.transpose(0, 2, 3, 1)) <= 1e-5
