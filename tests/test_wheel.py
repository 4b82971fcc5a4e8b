"""The wheel: the library alone, installed into an empty folder, runs the README's first example from elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.runners import ROOT

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
LOCAL = ("--no-deps", "--no-index", "--no-build-isolation")  # no network, only what is installed
FIRST = "import dsr_jax, importlib.util, sys; print(dsr_jax.__file__, *map(importlib.util.find_spec, sys.argv[1:]))"
# Without site (-S) no .pth file is read, so an editable installation of the checkout cannot be found.
RUN = (
    "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep); sys.argv[1:] = sys.argv[2:]; exec(sys.stdin.read())"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, so that nothing is left in it and nothing that lies in it gets in."""
    copy, out = (tmp_path_factory.mktemp(name) for name in ("checkout", "dist"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("dsr_jax", "data", "experiments", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*PIP, "wheel", str(copy), *LOCAL, "--wheel-dir", str(out)], cwd=out, check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A folder with the wheel in it and nothing else, emptied first.

    Its place and the files' times are always the same, as Numba looks at both before it takes the machine code that an
    earlier run compiled; the folder of that code is named after the kernels' contents.
    """
    folder = ROOT / ".cache" / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([*PIP, "install", str(wheel), *LOCAL, "--target", str(folder)], cwd=wheel.parent, check=True)
    for file in folder.rglob("*.py"):
        os.utime(file, (0, 0))
    return folder


def run(program: str, site: Path, place: Path, *arguments: str) -> str:
    """What a program prints in an empty folder, with the wheel and the requirements on its path."""
    paths = [str(site), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(ROOT / ".cache" / "numba")}
    command = [sys.executable, "-I", "-S", "-c", RUN, os.pathsep.join(paths), *arguments]
    done = subprocess.run(
        command, input=program, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_library_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "dsr_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"dsr_jax/py.typed", "dsr_jax/report/templates/report.html"} <= names


@pytest.mark.slow
def test_the_readme_s_first_example_runs_from_another_folder(site, tmp_path):
    where, *others = run(FIRST, site, tmp_path, "data", "experiments").split()
    assert Path(where).parent == site / "dsr_jax" and others == ["None", "None"]
    example = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "match.distances" in example
    assert run(example, site, tmp_path).startswith("[[0.")
