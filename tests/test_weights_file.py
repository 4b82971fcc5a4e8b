"""Weights files by their content: whatever they are called, under whatever key and prefix; what is none is named."""

import shutil
import tarfile
import zipfile

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy

from dsr_jax import weights
from dsr_jax.formats import named_arrays, prefixes, resnet50_names, torch_file, weights_file

from . import quick, torch_files
from .reference import resnet50_torch
from .test_weights import REFERENCE, TINY, assert_same, keras_arrays, network, zip_file

STORED = {name: np.asarray(x) for name, x in resnet50_torch.arrays().items()}
WITHOUT_FC = {name: x for name, x in STORED.items() if not name.startswith("fc.")}
EXPECTED = resnet50_names.to_params(STORED)
WIDTH = STORED["fc.weight"].shape[1]


def floats(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.astype(np.float32) for name, x in tensors.items() if x.size > 1 or "running" in name or x.ndim}


def contents(folder) -> dict[str, bytes]:
    """A network in every format."""
    np.savez(folder / "x", **keras_arrays(network()))
    safetensors.numpy.save_file(keras_arrays(network()), folder / "y")
    return {
        "npz": (folder / "x.npz").read_bytes(),
        "safetensors": (folder / "y").read_bytes(),
        "zip": torch_files.write(folder / "z", keras_arrays(network())).read_bytes(),
        "legacy": (REFERENCE / "vgg16_tiny_legacy.pth").read_bytes(),
    }


