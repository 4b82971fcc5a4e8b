"""Methods on the same probes and draws, each against a slow loop over single pictures."""

import jax
import numpy as np
import pytest

from data import views
from dsr_jax import fcn, match, metrics
from experiments import comparison, pictures

SIZE, SHAPE, DEPTH = (64, 48), (4, 3), 16
NETWORK = comparison.Network(fcn.init(jax.random.key(0), width=0.03), "torch", 16, SIZE)


def maps(count, seed, shape=SHAPE):
    """Random maps, sparse enough for codes to matter."""
    return [m**4 for m in np.random.default_rng(seed).random((count, *shape, DEPTH)).astype(np.float32)]


SIDES = comparison.Sides(maps(3, 0, (2, 3)), maps(6, 1), maps(3, 2))
ENTRIES = [[0, 1], [4], [2, 3, 5]]
PROBES = np.array([2, 0, 1])


def drawn(shapes, identities, cameras):
    rng = np.random.default_rng(5)
    found = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    return pictures.Images(found, np.array(identities), np.array(cameras), [f"{i}.png" for i in range(len(shapes))])


# Methods


def test_resizing_is_the_average_euclidean_distance():
    found = comparison.resizing(SIDES, PROBES, ENTRIES)
    for row, p in enumerate(PROBES):
        for column, entry in enumerate(ENTRIES):
            each = [np.linalg.norm(SIDES.resized[p] - SIDES.gallery[g]) for g in entry]
            np.testing.assert_allclose(found[row, column], np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("name", ["dsr_single", "dsr_multi", "ridge_single"])
def test_dsr_stacks_the_shots_into_one_dictionary(name):
    """Two maps one beside the other hold the same single-scale blocks as the two maps."""
    scales = (1, 2, 3) if name == "dsr_multi" else (1,)
    coder = "ridge" if name == "ridge_single" else "auto"
    found = comparison.METHODS[name](coder="auto", l1=0.4)(SIDES, PROBES, ENTRIES)
    for row, p in enumerate(PROBES):
        for column, entry in enumerate(ENTRIES):
            stacked = [SIDES.gallery[g] for g in entry]
            one = match.distances(
                SIDES.probe[p], stacked, identities=[0] * len(entry), scales=scales, coder=coder
            ).distance
            np.testing.assert_allclose(found[row, column], one[0, 0], atol=2e-5)
    if scales == (1,):
        joined = match.distances(
            [SIDES.probe[p] for p in PROBES],
            [np.hstack([SIDES.gallery[g] for g in ENTRIES[0]])],
            scales=(1,),
            coder=coder,
        )
        np.testing.assert_allclose(found[:, 0], joined.distance[:, 0], atol=2e-5)


def test_more_shots_never_make_a_person_farther():
    """A larger dictionary codes at a lower objective; here the distance follows."""
    method = comparison.METHODS["dsr_single"](coder="auto", l1=0.4)
    few, many = (method(SIDES, PROBES, [entry]) for entry in ([0], [0, 1, 2, 3]))
    assert (many < few).all()


# Trials

GALLERY = drawn([(4, 4)] * 6, [1, 1, 2, 2, 3, -1], [1, 1, 1, 0, 1, 1])
QUERIES = drawn([(4, 4)] * 3, [1, 2, 3], [0, 0, 2])


def nearest_first(sides, probes, entries):
    """A stand-in method: the mean of given distances."""
    each = np.random.default_rng(9).random((3, 6))
    return np.stack([each[probes][:, entry].mean(axis=1) for entry in entries], axis=1)


@pytest.mark.parametrize("shots", [1, 2])
def test_scores_are_those_of_each_draw_ranked_alone(shots):
    protocol = comparison.Protocol(shots=shots, trials=4, camera_rule="cross", seed=3)
    found = comparison.score(nearest_first, SIDES, QUERIES, GALLERY, protocol, label="", progress=False)
    for trial in comparison.draws(QUERIES, GALLERY, protocol):
        distances = nearest_first(SIDES, trial.probes, [list(images) for images in trial.draw.images])
        expected = metrics.ranks(distances, QUERIES.identities[trial.probes], trial.draw.identities, camera_rule="any")
        np.testing.assert_array_equal(found[trial.number].first_hit[trial.probes], expected.first_hit)


def test_figures_are_means_over_trials_then_over_probes():
    scores = [metrics.Scores(np.array([0, 4]), np.array([1.0, 0.2])), metrics.Scores(np.array([2, 0]), np.ones(2))]
    values = comparison.per_probe(scores)
    assert values["rank1"].tolist() == [50.0, 50.0] and values["rank3"].tolist() == [100.0, 50.0]
    assert values["mAP"].tolist() == [100.0, 60.0]
    summary = comparison.summarise(values, np.array([1, 2]))
    assert summary["rank3"].value == 75.0 and summary["rank3"].low <= 75.0 <= summary["rank3"].high


def test_answered_probes_have_their_person_under_another_camera():
    probes = drawn([(4, 4)] * 6, [1, 1, 2, 4, -1, 3], [0, 1, 1, 0, 0, -1])
    assert pictures.answered(probes, GALLERY, camera_rule="cross").tolist() == [True, False, True, False, False, True]
    assert pictures.answered(probes, GALLERY, camera_rule="any").tolist() == [True, True, True, False, False, True]


def test_short_and_absent_identities_are_told_once():
    protocol = comparison.Protocol(shots=2, trials=3, camera_rule="cross", seed=0)
    lines = comparison.shortages(comparison.draws(QUERIES, GALLERY, protocol), shots=2)
    assert lines == [
        "2 shots for probes of camera 0: 2 identities have fewer images: 2, 3",
        "2 shots for probes of camera 2: 1 identities have fewer images: 3",
    ]
    seen_from_1 = QUERIES._replace(cameras=np.array([1, 1, 1]))
    lines = comparison.shortages(comparison.draws(seen_from_1, GALLERY, protocol), shots=2)
    assert lines[1] == "2 shots for probes of camera 1: 2 gallery identities have none: 1, 3"


# Pictures


def fit(probes, **options):
    options = {"partial": "none", "probe_scale": "keep", "gallery_shape": (128.0, 96.0)} | options
    return pictures.fit_probes(
        probes, size=SIZE, height_range=(0.5, 0.75), width_range=(0.7, 1.0), seed=0, **options
    ).pictures


def test_kept_scale_means_enlarged_as_the_gallery_is():
    shapes = [picture.shape[:2] for picture in fit(drawn([(60, 80), (128, 96)], [0, 1], [0, 0]))]
    assert shapes == [(30, 40), SIZE]


def test_width_scale_means_as_wide_as_the_gallery_with_its_own_shape():
    shapes = [picture.shape[:2] for picture in fit(drawn([(60, 80), (50, 20)], [0, 1], [0, 0]), probe_scale="width")]
    assert shapes == [(36, 48), (120, 48)]


def test_a_cropped_probe_is_a_piece_of_the_whole_one_at_its_scale():
    probes = drawn([(64, 48), (70, 30)], [0, 1], [0, 0])
    for picture, found in zip(probes.pictures, fit(probes, partial="crop"), strict=True):
        whole = views.resize(picture, SIZE)
        windows = np.lib.stride_tricks.sliding_window_view(whole, found.shape[:2], axis=(0, 1))
        assert (windows == np.moveaxis(found, 2, 0)).all(axis=(2, 3, 4)).any()
        assert 32 <= found.shape[0] <= 48 and 34 <= found.shape[1] <= 48


def test_the_crop_of_a_probe_does_not_depend_on_the_others():
    probes = drawn([(64, 48)] * 3, [0, 1, 2], [0, 0, 0])
    together, alone = fit(probes, partial="crop"), fit(probes._replace(pictures=probes.pictures[:1]), partial="crop")
    np.testing.assert_array_equal(together[0], alone[0])


def test_the_first_so_many_of_each_identity_and_camera_are_read():
    class Source(list):
        identities, cameras = np.array([1, 1, 1, 2, 1]), np.array([0, 0, 0, 0, 1])
        names = list("abcde")

        def __getitem__(self, i):
            return type("Example", (), {"image": np.full((2, 2, 3), i, np.uint8)})

    assert pictures.read(Source(range(5)), limit_per_identity=2).names == ["a", "b", "d", "e"]
    assert pictures.read(Source(range(5)), [4, 0]).names == ["e", "a"]


def test_maps_of_both_sides_are_those_of_single_pictures():
    probes, gallery = drawn([(40, 33), (33, 48)], [0, 1], [0, 0]), drawn([SIZE], [0], [1])
    sides = comparison.sides(NETWORK, probes, gallery, [0], resized=True, progress=False)
    assert [m.shape[:2] for m in sides.probe] == [(2, 2), (2, 3)] and sides.gallery[0].shape[:2] == SHAPE
    assert [m.shape[:2] for m in sides.resized] == [SHAPE, SHAPE]
    alone, _ = fcn.apply(NETWORK.params, fcn.preprocess(probes.pictures[1][None], "torch"), output_stride=16)
    np.testing.assert_allclose(sides.probe[1], alone[0], atol=1e-4)
    assert comparison.sides(NETWORK, probes, gallery, [0], resized=False, progress=False).resized == []


def test_only_gallery_images_that_are_drawn_have_maps():
    protocol = comparison.Protocol(shots=1, trials=1, camera_rule="cross", seed=0)
    used = comparison.used(comparison.draws(QUERIES, GALLERY, protocol))
    assert {int(i) for i in GALLERY.identities[used]} == {1, 2, 3} and len(used) <= 5
    probes, gallery = drawn([(40, 33)], [0], [0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 1])
    found = comparison.sides(NETWORK, probes, gallery, [2], resized=False, progress=False).gallery
    assert [m.size > 0 for m in found] == [False, False, True]


def test_pictures_below_one_cell_are_named():
    probes, gallery = drawn([(40, 33), (15, 48)], [0, 1], [0, 0]), drawn([SIZE], [0], [1])
    with pytest.raises(ValueError, match=r"1 probe pictures.*1\.png of 15 x 48.*smallest legal size is 16 x 16"):
        comparison.sides(NETWORK, probes, gallery, [0], resized=False, progress=False)


def test_maps_that_are_no_numbers_are_named():
    wrong = NETWORK._replace(params=jax.tree.map(lambda x: x * np.float32(1e20), NETWORK.params))
    probes, gallery = drawn([(40, 33)], [0], [0]), drawn([SIZE], [0], [1])
    with pytest.raises(ValueError, match=r"maps of 0\.png \(probe\) hold NaN or infinity"):
        comparison.sides(wrong, probes, gallery, [0], resized=False, progress=False)
