"""The matcher for wildlife-tools: its contract, and a stand-in for its pipelines and WildFusion."""

import numpy as np
import pytest

from dsr_jax import match
from dsr_jax.adapters import wildlife
from dsr_jax.matching import comparison


def animals(count: int = 6, seed: int = 0) -> tuple[wildlife.MapDataset, wildlife.MapDataset]:
    """Parts of animals, of two sizes, and whole ones: part i is of animal i."""
    rng = np.random.default_rng(seed)
    whole = rng.random((count, 6, 4, 32)) ** 3
    parts = [m[i % 2 : 4] + 0.2 * rng.random((4 - i % 2, 4, 32)) for i, m in enumerate(whole)]
    names = np.array([f"animal {i}" for i in range(count)])
    return wildlife.MapDataset(parts, names), wildlife.MapDataset(whole, names)


def test_similarity_of_all_pairs_is_one_minus_the_distance():
    parts, whole = animals()
    similarity = wildlife.Matcher()(parts, whole)
    assert (similarity == 1 - match.distances(parts.features, whole.features).distance.astype(np.float64)).all()
    assert similarity.dtype == np.float64 and similarity.flags.writeable
    assert (similarity.argmax(axis=1) == np.arange(6)).all()


@pytest.mark.parametrize("of", [list, np.array, lambda pairs: np.array(pairs, np.int32)[::-1]])
def test_similarity_is_nan_where_pairs_do_not_ask(of):
    parts, whole = animals()
    pairs = [(0, 3), (5, 5), (2, 0), (2, 2), (0, 3)]
    similarity = wildlife.Matcher()(parts, whole, pairs=of(pairs), anything="else")
    asked = np.zeros((6, 6), bool)
    asked[tuple(np.transpose(pairs))] = True
    assert (np.isnan(similarity) == ~asked).all() and similarity.flags.writeable
    assert np.allclose(similarity[asked], wildlife.Matcher()(parts, whole)[asked], atol=1e-5)


def test_only_the_pairs_that_are_asked_for_are_compared(monkeypatch):
    def refused(self, *, progress):
        raise AssertionError("all pairs were compared")

    monkeypatch.setattr(comparison.Comparison, "distances", refused)
    assert np.isfinite(wildlife.Matcher()(*animals(), pairs=[(1, 2), (3, 3)])).sum() == 2


@pytest.mark.parametrize("pairs", [[], np.empty((0, 2), np.int64)])
def test_no_pairs(pairs):
    parts, whole = animals()
    similarity = wildlife.Matcher()(parts, whole, pairs=pairs)
    assert similarity.shape == (6, 6) and np.isnan(similarity).all()


@pytest.mark.parametrize(
    "settings",
    [{"coder": "maxsim"}, {"l1": 0.2}, {"scales": (2,)}, {"probe_weights": "norm"}],
    ids=lambda s: next(iter(s)),
)
@pytest.mark.parametrize("pairs", [None, [(0, 0), (1, 3), (4, 2)]])
def test_settings_are_those_of_match(settings, pairs):
    parts, whole = animals()
    found = wildlife.Matcher(**settings)(parts, whole, pairs=pairs)
    expected = 1 - match.distances(parts.features, whole.features, **settings).distance
    at = ~np.isnan(found)
    assert np.allclose(found[at], expected[at], atol=1e-5) and not np.allclose(
        found[at], wildlife.Matcher()(parts, whole)[at], atol=1e-3
    )


class Pipeline:
    """Stand-in for a SimilarityPipeline: extractor, matcher and a calibration that is written into the similarity."""

    def __init__(self, matcher, extractor=lambda dataset: dataset):
        self.matcher, self.extractor, self.shift = matcher, extractor, None

    def fit_calibration(self, dataset0, dataset1):
        similarity = self.matcher(self.extractor(dataset0), self.extractor(dataset1))
        hits = np.asarray(dataset0.labels_string)[:, None] == np.asarray(dataset1.labels_string)[None]
        assert similarity.flatten().shape == hits.flatten().shape
        self.shift = (similarity[hits].mean() + similarity[~hits].mean()) / 2

    def __call__(self, dataset0, dataset1, pairs=None):
        similarity = self.matcher(self.extractor(dataset0), self.extractor(dataset1), pairs=pairs)
        at = np.ones(similarity.shape, bool) if pairs is None else tuple(np.array(pairs).T)
        similarity[at] = 1 / (1 + np.exp(-20 * (similarity[at] - self.shift)))
        return similarity


