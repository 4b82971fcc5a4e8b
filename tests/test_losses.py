"""The losses, against their formulas written out in NumPy, and their gradients through the whole chain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from dsr_jax import blocks, losses, reconstruction
from dsr_jax.parallel.sharding import Share


def maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Zero-padded maps (3, 4, 3, 5) of true sizes (3, 2)."""
    values, sizes = np.random.default_rng(seed).random((3, 4, 3, 5)).astype(np.float32), [(4, 3), (2, 1), (1, 3)]
    for m, (height, width) in zip(values, sizes, strict=True):
        m[height:], m[:, width:] = 0, 0
    return values, np.array(sizes)


def test_pooled_is_the_mean_over_the_true_area():
    values, sizes = maps()
    found = losses.pooled(jnp.asarray(values), jnp.asarray(sizes))
    for row, m, (height, width) in zip(found, values, sizes, strict=True):
        np.testing.assert_allclose(row, m[:height, :width].mean(axis=(0, 1)), rtol=1e-6)


def test_pooled_of_a_map_without_cells_is_zero():
    """An image below one cell in a padded batch must not poison the batch with NaN."""
    found = losses.pooled(jnp.zeros((1, 2, 2, 3)), jnp.array([[0, 2]]))
    assert found.tolist() == [[0, 0, 0]]


def test_logits_are_affine():
    values, sizes = maps()
    head = losses.init_head(jax.random.key(0), width=5, identities=7)
    head["bias"] = jnp.arange(7.0)
    expected = np.asarray(losses.pooled(jnp.asarray(values), jnp.asarray(sizes))) @ np.asarray(
        head["kernel"]
    ) + np.arange(7)
    np.testing.assert_allclose(losses.logits(head, jnp.asarray(values), jnp.asarray(sizes)), expected, rtol=1e-5)


