"""An ensemble is its members, one behind another: maps, own vectors, files, runners; and what cannot be one."""

import inspect
import json
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from dsr_jax import ensemble, extract, fcn, networks, osnet, weights
from dsr_jax.layers.parameters import block_of
from experiments import ensemble as command
from experiments import evaluate, export, finetune, search

from . import test_osnet, test_resnet
from .runners import SMALL, call
from .test_networks import TINY

SHAPES = [(50, 33), (64, 64)]
SIZES = [(4, 2), (3, 2), (2, 1)]
SLOW = [("osnet_ain", 4), ("resnet50", 3)]


def trained(params, block, seed):
    """The network as after a training of the blocks from this one on."""
    rng = np.random.default_rng(seed)
    return {
        name: {k: x * (1 + 0.3 * rng.random(np.shape(x), np.float32)) for k, x in leaves.items()}
        if block_of(name) >= block
        else leaves
        for name, leaves in params.items()
    }


def family(name="vgg16", block=4, count=3):
    start = TINY[name]()
    return [trained(start, block, seed) for seed in range(count)]


def saved(folder, networks_, **card):
    """Files of networks, in VGG-16's size of the tests."""
    files = []
    for number, params in enumerate(networks_):
        files.append(folder / f"network{number}.safetensors")
        weights.save(files[-1], params, weights.Card(**{"width": 1 / 32, "output_stride": 16} | card))
    return files


def joined(*files):
    return [f"--{name}={file}" for name, file in zip(("first", "second", "third"), files, strict=False)]


@pytest.mark.parametrize(
    ("name", "block"),
    [("vgg16", 1), ("vgg16", 4), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)],
)
def test_its_map_is_the_maps_of_its_members(name, block):
    each = family(name, block)
    both, (images, sizes) = ensemble.of(each), test_resnet.batch(SHAPES, (64, 64))
    maps, map_sizes = jax.jit(networks.apply)(both, images, sizes)
    alone = [jax.jit(networks.apply)(one, images, sizes) for one in each]
    np.testing.assert_array_equal(map_sizes, alone[0][1])
    expected = np.concatenate([np.asarray(one) for one, _ in alone], axis=3)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert networks.architecture(both) == name and networks.channels(both) == maps.shape[3]
    assert ensemble.shared_blocks(both) == block - 1
    assert networks.map_size(both, (64, 64)) == maps.shape[1:3]


@pytest.mark.slow
def test_what_all_members_share_is_kept_once_and_run_once(monkeypatch):
    each = family("osnet_ain", 4)
    both = ensemble.of(each)
    folded = [osnet.fold(one) for one in each]
    own = [name for name in both if name.startswith("member")]
    assert {block_of(name) for name in own} == {4, 5} and len(own) == 3 * sum(block_of(n) in (4, 5) for n in folded[0])
    assert {"vector", "vector_norm", "block3_conv"} <= both.keys()
    for one, expected in zip(ensemble.members(both), folded, strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, one, expected))
    calls, apply = [], osnet.apply
    monkeypatch.setattr(osnet, "apply", lambda *args, **how: calls.append(how["blocks"]) or apply(*args, **how))
    jax.eval_shape(networks.apply, both, jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.float32))
    assert calls == [(1, 3), (4, 5), (4, 5), (4, 5)]


