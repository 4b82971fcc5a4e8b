"""OSNet: against float64 by hand, a padded batch against each image alone, statistics against their definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import osnet, resnet
from dsr_jax.layers import osnet_table

from . import quick
from .osnet_by_hand import ByHand
from .test_fcn import image, relative
from .test_resnet import batch

WIDTH = 1 / 16
SIZES = [(97, 53), (64, 96), (33, 47), (128, 34)]  # odd ones, and ends of every kind inside the padding
CELLS = [[6, 3], [4, 6], [2, 3], [8, 2]]


@functools.cache
def params(form: str = "plain", *, folded: bool = False, width: float = WIDTH) -> osnet.Params:
    """Random parameters with scales, biases and statistics, which `init` has at 1 and 0: what padding could leak.

    Folded: without batch normalisation, with biases of the convolutions.
    """
    rng = np.random.default_rng(0)
    drawn = osnet.init(jax.random.key(0), width=width, form=form)
    draws = {
        "scale": lambda n: rng.uniform(0.5, 1.5, n),
        "bias": lambda n: rng.normal(0, 0.3, n),
        "mean": lambda n: rng.normal(0, 0.3, n),
        "var": lambda n: rng.uniform(0.5, 2.0, n),
    }
    params = {
        name: {
            k: x.astype(jnp.float32) if k == "kernel" else jnp.asarray(draws[k](x.size), jnp.float32)
            for k, x in leaves.items()
        }
        for name, leaves in drawn.items()
    }
    return without_norms(params) if folded else params


def without_norms(params: osnet.Params) -> osnet.Params:
    """The same network, its batch normalisations folded into its convolutions."""
    norms = {name for name, leaves in params.items() if "mean" in leaves and name != "vector_norm"}
    folded = {}
    for name, leaves in params.items():
        norm = params.get(name.replace("conv", "norm")) if name.replace("conv", "norm") in norms else None
        if name not in norms and norm is not None:
            factor = norm["scale"] / jnp.sqrt(norm["var"] + 1e-5)
            kernel = leaves["kernel"] * factor[None, None, None, :]
            folded[name] = {"kernel": kernel, "bias": norm["bias"] - norm["mean"] * factor}
        elif name not in norms:
            folded[name] = leaves
    return folded


@functools.partial(jax.jit, static_argnames=("blocks", "frozen_blocks", "dtype"))
def apply(weights, images, sizes=None, **options):
    return osnet.apply(weights, images, sizes, **options)


SLOW = [pytest.param(*each, marks=pytest.mark.slow) for each in [("ibn", True), ("plain", False), ("plain", True)]]


@pytest.mark.parametrize(("form", "folded"), [("ain", False), *SLOW])
def test_padded_batch_equals_each_image_alone(form, folded):
    weights = params(form, folded=folded)
    maps, map_sizes = apply(weights, *batch(SIZES))
    assert map_sizes.tolist() == CELLS == [list(osnet.map_size(size)) for size in SIZES]
    by_hand = ByHand(weights)
    exact = by_hand.maps([image(*size) for size in SIZES])
    for row, (height, width) in enumerate(CELLS):
        found = np.asarray(maps[row])
        assert exact[row].shape == (height, width, 32) and exact[row].max() > 0.1, "a dead network proves nothing"
        assert relative(found[:height, :width], exact[row]) <= 1e-5
        assert not found[height:].any() and not found[:, width:].any(), "maps are zero beyond their sizes"
    vectors = osnet.vector(weights, maps, map_sizes)
    assert vectors.shape == (4, 512) and relative(np.asarray(vectors), by_hand.vectors(exact)) <= 1e-5


def test_padding_changes_no_map():
    """The smallest image in a batch of large ones, alone with padding of anything but numbers, and alone."""
    x, sizes = batch([(33, 47)], (128, 96))
    alone, _ = apply(params("ibn"), x[:, :33, :47])
    padded, found = apply(params("ibn"), x, sizes)
    assert found.tolist() == [[2, 3]]
    np.testing.assert_allclose(padded[:, :2, :3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", osnet.FORMS)
def test_folded_normalisation_is_the_same_network(form):
    x, sizes = batch(SIZES)
    found, _ = apply(params(form, folded=True), x, sizes)
    expected, _ = apply(params(form), x, sizes)
    assert relative(np.asarray(found), np.asarray(expected)) <= 1e-5


@pytest.mark.slow
def test_without_normalisations_training_computes_what_inference_does():
    x, sizes = batch(SIZES)
    expected, _ = apply(params("ain", folded=True), x, sizes)
    maps, _, statistics = jax.jit(osnet.train)(params("ain", folded=True), x, sizes)
    assert statistics == {} and relative(np.asarray(maps), np.asarray(expected)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("form", quick.only([], ["ain"]))
def test_training_counts_true_positions_only(form):
    """Maps and moved statistics of a padded batch are those of its images, whatever the padding."""
    maps, map_sizes, statistics = jax.jit(osnet.train)(params(form), *batch(SIZES))
    by_hand = ByHand(params(form), momentum=0.1)
    exact = by_hand.maps([image(*size) for size in SIZES])
    for row, (height, width) in enumerate(map_sizes.tolist()):
        assert relative(np.asarray(maps[row, :height, :width]), exact[row]) <= 1e-4
        assert not maps[row, height:].any() and not maps[row, :, width:].any()
    assert statistics.keys() == by_hand.statistics.keys() and "vector_norm" not in statistics
    for name, leaves in by_hand.statistics.items():
        for leaf, expected in leaves.items():
            assert relative(np.asarray(statistics[name][leaf]), expected) <= 1e-4, (name, leaf)


@pytest.mark.slow
def test_frozen_blocks_keep_their_statistics_and_have_no_gradient():
    inputs, sizes = batch(SIZES[:2])

    def total(weights):
        maps, _, statistics = osnet.train(weights, inputs, sizes, blocks=(1, 3), frozen_blocks=2)
        return jnp.sum(jnp.square(maps)), statistics

    weights = params("ain")
    (_, statistics), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(weights)
    for name, leaves in weights.items():
        trained = name.startswith("block3")
        for leaf, x in leaves.items():
            has_slope = bool(jnp.abs(gradient[name][leaf]).max() > 0)
            if "gate" not in name or not trained:  # a gate of one number may be closed
                assert has_slope == (trained and leaf not in resnet.STATISTICS), (name, leaf)
            if leaf in resnet.STATISTICS and name != "vector_norm":
                assert bool((statistics[name][leaf] != x).any()) == trained, (name, leaf)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [(1, 2), (5, 5)])
def test_derivative_of_maps_and_vector(x64, blocks):
    """By finite differences along a line, of a padded batch; with normalisations of both kinds."""
    images, sizes = batch([(40, 33), (64, 64)], (64, 64))
    rng = np.random.default_rng(3)
    if blocks[0] == 5:
        images = jnp.asarray(rng.standard_normal((2, 4, 4, 32)))  # what block 5 sees of images of this size
        images, sizes = images.at[0, :, 3:].set(0), jnp.array([[4, 3], [4, 4]], sizes.dtype)
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params("ibn"))
    moving = {leaf: 0.0 if leaf in resnet.STATISTICS else 1.0 for leaf in ("kernel", "bias", "scale", "mean", "var")}
    direction = {
        name: {k: jnp.asarray(moving[k] * 0.1 * rng.standard_normal(x.shape)) for k, x in leaves.items()}
        for name, leaves in weights.items()
    }

    @jax.jit
    @jax.value_and_grad
    def along(t):
        moved = jax.tree.map(lambda a, b: a + t * b, weights, direction)
        maps, map_sizes, _ = osnet.train(moved, images.astype(jnp.float64), sizes, blocks=blocks, dtype=jnp.float64)
        vectors = osnet.vector(moved, maps, map_sizes) if blocks[1] == 5 else jnp.zeros(1)
        return jnp.sum(jnp.square(vectors)) + jnp.sum(jnp.square(maps))

    h = 1e-8  # small: thousands of ReLUs have their kinks somewhere
    (_, slope), (after, _), (before, _) = along(0.0), along(h), along(-h)
    assert abs(slope) > 1
    np.testing.assert_allclose(slope, (after - before) / (2 * h), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_a_batch_on_several_devices_is_one_batch():
    """Shared out by rows and filled up with rows of no size: the same statistics and gradient."""
    weights, (images, sizes) = params("ain", width=1 / 32), batch(SIZES[:3])
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("rows",))
    filled = jnp.concatenate([images, images[:1]]), jnp.concatenate([sizes, jnp.zeros((1, 2), sizes.dtype)])
    rows, everywhere = jax.sharding.PartitionSpec("rows"), jax.sharding.PartitionSpec()

    def loss(weights, images, sizes, total):
        maps, _, statistics = osnet.train(weights, images, sizes, blocks=(1, 2), total=total)
        return total(jnp.sum(jnp.square(maps))), statistics

    def shared(weights, images, sizes):
        return loss(weights, images, sizes, lambda x: jax.lax.psum(x, "rows"))

    together = jax.shard_map(shared, mesh=mesh, in_specs=(everywhere, rows, rows), out_specs=(everywhere, everywhere))
    (expected, moved), slope = jax.jit(jax.value_and_grad(functools.partial(loss, total=lambda x: x), has_aux=True))(
        weights, images, sizes
    )
    (found, statistics), gradient = jax.jit(jax.value_and_grad(together, has_aux=True))(weights, *filled)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, statistics, moved)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slope))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-4 * largest), gradient, slope)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 4])
def test_blocks_joined_again_are_the_whole(cut):
    x, sizes = batch(SIZES)
    whole, whole_sizes = apply(params(), x, sizes)
    middle, middle_sizes = apply(params(), x, sizes, blocks=(1, cut))
    joined, joined_sizes = apply(params(), middle, middle_sizes, blocks=(cut + 1, 5))
    np.testing.assert_allclose(joined, whole, rtol=1e-5, atol=1e-5)
    assert joined_sizes.tolist() == whole_sizes.tolist() == CELLS
    for (height, width), size in zip(middle_sizes.tolist(), whole_sizes.tolist(), strict=True):
        assert list(osnet.map_size((height, width), cut + 1)) == size


@pytest.mark.slow
def test_block_strides_are_those_of_the_maps():
    shapes = jax.eval_shape(functools.partial(osnet.init, width=WIDTH), jax.random.key(0))
    for block in range(1, 6):
        whole = functools.partial(osnet.apply, blocks=(1, block))
        maps, _ = jax.eval_shape(whole, shapes, jax.ShapeDtypeStruct((1, 128, 64, 3), jnp.float32))
        assert maps.shape[1:3] == (128 // osnet.block_stride(block), 64 // osnet.block_stride(block))


@pytest.mark.parametrize(
    ("width", "form", "numbers", "depth"),
    [
        (0.25, "plain", 201_864, 128),
        (0.25, "ibn", 202_120, 128),
        (0.5, "ain", 630_034, 256),
        (0.75, "plain", 1_285_754, 384),
        (1.0, "plain", 2_169_508, 512),
        (1.0, "ibn", 2_170_532, 512),
        (1.0, "ain", 2_169_508, 512),
    ],
)
def test_the_published_shapes(width, form, numbers, depth):
    shapes = jax.eval_shape(functools.partial(osnet.init, width=width, form=form), jax.random.key(0))
    found = sum(x.size for x in jax.tree.leaves(resnet.split(shapes)[0]))
    assert found == numbers  # torchreid's, without the classifier
    maps, _ = jax.eval_shape(osnet.apply, shapes, jax.ShapeDtypeStruct((2, *osnet.SIZE, 3), jnp.float32))
    assert maps.shape == (2, 16, 8, depth)


@pytest.mark.slow
def test_bfloat16_is_near():
    x, sizes = batch(SIZES)
    maps, _ = apply(params(), x, sizes, dtype=jnp.bfloat16)
    exact, _ = apply(params(), x, sizes)
    assert maps.dtype == jnp.bfloat16 and relative(np.asarray(maps, np.float32), np.asarray(exact)) <= 0.1
    _, _, statistics = jax.eval_shape(functools.partial(osnet.train, dtype=jnp.bfloat16), params(), x, sizes)
    assert {leaf.dtype for leaf in jax.tree.leaves(statistics)} == {np.dtype(np.float32)}


def test_init():
    drawn = osnet.init(jax.random.key(1), width=0.25)
    kernel = np.asarray(drawn["block4a_shortcut_conv"]["kernel"])
    assert kernel.shape == (1, 1, 96, 128) and abs(kernel.std() / np.sqrt(2 / 96) - 1) < 0.05
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(drawn))
    other = osnet.init(jax.random.key(2), width=0.25)
    assert not np.array_equal(other["block5_conv"]["kernel"], drawn["block5_conv"]["kernel"])
    assert osnet.init(jax.random.key(0), width=1e-3)["block1_conv"]["kernel"].shape == (7, 7, 3, 1)
    for width in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="width must be positive"):
            osnet.init(jax.random.key(0), width=width)
    with pytest.raises(ValueError, match="form must be one of plain, ibn, ain, got 'AIN'"):
        osnet.init(jax.random.key(0), width=0.25, form="AIN")


@pytest.mark.parametrize("form", osnet.FORMS)
def test_parameters_show_form_and_width(form):
    weights = osnet.init(jax.random.key(0), width=0.25, form=form)
    assert (osnet_table.form(weights), osnet_table.width(weights)) == (form, 0.25)
    assert not osnet_table.folded(weights) and osnet_table.folded(params(form, folded=True))


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((15, 64), {}, "smallest legal size is 16 x 16"),
        ((64, 64), {"blocks": (0, 5)}, "blocks must be"),
        ((64, 64), {"blocks": (4, 3)}, "blocks must be"),
        ((64, 64), {"frozen_blocks": 6}, "frozen_blocks must be"),
    ],
    ids=str,
)
def test_errors_say_what_is_legal(size, options, words):
    for run in (osnet.apply, osnet.train):
        with pytest.raises(ValueError, match=words):
            run(params(), jnp.zeros((1, *size, 3)), **options)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\]"):
        osnet.train(params(), jnp.zeros((1, 32, 32, 3)), momentum=1.5)


def test_parameters_that_are_not_whole_are_refused():
    trained, _ = resnet.split(params())
    with pytest.raises(ValueError, match=r"params are not those of an OSNet of form 'plain': .*block1_norm.mean"):
        osnet.apply(trained, jnp.zeros((1, 32, 32, 3)))
    without = {name: leaves for name, leaves in params().items() if not name.startswith("vector")}
    with pytest.raises(ValueError, match="params have no layer 'vector'"):
        osnet.vector(without, jnp.zeros((1, 2, 2, 32)), jnp.array([[2, 2]]))


@pytest.mark.slow
def test_folding_and_unfolding_change_nothing_that_is_computed():
    """Folded against by hand, unfolded against folded, on other images as well."""
    images, sizes = batch([(64, 40), (48, 64), (33, 50)], (64, 64))
    known = params("ain")
    folded = osnet.fold(known)
    assert jax.tree.structure(folded) == jax.tree.structure(without_norms(known))
    for name, leaves in without_norms(known).items():
        for leaf, x in leaves.items():
            np.testing.assert_allclose(folded[name][leaf], x, rtol=1e-5, atol=1e-6)
    unfolded = osnet.unfold(folded, images, sizes)
    shapes = [jax.tree.map(jnp.shape, {k: x for k, x in one.items() if "vector" not in k}) for one in (unfolded, known)]
    assert shapes[0] == shapes[1] and osnet.fold(folded).keys() == folded.keys()
    other, other_sizes = batch(SIZES)  # other images, of the shape of the tests above: their programs
    np.testing.assert_allclose(*(apply(one, other, other_sizes)[0] for one in (unfolded, folded)), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_unfolded_statistics_are_those_of_a_training():
    """Of all images, however many go through the network at once; the last batch is filled up."""
    images, sizes = batch([(64, 40), (48, 64), (33, 50)], (64, 64))
    folded = params("plain", folded=True)
    unfolded, in_parts = osnet.unfold(folded, images, sizes), osnet.unfold(folded, images, sizes, batch_size=2)
    moved = jax.jit(functools.partial(osnet.train, momentum=1.0))(unfolded, images, sizes)[2]
    assert moved.keys() == {name for name in unfolded if "norm" in name} - {"vector_norm"}
    first = osnet_table.norm("block2a_conv1")  # deeper ones count few positions: the variance's bias shows
    for leaf, x in moved[first].items():
        np.testing.assert_allclose(unfolded[first][leaf], x, rtol=0.01, atol=1e-3)
    for name in moved:
        for leaf, x in unfolded[name].items():
            np.testing.assert_allclose(in_parts[name][leaf], x, rtol=1e-4, atol=1e-5, err_msg=f"{name}.{leaf}")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        osnet.unfold(folded, images, sizes, batch_size=0)


def test_what_cannot_be_unfolded_is_an_error():
    with pytest.raises(ValueError, match="have their batch normalisations"):
        osnet.unfold(params(), jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="not an OSNet's"):
        osnet.check_folded({"block1_conv1": {}})
