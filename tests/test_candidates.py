"""The camera rule: every function that decides which gallery images may answer a probe decides alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax.evaluation import candidates
from dsr_jax.evaluation.candidates import Labels

LABELS = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), min_size=1, max_size=8)


def may_answer(probe: tuple[int, int], image: tuple[int, int], camera_rule: str) -> bool:
    """The rule in words: a known identity, and not the probe's own identity by the probe's own known camera."""
    (identity, camera), (other, by) = probe, image
    return -1 not in (identity, other) and not (camera_rule == "cross" and identity == other and camera == by != -1)


@settings(max_examples=100, deadline=None)
@given(LABELS, LABELS, st.sampled_from(sorted(candidates.RULES)))
def test_allowed_answered_and_candidates_are_the_same_rule(probes, gallery, camera_rule):
    (probe_ids, probe_cams), (ids, cams) = (np.array(side).T for side in (probes, gallery))
    expected = np.array([[may_answer(probe, image, camera_rule) for image in gallery] for probe in probes])
    labels, rule = (probe_ids, ids, probe_cams, cams), {"camera_rule": camera_rule}
    np.testing.assert_array_equal(candidates.allowed(Labels(*labels, **rule)), expected)
    right = expected & (probe_ids[:, None] == ids)
    np.testing.assert_array_equal(candidates.answered(Labels(*labels, **rule)), right.any(axis=1))
    distances = np.arange(expected.size, dtype=np.float32).reshape(expected.shape)
    for i, (row, hit) in enumerate(candidates.candidates(distances, Labels(*labels, **rule))):
        np.testing.assert_array_equal(row, distances[i, expected[i]])
        np.testing.assert_array_equal(hit, right[i, expected[i]])


def test_answered_names_the_side_whose_lengths_differ_and_an_unknown_rule():
    with pytest.raises(ValueError, match="gallery_cameras"):
        candidates.answered(Labels([1], [1, 1], [0], [0]))
    with pytest.raises(ValueError, match="camera_rule"):
        candidates.answered(Labels([1], [1], camera_rule="same"))
