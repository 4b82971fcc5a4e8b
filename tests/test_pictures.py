"""Probes and gallery pictures, cropped and scaled."""

import numpy as np

from data import views
from dsr_jax.evaluation import candidates
from experiments.evaluation import pictures
from experiments.settings.pictures import Shown
from tests.people import GALLERY, SIZE, drawn


def fit(probes, *, probe_scale="keep", **options):
    options = {"partial": "none", "gallery_shape": (128.0, 96.0)} | options
    return pictures.fit_probes(probes, Shown(probe_scale=probe_scale), size=SIZE, **options).pictures


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


def test_a_factor_enlarges_what_is_matched():
    shapes = [picture.shape[:2] for picture in fit(drawn([(128, 96)], [0], [0]), factor=1.5)]
    assert shapes == [(96, 72)]


def test_answered_probes_have_their_person_under_another_camera():
    probes = drawn([(4, 4)] * 6, [1, 1, 2, 4, -1, 3], [0, 1, 1, 0, 0, -1])
    rules = {"cross": [True, False, True, False, False, True], "any": [True, True, True, False, False, True]}
    for rule, expected in rules.items():
        assert candidates.answered(pictures.labels(probes, GALLERY, camera_rule=rule)).tolist() == expected


def test_a_probe_whose_own_picture_may_answer_it_is_known():
    probes = drawn([(4, 4)] * 4, [1, 1, 2, 3], [0, 1, 0, -1])
    gallery = probes._replace(cameras=np.array([1, 1, 0, -1]))
    found = pictures.searching_themselves(probes, gallery, camera_rule="cross")
    assert found.tolist() == [True, False, False, True]  # by another camera, or by cameras unknown
    assert pictures.searching_themselves(probes, gallery, camera_rule="any").all()
    others = probes._replace(pictures=[picture[::-1] for picture in probes.pictures])
    assert not pictures.searching_themselves(probes, others, camera_rule="any").any()


def test_pictures_of_one_colour_are_named_with_their_side():
    probes = drawn([(64, 48)] * 3, [0, 1, 2], [0, 0, 0])
    assert pictures.of_one_colour(probe=probes, gallery=probes) == []
    black = probes._replace(pictures=[probes.pictures[0], probes.pictures[1] // 16, probes.pictures[2]])
    (told,) = pictures.of_one_colour(probe=probes, gallery=black)
    assert told.startswith(f"1 of 6 pictures are of (nearly) one colour, gallery/{black.names[1]}: look at them")