def test_init_head():
    head = losses.init_head(jax.random.key(0), width=400, identities=300)
    assert head["kernel"].shape == (400, 300) and not head["bias"].any()
    features = jax.random.normal(jax.random.key(1), (8, 400)) * 30  # as large as ImageNet networks make them
    value = losses.identification(features @ head["kernel"], jnp.arange(8))
    assert abs(float(value) - np.log(300)) < 1, "training begins at the loss of a guess"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identification(smoothing):
    scores = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32) * 5
    right = np.array([0, 5, 2, 2])
    targets = (1 - smoothing) * np.eye(6)[right] + smoothing / 6
    expected = -(targets * scipy.special.log_softmax(scores.astype(np.float64), axis=1)).sum(axis=1).mean()
    found = losses.identification(jnp.asarray(scores), jnp.asarray(right), smoothing=smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_identification_is_stable_for_huge_scores():
    scores = jnp.array([[1e4, -1e4, 0.0]])
    value, gradient = jax.value_and_grad(losses.identification)(scores, jnp.array([1]))
    assert float(value) == 2e4 and np.isfinite(gradient).all()


def test_verification_and_its_gradient():
    distances, signs = jnp.array([0.2, 0.9, 0.5, 0.7]), jnp.array([1, -1, -1, 1])
    value, gradient = jax.value_and_grad(losses.verification)(distances, signs)
    np.testing.assert_allclose(value, (0.2 - 0.9 - 0.5 + 0.7) / 4, atol=1e-7)
    np.testing.assert_allclose(gradient, np.array([1, -1, -1, 1]) / 4)


def test_ceiling_stops_pushing_but_not_pulling():
    distances, signs = jnp.array([0.95, 0.95, 0.3]), jnp.array([1, -1, -1])
    gradient = jax.grad(lambda d: losses.verification(d, signs, ceiling=0.8))(distances)
    np.testing.assert_allclose(gradient, np.array([1, 0, -1]) / 3)


def test_ranking():
    rng = np.random.default_rng(0)
    distances, same = rng.random((4, 6)), rng.random((4, 6)) < 0.3
    same[:, 0] = True
    scores = scipy.special.softmax(-distances / 0.1, axis=1)
    expected = -np.log((scores * same).sum(axis=1)).mean()
    found = losses.ranking(jnp.asarray(distances, jnp.float32), jnp.asarray(same))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    gradient = jax.grad(losses.ranking)(jnp.asarray(distances, jnp.float32), jnp.asarray(same))
    assert np.isfinite(gradient).all()
    assert np.all(np.asarray(gradient)[same] >= 0) and np.all(np.asarray(gradient)[~same] <= 0)


@pytest.mark.parametrize("seed", range(4))
def test_the_hardest_pairs_are_those_that_a_loop_finds(seed):
    rng = np.random.default_rng(seed)
    distances, same = rng.integers(0, 5, (5, 6)) / 4, rng.random((5, 6)) < 0.4  # with ties
    same[0], same[1] = True, False  # probes with one kind only
    distances[2, 3] = np.inf  # a pair that is left out
    expected = np.zeros((5, 6), bool)
    for p in range(5):
        own = [g for g in range(6) if same[p, g] and np.isfinite(distances[p, g])]
        others = [g for g in range(6) if not same[p, g] and np.isfinite(distances[p, g])]
        if own:
            expected[p, max(own, key=lambda g: distances[p, g])] = True
        if others:
            expected[p, min(others, key=lambda g: distances[p, g])] = True
    found = losses.hardest(jnp.asarray(distances, jnp.float32), jnp.asarray(same))
    np.testing.assert_array_equal(found, expected)


def test_mined_losses_are_those_of_the_hardest_pairs_and_only_these_are_learnt_from():
    rng = np.random.default_rng(0)
    distances, same = rng.random((4, 6)).astype(np.float32), rng.random((4, 6)) < 0.4
    same[:, 0], same[:, 1] = True, False
    far = np.where(same, distances, -1).max(axis=1).astype(np.float64)
    near = np.where(same, 2, distances).min(axis=1).astype(np.float64)

    def ranked(d):
        return losses.ranking(jnp.where(losses.hardest(d, jnp.asarray(same)), d, jnp.inf), jnp.asarray(same))

    def signed(d):
        signs = jnp.asarray(np.where(same, 1, -1).ravel())
        kept = losses.hardest(d, jnp.asarray(same)).ravel()
        return losses.verification(d.ravel(), signs, ceiling=0.3, mean=functools.partial(Share().mean_over, kept))

    given = jnp.asarray(distances)
    np.testing.assert_allclose(ranked(given), np.log1p(np.exp((far - near) / 0.1)).mean(), rtol=1e-5)
    np.testing.assert_allclose(signed(given), (far - np.minimum(near, 0.3)).sum() / 8, rtol=1e-5)
    for loss in (ranked, signed):
        gradient = np.asarray(jax.grad(loss)(given))
        assert np.isfinite(gradient).all()
        moved = gradient != 0
        assert (moved <= np.asarray(losses.hardest(given, jnp.asarray(same)))).all() and moved.any()


def test_no_pair_kept_is_no_loss():
    kept = jnp.zeros(2, bool)
    mean = functools.partial(Share().mean_over, kept)
    assert float(losses.verification(jnp.array([0.5, 0.75]), jnp.array([1, -1]), mean=mean)) == 0


@pytest.mark.slow
def test_verification_alone_parts_what_differs():
    """A few steps of Eq. 5 on free maps bring the positive pair together and push the negative pair apart."""
    rng = np.random.default_rng(0)
    probe, same, other = (jnp.asarray(rng.random((2, 2, 6)), jnp.float32) for _ in range(3))

    def pair_distances(free):
        x, y, z = (blocks.cut(m)[0] for m in free)
        return jnp.stack([reconstruction.distance(x, y), reconstruction.distance(x, z)])

    @jax.jit
    def step(free):
        distances, pull = jax.vjp(pair_distances, free)
        gradient = jax.grad(losses.verification)(distances, jnp.array([1, -1]))
        return distances, optax.tree.add_scale(free, -0.5, pull(gradient)[0])

    free = (probe, same, other)
    first, free = step(free)
    for _ in range(30):
        last, free = step(free)
    assert last[0] < first[0] and last[1] > first[1] and last[1] - last[0] > 0.2
