"""Divergence: what stops a training, and the batch that it leaves."""

import numpy as np
import pytest

from experiments import workdir as workdirs
from experiments.training import divergence

BATCH = {"inputs": np.arange(6, dtype=np.uint8).reshape(2, 3), "identities": np.array([1, 0], np.int32)}


def check(folder, **figures):
    workdir = workdirs.Workdir(folder, {})
    divergence.check(figures, BATCH, phase="reconstruction", step=7, limit=100.0, workdir=workdir)


@pytest.mark.parametrize(
    "figures", [{"loss": -100.0}, {"loss": 3.0, "gradient_norm": 1e9}, {"accuracy": 0.0}, {"alive": 0.1}]
)
def test_sound_figures_leave_nothing(tmp_path, figures):
    check(tmp_path, **figures)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "figures, message",
    [
        ({"loss": float("nan"), "accuracy": 0.5}, "reconstruction: loss is nan at step 7: lower the learning rate"),
        ({"loss": 1.0, "gradient_norm": float("inf")}, "gradient_norm is inf at step 7"),
        ({"loss": 101.0}, "loss is 101, beyond --loss_limit=100, at step 7"),
        ({"loss": -101.0}, "loss is -101, beyond"),
        ({"loss": 6.5, "alive": 0.0}, "maps of all images are zero .* network is dead at step 7: lower"),
    ],
)
def test_others_stop_it_and_leave_the_batch(tmp_path, figures, message):
    with pytest.raises(ValueError, match=message):
        check(tmp_path, **figures)
    assert [file.name for file in tmp_path.iterdir()] == [divergence.FILE]
    with np.load(tmp_path / divergence.FILE) as kept:
        assert kept["step"] == 7 and str(kept["phase"]) == "reconstruction"
        assert all(np.array_equal(kept[name], values) for name, values in BATCH.items())
        assert kept["inputs"].dtype == np.uint8
