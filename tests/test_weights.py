"""Weights files: what goes in comes out, whoever wrote it, and what is wrong with a file is said at once."""

import dataclasses
import functools
import io
import json
import pickle
import shutil
import zipfile
from collections import OrderedDict

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from dsr_jax import fcn, resnet, weights
from dsr_jax.formats import named_arrays, resnet50_names, torch_file, vgg16_names

from . import torch_files
from .conftest import ROOT
from .reference import resnet50_torch, vgg16_torch

REFERENCE = ROOT / "tests" / "reference"
TINY = 1 / 64


def network(*, width: float = TINY, seed: int = 0) -> fcn.Params:
    """Random parameters, drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(functools.partial(fcn.init, width=width), jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape, np.float32)), shapes)


def keras_arrays(params: fcn.Params) -> dict[str, np.ndarray]:
    """The network under Keras' names."""
    return {f"{layer}/{leaf}": np.asarray(x) for layer, leaves in params.items() for leaf, x in leaves.items()}


@pytest.fixture
def tiny() -> fcn.Params:
    return network()


@pytest.fixture
def keras(tmp_path, tiny):
    np.savez(tmp_path / "keras.npz", **keras_arrays(tiny))
    return tmp_path / "keras.npz"


def assert_same(a: fcn.Params, b: fcn.Params) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# What is read


def test_keras_npz(keras, tiny):
    assert_same(weights.load(keras), tiny)
    assert weights.read_card(keras) == weights.Card(width=TINY, preprocessing="caffe")


def test_keras_npz_with_dense_layers(tmp_path, tiny):
    dense = {"fc1/kernel": np.ones((4, 2)), "predictions/bias": np.ones(2)}
    np.savez_compressed(tmp_path / "whole.npz", **keras_arrays(tiny), **dense)
    assert_same(weights.load(tmp_path / "whole.npz"), tiny)


@pytest.mark.parametrize("name", ["vgg16_tiny.pth", "vgg16_tiny_legacy.pth"])
def test_torch_state_dict_without_torch(name):
    params = weights.load(REFERENCE / name)
    expected = vgg16_torch.arrays()
    np.testing.assert_array_equal(params["block1_conv1"]["kernel"], expected["features.0.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(params["block5_conv3"]["bias"], expected["features.28.bias"])
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, network())
    card = weights.Card(width=TINY, preprocessing="torch")
    assert weights.read_card(REFERENCE / name, preprocessing="torch") == card


@pytest.mark.parametrize("name", ["vgg16_tiny.pth", "vgg16_tiny_legacy.pth"])
def test_every_tensor_of_a_torch_file(name):
    read = torch_file.read_state_dicts(REFERENCE / name)[""]
    assert read.keys() == vgg16_torch.arrays().keys()
    for key, x in vgg16_torch.arrays().items():
        np.testing.assert_array_equal(read[key], x)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
def test_torchvision_names_in_safetensors(tmp_path, prefix, dtype):
    arrays = {prefix + key: x.astype(dtype) for key, x in vgg16_torch.arrays().items()}
    arrays[prefix + "classifier.0.weight"] = np.ones((2, 2), dtype)
    safetensors.numpy.save_file(arrays, tmp_path / "t.safetensors")
    params = weights.load(tmp_path / "t.safetensors")
    expected = vgg16_torch.arrays()["features.5.weight"].astype(dtype).astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["block2_conv1"]["kernel"], expected)
    assert params["block2_conv1"]["kernel"].dtype == jnp.float32
    assert weights.read_card(tmp_path / "t.safetensors", preprocessing="torch").preprocessing == "torch"


def test_published_network(shared):
    path = shared("weights/vgg16_imagenet_conv.npz")
    params = weights.load(path)
    assert params["block5_conv3"]["kernel"].shape == (3, 3, 512, 512)
    assert sum(x.size for x in jax.tree.leaves(params)) == 14_714_688  # VGG-16 without its dense layers
    assert weights.read_card(path) == weights.Card()


# What is written


