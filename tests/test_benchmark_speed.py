"""`experiments.benchmark_speed`: a quick run of every part, and bad input. No time is asserted."""

import importlib.util
import json
import re

import numpy as np
import pytest

from data import binding
from experiments import benchmark_speed
from experiments.benchmarks import settings

from .runners import call, listing, prepared

SETS = ("vgg_single", "vgg_multi", "osnet_single", "osnet_multi")
OURS = ("active_set", "active_set_raw", "homotopy", "feature_sign", "proximal")
ABSENT = ("celer", "skglm", "spams", "torch")  # here they are never installed; tests/peers has them


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """--data_dir with five people, two gallery images each."""
    return prepared(tmp_path_factory.mktemp("people"), listing(shots=2))


def benchmark(people, workdir, *arguments):
    common = ("--dataset=folder", f"--data_dir={people}", f"--workdir={workdir}", "--noprogress")
    return call(benchmark_speed, *common, *arguments)


@pytest.fixture(scope="module")
def quick(people, tmp_path_factory):
    """The workdir of a quick run of all parts without peers."""
    workdir, find = tmp_path_factory.mktemp("runs") / "quick", importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in ABSENT else find(name, *rest))
        assert benchmark(people, workdir, "--quick") == 0
    return workdir


@pytest.fixture(scope="module")
def figures(quick):
    return json.loads((quick / "speed.json").read_text())


# A quick run


@pytest.mark.slow
def test_every_part_has_its_tables_and_says_what_is_missing(quick):
    text = (quick / "speed.txt").read_text()
    assert text.startswith("Quick run, not a measurement: ")
    for title in (*(f"Coder, {name}" for name in SETS), "Identification (Table 3), N = 1", "N = 3"):
        assert title in text
    for title in ("Network", "Steps of training", "Search against all distances"):
        assert title in text
    for title in ("Growth with the gallery", "Growth with the blocks", "A large matching"):
        assert title in text
    for module in ("celer", "skglm", "spams", "torch"):
        assert f"{module}: not installed" in text
    assert "STAND-IN with random weights of width 0.0625: --weights is missing" in text
    assert "STAND-INS, drawn at random: --onnx is missing" in text and "PERTURBED COPIES of 10 images" in text
    assert re.search(r"^feature_sign \(XLA\) +[\d.,e-]+ \([\d.,e-]+ - [\d.,e-]+\)", text, re.MULTILINE)


@pytest.mark.slow
def test_figures_are_flat_and_complete(figures):
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in figures.values())
    for name in SETS:
        for coder in (*OURS, "maxsim", "floor", "sklearn_cd", "sklearn_lars", "ridge_numpy"):
            assert figures[f"coder/{name}/{coder}/pairs_per_second"] > 0
            assert figures[f"coder/{name}/{coder}/floor_share"] > 0
        assert ("floor_single/pairs" in {key.removeprefix(f"coder/{name}/") for key in figures}) == ("multi" in name)
    for shots in (1, 3):
        for method in ("dsr_single", "dsr_multi", "resizing"):
            assert 0 < figures[f"identification/shots{shots}/{method}/seconds"]
        assert figures[f"identification/shots{shots}/dsr_multi_matching/ratio"] > 0
    assert figures["identification/shots1/images"] == 4 and figures["identification/shots3/images"] == 8
    assert {key for key in figures if key.startswith("network/")} == {
        f"network/64x32_stride16_batch2/{what}_seconds_per_image" for what in ("forward", "step")
    }
    assert {key for key in figures if key.startswith("steps/")} == {
        f"steps/{name}/ours_seconds"
        for name in ("identification_frozen0", "identification_frozen4", "reconstruction_frozen4")
    }


@pytest.mark.slow
def test_our_coders_are_exact_and_certified_on_what_was_timed(figures):
    for name in SETS:
        for coder in OURS:
            assert figures[f"coder/{name}/{coder}/largest_error"] <= (1e-3 if coder == "proximal" else 1e-6)
            assert figures[f"coder/{name}/{coder}/largest_gap"] <= 1.1e-6  # the coders stop at 1e-6, in float32
        for algorithm in ("sklearn_cd", "sklearn_lars"):  # the same problem, or it would be far off
            assert figures[f"coder/{name}/{algorithm}/largest_error"] <= 1e-6
        assert f"coder/{name}/ridge_numpy/largest_error" not in figures
        assert f"coder/{name}/maxsim/largest_error" not in figures, "another distance"
        assert figures[f"coder/{name}/floor/floor_share"] == 1


@pytest.mark.slow
def test_growth_is_measured_in_processes_and_by_searches(figures):
    for name in ("gallery/5", "gallery/20", "shape/3x2x512", "shape/2x2x512", "large/4x30/list", "large/4x30/array"):
        assert figures[f"growth/{name}/peak_mb"] >= figures[f"growth/{name}/before_mb"] > 0
    assert figures["growth/gallery/20/blocks"] == 8 and figures["growth/shape/2x2x512/blocks"] == 5
    assert 0 < figures["growth/search/later/coded"] <= 1 and figures["growth/search/gallery"] == 80


