"""Paired comparison of two evaluations, and of what makes none."""

import numpy as np
import pytest

from experiments.evaluation import paired
from tests.runners import evaluated, finished, start


def test_a_missing_p_value_is_no_number_on_the_page():
    alone = {"rank1": np.ones(2), "rank5": np.ones(2), "rank10": np.ones(2), "mAP": np.ones(2)}
    assert paired.cells(alone, alone, np.array([1, 1]))[-2:] == (None, None)


@pytest.mark.slow
def test_two_evaluations_are_compared_probe_by_probe_or_refused(people, network, tmp_path):
    for name, method in (("a", "resizing"), ("b", "resizing"), ("c", "dsr_single")):
        evaluated(people, network, tmp_path / name, f"--methods={method}")
    output, _ = finished(start("experiments.difference", f"--first={tmp_path / 'a'}", f"--second={tmp_path / 'b'}"))
    assert "resizing/shots1  0.0 (0.0-0.0)" in " ".join(output.split(" ")) and "a - b" in output
    apart = start("experiments.difference", f"--first={tmp_path / 'a'}", f"--second={tmp_path / 'c'}")
    _, errors = apart.communicate(timeout=300)
    assert apart.returncode == 1 and "nothing is in both" in errors and "dsr_single/shots1" in errors
