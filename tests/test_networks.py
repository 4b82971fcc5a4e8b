"""Every network behind one function, in extraction and in the runners: the parameters say which it is."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dsr_jax import extract, fcn, losses, networks, osnet, resnet, weights
from dsr_jax.layers import modules
from dsr_jax.parallel import sharding
from experiments import finetune, pretrain
from experiments.settings.training import Update
from experiments.training import optimiser, steps

from . import memory, test_fcn, test_osnet, test_resnet
from .resnet_by_hand import ByHand
from .runners import SMALL, call, evaluated

TINY = {
    "vgg16": functools.partial(test_fcn.params, 1 / 32),
    "resnet50": functools.partial(test_resnet.params, 1 / 64),
    "osnet": functools.partial(test_osnet.params, "plain"),
    "osnet_ibn": functools.partial(test_osnet.params, "ibn", folded=True),
    "osnet_ain": functools.partial(test_osnet.params, "ain"),
}


@pytest.mark.parametrize("output_stride", [16, 32])
def test_each_is_run_as_itself(output_stride):
    images, sizes = test_resnet.batch([(50, 33), (64, 64)], (64, 64))
    shape = functools.partial(jax.eval_shape, functools.partial(networks.apply, output_stride=output_stride))
    own = {
        "vgg16": functools.partial(fcn.apply, output_stride=output_stride),
        "resnet50": functools.partial(resnet.apply, last_stride=output_stride // 16),
    }
    for name, params in TINY.items():
        assert networks.architecture(params()) == name
        if name.startswith("osnet") and output_stride == 32:
            with pytest.raises(ValueError, match=f"output_stride must be 16 for {name}, got 32"):
                shape(params(), images, sizes)
            continue
        maps, map_sizes = shape(params(), images, sizes)
        expected = jax.eval_shape(own.get(name, osnet.apply), params(), images, sizes)
        assert (maps.shape, map_sizes.shape) == (expected[0].shape, expected[1].shape)
        assert networks.channels(params()) == maps.shape[3]


@pytest.mark.slow
def test_training_moves_statistics_where_there_are_some():
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    for name, params in TINY.items():
        _, _, statistics = jax.eval_shape(networks.train, params(), images)
        assert statistics.keys() == resnet.split(params())[1].keys() - {"vector_norm"}, name
        assert networks.by_batch(params()) == bool(statistics) == (name in ("resnet50", "osnet", "osnet_ain"))


@pytest.mark.parametrize("blocks", [0, 2, 4, 5])
@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_split_divides_the_layers_between_two_blocks(name, blocks):
    params = TINY[name]()
    first, others = networks.split(params, blocks)
    assert [*first, *others] == list(params), "layers are in the order of computation"
    below = tuple(f"block{block}" for block in range(1, blocks + 1))
    assert all(layer.startswith(below) for layer in first) and not any(layer.startswith(below) for layer in others)


def test_an_own_vector_is_no_part_of_any_block():
    """It is kept beside the frozen blocks, even where there are none, so that no training touches it."""
    for blocks in (0, 3, 5):
        first, others = networks.split(TINY["osnet_ain"](), blocks)
        assert {"vector", "vector_norm"} <= first.keys() and not any(name.startswith("vector") for name in others)
        assert len(first) + len(others) == len(TINY["osnet_ain"]())


def test_own_vectors_of_maps_of_several_sizes():
    params = TINY["osnet_ain"]()
    maps = [
        np.random.default_rng(i).random((h, w, networks.channels(params))) for i, (h, w) in enumerate([(3, 2), (5, 4)])
    ]
    padded = np.zeros((2, 5, 4, networks.channels(params)), np.float32)
    for i, values in enumerate(maps):
        padded[i, : values.shape[0], : values.shape[1]] = values
    expected = osnet.vector(params, jnp.asarray(padded), jnp.array([[3, 2], [5, 4]]))
    np.testing.assert_allclose(networks.vectors(params, maps), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="params are those of vgg16"):
        networks.vectors(TINY["vgg16"](), maps)


def test_modules_of_one_kind_share_no_parameters():
    one, other = (modules.abstract(modules.convolution, 3, 2, (1, 1)) for _ in range(2))
    nnx.update(one, {"kernel": jnp.ones((1, 1, 3, 2)), "bias": jnp.zeros(2)})
    assert float(one(jnp.ones((1, 1, 1, 3))).max()) == 3
    assert isinstance(other.kernel.get_value(), jax.ShapeDtypeStruct)


def test_map_sizes_are_those_of_the_maps():
    for name in ("vgg16", "resnet50", "osnet"):  # the form of an OSNet changes no size
        params = TINY[name]
        for side in (32, 33, 47, 61):
            maps, _ = jax.eval_shape(networks.apply, params(), jax.ShapeDtypeStruct((1, side, 64, 3), jnp.float32))
            assert networks.map_size(params(), (side, 64)) == maps.shape[1:3], name


def test_random_parameters_by_name():
    for name in networks.INIT:
        shapes = jax.eval_shape(functools.partial(networks.init, name, width=0.1), jax.random.key(0))
        assert networks.architecture(shapes) == name
    with pytest.raises(ValueError, match="architecture must be one of vgg16, resnet50, osnet, .*got 'mobilenet'"):
        networks.init("mobilenet", jax.random.key(0))


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="params must be those of fcn, resnet or osnet.*got layers conv1"):
        networks.apply({"conv1": {}}, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="output_stride must be 16 or 32 for resnet50, got 8"):
        networks.apply(TINY["resnet50"](), jnp.zeros((1, 32, 32, 3)), output_stride=8)


@pytest.mark.slow
def test_extracted_maps_of_a_resnet_are_those_of_each_image_alone():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 33), (64, 32), (33, 64))]
    found = extract.maps(TINY["resnet50"](), images, convention="torch", batch_size=2, max_buckets=1)
    exact = ByHand(TINY["resnet50"]()).maps([np.asarray(fcn.preprocess(image, "torch")) for image in images])
    for own, expected in zip(found, exact, strict=True):
        assert own.shape == expected.shape and test_fcn.relative(own, expected) <= 1e-4
    with pytest.raises(ValueError, match=r"images\[0\] of 31 x 40 pixels is smaller.*32 x 32"):
        extract.maps(TINY["resnet50"](), [np.zeros((31, 40, 3), np.uint8)])


TRAINED = ("--dataset=folder", *SMALL, "--checkpoint_every=1", "--plot_every=1")


@pytest.fixture(scope="module")
def pretraining(people, tmp_path_factory):
    """Flags of a pre-training of a ResNet, and its workdir."""
    new = ("--architecture=resnet50", "--width=0.03125", "--pretrain_steps=3", "--pretrain_batch_size=4")
    flags, workdir = (*TRAINED, f"--data_dir={people}", *new), tmp_path_factory.mktemp("runs") / "whole"
    assert call(pretrain, *flags, f"--workdir={workdir}") == 0
    memory.release()  # large programs, beside those of what follows
    return flags, workdir


@pytest.mark.slow
def test_a_resnet_is_trained_from_nothing_fine_tuned_and_evaluated(pretraining, people, tmp_path):
    """Running statistics move, are kept with the network, and those of frozen blocks stay."""
    _, first = pretraining
    assert weights.read_card(first).architecture == "resnet50" and weights.read_card(first).preprocessing == "torch"
    before = weights.load(first)
    assert all(
        np.any(before[name]["mean"] != 0) and np.any(before[name]["var"] != 1) for name in before if "norm" in name
    )
    tuned = ("--steps=2", "--positives=4", "--negatives=4", "--batch_size=4", "--frozen_blocks=4", "--frozen_views=1")
    compared = ("--trials=1", "--partial=none", "--methods=global_average,dsr_single")
    common = (*TRAINED, f"--data_dir={people}", f"--weights={first}", f"--workdir={tmp_path}")
    assert call(finetune, *common, *tuned, *compared) == 0
    after = weights.load(tmp_path)
    for name, layer in after.items():
        moved = [not np.array_equal(layer[leaf], before[name][leaf]) for leaf in layer]
        assert all(moved) if int(name[5]) > 4 else not any(moved), name
    assert "after/dsr_single/shots1/rank1" in json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.slow
def test_a_stopped_training_of_a_resnet_ends_as_if_it_had_not_been(pretraining, tmp_path):
    """Statistics are in the checkpoint: bit for bit the same network."""
    flags, whole = pretraining
    stopped = tmp_path / "stopped"
    shutil.copytree(whole, stopped)
    for file in ("network.safetensors", "metrics.json"):
        (stopped / file).unlink()
    shutil.rmtree(stopped / "checkpoints" / "identification" / "3")
    assert call(pretrain, *flags, f"--workdir={stopped}") == 0
    first, second = weights.load(whole), weights.load(stopped)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
def test_devices_share_the_statistics_of_a_batch():
    """Losses and statistics of one device, where the last of three has stand-ins too.

    The gradient of normalisations over so few positions is not known better than to a thousandth.
    """
    params = resnet.init(jax.random.key(0), width=1 / 32)
    rng, mesh = np.random.default_rng(0), sharding.mesh(jax.devices()[:3])
    rule = optimiser.build("sgd", 1e-2, Update("constant", 0.0), count=20).transform
    trunk = steps.Trunk(16, 1, 4, "torch")
    head = losses.init_head(jax.random.key(1), width=networks.channels(params), identities=4)
    step = functools.partial(steps.identification_step, optimiser=rule, trunk=trunk, smoothing=0.1)
    ways = [jax.jit(step), jax.jit(functools.partial(step, mesh=mesh), out_shardings=sharding.everywhere(mesh))]
    frozen = {name: layer for name, layer in params.items() if int(name[5]) <= 4}
    states = [steps.init(params, head, rule, frozen_blocks=4) for _ in ways]
    for _ in range(2):
        batch = {
            "inputs": rng.integers(0, 256, (7, 64, 32, 3), np.uint8),
            "sizes": np.array([[64, 32]] * 4 + [[48, 32]] * 3, np.int32),
            "identities": rng.integers(0, 4, 7).astype(np.int32),
        }
        with jax.numpy_dtype_promotion("standard"):
            found = [
                ways[0](states[0], frozen, batch),
                ways[1](*sharding.replicated((states[1], frozen), mesh), sharding.spread(batch, mesh)),
            ]
        states = [state for state, _ in found]
        for name, value in found[0][1].items():
            np.testing.assert_allclose(found[1][1][name], value, rtol=1e-2, err_msg=name)
        np.testing.assert_allclose(found[1][1]["loss"], found[0][1]["loss"], rtol=1e-5)
    for one, other in zip(jax.tree.leaves(states[0].statistics), jax.tree.leaves(states[1].statistics), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert states[0].statistics and all(int(name[5]) == 5 for name in states[0].statistics)


@pytest.mark.slow
def test_an_evaluation_takes_a_resnet(people, tmp_path):
    """At a size of which no whole number of cells covers the probes, whose last cells the page then draws beyond."""
    weights.save(tmp_path, TINY["resnet50"](), weights.Card("resnet50", 1 / 64, 16, "torch"))
    found = evaluated(people, tmp_path, tmp_path / "out", "--methods=dsr_multi", "--reconstructions=1")
    assert 0 <= found["dsr_multi/shots1/rank1"] <= 100
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "reconstruction" in text and "Ranked lists" in text


def test_a_network_between_two_is_their_average():
    """An OSNet with normalisations and one without; the ends are the two networks themselves."""
    one, other = test_osnet.params("plain"), test_osnet.params("plain", folded=True)
    moved = jax.tree.map(lambda x: x + 1, other)
    for share in (0.0, 0.25, 1.0):
        found = networks.average(one, moved, share)
        assert found.keys() == moved.keys()
        for name, leaves in found.items():
            for leaf, x in leaves.items():
                np.testing.assert_allclose(x, other[name][leaf] + share, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "other, share, message",
    [
        ("osnet", 1.5, "share must be a number in"),
        ("vgg16", 0.5, "one architecture, got osnet and vgg16"),
        ("wider", 0.5, "different layers 'block1_conv'"),
    ],
)
def test_networks_that_have_no_average_are_an_error(other, share, message):
    others = TINY | {"wider": lambda: test_osnet.params(width=1 / 8)}
    with pytest.raises(ValueError, match=message):
        networks.average(TINY["osnet"](), others[other](), share)
