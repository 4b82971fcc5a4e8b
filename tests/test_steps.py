"""Train steps: what is frozen stays, what is trained moves downhill, one compilation, images or kept outputs alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data import views
from dsr_jax import blocks, fcn, losses, maxsim, reconstruction
from experiments.settings.training import Tuning, Update
from experiments.training import optimiser, steps

SIZE, PATCH = (48, 32), (36, 32)
PARAMS = fcn.init(jax.random.key(0), width=0.03)
HEAD = losses.init_head(jax.random.key(1), width=PARAMS["block5_conv3"]["bias"].size, identities=3)
DISTANCES = {"dsr": reconstruction.distance, "maxsim": maxsim.distance}
TRUNK = steps.Trunk(output_stride=16, first_block=1, frozen_blocks=2, convention="torch")


@pytest.fixture(autouse=True)
def promotion():
    """Optax mixes integers and floats in its schedules and averages."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def batch(seed=0):
    """Four pairs of a whole image and a patch of another size."""
    rng = np.random.default_rng(seed)
    identities = np.array([0, 0, 1, 2], np.int32)
    sizes = np.array([[36, 32], [24, 23], [30, 25], [33, 32]], np.int32)
    patch = rng.integers(0, 256, (4, *PATCH, 3), np.uint8)
    for picture, (height, width) in zip(patch, sizes, strict=True):
        picture[height:], picture[:, width:] = 0, 0
    return {
        "whole": rng.integers(0, 256, (4, *SIZE, 3), np.uint8),
        "whole_sizes": np.tile(np.array(SIZE, np.int32), (4, 1)),
        "whole_identities": identities,
        "patch": patch,
        "patch_sizes": sizes,
        "patch_identities": identities[[1, 0, 2, 2]],
        "sign": np.array([1, 1, -1, 1], np.int32),
    }


@functools.partial(jax.jit, static_argnames="blocks")
def outputs(images, sizes, *, blocks):
    """What some blocks make of images, and its sizes."""
    return fcn.apply(PARAMS, images, sizes, output_stride=16, blocks=blocks)


def frozen(blocks=2):
    return {name: layer for name, layer in PARAMS.items() if int(name[5]) <= blocks}


@functools.cache
def prepared(rate=1e-2, **options):
    """The first state and a compiled step."""
    updates = optax.sgd(rate)
    how = Tuning(**{"id_loss_weight": 0.5, "id_patches": True, **options})
    step = functools.partial(steps.reconstruction_step, optimiser=updates, trunk=TRUNK, smoothing=0.1, how=how)
    return steps.init(PARAMS, HEAD, updates, frozen_blocks=2), jax.jit(step)


def test_the_state_holds_only_what_is_trained():
    state, _ = prepared()
    assert {name[5] for name in state.params["network"]} == {"3", "4", "5"}


@pytest.mark.slow
def test_every_trained_layer_moves_and_no_frozen_one_is_in_reach():
    state, step = prepared()
    later = state
    for seed in range(3):
        later, _ = step(later, frozen(), batch(seed))
    assert set(later.params["network"]) == set(state.params["network"]) and int(later.step) == 3
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, later.params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
def test_no_gradient_reaches_frozen_blocks():
    values = batch()

    def total(params):
        sizes = jnp.asarray(values["whole_sizes"])
        found, *_ = steps.maps({}, params, values["whole"], sizes, trunk=TRUNK)
        return jnp.sum(found)

    gradient = jax.grad(total)(PARAMS)
    assert not any(np.any(leaf) for name in frozen() for leaf in gradient[name].values())
    assert np.any(gradient["block3_conv1"]["kernel"]) and np.any(gradient["block5_conv3"]["kernel"])


@pytest.mark.slow
def test_many_batches_are_one_compilation():
    state, step = prepared()
    for seed in range(4):
        state, _ = step(state, frozen(), batch(seed))
    assert step._cache_size() == 1


@pytest.mark.slow
def test_steps_on_one_batch_lower_its_loss():
    state, step = prepared()
    found = []
    for _ in range(8):
        state, figures = step(state, frozen(), batch())
        found.append(float(figures["loss"]))
    assert found[-1] < found[0]


