"""Drawn people: the same for the same seed, different for everything else, hard for raw colours and not hopeless."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
from data import synthetic
from data.builders.builder import build
from data.builders.synthetic import listing
from data.synthetic.figure import Pose, figure
from data.synthetic.person import BAGS, HEADS, LOWERS, PATTERNS, UPPERS

CROWD = synthetic.people(12)


def test_draw_is_a_pure_function_of_its_arguments():
    first = synthetic.draw(CROWD[0], 0, 0)
    assert first.shape == (synthetic.HEIGHT, synthetic.WIDTH, 3) and first.dtype == np.uint8
    synthetic.draw(CROWD[1], 1, 3)
    synthetic.background.cache_clear()
    np.testing.assert_array_equal(synthetic.draw(synthetic.people(1)[0], 0, 0), first)
    for other in [
        synthetic.draw(CROWD[0], 0, 1),
        synthetic.draw(CROWD[0], 1, 0),
        synthetic.draw(CROWD[1], 0, 0),
        synthetic.draw(synthetic.people(1, seed=1)[0], 0, 0),
    ]:
        assert np.mean(other != first) > 0.5


def test_people_are_numbered_and_do_not_depend_on_each_other():
    assert synthetic.people(3, first=4) == CROWD[4:7]
    looks = {dataclasses.replace(who, identity=0) for who in synthetic.people(300)}
    assert len(looks) == 300
    assert all(who.second_colour != who.upper_colour for who in CROWD)


@settings(max_examples=15)
@given(st.integers(16, 200), st.integers(8, 90), st.integers(0, 1), st.integers(0, 5))
def test_draw_any_size(height, width, camera, index):
    image = synthetic.draw(CROWD[index], camera, index, height=height, width=width)
    assert image.shape == (height, width, 3) and image.std() > 5


@pytest.mark.parametrize("front", [True, False])
def test_figure_shows_every_garment_bag_and_head(front):
    """Each choice of an attribute changes pixels, so that none is decoration in the description only."""

    def drawn(**choice: str) -> bytes:
        plain = {"upper": "sweater", "lower": "trousers", "bag": "none", "head": "short", "pattern": "plain"}
        who = dataclasses.replace(CROWD[0], **{**plain, **choice})
        pose = Pose(front=front, turn=0.2, stride=0.5, swing=0.3)
        return figure(who, pose, size=(96, 256), origin=(48, 8), across=240, down=240).tobytes()

    choices = {"upper": UPPERS, "lower": LOWERS, "bag": BAGS, "head": HEADS, "pattern": PATTERNS}
    for attribute, options in choices.items():
        hidden = {"logo"} if not front else set()
        seen = {drawn(**{attribute: option}) for option in set(options) - hidden}
        assert len(seen) == len(set(options) - hidden), attribute


@pytest.mark.parametrize(
    ("arguments", "message"), [((2, 0, 128, 48), "camera is 2"), ((0, 0, 8, 48), "height, width are 8, 48")]
)
def test_draw_names_bad_arguments(arguments, message):
    camera, index, height, width = arguments
    with pytest.raises(ValueError, match=message):
        synthetic.draw(CROWD[0], camera, index, height=height, width=width)


def test_listing_shares_no_people_and_probes_have_mates_by_the_other_camera():
    splits = listing().splits
    people = {split: {record.identity for record in records} for split, records in splits.items()}
    assert {split: len(found) for split, found in people.items()} == {"train": 150, "probe": 60, "gallery": 60}
    assert people["probe"] == people["gallery"] and not people["train"] & people["probe"]
    assert {r.camera for r in splits["probe"]} == {0} and {r.camera for r in splits["gallery"]} == {1}
    assert len(splits["gallery"]) >= 3 * 60  # three-shot evaluation
    assert len({record.name for records in splits.values() for record in records}) == 1680


def test_build_stores_the_drawn_pictures(tmp_path):
    small = listing(train=1, test=2, images=2, height=32, width=16)
    builder = data.dataset_builder("synthetic", data_dir=tmp_path)
    build(builder, small, fingerprint=small.fingerprint())
    for split, camera, who in [("train", 0, 0), ("probe", 0, 1), ("gallery", 1, 1)]:
        example = data.load("synthetic", split, data_dir=tmp_path)[0]
        np.testing.assert_array_equal(example.image, synthetic.draw(CROWD[who], camera, 0, height=32, width=16))
        assert (example.identity, example.camera) == (who, camera)


def test_load_builds_synthetic_where_it_is_missing(tmp_path, monkeypatch):
    small = listing(train=2, test=2, images=1, height=32, width=16)
    monkeypatch.setattr("data.builders.synthetic.listing", lambda: small)
    assert len(data.load("synthetic", "train", data_dir=tmp_path)) == 4
    monkeypatch.setattr("data.builders.synthetic.listing", lambda: pytest.fail("built twice"))
    assert len(data.load("synthetic", "gallery", data_dir=tmp_path)) == 2


def test_fingerprint_covers_the_settings():
    prints = {listing(seed=seed, test=test).fingerprint() for seed in (0, 1) for test in (2, 3)}
    assert len(prints) == 4 and listing().fingerprint() == listing().fingerprint()


def test_draw_colours_alone_match_few_and_more_than_chance():
    """Nearest raw pixels over 40 people: well above the 2.5 % of chance, far below solved."""
    crowd = synthetic.people(40, first=150)
    probes, gallery = (
        np.stack([synthetic.draw(who, camera, 0).astype(np.float32).ravel() for who in crowd]) for camera in (0, 1)
    )
    squared = (probes**2).sum(1)[:, None] + (gallery**2).sum(1) - 2 * probes @ gallery.T
    rank1 = np.mean(squared.argmin(1) == np.arange(40))
    rank10 = np.mean([i in row[:10] for i, row in enumerate(np.argsort(squared, axis=1))])
    assert rank1 < 0.4 and rank10 > 0.35
