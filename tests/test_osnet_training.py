"""Training of OSNet: steps that lower a loss, and the runners, from an ONNX file to an evaluation."""

import functools
import json

import jax
import numpy as np
import optax
import pytest

from dsr_jax import losses, networks, osnet, resnet, weights
from experiments import finetune, pretrain
from experiments.training import steps

from . import memory, onnx_files, test_osnet
from .reference import osnet_torch
from .runners import SMALL, call, evaluated

PEOPLE = 3


def batch():
    rng = np.random.default_rng(0)
    return {
        "inputs": rng.integers(0, 256, (4, 32, 16, 3), np.uint8),
        "sizes": np.array([[32, 16], [32, 16], [20, 16], [32, 16]], np.int32),
        "identities": np.array([0, 1, 2, 0], np.int32),
    }


@pytest.mark.slow
def test_what_is_trained_moves_and_lowers_the_loss():
    """All but the frozen blocks and the own vector, of a network whose normalisations are folded away."""
    params = test_osnet.params("plain", folded=True)
    head = losses.init_head(jax.random.key(1), width=networks.channels(params), identities=PEOPLE)
    rule = optax.adam(1e-3)
    trunk = steps.Trunk(output_stride=16, first_block=1, frozen_blocks=3, convention="torch")
    step = jax.jit(functools.partial(steps.identification_step, optimiser=rule, trunk=trunk, smoothing=0.1))
    with jax.numpy_dtype_promotion("standard"):
        state = steps.init(params, head, rule, frozen_blocks=3)
        kept = networks.split(params, 3)[0]
        assert {"vector", "vector_norm"} <= kept.keys() and not state.statistics
        later, seen = state, []
        for _ in range(12):
            later, figures = step(later, kept, batch())
            seen.append(float(figures["loss"]))
    assert np.isfinite(seen).all() and seen[-1] < 0.97 * seen[0] and step._cache_size() == 1
    for name, leaves in later.network.items():
        moved = {leaf for leaf, x in leaves.items() if not np.array_equal(x, params[name][leaf])}
        assert moved or "gate" in name, name  # a gate of one number may be closed
        assert not moved & set(resnet.STATISTICS)


@pytest.mark.slow
def test_from_an_onnx_file_to_an_evaluation(people, tmp_path):
    """Frozen blocks and own vector stay, all else is trained, unfolded normalisations too, at an OSNet's own size."""
    state = osnet_torch.arrays("plain")
    file = onnx_files.osnet(tmp_path / "osnet.onnx", state)
    common = ("--dataset=folder", f"--data_dir={people}", "--size=64,32", "--noprogress", "--plot_every=0")
    first = (f"--weights={file}", "--pretrain_steps=2", "--pretrain_batch_size=4", f"--workdir={tmp_path / 'first'}")
    first += ("--frozen_blocks=4", "--unfold=3")
    assert call(pretrain, *common, *first) == 0
    memory.release()
    card = weights.read_card(tmp_path / "first")
    assert (card.architecture, card.width, card.output_stride) == ("osnet", 4 / 64, 16)
    tuned = ("--steps=2", "--positives=4", "--negatives=4", "--batch_size=4", "--frozen_blocks=4", "--frozen_views=1")
    where = (f"--weights={tmp_path / 'first'}", "--noevaluate", f"--workdir={tmp_path / 'then'}")
    assert call(finetune, *common, *tuned, *where) == 0
    memory.release()
    given, before, after = (weights.load(path) for path in (file, tmp_path / "first", tmp_path / "then"))
    for name, layer in after.items():
        trained = not name.startswith("vector") and int(name[5]) > 4
        for leaf, x in layer.items():
            if not trained:
                np.testing.assert_array_equal(x, before[name][leaf], err_msg=name)
        moved = any(not np.array_equal(x, before[name][leaf]) for leaf, x in layer.items())
        assert moved == trained or "gate" in name, name
    for leaf, x in given["vector"].items():
        np.testing.assert_array_equal(x, after["vector"][leaf])
    assert not np.array_equal(given["block5_conv"]["kernel"], before["block5_conv"]["kernel"])
    lines = [json.loads(line) for line in (tmp_path / "then" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(np.isfinite(line["loss"]) for line in lines)
    found = evaluated(people, tmp_path / "then", tmp_path / "out", "--methods=dsr_multi")
    assert 0 <= found["dsr_multi/shots1/rank1"] <= 100


@pytest.mark.slow
def test_unfolded_normalisations_are_trained(people, tmp_path):
    """Two steps of the last block: the second is normalised by what the first left."""
    file = tmp_path / "folded.safetensors"
    weights.save(file, test_osnet.params("plain", folded=True), weights.Card("osnet", 1 / 16, 16, "torch"))
    flags = ("--dataset=folder", f"--data_dir={people}", "--size=64,32", "--noprogress", "--plot_every=0")
    flags += ("--steps=2", "--positives=4", "--negatives=4", "--batch_size=4", "--unfold=3", "--noevaluate")
    flags += ("--frozen_views=1", "--frozen_blocks=4")
    assert call(finetune, *flags, f"--weights={file}", f"--workdir={tmp_path / 'out'}") == 0
    memory.release()
    after = weights.load(tmp_path / "out")
    assert "bias" not in after["block5_conv"] and after["block5_norm"].keys() == {"scale", "bias", "mean", "var"}


@pytest.mark.slow
def test_a_random_one_by_its_name_and_another_stride_is_refused(people, tmp_path, capsys):
    flags = ("--dataset=folder", f"--data_dir={people}", "--noprogress", "--plot_every=0", "--architecture=osnet_ain")
    flags += ("--width=0.0625", "--pretrain_steps=0", f"--workdir={tmp_path / 'new'}")
    assert call(pretrain, *flags, "--size=64,32", "--output_stride=32") == 1
    assert "output_stride must be 16 for osnet_ain, got 32" in capsys.readouterr().err
    assert call(pretrain, *flags, *SMALL[:1]) == 0
    card = weights.read_card(tmp_path / "new")
    assert (card.architecture, card.output_stride, card.preprocessing) == ("osnet_ain", 16, "torch")


def test_the_size_of_an_osnet_is_its_own():
    """Where neither flag nor card says another."""
    from experiments.settings.networks import Trained

    assert Trained().of_card(weights.Card("osnet", 0.25, preprocessing="torch")) == (osnet.SIZE, 16)
    assert Trained().of_card(weights.Card()) == ((320, 120), 32)
    with pytest.raises(ValueError, match="output_stride must be 16 for osnet, got 32"):
        Trained(output_stride="32").of_card(weights.Card("osnet", 0.25, preprocessing="torch"))
