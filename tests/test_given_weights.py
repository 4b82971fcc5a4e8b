"""--weights in the runners: the same file by another path, and flags that say something else of its network."""

import json
import shutil

import pytest

from dsr_jax import weights
from experiments import evaluate, export, pretrain

from .runners import PARAMS, SMALL, call, evaluated

CARD = weights.Card(width=1 / 32, output_stride=16, preprocessing="torch", extra={"size": [64, 32]})
TRAINED = ("--dataset=folder", "--pretrain_batch_size=4", "--plot_every=0", "--noprogress")


@pytest.fixture
def given(tmp_path):
    """A network with a card, and the same by two other paths and as a copy."""
    weights.save(tmp_path / "a" / "x.safetensors", PARAMS, CARD)
    (tmp_path / "link").symlink_to("a")
    shutil.copy(tmp_path / "a" / "x.safetensors", tmp_path / "copy.safetensors")
    return tmp_path / "a" / "x.safetensors"


def pretrained(people, path, workdir, *arguments):
    return call(pretrain, *TRAINED, f"--data_dir={people}", f"--weights={path}", f"--workdir={workdir}", *arguments)


@pytest.mark.slow
def test_a_training_goes_on_with_the_same_weights_by_another_path(people, given, tmp_path, monkeypatch, capsys):
    """From a checkpoint, to the very file that it would have written."""
    monkeypatch.chdir(tmp_path)
    steps = ("--pretrain_steps=2", "--checkpoint_every=1")
    others = ["a/x.safetensors", "link/x.safetensors", "copy.safetensors", "a/../a/x.safetensors"]
    assert pretrained(people, given, "whole", *steps) == 0
    for number, other in enumerate(others):
        shutil.copytree("whole", f"resumed{number}")
        for file in ("network.safetensors", "metrics.json"):
            (tmp_path / f"resumed{number}" / file).unlink()
        capsys.readouterr()
        assert pretrained(people, other, f"resumed{number}", *steps) == 0
        written = [(tmp_path / name / "network.safetensors").read_bytes() for name in ("whole", f"resumed{number}")]
        assert written[0] == written[1], f"another path makes no other card: {other}"
    assert pretrained(people, "copy.safetensors", "whole", *steps) == 0
    assert "has finished" in capsys.readouterr().out


def test_other_weights_at_the_same_path_are_refused(people, given, tmp_path, capsys):
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 0
    for file in ("network.safetensors", "metrics.json"):
        (tmp_path / "out" / file).unlink()
    weights.save(given, {**PARAMS, "block1_conv1": {x: y + 1 for x, y in PARAMS["block1_conv1"].items()}}, CARD)
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 1
    error = capsys.readouterr().err
    assert "belongs to another configuration (--weights' content: " in error and "--weights:" not in error


@pytest.mark.slow
def test_a_finished_run_needs_its_weights_no_more(people, given, tmp_path, capsys):
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 0
    given.unlink()
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 0
    assert "has finished" in capsys.readouterr().out


def test_a_workdir_that_knows_no_content_compares_paths(people, given, tmp_path, capsys):
    """As those of earlier versions."""
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    del config["flags"]["weights' content"], config["flags"]["preprocessing"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0") == 0
    assert pretrained(people, tmp_path / "copy.safetensors", tmp_path / "out", "--pretrain_steps=0") == 1
    assert "--weights: " in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_goes_on_with_the_same_weights_by_another_path(people, given, tmp_path):
    figures = evaluated(people, given, tmp_path / "out")
    assert evaluated(people, tmp_path / "link" / "x.safetensors", tmp_path / "out") == figures
    weights.save(given, PARAMS, weights.Card(width=1 / 32, preprocessing="caffe"))
    evaluated(people, given, tmp_path / "out", code=1)


@pytest.mark.parametrize(
    ("given_flag", "message"),
    [
        ("--width=0.5", "are of width 0.03125 and width=0.5: leave --width out"),
        ("--width=1", "are of width 0.03125 and width=1: leave --width out"),
        ("--architecture=resnet50", "are a vgg16's and architecture=resnet50: leave --architecture out"),
        ("--preprocessing=caffe", "its card says preprocessing='torch', and preprocessing='caffe' was given"),
    ],
)
def test_a_flag_that_contradicts_the_file_is_refused(people, given, tmp_path, capsys, given_flag, message):
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0", given_flag) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flag", ["--width=0.03125", "--architecture=vgg16", "--preprocessing=torch", "--output_stride=16"]
)
def test_a_flag_that_says_what_the_file_says_is_not(people, given, tmp_path, capsys, flag):
    assert pretrained(people, given, tmp_path / "out", "--pretrain_steps=0", flag) == 0
    assert "it was trained with" not in capsys.readouterr().out


@pytest.mark.slow
def test_another_size_or_stride_than_the_trained_is_used_and_said(people, given, tmp_path, capsys):
    """That is what the flags are for: networks take any size."""
    larger = ("--size=96,64", "--output_stride=32", "--methods=global_average", "--trials=1", "--partial=none")
    common = ("--dataset=folder", f"--data_dir={people}", f"--weights={given}", "--noprogress")
    assert call(evaluate, *common, *larger, f"--workdir={tmp_path / 'e'}") == 0
    printed = capsys.readouterr().out
    assert "x.safetensors: --size=96,64 is used; it was trained with 64,32" in printed
    assert "x.safetensors: --output_stride=32 is used; it was trained with 16" in printed
    served = ("--form=serving", *larger[:2], "--serve_scales=1", f"--out={tmp_path / 'x.zip'}")
    assert call(export, f"--weights={given}", *served) == 0
    assert "--size=96,64 is used; it was trained with 64,32" in capsys.readouterr().out


@pytest.mark.slow
def test_a_classifier_without_bias_and_its_neck_are_dropped_with_a_remark(people, tmp_path, capsys):
    """As in fast-reid, the strong baseline, AGW and TransReID."""
    from .test_weights_file import HEADS, WITHOUT_FC, np

    for number, (shapes, _) in enumerate(HEADS[name] for name in ("no bias", "strong baseline", "fast-reid's neck")):
        beside = {key: np.ones(shape, np.float32) for key, shape in shapes.items()}
        np.savez(tmp_path / "x.npz", **{f"base.{name}": x for name, x in WITHOUT_FC.items()}, **beside)
        assert pretrained(people, tmp_path / "x.npz", tmp_path / f"{number}", "--pretrain_steps=0", *SMALL) == 0
        printed = capsys.readouterr().out
        assert "x.npz: left out, as no part of the network: " in printed and "without 'base.'" in printed
        assert weights.load_head(tmp_path / f"{number}")["bias"].shape == (4,), "a new one is learnt"
