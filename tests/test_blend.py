"""Blend: validated shares of a trained network, the best of which is written, and what cannot be blended."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

from dsr_jax import networks, weights
from experiments import blend
from experiments.evaluation import unseen

from .runners import PARAMS, SMALL, call


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Files of a network and of one that lost all but the first layers' signs: weights files."""
    folder = tmp_path_factory.mktemp("pair")
    card = weights.Card(width=1 / 32, output_stride=16)
    files = folder / "before.safetensors", folder / "after.safetensors"
    for file, params in zip(files, (PARAMS, jax.tree.map(lambda x: -np.asarray(x), PARAMS)), strict=True):
        weights.save(file, params, card)
    return files


def blended(people, pair, out, *arguments):
    places = f"--data_dir={people}", f"--weights={pair[0]}", f"--trained={pair[1]}", f"--workdir={out}"
    return call(blend, "--dataset=folder", *SMALL, *places, *arguments)


@pytest.mark.slow
def test_the_share_that_finds_most_of_the_held_out_people_is_written(people, pair, tmp_path, capsys):
    """At 0.5 the two networks cancel out to zeros, which no map could be compared by: it is not asked for."""
    assert blended(people, pair, tmp_path / "out", "--holdout=2", "--shares=0,0.2,1") == 0
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    best = max((0.0, 0.2, 1.0), key=lambda share: figures[f"share={share:g}/mAP"])
    assert figures["share"] == best and "share of the trained" in capsys.readouterr().out
    assert blended(people, pair, tmp_path / "out", "--holdout=2", "--shares=0,0.2,1") == 0
    assert "has finished" in capsys.readouterr().out
    written = weights.read(tmp_path / "out")
    expected = networks.average(PARAMS, jax.tree.map(lambda x: -x, PARAMS), best)
    assert written.card.extra["share_of_the_trained"] == best
    for name, leaves in expected.items():
        for leaf, x in leaves.items():
            np.testing.assert_allclose(written.params[name][leaf], x, rtol=1e-6)


def test_a_folder_belongs_to_what_is_in_the_trained_file(people, pair, tmp_path, capsys):
    """Wherever it lies: another network under the same name is another blend, the same one elsewhere is not."""
    trained, out = tmp_path / "trained.safetensors", tmp_path / "out"
    shutil.copy(pair[1], trained)
    how = ("--holdout=2", "--shares=0")
    assert blended(people, (pair[0], trained), out, *how) == 0
    shutil.move(trained, tmp_path / "moved.safetensors")
    assert blended(people, (pair[0], tmp_path / "moved.safetensors"), out, *how) == 0
    shutil.copy(pair[0], trained)
    assert blended(people, (pair[0], trained), out, *how) == 1
    assert "another configuration (--trained's content: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "holdout is 0"),
        (("--holdout=2", "--shares=2"), "shares"),
        (("--holdout=2", "--trained=nowhere"), "nowhere"),
        (("--holdout=2", "--distance=ridge"), "distance"),
    ],
)
def test_bad_input_writes_nothing(people, pair, tmp_path, capsys, arguments, message):
    assert blended(people, pair, tmp_path / "out", *arguments) == 1
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_the_average_has_had_the_trainings_of_both(people, pair, tmp_path):
    extra = {"dataset": "cuhk01", "flags": {"holdout": 0}}
    weights.save(tmp_path / "before.safetensors", PARAMS, weights.Card(width=1 / 32, output_stride=16, extra=extra))
    given = tmp_path / "before.safetensors", pair[1]
    assert blended(people, given, tmp_path / "out", "--holdout=2", "--shares=0") == 0
    assert unseen.trainings(weights.read_card(tmp_path / "out"))[1:] == [extra]


def test_people_of_the_training_choose_nothing(people, pair, tmp_path, capsys):
    card = weights.Card(width=1 / 32, output_stride=16, extra={"dataset": "folder", "flags": {"holdout": 1}})
    weights.save(tmp_path / "trained.safetensors", PARAMS, card)
    trained = pair[0], tmp_path / "trained.safetensors"
    assert blended(people, trained, tmp_path / "out", "--holdout=2") == 1
    assert (
        "of --trained, which held out 1: give --holdout=1 --holdout_from=last" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )
