"""Import directions: between the packages, between the rooms of `data`, and no circle among modules."""

import ast
import graphlib
from collections.abc import Iterator

import pytest

from tests.runners import ROOT

PACKAGES = ("dsr_jax", "data", "experiments")
# What a module of each room of `data` may import of `data`; the room itself is understood.
ROOMS = {
    "sources": (),
    "synthetic": (),
    "reading": ("sources",),
    "builders": ("sources", "synthetic", "reading"),
    "inspection": ("sources", "reading", "builders"),
    "commands": ("sources", "reading", "builders", "inspection"),
}
TOP = {
    **dict.fromkeys(("data.source", "data.views", "data.sampling", "data.decoded", "data._recolour_kernel"), "reading"),
    **dict.fromkeys(("data", "data.binding", "data.command", "data.prepare", "data.browse", "data.draw"), "commands"),
}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(module: str, *, anywhere: bool = True) -> Iterator[str]:
    """The modules of this project that a module imports; those inside functions and `if` only if ``anywhere``."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else node.module for name in names)


def room(module: str) -> str:
    """The room of a module of `data`."""
    return TOP.get(module) or module.split(".")[1]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package):
    allowed = {"dsr_jax": {"dsr_jax"}, "data": {"dsr_jax", "data"}, "experiments": set(PACKAGES)}[package]
    found = {(m, name) for m in FILES if m.split(".")[0] == package for name in imports(m)}
    assert {pair for pair in found if pair[1].split(".")[0] not in allowed} == set()


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_of_data_import_in_one_direction(name):
    modules = [module for module in FILES if module.split(".")[0] == "data" and room(module) == name]
    assert modules, f"the room {name} is empty"
    found = {(m, other) for m in modules for other in imports(m) if other.split(".")[0] == "data"}
    assert {pair for pair in found if room(pair[1]) not in (name, *ROOMS[name])} == set()


def test_every_module_of_data_is_in_a_known_room():
    assert {room(module) for module in FILES if module.split(".")[0] == "data"} == set(ROOMS)


def test_no_circle_among_modules():
    graph = {module: set(imports(module, anywhere=False)) - {module} for module in FILES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(FILES)


def test_imports_are_seen_in_every_form(tmp_path, monkeypatch):
    file = tmp_path / "module.py"
    file.write_text("import data\nfrom data import views, load\nfrom data.source import Source\nimport numpy\n")
    monkeypatch.setitem(FILES, "module", file)
    assert list(imports("module")) == ["data", "data.views", "data", "data.source"]
