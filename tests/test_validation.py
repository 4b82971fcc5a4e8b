"""Validation during training: the numbers of an evaluation, the best network kept, an early stop, also when resumed."""

import json
import re

import pytest

from data import binding
from dsr_jax import weights
from experiments import finetune, pretrain
from experiments import workdir as workdirs
from experiments.evaluation import methods
from experiments.settings.training import Tuning
from experiments.training import validation

from . import kills
from .runners import SMALL, call, evaluated, metrics_of


def history(*precisions):
    return validation.History.of([10 * (i + 1), 50.0, value] for i, value in enumerate(precisions))


def test_the_best_is_the_first_of_the_highest_and_patience_counts_from_it():
    some = history(20.0, 30.0, 30.0, 25.0)
    assert some.best.step == 20 and some.metrics() == {
        "validation_step": 20,
        "validation_rank1": 50.0,
        "validation_mAP": 30.0,
    }
    assert [some.exhausted(patience) for patience in (0, 1, 2, 3)] == [False, True, True, False]
    assert "20 *" in some.table() and "10 *" not in some.table()
    nothing = validation.History()
    assert nothing.best is None and not nothing.exhausted(1) and nothing.metrics() == {}


def test_the_search_is_by_the_distance_that_is_trained():
    settings = [pretrain.Settings(), *(finetune.Settings(tuning=Tuning(distance=d)) for d in ("dsr", "maxsim"))]
    assert [one.validated_by for one in settings] == ["dsr_single", "dsr_single", "maxsim_single"]
    assert {one.validated_by for one in settings} <= methods.METHODS.keys()


def trained(people, workdir, *arguments, runner=pretrain, code=0):
    common = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--plot_every=0",
        "--pretrain_batch_size=4",
        *SMALL,
    )
    own = ("--holdout=2", "--pretrain_steps=6", "--pretrain_rate=3e-3", f"--workdir={workdir}")
    assert call(runner, *common, *own, *arguments) == code


def log_of(workdir):
    return [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def validated(people, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "validated"
    trained(people, workdir, "--validate_every=2", "--partial=crop")
    return workdir


@pytest.mark.slow
def test_the_numbers_are_those_of_an_evaluation_of_the_network_that_is_kept(validated, people, tmp_path):
    entries = {entry["step"]: entry["validation_mAP"] for entry in log_of(validated) if "validation_mAP" in entry}
    assert sorted(entries) == [2, 4, 6]
    found = metrics_of(validated)
    assert found["validation_mAP"] == max(entries.values()) == entries[found["validation_step"]]
    assert found["steps"] == found["validation_step"]
    arguments = ("--subset=heldout", "--holdout=2", "--partial=crop", "--trials=5", "--methods=dsr_single")
    again = evaluated(people, validated, tmp_path / "out", *arguments)
    assert found["validation_mAP"] == pytest.approx(again["dsr_single/shots1/mAP"])
    assert found["validation_rank1"] == pytest.approx(again["dsr_single/shots1/rank1"])


@pytest.mark.slow
def test_the_card_says_how_the_network_was_trained_and_what_it_came_to(validated):
    found, card = metrics_of(validated), weights.read_card(validated)
    assert card.extra["scores"] == {name: found[name] for name in found if name.startswith("validation_")}
    assert card.extra["flags"]["pretrain_rate"] == 3e-3 and card.extra["flags"]["runner"] == "pretrain"
    assert not binding.free(pretrain.Settings) & set(card.extra["flags"])
    assert card.sha256 == weights.digest(weights.load(validated))


@pytest.mark.slow
def test_frozen_blocks_run_once_and_change_no_figure(people, tmp_path, monkeypatch):
    """The same validations, with what frozen blocks make of the pictures kept and without room for it."""
    prefixes, made = [], validation.extract.Prefix
    monkeypatch.setattr(
        validation.extract, "Prefix", lambda *given, **limit: prefixes.append(made(*given, **limit)) or prefixes[-1]
    )
    arguments = ("--validate_every=2", "--frozen_blocks=4")
    for name, own in (("kept", ()), ("again", ("--image_memory=0",))):
        trained(people, tmp_path / name, *arguments, *own)
    assert prefixes[0].blocks == 4 and prefixes[0].batches > 0 and prefixes[1].batches == 0
    assert kills.differences(tmp_path / "kept", tmp_path / "again") == []


def given(monkeypatch, values):
    """Validations that come to these mAPs, in order of the steps."""

    def answer(self, params, step):
        return validation.Validated(step, 50.0, values[step])

    monkeypatch.setattr(validation.Validation, "__call__", answer)


@pytest.mark.slow
def test_it_stops_early_and_keeps_the_best_also_when_interrupted_in_between(people, tmp_path, monkeypatch, capsys):
    given(monkeypatch, {1: 10.0, 2: 30.0, 3: 20.0, 4: 30.0, 5: 90.0, 6: 90.0})
    arguments = ("--validate_every=1", "--patience=2", "--checkpoint_every=3")
    trained(people, tmp_path / "whole", *arguments)
    assert [entry["step"] for entry in log_of(tmp_path / "whole")] == [1, 2, 3, 4]
    assert metrics_of(tmp_path / "whole")["validation_step"] == 2
    output = capsys.readouterr().out
    assert "the network of step 2 is kept" in output and re.search(r"2 \*\s+50.0\s+30.0", output)

    log = workdirs.Workdir.log

    def interrupted_at(stop):
        def interrupted(self, **entry):
            log(self, **entry)
            if entry["step"] == stop:
                raise KeyboardInterrupt

        return interrupted

    for stop in (3, 4):
        with monkeypatch.context() as patched:
            patched.setattr(workdirs.Workdir, "log", interrupted_at(stop))
            trained(people, tmp_path / "other", *arguments, code=130)
    trained(people, tmp_path / "other", *arguments)
    assert kills.differences(tmp_path / "whole", tmp_path / "other") == []
    (tmp_path / "other" / "metrics.json").unlink()
    capsys.readouterr()
    trained(people, tmp_path / "other", *arguments)
    assert "identification: early stop at step 4 of 6 restored" in capsys.readouterr().out
    assert (tmp_path / "other" / "metrics.json").read_bytes() == (tmp_path / "whole" / "metrics.json").read_bytes()


@pytest.mark.slow
def test_fine_tuning_is_validated_as_well(people, tmp_path, monkeypatch):
    given(monkeypatch, {1: 20.0, 2: 10.0})
    arguments = ("--pretrain_steps=0", "--steps=2", "--batch_size=2", "--positives=4", "--negatives=4", "--noevaluate")
    trained(people, tmp_path / "run", *arguments, "--validate_every=1", runner=finetune)
    assert metrics_of(tmp_path / "run") == {
        "steps": 1,
        "identities": 2,
        "validation_step": 1,
        "validation_rank1": 50.0,
        "validation_mAP": 20.0,
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--holdout=0", "--validate_every=1"), "holdout must be between 1 and 3"),
        (("--patience=2",), "patience=2 counts validations: give --validate_every=STEPS"),
        (("--validate_every=1", "--camera_rule=any"), "each probe's own image"),
        (("--validate_every=1", "--subset=heldout"), "flag 'subset'"),
        (("--partial=none",), "partial is for the probes of a validation"),
    ],
)
def test_flags_that_make_no_sense_write_nothing(people, tmp_path, capsys, arguments, message):
    trained(people, tmp_path / "out", *arguments, code=1)
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
