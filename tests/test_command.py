"""What all commands share: ~ is the home folder in every flag that holds a path, and any name can be shown."""

import io
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

import data.browse
import data.draw
import data.prepare
from data import binding, command
from dsr_jax import map_file, weights
from experiments import (
    benchmark_pipeline,
    benchmark_speed,
    difference,
    ensemble,
    evaluate,
    export,
    finetune,
    pretrain,
    search,
    serve,
    sweep,
    together,
    workdir,
)
from tests.commands import command as called
from tests.runners import METHODS, PARAMS, ROOT, call, metrics_of, start, write_people

# Text that is no path. A flag is said here to be none, or is declared as a path.
NO_PATHS = {
    "dataset",
    "coordinator_address",
    "coder",
    "centred",
    "values",
    "setting",
    "step_size",
    "map_tensor",
    "after",
    "before",
    "host",
}
PATHS = {
    "calibration",
    "workdir",
    "data_dir",
    "weights",
    "maps",
    "frozen_cache",
    "kept_maps",
    "onnx",
    "out",
    "first",
    "second",
    "third",
    "source",
    "pictures",
    "gallery",
    "probe",
    "kept",
}
RUNNERS = (
    data.browse,
    data.draw,
    data.prepare,
    benchmark_pipeline,
    benchmark_speed,
    difference,
    ensemble,
    evaluate,
    export,
    finetune,
    pretrain,
    search,
    serve,
    sweep,
    together,
)


def texts(kind):
    """Name to whether it is a path, of the flags of a runner that are text and no choice."""
    values = binding.flag_values(kind)
    parsers = {name: values[name].parser for name in binding.names(kind)}
    plain = {name: type(parser) for name, parser in parsers.items()}
    return {
        name: kind is binding.PathParser
        for name, kind in plain.items()
        if kind in (binding.PathParser, flags.ArgumentParser)
    }


def test_every_flag_of_text_is_a_path_or_is_known_to_be_none():
    found = {name: is_path for runner in RUNNERS for name, is_path in texts(runner.Settings).items()}
    assert {name for name, is_path in found.items() if not is_path} == NO_PATHS
    assert {name for name, is_path in found.items() if is_path} == PATHS


def test_lists_hold_no_paths():
    """A list of paths would need a rule of its own."""
    hints = re.compile(r"\b(file|folder|path|workdir)s?\b", re.IGNORECASE)
    for runner in RUNNERS:
        values = binding.flag_values(runner.Settings)
        lists = [values[name] for name in binding.names(runner.Settings) if values[name].flag_type() == "comma list"]
        assert not [flag.name for flag in lists if hints.search(flag.help)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def one_flag(*arguments):
    values = flags.FlagValues()
    flags.DEFINE(binding.PathParser(), "place", None, "Where.", values)
    values(["program", *arguments])
    return values.place


def test_a_tilde_is_the_home_folder_wherever_the_flag_stands(home):
    assert one_flag("--place=~/a") == one_flag("--place", "~/a") == str(home / "a")
    assert one_flag("--place=~") == str(home)
    (home / "mine.flags").write_text("# mine\n--place=~/a b\n")
    assert one_flag("--flagfile=~/mine.flags") == str(home / "a b")
    assert one_flag("--place=~root/a") == os.path.expanduser("~root") + "/a" != "~root/a"
    assert one_flag("--place=a/~/b") == "a/~/b" and one_flag("--place=./~") == "./~" and one_flag("--place=") == ""


def test_a_home_that_nobody_has_is_an_error_unless_a_file_is_called_so(home):
    for given in ("~nobody-here/a", "~nobody-here"):
        with pytest.raises(flags.IllegalFlagValueError, match=rf"no home folder ~nobody-here: write \./{given}"):
            one_flag(f"--place={given}")
    Path("~$people.csv").touch()
    assert one_flag("--place=~$people.csv") == "~$people.csv"


def test_options_of_a_source_stay_behind_its_home(home, capsys):
    write_people(home, [(f"{role}.png", 1, 0, role, 1.0) for role in ("train", "probe", "gallery")])
    assert called(data.prepare, "--dataset=folder", "--source=~/people.csv", "--data_dir=~/data") == 0
    assert (home / "data" / "folder").is_dir()
    assert called(data.browse, "--dataset=folder", "--data_dir=~/data", "--out=~/page") == 0
    assert (home / "page" / "index.html").is_file()
    assert called(data.prepare, "--dataset=cuhk01", "--source=~/none#test=100", "--data_dir=~/data") == 1
    assert str(home / "none") in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_run_reads_and_writes_in_the_home_folder_and_goes_on_by_either_name(people, home):
    weights.save(home / "tiny.safetensors", PARAMS, weights.Card(width=1 / 32))
    common = ("--dataset=folder", f"--data_dir={people}", "--size=64,32", "--output_stride=16", "--noprogress")
    common = (*common, "--methods=resizing", "--trials=1", "--partial=none")
    assert call(evaluate, *common, "--weights=~/tiny.safetensors", "--workdir=~/out") == 0
    assert "resizing" in METHODS and metrics_of(home / "out")["probes"] == 5
    written = workdir.read_json(home / "out" / "config.json")["flags"]
    assert written["weights"] == str(home / "tiny.safetensors") and written["workdir"] == str(home / "out")
    assert call(evaluate, *common, f"--weights={home / 'tiny.safetensors'}", f"--workdir={home / 'out'}") == 0
    assert call(export, "--weights=~/tiny.safetensors", "--form=torchvision", "--out=~/deep/v.safetensors") == 0
    assert (home / "deep" / "v.safetensors").is_file()
    assert list(Path().iterdir()) == []


# Help whose reader leaves


def test_reader_may_leave(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with command.reader_may_leave():
            print("long" * 10_000)
        print("what Python flushes at its end")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["experiments.finetune", "data.prepare"])
def test_help_ends_quietly_where_its_reader_leaves(module):
    process = start(module, "--help")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=600) == 0
    process.stderr.close()


