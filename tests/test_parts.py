"""Maps that are read lazily, part by part: distances and searches are those of the same maps in memory."""

import numpy as np
import pytest

from dsr_jax import match
from dsr_jax.matching import comparison, parts
from tests.test_search import many


class Lazy(parts.LazyMaps):
    """Maps that count how many were read at once."""

    def __init__(self, maps):
        self.maps, self.reads = maps, []

    def __len__(self):
        return len(self.maps)

    def __getitem__(self, i):
        return self.maps[i]

    @property
    def shapes(self):
        return np.array([m.shape for m in self.maps])

    def read(self, numbers):
        self.reads.append(len(numbers))
        return [self.maps[i] for i in numbers]


def pair(images, labels=None):
    """The same gallery in memory and read lazily."""
    names = [f"{i}.png" for i in range(len(images))]
    built = match.Gallery.build(images, identities=labels, names=names)
    return built, match.Gallery(Lazy(built.maps), built.identities, built.names, built.scales, built.pooling)


@pytest.fixture
def small_parts(monkeypatch):
    whole, size = parts.in_memory, 4 * 5 * 6 * 3 * 48
    monkeypatch.setattr(comparison.parts, "in_memory", lambda entries: whole(entries, size))
    return 5  # maps of a part


@pytest.mark.parametrize("coder", ["active_set", "maxsim"])
@pytest.mark.parametrize("labels", [None, [i % 9 for i in range(23)]], ids=["maps", "identities"])
def test_parts_give_what_memory_gives(small_parts, coder, labels):
    probe, images = many(23)
    built, lazy = pair(images, labels)
    wanted, found = (match.distances(probe, one, coder=coder) for one in (built, lazy))
    np.testing.assert_allclose(found.distance, wanted.distance, atol=1e-6)
    assert found.identities == wanted.identities
    assert len(lazy.maps.reads) > 3 and max(lazy.maps.reads) <= small_parts
    for k in (1, 7, 40):
        wanted, found = (match.search(probe, one, k, coder=coder) for one in (built, lazy))
        assert found.names == wanted.names and found.entries.tolist() == wanted.entries.tolist()
        np.testing.assert_allclose(found.distance, wanted.distance, atol=1e-6)
        assert found.certified.tolist() == wanted.certified.tolist() and found.certified.any()


def test_what_a_part_leaves_out_counts_for_the_certificate(small_parts):
    """Twins in two parts cannot both be first, whichever part was looked at first."""
    probe, images = many(20)
    images[19] = images[10].copy()
    _, lazy = pair(images)
    hits = match.search(probe, lazy, 1)
    assert hits.entries.tolist() == [10] and not hits.certified[0]
    assert match.search(probe, lazy, 2).certified.tolist() == [False, False]


def test_a_gallery_of_one_part_is_read_once():
    probe, images = many(12)
    _, lazy = pair(images)
    for _ in range(3):
        match.search(probe, lazy, 2)
        match.distances(probe, lazy)
    assert lazy.maps.reads == [12]


def test_an_entry_larger_than_a_part_is_read_whole(small_parts):
    probe, images = many(13)
    built, lazy = pair(images, [0] * 12 + [1])
    np.testing.assert_allclose(match.distances(probe, lazy).distance, match.distances(probe, built).distance, atol=1e-6)
    assert lazy.maps.reads == [12, 1]
