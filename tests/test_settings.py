"""Settings: dataclasses bound to flags, and configurations of earlier versions."""

import ast
import dataclasses
import json

import pytest

from data import binding
from experiments import benchmark_pipeline, benchmark_speed, evaluate, export, finetune, pretrain, search, serve, sweep
from experiments.settings import former, run
from experiments.settings.matching import Comparison, Matching
from tests.runners import ROOT, call

RUNNERS = (benchmark_pipeline, benchmark_speed, evaluate, export, finetune, pretrain, search, serve, sweep)


@dataclasses.dataclass(frozen=True)
class Small:
    """Settings of a runner that there is not."""

    place: run.Place = run.Place()
    matching: Matching = Matching(coder="active_set")
    comparison: Comparison = Comparison()
    given: frozenset[str] = frozenset()


def test_read_gives_values_of_their_types_and_the_names_that_were_given(tmp_path):
    (tmp_path / "my.flags").write_text("# mine\n--shots=1,whole\n--trials=3\n")
    found = binding.read(Small, [f"--flagfile={tmp_path / 'my.flags'}", "--noprogress", "--trials=4", "--l1=0.5"])
    assert found.comparison.shots == ("1", "whole") and found.comparison.trials == 4
    assert found.matching == Matching(coder="active_set", l1=0.5) and not found.place.progress
    assert found.given == {"shots", "trials", "l1", "progress"}


def test_read_knows_former_names():
    assert binding.read(Small, ["--match_l1=0.3"]).matching.l1 == 0.3
    assert binding.read(Small, ["--match_l1=0.3"]).given == {"l1"}


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--trials=0", "--trials=0"),
        ("--trials=many", "--trials=many"),
        ("--shots=none", "shots must be .*got none"),
        ("--methods=", "methods must be .*got nothing"),
        ("--trails=3", "trails.*Did you mean: trials"),
        ("people.csv", "what is 'people.csv'"),
    ],
)
def test_read_refuses(argument, message):
    with pytest.raises(ValueError, match=message):
        binding.read(Small, [argument])


def test_replaced_refuses_names_that_are_none():
    assert binding.replaced(Small(), workdir="a", l1=1.0).matching.l1 == 1.0
    with pytest.raises(TypeError, match="stride"):
        binding.replaced(Small(), stride=3)


def test_values_are_what_flags_say():
    found = binding.values(binding.read(Small, ["--trials=4"]))
    assert found["trials"] == 4 and found["coder"] == "active_set" and list(found) == binding.names(Small)


def test_help_text_groups_flags():
    text = binding.help_text(Small, "What it does.")
    places = [text.index(part) for part in ("What it does.", "Where this run is:", "--workdir", "Matching:", "--l1")]
    assert places == sorted(places) and "match_l1" not in text


@pytest.mark.parametrize("runner", RUNNERS)
def test_names_are_unique_and_each_is_read_somewhere(runner):
    names = binding.names(runner.Settings)
    assert len(names) == len(set(names))
    files = sorted((ROOT / "experiments").rglob("*.py"))
    read = {
        node.attr for path in files for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Attribute
    }
    assert set(names) <= read


def test_flags_are_read_in_one_place():
    reading = [
        str(path.relative_to(ROOT / "experiments"))
        for path in sorted((ROOT / "experiments").rglob("*.py"))
        if "from absl" in path.read_text() or "FLAGS" in path.read_text()
    ]
    assert reading == ["run.py"]


# Configurations of earlier versions


def test_translated_reads_lists_of_text_and_former_names():
    before = {"size": ["64", "32"], "match_l1": 0.4, "crop_height": ["0.5", "0.75"], "methods": ["amc"]}
    now = {"size": [64, 32], "l1": 0.4, "crop_height": [0.5, 0.75], "methods": ["amc"]}
    assert former.translated(before, now, {}) == now


def test_translated_drops_what_had_no_effect_and_keeps_what_had():
    now = {"l1": 0.4}
    assert former.translated({"l1": 0.4, "ranked_lists": 5, "window_stride": 0, "maps": None}, now, {}) == now
    assert former.translated({"l1": 0.4, "window_stride": 8}, now, {}) == {"l1": 0.4, "window_stride": 8}


def test_translated_reads_sampling_as_images_per_identity():
    for sampling, images in (("shuffled", 0), ("balanced", 4)):
        before = {"sampling": sampling, "images_per_identity": 4}
        assert former.translated(before, {"images_per_identity": 0}, {}) == {"images_per_identity": images}


def test_translated_takes_defaults_for_what_there_was_not():
    assert former.translated({}, {"l1": 0.5}, {"l1": 0.4}) == {"l1": 0.4}
    assert former.translated({"width": 1.0}, {"width": None}, {"width": None}) == {"width": None}


def test_gone_is_json():
    assert json.loads(json.dumps(former.GONE)) == former.GONE


def test_translated_compares_two_penalties_that_are_one_today():
    now = {"l1": 0.3}
    assert former.translated({"l1": 0.3, "match_l1": 0.3}, now, {}) == now
    assert former.translated({"l1": 0.3, "match_l1": 0.4, "evaluate": False}, now, {})["l1"] == 0.3
    assert former.translated({"l1": 0.3, "match_l1": 0.4}, now, {}) == {"l1": 0.3, "match_l1": 0.4}


def test_translated_ignores_what_only_a_page_shows():
    assert former.translated({"ranked_lists": 1, "paper": "market1501"}, {}, {}) == {}


def test_width_of_one_is_the_default():
    for before, now in ((1.0, None), (None, 1.0)):
        assert former.translated({"width": before}, {"width": now}, {"width": None}) == {"width": now}


@pytest.mark.parametrize(
    "runner, argument, message",
    [
        (finetune, "--match_l1=0.4", "It is a flag of evaluate (as --l1)"),
        (finetune, "--patch_share=0.5", "It is a flag of pretrain"),
        (pretrain, "--dataset=none", "dataset 'none' is unknown: use one of "),
        pytest.param(finetune, "--warm_up=nan", "warm_up is a share of the updates", marks=pytest.mark.slow),
    ],
)
def test_errors_say_what_to_do(tmp_path, capsys, runner, argument, message):
    assert call(runner, f"--workdir={tmp_path / 'out'}", f"--data_dir={tmp_path}", argument) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_empty_list_is_none_where_none_is_the_default():
    assert binding.parsed(evaluate.Settings, "rerank", "") is None
