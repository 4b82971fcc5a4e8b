"""Every method against the library called by hand, entry by entry."""

import numpy as np
import pytest

from dsr_jax import match
from dsr_jax.baselines import amc, fusion, global_average, resizing
from experiments.evaluation import choosing, features, methods
from tests.people import maps


def patches(count, seed):
    rng = np.random.default_rng(seed)
    return [amc.vectors(list(rng.random((3, 2, 2, 5)))) for _ in range(count)]


SIDES = features.Given(
    maps(3, 0, (2, 3)),
    maps(6, 1),
    maps(3, 2),
    np.random.default_rng(4).random((3, 6)).astype(np.float32),
    (patches(3, 5), patches(6, 6)),
    vectors=(np.random.default_rng(7).normal(size=(3, 9)), np.random.default_rng(8).normal(size=(6, 9))),
    resized_vectors=(np.random.default_rng(9).normal(size=(3, 9)), np.random.default_rng(8).normal(size=(6, 9))),
)
PROBES = np.array([2, 0, 1])
ENTRIES = [[0, 1], [4], [2, 3, 5]]
SINGLE = [[3], [0], [5], [1]]


def compare(name, entries=ENTRIES, **options):
    return methods.named(name, methods.Options(**options)).compare(SIDES, PROBES, entries)


def over_shots(each, reduce, entries=ENTRIES):
    return np.stack([reduce(each[:, entry], axis=1) for entry in entries], axis=1)


def pair_by_pair(entries=ENTRIES, **options):
    """DSR of every probe with every entry's maps alone."""
    return np.array(
        [
            [
                match.distances(
                    SIDES.probe[p], [SIDES.gallery[g] for g in entry], identities=[0] * len(entry), **options
                ).distance[0, 0]
                for entry in entries
            ]
            for p in PROBES
        ]
    )


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_has_a_distance_for_everybody(name):
    for entries in (ENTRIES, SINGLE):
        found = compare(name, entries)
        assert found.shape == (3, len(entries)) and np.isfinite(found).all()


def test_rivals_of_single_images_take_their_average_or_the_nearest():
    each = resizing.distances([SIDES.resized[p] for p in PROBES], SIDES.gallery)
    np.testing.assert_allclose(compare("resizing"), over_shots(each, np.mean), rtol=1e-5)
    each = global_average.distances([SIDES.probe[p] for p in PROBES], SIDES.gallery)
    np.testing.assert_allclose(compare("global_average"), over_shots(each, np.mean), rtol=1e-5)
    np.testing.assert_allclose(compare("swm"), over_shots(SIDES.windows[PROBES], np.min))


@pytest.mark.parametrize(("multi_shot", "reduce"), [("stack", np.min), ("minimum", np.min), ("mean", np.mean)])
def test_own_vectors_of_several_shots(multi_shot, reduce):
    for name, (x, y) in (("own_vector", SIDES.vectors), ("own_vector_resized", SIDES.resized_vectors)):
        own, others = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
        expected = over_shots(1 - own[PROBES] @ others.T, reduce)
        np.testing.assert_allclose(compare(name, multi_shot=multi_shot), expected)


def test_amc_codes_over_everybody_and_the_fusion_has_both():
    own, others = SIDES.patches
    shots = [others[g] for entry in ENTRIES for g in entry]
    expected = amc.distances([own[p] for p in PROBES], shots, identities=[0, 0, 1, 2, 2, 2])
    np.testing.assert_allclose(compare("amc"), expected)
    np.testing.assert_allclose(compare("amc_swm"), fusion.distances(expected, compare("swm")))
    assert methods.METHODS["amc"](methods.Options()).together


@pytest.mark.parametrize(
    "name",
    [
        "dsr_multi+own_vector",
        "dsr_multi+global_average",
        "maxsim_multi+own_vector",
        "dsr_multi+maxsim_multi+own_vector",
    ],
)
def test_fusions_weigh_what_was_standardised_alike(name):
    parts = [compare(term, SINGLE) for term in name.split("+")]
    expected = [(part - part.mean(axis=1, keepdims=True)) / part.std(axis=1, keepdims=True) for part in parts]
    np.testing.assert_allclose(compare(name, SINGLE), np.mean(expected, axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ["dsr_multi", "maxsim_multi_weighted", "own_vector", "amc_swm"])
def test_one_method_standardised_has_its_ranks_and_the_scale_of_a_fusion(name):
    plain, found = compare(name, SINGLE), compare(f"{name}_standardised", SINGLE)
    np.testing.assert_array_equal(plain.argsort(axis=1), found.argsort(axis=1))
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-5)
    method = methods.named(f"{name}_standardised", methods.Options())
    assert method.together and method.title == f"{name}_standardised"  # over the gallery, so of all entries


def test_a_fusion_is_of_different_methods_that_exist():
    wrong = ("dsr_multi+dsr_multi", "dsr_multi+", "+own_vector", "dsr_multi+vector", "")
    wrong += ("dsr_multi_standardised+own_vector", "dsr_multi_standardised_standardised", "_standardised")
    assert not any(map(methods.known, wrong)) and all(map(methods.known, methods.METHODS))
    assert methods.named("amc_swm+dsr_multi", methods.Options()).names == ("amc", "swm", "dsr_multi")


def test_a_fusion_is_named_in_one_order():
    with pytest.raises(ValueError, match="methods dsr_multi.swm and swm.dsr_multi are one fusion"):
        choosing.check_fusions(("amc", "dsr_multi+swm", "swm+dsr_multi"))
    choosing.check_fusions(("dsr_multi+swm", "dsr_multi+amc+swm", "dsr_multi", "amc"))


