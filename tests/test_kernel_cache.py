"""Compiling is announced once, before it begins; what is kept is used without a word."""

import os
import subprocess
import sys

import pytest

from tests.runners import ROOT

# The smallest kernel there is, and one that is not ours.
PROGRAM = """
import sys

import numba
import numpy as np



print("before", file=sys.stderr)
numba.njit(lambda x: x + 1)(1)
print("others", file=sys.stderr)
from data import _recolour_kernel as recolour_kernel

for number in range(2):
    print("use", number, file=sys.stderr)
    recolour_kernel.recolour(np.zeros((2, 1, 3), np.uint8), np.ones(3))
"""


def lines(**environment):
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=True
    )
    return told.stderr.splitlines()


@pytest.mark.slow
def test_it_is_said_once_before_and_never_again(tmp_path):
    first = lines(NUMBA_CACHE_DIR=str(tmp_path))
    assert [line for line in first if "dsr_jax" not in line] == ["before", "others", "use 0", "use 1"]
    (said,) = (line for line in first if "dsr_jax" in line)
    assert first[3] == said, "when the kernel is first used"
    (folder,) = tmp_path.iterdir()
    assert said.startswith("dsr_jax: compiling for this processor, once,") and said.endswith(f"kept in {folder}")
    assert lines(NUMBA_CACHE_DIR=str(tmp_path)) == ["before", "others", "use 0", "use 1"]


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_says_why(tmp_path):
    (tmp_path / "file").touch()
    for _ in range(2):
        (said,) = (line for line in lines(NUMBA_CACHE_DIR=str(tmp_path / "file")) if "dsr_jax" in line)
        assert (
            f"again at every start: the machine code cannot be kept in {tmp_path / 'file'} (Not a directory)." in said
        )
        assert said.endswith("Set NUMBA_CACHE_DIR to a folder that can be written")
