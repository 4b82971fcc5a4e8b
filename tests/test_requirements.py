"""Requirements and extras: what each public module imports, and that reading a config imports no TFDS."""

import configparser
import importlib.metadata
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import data
from data.builders import builder
from tests.runners import ROOT

# The extra that each module needs; "" is none.
MODULES = {
    "": [
        "match",
        "blocks",
        "reconstruction",
        "maxsim",
        "metrics",
        "centring",
        "map_file",
        "calibration",
        "shortlist",
        "matching.streaming",
        "evaluation.protocols",
        "baselines",
        "adapters.wildlife",
        "adapters.timm_maps",
        "adapters.ray_shards",
    ],
    "networks": ["fcn", "resnet", "ensemble", "networks", "weights", "extract", "losses"],
    "evaluation": ["adapters.tracks", "evaluation.reranking", "evaluation.verification", "evaluation.intervals"],
    "calibration": ["calibration", "evaluation.falling_curves"],
    "report": ["report"],
    "training": ["experiments.training.checkpoint"],
    "data": [
        "data",
        "data.builders.builder",
        "data.prepare",
        "data.builders.cuhk03",
        "data.builders.coco_boxes",
        "data.builders.synthetic",
    ],
    "serving": ["serving"],
    "gallery": ["gallery.opening"],
    "serve": ["experiments.serve"],
}
BLOCK = """
import importlib, sys

class Absent:
    names = set(sys.argv[1].split())

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""
LAZY = """
import sys
sys.modules["tensorflow_datasets"] = None  # importing it fails
import importlib, pkgutil
import data, experiments
from data import browse, prepare
from experiments import evaluate
from data import binding

for found in pkgutil.walk_packages(experiments.__path__, "experiments."):
    importlib.import_module(found.name)
assert "cuhk03" in data.DATASETS and len(list(data.DATASETS)) == len(data.DATASETS) > 10
assert "--dataset" in binding.help_text(evaluate.Settings, "")
given = ["--flagfile=experiments/flags/cuhk03_evaluate.flags", "--workdir=x"]
assert binding.read(evaluate.Settings, given).data.dataset == "cuhk03"
try:
    data.DATASETS["cuhk03"]
except ModuleNotFoundError:
    print("only a builder needs it")
"""


def options() -> dict[str, list[str]]:
    """The requirements of each extra as setup.cfg lists them; "" are those without an extra."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = {name: text.split("\n") for name, text in config["options.extras_require"].items()}
    extras[""] = config["options"]["install_requires"].split("\n")
    return {name: [line for line in lines if line.strip()] for name, lines in extras.items()}


def needed(name: str, extra: str) -> list[str]:
    """What an installed distribution requires, with an extra of its own or without ("")."""
    requirements = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    return [str(r) for r in requirements if r.marker is None or r.marker.evaluate({"extra": extra})]


def installed(lines: list[str], found: set[tuple[str, str]] | None = None) -> set[str]:
    """The distributions that these requirements bring, with those that they need in turn."""
    found = set() if found is None else found
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for other, extra in found if other == name}:
            found.add((name, extra))
            installed(options()[extra] if name == "dsr-jax" else needed(name, extra), found)
    return {name for name, _ in found}


def blocked(extra: str) -> list[str]:
    """Top-level modules of distributions that some extra brings, but not this one."""
    has = installed([f"dsr_jax[{extra}]" if extra else "dsr_jax"])
    absent = installed(["dsr_jax[all]"]) - has
    sources = importlib.metadata.packages_distributions()
    names = {module: {canonicalize_name(name) for name in sources[module]} for module in sources}
    return [module for module in names if names[module] & absent and not names[module] & has]


def imported(names: list[str], modules: list[str]) -> subprocess.CompletedProcess[str]:
    """A process that imports the modules while the names are blocked."""
    command = [sys.executable, "-c", BLOCK, " ".join(names), *modules]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_requirements_of_match_alone():
    names = {Requirement(line).name for line in options()[""]}
    assert names == {"jax", "jaxtyping", "numba", "numpy", "threadpoolctl", "tqdm"}


def test_all_is_every_extra_of_the_library():
    extras = options().keys() - {"", "all", "test", "peers", "ray"}  # ray is large, and asked for by name
    assert extras == MODULES.keys() - {""}
    assert installed(["dsr_jax[all]"]) == installed([f"dsr_jax[{extra}]" for extra in extras])
    assert installed(["dsr_jax[all]"]) <= installed(["dsr_jax[test]"])


@pytest.mark.slow
@pytest.mark.parametrize("extra", MODULES, ids=lambda extra: extra or "none")
def test_modules_import_with_the_other_extras_blocked(extra):
    modules = [name if name.startswith(("data", "experiments.")) else f"dsr_jax.{name}" for name in MODULES[extra]]
    done = imported(blocked(extra), modules)
    assert done.returncode == 0, done.stderr


def test_what_is_blocked_cannot_be_imported():
    done = imported(blocked(""), ["dsr_jax.fcn"])
    assert done.returncode and "No module named 'flax'" in done.stderr


def test_a_gallery_on_disk_names_its_extra():
    done = imported(blocked(""), ["dsr_jax.match", "dsr_jax.gallery.opening"])
    assert done.returncode and "dsr_jax[gallery]" in done.stderr


@pytest.mark.slow
def test_a_config_is_read_without_tensorflow_datasets():
    done = subprocess.run([sys.executable, "-c", LAZY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "only a builder needs it\n"), done.stderr


def test_datasets_are_builders():
    assert all(issubclass(found, builder.Builder) for found in data.DATASETS.values())


def test_the_class_of_a_data_set_is_called_like_its_key():
    """Its name is that of the prepared folder, and messages tell users to give it as --dataset."""
    assert {key: found.name for key, found in data.DATASETS.items()} == {key: key for key in data.DATASETS}