@pytest.mark.parametrize("width", [TINY, 0.1])
def test_ours_comes_back_bit_for_bit(tmp_path, width):
    params = network(width=width)
    card = weights.Card(
        width=width, output_stride=16, preprocessing="torch", extra={"rank1": 24.2, "flags": ["a", None]}
    )
    head = {"kernel": np.ones((8, 3), np.float32), "bias": np.zeros(3, np.float32)}
    weights.save(tmp_path / "deep" / "ours.safetensors", params, card, head=head)
    assert_same(weights.load(tmp_path / "deep" / "ours.safetensors"), params)
    assert weights.read_card(tmp_path / "deep" / "ours.safetensors") == card
    assert_same(weights.load_head(tmp_path / "deep" / "ours.safetensors"), head)


@pytest.mark.parametrize("architecture", ["vgg16", "resnet50"])
def test_ours_under_torchvisions_names_is_a_state_dict_and_comes_back(tmp_path, tiny, architecture):
    resnet_drawn = resnet.init(jax.random.key(0), width=1 / 16)
    params, width = (tiny, TINY) if architecture == "vgg16" else (resnet_drawn, 1 / 16)
    head = {} if architecture == "vgg16" else {"kernel": np.ones((128, 3), np.float32), "bias": np.zeros(3, np.float32)}
    card, path = weights.Card(architecture=architecture, width=width, output_stride=16), tmp_path / "theirs.safetensors"
    weights.save(path, params, card, head=head, naming="torchvision")
    assert_same(weights.load(path), params)
    assert weights.read_card(path) == card, "preprocessing is the network's, not torchvision's"
    assert_same(weights.load_head(path), head)
    names = set(safetensors.numpy.load_file(path))
    published = resnet50_torch.arrays(stem=4, classes=3) if architecture == "resnet50" else vgg16_torch.INDICES
    if architecture == "resnet50":
        assert names == {name for name in published if not name.endswith("num_batches_tracked")}
    else:
        assert names == {f"features.{index}.{leaf}" for index in published for leaf in ("weight", "bias")}


def test_a_torch_file_is_not_written_but_what_to_write_is_said(tmp_path, tiny):
    for naming in ("dsr_jax", "torchvision"):
        with pytest.raises(ValueError, match=r"(?s)path=.*n\.pth.*naming='torchvision'.*load_file.*torch\.save"):
            weights.save(tmp_path / "n.pth", tiny, weights.Card(width=TINY), naming=naming)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def beside(tmp_path, tiny):
    """A torch file of ours with its card beside it, as earlier versions wrote them."""
    card = weights.Card(width=TINY, sha256=weights.digest(tiny))
    names = vgg16_names.layers("torchvision")
    torch_files.write(tmp_path / "a.pth", named_arrays.from_params(tiny, names, transposed=True))
    (tmp_path / "a.pth.json").write_text(json.dumps(dataclasses.asdict(card)))
    return tmp_path / "a.pth"


def test_a_torch_file_is_read_with_the_card_beside_it(beside, tiny):
    assert_same(weights.load(beside), tiny)
    assert weights.read_card(beside) == weights.Card(width=TINY)


def test_a_card_beside_another_torch_file_is_found_out(beside, tiny):
    other = named_arrays.from_params(network(seed=1), vgg16_names.layers("torchvision"), transposed=True)
    torch_files.write(beside, other)
    with pytest.raises(ValueError, match="a.pth': its numbers are not those .* the card beside it"):
        weights.load(beside)
    beside.with_name("a.pth.json").unlink()
    assert_same(weights.load(beside), network(seed=1))


