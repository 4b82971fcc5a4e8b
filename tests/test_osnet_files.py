"""OSNet's weights files: torchreid's state dicts, ONNX exports, ours, and what is wrong with a file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dsr_jax import osnet, weights
from dsr_jax.formats import onnx_file, protobuf
from dsr_jax.layers import osnet_table

from . import onnx_files, test_osnet, torch_files
from .reference import osnet_torch
from .test_weights import assert_same

NAMES = {"plain": "osnet", "ibn": "osnet_ibn", "ain": "osnet_ain"}
WIDTH = 4 / 64
state = functools.cache(osnet_torch.arrays)


def read(path):
    """The network; its input convention is given, since drawn statistics are those of no input."""
    return weights.read(path, preprocessing="torch")


@pytest.mark.parametrize("form", osnet.FORMS)
def test_a_state_dict_of_torchreid(tmp_path, form):
    """As torchreid saves it: under a key, behind the prefix of DataParallel, with epoch and score."""
    wrapped = {f"module.{name}": x for name, x in state(form).items()}
    path = torch_files.write(tmp_path / "model.pth.tar-60", {"state_dict": wrapped, "epoch": 60, "rank1": 0.5})
    found = read(path)
    assert found.card == weights.Card(NAMES[form], WIDTH, output_stride=16, preprocessing="torch")
    assert any("classifier (2 arrays)" in remark for remark in found.remarks)
    assert not any("fc" in remark for remark in found.remarks), "the dense layer of the own vector is read"
    light = "conv3.1.conv2.2.layers.1" if form == "ain" else "conv3.1.conv2c.1"
    kernel = state(form)[f"{light}.conv2.weight"]
    np.testing.assert_array_equal(found.params["block3b_stream3b_conv"]["kernel"], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(found.params["vector"]["kernel"], state(form)["fc.0.weight"].T)
    drawn = osnet.init(jax.random.key(0), width=WIDTH, form=form)
    assert jax.tree.map(np.shape, found.params) == jax.tree.map(np.shape, drawn)
    assert sum(x.size for leaf in found.params.values() for x in leaf.values()) == sum(
        x.size for name, x in state(form).items() if not name.startswith("classifier") and x.dtype.kind == "f"
    )


@pytest.mark.parametrize("form", osnet.FORMS)
def test_an_onnx_export_is_the_folded_network(tmp_path, form):
    found = read(onnx_files.osnet(tmp_path / "model.onnx", state(form)))
    assert found.card == weights.Card(NAMES[form], WIDTH, output_stride=16, preprocessing="torch")
    assert any("names of the ONNX nodes" in remark for remark in found.remarks)
    plain = read(torch_files.write(tmp_path / "model.pth", state(form))).params
    expected = test_osnet.without_norms(plain)
    assert jax.tree.structure(found.params) == jax.tree.structure(expected)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, found.params, expected)
    assert osnet_table.folded(found.params) and "vector_norm" in found.params


@pytest.mark.parametrize("raw", [True, False])
def test_numbers_of_an_onnx_array_in_every_form(tmp_path, raw):
    names = ["a.weight", "a.bias"]
    values = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([-1.5, 2], np.float64)]
    nodes = [onnx_files.node("Gemm", "/a/Gemm", ["x", *names], "y")]  # stored as (in, out), without transB
    path = onnx_files.write(tmp_path / "a.onnx", nodes, dict(zip(names, values, strict=True)), raw=raw)
    found, remarks = onnx_file.read(path)
    assert remarks == [] and found.keys() == {"a.weight", "a.bias"}
    np.testing.assert_array_equal(found["a.weight"], values[0].T)
    np.testing.assert_array_equal(found["a.bias"], values[1])


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_of_onnx(tmp_path, dtype):
    x = np.linspace(-2, 2, 6).astype(dtype).reshape(1, 6, 1, 1)
    nodes = [onnx_files.node("Conv", "/a/Conv", ["x", "a.weight"], "y")]
    found, _ = onnx_file.read(onnx_files.write(tmp_path / "a.onnx", nodes, {"a.weight": x}))
    assert found["a.weight"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found["a.weight"].astype(np.float32), x.astype(np.float32))


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("form", osnet.FORMS)
def test_ours_comes_back_bit_for_bit(tmp_path, form, folded):
    params = test_osnet.params(form, folded=folded)
    card = weights.Card(NAMES[form], WIDTH, output_stride=16, preprocessing="torch")
    weights.save(tmp_path, params, card)
    assert_same(weights.load(tmp_path), params)
    assert weights.read_card(tmp_path) == card


@pytest.mark.parametrize(("form", "folded"), [("ain", True), pytest.param("plain", False, marks=pytest.mark.slow)])
def test_ours_under_torchreids_names_is_a_state_dict(tmp_path, form, folded):
    """With normalisations that do nothing but add the biases where they were folded: torchreid's model has them."""
    params, path = test_osnet.params(form, folded=folded), tmp_path / "theirs.safetensors"
    card = weights.Card(NAMES[form], WIDTH, output_stride=16, preprocessing="torch")
    weights.save(path, params, card, naming="torchreid")
    names = {name for name in state(form) if not name.startswith("classifier") and not name.endswith("_tracked")}
    assert safetensors.numpy.load_file(path).keys() == names
    x = np.random.default_rng(0).standard_normal((1, 32, 16, 3)).astype(np.float32)
    found, expected = (test_osnet.apply(weights, x)[0] for weights in (weights.load(path), params))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))
    with pytest.raises(ValueError, match="naming of osnet.* must be 'dsr_jax' or 'torchreid', got 'torchvision'"):
        weights.save(path, params, card, naming="torchvision")
    with pytest.raises(ValueError, match="torchreid has no names for a head of bias, kernel"):
        head = {"kernel": np.ones((32, 3), np.float32), "bias": np.ones(3, np.float32)}
        weights.save(path, params, card, naming="torchreid", head=head)


