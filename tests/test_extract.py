"""Extraction: padded, bucketed, batched, and still the maps that each image alone would give."""

import weakref
from collections.abc import Sequence

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from dsr_jax import extract, fcn, networks, resnet
from dsr_jax.parallel import sharding

from . import oracles
from .test_fcn import params, relative

STRIDE = 16


def photographs(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def test_maps_are_those_of_each_image_alone():
    images = photographs((40, 33), (64, 32), (17, 90), (64, 47), (33, 33))
    found = extract.maps(params(), images, output_stride=STRIDE, batch_size=2, max_buckets=2)
    for m, picture in zip(found, images, strict=True):
        exact = oracles.vgg16(params(), np.asarray(fcn.preprocess(picture)), output_stride=STRIDE)
        assert m.shape == exact.shape and m.dtype == np.float32
        assert relative(m, exact) <= 1e-5


def test_one_compilation_per_bucket():
    images = photographs((40, 33), (50, 40), (17, 90), (64, 47), (33, 33), (20, 20), (96, 16))
    before = extract._apply._cache_size()
    extract.maps(params(), images, output_stride=STRIDE, batch_size=3, max_buckets=2)
    assert extract._apply._cache_size() - before <= 2


def test_a_lazy_sequence_is_never_held():
    """No more pictures are alive at once than a batch has."""

    class Lazy(Sequence):
        opened, most = [], 0

        def __len__(self):
            return 7

        def __getitem__(self, i):
            if not 0 <= i < 7:
                raise IndexError(i)
            picture = np.full((32, 32, 3), 30 * i, np.uint8)
            self.opened.append(weakref.ref(picture))
            self.most = max(self.most, sum(ref() is not None for ref in self.opened))
            return picture

    images = Lazy()
    alone = sharding.mesh(jax.devices()[:1])
    found = extract.maps(params(), images, output_stride=STRIDE, batch_size=3, mesh=alone)
    assert len(found) == 7 and not np.allclose(found[0], found[6])
    assert images.most <= 3 + 1


def test_no_images():
    assert extract.maps(params(), []) == []


@hypothesis.given(
    shapes=st.lists(st.tuples(st.integers(16, 200), st.integers(16, 90)), min_size=1, max_size=20),
    limit=st.integers(1, 6),
)
def test_buckets_hold_their_images_and_are_few(shapes, limit):
    found = extract.buckets(shapes, stride=STRIDE, limit=limit)
    assert len(found) == len(shapes) and len(set(found)) <= limit
    for (height, width), (tall, wide) in zip(shapes, found, strict=True):
        assert tall >= height and wide >= width
        assert tall % STRIDE == 0 and wide % STRIDE == 0
    highest = -(-max(h for h, _ in shapes) // STRIDE) * STRIDE
    assert max(tall for tall, _ in found) == highest, "no bucket is larger than it must be"


def test_errors_name_the_image():
    with pytest.raises(ValueError, match=r"images\[1\] of 10 x 64 pixels is smaller.*16 x 16"):
        extract.maps(params(), photographs((32, 32), (10, 64)), output_stride=STRIDE)
    with pytest.raises(ValueError, match=r"images\[0\] must be \(H, W, 3\) RGB"):
        extract.maps(params(), [np.zeros((32, 32), np.uint8)])
    with pytest.raises(ValueError, match=r"images\[0\] must be uint8.*float64"):  # 0 to 1 would be cut to 0
        extract.maps(params(), [np.full((32, 32, 3), 0.5)])


# First blocks kept


def without(params, block):
    """Other numbers in one block."""
    return {name: jax.tree.map(lambda x: 1.5 * x, v) if int(name[5]) == block else v for name, v in params.items()}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["vgg16", "resnet50"])
@pytest.mark.parametrize("devices", [1, 8])
def test_maps_are_the_same_with_first_blocks_kept(architecture, devices):
    over = sharding.mesh(jax.devices()[:devices])
    first = params() if architecture == "vgg16" else resnet.init(jax.random.key(0), width=1 / 32)
    images = photographs((40, 33), (64, 32), (17, 90), (33, 33))
    how = {"output_stride": STRIDE, "batch_size": 2, "max_buckets": 2, "mesh": over}
    kept = extract.Prefix(4, limit=1 << 24)
    for trained in (first, without(first, 5), first):
        expected = extract.maps(trained, images, **how)
        for m, alone in zip(extract.maps(trained, images, prefix=kept, **how), expected, strict=True):
            assert m.shape == alone.shape and relative(m, alone) <= 1e-5
    assert networks.architecture(first) == architecture and kept.batches >= 2


@pytest.mark.slow
def test_first_blocks_run_once_and_again_only_for_others(monkeypatch):
    ran, apply = [], extract._apply

    def noted(*arguments, blocks=(1, 5), **options):
        ran.append(blocks)
        return apply(*arguments, blocks=blocks, **options)

    monkeypatch.setattr(extract, "_apply", noted)
    images, kept = photographs((32, 32), (32, 32)), extract.Prefix(4, limit=1 << 24)

    def ran_for(given, pictures):
        ran.clear()
        found = extract.maps(given, pictures, output_stride=STRIDE, prefix=kept)
        for m, picture in zip(found, pictures, strict=True):
            exact = oracles.vgg16(given, np.asarray(fcn.preprocess(picture)), output_stride=STRIDE)
            assert relative(m, exact) <= 1e-5
        return list(ran)

    both, last = [(1, 4), (5, 5)], [(5, 5)]
    assert ran_for(params(), images) == both
    assert ran_for(without(params(), 5), images) == last
    assert ran_for(params(), images[::-1]) == both, "another batch"
    assert ran_for(params(), images) == last
    assert ran_for(without(params(), 2), images) == both, "other frozen blocks"
    assert kept.batches == 1
    before = extract.maps(params(), images, output_stride=STRIDE, convention="torch")
    after = extract.maps(params(), images, output_stride=STRIDE, convention="torch", prefix=kept)
    assert relative(after[0], before[0]) <= 1e-5, "another convention"


def test_no_more_is_kept_than_the_limit():
    images, kept = photographs((32, 32), (64, 64)), extract.Prefix(4, limit=40)
    extract.maps(params(), images, output_stride=STRIDE, prefix=kept)
    assert kept.batches == 0
    with pytest.raises(ValueError, match="blocks must be 1 to 4"):
        extract.Prefix(5, limit=1)
    with pytest.raises(ValueError, match="limit must be at least 0"):
        extract.Prefix(1, limit=-1)


def test_parameters_that_were_written_to_are_others():
    images, kept = photographs((32, 32)), extract.Prefix(4, limit=1 << 24)
    own = jax.tree.map(np.array, params())
    before = extract.maps(own, images, output_stride=STRIDE, prefix=kept)[0]
    own["block1_conv1"]["kernel"] *= -2
    after = extract.maps(own, images, output_stride=STRIDE, prefix=kept)[0]
    assert relative(after, extract.maps(own, images, output_stride=STRIDE)[0]) <= 1e-5 < relative(after, before)
