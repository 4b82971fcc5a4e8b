"""Either network behind one function, in extraction and in the runners: the parameters say which it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import extract, fcn, networks, resnet, weights
from experiments import pretrain

from . import test_fcn, test_resnet
from .resnet_by_hand import ByHand
from .runners import call, evaluated

TINY = {"vgg16": functools.partial(test_fcn.params, 1 / 32), "resnet50": functools.partial(test_resnet.params, 1 / 64)}


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
        maps, map_sizes = shape(params(), images, sizes)
        expected = jax.eval_shape(own[name], params(), images, sizes)
        assert (maps.shape, map_sizes.shape) == (expected[0].shape, expected[1].shape)
        assert networks.channels(params()) == maps.shape[3]


def test_training_moves_statistics_where_there_are_some():
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    _, _, statistics = jax.eval_shape(networks.train, TINY["vgg16"](), images)
    assert statistics == {}
    _, _, statistics = jax.eval_shape(networks.train, TINY["resnet50"](), images)
    assert statistics.keys() == resnet.split(TINY["resnet50"]())[1].keys()


def test_random_parameters_by_name():
    for name in networks.INIT:
        shapes = jax.eval_shape(functools.partial(networks.init, name, width=0.1), jax.random.key(0))
        assert networks.architecture(shapes) == name
    with pytest.raises(ValueError, match="architecture must be one of vgg16, resnet50, got 'osnet'"):
        networks.init("osnet", jax.random.key(0))


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="params must be those of fcn or resnet.*got layers conv1"):
        networks.apply({"conv1": {}}, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="output_stride must be 16 or 32, got 8"):
        networks.apply(TINY["resnet50"](), jnp.zeros((1, 32, 32, 3)), output_stride=8)


def test_extracted_maps_of_a_resnet_are_those_of_each_image_alone():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 33), (64, 32), (33, 64))]
    found = extract.maps(TINY["resnet50"](), images, convention="torch", batch_size=2, max_buckets=1)
    exact = ByHand(TINY["resnet50"]()).maps([np.asarray(fcn.preprocess(image, "torch")) for image in images])
    for own, expected in zip(found, exact, strict=True):
        assert own.shape == expected.shape and test_fcn.relative(own, expected) <= 1e-4
    with pytest.raises(ValueError, match=r"images\[0\] of 31 x 40 pixels is smaller.*32 x 32"):
        extract.maps(TINY["resnet50"](), [np.zeros((31, 40, 3), np.uint8)])


def test_training_says_that_it_is_for_the_other_network(people, tmp_path, capsys):
    weights.save(tmp_path, TINY["resnet50"](), weights.Card("resnet50", 1 / 64, 16, "torch"))
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={tmp_path}", f"--workdir={tmp_path / 'out'}")
    assert call(pretrain, *common, "--noprogress") == 1
    assert "are a resnet50's: pretrain and finetune train the VGG-16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_evaluation_takes_a_resnet(people, tmp_path):
    """At a size of which no whole number of cells covers the probes, whose last cells the page then draws beyond."""
    weights.save(tmp_path, TINY["resnet50"](), weights.Card("resnet50", 1 / 64, 16, "torch"))
    found = evaluated(people, tmp_path, tmp_path / "out", "--methods=dsr_multi", "--reconstructions=1")
    assert 0 <= found["dsr_multi/shots1/rank1"] <= 100
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "reconstruction" in text and "Ranked lists" in text
