"""Part `accelerator` of `experiments.benchmark_speed`: a quick run without data-set libraries, its maps, bad input."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from dsr_jax import cpu
from experiments import benchmark_speed
from experiments.benchmarks import accelerator, device_maps, predicted, settings, stand_ins
from experiments.benchmarks.maps import MapSet, Store
from experiments.benchmarks.problem import Problem

from .runners import ROOT, call

QUICK = ("--quick", "--parts=accelerator", "--noprogress")
ABSENT = ("grain", "array_record", "tensorflow", "tensorflow_datasets", "PIL", "h5py", "matplotlib", "jinja2", "torch")
# The runner with these modules blocked, as on a machine that lacks them.
BLOCKED = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT}))
runpy.run_module("experiments.benchmark_speed", run_name="__main__")
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The workdir of a quick run in a process that can import none of `ABSENT`."""
    workdir = tmp_path_factory.mktemp("runs") / "quick"
    command = [sys.executable, "-c", BLOCKED, *QUICK, f"--workdir={workdir}"]
    # As beside a GPU, nothing but the compiled coder may need what exists for the CPU alone.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), cpu.SWITCH: "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def kept(tmp_path):
    """A file with few small maps of both networks, as --kept_maps leaves them."""
    content = {}
    for network, shape in (("vgg", (4, 3, 12)), ("onnx", (5, 3, 16))):
        for side, view in (("probe", 1), ("gallery", 0)):
            maps = stand_ins.drawn(2, shape=shape, seed=0, view=view)
            content[f"{network}_{side}/values"] = np.concatenate([values.ravel() for values in maps])
            content[f"{network}_{side}/shapes"] = [values.shape for values in maps]
    np.savez(tmp_path / "maps.npz", **content)
    return tmp_path / "maps.npz"


# A quick run


@pytest.mark.slow
def test_a_run_needs_no_library_of_data_sets_and_leaves_tables(quick):
    text = (quick / "speed.txt").read_text()
    assert text.startswith("Quick run, not a measurement: ")
    for title in (
        "Accelerator, vgg_single",
        "Accelerator, osnet_multi",
        "Accelerator, network",
        "predicted, not measured",
    ):
        assert title in text
    assert "torch: not installed" in text
    assert "homotopy on the CPU: JAX sees no accelerator" in text and "active_set, compiled, " in text
    assert "STAND-INS, drawn at random: --kept_maps has none" in text and "not told" in text
    assert {file.name for file in quick.iterdir()} == {"config.json", "speed.json", "speed.txt"}


@pytest.mark.slow
def test_the_coder_is_exact_and_certified_on_what_was_timed(quick):
    figures = json.loads((quick / "speed.json").read_text())
    for name in ("vgg_single", "osnet_multi"):
        key = f"accelerator/{name}"
        assert figures[f"{key}/pairs"] == 24 and figures[f"{key}/intervals_apart"] == 0
        assert figures[f"{key}/programs"] >= 1 and 0 < figures[f"{key}/compile_seconds"] < figures[f"{key}/seconds"]
        assert 0 <= figures[f"{key}/zero_columns"] < 1 and figures[f"{key}/codes_per_column"] > 0
        assert figures[f"{key}/active_set/ratio"] > 0 and figures[f"{key}/floor/floor_share"] == 1
        for coder in accelerator.CODERS:
            assert figures[f"{key}/{coder}/largest_error"] <= 1e-6 and figures[f"{key}/{coder}/largest_gap"] <= 1e-6
            assert figures[f"{key}/{coder}/missing"] == 0 and figures[f"{key}/{coder}/pairs_per_second"] > 0


@pytest.mark.slow
def test_the_network_is_timed_in_both_types(quick):
    figures = json.loads((quick / "speed.json").read_text())
    assert {key: value > 0 for key, value in figures.items() if "/network/" in key} == {
        f"accelerator/network/64x32_stride16_batch2_{dtype}/{what}_seconds_per_image": True
        for dtype in ("bfloat16", "float32")
        for what in ("forward", "step")
    }


@pytest.mark.slow
def test_predictions_are_there_beside_what_was_measured(quick):
    figures = json.loads((quick / "speed.json").read_text())
    for name in ("vgg_single", "osnet_multi"):
        key = f"accelerator/predicted/{name}"
        assert figures[f"{key}/pairs_per_second_at_most"] > 0 and figures[f"{key}/homotopy_bytes"] > 0


def test_predictions_follow_from_counts_and_peaks():
    maps = [np.ones((2, 3, 8), np.float32)] * 5
    chip = predicted.Chip("slow", float32=960.0, bfloat16=9600.0, bandwidth=1e9)
    part = predicted.run([MapSet("vgg_multi", maps[:2], maps, (1, 2), "drawn")], l1=0.4, chip=chip, memory=False)
    figures = {key.rpartition("/")[2]: value for key, value in part.figures.items()}
    operations = 2 * 12 * 30 * 8
    assert figures["operations"] == operations and figures["bytes"] == 4 * (8 * (12 + 30) + 12 * 30)
    assert figures["float32_seconds"] == operations / 960 and figures["bfloat16_seconds"] == 3 * operations / 9600
    assert figures["pairs_per_second_at_most"] == pytest.approx(10 / (3 * operations / 9600))
    assert figures["correlation_bytes"] == 4 * (2 * 8) * (5 * 8) and "homotopy_bytes" not in figures
    assert "PREDICTED, NOT MEASURED" in part.tables[0].text() and "slow" in part.tables[0].title