@pytest.mark.parametrize(
    "name",
    quick.only(["n", "n.h5"], ["n", "n.h5", "n.pth.tar", "n.pth.tar-60", "n.bin", "N.PTH", "n.ckpt", "n.pt", "n.npz"]),
)
def test_the_content_says_what_a_file_is_not_its_name(tmp_path, name):
    for kind, content in contents(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        found = weights.load(tmp_path / name)
        if kind != "legacy":
            assert_same(found, network())
        assert found["block1_conv1"]["kernel"].shape == (3, 3, 3, 1), kind


def hdf5(path) -> None:
    with h5py.File(path, "w") as file:
        file["block1_conv1/kernel"] = np.ones(3)


def tar(path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("tensors"))


def torchscript(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"network/{name}", b"")


def zipped(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 102530333\n"
FOREIGN = {
    "lfs": (LFS, "a Git LFS pointer, not the file itself: fetch that by 'git lfs pull'"),
    "html": (
        b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan",
        "a web page, not a network .*<!DOCTYPE html>",
    ),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML, not a network .*AccessDenied|XML"),
    "json": (b'{"message": "Not found"}', "JSON, not a network .*Not found"),
    "long json": (b'{"a": [' + b"1, " * 1000 + b"1]}", "JSON, not a network"),
    "text": ("Zugriff verweigert: é\n".encode() * 50, "text, not a network: 'Zugriff verweigert"),
    "byte order mark": ("﻿<html>".encode(), "a web page"),
    "empty": (b"", "empty: copy or download it again"),
    "noise": (bytes(range(200, 256)) * 20, "of no known format, or damaged"),
    "zeros": (bytes(10_000), "of no known format, or damaged"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip: unpack it"),
    "npy": (b"\x93NUMPY\x01\0", "a single array of NumPy's: save all of them by name"),
    "hdf5": (hdf5, "an HDF5 file of Keras: save its arrays by numpy.savez"),
    "tar": (tar, "a tar archive: unpack it"),
    "zip": (
        zipped,
        "a zip archive of readme.txt; NumPy's .npz, safetensors, a torch state dict and an ONNX model are read",
    ),
    "torchscript": (
        torchscript,
        r"a TorchScript archive.*torch.save\(torch.jit.load\(path\).state_dict\(\), other_path\)",
    ),
    "cut off": (b"PK\x03\x04" + bytes(100), "a zip archive .* that is cut off: copy or download it again"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ""])
def test_what_is_no_weights_file_is_named(tmp_path, name, suffix):
    made, message = FOREIGN[name]
    path = tmp_path / f"network{suffix}"
    if callable(made):
        made(path)
    else:
        path.write_bytes(made)
    with pytest.raises(ValueError, match=f"weights file '.*network{suffix}' cannot be read.*{message}"):
        weights.load(path)


@pytest.mark.parametrize(
    "prefix",
    ["base.", "backbone.", "model.", "module.", "_orig_mod.", "network.", "module.model.backbone.", "a.b.c.d."],
)
@pytest.mark.parametrize("save", ["npz", "safetensors", "pth"])
def test_a_prefix_of_all_names_is_taken_off_and_said(tmp_path, prefix, save):
    arrays = {prefix + name: x for name, x in STORED.items() if not name.startswith("fc.")}
    arrays |= {"classifier.weight": np.ones((7, WIDTH), np.float32)}  # stands beside, as training code has it
    path = tmp_path / f"x.{save}"
    if save == "npz":
        np.savez(path, **arrays)
    elif save == "safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        torch_files.write(path, arrays)
    read = weights.read(path)
    assert_same(read.params, EXPECTED)
    said = " ".join(read.remarks)
    assert "classifier.weight (7, 32)" in said
    for part in prefix.split("."):
        assert part in said
    assert weights.load_head(path)["kernel"].shape == (WIDTH, 7)


def test_wrappers_inside_names_are_taken_out(tmp_path):
    """As torch.compile and activation checkpoints of single layers put them there."""
    arrays = {
        name.replace("layer3.", "layer3._orig_mod.").replace("conv2", "module.conv2"): x for name, x in STORED.items()
    }
    np.savez(tmp_path / "x.npz", **arrays)
    read = weights.read(tmp_path / "x.npz")
    assert_same(read.params, EXPECTED)
    assert "without '_orig_mod' and 'module', which wrappers of torch add" in read.remarks[0]


def test_a_prefix_of_keras_names(tmp_path):
    np.savez(tmp_path / "x.npz", **{f"vgg16/{name}": x for name, x in keras_arrays(network()).items()})
    assert_same(weights.load(tmp_path / "x.npz"), network())


def test_two_networks_in_a_file_are_named(tmp_path):
    both = {f"{owner}.{name}": x for owner in ("student", "teacher") for name, x in STORED.items()}
    np.savez(tmp_path / "x.npz", **both)
    with pytest.raises(
        ValueError, match="2 networks, in names that begin with 'student.' and .*'teacher.': save the one"
    ):
        weights.load(tmp_path / "x.npz")
    torch_files.write(tmp_path / "x.pth", {"model": floats(STORED), "ema": floats(STORED)})
    with pytest.raises(ValueError, match="2 networks, under the key 'model' and under the key 'ema': save the one"):
        weights.load(tmp_path / "x.pth")


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "params", "ema"])
@pytest.mark.parametrize("deep", [False, True])
def test_the_key_that_holds_the_network_is_found_and_said(tmp_path, key, deep):
    inner = {f"module.base.{name}": x for name, x in floats(STORED).items()}
    optimizer = {"state": {0: {"exp_avg": np.ones((2, 2), np.float32)}}, "param_groups": [{"lr": 0.1}]}
    wrapped = {key: {"weights": inner} if deep else inner, "epoch": 3, "optimizer": optimizer}
    wrapped["criterion"] = {"centers": np.ones((4, 3), np.float32)}
    torch_files.write(tmp_path / "x.pth.tar", wrapped)
    read = weights.read(tmp_path / "x.pth.tar")
    assert_same(read.params, EXPECTED)
    place = f"{key}.weights" if deep else key
    assert read.remarks[0] == f"the network is the one under its key '{place}'" and "'base.'" in " ".join(read.remarks)


def test_a_score_of_numpy_beside_the_network_is_no_matter(tmp_path):
    """torchreid keeps rank-1 as a NumPy number in its checkpoints."""
    torch_files.write(tmp_path / "x.pth.tar-60", {"state_dict": floats(STORED), "rank1": np.float64(0.5)})
    assert_same(weights.load(tmp_path / "x.pth.tar-60"), EXPECTED)


def test_keys_without_tensors_are_listed(tmp_path):
    zip_file({"epoch": 4, "lr": 0.1}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds no tensors by name but a dict of epoch, lr; save the weights alone"):
        weights.load(tmp_path / "x.pth")
    looped: dict = {}
    looped["self"] = looped
    zip_file(looped, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="no tensors"):
        weights.load(tmp_path / "x.pth")


def test_several_state_dicts_are_read_by_their_keys(tmp_path):
    torch_files.write(tmp_path / "x.pth", {"a": {"x": np.ones((2, 3))}, "b": {"c": {"y": np.zeros(4)}}})
    read = torch_file.read_state_dicts(tmp_path / "x.pth")
    assert {key: {name: x.shape for name, x in group.items()} for key, group in read.items()} == {
        "a": {"x": (2, 3)},
        "b.c": {"y": (4,)},
    }


HEADS = {
    "torchreid": ({"classifier.weight": (751, WIDTH), "classifier.bias": (751,)}, True),
    "no bias": ({"classifier.weight": (751, WIDTH)}, True),
    "fc without bias": ({"fc.weight": (751, WIDTH)}, True),
    "fast-reid": ({"heads.weight": (751, WIDTH)}, True),
    "fast-reid, old": ({"heads.classifier.weight": (751, WIDTH)}, True),
    "timm": ({"head.weight": (751, WIDTH)}, True),
    "strong baseline": ({"classifier.weight": (751, WIDTH), "bottleneck.running_mean": (WIDTH,)}, False),
    "fast-reid's neck": (
        {"heads.weight": (751, WIDTH), "heads.bottleneck.0.bias": (WIDTH,), "heads.pool_layer.p": (1,)},
        False,
    ),
    "bnneck": ({"classifier.weight": (751, WIDTH), "bnneck.bias": (WIDTH,), "global_pool.p": (1,)}, False),
    "embedding": ({"fc.0.weight": (512, WIDTH), "fc.1.running_var": (512,), "classifier.weight": (751, 512)}, False),
    "parts": ({"classifier_1.weight": (751, 256), "bottleneck_1.weight": (256,)}, False),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_stands_behind_the_maps_is_left_out_by_name(tmp_path, name):
    shapes, usable = HEADS[name]
    beside = {key: np.full(shape, 0.5, np.float32) for key, shape in shapes.items()}
    np.savez(tmp_path / "x.npz", **WITHOUT_FC, **beside)
    read = weights.read(tmp_path / "x.npz")
    assert_same(read.params, EXPECTED)
    for key in shapes:
        assert key.split(".")[0] in read.remarks[0] and read.remarks[0].startswith(
            "left out, as no part of the network:"
        )
    head = weights.load_head(tmp_path / "x.npz", classes=751)
    assert (head != {}) == usable
    if usable:
        assert head["kernel"].shape == (WIDTH, 751)
        np.testing.assert_array_equal(head["bias"], 0.5 if any(key.endswith("bias") for key in shapes) else 0)


def test_vgg16_has_the_same_heads(tmp_path):
    arrays = {f"base.{name}": x for name, x in torch_file.read_state_dicts(REFERENCE / "vgg16_tiny.pth")[""].items()}
    beside = {"bottleneck.weight": np.ones(8, np.float32), "heads.weight": np.ones((5, 8), np.float32)}
    np.savez(tmp_path / "x.npz", **arrays, **beside)
    assert_same(weights.load(tmp_path / "x.npz"), weights.load(REFERENCE / "vgg16_tiny.pth"))


@pytest.mark.parametrize(
    "name", ["layer4.2.se.weight", "layer3.0.bn1.IN.weight", "NL_2.0.g.weight", "bottleneck", "layer5.0.conv1.weight"]
)
def test_what_is_inside_a_network_is_not_left_out(tmp_path, name):
    np.savez(tmp_path / "x.npz", **STORED, **{name: np.ones(3, np.float32)})
    with pytest.raises(ValueError, match=f"unexpected: {name}"):
        weights.load(tmp_path / "x.npz")


def test_names_that_would_become_one_are_an_error():
    with pytest.raises(ValueError, match="module.a and a would both be a"):
        prefixes.unwrapped({"module.a": np.ones(1), "a": np.ones(1)})
    with pytest.raises(ValueError, match="base.a and a would both be a"):
        prefixes.without({"base.a": np.ones(1), "a": np.ones(1)}, "base.")


def test_few_known_names_are_no_network():
    assert prefixes.find({"": ["encoder.conv1.weight", "decoder.conv1.weight"]}) == prefixes.Place("", "")


def test_our_own_files_say_nothing(tmp_path):
    weights.save(tmp_path, network(), weights.Card(width=TINY))
    assert weights.read(tmp_path).remarks == []
    assert weights_file.read(tmp_path / "network.safetensors").card == weights.Card(width=TINY)


def test_the_checksum_of_a_file_is_that_of_its_content(tmp_path):
    weights.save(tmp_path / "a.safetensors", network(), weights.Card(width=TINY))
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "network.safetensors")
    (tmp_path / "link").symlink_to("a.safetensors")
    assert len({weights.checksum(tmp_path / name) for name in ("a.safetensors", "link", ".")}) == 1
    weights.save(tmp_path / "a.safetensors", network(seed=1), weights.Card(width=TINY))
    assert weights.checksum(tmp_path / "a.safetensors") != weights.checksum(tmp_path)


@pytest.mark.parametrize("arrays", [STORED, {k: x for k, x in STORED.items() if k != "fc.weight"}])
def test_read_returns_at_once_what_the_other_functions_read(tmp_path, monkeypatch, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    expected = (
        weights.load(tmp_path / "x.npz"),
        weights.read_card(tmp_path / "x.npz"),
        weights.checksum(tmp_path / "x.npz"),
    )
    read = weights.read(tmp_path / "x.npz")
    monkeypatch.setattr("dsr_jax.formats.weights_file.read", None)  # from here on nothing is read again
    assert_same(read.params, expected[0])
    assert (read.card, read.checksum) == expected[1:]
    params, card, remarks = read
    assert params is read.params and card is read.card and remarks is read.remarks
    if "fc.weight" in arrays:
        np.testing.assert_array_equal(read.head(classes=5)["kernel"], arrays["fc.weight"].T)
    else:
        with pytest.raises(ValueError, match="x.npz.*the classifier has no fc.weight"):
            read.head()


def test_left_out_counts_arrays_of_a_module():
    found = named_arrays.left_out(jax.tree.map(np.asarray, STORED))
    assert found == ["fc (2 arrays)"]
