"""Shards of a gallery: what is merged is one search of everything, and says what it is proven against."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import calibration, match
from dsr_jax.matching import search, shards
from dsr_jax.matching.cascade import Searched, Stage
from dsr_jax.matching.shards import Answer
from tests.test_search import many

COUNT = 40


def figures(distances, widths):
    """Distance, lower and upper bound, and gap, of entries."""
    centre = np.array(distances, np.float32) / 16
    width = np.array(widths, np.float32) / 32
    return np.stack([centre, centre - width, centre + width, 0 * centre])


def answered(of, k, *, stages=("dsr",)):
    """The answer of a shard that has these figures."""
    count = of.shape[1]
    if not count:
        return None
    best = search.first(of, min(k, count))
    _, lower, upper, _ = best.figures
    hits = match.Hits(
        best.entries, None, None, best.figures[0], lower, upper, search.certified(best), 0.5, "active_set", 1.0, count
    )
    held = tuple(Stage(by, count, count) for by in stages)
    return Answer(Searched(dataclasses.replace(hits, beyond=best.beyond), held))


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=20),
    st.lists(st.integers(0, 20), max_size=5),
    st.integers(1, 25),
)
def test_merged_shards_are_one_search(entries, cuts, k):
    """Of shards of any sizes, some without entries, with ties and wide intervals, for more places than there are."""
    of = figures(*zip(*entries, strict=True))
    edges = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    parts = [of[:, a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    merged = shards.merge([answered(part, k) for part in parts], k)
    wanted = search.first(of, min(k, len(entries)))
    assert merged.hits.entries.tolist() == wanted.entries.tolist()
    np.testing.assert_array_equal(merged.hits.distance, wanted.figures[0])
    assert merged.hits.certified.tolist() == search.certified(wanted).tolist()
    assert merged.hits.beyond == wanted.beyond and merged.hits.searched == len(entries)
    assert (np.array(edges)[merged.shards] + merged.places).tolist() == wanted.entries.tolist()


def test_a_stage_of_one_shard_is_told():
    whole, staged = figures([1, 9], [0, 0]), figures([4, 5], [0, 1])
    stages = ("stripes", "maxsim", "dsr")
    merged = shards.merge([answered(whole, 3), None, answered(staged, 3, stages=stages)], 3)
    assert merged.hits.entries.tolist() == [0, 2, 3] and merged.shards.tolist() == [0, 2, 2]
    assert merged.staged == (2,) and [len(one) for one in merged.stages] == [1, 0, 3]
    assert merged.proven == ("stage", "stage", "stage")
    assert shards.merge([answered(whole, 2)], 2).proven == ("gallery", "gallery")
    assert shards.merge([answered(figures([1, 1], [1, 1]), 2)], 2).proven == ("nothing", "nothing")


@pytest.mark.parametrize("labels", [None, [i // 3 for i in range(COUNT)]], ids=["maps", "people"])
def test_shards_of_a_gallery_are_searched_as_one(labels):
    probe, images = many(COUNT)
    gallery = match.Gallery.build(images, identities=labels, names=[f"{i}.png" for i in range(COUNT)])
    edges = [0, 3, 4, gallery.entries]
    parts = [shards.Shard(gallery, range(a, b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    how = {"probe_masks": np.arange(9).reshape(3, 3) != 4, "probe_weights": "norm"}
    merged = shards.merge([part.answer(probe, 5, **how) for part in parts], 5).hits
    wanted = match.search(probe, gallery, 5, **how)
    assert merged.entries.tolist() == wanted.entries.tolist() and merged.certified.all()
    assert merged.names == wanted.names and merged.identities == wanted.identities
    np.testing.assert_allclose(merged.distance, wanted.distance, atol=1e-6)
    assert merged.searched == wanted.searched and merged.counted == wanted.counted
    np.testing.assert_allclose(merged.beyond, wanted.beyond, atol=1e-6)
    assert 0 < merged.coded <= 1


def fitted(**settings):
    distances = np.linspace(0.1, 0.9, 40)
    return calibration.fit(distances, distances < 0.4, fitted_on=calibration.settings("auto", **settings))


def test_probabilities_are_those_of_one_gallery():
    """Two maps of a person at most, in a shard of one map per person, too."""
    probe, images = many(COUNT)
    labels, one = [*range(COUNT - 1), COUNT - 2], fitted(images_per_entry=2)
    gallery = match.Gallery.build(images, identities=labels, calibration=one)
    answers = [shards.Shard(gallery, part).answer(probe, 3) for part in (range(20), range(20, COUNT - 1))]
    merged, wanted = shards.merge(answers, 3, calibration=one).hits, match.search(probe, gallery, 3)
    np.testing.assert_allclose(merged.probability, wanted.probability, atol=1e-6)
    with pytest.raises(ValueError, match="l1=0.3"):
        shards.merge(answers, 3, calibration=fitted(images_per_entry=2, l1=0.3))


def about(**changed):
    return shards.About(**{name: None for name in shards.About._fields} | {"where": "a", "labels": ()} | changed)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"network": {"sha256": "1"}}, "network of shard 1"),
        ({"channels": 3}, "channels of shard 1"),
        ({"scales": (1,)}, "scales of shard 1"),
        ({"pooling": "max"}, "pooling of shard 1"),
        ({"calibration": "{}"}, "calibration of shard 1"),
        ({"labels": ("ann", "bob")}, "identity 'ann' is in a and in b"),
    ],
)
def test_shards_that_do_not_belong_together(changed, wrong):
    first = about(labels=("ann",))
    shards.check([first, about(where="b", labels=("bob",))])
    with pytest.raises(ValueError, match=wrong):
        shards.check([first, about(where="b", **changed)])


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ([None, None], "where leaves no entry"),
        ([answered(figures([1, 2, 3], [0, 0, 0]), 1)], r"answers\[0\] has 1 of 3"),
    ],
)
def test_answers_that_cannot_be_merged(answers, wrong):
    with pytest.raises(ValueError, match=wrong):
        shards.merge(answers, 2)
    coders = [answered(figures([1], [0]), 1), answered(figures([1], [0]), 1)]
    hits = dataclasses.replace(coders[1].found.hits, coder="homotopy")
    coders[1] = Answer(dataclasses.replace(coders[1].found, hits=hits))
    with pytest.raises(ValueError, match="coder"):
        shards.merge(coders, 1)


def test_a_filter_of_a_gallery_in_memory_is_refused():
    shard = shards.Shard(match.Gallery.build(np.random.default_rng(0).random((4, 3, 2, 8))))
    with pytest.raises(ValueError, match="where needs a gallery on disk"):
        shard.answer(np.ones((2, 2, 8)), 1, where={"cameras": [0]})
