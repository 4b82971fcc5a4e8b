"""`experiments.benchmarks`: turns, problems, stand-ins, tables and plots, and what each part computes."""

import json

import numpy as np
import pytest

from dsr_jax.baselines import resizing
from experiments.benchmarks import (
    alternating,
    growth,
    identification,
    maps,
    one_matching,
    outcome,
    peers,
    problem,
    searching,
    settings,
    stages,
    stand_ins,
)

from . import oracles


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
    times = alternating.alternate(contenders, alternating.Turns(3))
    assert {name: timed.seconds.tolist() for name, timed in times.items()} == {
        "ours": [0.5] * 3,
        "theirs": [3.0] * 3,
        "third": [1.0] * 3,
    }
    rounds = ["ours theirs third", "ours theirs third", "theirs third ours", "third ours theirs"]
    assert [name for name in clock.log if name != "prepare"] == " ".join(rounds).split()
    assert clock.log.count("prepare") == 4
    assert alternating.ratio(times["theirs"], times["ours"]) == alternating.Ratio((6, 6, 6), 6)


def test_turns_need_a_round_and_names(clock):
    same = [alternating.Contender("a", int), alternating.Contender("a", int)]
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        alternating.alternate(same[:1], alternating.Turns(0))
    with pytest.raises(ValueError, match="different names"):
        alternating.alternate(same, alternating.Turns(1))


@pytest.fixture(scope="module")
def pairs():
    gallery = stand_ins.drawn(3, shape=(4, 3, 12), seed=0)
    return stand_ins.cropped(stand_ins.drawn(2, shape=(4, 3, 12), seed=0, view=1), seed=0), gallery


@pytest.mark.parametrize("scales", [(1,), (1, 2, 3)])
def test_oracle_of_a_problem_is_that_of_the_tests(pairs, scales):
    blocks = problem.Problem.of(*pairs, scales=scales, l1=0.4)
    expected = [[oracles.distance(x, [y], l1=0.4, scales=scales) for y in pairs[1]] for x in pairs[0]]
    np.testing.assert_allclose(problem.oracle(blocks), expected, atol=1e-9)


def test_judge_gives_distances_and_gap_of_codes(pairs):
    blocks = problem.Problem.of(*pairs, scales=(1,), l1=0.4)
    exact = peers.sparse_encode(blocks, algorithm="lasso_lars")()
    distances, gap = problem.judge(exact, blocks)
    np.testing.assert_allclose(distances, problem.oracle(blocks), atol=1e-9)
    assert gap < 1e-9
    nothing, large = problem.judge([0 * codes for codes in exact], blocks)
    np.testing.assert_allclose(nothing, 1)
    assert large > 1e-3


def test_identification_by_resizing_names_the_person_of_the_evaluation():
    rng = np.random.default_rng(0)
    maps = [rng.random((3, 2, 5), np.float32) for _ in range(7)]
    gallery = identification.People(maps, [4, 2, 9, 4, 2, 9, 4], maps)
    probes = [rng.random((3, 2, 5), np.float32) for _ in range(20)]
    each = resizing.distances(probes, gallery.maps)
    expected = np.stack([each[:, np.array(gallery.identities) == i].mean(axis=1) for i in (2, 4, 9)], axis=1)
    nearest = identification._resizing(gallery)
    assert [nearest(probe) for probe in probes] == [(2, 4, 9)[i] for i in expected.argmin(axis=1)]
    assert gallery.shots(1, 2).identities == [4, 2] and gallery.shots(2, 3).identities == [4, 2, 9, 4, 2, 9]


def test_searching_stops_at_another_answer_than_that_of_distances(pairs, monkeypatch):
    monkeypatch.setattr(searching.np, "argsort", lambda each, kind: np.arange(len(each))[::-1])
    with pytest.raises(ValueError, match="search and distances differ for probe 0"):
        searching.run(*pairs, k=3, l1=0.4, turns=alternating.Turns(1), source="")


@pytest.mark.slow
def test_growth_process_has_its_own_peak():
    """Not that of the process that starts it, from which `ru_maxrss` begins."""
    large = np.ones(400 << 17)  # 400 MB
    spec = one_matching.Spec(1, 3, (3, 2, 8), rounds=1)
    measured = growth._process("test", spec)
    assert large.size and measured.peak_mb < one_matching.megabytes("VmRSS")
    assert measured.maps_mb == 3 * 3 * 2 * 8 * 4 / (1 << 20) and measured.blocks == 8
    with pytest.raises(ValueError, match=r"growth: the process for test ended .*give smaller --growth_sizes"):
        growth._process("test", spec._replace(gallery=0))


