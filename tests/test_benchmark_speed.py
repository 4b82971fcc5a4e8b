"""`experiments.benchmark_speed`: a quick run of every part, what its pieces compute, bad input. No time is asserted."""

import importlib.util
import json
import re

import numpy as np
import pytest
from absl import flags

from dsr_jax.baselines import resizing
from experiments import benchmark_speed
from experiments.speed import (
    alternating,
    asked,
    drawing,
    growth,
    identification,
    maps,
    network,
    one_matching,
    peers,
    problem,
    searching,
    stand_ins,
)

from . import oracles
from .runners import call, listing, prepared

FLAGS = flags.FLAGS
SETS = ("vgg_single", "vgg_multi", "osnet_single", "osnet_multi")
OURS = ("active_set", "active_set_raw", "feature_sign", "proximal")
ABSENT = (
    "celer",
    "skglm",
    "spams",
    "torch",
)  # tests/peers has them; here they are not installed, whether they are or not


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
    for title in (
        "Network",
        "Steps of training",
        "Search against all distances",
        "Growth with the gallery",
        "Growth with the blocks",
        "What is asked",
    ):
        assert title in text
    for module in ("celer", "skglm", "spams", "torch"):
        assert f"{module}: not installed" in text
    assert "STAND-IN with random weights of width 0.0625: --weights is missing" in text
    assert "STAND-INS, drawn at random: --onnx is missing" in text and "PERTURBED COPIES of 10 images" in text
    assert re.search(r"coder, vgg_multi: time of the best SPAMS / ours +- +>= 1.5 +>= 4 +not measured", text)


@pytest.mark.slow
def test_figures_are_flat_and_complete(figures):
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in figures.values())
    for name in SETS:
        for coder in (*OURS, "floor", "sklearn_cd", "sklearn_lars", "ridge_numpy"):
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
            assert figures[f"coder/{name}/{coder}/largest_error"] <= 1e-6
            assert figures[f"coder/{name}/{coder}/largest_gap"] <= 1e-6
        for algorithm in ("sklearn_cd", "sklearn_lars"):  # the same problem, or it would be far off
            assert figures[f"coder/{name}/{algorithm}/largest_error"] <= 1e-6
        assert f"coder/{name}/ridge_numpy/largest_error" not in figures
        assert figures[f"coder/{name}/floor/floor_share"] == 1


@pytest.mark.slow
def test_growth_is_measured_in_processes_and_by_searches(figures):
    for name in ("gallery/5", "gallery/20", "shape/3x2x512", "shape/2x2x512", "large/4x30/list", "large/4x30/array"):
        assert figures[f"growth/{name}/peak_mb"] >= figures[f"growth/{name}/before_mb"] > 0
    assert figures["growth/gallery/20/blocks"] == 8 and figures["growth/shape/2x2x512/blocks"] == 5
    assert 0 < figures["growth/search/later/coded"] <= 1 and figures["growth/search/gallery"] == 80


@pytest.mark.slow
def test_a_workdir_has_configuration_and_plot(quick):
    config = json.loads((quick / "config.json").read_text())["flags"]
    assert config["quick"] and config["rounds"] == 2 and config["runner"] == "benchmark_speed"
    assert (quick / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in quick.iterdir()} == {"config.json", "speed.json", "speed.txt", "speed.png"}


@pytest.mark.slow
def test_quick_leaves_the_defaults_of_the_process_alone(quick):
    assert FLAGS["rounds"].default == 5 and FLAGS["probes"].default == 60


def test_maps_are_extracted_once_and_know_what_they_are_of(people, tmp_path, capsys, monkeypatch):
    small = ("--quick", "--parts=identification", "--people_shots=1", f"--kept_maps={tmp_path / 'maps.npz'}")
    assert benchmark(people, tmp_path / "a", *small) == 0
    with monkeypatch.context() as patched:
        patched.setattr(maps.Store, "_write", lambda *_: pytest.fail("maps were extracted again"))
        assert benchmark(people, tmp_path / "b", *small) == 0
    assert benchmark(people, tmp_path / "c", *small, "--vgg_width=0.125") == 1
    assert "holds other vgg_probe maps (vgg_width: 0.0625 there, 0.125 now)" in capsys.readouterr().err


# Its pieces