def test_every_type_that_torch_stores(tmp_path):
    tensors = {name: np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in torch_file.STORAGES.items()}
    tensors |= {"scalar": np.array(3, np.int64), "empty": np.empty((0, 2), np.float32)}
    tensors["turned"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    read = torch_file.read_state_dicts(torch_files.write(tmp_path / "any.pth", tensors))[""]
    assert list(read) == list(tensors)
    for name, x in tensors.items():
        np.testing.assert_array_equal(read[name], x)
        assert read[name].dtype == x.dtype


def test_numbers_that_are_not_the_cards_are_found_out(tmp_path, tiny):
    """One bit of a kernel, which leaves the file legal in every other way."""
    weights.save(tmp_path, tiny, weights.Card(width=TINY))
    file = tmp_path / "network.safetensors"
    assert weights.read_card(file).sha256 == weights.digest(tiny)
    damaged = bytearray(file.read_bytes())
    damaged[-2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match="its numbers are not those that its card was written for"):
        weights.load(file)


def test_a_card_that_was_read_may_be_written_with_other_numbers(tmp_path, tiny):
    weights.save(tmp_path / "a.safetensors", tiny, weights.Card(width=TINY))
    weights.save(tmp_path / "b.safetensors", network(seed=1), weights.read_card(tmp_path / "a.safetensors"))
    assert_same(weights.load(tmp_path / "b.safetensors"), network(seed=1))


def test_what_torchvision_has_no_name_for_is_refused(tmp_path, tiny):
    card, head = weights.Card(width=TINY), {"kernel": np.ones((8, 3), np.float32), "bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match="no names for a head of bias, kernel on vgg16: save without it"):
        weights.save(tmp_path / "a.safetensors", tiny, card, head=head, naming="torchvision")
    with pytest.raises(ValueError, match="naming of vgg16 must be 'dsr_jax' or 'torchvision', got 'Keras'"):
        weights.save(tmp_path / "a.safetensors", tiny, card, naming="Keras")
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_means_its_network(tmp_path, tiny):
    weights.save(tmp_path, tiny, weights.Card(width=TINY))
    assert_same(weights.load(tmp_path), tiny)
    assert_same(weights.load(str(tmp_path)), tiny)
    assert weights.load_head(tmp_path) == {}
    with safetensors.safe_open(tmp_path / "network.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["dsr_jax.card"])["width"] == TINY


def test_a_failed_save_leaves_the_old_file(tmp_path, tiny, monkeypatch):
    weights.save(tmp_path, tiny, weights.Card(width=TINY))

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        weights.save(tmp_path, network(seed=1), weights.Card(width=TINY))
    assert_same(weights.load(tmp_path), tiny)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.safetensors"]


def test_save_refuses_what_load_would(tmp_path, tiny):
    with pytest.raises(
        ValueError, match="not a VGG-16 of width 1 in dsr_jax names;\n  mis-shaped: block1_conv1.kernel"
    ):
        weights.save(tmp_path, tiny, weights.Card(width=1.0))
    with pytest.raises(ValueError, match="network.pth.*written as .safetensors"):
        weights.save(tmp_path / "network.pth", tiny, weights.Card(width=TINY))
    with pytest.raises(ValueError, match="head.kernel has 1 NaN"):
        weights.save(tmp_path, tiny, weights.Card(width=TINY), head={"kernel": np.array([np.nan, 0])})
    with pytest.raises(ValueError, match="missing: block3_conv2.kernel, block3_conv2.bias"):
        weights.save(tmp_path, {k: v for k, v in tiny.items() if k != "block3_conv2"}, weights.Card(width=TINY))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad", [{"architecture": "mobilenet"}, {"preprocessing": "RGB"}, {"output_stride": 8}, {"width": 0.0}]
)
def test_impossible_cards(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        weights.Card(**bad)


# What is refused


def test_everything_wrong_is_listed_at_once(tmp_path, tiny):
    arrays = keras_arrays(tiny)
    del arrays["block3_conv2/bias"], arrays["block1_conv1/bias"]
    arrays["block6_conv1/kernel"] = np.ones(3)
    arrays["block4_conv1/kernel"] = np.ones((3, 3, 4, 9), np.float32)
    arrays["block5_conv1/kernel"] = arrays["block5_conv1/kernel"].transpose(3, 2, 0, 1)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError) as error:
        weights.load(tmp_path / "bad.npz")
    assert str(error.value).split("\n  ")[1:] == [
        "missing: block1_conv1/bias, block3_conv2/bias",
        "unexpected: block6_conv1/kernel",
        "mis-shaped: block4_conv1/kernel (expected (3, 3, 4, 8), found (3, 3, 4, 9)), "
        "block5_conv1/kernel (expected (3, 3, 8, 8), found (8, 8, 3, 3))",
    ]
    assert "bad.npz" in str(error.value) and "Keras" in str(error.value)


def test_batch_normalised_vgg16_is_refused_in_its_own_names(tmp_path):
    arrays = vgg16_torch.arrays()
    arrays["features.1.running_mean"] = np.ones(1)
    safetensors.numpy.save_file(arrays, tmp_path / "bn.safetensors")
    with pytest.raises(ValueError, match=r"torchvision names;\n  unexpected: features.1.running_mean$"):
        weights.load(tmp_path / "bn.safetensors")


def test_another_network_is_refused(tmp_path):
    np.savez(tmp_path / "resnet.npz", **{f"layer{i}.conv.weight": np.ones(1) for i in range(50)})
    with pytest.raises(ValueError, match="no VGG-16.*found layer0.conv.weight, .* and 10 more"):
        weights.load(tmp_path / "resnet.npz")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(ValueError, match="found nothing"):
        weights.load(tmp_path / "empty.npz")


@pytest.mark.parametrize(("value", "message"), [(np.nan, "has 1 NaN or infinite values of 8"), (-np.inf, "has 1 NaN")])
def test_not_a_number_is_refused_by_name(tmp_path, tiny, value, message):
    arrays = keras_arrays(tiny)
    arrays["block5_conv2/bias"] = np.where(np.arange(8) == 3, np.float32(value), np.float32(0))
    np.savez(tmp_path / "nan.npz", **arrays)
    with pytest.raises(ValueError, match=f"nan.npz.*block5_conv2/bias {message}"):
        weights.load(tmp_path / "nan.npz")


def test_integers_are_refused(tmp_path, tiny):
    arrays = {name: x.astype(np.int8) for name, x in keras_arrays(tiny).items()}
    np.savez(tmp_path / "quantised.npz", **arrays)
    with pytest.raises(ValueError, match="block1_conv1/kernel has type int8"):
        weights.load(tmp_path / "quantised.npz")


@pytest.mark.usefixtures("keras")
def test_paths_that_are_no_weights(tmp_path):
    with pytest.raises(ValueError, match="nothing.npz' does not exist"):
        weights.load(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match=r"has no network.safetensors; it holds keras.npz\. Pass the workdir"):
        weights.load(tmp_path)


def test_a_card_that_cannot_be_read(tmp_path):
    arrays = {"block1_conv1.bias": np.ones(1, np.float32)}
    for text in ("{", "[]", '{"colour": "red"}'):
        safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", metadata={"dsr_jax.card": text})
        with pytest.raises(ValueError, match="x.safetensors' cannot be read"):
            weights.read_card(tmp_path / "x.safetensors")


@pytest.fixture(scope="module", params=["ours.safetensors", "keras.npz", "zip.pth", "legacy.pth"])
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("truncated") / request.param
    match request.param:
        case "ours.safetensors":
            weights.save(path, network(), weights.Card(width=TINY))
        case "keras.npz":
            np.savez(path, **keras_arrays(network()))
        case "zip.pth":
            shutil.copy(REFERENCE / "vgg16_tiny.pth", path)
        case "legacy.pth":
            shutil.copy(REFERENCE / "vgg16_tiny_legacy.pth", path)
    return path, path.read_bytes()


@hypothesis.given(st.data())
def test_a_truncated_file_is_an_error_wherever_it_ends(file, data):
    path, content = file
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=f"{path.name}' cannot be read"):
        weights.load(path)


# Code in a torch file


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def zip_file(payload: object, path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))


