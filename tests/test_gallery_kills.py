"""Writers of a gallery that are killed at random moments leave it as before their change, or as after it."""

import re
import subprocess
import sys

import pytest

from tests.runners import ROOT


@pytest.mark.slow
def test_killed_writers_and_a_reader_beside_them(tmp_path):
    command = [sys.executable, "-m", "tests.gallery_kills", "--kills=4", f"--folder={tmp_path / 'killed'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, looks = re.search(r"^(\d+) kills, .* (\d+) looks of a reader", done.stdout).groups()
    assert int(kills) == 4 and int(looks) > 0
