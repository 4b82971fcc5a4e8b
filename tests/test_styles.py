"""Views of mixed styles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import weights
from experiments import finetune
from experiments.training import styles, termination
from tests.runners import call

SIZES = jnp.array([[4, 3], [3, 4], [2, 2], [4, 4], [1, 4]])


def views(dtype=np.float32):
    draw = np.random.default_rng(0)
    x = draw.normal(3, 2, (5, 4, 4, 6)) * draw.uniform(0.5, 4, (5, 1, 1, 6))
    inside = [(np.arange(4)[:, None] < h) & (np.arange(4)[None] < w) for h, w in SIZES.tolist()]
    return (x * np.array(inside)[..., None]).astype(dtype)


def moments(x):
    """Mean and spread of every channel over the true areas."""
    areas = [each[:h, :w].reshape(-1, each.shape[2]) for each, (h, w) in zip(x, SIZES.tolist(), strict=True)]
    return np.array([area.mean(axis=0) for area in areas]), np.array([area.std(axis=0) for area in areas])


def test_rows_take_part_of_the_style_of_another_row_and_keep_their_content():
    x = views()
    y = np.asarray(styles.mixed(jnp.asarray(x), SIZES, jax.random.key(3), probability=1.0))
    (mean, spread), (new_mean, new_spread) = moments(x), moments(y)
    moved = 0
    for row, (h, w) in enumerate(SIZES.tolist()):
        content = [(z[row, :h, :w] - m[row]) / s[row] for z, m, s in ((x, mean, spread), (y, new_mean, new_spread))]
        np.testing.assert_allclose(*content, atol=2e-3)
        assert not y[row, h:].any() and not y[row, :, w:].any()
        # One share and one other row explain the new mean and spread of every channel.
        fits = []
        for other in range(5):
            step = np.concatenate([mean[other] - mean[row], spread[other] - spread[row]])
            taken = np.concatenate([new_mean[row] - mean[row], new_spread[row] - spread[row]])
            share = step @ taken / max(step @ step, 1e-12)
            fits.append(np.abs(taken - share * step).max() + max(0, share - 1.001, -share - 0.001))
        assert min(fits) < 2e-3
        moved += not np.allclose(x[row], y[row], atol=1e-2)
    assert moved >= 2


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_probability_is_that_of_a_row(dtype):
    x = jnp.asarray(views(dtype))
    untouched = styles.mixed(x, SIZES, jax.random.key(0), probability=0.0)
    assert untouched.dtype == dtype
    np.testing.assert_array_equal(untouched, x)
    changed = 0
    for seed in range(40):
        y = styles.mixed(x, SIZES, jax.random.key(seed), probability=0.5)
        changed += int(jnp.any(x != y, axis=(1, 2, 3)).sum())
    assert 40 < changed < 110  # of 200; a row that is its own other, or whose share is 1, does not change


def test_what_is_mixed_is_a_function_of_seed_and_step():
    batch = {"whole": jnp.asarray(views()), "whole_sizes": SIZES, "patch": jnp.asarray(views()), "patch_sizes": SIZES}

    class State:
        def __init__(self, step):
            self.step = jnp.int32(step)

    def seen(step, seed=0, batch=batch):
        found = styles.before(lambda state, frozen, mixed, **_: mixed, probability=1.0, seed=seed)(
            State(step), {}, batch
        )
        return found["whole"] if "whole" in found else found["inputs"]

    np.testing.assert_array_equal(seen(1), seen(1))
    assert not np.array_equal(seen(1), seen(2)) and not np.array_equal(seen(1), seen(1, seed=1))
    assert not np.array_equal(seen(1, batch={"inputs": batch["whole"], "sizes": SIZES}), batch["whole"])

    def plain(state, frozen, batch):
        return batch

    assert styles.before(plain, probability=0.0, seed=0) is plain


@pytest.mark.slow
def test_mixed_styles_and_similar_people_are_another_training_that_resumes(people, network, tmp_path):
    """Four steps with a stop in the middle are those of one run; without either flag they are others."""
    flags = ("--dataset=folder", f"--data_dir={people}", "--size=64,32", "--noprogress", "--plot_every=0")
    flags += ("--positives=12", "--negatives=0", "--batch_size=2", "--verification=ranked", "--images_per_identity=1")
    flags += ("--noevaluate", "--frozen_blocks=4", "--frozen_views=1", f"--weights={network}", "--steps=4")
    flags += (f"--frozen_cache={tmp_path / 'outputs'}", "--preprocessing=torch", "--output_stride=16")

    def trained(name, *more, stopped=False):
        out = f"--workdir={tmp_path / name}"
        if stopped:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(termination, "_anywhere", lambda here: True)
                assert call(finetune, *flags, *more, out) == 75
        assert call(finetune, *flags, *more, out) == 0
        return weights.load(tmp_path / name)["block5_conv3"]["kernel"]

    both = ("--mix_styles=1", "--similar_people=2")
    found = trained("both", *both)
    np.testing.assert_array_equal(found, trained("stopped", *both, stopped=True))
    for less in both:
        assert not np.array_equal(found, trained(f"only{less}", less))