def legacy_file(payload: object, path) -> None:
    stream = io.BytesIO()
    for part in (torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True}, payload, []):
        pickle.dump(part, stream, protocol=2)
    path.write_bytes(stream.getvalue())


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize(
    "call", [(exec, "open('ran', 'w')"), (print, "ran"), (getattr, "", "join"), (OrderedDict.fromkeys,)]
)
def test_code_in_a_file_is_not_run(tmp_path, monkeypatch, capsys, write, call):
    monkeypatch.chdir(tmp_path)
    write({"features.0.weight": Runs(*call)}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth.*it names .*which is no tensor, so it was not read"):
        weights.load(tmp_path / "evil.pth")
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pth"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize("payload", [{}, [1, 2], 3, {"epoch": 4}, {"state_dict": {"a": 1}}])
def test_a_torch_file_without_tensors(tmp_path, write, payload):
    write(payload, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="no tensors.*save the weights alone"):
        weights.load(tmp_path / "none.pth")


def test_compressed_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="compressed"):
        weights.load(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (10**9,), (0,))],
)
def test_a_tensor_beyond_its_storage_is_refused(offset, size, stride):
    storage = torch_file._Storage("0", np.dtype(np.float32), 4)
    with pytest.raises(ValueError, match="in a storage of 4"):
        torch_file._array(torch_file._Tensor(storage, offset, size, stride), np.zeros(4, np.float32))