def test_a_fusion_of_distances_that_are_equal_leaves_it_to_the_others():
    some, same = np.array([[0.3, 0.1, 0.2]]), np.full((1, 3), 0.7)
    np.testing.assert_allclose(fusion.standardised(some, same), fusion.standardised(some) / 2)
    with pytest.raises(ValueError, match=r"distances must all be \(P, G\) of one shape"):
        fusion.standardised(some, same[:, :2])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dsr_single", {"scales": (1,)}),
        ("dsr_double", {"scales": (1, 2)}),
        ("dsr_multi", {"scales": (1, 2, 3)}),
        ("maxsim_single", {"scales": (1,), "coder": "maxsim"}),
        ("maxsim_double", {"scales": (1, 2), "coder": "maxsim"}),
        ("maxsim_multi", {"scales": (1, 2, 3), "coder": "maxsim"}),
        ("ridge_single", {"scales": (1,), "coder": "ridge"}),
        ("ridge_multi", {"scales": (1, 2, 3), "coder": "ridge"}),
    ],
)
def test_dsr_stacks_the_shots_into_one_dictionary(name, options):
    np.testing.assert_allclose(compare(name), pair_by_pair(**options), atol=2e-5)
    drawn = () if "coder" in options else options["scales"]  # only a lasso can be drawn as it rebuilt
    assert methods.METHODS[name](methods.Options()).scales == drawn


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("joint_single", {"scales": (1,)}),
        ("joint_authors", {"scales": (1, 2, 3, 4), "probe_scales": (1,), "pooling": "max", "boost": 1.2}),
    ],
)
def test_the_joint_dictionary_is_that_of_all_entries(name, options):
    expected = match.distances(
        [SIDES.probe[p] for p in PROBES],
        [SIDES.gallery[g] for entry in ENTRIES for g in entry],
        identities=[0, 0, 1, 2, 2, 2],
        dictionary="joint",
        **options,
    )
    np.testing.assert_allclose(compare(name), expected.distance)
    assert methods.METHODS[name](methods.Options()).together


@pytest.mark.parametrize(("rule", "reduce"), [("minimum", np.min), ("mean", np.mean)])
def test_several_shots_one_by_one(rule, reduce):
    each = pair_by_pair([[g] for g in range(6)], scales=(1, 2, 3))
    np.testing.assert_allclose(compare("dsr_multi", multi_shot=rule), over_shots(each, reduce), atol=2e-5)


def test_the_weight_of_the_penalty_reaches_the_coder():
    found = compare("dsr_single", l1=0.1)
    np.testing.assert_allclose(found, pair_by_pair(scales=(1,), l1=0.1), atol=2e-5)
    assert not np.allclose(found, compare("dsr_single"))


def masked_sides():
    rng = np.random.default_rng(9)
    shown = [rng.random(m.shape[:2]) < 0.7 for m in SIDES.probe], [rng.random(m.shape[:2]) < 0.7 for m in SIDES.gallery]
    for mask in (*shown[0], *shown[1]):
        mask[0, 0] = True
    weights = [rng.random(m.shape[:2]) for m in SIDES.probe], [rng.random(m.shape[:2]) for m in SIDES.gallery]
    return SIDES._replace(masks=shown), SIDES._replace(masks=shown, weights=weights)


WEIGHTED = [name for name in methods.METHODS if name.endswith("_weighted")]


@pytest.mark.parametrize("name", ["dsr_multi", "maxsim_single", "ridge_single", "joint_single", *WEIGHTED])
def test_masks_always_count_and_weights_where_the_name_says_so(name):
    masked, weighted = masked_sides()
    used = [g for entry in ENTRIES for g in entry]
    kind, blocks = name.split("_")[:2]
    how = {"scales": methods.SCALES[blocks], "identities": [0, 0, 1, 2, 2, 2]}
    how |= {"maxsim": {"coder": "maxsim"}, "ridge": {"coder": "ridge"}, "joint": {"dictionary": "joint"}}.get(kind, {})
    for sides, weights in ((masked, "norm"), (weighted, [weighted.weights[0][p] for p in PROBES])):
        expected = match.distances(
            [SIDES.probe[p] for p in PROBES],
            [SIDES.gallery[g] for g in used],
            probe_masks=[sides.masks[0][p] for p in PROBES],
            gallery_masks=[sides.masks[1][g] for g in used],
            probe_weights=weights if name in WEIGHTED else None,
            **how,
        )
        found = methods.METHODS[name](methods.Options()).compare(sides, PROBES, ENTRIES)
        np.testing.assert_allclose(found, expected.distance, atol=1e-6)


def test_pooled_features_are_of_what_is_visible():
    masked, _ = masked_sides()
    hidden = [
        [np.where(v[..., None], m, 0) for m, v in zip(*side, strict=True)]
        for side in zip((SIDES.probe, SIDES.gallery), masked.masks, strict=True)
    ]
    pooled = methods.METHODS["global_average"](methods.Options())
    expected = pooled.compare(SIDES._replace(probe=hidden[0], gallery=hidden[1]), PROBES, SINGLE)
    np.testing.assert_allclose(pooled.compare(masked, PROBES, SINGLE), expected, atol=1e-6)
    assert np.abs(expected - pooled.compare(SIDES, PROBES, SINGLE)).max() > 1e-3


def test_a_weighted_method_has_shortlists_and_is_reranked():
    _, weighted = masked_sides()
    method = methods.named("dsr_multi_weighted", methods.Options())
    allowed = np.ones((3, 4), bool)
    listed = method.listed(weighted, PROBES, SINGLE, 4, "pooled", allowed)
    np.testing.assert_allclose(listed, method.compare(weighted, PROBES, SINGLE), atol=2e-6)
    found = methods.reranked(method, k1=2, k2=1, weight=0.3).compare(weighted, PROBES, SINGLE)
    assert found.shape == (3, 4) and np.isfinite(found).all()
