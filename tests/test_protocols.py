"""Gallery draws: what they promise at every seed, and that nothing but the key decides them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax.evaluation import protocols
from dsr_jax.evaluation.candidates import Labels

SMALL = settings(max_examples=100, deadline=None)
KEYS = st.integers(0, 2**31)


@st.composite
def galleries(draw):
    """Identities (-1 among them) and cameras (-1 among them) of 1 to 25 images, somebody known."""
    n = draw(st.integers(1, 25))
    identities = draw(st.lists(st.integers(-1, 5), min_size=n, max_size=n).filter(lambda ids: max(ids) >= 0))
    cameras = draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    return np.array(identities), np.array(cameras)


@SMALL
@given(galleries(), st.integers(1, 4), st.integers(0, 9), KEYS, st.sampled_from([None, -1, 0, 1, 2]))
def test_draw_keeps_its_promises(gallery, shots, trial, seed, excluded):
    identities, cameras = gallery
    allowed = (cameras != excluded) | (cameras == -1) if excluded is not None else np.ones(len(cameras), bool)
    if not np.any(allowed & (identities >= 0)):
        with pytest.raises(ValueError, match="second camera"):
            protocols.draw_gallery(identities, cameras, shots=shots, trial=trial, seed=seed, exclude_camera=excluded)
        return
    draw = protocols.draw_gallery(identities, cameras, shots=shots, trial=trial, seed=seed, exclude_camera=excluded)
    assert sorted([*draw.identities.tolist(), *draw.absent]) == sorted(set(identities[identities >= 0].tolist()))
    assert np.all(np.diff(draw.identities) > 0)
    for identity, images in zip(draw.identities.tolist(), draw.images, strict=True):
        usable = np.flatnonzero((identities == identity) & allowed)
        assert len(images) == min(shots, len(usable)) == len(set(images.tolist()))
        assert set(images.tolist()) <= set(usable.tolist())
        assert (identity in draw.short) == (len(usable) < shots)
    for identity in draw.absent:
        assert not np.any((identities == identity) & allowed)


def test_draw_is_uniform_and_differs_between_trials():
    identities, cameras = np.repeat([3, 8], 5), np.tile([0, 0, 1, 1, 1], 2)
    draws = [
        protocols.draw_gallery(identities, cameras, shots=1, trial=t, seed=0, exclude_camera=0) for t in range(900)
    ]
    first, second = (np.array([draw.images[i][0] for draw in draws]) for i in (0, 1))
    np.testing.assert_allclose(np.bincount(first, minlength=5)[2:] / 900, 1 / 3, atol=0.06)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1  # people are drawn independently


def test_draw_of_a_person_does_not_depend_on_the_others_or_on_shots():
    rng = np.random.default_rng(0)
    identities, cameras = rng.integers(0, 10, 80), rng.integers(0, 3, 80)
    full = protocols.draw_gallery(identities, cameras, shots=3, trial=2, seed=5, exclude_camera=1)
    single = protocols.draw_gallery(identities, cameras, shots=1, trial=2, seed=5, exclude_camera=1)
    kept = np.flatnonzero(identities % 2 == 0)
    fewer = protocols.draw_gallery(identities[kept], cameras[kept], shots=3, trial=2, seed=5, exclude_camera=1)
    even = [images.tolist() for i, images in zip(full.identities, full.images, strict=True) if i % 2 == 0]
    assert [kept[images].tolist() for images in fewer.images] == even
    assert [images[0] for images in single.images] == [images[0] for images in full.images]


def test_draw_is_pinned():
    # Published figures depend on these draws: a change here changes every one of them.
    draw = protocols.draw_gallery(
        np.repeat([0, 1, 2], 6), np.tile([0, 1], 9), shots=2, trial=1, seed=4, exclude_camera=0
    )
    assert [images.tolist() for images in draw.images] == [[1, 5], [7, 9], [17, 15]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 0}, "shots is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"trial": -1}, "trial is -1"),
        ({"cameras": [0]}, r"cameras \(1,\)"),
        ({"identities": [-1, -1]}, "none of 2 gallery images"),
        ({"exclude_camera": 0}, "exclude_camera=0"),
    ],
)
def test_bad_draws_are_named(change, message):
    arguments = {"identities": [1, 2], "cameras": [0, 0], "shots": 1, "trial": 0, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        protocols.draw_gallery(**arguments)


@SMALL
@given(galleries(), st.lists(st.integers(-1, 2), min_size=1, max_size=8), KEYS)
def test_every_probe_occurs_once_per_trial_and_never_meets_its_camera(gallery, probe_cameras, seed):
    identities, cameras = gallery
    gallery = np.append(identities, [6, 6]), np.append(cameras, [7, 8])  # so that no camera empties the gallery
    seen = {0: [], 1: []}
    for trial in protocols.trials(probe_cameras, *gallery, shots=2, count=2, seed=seed):
        assert {probe_cameras[p] for p in trial.probes} == {trial.camera}
        drawn = gallery[1][np.concatenate(trial.draw.images)]
        assert trial.camera == -1 or not np.any(drawn == trial.camera)
        seen[trial.number] += trial.probes.tolist()
    assert all(sorted(probes) == list(range(len(probe_cameras))) for probes in seen.values())


def test_any_rule_draws_one_gallery_for_all_probes():
    groups = list(protocols.trials([0, 1, 1], [5, 6], [0, 1], shots=1, count=3, seed=0, camera_rule="any"))
    assert [(g.number, g.camera, g.probes.tolist()) for g in groups] == [(t, -1, [0, 1, 2]) for t in range(3)]
    assert all(g.draw.identities.tolist() == [5, 6] for g in groups)


def test_bad_trials_are_named():
    with pytest.raises(ValueError, match="count is 0"):
        next(protocols.trials([0], [1], [0], shots=1, count=0, seed=0))
    with pytest.raises(ValueError, match="camera_rule is 'same'"):
        next(protocols.trials([0], [1], [0], shots=1, count=1, seed=0, camera_rule="same"))


def test_the_whole_gallery_is_every_image_for_every_probe():
    trial = protocols.whole_gallery([0, 1, 0, -1], [5, 5, -1], [0, 1, 1])
    assert trial.probes.tolist() == [0, 1, 2, 3] and trial.draw.identities.tolist() == [5, 5, -1]
    assert [images.tolist() for images in trial.draw.images] == [[0], [1], [2]]
    assert [cameras.tolist() for cameras in trial.cameras] == [[0, 1, 0, -1], [0, 1, 1]]
    assert protocols.whole_gallery([0, 1], [5, 6], [0, 1], camera_rule="any").camera_rule == "any"
    for probes, gallery in (([], [1]), ([0], [])):
        with pytest.raises(ValueError, match="both must be at least 1"):
            protocols.whole_gallery(probes, gallery, [0] * len(gallery))


def test_identity_check_counts_what_is_there():
    check = protocols.check_identities(Labels([1, 1, 2, 9, -1], [1, 2, 2, 3, -1], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]))
    assert check == protocols.IdentityCheck(
        probes=5, gallery=5, probe_identities=3, gallery_identities=3, shared_identities=2, probes_left=2
    )
    assert "2 shared identities" in str(check)
    assert protocols.check_identities(Labels([1], [1], [0], [0], camera_rule="any")).probes_left == 1
    assert protocols.check_identities(Labels([1], [1], [0], [-1])).probes_left == 1  # an unknown camera may be another


def test_identity_check_says_what_it_found():
    with pytest.raises(ValueError, match=r"identities are 1, 2, gallery identities 8, 9\. .*number people alike"):
        protocols.check_identities(Labels([2, 1], [9, 8]))
    with pytest.raises(ValueError, match="only within one camera"):
        protocols.check_identities(Labels([1], [1], [3], [3]))
    with pytest.raises(ValueError, match=r"10, 11, 12, 13, 14, \.\.\."):
        protocols.check_identities(Labels([1], range(10, 30)))
    with pytest.raises(ValueError, match="gallery identities none"):
        protocols.check_identities(Labels([1], [-1]))
    with pytest.raises(ValueError, match=r"probe_cameras \(2,\)"):
        protocols.check_identities(Labels([1], [1], [0, 1], [0]))