def test_naming_is_that_of_most_names():
    assert vgg16_names.naming(["block1_conv1/kernel"]) == "Keras"
    assert vgg16_names.naming(["block1_conv1.kernel", "head.kernel"]) == "dsr_jax"


# ResNet-50


STORED = {name: np.asarray(x) for name, x in resnet50_torch.arrays().items()}


@pytest.fixture
def resnet50() -> fcn.Params:
    return resnet50_names.to_params(STORED)


def test_resnet50_of_torchvision(tmp_path, resnet50):
    """The same from every format, with and without classifier and counters."""
    stripped = {name: x for name, x in STORED.items() if not name.startswith("fc.") and x.ndim}
    np.savez(tmp_path / "all.npz", **STORED)
    np.savez(tmp_path / "stripped.npz", **stripped)
    wrapped = {f"module.{name}": x for name, x in STORED.items()}
    safetensors.numpy.save_file(wrapped, tmp_path / "wrapped.safetensors")
    files = [
        REFERENCE / "resnet50_tiny.pth",
        *(tmp_path / n for n in ("all.npz", "stripped.npz", "wrapped.safetensors")),
    ]
    for file in files:
        assert_same(weights.load(file), resnet50)
        assert weights.read_card(file) == weights.Card("resnet50", width=TINY, preprocessing="torch")
    kernel = STORED["layer3.5.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(resnet50["block4f_conv2"]["kernel"], kernel)
    np.testing.assert_array_equal(resnet50["block2a_shortcut_norm"]["var"], STORED["layer1.0.downsample.1.running_var"])
    np.testing.assert_array_equal(resnet50["block1_norm"]["scale"], STORED["bn1.weight"])
    shapes = jax.eval_shape(functools.partial(resnet.init, width=TINY), jax.random.key(0))
    assert jax.tree.map(jnp.shape, resnet50) == jax.tree.map(jnp.shape, shapes)


def test_resnet50_of_ours_comes_back_bit_for_bit(tmp_path, resnet50):
    card = weights.Card("resnet50", TINY, 16, "torch", {"size": [256, 128]})
    head = {"kernel": np.ones((32, 3), np.float32), "bias": np.zeros(3, np.float32)}
    weights.save(tmp_path, resnet50, card, head=head)
    assert_same(weights.load(tmp_path), resnet50)
    assert weights.read_card(tmp_path) == card
    assert_same(weights.load_head(tmp_path, classes=3), head)
    with pytest.raises(ValueError, match=r"(?s)not a VGG-16.*missing: block1_conv1.kernel"):
        weights.save(tmp_path, resnet50, weights.Card("vgg16", TINY))


def test_files_written_before_cards_named_a_network(tmp_path, tiny):
    """A card without architecture is a VGG-16's."""
    arrays = {f"{layer}.{leaf}": np.asarray(x) for layer, leaves in tiny.items() for leaf, x in leaves.items()}
    card = json.dumps({"width": TINY, "output_stride": 16})
    safetensors.numpy.save_file(arrays, tmp_path / "old.safetensors", metadata={"dsr_jax.card": card})
    assert_same(weights.load(tmp_path / "old.safetensors"), tiny)
    assert weights.read_card(tmp_path / "old.safetensors") == weights.Card(width=TINY, output_stride=16)


def test_the_classifier_of_torchvision(tmp_path):
    head = weights.load_head(REFERENCE / "resnet50_tiny.pth")
    np.testing.assert_array_equal(head["kernel"], STORED["fc.weight"].T)
    np.testing.assert_array_equal(head["bias"], STORED["fc.bias"])
    with pytest.raises(ValueError, match="resnet50_tiny.pth.*its classifier has 5 classes, 751 are needed"):
        weights.load_head(REFERENCE / "resnet50_tiny.pth", classes=751)
    np.savez(tmp_path / "none.npz", **{k: x for k, x in STORED.items() if not k.startswith("fc.")})
    assert weights.load_head(tmp_path / "none.npz", classes=751) == {}
    renamed = {k.replace("fc.", "classifier."): x for k, x in STORED.items()}  # as re-identification code has it
    np.savez(tmp_path / "reid.npz", **renamed)
    assert_same(weights.load_head(tmp_path / "reid.npz", classes=5), head)
    assert_same(weights.load(tmp_path / "reid.npz"), weights.load(REFERENCE / "resnet50_tiny.pth"))
    assert weights.load_head(REFERENCE / "vgg16_tiny.pth") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": np.ones((5, 7), np.float32)}, r"fc.weight \(5, 7\).*do not fit: expected \(classes, 32\)"),
        ({"fc.bias": np.ones(4, np.float32)}, r"fc.bias \(4,\) do not fit"),
        ({"fc.weight": None}, "the classifier has no fc.weight"),
        ({"fc.bias": np.full(5, np.nan, np.float32)}, "fc.bias has 5 NaN"),
    ],
)
def test_a_broken_classifier_is_refused_and_the_network_is_not(tmp_path, resnet50, change, message):
    np.savez(tmp_path / "x.npz", **{k: x for k, x in {**STORED, **change}.items() if x is not None})
    with pytest.raises(ValueError, match=f"x.npz.*{message}"):
        weights.load_head(tmp_path / "x.npz")
    assert_same(weights.load(tmp_path / "x.npz"), resnet50)


