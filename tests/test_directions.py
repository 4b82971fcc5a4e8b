"""Blocks without a direction: left out of the mean by every coder, engine, search, export and training loss."""

import functools
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import blocks, fcn, map_file, match, reconstruction, serving, shortlist, weights
from dsr_jax.baselines import amc, global_average
from dsr_jax.matching import streaming
from experiments.settings.training import Tuning
from experiments.training import steps

from . import oracles, quick

D = 12
CODERS = sorted(match.CODERS)
RNG = np.random.default_rng(0)
WHOLE = [
    (RNG.random((h, w, D)) ** 3).astype(np.float32) for h, w in [(4, 3), (4, 3), (3, 2), (3, 2)]
]  # few shapes: each is compiled


def masked(signed: bool = False) -> list[np.ndarray]:
    """Probes of which some positions are zero; of signed ones some windows cancel, too."""
    found = [m.copy() for m in WHOLE[:3]]
    for m in found:
        m[2:] = 0
    found[1][0, 1] = 0
    if signed:
        found[0][1] = -found[0][0][::-1]
        found[2][0] -= 0.5
    return found


def share(probe: np.ndarray, scales: tuple[int, ...]) -> float:
    cut = oracles.blocks(probe, scales=scales)
    return len(oracles.solid(cut)) / len(cut)


@functools.cache
def exact(scales: tuple[int, ...], signed: bool) -> np.ndarray:
    return np.array([[oracles.distance(p, [g], scales=scales) for g in WHOLE] for p in masked(signed)])


@pytest.mark.parametrize(
    ("coder", "scales", "signed"),
    [
        *[("active_set", scales, signed) for scales in [(1,), (1, 2), (2, 3)] for signed in (False, True)],
        *[pytest.param(coder, (1, 2), True, marks=pytest.mark.slow) for coder in ("homotopy", "feature_sign")],
    ],
)
def test_distances(coder, scales, signed):
    probes = masked(signed)
    probes = [p for p in probes if scales[0] <= min(p.shape[:2])]
    found = match.distances(probes, WHOLE, scales=scales, coder=coder)
    np.testing.assert_allclose(found.distance, exact(scales, signed), atol=1e-5)
    assert (found.lower <= exact(scales, signed)).all() and (exact(scales, signed) <= found.upper).all()
    np.testing.assert_allclose(found.counted, [share(p, scales) for p in probes])
    assert found.counted.min() < 0.8


@pytest.mark.parametrize("coder", ["active_set", "ridge"])
def test_positions_masked_and_cut_off_are_the_same(coder):
    probes, cut = masked(), [m[:2] for m in masked()]
    cut[1][0, 1] = 0
    options = {"scales": (1,), "coder": coder}
    found, expected = match.distances(probes, WHOLE, **options), match.distances(cut, WHOLE, **options)
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)
    np.testing.assert_allclose(expected.counted, [1, 5 / 6, 1])


def test_a_mask_does_not_bring_strangers_nearer():
    """The case that showed it: with zero blocks in the mean, whoever was hidden most was nearest to everybody."""
    hidden, seen = masked()[0].copy(), WHOLE[3][:2]
    hidden[1:] = 0
    distance = match.distances([hidden, seen], WHOLE, scales=(1,)).distance
    assert distance[0, 1] > distance[1, 3] + 0.1


def test_joint_dictionary():
    options = {"dictionary": "joint", "pooling": "max", "scales": (1, 2, 3, 4), "probe_scales": (1,), "boost": 1.2}
    found = match.distances(masked(), WHOLE, **options)
    expected = [oracles.authors(p, [[m] for m in WHOLE]) for p in masked()]
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)
    np.testing.assert_allclose(found.counted, [share(p, (1,)) for p in masked()])


@pytest.mark.parametrize("coder", quick.only(["active_set"], ["active_set", "feature_sign"]))
def test_search(coder):
    for probe, expected in zip(masked(), exact((1, 2), False), strict=True):
        hits = match.search(probe, match.Gallery.build(WHOLE, scales=(1, 2)), k=3, coder=coder)
        assert hits.entries.tolist() == np.argsort(expected)[:3].tolist() and hits.certified.all()
        np.testing.assert_allclose(hits.distance, np.sort(expected)[:3], atol=1e-5)
        assert (hits.lower <= np.sort(expected)[:3]).all() and (np.sort(expected)[:3] <= hits.upper).all()
        assert hits.counted == pytest.approx(share(probe, (1, 2)))


