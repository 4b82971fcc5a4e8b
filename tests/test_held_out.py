"""Held-out people: spread over the labels or the last ones, and never those that a network was trained on."""

import jax
import numpy as np
import pytest

from dsr_jax import fcn, weights
from dsr_jax.evaluation import labels
from experiments import evaluate, finetune
from experiments.evaluation import unseen
from experiments.settings import former
from tests.runners import call

SHORT = ("--plot_every=0", "--noprogress", "--noevaluate", "--steps=1", "--batch_size=2")


@pytest.mark.parametrize("people, count", [(767, 100), (767, 300), (4, 2), (7, 3), (100, 7)])
def test_spread_people_are_as_far_apart_as_can_be(people, count):
    found = labels.held_out(np.repeat(np.arange(people), 3), count)
    gaps = np.diff(np.concatenate([found, found[:1] + people]))
    assert len(set(found.tolist())) == count and gaps.max() - gaps.min() <= 1
    assert abs(found[0] - (people - 1 - found[-1])) <= 1  # as far from the first as from the last


@pytest.mark.parametrize("people, count", [(5, 5), (7, 0), (3, 1)])
def test_all_people_nobody_and_the_one_in_the_middle(people, count):
    found = labels.held_out(np.arange(people), count).tolist()
    assert found == {5: [0, 1, 2, 3, 4], 7: [], 3: [1]}[people]


def test_held_out_people_who_are_not_searched_are_an_error(people, networks, tmp_path, capsys):
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={networks / 'nobody'}.safetensors")
    assert call(evaluate, *common, "--holdout=2", f"--workdir={tmp_path / 'out'}") == 1
    assert "holdout=2 has no effect where test people are searched" in capsys.readouterr().err


def test_cameras_that_come_one_after_the_other_give_their_shares():
    found = labels.held_out(np.arange(1000), 100)
    assert np.histogram(found, bins=[0, 500, 800, 1000])[0].tolist() == [50, 30, 20]


@pytest.mark.parametrize(
    "count, which, message", [(4, "spread", "count must be 0 to 3"), (1, "first", "which must be")]
)
def test_other_choices_are_errors(count, which, message):
    with pytest.raises(ValueError, match=message):
        labels.held_out([1, 2, 3, -1], count, which=which)


def test_configurations_without_the_flag_held_out_the_last_ones():
    now = {"holdout": 3, "holdout_from": "spread"}
    assert former.translated({"holdout": 3}, now, {"holdout_from": "spread"})["holdout_from"] == "last"
    assert former.translated({"holdout": 0}, now, {"holdout_from": "spread"})["holdout_from"] == "spread"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Files of networks whose cards say who was held out, by name."""
    folder, params = tmp_path_factory.mktemp("networks"), fcn.init(jax.random.key(0), width=1 / 32)
    flags = {
        "former": {"holdout": 1},
        "spread": {"holdout": 2, "holdout_from": "spread"},
        "nobody": {},
        "other": {"data": "x"},
        "twice": {"holdout": 1, "holdout_from": "last"},
    }
    for name, held in flags.items():
        extra = {"dataset": "folder", "flags": held, "size": [64, 32]}
        if name == "twice":  # on other data last
            extra = extra | {"dataset": "cuhk01", "earlier": [{"dataset": "folder", "flags": held}]}
        weights.save(folder / f"{name}.safetensors", params, weights.Card(width=1 / 32, output_stride=16, extra=extra))
    return folder


@pytest.mark.parametrize(
    "name, flags, message",
    [
        ("former", ("--holdout=1",), "1 were in the training of --weights, which held out 1: give --holdout=1 "),
        ("former", ("--holdout=2", "--holdout_from=last"), "1 were in the training"),
        ("spread", ("--holdout=2", "--holdout_from=last"), "give --holdout=2 --holdout_from=spread"),
        ("twice", ("--holdout=2",), "of whom 1 were in the training of --weights, which held out 1: give --holdout=1 "),
        ("nobody", ("--holdout=2",), "which held out 0: give a network that held some out"),
    ],
)
def test_people_that_a_network_was_trained_on_are_refused(people, networks, tmp_path, capsys, name, flags, message):
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={networks / name}.safetensors", *flags)
    workdir = tmp_path / "out"
    assert call(evaluate, *common, "--subset=heldout", f"--workdir={workdir}") == 1
    assert message in capsys.readouterr().err and not workdir.exists()
    assert call(finetune, *common, *SHORT, f"--workdir={workdir}") == 1
    assert message in capsys.readouterr().err and not workdir.exists()


def test_people_that_it_was_not_trained_on_are_searched(people, networks, tmp_path):
    common = ("--dataset=folder", f"--data_dir={people}", "--subset=heldout", "--partial=none", "--shots=1")
    for name, flags in (
        ("former", ("--holdout=1", "--holdout_from=last")),
        ("spread", ("--holdout=2",)),
        ("other", ("--holdout=2",)),
    ):
        file = f"--weights={networks / name}.safetensors"
        code = call(evaluate, *common, file, *flags, "--methods=global_average", f"--workdir={tmp_path / name}")
        assert code == 0


def test_a_choice_of_nobody_is_refused(people, networks, tmp_path, capsys):
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={networks / 'nobody'}.safetensors")
    for runner, flags in ((evaluate, ()), (finetune, SHORT)):
        assert call(runner, *common, *flags, "--holdout_from=last", f"--workdir={tmp_path / 'out'}") == 1
        assert "give --holdout=N with it" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_card_names_each_earlier_training_once():
    first = {"dataset": "folder", "flags": {"data": "x", "holdout": 2, "steps": 3}, "size": [64, 32]}
    known = {"dataset": "folder", "flags": {"data": "x", "holdout": 2, "holdout_from": "last"}}
    assert unseen.earlier(weights.Card(extra=first)) == {"earlier": [known]}
    other = {"dataset": "cuhk01", "flags": {"holdout": 0}}
    last = first | other | {"earlier": [known, other]}
    assert unseen.earlier(weights.Card(extra=last)) == {"earlier": [other, known]}
    assert unseen.earlier(weights.Card()) == {}
