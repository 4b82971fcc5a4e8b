"""Training views: functions of image, size and generator alone; a patch keeps the scale of its image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import views
from dsr_jax.evaluation import partial_crops

PLAIN = views.Augmentation(0.0, 0.0, 0.0, 0.0)
FULL = views.Augmentation(0.5, 0.1, 0.3, 1.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (70, 30, 3), np.uint8)

sizes = st.tuples(st.integers(24, 90), st.integers(24, 60))
seeds = st.integers(0, 2**32 - 1)


@given(sizes, seeds, st.sampled_from(["whole", "patch"]))
def test_a_view_is_a_function_of_its_generator(size, seed, kind):
    first, second = (
        getattr(views, kind)(IMAGE, np.random.default_rng(seed), size=size, augmentation=FULL) for _ in range(2)
    )
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.size, second.size)
    assert first.pixels.dtype == np.uint8 and first.size.dtype == np.int32


def test_the_image_is_left_alone():
    before = IMAGE.copy()
    for size in ((70, 30), (40, 20)):  # at its own size nothing is resized, hence nothing copied
        for kind in (views.whole, views.patch):
            kind(IMAGE, np.random.default_rng(3), size=size, augmentation=FULL)
    np.testing.assert_array_equal(IMAGE, before)


def test_a_whole_view_without_augmentation_is_the_resized_image():
    view = views.whole(IMAGE, np.random.default_rng(0), size=(48, 32), augmentation=PLAIN)
    np.testing.assert_array_equal(view.pixels, views.resize(IMAGE, (48, 32)))
    assert view.size.tolist() == [48, 32]


def drawn_plainly(image, rng, size, augmentation, kind):
    """A view by NumPy alone, step by step in the order of the docstrings: what the fast one must equal, bit for bit."""
    pixels = views.resize(image, size)
    if rng.random() < augmentation.mirror:
        pixels = pixels[:, ::-1]
    if augmentation.shift > 0:
        margins = [max(1, round(augmentation.shift * side)) for side in size]
        padded = np.pad(pixels, [(margins[0],) * 2, (margins[1],) * 2, (0, 0)], mode="edge")
        top, left = (int(rng.integers(2 * margin + 1)) for margin in margins)
        pixels = padded[top : top + size[0], left : left + size[1]]
    if augmentation.colour > 0:
        brightness, contrast, saturation = 1 + augmentation.colour * rng.uniform(-1, 1, 3)
        values = pixels.astype(np.float32) * brightness
        values = values.mean() + contrast * (values - values.mean())
        grey = values.mean(axis=2, keepdims=True)
        pixels = np.clip(grey + saturation * (values - grey), 0, 255).astype(np.uint8)
    if kind == "patch":
        box = partial_crops.partial_box(
            *size,
            seed_key=int(rng.integers(2**32)),
            height_range=views.HEIGHT_RANGE,
            width_range=views.WIDTH_RANGE,
        )
        pixels = partial_crops.crop(pixels, box)
    return pixels


@given(
    sizes,
    seeds,
    st.sampled_from(["whole", "patch"]),
    st.sampled_from([0.0, 0.02, 0.3, 1.5]),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.booleans(),
)
def test_a_view_is_what_its_steps_make_of_the_image(size, seed, kind, shift, colour, alike):
    """Also where shifts go beyond the image, colours are cut off, and whole areas are one colour."""
    image = IMAGE // 128 * 255 if alike else IMAGE
    augmentation = views.Augmentation(0.5, shift, colour, 0.0)
    view = getattr(views, kind)(image, np.random.default_rng(seed), size=size, augmentation=augmentation)
    expected = drawn_plainly(image, np.random.default_rng(seed), size, augmentation, kind)
    assert tuple(view.size) == expected.shape[:2]
    np.testing.assert_array_equal(view.pixels[: view.size[0], : view.size[1]], expected)


@given(sizes, seeds)
def test_a_patch_is_a_piece_of_the_whole_at_its_scale(size, seed):
    """Without augmentation its pixels are found in the resized image, not a resized piece of it."""
    view = views.patch(IMAGE, np.random.default_rng(seed), size=size, augmentation=PLAIN)
    height, width = view.size
    piece = view.pixels[:height, :width]
    image = views.resize(IMAGE, size)
    windows = np.lib.stride_tricks.sliding_window_view(image, (height, width), axis=(0, 1))
    assert (windows == np.moveaxis(piece, 2, 0)).all(axis=(2, 3, 4)).any()


@given(sizes, seeds)
def test_a_patch_is_padded_with_zeros_to_the_largest_and_no_smaller_than_the_smallest(size, seed):
    view = views.patch(IMAGE, np.random.default_rng(seed), size=size, augmentation=FULL)
    largest = views.patch_size(size)
    assert view.pixels.shape == (*largest, 3)
    assert (np.array(views.smallest_patch(size)) <= view.size).all() and (view.size <= largest).all()
    height, width = view.size
    assert not view.pixels[height:].any() and not view.pixels[:, width:].any()


def test_patch_ranges_are_the_partial_probes_of_the_protocol():
    box = partial_crops.partial_box(100, 100, seed_key=1)
    assert 50 <= box.height <= 75 and 70 <= box.width <= 100
    assert views.HEIGHT_RANGE == (0.5, 0.75) and views.WIDTH_RANGE == (0.7, 1.0)


@pytest.mark.parametrize(
    "augmentation",
    [PLAIN._replace(mirror=1.0), PLAIN._replace(shift=0.2), PLAIN._replace(colour=0.5), PLAIN._replace(erase=1.0)],
)
def test_every_augmentation_changes_the_view_and_never_its_size(augmentation):
    view = views.whole(IMAGE, np.random.default_rng(1), size=(48, 32), augmentation=augmentation)
    assert view.pixels.shape == (48, 32, 3) and view.size.tolist() == [48, 32]
    assert (view.pixels != views.resize(IMAGE, (48, 32))).any()


def test_mirroring_mirrors():
    view = views.whole(IMAGE, np.random.default_rng(0), size=(48, 32), augmentation=PLAIN._replace(mirror=1.0))
    np.testing.assert_array_equal(view.pixels, views.resize(IMAGE, (48, 32))[:, ::-1])


def test_erasing_covers_between_two_and_twenty_per_cent():
    blank = np.zeros((100, 50, 3), np.uint8)
    for seed in range(40):
        view = views.whole(blank, np.random.default_rng(seed), size=(100, 50), augmentation=PLAIN._replace(erase=1.0))
        share = view.pixels.any(axis=2).mean()
        assert 0.01 < share < 0.22