def test_a_file_without_the_own_vector_has_maps_alone(tmp_path):
    trunk = {name: x for name, x in state("plain").items() if not name.startswith(("fc.", "classifier."))}
    params = read(torch_files.write(tmp_path / "trunk.pth", trunk)).params
    assert "vector" not in params and "block5_conv" in params


def changed(form="plain", **arrays):
    """A state dict with other arrays; without those that are None."""
    both = state(form) | {name.replace("__", "."): x for name, x in arrays.items()}
    return {name: x for name, x in both.items() if x is not None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(conv5__bn__running_var=None), "missing: conv5.bn.running_var"),
        (
            {name: x for name, x in state("ain").items() if "running" not in name},
            "batch-norm statistics are missing.*missing: conv2.0.conv1.bn.running_mean",
        ),
        (changed(conv4__1__gate__fc1__weight=np.ones((3, 8, 1, 1), np.float32)), "mis-shaped: conv4.1.gate.fc1.weight"),
        (changed(conv1__conv__weight=np.ones((16, 3, 7, 7), np.float32)), "form 'plain' and width 0.25.*mis-shaped"),
        (changed(conv2__2__0__conv__bias=np.ones(16, np.float32)), "unexpected: conv2.2.0.conv.bias"),
        (changed(conv6__conv__weight=np.ones((2, 2, 1, 1), np.float32)), "unexpected: conv6.conv.weight"),
        (changed("ibn", conv2__0__IN__weight=None), "form 'ibn'.*missing: conv2.0.IN.weight"),
        (changed("ain", conv2__0__conv3__bn__weight=np.ones(16, np.float32)), "unexpected: conv2.0.conv3.bn.weight"),
        (changed(fc__1__running_var=None), "missing: fc.1.running_var"),
        (changed(conv5__bn__running_var=-np.ones(32, np.float32)), "conv5.bn.running_var holds negative variances"),
        (changed(conv5__bn__bias=np.full(32, np.nan, np.float32)), "conv5.bn.bias has 32 NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_such_network_is_named(tmp_path, content, words):
    path = torch_files.write(tmp_path / "network.pth", content)
    with pytest.raises(ValueError, match=rf"(?s)network.pth.*{words}"):
        weights.load(path)


def test_a_card_of_another_width_or_form_is_refused(tmp_path):
    params = test_osnet.params("ibn")
    for card, words in (
        (weights.Card("osnet_ibn", 0.25, 16, "torch"), "width 0.25.*mis-shaped"),
        (weights.Card("osnet", WIDTH, 16, "torch"), "form 'plain'.*missing: block1_norm"),
    ):
        with pytest.raises(ValueError, match=f"(?s){words}"):
            weights.save(tmp_path, params, card)
    with pytest.raises(ValueError, match="output_stride=32: pass 16 or None"):
        weights.Card("osnet_ain", 0.25, 32, "torch")


def test_an_input_of_another_scale_has_to_be_said(tmp_path):
    """Statistics of the first layer that are those of 0 to 255: the order of the colours is not known."""
    first = {name: x for name, x in state("plain").items() if name.startswith("conv1.bn")}
    loud = changed(conv1__bn__running_var=first["conv1.bn.running_var"] * np.float32(40.0**2))
    path = torch_files.write(tmp_path / "loud.pth", loud)
    with pytest.raises(ValueError, match="its input convention cannot be told from torchreid names.*--preprocessing"):
        weights.read(path)
    assert weights.read(path, preprocessing="caffe_rgb").card.preprocessing == "caffe_rgb"


def other_model(tmp_path, kind="Conv", name="/a/Conv", arrays=None, inputs=("x", "a.weight")):
    arrays = {"a.weight": np.ones((2, 2, 1, 1), np.float32)} if arrays is None else arrays
    return onnx_files.write(tmp_path / "m.onnx", [onnx_files.node(kind, name, inputs, "y")], arrays)


def external(tmp_path):
    """A model whose array lies in another file."""
    body = onnx_files.number(1, 2) + onnx_files.number(2, 1) + onnx_files.part(8, "a.bias") + onnx_files.number(14, 1)
    node = onnx_files.node("Conv", "/a/Conv", ["x", "a.weight", "a.bias"], "y")
    graph = onnx_files.part(1, node) + onnx_files.part(5, body)
    (tmp_path / "m.onnx").write_bytes(
        onnx_files.number(1, 7) + onnx_files.part(2, "pytorch") + onnx_files.part(7, graph)
    )
    return tmp_path / "m.onnx"


def short(tmp_path):
    """A model with fewer numbers than its array's shape says."""
    path = other_model(tmp_path, arrays={"a.weight": np.ones((2, 2, 1, 1), np.float32)})
    head = b"".join(onnx_files.number(1, side) for side in (2, 2, 1, 1))
    path.write_bytes(path.read_bytes().replace(head, b"".join(onnx_files.number(1, side) for side in (2, 9, 1, 1))))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (functools.partial(other_model, kind="MatMulInteger"), "no layers with weights .*MatMulInteger"),
        (
            functools.partial(
                other_model, inputs=("x", "onnx::Conv_7"), name="Conv_1", arrays={"onnx::Conv_7": np.ones(1)}
            ),
            "'onnx::Conv_7' of node 'Conv_1' has no name of a module",
        ),
        (functools.partial(other_model, arrays={"a.weight": np.ones((2, 2, 1, 1), np.int8)}), "ONNX's type 3"),
        (other_model, "no VGG-16, ResNet-50 or OSNet.*found a.weight"),
        (external, "'a.bias' lies in another file"),
        (short, "shape .2, 9, 1, 1. has 4 numbers"),
    ],
    ids=["quantised", "nameless", "type", "another network", "external", "short"],
)
def test_other_onnx_models_are_refused(tmp_path, make, words):
    with pytest.raises(ValueError, match=rf"(?s)m.onnx.*{words}"):
        weights.load(make(tmp_path))