@pytest.fixture
def clock(monkeypatch):
    """A clock that contenders move."""

    class Clock:
        now = 0.0
        log: list = []

        def moved(self, name, seconds):
            def work():
                self.log.append(name)
                self.now += seconds

            return work

    fake = Clock()
    fake.log = []
    monkeypatch.setattr(alternating.time, "perf_counter", lambda: fake.now)
    monkeypatch.setattr(alternating.time, "sleep", lambda _: None)
    return fake


def test_contenders_take_turns_and_only_their_work_is_timed(clock):
    prepare = lambda: clock.moved("prepare", 100)() or ()  # noqa: E731
    contenders = [
        alternating.Contender("ours", clock.moved("ours", 2), work=4),
        alternating.Contender("theirs", clock.moved("theirs", 6), work=2, prepare=prepare),
        alternating.Contender("third", clock.moved("third", 1)),
    ]
    times = alternating.alternate(contenders, rounds=3)
    assert {name: timed.seconds.tolist() for name, timed in times.items()} == {
        "ours": [0.5] * 3,
        "theirs": [3.0] * 3,
        "third": [1.0] * 3,
    }
    rounds = ["ours theirs third", "ours theirs third", "theirs third ours", "third ours theirs"]
    assert [name for name in clock.log if name != "prepare"] == " ".join(rounds).split()
    assert clock.log.count("prepare") == 4
    assert alternating.ratio(times["theirs"], times["ours"]) == alternating.Ratio(6, 6, 6, 6)
    assert alternating.fastest(times) == "ours"


def test_turns_need_a_round_and_names(clock):
    same = [alternating.Contender("a", int), alternating.Contender("a", int)]
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        alternating.alternate(same[:1], rounds=0)
    with pytest.raises(ValueError, match="different names"):
        alternating.alternate(same, rounds=1)


@pytest.fixture(scope="module")
def pairs():
    gallery = stand_ins.drawn(3, shape=(4, 3, 12), seed=0)
    return stand_ins.cropped(stand_ins.drawn(2, shape=(4, 3, 12), seed=0, view=1), seed=0), gallery


@pytest.mark.parametrize("scales", [(1,), (1, 2, 3)])
def test_the_truth_is_that_of_the_tests_oracle(pairs, scales):
    found = problem.Problem.of(*pairs, scales=scales, l1=0.4)
    expected = [[oracles.distance(x, [y], l1=0.4, scales=scales) for y in pairs[1]] for x in pairs[0]]
    np.testing.assert_allclose(problem.oracle(found), expected, atol=1e-9)


def test_codes_are_judged_by_distance_and_gap(pairs):
    found = problem.Problem.of(*pairs, scales=(1,), l1=0.4)
    exact = peers.sparse_encode(found, algorithm="lasso_lars")()
    distances, gap = problem.judge(exact, found)
    np.testing.assert_allclose(distances, problem.oracle(found), atol=1e-9)
    assert gap < 1e-9
    nothing, large = problem.judge([0 * codes for codes in exact], found)
    np.testing.assert_allclose(nothing, 1)
    assert large > 1e-3


def test_the_resizing_model_names_whom_the_evaluation_does():
    rng = np.random.default_rng(0)
    maps = [rng.random((3, 2, 5), np.float32) for _ in range(7)]
    gallery = identification.People(maps, [4, 2, 9, 4, 2, 9, 4], maps)
    probes = [rng.random((3, 2, 5), np.float32) for _ in range(20)]
    each = resizing.distances(probes, gallery.maps)
    expected = np.stack([each[:, np.array(gallery.names) == who].mean(axis=1) for who in (2, 4, 9)], axis=1)
    nearest = identification._resizing(gallery)
    assert [nearest(probe) for probe in probes] == [(2, 4, 9)[i] for i in expected.argmin(axis=1)]
    assert gallery.shots(1, 2).names == [4, 2] and gallery.shots(2, 3).names == [4, 2, 9, 4, 2, 9]


def test_another_answer_of_search_stops_the_benchmark(pairs, monkeypatch):
    monkeypatch.setattr(searching.np, "argsort", lambda each, kind: np.arange(len(each))[::-1])
    with pytest.raises(ValueError, match="search and distances differ for probe 0"):
        searching.run(*pairs, k=3, l1=0.4, rounds=1, progress=False, source="")