@pytest.mark.slow
def test_kept_outputs_of_the_frozen_blocks_train_as_the_images_do():
    state, step = prepared()
    values = batch()
    kept = dict(values)
    for part in ("whole", "patch"):
        sizes = jnp.asarray(values[f"{part}_sizes"])
        inputs = fcn.zero_outside(fcn.preprocess(values[part], "torch"), sizes)
        kept[part], kept[f"{part}_sizes"] = outputs(inputs, sizes, blocks=(1, 2))
    later = functools.partial(
        steps.reconstruction_step,
        optimiser=optax.sgd(1e-2),
        trunk=TRUNK._replace(first_block=3),
        smoothing=0.1,
        how=Tuning(id_loss_weight=0.5, id_patches=True),
    )
    (a, figures), (b, others) = step(state, frozen(), values), jax.jit(later)(state, frozen(), kept)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), a.params, b.params)
    np.testing.assert_allclose(figures["loss"], others["loss"], rtol=1e-5)


@pytest.mark.slow
def test_the_figures_are_the_losses_of_the_pairs():
    state, step = prepared(verification_weight=2.0)
    _, figures = step(state, frozen(), batch())
    np.testing.assert_allclose(
        figures["loss"], 0.5 * figures["identification"] + 2.0 * figures["verification"], rtol=1e-5
    )
    positive, negative = float(figures["positive_distance"]), float(figures["negative_distance"])
    assert 0 < positive < 1 + 1e-6 and 0 < negative < 1 + 1e-6
    np.testing.assert_allclose(figures["verification"], (3 * positive - negative) / 4, rtol=1e-5)  # Eq. 5


@pytest.mark.slow
def test_the_control_is_identification_alone():
    _, step = prepared(verification_weight=0.0)
    state, figures = step(prepared()[0], frozen(), batch())
    assert "verification" not in figures
    np.testing.assert_allclose(figures["loss"], 0.5 * figures["identification"], rtol=1e-6)


@pytest.mark.slow
def test_ranked_verification_takes_every_patch_against_every_whole_image():
    state, step = prepared(verification="ranked", id_loss_weight=0.0)
    _, figures = step(state, frozen(), batch())
    assert 0 < float(figures["verification"]) < 20 and np.isfinite(figures["gradient_norm"])


def distances_alone(state, values, distance):
    """Of every patch to every whole image of a batch, (4, 4), each pair alone, and whether it is one person."""
    found = {
        part: steps.maps(
            state.params["network"], frozen(), values[part], jnp.asarray(values[f"{part}_sizes"]), trunk=TRUNK
        )
        for part in ("whole", "patch")
    }

    def of(p, g):
        (x, valid), (y, _) = (
            blocks.cut(found[part][0][i], found[part][1][i], scales=(1,)) for part, i in (("patch", p), ("whole", g))
        )
        return float(DISTANCES[distance](x, y, valid=valid))

    same = values["patch_identities"][:, None] == values["whole_identities"][None, :]
    return np.array([[of(p, g) for g in range(4)] for p in range(4)]), same


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["dsr", "maxsim"])
@pytest.mark.parametrize("form", ["signed", "ranked"])
def test_mined_verification_is_that_of_each_patch_s_hardest_pairs(form, distance):
    """Against a loop over the distances of every patch and whole image, each computed alone."""
    state, step = prepared(verification=form, id_loss_weight=0.0, mining="batch_hard", distance=distance)
    values = batch()
    alone, same = distances_alone(state, values, distance)
    terms = []
    for row, right in zip(alone, same, strict=True):
        own, others = row[right], row[~right]
        terms += [np.log1p(np.exp((max(own) - min(others)) / 0.1))] if form == "ranked" else [max(own), -min(others)]
    _, figures = step(state, frozen(), values)
    np.testing.assert_allclose(figures["verification"], np.mean(terms), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_verification_by_maxsim_is_of_the_same_pairs_by_largest_cosines():
    """Signed over the pairs, ranked over all; no codes are told, and a step downhill lowers the loss."""
    values = batch()
    for form in ("signed", "ranked"):
        state, step = prepared(verification=form, id_loss_weight=0.0, distance="maxsim", rate=1e-3)
        alone, same = distances_alone(state, values, "maxsim")
        after, figures = step(state, frozen(), values)
        if form == "signed":
            expected = np.mean(values["sign"] * np.diagonal(alone))
        else:
            scores = np.exp(-alone / 0.1)
            expected = -np.mean(np.log((scores * same).sum(axis=1) / scores.sum(axis=1)))
        np.testing.assert_allclose(figures["verification"], expected, rtol=1e-4, atol=1e-6)
        assert not {"nonzero_codes", "gap"} & figures.keys()
        assert 0 < float(figures["positive_distance"]) < 1 and float(figures["gradient_norm"]) > 0
        assert step(after, frozen(), values)[1]["verification"] < figures["verification"]


@pytest.mark.slow
def test_maps_that_are_not_zero_everywhere_are_counted():
    state, step = prepared()
    dead = {**state.params, "network": jax.tree.map(np.zeros_like, state.params["network"])}
    assert step(state, frozen(), batch())[1]["alive"] == 1
    assert step(state._replace(params=dead), frozen(), batch())[1]["alive"] == 0


@pytest.mark.slow
def test_the_codes_of_the_pairs_are_told():
    state, step = prepared()
    _, figures = step(state, frozen(), batch())
    assert 0 < float(figures["nonzero_codes"]) <= 6, "a whole image of 48 x 32 has 6 blocks"
    assert 0 <= float(figures["gap"]) < 1e-4


@pytest.mark.parametrize("kept_outputs", [False, True])
@pytest.mark.parametrize("blocks_frozen", [0, 2, 4])
def test_frozen_blocks_have_no_backward_pass(blocks_frozen, kept_outputs):
    """Convolutions in the step's program: of a frozen layer one, or none where its outputs are kept; of a trained one
    three, forward and both gradients, but for the first, into whose input nothing goes back."""
    updates, values = optax.sgd(1e-2), batch()
    inputs, sizes, first = values["whole"], jnp.asarray(values["whole_sizes"]), 1
    if kept_outputs and blocks_frozen:
        images, first = fcn.preprocess(inputs, "torch"), blocks_frozen + 1
        inputs, sizes = outputs(images, sizes, blocks=(1, blocks_frozen))
    trunk = TRUNK._replace(frozen_blocks=blocks_frozen, first_block=first)
    step = functools.partial(steps.identification_step, optimiser=updates, trunk=trunk, smoothing=0.1)
    state = steps.init(PARAMS, HEAD, updates, frozen_blocks=blocks_frozen)
    given = {"inputs": inputs, "sizes": sizes, "identities": values["whole_identities"]}
    program = jax.jit(step).lower(state, frozen(blocks_frozen), given).as_text()
    layers = [2, 2, 3, 3, 3]
    forward = sum(layers[:blocks_frozen]) if first == 1 else 0
    assert program.count("stablehlo.convolution") == forward + 3 * sum(layers[blocks_frozen:]) - 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["signed", "ranked"])