def test_a_cut_or_damaged_onnx_file_is_an_error_wherever_it_ends(tmp_path):
    content = onnx_files.osnet(tmp_path / "m.onnx", state("plain")).read_bytes()
    rng = np.random.default_rng(0)
    for end in (4, 12, 20, *rng.integers(21, len(content), 10).tolist()):
        (tmp_path / "m.onnx").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"m\.onnx"):
            weights.load(tmp_path / "m.onnx")
    for place in rng.integers(0, len(content), 20).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.onnx").write_bytes(damaged)
        try:
            weights.load(tmp_path / "m.onnx")  # other numbers may be a network as good as these
        except ValueError as error:
            assert "m.onnx" in str(error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x08", "cut off within a number"),
        (b"\x08" + b"\xff" * 10, "more than ten bytes"),
        (b"\x12\x05ab", "cut off"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x02\x00", "number 0"),
    ],
)
def test_what_is_no_message_is_named(data, words):
    with pytest.raises(ValueError, match=words):
        protobuf.Message(memoryview(data))


def test_the_network_of_msmt17(shared):
    """The shared ONNX file: a real re-identification network."""
    network = weights.read(shared("weights/osnet_x0_25_msmt17.onnx"))
    assert network.card == weights.Card("osnet", 0.25, output_stride=16, preprocessing="torch")
    assert sum(x.size for leaves in network.params.values() for x in leaves.values()) == 200_136
    vectors = osnet.vector(network.params, jnp.ones((1, 2, 2, 128)), jnp.array([[2, 2]]))
    assert np.isfinite(vectors).all() and np.any(np.asarray(vectors) > 0)
