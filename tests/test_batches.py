"""Batches: the same for the same seed, whoever asks and whenever; frozen outputs are the network's, kept."""

import json

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import Source, views
from dsr_jax import fcn
from experiments.training import batches, frozen, steps
from tests import disks

SIZE = (48, 32)
CLASSES = np.repeat(np.arange(4), 3)
CAMERAS = np.tile([0, 1, 1], 4)
TRUNK = steps.Trunk(output_stride=16, first_block=1, frozen_blocks=2, convention="torch")
PARAMS = fcn.init(jax.random.key(0), width=0.03)


class Numbered:
    """Views that tell which image they show: whole views are even, patches odd, and smaller."""

    def padded(self, i):
        return (3,)

    def whole(self, i, rng):
        return np.array([2 * i, rng.integers(1000), 1]), np.array([4, 2], np.int32)

    def patch(self, i, rng):
        return np.array([2 * i + 1, rng.integers(1000)]), np.array([3, 2], np.int32)


@pytest.fixture(scope="module")
def images():
    """Views of twelve random pictures."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in CLASSES]

    class Pictures(list):
        def __getitem__(self, i):
            return type("Example", (), {"image": pictures[i]})

    source = Pictures(pictures)
    crowd = batches.People(source, np.arange(len(CLASSES)), CLASSES, CAMERAS)
    return batches.ImageViews(crowd, size=SIZE, augmentation=views.Augmentation(), limit=10**9)


def source_of(identities):
    records = [{} for _ in identities]
    cameras = [0] * len(identities)
    return Source(
        records, identities=identities, cameras=cameras, names=[str(i) for i in range(len(records))], title="t"
    )


# Who is trained on


def test_identities_are_held_out_evenly_and_classes_are_consecutive():
    source = source_of([7, 3, 9, 3, -1, 9, 11, 12])
    crowd, held = batches.people(source, holdout=2)
    assert crowd.positions.tolist() == [1, 2, 3, 5, 7] and crowd.classes.tolist() == [0, 1, 0, 1, 2]
    assert held.tolist() == [0, 6]


def test_the_last_identities_are_held_out_where_that_is_asked_for():
    crowd, held = batches.people(source_of([7, 3, 9, 3, -1, 9, 11]), holdout=1, holdout_from="last")
    assert crowd.positions.tolist() == [0, 1, 2, 3, 5] and crowd.classes.tolist() == [1, 0, 2, 0, 2]
    assert held.tolist() == [6]


@pytest.mark.parametrize("holdout", [-1, 3, 4])
def test_a_holdout_that_leaves_nobody_to_tell_apart_is_an_error(holdout):
    with pytest.raises(ValueError, match=f"holdout must leave at least two of the 4 .*got {holdout}"):
        batches.people(source_of([1, 2, 3, 4]), holdout=holdout)


# Identification and pairs


def pairs(seed=0, positives=20, negatives=12):
    how = batches.Batching(4, seed)
    return batches.pairs(Numbered(), CLASSES, CAMERAS, how, positives=positives, negatives=negatives)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def test_pairs_carry_the_right_sign_and_identities():
    seen = []
    for step in range(8):  # one epoch of 32 pairs
        batch = pairs()[step]
        whole, patch = batch["whole"][:, 0], batch["patch"][:, 0]
        assert (whole % 2 == 0).all() and (patch % 2 == 1).all()
        i, j = whole // 2, patch // 2
        np.testing.assert_array_equal(batch["whole_identities"], CLASSES[i])
        np.testing.assert_array_equal(batch["patch_identities"], CLASSES[j])
        np.testing.assert_array_equal(batch["sign"] > 0, CLASSES[i] == CLASSES[j])
        assert (i != j).all() and set(batch["sign"]) <= {-1, 1}
        seen += batch["sign"].tolist()
    assert seen.count(1) == 20 and seen.count(-1) == 12


def test_identification_batches_carry_the_right_class_and_the_asked_for_patches():
    for share, odd in ((0.0, {0}), (1.0, {1}), (0.5, {0, 1})):
        dataset = batches.identification(Numbered(), CLASSES, batches.Batching(4, 0), patch_share=share)
        shown = [dataset[step] for step in range(3)]
        assert set(np.concatenate([b["inputs"][:, 0] % 2 for b in shown])) == odd
        assert all((CLASSES[b["inputs"][:, 0] // 2] == b["identities"]).all() for b in shown)
        assert sorted(np.concatenate([b["inputs"][:, 0] // 2 for b in shown])) == list(range(12))  # one epoch


def test_the_batch_of_a_step_depends_on_seed_and_step_alone():
    first, second = pairs(), pairs()
    later = [second[step] for step in (9, 2, 30)]  # another order of asking
    assert all(same(first[step], batch) for step, batch in zip((9, 2, 30), later, strict=True))
    assert not same(first[2], pairs(seed=1)[2]) and not same(first[0], first[8])  # the next epoch is drawn anew


def test_a_stream_that_starts_in_the_middle_gives_the_batches_of_its_steps():
    dataset = pairs()
    stream = dataset[5:11].to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
    assert all(same(batch, dataset[5 + k]) for k, batch in enumerate(stream))
    assert len(list(stream)) == 6


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ValueError, match="nothing to train on"):
        pairs(positives=0, negatives=0)


# Frozen outputs


def cache(folder, images, fingerprint=None, number=1, **options):
    return frozen.FrozenViews(
        folder,
        lambda: images,
        PARAMS,
        fingerprint=fingerprint or {"seed": 5},
        count=len(CLASSES),
        number=number,
        trunk=TRUNK,
        seed=5,
        batch_size=8,
        **options,
    )


@pytest.mark.slow
def test_frozen_outputs_are_those_of_the_blocks_to_float16(tmp_path, images):
    found = cache(tmp_path / "cache", images)
    for kind in ("whole", "patch"):
        for i in (0, 7, 11):  # the last batch is not full
            pixels, size = getattr(images, kind)(i, np.random.default_rng((5, 0, kind == "patch", i)))
            inputs = fcn.zero_outside(fcn.preprocess(pixels[None], "torch"), jnp.asarray(size[None]))
            exact, exact_size = fcn.apply(PARAMS, inputs, jnp.asarray(size[None]), output_stride=16, blocks=(1, 2))
            kept, kept_size = getattr(found, kind)(i, np.random.default_rng(0))
            assert kept.dtype == np.float16
            np.testing.assert_allclose(kept, exact[0], rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(kept_size, exact_size[0])


def test_building_goes_on_with_the_finished_parts(tmp_path, images, monkeypatch):
    folder = tmp_path / "cache"
    build, parts = frozen.FrozenViews._build, []

    def interrupted(self, file, views_of, kind, number):
        parts.append((kind, number))
        if kind == "patch":
            file.write(b"half a part")
            raise KeyboardInterrupt
        return build(self, file, views_of, kind, number)

    monkeypatch.setattr(frozen.FrozenViews, "_build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache(folder, images)
    monkeypatch.undo()
    done = folder / "whole_0.npy"
    before = done.stat().st_mtime_ns
    resumed, fresh = cache(folder, images), cache(tmp_path / "other", images)
    assert done.stat().st_mtime_ns == before and parts == [("whole", 0), ("patch", 0)]
    for i in range(len(CLASSES)):
        for kind in ("whole", "patch"):
            a, b = (getattr(f, kind)(i, np.random.default_rng(0)) for f in (resumed, fresh))
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])


def test_a_full_disk_is_said_and_leaves_no_half_part(tmp_path, images):
    """Into a mapped file it would have killed the process."""
    with (
        disks.full(4096),
        pytest.raises(OSError, match=r"whole_0\.npy cannot be written \(File too large\): free some"),
    ):
        cache(tmp_path / "cache", images)
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["fingerprint.json"]


def test_a_cache_of_something_else_is_an_error_and_stays_as_it_is(tmp_path, images):
    cache(tmp_path, images)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="frozen_cache .* was made with other seed: give another"):
        cache(tmp_path, images, fingerprint={"seed": 6})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / "fingerprint.json").unlink()
    with pytest.raises(ValueError, match="unknown origin"):
        cache(tmp_path, images)


def test_the_note_is_there_before_any_part(tmp_path, images, monkeypatch):
    def stop(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(frozen.FrozenViews, "_build", stop)
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path / "cache", images)
    assert json.loads((tmp_path / "cache" / "fingerprint.json").read_text()) == {"seed": 5}


def test_outputs_beyond_float16_are_an_error(tmp_path, images, monkeypatch):
    monkeypatch.setitem(PARAMS["block2_conv2"], "bias", PARAMS["block2_conv2"]["bias"] + 1e5)
    with pytest.raises(ValueError, match="beyond float16"):
        cache(tmp_path / "cache", images)


def test_outputs_too_small_for_float16_are_an_error(tmp_path, images, monkeypatch):
    for name in ("kernel", "bias"):
        monkeypatch.setitem(PARAMS["block2_conv2"], name, PARAMS["block2_conv2"][name] * 1e-8)
    with pytest.raises(ValueError, match="too small for float16: train with --frozen_views=0"):
        cache(tmp_path / "cache", images)