def test_its_input_is_that_of_its_members():
    """Without a convention the numbers of the first one tell, as those of a network alone do."""
    both, images = ensemble.of(family("vgg16", 1, 2)), [np.full((64, 32, 3), 90, np.uint8)]
    np.testing.assert_array_equal(
        extract.maps(both, images)[0][..., : networks.channels(both) // 2],
        extract.maps(ensemble.members(both)[0], images)[0],
    )


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_blocks_joined_again_are_the_whole(cut):
    both, (images, sizes) = ensemble.of(family(block=3, count=2)), test_resnet.batch(SHAPES, (64, 64))
    whole, _ = networks.apply(both, images, sizes, output_stride=16)
    first = networks.apply(both, images, sizes, output_stride=16, blocks=(1, cut))
    maps, _ = networks.apply(both, *first, output_stride=16, blocks=(cut + 1, 5))
    np.testing.assert_allclose(maps, whole, rtol=1e-5, atol=1e-6)


def test_the_cache_of_first_blocks_takes_it():
    both, images = ensemble.of(family(block=3, count=2)), [np.full((64, 32, 3), 90, np.uint8)]
    cache = extract.Prefix(3, limit=1 << 22)
    found = [extract.maps(both, images, output_stride=16, prefix=cache)[0] for _ in range(2)]
    np.testing.assert_allclose(found[0], extract.maps(both, images, output_stride=16)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(*found)
    assert cache.batches == 1


def test_cosines_of_its_own_vectors_are_the_means_of_its_members():
    start, rng = test_osnet.params("plain", folded=True), np.random.default_rng(0)
    flipped = {name: np.asarray(x)[..., ::-1] for name, x in start["vector"].items()}
    each = [start, trained(start, 5, 1) | {"vector": flipped}]
    maps = [[rng.standard_normal((*size, networks.channels(start)), np.float32) for size in SIZES] for _ in each]
    whole = [np.concatenate(both, axis=2) for both in zip(*maps, strict=True)]
    found = [networks.vectors(one, seen) for one, seen in zip(each, maps, strict=True)]
    found.append(networks.vectors(ensemble.of(each), whole))
    cosines = [vectors @ vectors.T for vectors in map(unit, found)]
    assert networks.has_vector(ensemble.of(each)) and abs(cosines[0] - cosines[1]).max() > 0.01
    np.testing.assert_allclose(cosines[2], (cosines[0] + cosines[1]) / 2, rtol=1e-4)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_ensemble_of_ensembles_is_one_of_all_members():
    each = family(count=4)
    nested, flat = ensemble.of([ensemble.of(each[:2]), *each[2:]]), ensemble.of(each)
    assert weights.digest(nested) == weights.digest(flat) and len(ensemble.members(flat)) == 4


@pytest.mark.parametrize("name", ["vgg16", "osnet_ain", "resnet50"])
def test_a_file_brings_it_back_bit_for_bit(tmp_path, name):
    width = 1 / 32 if name == "vgg16" else 1 / 64 if name == "resnet50" else test_osnet.WIDTH
    both, card = ensemble.of(family(name)), weights.Card(name, width, 16, "torch")
    weights.save(tmp_path / "both.safetensors", both, card)
    read = weights.read(tmp_path / "both.safetensors")
    assert read.card == card and read.remarks == ["an ensemble of 3 networks, which share 3 blocks"]
    assert read.params.keys() == both.keys() and weights.digest(read.params) == weights.digest(both)
    if name != "resnet50":
        naming = "torchvision" if name == "vgg16" else "torchreid"
        with pytest.raises(ValueError, match="naming must be 'dsr_jax' of an ensemble"):
            weights.save(tmp_path / "foreign.safetensors", both, card, naming=naming)
        assert [file.name for file in tmp_path.iterdir()] == ["both.safetensors"]


@pytest.mark.slow
def test_the_command_makes_one_that_every_runner_takes(people, tmp_path, capsys):
    files = saved(tmp_path, family(), extra={"size": [64, 32], "dataset": "folder", "flags": {"holdout": 2}})
    both, data = tmp_path / "both.safetensors", ("--dataset=folder", f"--data_dir={people}")
    assert call(command, *joined(*files), f"--out={both}") == 0
    assert (
        "3 networks of vgg16, width 0.03125: maps of 48 channels, 3 of 5 blocks are the same" in capsys.readouterr().out
    )
    read = weights.read(both)
    assert (
        read.card.extra["size"] == [64, 32] and [one["dataset"] for one in read.card.extra["members"]] == ["folder"] * 3
    )

    how = ("--methods=dsr_single", "--trials=1", "--partial=none", "--noprogress")
    assert call(evaluate, *data, f"--weights={both}", *how, f"--workdir={tmp_path / 'out'}") == 0
    assert "an ensemble of 3 networks" in capsys.readouterr().out

    folder = tmp_path / "gallery/gallery"
    picture = str(people.parent / "gallery/0_0.png")
    found = ("--noprogress", "--json", f"--gallery={folder}", "--k=3")
    assert (
        call(search, f"--pictures={people.parent / 'gallery'}", f"--probe={picture}", f"--weights={both}", *found) == 0
    )
    hits = json.loads(capsys.readouterr().out)["answers"][0]["hits"]
    assert hits[0]["name"] == "0_0.png" and hits[0]["distance"] < hits[1]["distance"]
    assert call(search, f"--weights={files[0]}", f"--probe={picture}", *found) == 1
    assert "has the maps of another network" in capsys.readouterr().err

    assert call(export, f"--weights={both}", f"--out={tmp_path / 'a.zip'}", "--serve_scales=1") == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert json.loads(archive.read("card.json"))["map_shape"] == [4, 2, 48]
        images = np.random.default_rng(0).integers(0, 255, (2, 64, 32, 3), np.uint8)
        extraction = jax.export.deserialize(bytearray(archive.read("extract")))
    maps, _ = extraction.call(images, np.full((2, 2), (64, 32), np.int32))
    expected = extract.maps(read.params, list(images), convention="caffe", output_stride=16)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_people_that_any_member_was_trained_on_are_refused(people, tmp_path, capsys):
    files = [
        saved(folder, [params], extra={"size": [64, 32], "dataset": "folder", "flags": {"holdout": count}})[0]
        for count, params in zip((2, 0), family(count=2), strict=True)
        for folder in [tmp_path / str(count)]
        if not folder.mkdir()
    ]
    assert call(command, *joined(*files), f"--out={tmp_path / 'both.safetensors'}") == 0
    data = ("--dataset=folder", f"--data_dir={people}", f"--weights={tmp_path / 'both.safetensors'}")
    held = ("--holdout=2", "--holdout_from=last", "--subset=heldout", f"--workdir={tmp_path / 'out'}")
    assert call(evaluate, *data, *held) == 1
    assert "which held out 0: give a network that held some out" in capsys.readouterr().err


def test_it_is_not_trained_nor_averaged(people, tmp_path, capsys):
    both = ensemble.of(family(count=2))
    weights.save(tmp_path / "both.safetensors", both, weights.Card(width=1 / 32, output_stride=16))
    data = ("--dataset=folder", f"--data_dir={people}", f"--weights={tmp_path / 'both.safetensors'}")
    assert call(finetune, *data, *SMALL, "--steps=1", "--batch_size=2", f"--workdir={tmp_path / 'out'}") == 1
    assert "are an ensemble of 2 networks: train each by itself" in capsys.readouterr().err
    with pytest.raises(ValueError, match="params are an ensemble's: train its members"):
        networks.train(both, jnp.zeros((1, 64, 32, 3)))
    with pytest.raises(ValueError, match="one and other must be single networks"):
        networks.average(both, both, 0.5)


def test_what_cannot_be_one():
    one, other = fcn.init(jax.random.key(0), width=1 / 32), fcn.init(jax.random.key(0), width=1 / 16)
    with pytest.raises(ValueError, match="networks must be two or more, got 1"):
        ensemble.of([one])
    with pytest.raises(ValueError, match=r"networks\[0\] and networks\[2\] have different layers 'block1_conv1'"):
        ensemble.of([one, trained(one, 5, 1), other])
    with pytest.raises(ValueError, match=r"networks\[0\], member 1 and networks\[1\] have different"):
        ensemble.of([ensemble.of(family(count=2)), other])
    with pytest.raises(ValueError, match="they must be of one architecture, form and width"):
        ensemble.of([test_osnet.params("plain"), test_osnet.params("ain")])
    with pytest.raises(ValueError, match="networks must be a sequence of two or more networks' parameters"):
        inspect.unwrap(ensemble.of)(one)  # as users have it, without the tests' checks of annotations
    with pytest.raises(ValueError, match="'conv1' is no layer of a network"):
        ensemble.of([{"conv1": {"kernel": np.ones(1)}}] * 2)


def test_a_network_twice_is_refused():
    start = test_osnet.params("plain")
    vector = {**start, "vector": {name: 2 * x for name, x in start["vector"].items()}}
    for again in (start, osnet.fold(start), vector):
        with pytest.raises(ValueError, match=r"networks\[0\] and networks\[2\] have the same maps: leave one of them"):
            ensemble.of([start, trained(start, 5, 1), again])
    both = ensemble.of([start, trained(start, 5, 1)])
    with pytest.raises(ValueError, match=r"networks\[0\], member 1 and networks\[1\] have the same maps"):
        ensemble.of([both, start])


def test_statistics_are_the_same_or_are_not():
    """A small variance tells beside large ones, whose rounding is larger than it."""
    start = TINY["resnet50"]()
    weak = {**start["block1_norm"], "var": np.asarray(start["block1_norm"]["var"]).copy()}
    weak["var"][0] = 1e-6
    weaker = weak | {"var": weak["var"] / np.float32([10] + [1] * (weak["var"].size - 1))}
    both = ensemble.of([start | {"block1_norm": weak}, trained(start | {"block1_norm": weaker}, 5, 1)])
    assert ensemble.shared_blocks(both) == 0


def test_names_that_begin_likewise_are_no_members(tmp_path):
    names = {f"{layer}/{leaf}": x for layer, leaves in TINY["vgg16"]().items() for leaf, x in leaves.items()}
    np.savez(tmp_path / "a.npz", **names, **{"membership/kernel": np.ones(2), "member0/kernel": np.ones(2)})
    with pytest.raises(ValueError, match="unexpected: membership/kernel, member0/kernel"):
        weights.load(tmp_path / "a.npz")
    saved(tmp_path, family(count=1))
    with safetensors.safe_open(tmp_path / "network0.safetensors", "numpy") as file:
        tensors = {f"module.{name}": file.get_tensor(name) for name in file.keys()}
        safetensors.numpy.save_file(tensors, tmp_path / "wrapped.safetensors", file.metadata())
    read = weights.read(tmp_path / "wrapped.safetensors")
    assert read.card.sha256 == weights.digest(read.params) and "without 'module'" in read.remarks[0]


def test_a_damaged_member_is_named(tmp_path):
    weights.save(tmp_path / "a.safetensors", ensemble.of(family()), weights.Card(width=1 / 32, output_stride=16))
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    tensors.pop("member2/block5_conv1.bias")
    safetensors.numpy.save_file(tensors, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ValueError, match=r"a.safetensors': member 2: .*\n *missing: block5_conv1.bias"):
        weights.read(tmp_path / "a.safetensors")


def test_its_card_says_what_theirs_say(tmp_path, capsys):
    """No size and no stride where no card has them; remarks on the members are shown."""
    for number, params in enumerate(family(count=2)):
        names = {f"{layer}/{leaf}": x for layer, leaves in params.items() for leaf, x in leaves.items()}
        np.savez(tmp_path / f"{number}.npz", **names)
    files = [tmp_path / f"{number}.npz" for number in range(2)]
    assert call(command, *joined(*files), f"--out={tmp_path / 'both.safetensors'}") == 0
    card = weights.read_card(tmp_path / "both.safetensors")
    assert card.output_stride is None and card.extra == {"members": [{}, {}]}
    said = capsys.readouterr().out
    assert all(f"{file}: its input is" in said for file in files)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ([{}, {"preprocessing": "torch"}], "the same preprocessing: .*0.safetensors has caffe, .*0.safetensors torch"),
        ([{}, {"output_stride": 32}], "the same output_stride"),
        (
            [{"extra": {"size": [64, 32]}}, {"extra": {"size": [96, 32]}}],
            r"the same size: .* has \[64, 32\], .* \[96, 32\]",
        ),
    ],
)
def test_networks_that_want_other_input_are_refused(tmp_path, capsys, cards, message):
    files = []
    for number, (card, params) in enumerate(zip(cards, family(count=2), strict=True)):
        (tmp_path / str(number)).mkdir()
        files += saved(tmp_path / str(number), [params], **card)
    assert call(command, *joined(*files), f"--out={tmp_path / 'both.safetensors'}") == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "both.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--first=NET0", "--out=a.safetensors"), "first and second are needed"),
        (
            (
                "--first=NET0",
                "--second=NET1",
            ),
            "out is missing: give --out=FILE.safetensors",
        ),
        (("--first=NET0", "--second=NET1", "--out=NET1"), "is one of the networks: give another --out"),
        (("--first=NET0", "--second=NET1", "--out=a.pth"), "written as .safetensors"),
        (
            ("--first=NET0", "--second=NET0", "--out=a.safetensors"),
            "networks[0] and networks[1] have the same maps",
        ),
        (("--first=NET0", "--second=nowhere", "--out=a.safetensors"), "'nowhere' does not exist"),
        (("--first=NET0", "--second=NET1", "--out=NET0/a.safetensors"), "give another --out=FILE.safetensors"),
    ],
)
def test_the_command_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    files = saved(tmp_path, family(count=2))
    monkeypatch.chdir(tmp_path)
    given = [text.replace("NET0", str(files[0])).replace("NET1", str(files[1])) for text in arguments]
    assert call(command, *given) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "a.safetensors").exists()
