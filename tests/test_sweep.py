"""Sweeps: every point is an evaluation, a stopped sweep goes on, values that make no sense are refused."""

import json

import numpy as np
import pytest

from experiments import sweep
from tests.runners import call, contents, evaluated, metrics_of


def swept(data_dir, network, workdir, *arguments, code=0):
    common = ("--dataset=folder", f"--data_dir={data_dir}", f"--weights={network}", f"--workdir={workdir}")
    small = ("--size=64,32", "--output_stride=16", "--noprogress", "--trials=1", "--methods=resizing,dsr_single")
    assert call(sweep, *common, *small, *arguments) == code
    return metrics_of(workdir) if code == 0 else {}


@pytest.mark.slow
def test_a_sweep_has_every_point_and_each_is_an_evaluation(people, network, tmp_path, capsys):
    found = swept(people, network, tmp_path / "sweep", "--vary=l1", "--values=0.2;0.4", "--partial=crop")
    alone = evaluated(people, network, tmp_path / "alone", "--methods=resizing,dsr_single", "--partial=crop")
    for key in ("dsr_single/shots1/mAP", "resizing/shots1/mAP"):
        assert found[f"l1=0.4/{key}"] == alone[key]
    page_text = (tmp_path / "sweep" / "report" / "index.html").read_text()
    assert "the gallery has 5 people" in page_text and "the gallery has 5 people" in capsys.readouterr().out
    assert "rank1, N = 1" in page_text and "Distances" not in page_text
    config = json.loads((tmp_path / "sweep" / "config.json").read_text())["flags"]
    assert config["vary"] == "l1" and config["values"] == "0.2;0.4"


@pytest.mark.slow
def test_a_sweep_of_the_pictures_prepares_them_anew(people, network, tmp_path):
    cropped = ("--partial=crop", "--crop_width=1,1")
    found = swept(people, network, tmp_path / "out", "--vary=crop_height", "--values=0.4,0.4;1,1", *cropped)
    whole = evaluated(people, network, tmp_path / "whole", "--methods=dsr_single", "--partial=none")
    with np.load(tmp_path / "out" / "distances" / "crop_height=1,1-dsr_single-shots1.npz") as one:
        with np.load(tmp_path / "out" / "distances" / "crop_height=0.4,0.4-dsr_single-shots1.npz") as other:
            assert not np.array_equal(one["distances_0"], other["distances_0"])
    assert "crop_height=1,1/dsr_single/shots1/mAP" in found and whole


@pytest.mark.slow
def test_a_sweep_goes_on_with_more_values(people, network, tmp_path):
    swept(people, network, tmp_path / "out", "--vary=probe_factor", "--values=0.8;1")
    before = contents(tmp_path / "out" / "distances")
    found = swept(people, network, tmp_path / "out", "--vary=probe_factor", "--values=0.8;1;1.2")
    assert "probe_factor=1.2/dsr_single/shots1/rank1" in found
    after = contents(tmp_path / "out" / "distances")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "vary and values are needed"),
        (("--vary=l1", "--values=0.4"), "two or more"),
        (("--vary=l1", "--values=0.4;0.2"), "must rise"),
        (("--vary=l1", "--values=-1;0.2"), "l1 must be"),
        (("--vary=l1", "--values=0.2;much"), "must rise|cannot be"),
        (("--vary=crop_height", "--values=0.5,0.6;0.9,2", "--partial=crop"), "crop_height must be two shares"),
        (("--vary=multi_shot", "--values=stack;nearest"), "multi_shot cannot be 'nearest'"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused_before_anything_is_computed(
    people, network, tmp_path, capsys, arguments, message
):
    swept(people, network, tmp_path / "out", *arguments, code=1)
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|")), error
    assert not (tmp_path / "out").exists()