def fused(pipelines, dataset0, dataset1, pairs=None):
    """Stand-in for WildFusion: the mean of its members, -inf where they are NaN."""
    mean = np.mean([pipeline(dataset0, dataset1, pairs=pairs) for pipeline in pipelines], axis=0)
    return np.where(np.isnan(mean), -np.inf, mean)


class Pictures:
    """Stand-in for an ImageDataset: pictures with labels."""

    def __init__(self, count: int, seed: int):
        rng = np.random.default_rng(seed)
        self.pictures = [rng.integers(0, 256, (64 + 16 * (i % 2), 32, 3), np.uint8) for i in range(count)]
        self.labels_string = np.array([f"animal {i}" for i in range(count)])

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.pictures[i], i


def cells(pictures):
    """Stand-in for a network: a map of 16 x 16 pixels per position."""
    for picture in pictures:
        h, w = picture.shape[0] // 16, picture.shape[1] // 16
        yield picture.reshape(h, 16, w, 16, 3).transpose(0, 2, 1, 3, 4).reshape(h, w, -1) / 255


def test_member_of_a_fusion():
    members = [Pipeline(wildlife.Matcher(coder=coder), wildlife.Extractor(cells)) for coder in ("auto", "maxsim")]
    labelled, pictures = Pictures(5, seed=1), Pictures(4, seed=2)
    for member in members:
        member.fit_calibration(labelled, labelled)
    pairs = [(i, j) for i in range(4) for j in (i, (i + 1) % 4)]
    similarity = fused(members, pictures, pictures, pairs=pairs)
    assert (similarity.argmax(axis=1) == np.arange(4)).all()
    assert (np.isfinite(similarity).sum(axis=1) == 2).all()
    assert np.allclose(similarity[np.isfinite(similarity)], fused(members, pictures, pictures)[np.isfinite(similarity)])


def test_extractor_takes_pictures_with_and_without_labels():
    pictures = Pictures(3, seed=0)
    maps = wildlife.Extractor(cells)(pictures)
    assert [m.shape for m in maps.features] == [(4, 2, 768), (5, 2, 768), (4, 2, 768)] and len(maps) == 3
    assert (maps.labels_string == pictures.labels_string).all()
    pictures.__class__ = type("Bare", (Pictures,), {"__getitem__": lambda self, i: self.pictures[i]})
    assert (wildlife.Extractor(cells)(pictures).features[1] == maps.features[1]).all()


def test_data_set_without_maps():
    parts, _ = animals()
    with pytest.raises(ValueError, match=r"dataset1.*features.*Pictures"):
        wildlife.Matcher()(parts, Pictures(2, seed=0))


def test_wrong_map_is_named():
    parts, whole = animals()
    whole.features[3][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"dataset1\.features\[3\]"):
        wildlife.Matcher()(parts, whole)


@pytest.mark.parametrize("pairs", [[(0, 6)], [(-1, 0)], [(0, 1, 2)], [0, 1], [(0.0, 1.0)]])
def test_wrong_pairs(pairs):
    parts, whole = animals()
    with pytest.raises(ValueError, match="pairs"):
        wildlife.Matcher()(parts, whole, pairs=pairs)


@pytest.mark.parametrize("pairs", [None, [(0, 1)]])
def test_coder_that_cannot_compare_pairs(pairs):
    parts, whole = animals()
    with pytest.raises(ValueError, match="ridge"):
        wildlife.Matcher(coder="ridge")(parts, whole, pairs=pairs)
