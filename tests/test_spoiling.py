"""Spoiled probes: how much is changed, by what, and that it is the same again."""

import numpy as np
import pytest

from experiments.evaluation import spoiling
from experiments.settings import pictures

RNG = np.random.default_rng(0)
PICTURES = [
    RNG.integers(0, 256, (90, 40, 3), np.uint8),
    RNG.integers(0, 256, (61, 33, 3), np.uint8),
    np.full((8, 5, 3), 7, np.uint8),
]
WHO = np.array([1, 1, 2])


def test_the_flag_has_all_ways():
    assert pictures.Probes().spoil == "none"
    assert spoiling.spoiled(PICTURES, WHO, "none", seed=0) == PICTURES


@pytest.mark.parametrize("way", ["occluder", "coarse", "gap"])
def test_size_stays_and_the_same_comes_again(way):
    once, again = (spoiling.spoiled(PICTURES, WHO, way, seed=3) for _ in range(2))
    for picture, spoiled, repeated in zip(PICTURES, once, again, strict=True):
        assert spoiled.shape == picture.shape and spoiled.dtype == np.uint8
        np.testing.assert_array_equal(spoiled, repeated)
    assert any(np.any(spoiled != picture) for picture, spoiled in zip(PICTURES, once, strict=True))


def test_an_occluder_is_a_box_of_another_person():
    """The two of one person are covered by the third picture alone, which is of one colour."""
    for picture, spoiled in zip(PICTURES[:2], spoiling.spoiled(PICTURES, WHO, "occluder", seed=0)[:2], strict=True):
        covered = np.all(spoiled == 7, axis=2)
        np.testing.assert_array_equal(spoiled[~covered], picture[~covered])
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        box = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all() and 0.18 < covered.mean() < 0.42
    with pytest.raises(ValueError, match="spoil=occluder"):
        spoiling.spoiled(PICTURES[:2], WHO[:2], "occluder", seed=0)


def test_a_gap_leaves_the_ends_and_coarse_keeps_the_mean():
    picture = PICTURES[0]
    gap, coarse = (spoiling.spoiled([picture], WHO[:1], way, seed=0)[0] for way in ("gap", "coarse"))
    np.testing.assert_array_equal(gap[:30], picture[:30])
    np.testing.assert_array_equal(gap[60:], picture[60:])
    assert len(np.unique(gap[30:60].reshape(-1, 3), axis=0)) == 1
    assert abs(coarse.mean() - picture.mean()) < 3 and coarse.std() < 0.5 * picture.std()