@pytest.mark.parametrize("coder", quick.only(["active_set"], ["active_set", "feature_sign"]))
def test_shortlist(coder):
    found = shortlist.distances(masked(), WHOLE, 2, scales=(1, 2), coder=coder)
    np.testing.assert_allclose(
        found.distance, np.take_along_axis(exact((1, 2), False), found.entries, axis=1), atol=1e-5
    )
    np.testing.assert_allclose(found.counted, [share(p, (1, 2)) for p in masked()])


def test_streamed(tmp_path):
    map_file.write(tmp_path / "maps.npz", [*masked(), *WHOLE], identities=range(7))
    maps = map_file.read(tmp_path / "maps.npz").maps
    found = streaming.distances(maps[:3], maps[3:], scales=(1, 2), part_bytes=600)
    np.testing.assert_allclose(found.distance, exact((1, 2), False), atol=1e-5)
    np.testing.assert_allclose(found.counted, [share(p, (1, 2)) for p in masked()])


def test_explain():
    probe = masked()[0]
    found = match.explain(probe, WHOLE[1], scales=(1,))
    assert found.distance == pytest.approx(oracles.distance(probe, [WHOLE[1]]), abs=1e-6)
    assert np.isnan(found.rebuilt[2:]).all() and np.isfinite(found.rebuilt[:2]).all()


@pytest.mark.slow
def test_subnormal_positions_count_alike_in_every_engine():
    probe = masked()[0]
    probe[2:] = 1e-41 * WHOLE[0][2:]
    found = [match.distances(probe, WHOLE, coder=coder) for coder in ("active_set", "feature_sign")]
    expected = [oracles.distance(probe, [m], scales=(1, 2, 3)) for m in WHOLE]
    for one in found:
        np.testing.assert_allclose(one.distance[0], expected, atol=1e-5)
        assert one.counted == 1


def test_directed_is_exact_where_windows_cancel():
    a, b = np.float32(0.1), np.float32(1e8)
    m = np.array([[[a, 1.0], [b, 2.0]], [[-a, -1.0], [-b, -2.0]]], np.float32)
    assert blocks.directed(m, scales=(1, 2)).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("scales", [(1,), (2,)])
def test_a_probe_without_a_direction_is_named(coder, scales):
    blind = np.zeros((3, 2, D))
    if scales == (2,):
        blind[::2] = 1
        blind[1] = -1  # only its windows cancel
    with pytest.raises(ValueError, match=r"probe_maps\[1\] .*no block with a direction"):
        match.distances([WHOLE[0], blind], WHOLE, coder=coder, scales=scales)
    with pytest.raises(ValueError, match=r"probe_maps .*no block with a direction"):
        match.explain(blind, WHOLE[0], scales=scales)
    if coder != "ridge":
        with pytest.raises(ValueError, match=r"probe_maps .*no block with a direction"):
            match.search(blind, WHOLE, coder=coder, scales=scales)
        with pytest.raises(ValueError, match=r"probe_maps\[1\] .*no block with a direction"):
            shortlist.distances([WHOLE[0], blind], WHOLE, 2, coder=coder, scales=scales)


def test_a_streamed_probe_without_a_direction_is_named_with_its_part():
    with pytest.raises(ValueError, match=r"no block with a direction.*probes 1 to 1"):
        streaming.distances([WHOLE[0], 0 * WHOLE[1]], WHOLE, part_bytes=1)


@pytest.mark.parametrize("coder", quick.only(["active_set"], ["active_set", "homotopy"]))
def test_a_gallery_map_of_zeros_rebuilds_nothing(coder):
    found = match.distances(masked(), [*WHOLE, 0 * WHOLE[0]], scales=(1, 2), coder=coder)
    np.testing.assert_allclose(found.distance[:, -1], 1, atol=1e-6)
    np.testing.assert_allclose(found.distance[:, :-1], exact((1, 2), False), atol=1e-5)


def test_pooled_features_of_nothing_are_as_far_as_anything_unlike():
    empty = np.zeros((2, 2, D))
    found = global_average.distances([WHOLE[0], empty], [WHOLE[0], empty])
    np.testing.assert_allclose(found, [[0, 2**0.5], [2**0.5, 2**0.5]], atol=1e-3)


def test_amc_leaves_out_patches_of_nothing():
    x = np.eye(4, dtype=np.float32)
    nothing = np.zeros((1, 4), np.float32)
    with_nothing = amc.distances([np.concatenate([x[:1], nothing]), x[3:]], [x[:1], x[1:3]])
    np.testing.assert_allclose(with_nothing, amc.distances([x[:1], x[3:]], [x[:1], x[1:3]]), atol=1e-6)
    uncoded = amc.distances([np.concatenate([x[3:], nothing])], [x[:1], x[1:3]])
    np.testing.assert_allclose(uncoded, [[1, 1]], atol=1e-6)
    with pytest.raises(ValueError, match=r"probe_patches\[1\]"):
        amc.distances([x[:1], nothing], [x[:1]])


