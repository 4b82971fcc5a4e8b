"""Several evaluations together: the mean of their distances, and what is refused."""

import re

import jax
import numpy as np
import pytest

from dsr_jax import weights
from dsr_jax.evaluation import protocols
from experiments import together
from experiments.evaluation import comparison, methods
from tests.runners import PARAMS, call, evaluated, metrics_of

FIGURES = ("rank1", "rank5", "rank10", "mAP", "EER", "TPR@0.01")


@pytest.fixture(scope="module")
def runs(people, network, tmp_path_factory):
    """Evaluations of two networks on the same probes and draws, and one on other draws."""
    folder = tmp_path_factory.mktemp("together")
    params = jax.tree.map(lambda x: np.asarray(x)[..., ::-1].copy(), PARAMS)  # channels the other way round
    weights.save(folder / "other.safetensors", params, weights.Card(width=1 / 32))
    common = ("--trials=2", "--shots=1,whole", "--camera_rule=cross")
    evaluated(people, network, folder / "a", "--methods=maxsim_single,global_average", *common)
    evaluated(people, folder / "other.safetensors", folder / "b", "--methods=maxsim_single,dsr_single", *common)
    evaluated(people, network, folder / "seed", "--methods=maxsim_single", *common, "--seed=5")
    return folder


def of_runs(folder, *names):
    return [f"--{flag}={folder / name}" for flag, name in zip(("first", "second", "third"), names, strict=False)]


def of(folder, name):
    with np.load(folder / name / "distances" / "maxsim_single-shots1.npz") as file:
        return {key: file[key] for key in file.files}


def figures(text, name):
    """The figures of a row, without intervals."""
    (row,) = re.findall(rf"^{name} +([\d.].*)$", text, re.MULTILINE)
    return [float(cell) for cell in re.findall(r"([\d.]+) \(", row)]


def test_figures_of_each_run_and_of_the_mean(runs, capsys):
    assert call(together, *of_runs(runs, "a", "b")) == 0
    shown = capsys.readouterr().out
    assert "maxsim_single/shots1" in shown and "global_average" not in shown and "whole" not in shown
    for name in ("a", "b"):
        own = metrics_of(runs / name)
        wanted = [round(own[f"maxsim_single/shots1/{figure}"], 1) for figure in FIGURES]
        np.testing.assert_allclose(figures(shown, name), wanted, atol=0.051)
    one, other = of(runs, "a"), of(runs, "b")
    with np.load(runs / "a" / "per_probe.npz") as file:
        identities = file["identities"]
    trials, means = [], []
    for i in range(int(one["trials"])):
        images = tuple(np.array([image]) for image in one[f"images_{i}"])
        draw = protocols.Draw(one[f"identities_{i}"], images)
        number = i * 2 // int(one["trials"])  # draws of two trials, those of a trial one after the other
        trials.append(protocols.Trial(number, -1, one[f"probes_{i}"], draw, "any"))
        means.append((one[f"distances_{i}"] + other[f"distances_{i}"]) / 2)
    method = methods.named("maxsim_single", methods.Options())
    found = comparison.Result("", method, 1, trials, means, identities).figures
    np.testing.assert_allclose(figures(shown, "mean of all"), [found[name].value for name in FIGURES], atol=0.051)
    assert "mean of all - a" in shown and "mean of all - b" in shown


@pytest.mark.parametrize(
    "names, message",
    [
        (("a",), "first and second are needed"),
        (("a", "b", "a"), "is given twice"),
        (("a", "a/"), "is given twice"),
        (("a", "nowhere"), "nowhere has no per_probe.npz"),
        (("a", "seed"), "differ in seed"),
    ],
)
def test_runs_that_have_no_mean(runs, capsys, names, message):
    assert call(together, *of_runs(runs, *names)) == 1
    assert message in capsys.readouterr().err


def test_shortlists_have_no_mean(people, network, tmp_path, capsys):
    """Behind a shortlist entries have places, no distances."""
    for name in ("a", "b"):
        evaluated(people, network, tmp_path / name, "--methods=dsr_single", "--shortlist=2", "--trials=1")
    assert call(together, *of_runs(tmp_path, "a", "b")) == 1
    assert "no --shortlist, whose distances can be averaged" in capsys.readouterr().err


def test_a_file_of_distances_that_is_gone_or_damaged_is_named(runs, tmp_path, capsys):
    place = runs / "b" / "distances" / "maxsim_single-shots1.npz"
    kept = place.read_bytes()
    try:
        for content, message in ((kept[:200], "is not what an evaluation writes"), (None, "is not there: evaluate")):
            place.unlink()
            if content is not None:
                place.write_bytes(content)
            assert call(together, *of_runs(runs, "a", "b")) == 1
            assert message in capsys.readouterr().err
    finally:
        place.write_bytes(kept)
