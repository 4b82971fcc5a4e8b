"""The public API: right distances whatever the maps come in, whatever the tiles, and errors that help."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from dsr_jax import blocks, match
from dsr_jax.matching import checks, compiled, memory, padded, programs
from dsr_jax.matching.entries import Entries
from dsr_jax.parallel import sharding
from dsr_jax.solvers import table

from . import oracles

D = 6
CODERS = sorted(table.names("training"))
# Of two numbers of blocks: a shape of a tile is a compilation, seconds with the coders in XLA.
SIZES = {"probes": [(3, 2), (2, 3), (3, 2)], "gallery": [(4, 3), (2, 2), (3, 4), (4, 3), (2, 2)]}


@functools.cache
def maps(side: str) -> tuple[np.ndarray, ...]:
    """Non-negative maps with some dead cells; the first probe is a part of the first gallery image."""
    rng = np.random.default_rng(len(side))
    found = [np.maximum(rng.standard_normal((*size, D)), 0).astype(np.float32) for size in SIZES[side]]
    if side == "probes":
        found[0] = maps("gallery")[0][:3, :2].copy()
    return tuple(found)


@functools.cache
def exact(scales: tuple[int, ...] = (1, 2), l1: float = 0.4) -> np.ndarray:
    return np.array([[oracles.distance(p, [g], scales=scales, l1=l1) for g in maps("gallery")] for p in maps("probes")])


def distances(probes=None, gallery=None, **options) -> match.Distances:
    options = {"scales": (1, 2), "coder": "active_set", **options}
    if isinstance(gallery, match.Gallery):
        del options["scales"]
    return match.distances(
        list(maps("probes")) if probes is None else probes,
        list(maps("gallery")) if gallery is None else gallery,
        **options,
    )


def same(first: match.Distances, second: match.Distances, **tolerance: float) -> None:
    for name in ("distance", "lower", "upper", "gap"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), **tolerance)


# Right


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
def test_distances_are_exact_and_certified(coder):
    found = distances(coder=coder)
    assert found.distance.shape == (3, 5) and found.distance.dtype == np.float32 and found.coder == coder
    np.testing.assert_allclose(found.distance, exact(), atol=1e-5 if table.SOLVERS[coder].exact else 1e-3)
    assert np.all(found.lower <= exact()) and np.all(exact() <= found.upper)
    assert np.all(found.lower <= found.distance) and np.all(found.distance <= found.upper)
    assert found.gap.max() <= 2e-6
    assert found.distance[0].argmin() == 0, "a part of the first image is nearest to it"


@pytest.mark.parametrize("pooling", blocks.POOLINGS)
def test_scales_poolings_and_weights(pooling):
    for scales, probe_scales, l1 in [((1,), None, 0.4), ((1, 2, 3), (1,), 0.2)]:
        found = distances(scales=scales, probe_scales=probe_scales, l1=l1, pooling=pooling)
        expected = [
            [
                oracles.distance(p, [g], scales=scales, probe_scales=probe_scales, l1=l1, pooling=pooling)
                for g in maps("gallery")
            ]
            for p in maps("probes")
        ]
        np.testing.assert_allclose(found.distance, expected, atol=3e-6)


def test_ridge_is_the_closed_form():
    found = distances(coder="ridge", scales=(1,))
    for i, probe in enumerate(maps("probes")):
        for j, image in enumerate(maps("gallery")):
            x, y = oracles.blocks(probe), oracles.blocks(image)
            codes = np.linalg.solve(y @ y.T + 1e-3 * np.eye(len(y)), y @ x.T)
            expected = np.linalg.norm(x - codes.T @ y, axis=1).mean()
            np.testing.assert_allclose(found.distance[i, j], expected, atol=1e-4)
    assert np.isnan(found.lower).all() and np.isnan(found.upper).all() and np.isnan(found.gap).all()


def test_images_of_one_identity_are_one_dictionary():
    labels = ["b", "a", "b", "c", "a"]
    found = distances(identities=labels)
    assert found.identities == ("b", "a", "c") and found.distance.shape == (3, 3)
    for j, label in enumerate(found.identities):
        shots = [m for m, of in zip(maps("gallery"), labels, strict=True) if of == label]
        expected = [oracles.distance(p, shots, scales=(1, 2)) for p in maps("probes")]
        np.testing.assert_allclose(found.distance[:, j], expected, atol=2e-6)


# Whatever the maps come in


def test_arrays_of_every_kind():
    probe, image = maps("probes")[1], maps("gallery")[1]
    expected = distances([probe], [image])
    for kind in (np.asarray, jnp.asarray, lambda m: np.asarray(m, np.float64), np.asfortranarray, np.ndarray.tolist):
        given = kind(image)
        same(distances([kind(probe)], [given]), expected, rtol=1e-6)
        if not isinstance(given, list):
            same(distances(kind(probe), given), expected, rtol=1e-6)
    short = distances(probe.astype(ml_dtypes.bfloat16), jnp.asarray(image, jnp.bfloat16))
    np.testing.assert_allclose(short.distance, expected.distance, atol=0.02)
    np.testing.assert_allclose(distances([probe.astype(np.float16)], [image]).distance, expected.distance, atol=5e-3)


def test_arrays_of_four_dimensions_are_batches():
    batch = np.random.default_rng(0).random((3, 4, 2, D), np.float32)
    expected = distances(list(batch), list(batch))
    for kind in (np.asarray, jnp.asarray, tuple):
        same(distances(kind(batch), kind(batch)), expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e-37, 1e-20, 1e20, 1e36, 1e300])
def test_scale_of_a_map_does_not_matter(factor):
    expected = distances().distance
    wide = distances(
        [m.astype(np.float64) * factor for m in maps("probes")], [m / np.float32(7) for m in maps("gallery")]
    )
    np.testing.assert_allclose(wide.distance, expected, atol=2e-6)
    if 1e-38 < factor < 1e38:
        given = [m * np.float32(factor) for m in maps("gallery")]
        np.testing.assert_allclose(distances(gallery=given).distance, expected, atol=2e-6)


def test_order_of_gallery_positions_does_not_matter():
    image = maps("gallery")[0]
    order = np.random.default_rng(0).permutation(12)
    moved = image.reshape(12, D)[order].reshape(4, 3, D)
    first, second = (distances(gallery=[m], scales=(1,)) for m in (image, moved))
    np.testing.assert_allclose(first.distance, second.distance, atol=1e-6)


def test_integer_maps():
    probe = (maps("probes")[0] * 50).astype(np.int16)
    np.testing.assert_allclose(distances([probe]).distance, distances([probe.astype(np.float32)]).distance, atol=1e-7)


# Whatever the tiles


@pytest.mark.slow
@pytest.mark.parametrize("coder", [*CODERS, "ridge"])
def test_a_tiny_tile_gives_what_a_large_one_gives(coder):
    sides = [Entries.single(maps(side), scales=(1, 2), pooling="average") for side in ("probes", "gallery")]
    with pytest.raises(ValueError, match="max_bytes must be at least") as least:
        distances(coder=coder, max_bytes=1)
    smallest = int(str(least.value).split("at least ")[1].split()[0])
    if coder == "active_set":
        sizes = compiled.sizes(*(side.positions for side in sides), max_bytes=smallest, threads=2)
        assert sizes[:3] == (1, 1, 1)
    else:
        found = memory.sizes(*(side.positions for side in sides), coder=coder, max_bytes=smallest)
        assert found.entries == 1 and found.columns == memory.columns(padded.largest(sides[0].positions).blocks)
    small, large = distances(coder=coder, max_bytes=smallest), distances(coder=coder)
    np.testing.assert_allclose(small.distance, large.distance, atol=2e-6)
    if coder != "ridge":
        assert np.all(small.lower <= large.upper) and np.all(large.lower <= small.upper)
    with pytest.raises(ValueError, match="max_bytes must be at least"):
        distances(coder=coder, max_bytes=smallest - 1)


def test_grid_wastes_little_and_has_few_sizes():
    numbers = np.arange(1, 5000)
    rounded = np.array([padded.grid(int(n)) for n in numbers])
    assert np.all(rounded >= numbers) and np.all(rounded <= numbers * 1.25)
    assert len(np.unique(rounded)) <= 8 + 4 * 10


def test_tiles_hold_every_position_and_block():
    given = Entries(list(maps("gallery")), [[0, 2], [1], [3], [4]], (1, 2), "average")
    side = programs.side(
        padded.tile(given.positions, np.array([2, 0]), padded.largest(given.positions), slots=3),
        sharding.mesh(jax.devices()[:1]),
    )
    blocks = np.asarray(programs.blocks(side))
    for found, entry in zip(blocks, (2, 0, None), strict=True):
        own = [] if entry is None else given.groups[entry]
        expected = np.concatenate([np.zeros((0, D)), *(oracles.blocks(given.maps[i], scales=(1, 2)) for i in own)])
        np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-6)
        assert not found[len(expected) :].any()


# Galleries


@pytest.mark.parametrize("labels", [None, [3, 1, 3, 2, 1], ["b", "a", "b", "ü", "a"]], ids=["none", "int", "str"])
def test_gallery_saved_and_loaded(tmp_path, labels):
    built = match.Gallery.build(
        list(maps("gallery")), identities=labels, names=[f"{i}.png" for i in range(5)], scales=(1, 2), pooling="max"
    )
    built.save(tmp_path / "people.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["people.npz"], "nothing half-written stays"
    loaded = match.Gallery.load(tmp_path / "people.npz")
    for name in ("identities", "names", "scales", "pooling", "entries"):
        assert getattr(loaded, name) == getattr(built, name)
    for a, b in zip(loaded.maps, built.maps, strict=True):
        np.testing.assert_array_equal(a, b)
    same(distances(gallery=loaded), distances(identities=labels, pooling="max"), rtol=0)


@pytest.mark.slow
def test_a_gallery_is_its_own():
    """What the caller does to its arrays afterwards is nothing to it."""
    given = np.stack([m for m in maps("gallery") if m.shape == (4, 3, D)])
    built = match.Gallery.build(given, scales=(1,))
    before = match.search(maps("probes")[0], built, 2)
    given[:] = 7
    np.testing.assert_array_equal(match.search(maps("probes")[0], built, 2).distance, before.distance)


def test_gallery_keeps_a_path_as_given(tmp_path):
    match.Gallery.build(np.ones((2, 2, 3))).save(tmp_path / "people")
    assert match.Gallery.load(str(tmp_path / "people")).entries == 1


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_gallery(tmp_path, keep):
    path = tmp_path / "people.npz"
    match.Gallery.build(list(maps("gallery"))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="people.npz"):
        match.Gallery.load(path)


def test_files_that_are_no_gallery(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    np.savez(tmp_path / "weights.npz", kernel=np.ones(3))
    np.savez(tmp_path / "half.npz", values=np.ones(8), shapes=[[2, 2, 2]])
    np.savez(tmp_path / "short.npz", values=np.ones(7), shapes=[[2, 2, 2]], scales=[1], pooling="average")
    for name in ("array.npy", "weights.npz", "half.npz", "short.npz", "missing.npz"):
        with pytest.raises(ValueError, match=f"must be a file that Gallery.save wrote.*{name}"):
            match.Gallery.load(tmp_path / name)


@pytest.mark.parametrize("scales", [[1.0, 2.0], np.array([1, 2]), range(1, 3)])
def test_scales_of_every_kind(scales):
    assert checks.as_scales("scales", scales) == (1, 2)


@pytest.mark.parametrize("scales", [2, "12", (1, 1.5), (1, np.inf), (np.nan,), (None,), ("a",), np.ones((1, 1))])
def test_scales_that_are_none(scales):
    with pytest.raises(ValueError, match="probe_scales must be whole numbers >= 1"):
        checks.as_scales("probe_scales", scales)


@pytest.mark.parametrize("labels", [5, "ab", [1, "1"], [None, 1], [1.0, 2.5], np.zeros((2, 1), int)])
def test_labels_that_are_none(labels):
    with pytest.raises(ValueError, match="identities must be"):
        checks.as_labels("identities", labels, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, -1], r"identities\[1\] is -1, nobody"),
        (np.array([-1.0, 2.0]), r"identities\[0\] is -1, nobody"),
        (["a", "-1"], r"identities\[1\] is '-1', nobody"),
        (np.array([1, 2**63], np.uint64), r"identities\[1\] is 9223372036854775808"),
        ([1.0, np.nan], "identities must be all integers"),
        ([1, -2], r"identities\[1\] is -2: numbers must be 0"),
        (["a", "\u22121"], r"identities\[1\] is .*nobody"),
        (["a", "-1.0"], r"identities\[1\] is '-1.0', nobody.*label != '-1.0'"),
        (["a", "nan"], r"identities\[1\] is 'nan', nobody"),
        (["a", " "], r"identities\[1\] is ' ', nobody"),
        (["1", "1.0"], "identities has '1' and '1.0' .*one written in two ways"),
        (["M\u00fcller", "Mu\u0308ller"], "one written in two ways"),
    ],
)
def test_labels_of_nobody(labels, message):
    """-1 is junk in every data set: two such images are not one person."""
    with pytest.raises(ValueError, match=message):
        distances(gallery=list(maps("gallery")[:2]), identities=labels)
    with pytest.raises(ValueError, match=message):
        match.Gallery.build(list(maps("gallery")[:2]), identities=labels)


def test_whole_floats_are_integers():
    gallery = match.Gallery.build(list(maps("gallery")), identities=np.array([3.0, 1, 3, 2, 1]))
    assert gallery.identities == (3, 1, 3, 2, 1) and all(isinstance(label, int) for label in gallery.identities)


class Tensor:
    """What torch gives, as far as `numpy.asarray` meets it."""

    def __init__(self, values, dtype="torch.float32", detached=False):
        self.values, self.dtype, self.detached = values, dtype, detached
        self.ndim = values.ndim

    def detach(self):
        return Tensor(self.values, self.dtype, True)

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values, detached=self.detached)

    def __array__(self, dtype=None, copy=None):
        if not self.detached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values

    def __iter__(self):
        return (Tensor(part, self.dtype) for part in self.values)


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_tensors_with_a_gradient_and_of_any_type(dtype):
    batch = np.random.default_rng(0).random((3, 4, 2, D), np.float32)
    expected = distances(batch, batch)
    same(distances(Tensor(batch, dtype), [Tensor(m, dtype) for m in batch]), expected, rtol=1e-6)
    same(distances(Tensor(batch[0], dtype), batch), distances(batch[0], batch), rtol=1e-6)


FIRST = "looks channels first.*np.moveaxis"


@pytest.mark.parametrize(
    "shape",
    [
        (512, 10, 3),
        (128, 16, 8),
        (2048, 12, 4),
        (256, 3, 9),
        (64, 24, 8),
        (128, 8, 16),
        (32, 8, 4),
        (16, 6, 4),
        (512, 1, 1),
    ],
)
def test_channels_first_is_named(shape):
    wrong, right = np.random.default_rng(0).random((2, *shape)), np.ones((2, 1, 1, shape[2]))
    for given in (wrong, list(wrong), wrong[0]):
        with pytest.raises(ValueError, match="probe_maps.*" + FIRST):
            distances(given, right)
        with pytest.raises(ValueError, match="gallery_maps.*" + FIRST):
            distances(right, given)
        with pytest.raises(ValueError, match="gallery_maps.*" + FIRST):
            match.Gallery.build(given)
    turned = np.moveaxis(wrong, 1, -1)
    assert distances(turned, turned).distance.shape == (2, 2)


def test_channels_first_of_several_sizes_is_named():
    with pytest.raises(ValueError, match=r"probe_maps\[1\] has 5 channels.*\(d, h, w\), .*np.moveaxis"):
        distances([np.ones((8, 4, 6)), np.ones((8, 4, 5))], [np.ones((4, 4, 6))])


@pytest.mark.parametrize(
    "shape", [(10, 3, 512), (64, 32, 40), (24, 8, 16), (5, 1, 4), (1, 1, 6), (3, 2, 6), (8, 4, 4), (37, 37, 384)]
)
def test_plausible_shapes_are_taken(shape):
    m = np.random.default_rng(0).random(shape)
    assert distances(m, m, scales=(1,)).distance.shape == (1, 1)


def test_masked_arrays_hide_their_positions():
    probe, image = (np.random.default_rng(seed).random((6, 3, 16)) for seed in (0, 1))
    hidden = np.broadcast_to(np.arange(6)[:, None, None] >= 2, probe.shape)
    found = distances(np.ma.masked_array(probe, mask=hidden), image, scales=(1,))
    np.testing.assert_allclose(found.distance, distances(probe[:2], image, scales=(1,)).distance, atol=1e-6)
    assert found.counted.round(6).tolist() == [0.333333]


def test_channels_padded_as_the_error_says_change_nothing():
    m = np.random.default_rng(0).random((2, 18, 3, 2))
    with pytest.raises(ValueError, match="pad d with zeros to 18, which changes no distance"):
        distances(m, m)
    padded = [np.pad(m, ((0, 0), (0, 0), (0, 0), (0, extra))) for extra in (16, 30)]
    few, many = (distances(m, m) for m in padded)
    assert (few.lower <= many.upper).all() and (many.lower <= few.upper).all()
    np.testing.assert_allclose(few.distance, many.distance, atol=1e-6)


def test_a_gallery_may_be_the_probes():
    probes = match.Gallery.build(list(maps("probes")), identities=[0, 0, 1], scales=(1,))
    same(distances(probes), distances())


# Errors


BAD = [
    ([], {}, "probe_maps is empty"),
    (np.ones((2, D)), {}, r"probe_maps\[0\] must be an \(h, w, d\) array"),
    (5.0, {}, "probe_maps must be"),
    ("maps.npy", {}, "probe_maps must be"),
    (None, {}, "probe_maps must be"),
    ([np.ones((2, 2, D)), np.ones((2, 2, D + 1))], {}, r"probe_maps\[1\] has 7 channels"),
    (np.ones((2, 2, D + 1)), {}, "same number of channels d, got 7 and 6"),
    ([np.ones((2, 2, D)), np.full((2, 2, D), np.nan)], {}, r"probe_maps\[1\] has 24 values that are NaN"),
    (np.full((2, 2, D), np.inf), {}, "NaN or infinite"),
    (np.ones((0, 2, D)), {}, "smaller than one block"),
    (np.ones((2, 2, D)), {"probe_scales": (3,)}, "smaller than one block of scales"),
    (np.ones((2, 2, D), complex), {}, "real numbers"),
    (np.full((2, 2, D), "a"), {}, "real numbers"),
    (np.ones((2, 2, D)), {"l1": 0}, "l1 must be a positive number, got 0"),
    (np.ones((2, 2, D)), {"l1": -1.0}, "l1 must be a positive number"),
    (np.ones((2, 2, D)), {"l1": np.nan}, "l1 must be a positive number"),
    (np.ones((2, 2, D)), {"l1": np.inf}, "l1 must be a positive number"),
    (np.ones((2, 2, D)), {"tol": 0.0}, "tol must be a positive number"),
    (np.ones((2, 2, D)), {"coder": "lars"}, "coder must be 'auto' or one of"),
    (np.ones((2, 2, D)), {"scales": ()}, "scales must be whole numbers"),
    (np.ones((2, 2, D)), {"scales": (0,)}, "scales must be whole numbers"),
    (np.ones((2, 2, D)), {"probe_scales": (0,)}, "probe_scales must be whole numbers"),
    (np.ones((2, 2, D)), {"identities": "abcde"}, "identities must be a sequence"),
    (np.ones((2, 2, D)), {"identities": [1, "1", 2, 3, 4]}, "identities must be all integers or all strings"),
    (np.ones((2, 2, D)), {"pooling": "sum"}, "pooling must be one of"),
    (np.ones((2, 2, D)), {"identities": ["a"]}, "identities must have one entry per gallery map, got 1 for 5"),
    (np.ones((2, 2, D)), {"max_bytes": 10}, "max_bytes must be at least"),
]


@pytest.mark.parametrize(("probes", "options", "words"), BAD, ids=[words for *_, words in BAD])
def test_errors_name_the_argument(probes, options, words):
    with pytest.raises(ValueError, match=words):
        match.distances(probes, list(maps("gallery")), **options)


@pytest.mark.parametrize("value", ["0.4", None, [0.4], np.ones(2), 0, -1, np.nan, np.inf, 1j, {}])
def test_numbers_that_are_none(value):
    with pytest.raises(ValueError, match="l1 must be a positive number, got .*; the paper uses 0.4"):
        checks.check_positive("l1", value, "the paper uses 0.4")


@pytest.mark.parametrize("value", [0.4, 1, np.float32(0.4), jnp.float32(0.4), np.array(0.4)])
def test_numbers_of_every_kind(value):
    checks.check_positive("l1", value, "")


def test_errors_of_the_gallery():
    with pytest.raises(ValueError, match="gallery_maps is empty"):
        match.distances(np.ones((2, 2, D)), [])
    with pytest.raises(ValueError, match=r"gallery_maps\[2\].*NaN"):
        match.distances(np.ones((2, 2, D)), [np.ones((2, 2, D))] * 2 + [np.full((2, 2, D), np.nan)])
    with pytest.raises(ValueError, match="names must have one entry per gallery map"):
        match.Gallery.build(list(maps("gallery")), names=["a.png"])
    with pytest.raises(ValueError, match="identities must be"):
        match.Gallery.build(list(maps("gallery")), identities=[None, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="identities belong to the Gallery"):
        distances(gallery=match.Gallery.build(list(maps("gallery"))), identities=[0] * 5)
    with pytest.raises(ValueError, match="scales belong to the Gallery"):
        match.distances(list(maps("probes")), match.Gallery.build(list(maps("gallery"))), scales=(1,))
    with pytest.raises(ValueError, match="pooling belong to the Gallery"):
        distances(gallery=match.Gallery.build(list(maps("gallery"))), pooling="max")


def test_auto_is_the_coder_of_this_machine():
    expected = "active_set" if jax.default_backend() == "cpu" else "homotopy"
    assert match.choose_coder("auto") == expected
    assert distances(coder="auto").coder == expected


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
def test_a_tolerance_below_precision_gives_what_is_reachable(coder):
    """Nothing certifies 1e-12 in float32: the distances are as good as ever, and the interval says how good."""
    found, usual = distances(coder=coder, tol=1e-12), distances(coder=coder)
    np.testing.assert_allclose(found.distance, usual.distance, atol=1e-6 if table.SOLVERS[coder].exact else 1e-3)
    assert (found.lower <= found.distance).all() and (found.distance <= found.upper).all()
    assert (found.gap > 1e-12).any() and (found.upper - found.lower > 0).any()
