"""Partial crops: what they promise at every seed, and that nothing but the key decides them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax.evaluation import partial_crops

from .test_protocols import KEYS, SMALL


@SMALL
@given(st.integers(1, 400), st.integers(1, 200), KEYS, st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted))
def test_partial_box_lies_inside_and_in_range(height, width, key, share):
    box = partial_crops.partial_box(height, width, seed_key=(key, 3), height_range=tuple(share), width_range=(0.7, 1.0))
    assert box.top >= 0 and box.left >= 0
    assert box.top + box.height <= height and box.left + box.width <= width
    assert max(1, share[0] * height - 0.5) <= box.height <= max(1, share[1] * height + 0.5)
    assert max(1, 0.7 * width - 0.5) <= box.width
    image = np.arange(height * width).reshape(height, width)
    part = partial_crops.crop(image, box)
    assert part.shape == (box.height, box.width)
    assert (
        part[0, 0] == image[box.top, box.left]
        and part[-1, -1] == image[part.shape[0] - 1 + box.top, box.left + part.shape[1] - 1]
    )


def test_partial_box_reaches_every_place_and_is_relative_to_the_size():
    boxes = np.array([partial_crops.partial_box(100, 100, seed_key=(1, i)) for i in range(500)])
    bottom, right = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    assert boxes[:, 0].min() == 0 and bottom.max() == 100 and boxes[:, 1].min() == 0 and right.max() == 100
    assert 50 <= boxes[:, 2].min() <= 51 and 74 <= boxes[:, 2].max() <= 75
    assert boxes[:, 2].mean() == pytest.approx(62.5, abs=1) and boxes[:, 3].mean() == pytest.approx(85, abs=1.5)
    large = np.array([partial_crops.partial_box(1000, 1000, seed_key=(1, i)) for i in range(500)])
    assert np.abs(large / 10 - boxes).max() <= 1.5


def test_partial_box_of_the_whole_image():
    whole = partial_crops.partial_box(31, 17, seed_key=0, height_range=(1, 1), width_range=(1, 1))
    assert whole == partial_crops.Box(0, 0, 31, 17)


def test_bad_boxes_are_named():
    with pytest.raises(ValueError, match="height x width is 0 x 5"):
        partial_crops.partial_box(0, 5, seed_key=0)
    for bad in ((0.0, 0.5), (0.6, 0.5), (0.5, 1.1), (50, 75)):
        with pytest.raises(ValueError, match="width_range"):
            partial_crops.partial_box(10, 10, seed_key=0, width_range=bad)
    with pytest.raises(ValueError, match="non-negative"):
        partial_crops.partial_box(10, 10, seed_key=(0, -2))
    for box in (partial_crops.Box(0, 0, 4, 2), partial_crops.Box(-1, 0, 2, 2), partial_crops.Box(0, 0, 0, 1)):
        with pytest.raises(ValueError, match="inside the image"):
            partial_crops.crop(np.zeros((3, 3, 3)), box)
