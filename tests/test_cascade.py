"""A search through stages: what it finds, what a stage leaves out, and what is proven against what."""

import dataclasses

import numpy as np
import pytest

from dsr_jax import match, shortlist
from dsr_jax.gallery.table import Table
from dsr_jax.matching import cascade
from tests.test_search import many

COUNT = 40
LABELS = [i // 3 for i in range(COUNT)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Galleries on disk of the same maps: each an entry, and three of a person."""
    _, images = many(COUNT)
    images[5] = images[5][:2]  # fewer rows than stripes, another number than the others
    names = [f"{i}.png" for i in range(COUNT)]
    folder = tmp_path_factory.mktemp("galleries")
    for name, labels in (("maps", None), ("people", LABELS)):
        match.Gallery.create(folder / name, images, names=names, identities=labels, dtype="float32")
    return images, folder


@pytest.mark.parametrize("of", ["maps", "people"])
@pytest.mark.parametrize("stored", [True, False], ids=["disk", "memory"])
def test_the_last_stage_is_a_certified_search(folders, of, stored):
    images, folder = folders
    labels = None if of == "maps" else LABELS
    gallery = match.Gallery.open(folder / of) if stored else match.Gallery.build(images, identities=labels)
    probe = many(COUNT)[0]
    wanted = match.search(probe, gallery, 3)
    found = shortlist.search(probe, gallery, 3, whole=2, first=10, second=6)
    assert found.hits.entries.tolist() == wanted.entries.tolist()
    assert found.hits.names == wanted.names and found.hits.identities == wanted.identities
    np.testing.assert_allclose(found.hits.distance, wanted.distance, atol=1e-6)
    assert [dataclasses.astuple(stage) for stage in found.stages] == [
        ("stripes", gallery.entries, 10),
        ("maxsim", 10, 6),
        ("dsr", 6, 3),
    ]
    assert set(found.proven) == {"stage"}
    assert [stage.by for stage in shortlist.search(probe, gallery, 3, whole=2, second=6).stages] == ["maxsim", "dsr"]


def test_a_small_gallery_is_searched_whole(folders):
    gallery, probe = match.Gallery.open(folders[1] / "maps"), many(COUNT)[0]
    found, wanted = shortlist.search(probe, gallery, 3), match.search(probe, gallery, 3)
    assert found.hits.entries.tolist() == wanted.entries.tolist() and set(found.proven) == {"gallery"}
    assert found.hits.certified.all() and len(found.stages) == 1


def test_a_place_that_is_not_certified_is_proven_against_nothing(folders):
    images, probe = many(COUNT)[1], many(COUNT)[0]
    twins = match.Gallery.build([*images, images[COUNT // 2]])
    assert shortlist.search(probe, twins, 2).proven == ("nothing", "nothing")


@pytest.mark.parametrize("weights", [None, "norm", "given"])
@pytest.mark.parametrize("of", ["maps", "people"])
@pytest.mark.parametrize("stored", [True, False], ids=["disk", "memory"])
def test_with_wide_stages_masks_and_weights_are_those_of_a_search(masked, of, stored, weights):
    images, masks, folder = masked
    labels = None if of == "maps" else LABELS
    gallery = match.Gallery.open(folder / of) if stored else match.Gallery.build(images, identities=labels, masks=masks)
    probe, rng = many(COUNT)[0], np.random.default_rng(1)
    how = {
        "probe_masks": np.arange(9).reshape(3, 3) != 4,
        "probe_weights": rng.random((3, 3)) if weights == "given" else weights,
    }
    wanted = match.search(probe, gallery, 5, **how)
    found = shortlist.search(probe, gallery, 5, whole=1, first=COUNT, second=COUNT, **how)
    assert found.hits.entries.tolist() == wanted.entries.tolist() and set(found.proven) <= {"gallery", "nothing"}
    np.testing.assert_array_equal(found.hits.distance, wanted.distance)
    staged = shortlist.search(probe, gallery, 1, whole=1, first=COUNT // 4, second=3, **how).hits
    assert staged.entries[0] == wanted.entries[0] and staged.counted == wanted.counted
    np.testing.assert_allclose(staged.distance[0], wanted.distance[0], atol=1e-6)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Galleries on disk of maps and people, whose first row is masked."""
    images, folder = many(COUNT)[1], tmp_path_factory.mktemp("masked")
    masks = [np.repeat(np.arange(len(m))[:, None] > 0, m.shape[1], axis=1) for m in images]
    names = [f"{i}.png" for i in range(COUNT)]
    for name, labels in (("maps", None), ("people", LABELS)):
        how = {"names": names, "identities": labels, "masks": masks, "dtype": "float32"}
        match.Gallery.create(folder / name, images, **how)
    return images, masks, folder


@pytest.mark.parametrize("stage", [{"first": 1, "second": 1}, {"first": 9, "second": 1}], ids=["stripes", "maxsim"])
@pytest.mark.parametrize("hide", ["probe_masks", "probe_weights", "gallery"])
def test_every_stage_leaves_out_what_is_hidden(stage, hide):
    """The probe's upper half is another's, who is found unless it is hidden; in a gallery map his rows may be, too."""
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((8, 2, 64)).astype(np.float32) for _ in range(9)]
    probe = images[3].copy()
    probe[:5] = images[6][:5]
    seen = np.repeat(np.arange(8)[:, None] >= 5, 2, axis=1)
    how = {} if hide == "gallery" else {hide: seen}
    masks = [seen | (i != 6) for i in range(9)] if hide == "gallery" else None

    def first(masks, **how):
        gallery = match.Gallery.build(images, masks=masks, scales=(1,))
        return shortlist.search(probe, gallery, 1, whole=1, **stage, **how).hits.entries.tolist()

    assert first(None) == [6] and first(masks, **how) == [3]


def test_the_last_stage_is_called_by_its_distance(folders):
    gallery, probe = match.Gallery.open(folders[1] / "maps"), many(COUNT)[0]
    stages = shortlist.search(probe, gallery, 1, whole=1, first=9, second=3, coder="maxsim").stages
    assert [stage.by for stage in stages] == ["stripes", "maxsim", "maxsim"]


def test_what_a_stage_leaves_out_is_not_found():
    """Its rows are those of the probe in another order within each stripe: stripes that are averages lose it."""
    rng = np.random.default_rng(0)
    basis = np.eye(64, dtype=np.float32)
    probe = basis[:16].reshape(8, 2, 64)
    near = np.concatenate([probe, 3 * basis[32:48].reshape(8, 2, 64)], axis=1)  # holds the probe, drowned in others
    images = [near, *(probe.mean(axis=1, keepdims=True) + 0.01 * rng.random((8, 1, 64), np.float32) for _ in range(8))]
    gallery = match.Gallery.build(images, scales=(1,))
    assert match.search(probe, gallery, 1).entries.tolist() == [0]
    assert shortlist.search(probe, gallery, 1, whole=1, first=8, second=8).hits.entries.tolist() != [0]
    assert shortlist.search(probe, gallery, 1, whole=1, first=9, second=1).hits.entries.tolist() == [0]


def test_only_what_goes_on_is_read_from_the_disk(folders, monkeypatch):
    gallery, taken = match.Gallery.open(folders[1] / "maps"), []
    take = Table.take

    def counted(self, rows, names):
        taken.append(len(rows) if "map" in names else 0)
        return take(self, rows, names)

    monkeypatch.setattr(Table, "take", counted)
    shortlist.search(many(COUNT)[0], gallery, 2, whole=2, first=10, second=4)
    assert 14 <= sum(taken) <= 10 + 4 + 3  # and a map for its d, here and there


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"gallery_maps": [np.ones((2, 2, 48))]}, "gallery_maps must be a match.Gallery"),
        ({"k": 0}, "k must be"),
        ({"k": 7}, "k <= second <= first"),
        ({"first": 5}, "k <= second <= first"),
        ({"whole": 0}, "whole must be"),
        ({"probe_map": np.ones((2, 2, 3))}, "number of channels d"),
        ({"probe_map": np.zeros((2, 2, 48))}, "no block with a direction"),
        ({"probe_map": np.ones((2, 2, 2, 48))}, "probe_map must be one"),
        ({"probe_masks": np.ones((2, 2))}, "probe_masks"),
        ({"probe_masks": np.zeros((3, 3))}, "probe_masks"),
        ({"probe_weights": -np.ones((3, 3))}, "probe_weights"),
    ],
)
def test_wrong_arguments(folders, changed, wrong):
    arguments = {"probe_map": many(COUNT)[0], "gallery_maps": match.Gallery.open(folders[1] / "maps"), "k": 2}
    with pytest.raises(ValueError, match=wrong):
        shortlist.search(**arguments | {"whole": 2, "first": 10, "second": 6} | changed)


def test_the_nearest_of_equal_ones_are_the_first():
    assert cascade._nearest(np.array([3.0, 1, 2, 1, 2, 2, 0]), 4).tolist() == [1, 2, 3, 6]
    assert cascade._nearest(np.array([1.0, 1, 1]), 2).tolist() == [0, 1]
