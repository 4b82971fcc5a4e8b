"""A training that is killed and started again ends bit for bit where it would have; `kills` does it at length.

DSR_KILLS=20 in the environment kills both runners so often; by default fine-tuning once, within a save.
"""

import os

import pytest

from . import kills, runners

COUNT = int(os.environ.get("DSR_KILLS", "0"))
STEPS = 12 * (COUNT or 1) + 24


@pytest.mark.slow
@pytest.mark.parametrize("runner", sorted(kills.PHASES) if COUNT else ["finetune"])
def test_killed_at_any_moment_it_ends_the_same(people, tmp_path, runner):
    runners.finished(kills.start(runner, people, tmp_path / "whole", STEPS))
    found = kills.killed(runner, people, tmp_path / "killed", steps=STEPS, kills=COUNT or 1, seed=1)
    assert any(kill.logged for kill in found) and any(kill.within_save for kill in found)
    assert kills.differences(tmp_path / "whole", tmp_path / "killed") == []


def test_a_difference_would_be_noticed(tmp_path):
    for name, loss in (("one", 0.5), ("same", 0.5), ("other", 0.25)):
        (tmp_path / name).mkdir()
        for file in ("network.safetensors", "metrics.json"):
            (tmp_path / name / file).write_bytes(b"1")
        seconds = len(name)  # of which no two runs have the same
        (tmp_path / name / "log.jsonl").write_text(f'{{"step": 1, "loss": {loss}, "waiting": {seconds}}}\n')
    assert kills.differences(tmp_path / "one", tmp_path / "same") == []
    assert kills.differences(tmp_path / "one", tmp_path / "other") == ["log.jsonl"]
    (tmp_path / "same" / "network.safetensors").write_bytes(b"2")
    assert kills.differences(tmp_path / "one", tmp_path / "same") == ["network.safetensors"]