def test_bfloat16_is_for_the_network_alone(form):
    """Parameters, their updates, maps, logits, distances and every figure are float32; so are the network's sums."""
    updates = optimiser.build("adam", 1e-2, Update(), count=20).transform
    how = Tuning(verification=form, id_loss_weight=0.5)
    trunk = TRUNK._replace(dtype="bfloat16")
    step = functools.partial(steps.reconstruction_step, optimiser=updates, trunk=trunk, smoothing=0.1, how=how)
    state = steps.init(PARAMS, HEAD, updates, frozen_blocks=2)
    later, figures = jax.jit(step)(state, frozen(), batch())
    kinds = {leaf.dtype for leaf in jax.tree.leaves((later, figures))} - {jnp.dtype(jnp.int32)}
    assert kinds == {jnp.dtype(jnp.float32)}
    found, *_ = steps.maps(
        state.params["network"], frozen(), batch()["whole"], jnp.asarray(batch()["whole_sizes"]), trunk=trunk
    )
    assert found.dtype == jnp.float32
    program = str(jax.make_jaxpr(step)(state, frozen(), batch()))
    assert "bf16" in program
    for line in program.splitlines():
        sums = any(f" {name}[" in line for name in ("reduce_sum", "exp", "log", "reduce_max"))
        assert not (sums and ":bf16" in line.split("=")[0]), f"summed in bfloat16: {line}"


@pytest.mark.slow
def test_identification_counts_what_is_right():
    updates = optimiser.build("adam", 1e-2, Update(), count=20).transform
    step = jax.jit(
        functools.partial(
            steps.identification_step, optimiser=updates, trunk=TRUNK._replace(frozen_blocks=0), smoothing=0.0
        )
    )
    state = steps.init(PARAMS, HEAD, updates, frozen_blocks=0)
    pairs = batch()
    values = {
        "inputs": pairs["whole"],
        "sizes": pairs["whole_sizes"],
        "identities": pairs["whole_identities"],
    }
    losses_seen = []
    for _ in range(10):
        found, sizes, _ = steps.maps(
            state.params["network"], {}, values["inputs"], jnp.asarray(values["sizes"]), trunk=TRUNK
        )
        guesses = np.argmax(losses.logits(state.params["head"], found, sizes), axis=1)
        state, figures = step(state, {}, values)
        losses_seen.append(float(figures["loss"]))
        assert float(figures["accuracy"]) == np.mean(guesses == values["identities"])
    assert losses_seen[-1] < losses_seen[0]


def test_views_of_training_have_the_shapes_of_these_batches():
    assert views.patch_size(SIZE) == PATCH
