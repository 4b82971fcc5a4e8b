"""The documents say what is true: Python blocks run, commands name modules, flags, files and targets that exist.

A block under `<!-- not run: reason -->` is skipped, and the reason printed. Long commands are not started: their
modules, flags, the values of flags, flag files and make targets are checked.
"""

import contextlib
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from absl import flags

from data import binding

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "README.md", ROOT / "WORKSPACE.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [file for file in FILES if file.exists()]
FLAG_FILES = sorted((ROOT / "experiments" / "flags").glob("*.flags"))
BLOCK = re.compile(
    r"(?:<!--\s*not run:\s*(?P<reason>.*?)\s*-->\s*\n)?^(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)\s*$",
    re.MULTILINE | re.DOTALL,
)
STANDARD = {"flagfile", "help", "helpfull"}


class Block(NamedTuple):
    """A fenced block: where it is, its language, its text, and why it is not run."""

    place: str
    language: str
    code: str
    reason: str | None


def blocks(file: Path) -> Iterator[Block]:
    text = file.read_text()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("fence")) + 1
        yield Block(f"{file.relative_to(ROOT)}:{line}", found["language"], found["code"], found["reason"])


ALL = [block for file in DOCUMENTS for block in blocks(file)]


def named(language: str) -> list:
    return [pytest.param(block, id=block.place) for block in ALL if block.language == language]


def commands(code: str) -> list[list[str]]:
    """The lines of a shell block without prompts and comments, continued lines joined, its variables put in."""
    found, variables = [], dict[str, str]()
    for line in code.replace("\\\n", " ").splitlines():
        with_values = re.sub(r"\$(\w+)", lambda name: variables.get(name[1], name[0]), line.removeprefix("$ "))
        words = shlex.split(with_values, comments=True)
        if len(words) == 1 and (assigned := re.fullmatch(r"(\w+)=(.*)", words[0])):
            variables[assigned[1]] = assigned[2]
        elif words:
            found.append(words)
    return found


def known_flags(module: str) -> flags.FlagValues:
    """The flags of a command."""
    spec = importlib.util.find_spec(module)
    assert spec, f"there is no module {module}"
    return binding.flag_values(importlib.import_module(module).Settings)


def check_flag(word: str, known: flags.FlagValues) -> None:
    """One `--name=value` exists, and its value is legal."""
    name, _, value = word.removeprefix("--").partition("=")
    if name == "flagfile":
        assert (ROOT / value).is_file(), f"no file {value}"
        for line in flag_lines(ROOT / value):
            check_flag(line, known)
        return
    bare = name if name in known else name.removeprefix("no")
    assert bare in known or bare in STANDARD, f"no flag --{name}"
    if value and bare in known:
        known[bare].parser.parse(value)


def flag_lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("--")]


def check_targets(names: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(names) <= targets, f"no make target {sorted(set(names) - targets)}"


def check_command(words: list[str]) -> None:
    if words[0] == "make":
        check_targets([word for word in words[1:] if "=" not in word and not word.startswith("-")])
    elif words[0].startswith("python") and words[1:2] == ["-m"] and words[2].split(".")[0] in ("data", "experiments"):
        for word in words[3:]:
            assert word.startswith("--"), f"{word} is no flag"
            check_flag(word, known_flags(words[2]))


@pytest.mark.slow
@pytest.mark.parametrize("block", named("python"))
def test_python_blocks_run(block, tmp_path, monkeypatch):
    if block.reason is not None:
        pytest.skip(f"{block.place}: {block.reason}")
    monkeypatch.chdir(tmp_path)
    code = compile(block.code, block.place, "exec")
    with contextlib.redirect_stdout(io.StringIO()), jax.numpy_dtype_promotion("standard"):
        with jax.numpy_rank_promotion("allow"):
            exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("block", named("sh") + named("bash") + named("shell") + named("console"))
def test_commands_name_what_exists(block):
    """Those of blocks that are not run here as well."""
    for words in commands(block.code):
        check_command(words)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_links_and_targets_in_the_text_exist(file):
    text = BLOCK.sub("", file.read_text())
    check_targets([name for span in re.findall(r"`make ([^`]*)`", text) for name in span.split() if "=" not in name])
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    missing = [link for link in links if not (file.parent / link).exists()]
    assert not missing, f"{file.name} links to {missing}"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_paths_and_modules_in_the_text_exist(file):
    text = BLOCK.sub("", file.read_text())
    paths = re.findall(r"`((?:dsr_jax|data|experiments|tests|docs)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for name in set(re.findall(r"`((?:dsr_jax|data|experiments)(?:\.\w+)+)`", text)):
        pkgutil.resolve_name(name)  # raises where it does not exist


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_lines_of_prose_fit_into_120_columns(file):
    lines = [line for line in BLOCK.sub("", file.read_text()).splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("package", ["dsr_jax", "data", "experiments"])
def test_references_in_the_code_lead_to_documents_of_the_project(package):
    for file in (ROOT / package).rglob("*.py"):
        text = file.read_text()
        named = set(re.findall(r"\bdocs/[\w-]+\.md", text))
        assert {name for name in named if not (ROOT / name).exists()} == set(), file
        assert not re.search(r"\b(DESIGN|FACTS)\b|\bshared/", text), file


@pytest.mark.parametrize("file", FLAG_FILES, ids=lambda file: file.name)
def test_flag_files_begin_with_what_they_do_and_name_flags_that_exist(file):
    text = file.read_text()
    found = re.search(r"python -m (experiments\.\w+)", text)
    assert text.startswith("# ") and found, f"{file.name} must begin with what it does and the command"
    for line in flag_lines(file):
        check_flag(line, known_flags(found[1]))


def modules() -> list[str]:
    return [f"{file.parent.name}.{file.stem}" for file in [*sorted((ROOT / "experiments").glob("*.py"))]]


@pytest.mark.parametrize("module", [name for name in modules() if not name.endswith("__")])
def test_commands_in_the_docstrings_of_runners_name_what_exists(module):
    about = inspect.getdoc(importlib.import_module(module)) or ""
    for block in re.findall(r"(?:^    .*\n?)+", about, re.MULTILINE):
        for words in commands(block):
            check_command(words)


# The test itself


@pytest.mark.parametrize(
    "command, message",
    [
        ("make dmo", "no make target"),
        ("python -m experiments.finetun --steps=1", "no module"),
        ("python -m experiments.evaluate --step=1", "no flag --step"),
        ("python -m experiments.evaluate --flagfile=experiments/flags/none.flags", "no file"),
        ("python -m experiments.pretrain --onnx=x", "no flag --onnx"),
        ("python -m data.prepare people.csv", "is no flag"),
    ],
)
def test_wrong_commands_are_found(command, message):
    with pytest.raises(AssertionError, match=message):
        check_command(shlex.split(command))


def test_wrong_values_are_found():
    with pytest.raises(ValueError):
        check_command(["python", "-m", "experiments.evaluate", "--partial=half"])


def test_blocks_are_found_with_their_reasons(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    text = "a\n```python\nx = 1\n```\n<!-- not run: needs a GPU -->\n```sh\nmake all\n```\n\n```sh\nmake b\n```\n"
    (tmp_path / "a.md").write_text(text)
    found = list(blocks(tmp_path / "a.md"))
    assert [(b.language, b.code, b.reason) for b in found] == [
        ("python", "x = 1\n", None),
        ("sh", "make all\n", "needs a GPU"),
        ("sh", "make b\n", None),
    ]
    assert found[1].place == "a.md:6"