def test_a_process_has_its_own_peak():
    """Not that of the process that starts it, from which `ru_maxrss` begins."""
    large = np.ones(400 << 17)  # 400 MB
    spec = {"probes": 1, "gallery": 3, "shape": (3, 2, 8), "rounds": 1}
    found = growth._process("test", spec)
    assert large.size and found["peak_mb"] < one_matching.megabytes("VmRSS")
    assert found["maps_mb"] == 3 * 3 * 2 * 8 * 4 / (1 << 20) and found["blocks"] == 8
    with pytest.raises(ValueError, match=r"growth: the process for test ended .*give smaller --growth_sizes"):
        growth._process("test", spec | {"gallery": 0})


def test_stand_ins_are_as_sparse_as_real_maps():
    gallery = stand_ins.drawn(4, shape=(10, 3, 512), seed=0)
    probes = stand_ins.cropped(stand_ins.drawn(4, shape=(10, 3, 512), seed=0, view=1), seed=0)
    found = problem.Problem.of(probes, gallery, scales=(1,), l1=0.4)
    active = np.mean(
        [np.count_nonzero(codes, axis=0) for codes in peers.sparse_encode(found, algorithm="lasso_lars")()]
    )
    assert 0.5 < active < 3
    distances = problem.oracle(found)
    assert (distances.argmin(axis=1) == np.arange(4)).all()
    copies = list(stand_ins.perturbed(gallery, 6, seed=0))
    assert len(copies) == 6 and all((copy >= 0).all() for copy in copies) and not np.allclose(copies[0], copies[4])


def test_what_is_asked_is_held_against_its_bounds():
    rows = [asked.Asked("", value, 1.5, 4).reached for value in (None, 1.4, 1.5, 4.0)]
    assert rows == ["not measured", "no", "yes", "aim"]
    assert [asked.Asked("", value, 2, 1, most=True).reached for value in (2.1, 2, 1)] == ["no", "yes", "aim"]
    measured = {"coder/vgg_multi/active_set/floor_share": 0.5, "network/a/step/ratio": 0.9, "network/b/step/ratio": 0.7}
    text = asked.table({**measured, "growth/large/14x53/list/peak_mb": 1024.0}).text()
    assert re.search(r"share of the floor +0.5 +>= 0.3 +>= 0.6 +yes", text)
    assert re.search(r"train step: torch's time / ours, slowest case +0.7 +>= 0.8", text)
    assert re.search(r"14 probes x 53 gallery images \(list\), GB +1.07 +<= 2 +<= 1 +yes", text)


def test_the_plot_needs_only_what_a_part_measured(tmp_path):
    some = {f"network/a/step/ratio{end}": value for end, value in (("", 2.0), ("_low", 1.0), ("_high", 3.0))}
    for chosen in ({}, some):
        assert drawing.write(tmp_path / "plot.png", chosen, title="").stat().st_size > 1000


# Bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--parts=codes",),
            "parts must be one or several of coder, .* steps, growth, got codes",
        ),
        (("--parts=",), "parts must be .* got nothing"),
        (("--rounds=4",), "rounds must be at least 5 .* got 4"),
        (("--match_l1=0",), "match_l1 must be positive"),
        (("--few=9",), "few must not exceed checked"),
        (("--people_shots=0",), "people_shots must be whole numbers"),
        (("--growth_sizes=many",), "growth_sizes must be whole numbers"),
        (("--growth_maps=10",), "growth_maps must be HEIGHTxWIDTH .*got '10'"),
        (("--growth_maps=",), "growth_maps is empty"),
        (("--network_sizes=320x120",), "network_sizes must be HEIGHTxWIDTH/STRIDE .*got '320x120'"),
        (("--network_sizes=320x120/8",), "network_sizes must be"),
        (("--step_size=160x64",), "step_size must be HEIGHTxWIDTH/STRIDE .*got '160x64'"),
        (("--batches=x",), "batches must be whole numbers"),
        (("--onnx_size=256",), "onnx_size must be height,width such as .*got 256"),
        (("--stand_in_map=5,3",), "stand_in_map must be height,width,channels"),
        (("--onnx=x.onnx",), "onnx and map_tensor belong together"),
        (("--onnx=x.onnx", "--map_tensor=map"), "onnx file 'x.onnx' does not exist"),
        (("--weights=nowhere.npz",), "nowhere.npz.*does not exist"),
        (("--shots=3",), "shots has no effect here"),
        (("--coder=proximal",), "coder has no effect here"),
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


def test_sizes_of_the_network_are_read():
    assert network.cases(["320x120/32"], [4, 8]) == [network.Case(320, 120, 32, 4), network.Case(320, 120, 32, 8)]