def test_stand_ins_are_as_sparse_as_real_maps():
    gallery = stand_ins.drawn(4, shape=(10, 3, 512), seed=0)
    probes = stand_ins.cropped(stand_ins.drawn(4, shape=(10, 3, 512), seed=0, view=1), seed=0)
    blocks = problem.Problem.of(probes, gallery, scales=(1,), l1=0.4)
    active = np.mean(
        [np.count_nonzero(codes, axis=0) for codes in peers.sparse_encode(blocks, algorithm="lasso_lars")()]
    )
    assert 0.5 < active < 3
    distances = problem.oracle(blocks)
    assert (distances.argmin(axis=1) == np.arange(4)).all()
    copies = list(stand_ins.perturbed(gallery, 6, seed=0))
    assert len(copies) == 6 and all((copy >= 0).all() for copy in copies) and not np.allclose(copies[0], copies[4])


def test_growth_runs_the_same_matching_once(monkeypatch):
    chosen = settings.Growth(growth_sizes=(5, 20), growth_maps=("3x2", "2x2"), memory_probes=4, memory_gallery=30)
    specs, processes = growth.specs(chosen, rounds=1, l1=0.4, seed=0), []

    def process(name, spec):
        processes.append(spec)
        return one_matching.Measured(2.0, 1.0, 100.0, 110.0, 150.0, 5.0, 8)

    monkeypatch.setattr(growth, "_process", process)
    part = growth.run(specs, progress=False)
    assert len(processes) == len(set(processes)) == 5  # six lines, of which two are the same
    assert part.figures["growth/gallery/20/pairs_per_second"] == part.figures["growth/shape/3x2x512/pairs_per_second"]
    assert [len(table.rows) for table in part.tables] == [2, 2, 2]
    (_, peak, imported, held, rest, _) = part.tables[0].rows[0][-6:]
    assert (peak, imported, held, rest) == (150, 100, 10, 40)


def test_store_reads_maps_of_earlier_versions(tmp_path):
    """Lists of numbers were text."""
    about = {"crop_height": ["0.5", "0.75"], "mean": ["0.485", "0.456", "0.406"], "size": [8, 4]}
    values = np.arange(6, dtype=np.float32)
    np.savez(tmp_path / "m.npz", **{"k/about": json.dumps(about), "k/values": values, "k/shapes": [[1, 2, 3]]})
    now = {"crop_height": (0.5, 0.75), "mean": (0.485, 0.456, 0.406), "size": (8, 4)}
    store = maps.Store(tmp_path / "m.npz")
    (found,) = store.get("k", now, pytest.fail)
    np.testing.assert_array_equal(found, values.reshape(1, 2, 3))
    with pytest.raises(ValueError, match=r"kept_maps .* other k maps \(crop_height: "):
        store.get("k", now | {"crop_height": (0.5, 0.8)}, pytest.fail)


def test_table_text_aligns_values_and_marks_what_is_missing():
    rows = [("ours", 1, None, 1234, 0.5), ("theirs", alternating.Spread(2.0, 1.5, 30.0), 2.5, 7, "-")]
    table = outcome.Table("Title", ("who", "ratio (range)", "of medians", "pairs", "x"), rows, ["a note"])
    title, _, _, rule, first, second, _, note = table.text().rstrip("\n").split("\n")
    assert title == "Title" and note == "  a note"
    assert first.split() == ["ours", "1", "-", "1,234", "0.5"] and second.split()[1:5] == ["2", "(1.5", "-", "30)"]
    assert len(first) == len(second) == len(rule)


def test_figures_of_a_ratio_are_four_numbers():
    part = outcome.Part([], {"a/b": alternating.Ratio(alternating.Spread(2.0, 1.0, 3.0), 2.5), "a/c": 4})
    assert part.flat() == {
        "a/b/ratio": 2,
        "a/b/ratio_low": 1,
        "a/b/ratio_high": 3,
        "a/b/ratio_of_medians": 2.5,
        "a/c": 4,
    }


def test_settings_of_image_sizes_are_parsed():
    chosen = settings.Network(network_sizes=("320x120/32",), batches=(4, 8))
    assert chosen.cases == [settings.Case(320, 120, 32, 4), settings.Case(320, 120, 32, 8)]
    assert settings.Steps(step_size="64x32/16", step_batch=3).case == settings.Case(64, 32, 16, 3)
    assert settings.Growth(growth_maps=("10x3",)).shapes == [(10, 3, settings.CHANNELS)]


def test_stages_are_counted_by_hand():
    """The first answer of two probes is at the places 0 and 20 of the stripes, its second at 40 and 1."""
    rows, figures = stages._recall({"stripes": np.array([[0, 40], [20, 1]])}, 50)
    assert figures["stages/stripes/first@16"] == 50 and figures["stages/stripes/first@32"] == 100
    assert figures["stages/stripes/first10@32"] == 75 and "stages/stripes/first@64" not in figures
    assert rows[0][:4] == ("stripes, first", 50, 100, None)
    exact = np.arange(24, dtype=float).reshape(2, 12)
    swapped = exact.copy()
    swapped[0, :2], swapped[1, [9, 10]] = exact[0, 1::-1], exact[1, [10, 9]]
    rows, _ = stages._changes({"float32": exact, "float16": exact, "bfloat16": swapped})
    assert rows == [("float16", 0, 0, 0), ("bfloat16", 50, 5, 1)]
