"""Training pairs: what they promise at every seed, and that nothing but the key decides them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax.evaluation import training_pairs

from .test_protocols import KEYS, SMALL, galleries


@SMALL
@given(galleries(), st.integers(0, 20), st.integers(0, 20), KEYS)
def test_pairs_keep_their_promises(images, positives, negatives, seed):
    identities, cameras = images
    counts = np.bincount(identities[identities >= 0])
    if (positives and counts.max() < 2) or (negatives and np.count_nonzero(counts) < 2):
        with pytest.raises(ValueError, match="identities"):
            training_pairs.draw_pairs(identities, cameras, positives=positives, negatives=negatives, seed=seed)
        return
    pairs = training_pairs.draw_pairs(identities, cameras, positives=positives, negatives=negatives, seed=seed)
    assert pairs.sign.dtype == np.int8
    assert (np.sum(pairs.sign == 1), np.sum(pairs.sign == -1)) == (positives, negatives)
    assert np.all(pairs.whole != pairs.patch)
    assert np.all(identities[pairs.whole] >= 0) and np.all(identities[pairs.patch] >= 0)
    np.testing.assert_array_equal(identities[pairs.whole] == identities[pairs.patch], pairs.sign == 1)
    for whole, patch in zip(pairs.whole[pairs.sign == 1], pairs.patch[pairs.sign == 1], strict=True):
        elsewhere = (identities == identities[whole]) & (cameras != cameras[whole]) & (cameras != -1)
        if cameras[whole] != -1 and np.any(elsewhere):
            assert cameras[patch] not in (-1, cameras[whole])


def test_pairs_are_uniform_over_identities_and_shuffled():
    identities = np.repeat(np.arange(5), [2, 4, 8, 16, 32])
    pairs = training_pairs.draw_pairs(identities, positives=4000, negatives=4000, seed=0)
    for sign in (1, -1):
        for side in (pairs.whole, pairs.patch):
            shares = np.bincount(identities[side[pairs.sign == sign]]) / 4000
            np.testing.assert_allclose(shares, 0.2, atol=0.03)
    assert abs(int(pairs.sign[:4000].sum())) < 300


def test_an_unknown_camera_is_no_reason_to_prefer_an_image():
    pairs = training_pairs.draw_pairs([1, 1, 1], [-1, -1, 0], positives=60, negatives=0, seed=0)
    assert set(pairs.patch[pairs.whole == 0].tolist()) == {1, 2}


def test_pairs_depend_on_the_whole_key_and_default_to_the_paper():
    identities = np.repeat(np.arange(20), 3)
    first, again, other = (training_pairs.draw_pairs(identities, seed=key) for key in ((0, 1), (0, 1), (0, 2)))
    assert len(first.sign) == 6000
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.whole, other.whole)


def test_impossible_pairs_are_named():
    with pytest.raises(ValueError, match="has two images"):
        training_pairs.draw_pairs([1, 2, 3], positives=1, negatives=0, seed=0)
    with pytest.raises(ValueError, match="two different"):
        training_pairs.draw_pairs([1, 1], positives=0, negatives=1, seed=0)
    with pytest.raises(ValueError, match="positives is -1"):
        training_pairs.draw_pairs([1, 1], positives=-1, seed=0)