def relatives() -> dict[str, tuple[dict[str, np.ndarray], str]]:
    """Other networks under torchvision's names, and what must be said of them."""
    basic = {}
    for layer, count in enumerate((2, 2, 2, 2), start=1):
        for unit in range(count):
            for number in (1, 2):
                basic[f"layer{layer}.{unit}.conv{number}.weight"] = np.ones((1, 1, 3, 3), np.float32)
    wide = {**STORED, "layer1.0.conv1.weight": np.ones((2, 1, 1, 1), np.float32)}
    no_statistics = {k: x for k, x in STORED.items() if "running" not in k}
    one_lacking = {k: x for k, x in STORED.items() if k != "layer2.1.bn2.running_var"}
    extra = {**STORED, "layer4.2.se.weight": np.ones(3, np.float32)}
    deep = resnet50_torch.arrays(units=(3, 4, 23, 3))
    return {
        "resnet18": ({"conv1.weight": np.ones((1, 3, 7, 7), np.float32), **basic}, "it seems to be a ResNet-18"),
        "resnet101": (deep, "it seems to be a ResNet-101\n  unexpected: layer3.6.conv1.weight"),
        "wide": (wide, "a Wide ResNet or a ResNeXt"),
        "no_statistics": (no_statistics, "batch-norm statistics are missing.*\n  missing: bn1.running_mean"),
        "one_lacking": (one_lacking, "batch-norm statistics are missing.*\n  missing: layer2.1.bn2.running_var$"),
        "extra": (extra, "torchvision names;\n  unexpected: layer4.2.se.weight$"),
    }


@pytest.mark.parametrize("name", relatives())
def test_relatives_of_resnet50_are_named(tmp_path, name):
    arrays, message = relatives()[name]
    np.savez(tmp_path / f"{name}.npz", **{key: np.asarray(x) for key, x in arrays.items()})
    with pytest.raises(ValueError, match=f"(?s){name}.npz.*not a ResNet-50 of width 0.015625.*{message}"):
        weights.load(tmp_path / f"{name}.npz")


def test_negative_variances_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", **{**STORED, "bn1.running_var": np.array([-0.5], np.float32)})
    with pytest.raises(ValueError, match="x.npz.*bn1.running_var holds negative variances, down to -0.5"):
        weights.load(tmp_path / "x.npz")


def test_a_json_file_that_is_no_card_is_named(beside):
    beside.with_name("a.pth.json").write_text('{"epochs": 3}')
    with pytest.raises(ValueError, match="a.pth.json', is none of ours .move it away"):
        weights.load(beside)