@pytest.mark.slow
def test_a_workdir_has_configuration_figures_and_tables(quick):
    config = json.loads((quick / "config.json").read_text())["flags"]
    assert config["quick"] and config["rounds"] == 2 and config["runner"] == "benchmark_speed"
    assert {file.name for file in quick.iterdir()} == {"config.json", "speed.json", "speed.txt"}


def test_quick_changes_what_is_not_given():
    given = binding.read(settings.Settings, ["--quick", "--probes=7", "--size=64,32"])
    reduced = binding.values(settings.reduced(given))
    assert reduced == binding.values(given) | settings.QUICK | {"probes": 7, "size": (64, 32)}
    slow = binding.read(settings.Settings, ["--probes=7"])
    assert settings.reduced(slow) is slow


@pytest.mark.slow
def test_maps_are_extracted_once_and_know_what_they_are_of(people, tmp_path, capsys, monkeypatch):
    small = ("--quick", "--parts=identification", "--people_shots=1", f"--kept_maps={tmp_path / 'maps.npz'}")
    assert benchmark(people, tmp_path / "a", *small) == 0
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", lambda *_, **__: pytest.fail("maps were extracted again"))
        assert benchmark(people, tmp_path / "b", *small) == 0
    assert benchmark(people, tmp_path / "c", *small, "--vgg_width=0.125") == 1
    assert "holds other vgg_probe maps (vgg_width: 0.0625 there, 0.125 now)" in capsys.readouterr().err


# Bad input


@pytest.mark.slow
def test_stages_of_a_search(people, tmp_path):
    assert benchmark(people, tmp_path / "run", "--quick", "--parts=stages") == 0
    figures = json.loads((tmp_path / "run" / "speed.json").read_text())
    assert {key.split("/")[1] for key in figures} == {"float16", "bfloat16"}, "8 entries: all stages keep all"
    assert 0 < figures["stages/float16/largest"] < figures["stages/bfloat16/largest"] < 0.1
    assert "2 probes, 8 gallery maps" in (tmp_path / "run" / "speed.txt").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--parts=codes",), "parts must be one or several of coder, .* growth, accelerator, stages, got codes"),
        (("--parts=",), "parts must be .* got nothing"),
        (("--rounds=4",), "rounds must be at least 5 .* got 4"),
        (("--match_l1=0",), "l1 must be"),
        (("--few=9",), "few must not exceed checked"),
        (("--people_shots=0",), "people_shots must be whole numbers"),
        (("--growth_sizes=many",), "growth_sizes must be whole numbers"),
        (("--growth_maps=10",), "growth_maps must be HEIGHTxWIDTH .*got 10"),
        (("--growth_maps=0x3",), "growth_maps must be"),
        (("--growth_maps=",), "growth_maps must be .*got nothing"),
        (("--network_sizes=320x120",), "network_sizes must be HEIGHTxWIDTH/STRIDE .*got 320x120"),
        (("--network_sizes=320x120/8",), "network_sizes must be"),
        (("--step_size=160x64",), "step_size must be HEIGHTxWIDTH/STRIDE .*got '160x64'"),
        (("--batches=x",), "batches must be whole numbers"),
        (("--onnx_size=256",), "onnx_size must be height,width such as .*got 256"),
        (("--stand_in_map=5,3",), "stand_in_map must be height,width,channels"),
        (("--onnx=x.onnx",), "onnx and map_tensor belong together"),
        (("--onnx=x.onnx", "--map_tensor=map"), "onnx file 'x.onnx' does not exist"),
        (("--weights=nowhere.npz",), "nowhere.npz.*does not exist"),
        (("--preprocessing=torch",), "preprocessing=torch says what the network of --weights expects"),
        (("--mean=0.5",), "mean must be three numbers"),
        (("--shots=3",), "Unknown command line flag 'shots'"),
        (("--coder=proximal",), "Unknown command line flag 'coder'"),
        (("--dataset=folders",), "dataset 'folders' is unknown"),
        (("--workdir=",), "workdir is missing"),
    ],
)
def test_bad_input_writes_nothing(people, tmp_path, capsys, arguments, message):
    assert benchmark(people, tmp_path / "out", *arguments) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and re.search(message, errors, re.DOTALL), errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("truncated", [False, True])
def test_a_file_of_something_else_is_no_file_of_maps(people, tmp_path, capsys, truncated):
    (tmp_path / "maps.npz").write_text("maps")
    if truncated:
        np.savez(tmp_path / "maps.npz", values=np.zeros(1000))
        (tmp_path / "maps.npz").write_bytes((tmp_path / "maps.npz").read_bytes()[:3000])
    assert benchmark(people, tmp_path / "out", "--quick", f"--kept_maps={tmp_path / 'maps.npz'}") == 1
    assert "is not a file of maps: give another --kept_maps" in capsys.readouterr().err