# A terminal without letters

DSR = ("--methods=dsr_single", "--trials=1")


class Ascii(io.TextIOWrapper):
    """A stream as Python makes it where LANG=C."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    def text(self):
        return self.buffer.getvalue().decode("ascii")


def test_every_command_begins_with_streams_that_show_anything():
    for path in sorted(path for folder in ("data", "experiments") for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and path.name != "one_matching.py":  # which prints numbers, to a program
            assert re.search(r"^    (command\.run|run\.main)\(main, Settings\)$", text, re.MULTILINE), path
    assert "command.begin(kind)" in (ROOT / "experiments" / "run.py").read_text(encoding="utf-8")


def test_what_has_no_letters_is_shown_as_escapes(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Ascii())
    command.show_anything()
    print("Jos\xe9 \u4eba \udcff")
    print("Jos\xe9", file=sys.stderr)
    assert sys.stdout.text() == "Jos\\xe9 \\u4eba \\udcff\n" and sys.stderr.text() == "Jos\\xe9\n"


ASCII = {"LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("locale", [ASCII, {**ASCII, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}], ids=["C", "bare C"])
@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (("data.prepare", "--dataset=folder", "--source=Jos\xe9/people.csv", "--check"), 1, r"Jos\xe9"),
        (("data.prepare", "--dataset=folder", "--source=Jos\xe9/none.csv", "--data_dir=d"), 1, r"Jos\xe9"),
        (("data.prepare", "--data_s=Jos\xe9"), 1, "Unknown command line flag 'data_s'"),
        (("experiments.evaluate", "--weights=Jos\xe9/none.npz", "--workdir=Jos\xe9/out"), 1, r"Jos\xe9"),
        (("experiments.evaluate", "Jos\xe9"), 1, r"what is 'Jos\xe9'"),
        (("experiments.evaluate", "--maps=Jos\xe9/maps.npz", "--workdir=Jos\xe9/o", *DSR), 0, r"report: Jos\xe9/o"),
    ],
)
def test_an_ascii_terminal_shows_the_message(tmp_path, monkeypatch, locale, arguments, code, said):
    monkeypatch.delenv("LC_ALL", raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    listed = [(f"\u4eba/{role}.png", 1, i % 2, role, 1.0) for i, role in enumerate(("train", "probe", "gallery"))]
    (tmp_path / "Jos\xe9").mkdir()
    write_people(tmp_path / "Jos\xe9", listed)
    map_file.write(
        tmp_path / "Jos\xe9" / "maps.npz",
        np.random.default_rng(0).random((2, 3, 2, 8)),
        identities=[1, 1],
        names=["Jos\xe9", "\u4eba"],
        roles=["probe", "gallery"],
    )
    process = start(*arguments, cwd=tmp_path)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == code and "codec" not in output + errors and "Traceback" not in errors, errors
    escaped = said if "LC_ALL" not in locale else said.replace(r"\xe9", r"\udcc3\udca9")
    assert escaped in output + errors
