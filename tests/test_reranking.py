"""Re-ranking against the published algorithm, written down once more as loops over sets."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dsr_jax import metrics
from dsr_jax.evaluation import reranking


def published(between, probes, gallery, k1, k2, weight):
    """Zhong et al., step by step, dense and in float64; an image is the nearest to itself."""
    distances = np.block([[probes, between], [between.T, gallery]]).astype(np.float64)
    distances = np.array([row / row.max() if row.max() > 0 else row for row in distances])
    count = len(distances)
    rank = np.argsort(np.where(np.eye(count, dtype=bool), -1, distances), axis=1, kind="stable")

    def reciprocal(i, k):
        return {int(j) for j in rank[i, : k + 1] if i in rank[j, : k + 1]}

    encoded = np.zeros((count, count))
    for i in range(count):
        own = reciprocal(i, k1)
        expanded = set(own)
        for candidate in own:
            other = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(own & other) > 2 / 3 * len(other):
                expanded |= other
        members = sorted(expanded)
        values = np.exp(-distances[i, members])
        encoded[i, members] = values / values.sum()
    encoded = np.array([encoded[rank[i, :k2]].mean(axis=0) for i in range(count)])
    overlap = np.array([[np.minimum(a, b).sum() for b in encoded] for a in encoded])
    jaccard = 1 - overlap / (2 - overlap)
    p = len(probes)
    return ((1 - weight) * jaccard + weight * distances)[:p, p:]


def drawn(seed, probes, gallery, people=4, symmetric=True):
    """Squared distances of points around people, or of pairs that nobody keeps symmetric."""
    rng = np.random.default_rng(seed)
    who = rng.integers(people, size=probes + gallery)
    points = 2 * rng.standard_normal((people, 5))[who] + rng.standard_normal((probes + gallery, 5))
    matrix = ((points[:, None] - points) ** 2).sum(axis=2).astype(np.float32)
    if not symmetric:
        matrix *= rng.uniform(0.8, 1.2, matrix.shape).astype(np.float32)
    return (matrix[:probes, probes:], matrix[:probes, :probes], matrix[probes:, probes:]), who


@hypothesis.given(
    seed=st.integers(0, 10_000),
    probes=st.integers(1, 6),
    gallery=st.integers(6, 30),
    k1=st.integers(1, 6),
    k2=st.integers(1, 6),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    symmetric=st.booleans(),
)
def test_it_is_the_published_algorithm(seed, probes, gallery, k1, k2, weight, symmetric):
    matrices, _ = drawn(seed, probes, gallery, symmetric=symmetric)
    found = reranking.k_reciprocal(*matrices, k1=k1, k2=k2, weight=weight)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, published(*matrices, k1, k2, weight), atol=2e-6)


def test_ties_and_equal_distances_are_the_published_ones_too():
    """Distances on a grid: the order of ties is that of the images on both sides."""
    matrices, _ = drawn(1, 4, 20)
    coarse = [np.round(part) for part in matrices]
    np.testing.assert_allclose(reranking.k_reciprocal(*coarse, k1=4, k2=3), published(*coarse, 4, 3, 0.3), atol=2e-6)
    equal = [np.full_like(part, 2) for part in matrices]
    np.testing.assert_allclose(reranking.k_reciprocal(*equal, k1=4, k2=3), published(*equal, 4, 3, 0.3), atol=2e-6)
    zeros = [np.zeros_like(part) for part in matrices]
    assert np.isfinite(reranking.k_reciprocal(*zeros)).all()


def test_neighbours_of_neighbours_help_where_people_have_several_images():
    matrices, who = drawn(3, 20, 80, people=10)
    before = metrics.ranks(matrices[0], who[:20], who[20:]).mAP
    after = metrics.ranks(reranking.k_reciprocal(*matrices, k1=8, k2=3), who[:20], who[20:]).mAP
    assert after > before


def test_the_original_distances_alone_keep_the_order():
    matrices, _ = drawn(5, 5, 30)
    found = reranking.k_reciprocal(*matrices, weight=1.0)
    np.testing.assert_array_equal(np.argsort(found, axis=1), np.argsort(matrices[0], axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_gallery": np.zeros((0, 8))}, r"probe_gallery must be \(P, G\).*\(0, 8\)"),
        ({"probe_probe": np.zeros((2, 2))}, r"probe_probe must be \(3, 3\).*got \(2, 2\)"),
        ({"gallery_gallery": np.zeros((8, 3))}, r"gallery_gallery must be \(8, 8\).*got \(8, 3\)"),
        ({"probe_probe": np.full((3, 3), np.nan)}, "probe_probe holds negative distances, NaN"),
        ({"gallery_gallery": -np.ones((8, 8))}, "gallery_gallery holds negative"),
        ({"k1": 11}, "k1=11 and k2=6 must be at least 1 and below the 11 images"),
        ({"k2": 0}, "k2=0"),
        ({"weight": 1.5}, "weight must be in"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"probe_gallery": np.ones((3, 8)), "probe_probe": np.ones((3, 3)), "gallery_gallery": np.ones((8, 8))}
    with pytest.raises(ValueError, match=message):
        reranking.k_reciprocal(**(given | {"k1": 4} | change))
