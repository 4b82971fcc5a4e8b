"""Optimisers: rates against their formulas, clipping, and accumulated batches as one large batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data import binding
from dsr_jax import fcn, weights
from experiments import finetune, pretrain
from experiments.settings.training import Update
from experiments.training import optimiser

from .runners import SMALL, call


@pytest.fixture(autouse=True)
def promotion():
    """Optax mixes integers and floats in its schedules and averages."""
    with jax.numpy_dtype_promotion("standard"):
        yield


PARAMS = {"network": {"w": jnp.ones(2)}, "head": {"w": jnp.ones(2)}}


def updates_of(built, gradients):
    """The network's update at each of the gradients, the parameters staying where they are."""
    memory, found = built.transform.init(PARAMS), []
    for gradient in gradients:
        change, memory = built.transform.update(gradient, memory, PARAMS)
        found.append(change)
    return found


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_first_step_is_a_warm_up_and_the_head_has_its_own_rate(name):
    built = optimiser.build(name, 1.0, Update(weight_decay=0.0, clip=1e9), count=100, head_factor=10.0)
    found = updates_of(built, [PARAMS] * 3)
    sizes = [[float(jnp.abs(change[part]["w"][0])) for part in ("network", "head")] for change in found]
    assert sizes[0] == [0.0, 0.0] and sizes[1][0] > 0
    np.testing.assert_allclose([head / network for network, head in sizes[1:]], 10.0, rtol=1e-4)


def rates(update, count, rate=2.0):
    return [float(optimiser.scheduled(update, count, rate)(u)) for u in range(count)]


def test_rates_are_those_of_their_formulas():
    count, warm = 40, 8
    rising = [2.0 * u / warm for u in range(warm)]
    after = np.arange(count - warm)
    cosine = 1 + np.cos(np.pi * after / (count - warm))
    stepped = np.where(after + warm < 20, 2.0, np.where(after + warm < 30, 0.2, 0.02))
    for form, expected in (("cosine", cosine), ("step", stepped), ("constant", np.full(count - warm, 2.0))):
        found = rates(Update(form, 0.2), count)
        np.testing.assert_allclose(found, [*rising, *expected], rtol=1e-5, atol=1e-7, err_msg=form)
        assert rates(Update(form, 0.0), count)[0] == 2.0, "without a warm-up the first rate is the highest"


@pytest.mark.parametrize("count", [0, 1, 2, 19, 375, 1400])
def test_the_default_is_a_warm_up_over_a_twentieth_and_a_cosine_to_zero(count):
    """Bit for bit what results so far were trained with."""
    warm = max(1, count // 20)
    expected = optax.warmup_cosine_decay_schedule(0.0, 3e-4, warm, max(count, warm + 1))
    found = optimiser.scheduled(Update(), count, 3e-4)
    assert all(float(found(u)) == float(expected(u)) for u in {0, 1, warm, count // 2, max(count - 1, 0)})


def test_the_rate_of_a_step_is_that_of_its_update():
    built = optimiser.build("sgd", 1.0, Update("cosine", 0.0, accumulate=2), count=8)
    expected = rates(Update("cosine", 0.0), 4, 1.0)
    np.testing.assert_allclose([built.rate(step) for step in range(1, 9)], np.repeat(expected, 2), rtol=1e-6)


def test_momentum_and_decay_are_those_of_the_formula():
    built = optimiser.build("sgd", 0.5, Update("constant", 0.0, clip=0, weight_decay=0.1, momentum=0.8), count=9)
    gradient = jax.tree.map(lambda w: 3 * w, PARAMS)
    speeds = np.array([3.1, 3.1 * 1.8, 3.1 * (1 + 0.8 + 0.64)])
    found = [float(change["network"]["w"][0]) for change in updates_of(built, [gradient] * 3)]
    np.testing.assert_allclose(found, -0.5 * speeds, rtol=1e-6)


@pytest.mark.parametrize("clip, length", [(1.0, 1.0), (0.0, 6.0), (100.0, 6.0)])
def test_the_whole_gradient_is_clipped(clip, length):
    built = optimiser.build("sgd", 1.0, Update("constant", 0.0, clip=clip, weight_decay=0.0, momentum=0.0), count=1)
    gradient = jax.tree.map(lambda w: 3 * w, PARAMS)  # of norm 6
    np.testing.assert_allclose(optax.tree.norm(updates_of(built, [gradient])[0]), length, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_accumulated_batches_are_one_large_batch(name):
    """Clipped as well: the mean gradient is, not each batch's."""
    rng = np.random.default_rng(0)
    gradients = [jax.tree.map(lambda w: jnp.asarray(5 * rng.standard_normal(2), w.dtype), PARAMS) for _ in range(6)]
    parts = updates_of(optimiser.build(name, 0.1, Update(accumulate=3), count=6), gradients)
    means = [
        jax.tree.map(lambda *leaves: sum(leaves) / 3, *gradients[:3]),
        jax.tree.map(lambda *leaves: sum(leaves) / 3, *gradients[3:]),
    ]
    large = updates_of(optimiser.build(name, 0.1, Update(), count=2), means)
    for change in (*parts[:2], *parts[3:5]):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(change))
    for change, expected in zip((parts[2], parts[5]), large, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), change, expected)


def test_a_count_that_accumulate_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match="accumulate=4 does not divide the 6 steps"):
        optimiser.build("sgd", 0.1, Update(accumulate=4), count=6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--milestones=half"], "milestones must be rising shares such as 0.5,0.75, got half"),
        (["--milestones=0.7,0.5"], "got 0.7,0.5"),
        (["--milestones=1.5"], "got 1.5"),
        (["--warm_up=1"], r"warm_up is a share of the updates, in \[0, 1\), got 1.0"),
        (["--warm_up=0.6", "--schedule=step"], "warm_up=0.6 reaches beyond the first of --milestones=0.5,0.75"),
    ],
)
def test_flags_that_make_no_sense_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        binding.read(finetune.Settings, arguments).check()


def test_a_runner_checks_them_before_it_writes(people, tmp_path, capsys):
    arguments = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--plot_every=0",
        f"--workdir={tmp_path / 'out'}",
        *SMALL,
    )
    assert call(finetune, *arguments, "--steps=5", "--accumulate=2") == 1
    assert "accumulate=2 does not divide the 5 steps" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_that_accumulates_ends_where_one_with_large_batches_does(people, tmp_path):
    """The same views in the same order: two batches of four are one of eight."""
    common = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--plot_every=0",
        "--pretrain_optimizer=sgd",
        *SMALL,
    )
    arguments = {
        "parts": ("--pretrain_batch_size=4", "--pretrain_steps=4", "--accumulate=2"),
        "large": ("--pretrain_batch_size=8", "--pretrain_steps=2"),
    }
    for name, own in arguments.items():
        how = ("--pretrain_rate=1", "--warm_up=0", f"--workdir={tmp_path / name}")
        assert call(pretrain, *common, *own, *how) == 0
    parts, large = (weights.load(tmp_path / name) for name in arguments)
    moved = fcn.init(jax.random.split(jax.random.key(0))[0], width=1 / 32)
    for layer, leaf in large.items():
        np.testing.assert_allclose(parts[layer]["kernel"], leaf["kernel"], atol=2e-5)
        assert np.abs(leaf["kernel"] - moved[layer]["kernel"]).max() > 1e-3, "it has learnt"
