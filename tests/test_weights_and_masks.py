"""Weights of probe blocks and masks of positions: against a float64 oracle, and what they must not change."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax import match, shortlist
from dsr_jax.matching import bounds, streaming
from dsr_jax.matching.comparison import ENGINES, compared
from tests import oracles

CODERS = ("active_set", "homotopy", "maxsim")  # the engine of the CPU, that in XLA, and MaxSim on both
GROUPS = [0, 1, 0, 2]
FIGURES = ("distance", "lower", "upper")


def feature_map(rng, height, width, *, signed=False):
    return (rng.normal(size=(height, width, 8)) if signed else rng.random((height, width, 8)) ** 4).astype(np.float32)


def mask(rng, height, width):
    visible = rng.random((height, width)) < 0.7
    visible[rng.integers(height), rng.integers(width)] = True
    return visible


@functools.cache
def drawn(signed=False):
    """Probes and gallery: maps, masks and, of the probes, numbers per position."""
    rng = np.random.default_rng(int(signed))
    sides = []
    for sizes in (((4, 3), (3, 2), (5, 3)), ((4, 3), (5, 2), (3, 3), (2, 4))):
        maps = [feature_map(rng, *size, signed=signed) for size in sizes]
        sides.append((maps, [mask(rng, *size) for size in sizes], [rng.random(size) ** 2 for size in sizes]))
    return sides


def oracle(probe, images, *, coder="active_set", l1=0.4):
    """Weighted distance of blocks (n, d) with weights to the blocks of some images."""
    (x, weights), atoms = probe, np.concatenate([y for y, _ in images])
    counted = weights > 0
    if coder == "maxsim":
        directed = oracles.solid(atoms)
        errors = 1 - (x[counted] @ directed.T).max(axis=1)
    else:
        errors = oracles.errors(x[counted], atoms, l1=l1)
    return float(np.average(errors, weights=weights[counted]))


@pytest.mark.parametrize("weights", [None, "norm", "given"])
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("coder", CODERS)
def test_weighted_and_masked_distances_are_those_of_the_oracle(coder, signed, pooling, weights):
    (probes, shown, numbers), (images, seen, _) = drawn(signed)
    of_probes = numbers if weights == "given" else weights
    how = {"scales": (1, 2), "pooling": pooling}
    found = match.distances(
        probes,
        images,
        identities=GROUPS,
        probe_weights=of_probes,
        probe_masks=shown,
        gallery_masks=seen,
        coder=coder,
        **how,
    )
    y = [oracles.seen(m, mask=v, **how) for m, v in zip(images, seen, strict=True)]
    for p, (m, v) in enumerate(zip(probes, shown, strict=True)):
        x = oracles.seen(m, mask=v, weights=numbers[p] if weights == "given" else weights, **how)
        assert found.counted[p] == pytest.approx(np.mean(x[1] > 0))
        for column in range(3):
            entry = [y[i] for i in range(4) if GROUPS[i] == column]
            exact = oracle(x, entry, coder=coder)
            assert found.distance[p, column] == pytest.approx(exact, abs=2e-6)
            assert found.lower[p, column] <= exact <= found.upper[p, column]


@pytest.mark.parametrize("coder", [*CODERS, "ridge"])
@pytest.mark.parametrize("scales", [(1,), (2, 1, 3)])
def test_equal_weights_and_masks_without_effect_change_no_bit(coder, scales):
    (probes, _, _), (images, _, _) = drawn(True)
    plain = match.distances(probes, images, coder=coder, scales=scales, identities=GROUPS)
    equal = match.distances(
        probes,
        images,
        coder=coder,
        scales=scales,
        identities=GROUPS,
        probe_weights=[np.full(m.shape[:2], 0.7) for m in probes],
        probe_masks=[np.ones(m.shape[:2]) for m in probes],
        gallery_masks=[np.ones(m.shape[:2], bool) for m in images],
    )
    for name in FIGURES:
        np.testing.assert_array_equal(getattr(plain, name), getattr(equal, name))


@pytest.mark.parametrize(("coder", "dictionary"), [*((coder, "image") for coder in CODERS), ("auto", "joint")])
def test_a_mask_at_the_border_is_a_map_cut_off(coder, dictionary):
    (probes, _, numbers), (images, _, _) = drawn()
    how = {"coder": coder, "scales": (1,), "dictionary": dictionary}
    masks = [[np.indices(m.shape[:2])[0] < len(m) - 1 for m in side] for side in (probes, images)]
    masked = match.distances(probes, images, probe_masks=masks[0], gallery_masks=masks[1], probe_weights=numbers, **how)
    rest = [[m[:-1] for m in side] for side in (probes, images, numbers)]
    cut = match.distances(*rest[:2], probe_weights=rest[2], **how)
    np.testing.assert_allclose(masked.distance, cut.distance, atol=1e-6)
    assert (masked.counted < 1).all() and (cut.counted == 1).all()


@pytest.mark.parametrize("dictionary", ["image", "joint"])
def test_weights_pick_the_columns_that_they_leave(dictionary):
    (probes, _, _), (images, _, _) = drawn()
    only = np.zeros(probes[0].shape[:2])
    only[1, 2] = 3
    alone = match.distances(probes[0][1:2, 2:], images, scales=(1,), dictionary=dictionary)
    picked = match.distances(probes[0], images, scales=(1,), dictionary=dictionary, probe_weights=only)
    np.testing.assert_allclose(picked.distance, alone.distance, atol=1e-6)
    assert picked.counted[0] == pytest.approx(1 / 12)


@pytest.mark.parametrize("how", [{"coder": coder} for coder in (*CODERS, "ridge")] + [{"dictionary": "joint"}])
def test_every_distance_is_the_weighted_mean_of_its_columns(how):
    (probes, _, numbers), (images, _, _) = drawn()
    found = match.distances(probes[0], images, scales=(1,), probe_weights=numbers[0], **how)
    each = match.distances(list(probes[0].reshape(-1, 1, 1, 8)), images, scales=(1,), **how).distance
    expected = np.average(each, axis=0, weights=numbers[0].reshape(-1))
    np.testing.assert_allclose(found.distance[0], expected, atol=2e-6)


def test_columns_that_are_coded_again_in_float64_keep_their_weights():
    (probes, _, numbers), (images, _, _) = drawn()
    how = {"probe_weights": numbers, "scales": (1, 2), "coder": "active_set"}
    once, again = (match.distances(probes, images, tol=tol, **how) for tol in (1e-6, 1e-12))
    assert (once.gap != again.gap).any()
    for name in FIGURES:
        np.testing.assert_allclose(getattr(again, name), getattr(once, name), atol=5e-6)


@pytest.mark.parametrize(
    ("engine", "coder"), [("compiled", "active_set"), ("maxsim", "maxsim"), ("xla", "maxsim"), ("xla", "homotopy")]
)
def test_listed_pairs_of_every_engine_are_weighted_as_all(engine, coder):
    (probes, shown, numbers), (images, seen, _) = drawn()
    how = {"probe_weights": numbers, "probe_masks": shown, "gallery_masks": seen, "scales": (1, 2), "coder": coder}
    comparison = compared(probes, images, **how)
    every = match.distances(probes, images, **how)
    pairs = np.array([[2, 3], [0, 1], [2, 0], [1, 1]])
    sides = comparison.probes, comparison.gallery.as_entries
    chosen = ENGINES[engine](*sides, coder=coder, l1=0.4, tol=1e-6, max_bytes=1 << 28)
    np.testing.assert_allclose(chosen.listed(pairs)[0], every.distance[pairs[:, 0], pairs[:, 1]], atol=2e-6)
    np.testing.assert_allclose(chosen.distances()[0], every.distance, atol=2e-6)


@pytest.mark.parametrize("weights", ["norm", "given"])
@pytest.mark.parametrize("coder", CODERS)
def test_search_is_the_first_k_of_all_distances(coder, weights):
    rng = np.random.default_rng(3)
    images = [feature_map(rng, 4, 3) for _ in range(80)]
    seen = [mask(rng, 4, 3) for _ in images]
    probe, shown, numbers = images[7][:3], mask(rng, 3, 3), rng.random((3, 3))
    how = {
        "coder": coder,
        "probe_masks": shown,
        "probe_weights": numbers if weights == "given" else weights,
        "gallery_masks": seen,
    }
    every = match.distances(probe, images, **how)
    hits = match.search(probe, images, 5, **how)
    order = np.argsort(every.distance[0], kind="stable")[:5]
    assert hits.entries.tolist() == order.tolist()
    np.testing.assert_allclose(hits.distance, every.distance[0, order], atol=2e-6)
    assert (hits.lower <= every.upper[0, order]).all() and (hits.upper >= every.lower[0, order]).all()
    assert hits.counted == every.counted[0]
    if coder != "maxsim":
        assert hits.coded < 1


@pytest.mark.parametrize("coder", ["active_set", "homotopy"])
def test_bounds_of_a_search_hold_whatever_few_columns_weigh(coder):
    rng = np.random.default_rng(4)
    images = [feature_map(rng, 4, 3) for _ in range(40)]
    for column in range(9):
        numbers = np.full((3, 3), 0.01)
        numbers.flat[column] = 1
        how = {"coder": coder, "scales": (1, 2), "probe_weights": numbers}
        comparison = compared(images[7][:3], images, **how)
        exact = match.distances(images[7][:3], images, **how).upper[0]
        engine = comparison.engine()
        parts = list(bounds.parts(engine) if coder == "active_set" else engine._parts())
        floors = np.concatenate([part.floors for part in parts])
        assert (floors <= exact[np.concatenate([part.members for part in parts])]).all() and floors.max() > 0.1


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), coder=st.sampled_from(CODERS), power=st.floats(-30, 30))
def test_order_and_scale_of_weighted_maps_change_nothing(seed, coder, power):
    rng = np.random.default_rng(seed)
    (probes, shown, numbers), (images, seen, _) = drawn()
    order = rng.permutation(3)
    how = {"coder": coder, "scales": (1, 2)}
    found = match.distances(
        probes, images, probe_weights=numbers, probe_masks=shown, gallery_masks=seen, **how
    ).distance
    turned = match.distances(
        [probes[i] for i in order],
        images[::-1],
        probe_weights=[10.0**power * numbers[i] for i in order],
        probe_masks=[shown[i] for i in order],
        gallery_masks=seen[::-1],
        **how,
    ).distance
    np.testing.assert_allclose(turned, found[order][:, ::-1], atol=2e-6)
    norms = [
        match.distances([np.float32(factor) * m for m in probes], images, probe_weights="norm", **how).distance
        for factor in (1, 2.0 ** int(power))
    ]
    np.testing.assert_allclose(*norms, atol=2e-6)


@pytest.mark.parametrize("coder", CODERS)
def test_what_lies_under_a_mask_has_no_part(coder):
    (probes, shown, _), (images, seen, _) = drawn(True)
    rng = np.random.default_rng(5)
    other = [
        [np.where(v[..., None], m, rng.normal(size=m.shape)) for m, v in zip(*side[:2], strict=True)]
        for side in drawn(True)
    ]
    for weights in (None, "norm"):
        how = {"coder": coder, "probe_masks": shown, "gallery_masks": seen, "probe_weights": weights}
        for pooling in ("average", "max"):
            first, second = (
                match.distances(p, g, pooling=pooling, **how).distance for p, g in ((probes, images), other)
            )
            np.testing.assert_array_equal(first, second)


def test_a_gallery_keeps_its_masks_in_its_file(tmp_path):
    (probes, _, _), (images, seen, _) = drawn()
    gallery = match.Gallery.build(images, masks=seen, identities=GROUPS, scales=(1, 2))
    gallery.save(tmp_path / "gallery.npz")
    loaded = match.Gallery.load(tmp_path / "gallery.npz")
    assert [m.tolist() for m in loaded.masks] == [m.tolist() for m in seen]
    expected = match.distances(probes, images, gallery_masks=seen, identities=GROUPS, scales=(1, 2)).distance
    for one in (gallery, loaded):
        np.testing.assert_array_equal(match.distances(probes, one).distance, expected)
    match.Gallery.build(images).save(tmp_path / "plain.npz")
    assert match.Gallery.load(tmp_path / "plain.npz").masks is None
    among = match.distances(loaded, loaded).distance  # its maps are masked as probes, too
    np.testing.assert_allclose(
        among,
        match.distances(
            images, images, probe_masks=seen, gallery_masks=seen, identities=GROUPS, scales=(1, 2)
        ).distance,
    )


def test_an_explanation_shows_masks_and_weights():
    (probes, shown, numbers), (images, seen, _) = drawn()
    how = {"probe_masks": shown[0], "gallery_masks": seen[0], "probe_weights": numbers[0]}
    for coder in ("auto", "maxsim"):
        found = match.explain(probes[0], images[0], coder=coder, **how)
        assert found.visible.tolist() == shown[0].tolist() and found.gallery_visible.tolist() == seen[0].tolist()
        assert found.weights.sum() == pytest.approx(1) and (found.weights[~shown[0]] == 0).all()
        assert np.isnan(found.rebuilt[~shown[0]]).all() and np.isfinite(found.rebuilt[shown[0]]).all()
        assert (found.codes[:, :, ~seen[0]] == 0).all() and (found.codes[~shown[0]] == 0).all()
        distance = match.distances(probes[0], images[0], coder="active_set" if coder == "auto" else coder, **how)
        assert found.distance == pytest.approx(distance.distance[0, 0], abs=2e-6)
    plain = match.explain(probes[0], images[0], scales=(1,))
    np.testing.assert_allclose(plain.weights, 1 / 12, rtol=1e-6)
    assert plain.visible.all() and plain.gallery_visible.all()


def bad(argument, value, message, *, images=2):
    probes = [np.ones((3, 2, 4))] * 2
    with pytest.raises(ValueError, match=message):
        match.distances(probes, probes[:images], **{argument: value})


ONES = np.ones((3, 2))


def test_a_masked_position_does_not_decide_how_its_map_is_scaled():
    """float32 holds no 1e300: a map with such a position is scaled, and what is seen of it would become zero."""
    (probes, shown, _), (images, seen, _) = drawn()
    ways = {
        "distances": lambda p, g: match.distances(p, g, probe_masks=shown, gallery_masks=seen).distance,
        "gallery": lambda p, g: match.distances(p, match.Gallery.build(g, masks=seen), probe_masks=shown).distance,
        "streaming": lambda p, g: streaming.distances(p, g, probe_masks=shown, gallery_masks=seen).distance,
        "shortlist": lambda p, g: shortlist.distances(p, g, 2, probe_masks=shown, gallery_masks=seen).extended,
    }
    huge = [
        [np.where(mask[..., None], m.astype(float), 1e300) for m, mask in zip(maps, masks, strict=True)]
        for maps, masks in ((probes, shown), (images, seen))
    ]
    assert any(m.max() == 1e300 for m in huge[0]) and any(m.max() == 1e300 for m in huge[1])
    for name, way in ways.items():
        np.testing.assert_allclose(way(*huge), way(probes, images), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("argument", ["probe_weights", "probe_masks", "gallery_masks"])
def test_planes_of_another_number_or_shape_or_kind_are_refused(argument):
    bad(argument, [ONES], rf"{argument} .* got 1 for 2")
    bad(argument, ONES, rf"{argument} .* got 1 for 2")
    bad(argument, [ONES, ONES.T], rf"{argument}\[1\] must be \(3, 2\), .* got shape \(2, 3\)")
    bad(argument, [ONES, np.full((3, 2), np.nan)], rf"{argument}\[1\] has 6 values that are NaN")
    bad(argument, [ONES, [["a", "b"]] * 3], rf"{argument}\[1\] must hold real numbers")
    bad(argument, 3.0, rf"{argument} must be")
    bad(argument, "everything", rf"{argument} must be")


def test_weights_that_leave_nothing_are_refused():
    bad("probe_weights", [ONES, -ONES], r"probe_weights\[1\] holds -1")
    bad("probe_weights", [ONES, 0 * ONES], r"probe_weights\[1\] is 0 everywhere")
    dead = np.ones((3, 2, 4))
    dead[0, 0] = 0
    first = np.zeros((3, 2))
    first[0, 0] = 1
    with pytest.raises(ValueError, match=r"probe_weights is 0 for every block that has a direction"):
        match.distances(dead, dead, probe_weights=first, scales=(1,))


@pytest.mark.parametrize("argument", ["probe_masks", "gallery_masks"])
def test_masks_that_are_none_or_leave_nothing_are_refused(argument):
    bad(argument, [ONES, 0.3 * ONES], rf"{argument}\[1\] holds 0.3: .* probe_weights")
    bad(argument, [ONES, 0 * ONES], rf"{argument}\[1\] has no visible position")
    dead = np.ones((3, 2, 4))
    dead[0] = 0
    if argument == "probe_masks":
        with pytest.raises(ValueError, match="probe_maps .* no block with a direction"):
            match.distances(dead, dead, probe_masks=np.arange(3)[:, None] < [1, 1])


def test_a_gallery_refuses_what_belongs_into_it():
    gallery = match.Gallery.build(np.ones((2, 3, 2, 4)))
    maps = np.ones((2, 3, 2, 4))
    for sides, options, message in (
        ((maps, gallery), {"gallery_masks": [ONES] * 2}, "gallery_masks belong to the Gallery"),
        ((gallery, maps), {"probe_masks": [ONES] * 2}, "probe_masks belong to the Gallery"),
        ((gallery, maps), {"probe_weights": [ONES] * 2}, "probe_weights must be None or 'norm'"),
    ):
        with pytest.raises(ValueError, match=message):
            match.distances(*sides, **options)
    assert match.distances(gallery, maps, probe_weights="norm").distance.shape == (2, 2)
    with pytest.raises(ValueError, match="^masks must have one"):
        match.Gallery.build(maps, masks=[ONES])


@pytest.mark.parametrize("weights", ["norm", "given"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_streamed_distances_are_weighted_and_masked_alike(weights, pooling):
    (probes, shown, numbers), (images, seen, _) = drawn(True)
    how = {"probe_masks": shown, "gallery_masks": seen, "probe_weights": numbers if weights == "given" else weights}
    how |= {"identities": GROUPS, "scales": (1, 2), "pooling": pooling}
    found, expected = streaming.distances(probes, images, part_bytes=900, **how), match.distances(probes, images, **how)
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)
    np.testing.assert_array_equal(found.counted, expected.counted)
    with pytest.raises(ValueError, match="probe_masks .* got 2 for 3"):
        streaming.distances(probes, images, probe_masks=shown[:2])


@pytest.mark.parametrize("by", shortlist.BY)
@pytest.mark.parametrize("weights", ["norm", "given"])
def test_a_shortlist_is_chosen_by_what_is_visible_and_weighted_after_that(by, weights):
    (probes, shown, numbers), (images, seen, _) = drawn()
    given = numbers if weights == "given" else weights
    how = {"scales": (1, 2), "identities": GROUPS, "part_bytes": 900}
    found = shortlist.distances(
        probes, images, 2, by=by, probe_weights=given, probe_masks=shown, gallery_masks=seen, **how
    )
    hidden = [[np.where(v[..., None], m, 0) for m, v in zip(*side[:2], strict=True)] for side in drawn()]
    plain = shortlist.distances(*hidden, 2, by=by, **how)
    np.testing.assert_allclose(found.coarse, plain.coarse, atol=1e-6)
    every = match.distances(
        probes,
        images,
        scales=(1, 2),
        identities=GROUPS,
        probe_weights=given,
        probe_masks=shown,
        gallery_masks=seen,
    )
    np.testing.assert_allclose(found.distance, np.take_along_axis(every.distance, found.entries, axis=1), atol=2e-6)
    np.testing.assert_array_equal(found.counted, every.counted)


def test_a_shortlist_names_what_is_wrong_with_masks_and_weights():
    maps = np.ones((2, 3, 2, 4))
    for argument, value, message in (
        ("probe_masks", [ONES, 0 * ONES], r"probe_masks\[1\] has no visible"),
        ("gallery_masks", [ONES, ONES.T], r"gallery_masks\[1\] must be"),
        ("gallery_masks", [ONES], "gallery_masks .* got 1 for 2"),
        ("probe_weights", [ONES, -ONES], r"probe_weights\[1\] holds -1"),
        ("probe_weights", "energy", "probe_weights must be None, 'norm'"),
    ):
        with pytest.raises(ValueError, match=message):
            shortlist.distances(maps, maps, 1, **{argument: value})
