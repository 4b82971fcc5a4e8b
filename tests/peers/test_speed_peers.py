"""The peers of `experiments.benchmark_speed`, live: each is given the right problem, in every way that it is called."""

import jax
import numpy as np
import pytest

from dsr_jax import fcn
from experiments.benchmarks import network, peers, problem, stand_ins, steps
from experiments.benchmarks.alternating import Turns
from experiments.benchmarks.settings import Case


@pytest.fixture(scope="module", params=[(1,), (1, 2, 3)], ids=["single", "multi"])
def pairs(request) -> problem.Problem:
    gallery = stand_ins.drawn(3, shape=(5, 3, 24), seed=0)
    probes = stand_ins.cropped(stand_ins.drawn(3, shape=(5, 3, 24), seed=0, view=1), seed=0)
    return problem.Problem.of(probes, gallery, scales=request.param, l1=0.4)


@pytest.mark.parametrize("name", [name for name, peer in peers.PEERS.items() if peer.codes])
def test_codes_are_of_our_problem(pairs, name):
    pytest.importorskip(peers.PEERS[name].module)
    codes = [peers.dense(found) for found in peers.PEERS[name].make(pairs)()]
    assert [found.shape for found in codes] == [(len(y), len(pairs.columns)) for y in pairs.gallery]
    distances, gap = problem.judge(codes, pairs)
    np.testing.assert_allclose(distances, problem.oracle(pairs), atol=1e-5)
    assert gap < 1e-4


def test_ridge_is_the_ports_in_numpy_and_torch(pairs):
    pytest.importorskip("torch")
    both = [pairs.distances(job(pairs)()) for job in (peers.ridge_numpy, peers.ridge_torch)]
    np.testing.assert_allclose(*both, atol=2e-3)


def test_network_and_torch_compute_the_same():
    pytest.importorskip("torch")
    cases = [Case(64, 32, 16, 2), Case(64, 32, 32, 2)]
    found = network.run(cases, width=1 / 16, seed=0, turns=Turns(1)).flat()
    for case in cases:
        assert found[f"network/{case.name}/difference"] < 1e-4
        assert found[f"network/{case.name}/step/ratio"] > 0


def test_network_and_torch_agree_in_bfloat16_to_its_digits():
    pytest.importorskip("torch")
    ways = {dtype: (Case(64, 32, 16, 2), network.Way(dtype)) for dtype in ("bfloat16", "float32")}
    table, figures = network.measured(ways, width=1 / 16, seed=0, turns=Turns(1), key="accelerator/network")
    assert figures["accelerator/network/bfloat16/difference"] < 3e-2
    assert figures["accelerator/network/float32/difference"] < 1e-4
    assert [row[0] for row in table.rows] == ["bfloat16", "float32"] and not any("torch:" in x for x in table.notes)


def test_both_networks_compute_in_the_type_that_is_asked_for():
    """Their difference does not say so: where the processor has no bfloat16 of its own, both round alike."""
    torch = pytest.importorskip("torch")
    params, pictures = fcn.init(jax.random.key(0), width=1 / 16), np.zeros((1, 64, 32, 3), np.float32)
    for dtype in ("bfloat16", "float32"):
        made = (params, pictures, Case(64, 32, 16, 1), network.Way(dtype))
        assert network._ours(*made)[0].call().dtype == dtype
        assert network._torchs(*made)[0].call().dtype == getattr(torch, dtype)


def test_torch_that_cannot_have_the_device_is_said_to_be_missing(monkeypatch):
    torch = pytest.importorskip("torch")
    assert network.missing("cpu") == "" and network.missing("tpu").startswith("has no tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert network.missing("cuda").startswith("sees no GPU")


def test_the_gradients_of_the_train_steps_are_the_same():
    pytest.importorskip("torch")
    params = fcn.init(jax.random.key(0), width=1 / 16)
    images = np.random.default_rng(0).normal(0, 50, (2, 64, 32, 3)).astype(np.float32)
    case = Case(64, 32, 16, 2)
    loss, gradient = network._ours(params, images, case)[1].call()
    torch_loss, torch_gradient = network._torchs(params, images, case)[1].call()
    np.testing.assert_allclose(float(loss), float(torch_loss), rtol=1e-4)
    for i, layer in enumerate(gradient.values()):
        kernel = torch_gradient[2 * i].permute(2, 3, 1, 0).numpy()
        np.testing.assert_allclose(layer["kernel"], kernel, atol=1e-3 * float(np.abs(kernel).max()))


def test_steps_of_pre_training_are_those_of_torch():
    """The same loss on the first step; the fine-tuning of the two differs by what it codes with."""
    pytest.importorskip("torch")
    with jax.numpy_dtype_promotion("standard"):  # as in the runners
        found = steps.run(Case(64, 32, 16, 3), width=1 / 8, seed=0, turns=Turns(1)).flat()
    for frozen in (0, 4):
        assert found[f"steps/identification_frozen{frozen}/difference"] < 1e-5
        assert found[f"steps/identification_frozen{frozen}/ratio"] > 0
    assert found["steps/reconstruction_frozen4/ratio"] > 0
    assert "steps/reconstruction_frozen4/difference" not in found
