"""Market-1501's two kinds of nobody, from the files to the figures: junk leaves, distractors stay as wrong answers."""

import numpy as np
import pytest

import data
from data import synthetic
from data.builders.cropping import encoded
from data.prepare import prepare
from dsr_jax.evaluation.candidates import Labels, candidates
from tests.runners import HEIGHT, WIDTH, evaluated
from tests.trees import source

# Folder, person as it is written, camera, and who is drawn. A distractor shows what person 1 looks like, junk too.
PICTURES = [
    *(("bounding_box_train", f"{who:04d}", camera, who) for who in (7, 8) for camera in (1, 2)),
    *(("query", f"{who:04d}", 1, who) for who in (1, 2, 3)),
    *(("bounding_box_test", f"{who:04d}", 2, who) for who in (1, 2, 3)),
    ("bounding_box_test", "0001", 1, 1),  # by the probe's own camera
    *(("bounding_box_test", "0000", camera, who) for camera, who in ((1, 1), (2, 5), (3, 6))),
    *(("bounding_box_test", "-1", camera, 1) for camera in (2, 3)),
]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """The prepared data set's folder."""
    place = tmp_path_factory.mktemp("market")
    crowd = synthetic.people(12)
    files = {
        f"Market-1501-v15.09.15/{folder}/{who}_c{camera}s1_{number:06d}_00.jpg": encoded(
            synthetic.draw(crowd[drawn], camera % 2, number, height=HEIGHT, width=WIDTH)
        )
        for number, (folder, who, camera, drawn) in enumerate(PICTURES)
    }
    prepare("market1501", source(place / "source", files, "zip"), data_dir=place / "data")
    return place / "data"


def by_hand(row, who, camera, gallery):
    """(place of the first right answer, average precision) by Market-1501's rule."""
    order = [i for i in np.argsort(row, kind="stable") if (gallery.identities[i], gallery.cameras[i]) != (who, camera)]
    right = [place for place, i in enumerate(order, 1) if gallery.identities[i] == who]
    return right[0], np.mean([(k + 1) / place for k, place in enumerate(right)])


def test_junk_is_not_in_the_gallery_and_distractors_may_answer(market):
    probes, gallery = (data.load("market1501", split, data_dir=market) for split in ("probe", "gallery"))
    assert sorted(gallery.identities.tolist()) == [0, 0, 0, 1, 1, 2, 3]
    distances = np.arange(len(probes) * len(gallery), dtype=float).reshape(len(probes), -1)
    sides = (probes.identities, gallery.identities, probes.cameras, gallery.cameras)
    for i, (row, right) in enumerate(candidates(distances, Labels(*sides))):
        may = [j for j, who in enumerate(gallery.identities) if (who, gallery.cameras[j]) != (i + 1, 1)]
        assert row.tolist() == distances[i, may].tolist() and right.sum() == 1
        assert set(distances[i, gallery.identities == 0]) <= set(row[~right]), "wrong answers, by any camera"


def test_an_evaluation_ranks_distractors_and_no_junk(market, network, tmp_path):
    more = ("--dataset=market1501", "--methods=resizing", "--shots=whole")
    found = evaluated(market, network, tmp_path / "out", *more)
    probes, gallery = (data.load("market1501", split, data_dir=market) for split in ("probe", "gallery"))
    with np.load(tmp_path / "out" / "distances" / "resizing-whole.npz") as file:
        matrix, known = file["distances_0"], file["identities_0"]
    assert known.tolist() == gallery.identities.tolist()
    places, precisions = zip(
        *(by_hand(*asked, gallery) for asked in zip(matrix, probes.identities, probes.cameras, strict=True)),
        strict=True,
    )
    assert found["resizing/whole/mAP"] == pytest.approx(100 * np.mean(precisions))
    assert found["resizing/whole/rank1"] == pytest.approx(100 * np.mean(np.array(places) == 1))
    assert found["resizing/whole/mAP"] < 100, "a distractor stands before somebody"