@pytest.mark.slow
def test_exported_programs(tmp_path):
    serving.save(
        tmp_path / "dsr.zip",
        fcn.init(jax.random.key(0), width=1 / 64),
        weights.Card(width=1 / 64),
        size=(128, 64),
        scales=(1, 2),
    )
    with zipfile.ZipFile(tmp_path / "dsr.zip") as archive:
        program = jax.export.deserialize(bytearray(archive.read("match")))
    whole = RNG.random((3, 4, 2, 8)).astype(np.float32)
    probes = whole.copy()
    probes[0, 1:], probes[1] = 0, 0
    sizes = np.tile(np.array([4, 2], np.int32), (3, 1))
    distance, lower, upper = program.call(probes, sizes, whole[:, None], sizes[:, None])
    expected = [[oracles.distance(p, [m], scales=(1, 2)) for m in whole] for p in probes[[0, 2]]]
    np.testing.assert_allclose(distance[::2], expected, atol=1e-5)
    assert np.all(lower[::2] <= np.array(expected)) and np.all(np.array(expected) <= upper[::2])
    assert all(np.isnan(figure[1]).all() for figure in (distance, lower, upper))


@pytest.mark.slow
@pytest.mark.parametrize("gradient", reconstruction.GRADIENTS)
def test_differentiable_distance(gradient):
    x = blocks.cut(jnp.asarray(masked()[1]), scales=(1, 2))[0]
    y = blocks.cut(jnp.asarray(WHOLE[0]), scales=(1, 2))[0]
    solid = np.asarray(x).any(axis=1)
    assert 0 < solid.sum() < len(solid)
    distance = functools.partial(reconstruction.distance, gradient=gradient)
    value, (by_x, by_y) = jax.value_and_grad(distance, argnums=(0, 1))(x, y)
    expected, (over_x, over_y) = jax.value_and_grad(distance, argnums=(0, 1))(x[solid], y)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    np.testing.assert_allclose(by_x[solid], over_x, atol=1e-6)
    np.testing.assert_allclose(by_y, over_y, atol=1e-6)
    assert not np.any(by_x[~solid])


def test_differentiable_distance_of_nothing():
    y = blocks.cut(jnp.asarray(WHOLE[0]))[0]
    with pytest.raises(ValueError, match="probe_blocks .* nothing to compare"):
        reconstruction.distance(jnp.zeros((3, D)), y)
    with pytest.raises(ValueError, match="probe_blocks .* nothing to compare"):
        reconstruction.distance(y, y, valid=jnp.zeros(len(y), bool))
    values, gradients = jax.jit(jax.value_and_grad(reconstruction.distance))(jnp.zeros((3, D)), y)
    assert np.isnan(values) and not np.any(gradients)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"mining": "batch_hard"}, {"verification": "ranked"}, {"verification": "ranked", "mining": "batch_hard"}],
    ids=["signed", "signed-hard", "ranked", "ranked-hard"],
)
def test_training_leaves_out_patches_of_nothing(options):
    """One of five patches is zero everywhere: loss, figures and gradient are those of the other four."""
    how = Tuning(train_scales=(1, 2), **options)
    rng = np.random.default_rng(1)
    whole, patch = rng.random((2, 5, 3, 2, D)).astype(np.float32)
    patch[2] = 0
    patch[0, 1:] = 0
    sizes = np.tile(np.array([3, 2], np.int32), (5, 1))
    who = np.array([0, 1, 2, 0, 1])
    batch = {"whole_identities": who, "patch_identities": who[[0, 1, 2, 3, 0]], "sign": np.array([1, 1, -1, 1, -1])}

    def loss(patch, rows):
        rows = np.array(rows)
        part = {name: jnp.asarray(values[rows]) for name, values in batch.items()}
        if options:
            part["whole_identities"] = jnp.asarray(who)  # every patch against every whole image
        others = slice(None) if options else rows
        given = patch[rows], jnp.asarray(sizes[rows]), jnp.asarray(whole[others]), jnp.asarray(sizes[others])
        return steps._verify(*given, part, how, steps.EVERYTHING)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (value, figures), gradient = step(jnp.asarray(patch), (0, 1, 2, 3, 4))
    (expected, others), over = step(jnp.asarray(patch), (0, 1, 3, 4))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, over, atol=1e-6)
    for name in set(figures) - {"counted"}:
        np.testing.assert_allclose(figures[name], others[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert 0.5 < float(figures["counted"]) < 1
