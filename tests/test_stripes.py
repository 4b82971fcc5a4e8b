"""The first stage of a search: averages of a probe's rows against stripes, by hand, from disk and from memory."""

import numpy as np
import pytest

from dsr_jax import match
from dsr_jax.gallery import snapshot
from dsr_jax.matching import coarse, stripes
from tests.test_search import many

COUNT = 40
LABELS = [i % 13 for i in range(COUNT)]  # maps of an entry are not one after another
PROBE, IMAGES = many(COUNT)
IMAGES[5] = IMAGES[5][:2]  # fewer rows than stripes, another number than the others
ROUNDING = 5e-3  # of 8 bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery on disk, whose maps have identities."""
    folder = tmp_path_factory.mktemp("gallery") / "people"
    match.Gallery.create(folder, IMAGES, names=[f"{i}.png" for i in range(COUNT)], identities=LABELS)
    return folder


def by_hand(probe, groups, images=IMAGES, weights=None):
    """Loops over rows and entries."""
    weights = np.ones(probe.shape[:2]) if weights is None else weights
    weights = weights * probe.any(axis=2)
    rows = [np.average(row, axis=0, weights=each) for row, each in zip(probe, weights, strict=True) if each.any()]
    counts = [each.sum() for each in weights if each.any()]
    found = []
    for group in groups:
        held = np.concatenate([coarse.stripes(images[i])[:, 0] for i in group])
        cosines = [max(stripe @ row / np.linalg.norm(row) for stripe in held) for row in rows]
        found.append(1 - np.average(cosines, weights=counts))
    return np.array(found)


@pytest.mark.parametrize("held", [True, False], ids=["held", "read"])
@pytest.mark.parametrize("of", ["maps", "people", "part"])
@pytest.mark.parametrize("stored", [True, False], ids=["disk", "memory"])
def test_distances_are_those_by_hand(folder, monkeypatch, of, stored, held):
    monkeypatch.setattr(snapshot, "HELD", 1 << 31 if held else 100)
    labels = None if of == "maps" else LABELS
    disk = match.Gallery.open(folder, grouped=labels is not None)
    gallery = disk if stored else match.Gallery.build(IMAGES, identities=labels)
    groups, images = gallery.as_entries.groups, IMAGES
    if of == "part":
        gallery, groups = gallery.part([3, 4, 11]), [groups[3], groups[4], groups[11]]
    weights = np.random.default_rng(0).random((3, 3))
    weights[1, 2] = weights[2] = 0
    for probe, counts in ((PROBE, None), (PROBE, weights), (np.where(weights[..., None] > 0, PROBE, 0), None)):
        wanted = by_hand(probe, groups, images, counts)
        found = stripes.distances(probe, gallery, weights=None if counts is None else counts.reshape(-1))
        np.testing.assert_allclose(found, wanted, atol=ROUNDING)
        assert np.argmin(found) == np.argmin(wanted)


def test_stripes_are_read_once_per_version_and_for_its_filters(folder, monkeypatch):
    gallery, scans = match.Gallery.open(folder, grouped=False), []
    scan = type(gallery._table).scan
    monkeypatch.setattr(type(gallery._table), "scan", lambda self, name: scans.append(name) or scan(self, name))
    whole = stripes.distances(PROBE, gallery)
    some = stripes.distances(PROBE, gallery.where(identities=[2, 3]))
    assert scans == ["stripes"]
    np.testing.assert_allclose(some, whole[[i for i in range(COUNT) if LABELS[i] in (2, 3)]], atol=1e-6)
    monkeypatch.setattr(snapshot, "HELD", 100)
    np.testing.assert_allclose(stripes.distances(PROBE, gallery.refresh()), whole, atol=1e-6)
    assert len(scans) == 2


def test_stripes_of_negative_maps_without_some_rows():
    """A stripe of zeros would be nearer than all of them."""
    image = np.eye(8, dtype=np.float32).reshape(8, 1, 8)
    found = coarse.even_stripes(np.concatenate([0 * image[:4], image[:4]]))
    assert np.linalg.norm(found, axis=1).min() == pytest.approx(1)
    gallery = match.Gallery.build([-image, 0 * image], masks=[np.arange(8)[:, None] >= 4, np.ones((8, 1))])
    probe = (image[0] + image[4:].sum(axis=0))[None]
    np.testing.assert_allclose(stripes.distances(probe, gallery), [1 + 1 / np.sqrt(5), 1], atol=ROUNDING)


def test_rows_whose_positions_cancel_are_left_out():
    probe = np.array([[[1.0, 0], [-1, 0]], [[0, 2], [0, 1]]], np.float32)
    rows, counts = coarse.rows(probe, None)
    assert rows.tolist() == [[0, 1]] and counts.tolist() == [1]
    rows, counts = coarse.rows(probe[:1], None)
    assert rows.tolist() == [[1, 0], [-1, 0]] and counts.tolist() == [0.5, 0.5]


def test_what_a_version_keeps_can_be_dropped(tmp_path):
    maps = np.random.default_rng(0).random((5, 4, 2, 16)).astype(np.float32)
    gallery = match.Gallery.create(tmp_path / "gallery", maps, names=list("abcde"))
    before = stripes.distances(maps[1], gallery)
    assert "stripes" in gallery._table.kept
    gallery.forget()
    assert not gallery._table.kept
    np.testing.assert_array_equal(stripes.distances(maps[1], gallery), before)