def test_accelerator_is_measured_only_where_it_is_named():
    assert "accelerator" not in settings.Settings().timing.parts
    assert settings.Settings(timing=settings.Timing(parts=("accelerator", "network"))).pictured is False
    assert settings.Settings().pictured is True


def test_programs_that_are_compiled_are_counted():
    with accelerator.compilations() as seconds:
        jax.jit(lambda x: x + 17)(np.ones(3, np.float32))
    jax.jit(lambda x: x + 18)(np.ones(3, np.float32))
    assert len(seconds) == 1 and seconds[0] > 0


# Exactness


def test_intervals_that_miss_the_truth_are_counted():
    exact = np.array([[0.2, 0.3], [0.4, 0.5]])
    result = accelerator.match.Distances(
        distance=exact + 0.01,
        lower=exact - 0.1,
        upper=exact + 0.1,
        gap=exact,
        identities=None,
        coder="x",
        counted=exact,
    )
    at = np.ix_([0, 1], [0, 1])
    assert accelerator._exactness(result, exact, at) == (pytest.approx(0.01), 0.5, 0)
    assert accelerator._exactness(result, exact + [[0.2, 0], [0, -0.2]], at).missing == 2
    assert accelerator._apart(result, result) == 0
    above = accelerator.match.Distances(**{**vars(result), "lower": exact + 0.2, "upper": exact + 0.3})
    assert accelerator._apart(result, above) == accelerator._apart(above, result) == 4


# Maps


@pytest.mark.slow
def test_stand_ins_have_the_columns_and_codes_of_real_maps():
    """Of CUHK03: 39 and 24 % of VGG's columns need no coding, 0.98 and 1.46 codes; OSNet's 5 and 2 %, 2.7 and 3.2."""
    found = device_maps.sets(settings.SETS, Store(None), probes=6, gallery=12, osnet_shape=(16, 8, 128), seed=0)
    work = {one.name: device_maps.work(Problem.of(one.probes, one.gallery, scales=one.scales, l1=0.4)) for one in found}
    assert list(work) == list(settings.SETS)
    assert 0.3 < work["vgg_single"].zero < 0.55 and 0.7 < work["vgg_single"].codes < 1.2
    assert 0.15 < work["vgg_multi"].zero < 0.4 and 1.0 < work["vgg_multi"].codes < 1.7
    assert work["osnet_single"].zero < 0.1 and 2.2 < work["osnet_single"].codes < 3.1
    assert work["osnet_multi"].zero < 0.1 and 2.7 < work["osnet_multi"].codes < 3.7


def test_given_maps_are_taken_and_copied_with_little_noise(kept):
    shapes = {"vgg": (4, 3, 12), "osnet": (5, 3, 16)}
    for one in device_maps.sets(settings.SETS, Store(kept), probes=3, gallery=5, osnet_shape=(1, 1, 1), seed=0):
        shape = shapes[one.name.split("_")[0]]
        assert [m.shape for m in one.gallery] == [shape] * 5 and len(one.probes) == 3
        first, copy = one.gallery[0], one.gallery[2]
        assert one.source.startswith("maps given") and not np.array_equal(first, copy)
        np.testing.assert_allclose(copy, first, rtol=0.3)


def test_sets_are_chosen_by_name(kept):
    (one,) = device_maps.sets(["osnet_multi"], Store(kept), probes=2, gallery=2, osnet_shape=(1, 1, 1), seed=0)
    assert one.name == "osnet_multi" and one.scales == (1, 2, 3)


# Bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--device_sets=vgg",), "device_sets must be one or several of vgg_single"),
        (("--device_gallery=0",), "device_gallery"),
        (("--kept_maps=nowhere.npz",), "kept_maps nowhere.npz does not exist"),
        (("--workdir=",), "workdir is missing"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, capsys, arguments, message):
    assert call(benchmark_speed, *QUICK, f"--workdir={tmp_path / 'out'}", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_lost_device_is_one_clear_error_and_earlier_figures_stay(tmp_path, capsys, monkeypatch):
    def run(maps, *_, **__):
        if maps.name == "osnet_multi":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nand much more")
        return accelerator.Part([], {f"accelerator/{maps.name}/pairs": 24})

    monkeypatch.setattr(accelerator, "run", run)
    assert call(benchmark_speed, *QUICK, f"--workdir={tmp_path}") == 1
    errors = capsys.readouterr().err
    assert "osnet_multi failed on the CPU" in errors and "RESOURCE_EXHAUSTED" in errors and "much more" not in errors
    assert "--device_gallery" in errors
    assert json.loads((tmp_path / "speed.json").read_text()) == {"accelerator/vgg_single/pairs": 24}
