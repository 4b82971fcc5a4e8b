"""Maps in a file: what was written comes back one by one, what is wrong is said by name, matching is the same."""

import json
import tracemalloc
import weakref
from collections.abc import Sequence

import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest

from dsr_jax import map_file, match
from dsr_jax.baselines import fusion
from dsr_jax.matching import streaming
from experiments import evaluate
from tests.runners import RANKS, call, metrics_of

SHAPES = [(4, 3, 8), (2, 5, 8), (1, 1, 8), (6, 2, 8)]
IDENTITIES, CAMERAS = [3, 3, -1, 7], [0, 1, 1, 0]
NAMES, ROLES = ["a.png", "b.png", "ü.png", "d.png"], ["probe", "gallery", "gallery", "gallery"]
LABELS = {"identities": IDENTITIES, "cameras": CAMERAS, "names": NAMES, "roles": ROLES}


def drawn(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random(shape, np.float32) ** 3 for shape in shapes]


@pytest.fixture
def path(tmp_path):
    map_file.write(tmp_path / "maps.npz", iter(drawn()), **LABELS)
    return tmp_path / "maps.npz"


# What is written and read


def test_everything_comes_back(path):
    found = map_file.read(path)
    assert found.maps.shapes == SHAPES and len(found.maps) == 4
    for own, expected in zip(found.maps, drawn(), strict=True):
        np.testing.assert_array_equal(own, expected)
    assert found.identities.tolist() == IDENTITIES and found.cameras.tolist() == CAMERAS
    assert found.names == tuple(NAMES) and found.roles == tuple(ROLES)
    gallery = found.side("gallery")
    assert gallery.names == tuple(NAMES[1:]) and gallery.maps.shapes == SHAPES[1:]
    np.testing.assert_array_equal(gallery.maps[-1], drawn()[3])
    np.testing.assert_array_equal(found.maps[1:3][0], drawn()[1])
    with pytest.raises(ValueError, match="role must be one of"):
        found.side("query")
    with pytest.raises(IndexError):
        found.maps[4]


def test_vectors_come_back_beside_the_maps(tmp_path, path):
    assert map_file.read(path).vectors is None
    vectors = np.random.default_rng(1).normal(size=(4, 5))
    map_file.write(tmp_path / "more.npz", drawn(), vectors=vectors, dtype="bfloat16", **LABELS)
    found = map_file.read(tmp_path / "more.npz")
    np.testing.assert_array_equal(found.vectors, vectors.astype(np.float32))
    np.testing.assert_array_equal(found.side("gallery").vectors, vectors[1:].astype(np.float32))
    assert found.digest != map_file.read(path).digest


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("bfloat16", 2**-8), ("float16", 2**-11)])
def test_types_on_disk(tmp_path, dtype, tolerance):
    map_file.write(tmp_path / "maps.npz", drawn(), identities=IDENTITIES, dtype=dtype)
    found = map_file.read(tmp_path / "maps.npz")
    for own, expected in zip(found.maps, drawn(), strict=True):
        assert own.dtype == np.float32
        np.testing.assert_allclose(own, expected, rtol=tolerance, atol=1e-7)
    assert found.roles == ("gallery",) * 4 and found.names == ("0", "1", "2", "3")
    assert found.cameras.tolist() == [-1] * 4


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_what_numpy_writes_is_read(tmp_path, save, dtype):
    """By the description of the format, without `write`."""
    arrays = {f"map_{i}": m.astype(dtype) for i, m in enumerate(drawn())}
    save(tmp_path / "maps.npz", identities=np.array(IDENTITIES), **arrays)
    for own, expected in zip(map_file.read(tmp_path / "maps.npz").maps, drawn(), strict=True):
        np.testing.assert_array_equal(own, expected.astype(dtype).astype(np.float32))


def test_whole_floats_are_integers(tmp_path):
    map_file.write(tmp_path / "maps.npz", drawn(), identities=[3.0, 3.0, -1.0, 7.0], cameras=np.array([0.0, 1, 1, 0]))
    found = map_file.read(tmp_path / "maps.npz")
    assert found.identities.tolist() == IDENTITIES and found.cameras.tolist() == CAMERAS


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("camera", "cameras"),
        ("camids", "cameras"),
        ("cam_id", "cameras"),
        ("pids", "identities"),
        ("role", "roles"),
        ("split", "roles"),
    ],
)
@pytest.mark.parametrize("beside", [True, False], ids=["beside", "instead"])
def test_arrays_called_nearly_right_are_an_error(tmp_path, name, wanted, beside):
    labels = {"identities": np.array(IDENTITIES), "cameras": np.array(CAMERAS), "roles": np.array(ROLES)}
    if not beside:
        labels.pop(wanted)
    arrays = {f"map_{i}": m for i, m in enumerate(drawn())} | labels | {name: np.zeros(4, int)}
    np.savez(tmp_path / "maps.npz", **arrays)
    with pytest.raises(ValueError, match=f"maps.npz.*array '{name}' is not read, '{wanted}' is: rename it"):
        map_file.read(tmp_path / "maps.npz")


def test_labels_in_the_place_of_identities(tmp_path):
    arrays = {f"map_{i}": m for i, m in enumerate(drawn())}
    np.savez(tmp_path / "maps.npz", **arrays, labels=np.array(IDENTITIES))
    with pytest.raises(ValueError, match="has no array 'identities': rename 'labels'"):
        map_file.read(tmp_path / "maps.npz")


def test_other_arrays_are_named(tmp_path):
    arrays = {f"map_{i}": m for i, m in enumerate(drawn())} | {"identities": np.array(IDENTITIES)}
    np.savez(tmp_path / "maps.npz", **arrays, age=np.zeros(4), map_of_city=np.zeros(2))
    with pytest.warns(UserWarning, match="arrays that are not read: age, map_of_city; read are identities, cameras"):
        assert len(map_file.read(tmp_path / "maps.npz").maps) == 4


def test_maps_turned_by_numpy_are_named(tmp_path):
    arrays = {f"map_{i}": np.moveaxis(m, -1, 0) for i, m in enumerate(drawn([(4, 3, 16)] * 2))}
    np.savez(tmp_path / "maps.npz", identities=np.array([0, 1]), **arrays)
    with pytest.raises(ValueError, match=r"maps.npz'?: map_0 of shape \(16, 4, 3\) looks channels first"):
        map_file.read(tmp_path / "maps.npz")


def test_float16_keeps_every_direction(tmp_path):
    """Small channels of a position may vanish, the position must not."""
    m = drawn()[0].copy()
    m[0, 0, 1:] = 1e-9
    map_file.write(tmp_path / "maps.npz", [m], identities=[0], dtype="float16")
    (back,) = map_file.read(tmp_path / "maps.npz").maps
    assert match.distances(back, m).distance < match.distances(m, m).distance + 1e-3


def test_what_is_written_numpy_reads(path):
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["map_3"], drawn()[3])
        assert archive["roles"].tolist() == ROLES


def test_no_more_than_a_map_is_held(tmp_path):
    """Neither in writing nor in reading: 64 maps of 1 MB, in less than 8."""
    alive, most = [], 0

    def stream():
        nonlocal most
        for i in range(64):
            values = np.full((16, 8, 2048), i, np.float32)
            alive.append(weakref.ref(values))
            most = max(most, sum(one() is not None for one in alive))
            yield values

    tracemalloc.start()
    try:
        map_file.write(tmp_path / "maps.npz", stream(), identities=range(64), dtype="bfloat16")
        assert sum(float(m[0, 0, 0]) for m in map_file.read(tmp_path / "maps.npz").maps) == sum(range(64))
        assert tracemalloc.get_traced_memory()[1] < 8e6 and most <= 2
    finally:
        tracemalloc.stop()


def test_the_digest_is_of_the_contents(tmp_path, path):
    again = tmp_path / "again.npz"
    map_file.write(again, drawn(), **LABELS)
    assert map_file.read(again).digest == map_file.read(path).digest
    map_file.write(again, drawn(), **LABELS | {"cameras": [0, 1, 1, 1]})
    others = map_file.read(again).digest
    map_file.write(again, drawn(seed=1), **LABELS)
    assert len({others, map_file.read(again).digest, map_file.read(path).digest}) == 3


# What is refused


def changed(i, value):
    maps = [np.array(m, np.float64) for m in drawn()]
    maps[i] = value(maps[i])
    return maps


def nan(values):
    values[0, 0, 1:3] = np.nan, np.inf
    return values


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [
        (changed(1, nan), {}, r"maps\[1\] \(b.png\) has 2 values that are NaN or infinite"),
        (changed(2, lambda m: m[0]), {}, r"maps\[2\] \(ü.png\) must be an \(h, w, d\) array, got shape \(1, 8\)"),
        (changed(3, lambda m: m[..., :5]), {}, r"maps\[3\] \(d.png\) has 5 channels, the map before it 8"),
        (changed(3, lambda m: m[:0]), {}, r"maps\[3\] .*of shape \(0, 2, 8\) is empty"),
        (changed(0, lambda m: m + 0j), {}, r"maps\[0\] .* must hold real numbers, got dtype complex128"),
        (changed(0, lambda m: m * 1e300), {}, r"maps\[0\] .*has \d+ values that are NaN or infinite"),
        (drawn()[:3], {}, "identities must have one entry per map, got 4 for 3 maps"),
        ([*drawn(), drawn()[0]], {}, "identities must have one entry per map, got 4 for 5 maps"),
        (drawn(), {"identities": ["a", "b", "c", "d"]}, "identities must be integers, got <U1"),
        (drawn(), {"identities": [1.0, 2.5, 3, 4]}, "identities must be integers, got float64"),
        (drawn(), {"cameras": [0.5] * 4}, "cameras must be integers"),
        (drawn(), {"identities": [1.0, np.nan, 2, 3]}, r"identities\[1\] is NaN, as are 1 of 4"),
        (drawn(), {"identities": np.array([1, 2, 3, 2**64 - 1], np.uint64)}, "identities must fit into 64 bits"),
        (drawn(), {"identities": [-2, 1, 2, 3]}, "identities must be whole numbers >= 0, or -1 for unknown, got -2"),
        (drawn(), {"cameras": [0, 1, -7, 0]}, "cameras must be whole numbers >= 0, or -1 for unknown, got -7"),
        (drawn(), {"cameras": [1e19, 0, 0, 0]}, "cameras must fit into 64 bits"),
        ([np.ones((16, 4, 3))] * 4, {}, r"maps\[0\] .* looks channels first"),
        (
            changed(1, lambda m: m * 1e-8),
            {"dtype": "float16"},
            r"float16 loses 10 positions of the map of b.png.*bfloat16",
        ),
        (drawn(), {"vectors": np.ones((3, 5))}, r"vectors must be .*shape \(3, 5\) for 4 maps"),
        (drawn(), {"vectors": np.ones((4, 1, 5))}, r"vectors must be .*shape \(4, 1, 5\)"),
        (drawn(), {"vectors": np.full((4, 2), np.nan)}, "vectors has 8 values that are NaN"),
        (drawn(), {"cameras": [0, 1]}, r"cameras must have one entry per map, got shape \(2,\) for 4 maps"),
        (drawn(), {"names": ["a"]}, "names must have one entry per map"),
        (drawn(), {"roles": ["probe", "gallery", "query", "train"]}, "roles must be .*got 'query', 'train'"),
        (drawn(), {"dtype": "int8"}, "dtype must be one of"),
        (changed(0, lambda m: m * 1e6), {"dtype": "float16"}, "dtype float16 cannot hold the map of a.png"),
        ([], {"identities": [], "cameras": [], "names": [], "roles": []}, "got 0 for 0 maps"),
    ],
)
def test_what_cannot_be_written_is_named_and_leaves_the_old_file(path, maps, labels, message):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        map_file.write(path, maps, **LABELS | labels)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_network_that_fails_leaves_nothing(tmp_path):
    def stream():
        yield drawn()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_file.write(tmp_path / "maps.npz", stream(), **LABELS)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"a maps file is an .npz"):
        map_file.write(tmp_path / "maps.h5", drawn(), **LABELS)


ARRAYS = {**{f"map_{i}": m for i, m in enumerate(drawn())}, "identities": np.array(IDENTITIES)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": None}, "4 maps but no identities"),
        ({"map_1": None}, "3 maps but no map_1"),
        ({"identities": np.array(["a"] * 4)}, "identities must be integers"),
        ({"identities": np.arange(5)}, r"identities must have one entry per map, got shape \(5,\) for 4 maps"),
        ({"identities": np.array([{}] * 4, object)}, "not a whole file of maps"),
        ({"vectors": np.ones((5, 2))}, r"vectors must be .*shape \(5, 2\) for 4 maps"),
        ({"map_2": np.ones((2, 2, 9), np.float32)}, "map_2 has 9 channels, the map before it 8: d must be one"),
        ({"map_2": np.ones((2, 8), np.float32)}, r"map_2 must be an \(h, w, d\) array, got shape \(2, 8\)"),
        ({"map_2": np.ones((0, 2, 8), np.float32)}, r"map_2 must be an \(h, w, d\) array"),
        ({"map_2": np.ones((2, 2, 8), np.int64)}, "map_2 must hold floating point numbers, got dtype int64"),
        ({"roles": np.array(["train"] * 4)}, "roles must be 'probe' or 'gallery', got 'train'"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, change, message):
    np.savez(tmp_path / "x.npz", **{name: x for name, x in {**ARRAYS, **change}.items() if x is not None})
    with pytest.raises(ValueError, match=f"maps file .*x.npz.*{message}"):
        map_file.read(tmp_path / "x.npz")


def test_a_missing_file_and_a_map_that_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="none.npz' does not exist"):
        map_file.read(tmp_path / "none.npz")
    np.savez(tmp_path / "x.npz", **{**ARRAYS, "map_2": np.full((2, 2, 8), np.nan)})
    found = map_file.read(tmp_path / "x.npz")
    assert found.maps[1].shape == SHAPES[1]
    with pytest.raises(ValueError, match="x.npz.*map_2 has 32 values that are NaN or infinite"):
        found.maps[2]


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.data())
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "maps.npz"
    map_file.write(path, drawn(), **LABELS)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match="maps.npz' is not a whole file of maps"):
        map_file.read(path)


@pytest.mark.parametrize("place", [0, -3])
def test_a_changed_byte_is_an_error_of_its_map(tmp_path, place):
    maps, path = drawn([(20, 8, 64)] * 3), tmp_path / "maps.npz"
    map_file.write(path, maps, identities=[1, 2, 3])
    content, values = path.read_bytes(), maps[1].tobytes()
    wrong = bytearray(values)
    wrong[place] ^= 1
    path.write_bytes(content.replace(values, bytes(wrong)))
    found = map_file.read(path)
    np.testing.assert_array_equal(found.maps[0], maps[0])
    with pytest.raises(ValueError, match="map_1 is damaged .*write it again"):
        found.maps[1]


# Matching part by part


@pytest.mark.parametrize("identities", [None, [5, 7, 5, 9, 7, 5, 2]])
@pytest.mark.parametrize("part_bytes", [1, 2000, 1 << 28])
def test_parts_have_the_distances_of_the_whole(identities, part_bytes):
    probes, gallery = drawn(SHAPES), drawn([*SHAPES, *SHAPES[:3]], seed=1)
    whole = match.distances(probes, gallery, identities=identities, scales=(1, 2))
    parts = streaming.distances(probes, gallery, identities=identities, scales=(1, 2), part_bytes=part_bytes)
    assert parts.identities == whole.identities and parts.coder == whole.coder
    np.testing.assert_allclose(parts.distance, whole.distance, atol=1e-5)
    assert (parts.lower <= whole.upper + 1e-6).all() and (whole.lower <= parts.upper + 1e-6).all()


@pytest.mark.slow
def test_no_more_than_the_parts_are_held():
    alive = []

    class Lazy(Sequence):
        most = 0

        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def __getitem__(self, i):
            values = drawn([(4, 3, 8)], seed=i)[0]
            alive.append(weakref.ref(values))
            Lazy.most = max(Lazy.most, sum(one() is not None for one in alive))
            return values

    streaming.distances(Lazy(20), Lazy(40), scales=(1,), part_bytes=2 * 384)
    assert Lazy.most <= 8, "a part of two of each side matched, another read"


def test_what_cannot_be_matched_in_parts_is_refused():
    with pytest.raises(ValueError, match="dictionary must be 'image' here"):
        streaming.distances(drawn(), drawn(), dictionary="joint")
    with pytest.raises(ValueError, match="part_bytes must be at least 1"):
        streaming.distances(drawn(), drawn(), part_bytes=0)
    with pytest.raises(ValueError, match="maps on both sides, got 0 probes"):
        streaming.distances([], drawn())
    with pytest.raises(ValueError, match="identities must have one entry per gallery map"):
        streaming.distances(drawn(), drawn(), identities=[1])


# Evaluated


def people(path, **labels):
    """Six people, each a probe and a gallery map of which the probe is a noisy part."""
    rng = np.random.default_rng(0)
    gallery = [rng.random((6, 3, 16), np.float32) ** 4 for _ in range(6)]
    probes = [m[2:] + rng.normal(0, 0.02, (4, 3, 16)).astype(np.float32) for m in gallery]
    both = {"identities": [*range(6)] * 2, "cameras": [0] * 6 + [1] * 6, "roles": ["probe"] * 6 + ["gallery"] * 6}
    map_file.write(path, [*probes, *gallery], **both | labels)
    return probes, gallery


def run_evaluate(path, workdir, *arguments, methods="global_average,dsr_single,dsr_multi,ridge_single", code=0):
    small = ("--trials=1", "--noprogress", f"--methods={methods}", f"--workdir={workdir}")
    assert call(evaluate, f"--maps={path}", *small, *arguments) == code
    return metrics_of(workdir) if code == 0 else {}


@pytest.mark.slow
def test_an_evaluation_of_a_file(tmp_path):
    probes, gallery = people(tmp_path / "maps.npz")
    found = run_evaluate(tmp_path / "maps.npz", tmp_path / "out")
    assert found["dsr_multi/shots1/rank1"] == 100.0 and found["probes"] == 6
    assert {f"dsr_single/shots1/rank{k}" for k in RANKS} <= found.keys()
    with np.load(tmp_path / "out" / "distances" / "dsr_multi-shots1.npz") as file:
        np.testing.assert_allclose(file["distances_0"], match.distances(probes, gallery).distance, atol=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())["flags"]
    assert config["data"] == map_file.read(tmp_path / "maps.npz").digest
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "maps of maps.npz" in page and "synthetic" not in page.split("config")[0]


def test_the_same_contents_elsewhere_go_on_and_others_do_not(tmp_path, capsys):
    people(tmp_path / "maps.npz")
    first = run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single")
    (tmp_path / "maps.npz").rename(tmp_path / "moved.npz")
    again = run_evaluate(tmp_path / "moved.npz", tmp_path / "out", methods="dsr_single,global_average")
    assert {key: again[key] for key in first} == first
    people(tmp_path / "maps.npz", cameras=[0] * 6 + [2] * 6)
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", code=1)
    assert "belongs to another configuration (--data:" in capsys.readouterr().err


def test_cameras_may_be_unknown(tmp_path):
    people(tmp_path / "maps.npz", cameras=None)
    assert run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single")["dsr_single/shots1/rank1"] == 100


def test_probes_without_an_answer_are_left_out_and_told(tmp_path, capsys):
    people(tmp_path / "maps.npz", identities=[*range(6), *range(1, 7)], names=[f"{i}.png" for i in range(12)])
    assert run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single")["probes"] == 5
    assert "1 probes without a right answer are left out: 0.png" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["resizing", "swm", "amc", "amc_swm"])
def test_methods_that_look_at_pictures_are_refused_by_name(tmp_path, capsys, name):
    people(tmp_path / "maps.npz")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods=f"dsr_single,{name}", code=1)
    assert f"methods {name} look at pictures, which a file of maps has not" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flag", ["--weights=x.npz", "--size=64,32", "--partial=none", "--dataset=folder", "--ranked_lists=2"]
)
def test_flags_of_pictures_are_refused_by_name(tmp_path, capsys, flag):
    people(tmp_path / "maps.npz")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", flag, methods="dsr_single", code=1)
    assert f"{flag[2:].partition('=')[0]} has no effect on the maps of a file" in capsys.readouterr().err


@pytest.mark.parametrize("shots", [1, 2])
def test_own_vectors_are_compared_by_their_cosine(tmp_path, shots):
    rng = np.random.default_rng(3)
    maps = drawn([(3, 2, 8)] * 18)
    labels = {"identities": [*range(6)] * 3, "cameras": [0] * 6 + [1] * 12, "roles": ["probe"] * 6 + ["gallery"] * 12}
    vectors = rng.normal(size=(18, 7))
    map_file.write(tmp_path / "maps.npz", maps, vectors=vectors, **labels)
    found = run_evaluate(tmp_path / "maps.npz", tmp_path / "out", f"--shots={shots}", methods="own_vector")
    with np.load(tmp_path / "out" / "distances" / f"own_vector-shots{shots}.npz") as file:
        distances, images = file["distances_0"], file["images_0"].reshape(6, shots)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = 1 - np.einsum("pe,gse->pgs", unit[:6], unit[6:][images]).max(axis=2)  # the nearest of several
    np.testing.assert_allclose(distances, expected, atol=1e-6)
    nearest = expected.argmin(axis=1) == np.arange(6)
    assert found[f"own_vector/shots{shots}/rank1"] == pytest.approx(100 * nearest.mean())


def test_a_fusion_with_own_vectors_is_of_stored_distances(tmp_path):
    maps = drawn([(3, 2, 8)] * 18)
    labels = {"identities": [*range(6)] * 3, "cameras": [0] * 6 + [1] * 12, "roles": ["probe"] * 6 + ["gallery"] * 12}
    map_file.write(tmp_path / "maps.npz", maps, vectors=np.random.default_rng(3).normal(size=(18, 7)), **labels)
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_multi+own_vector")
    kept = {}
    for name in ("dsr_multi", "own_vector", "dsr_multi+own_vector"):
        with np.load(tmp_path / "out" / "distances" / f"{name}-shots1.npz") as file:
            kept[name] = file["distances_0"]
    expected = fusion.standardised(kept["dsr_multi"], kept["own_vector"])
    np.testing.assert_allclose(kept["dsr_multi+own_vector"], expected, atol=1e-6)


def test_own_vectors_are_refused_where_there_are_none(tmp_path, capsys):
    people(tmp_path / "maps.npz")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single,own_vector", code=1)
    assert "maps.npz has none: give map_file.write vectors=" in capsys.readouterr().err
    people(tmp_path / "maps.npz", vectors=np.eye(12, 7))
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="own_vector", code=1)
    assert "maps.npz has vectors that are zero: 7, 8, 9, 10, 11" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_files_stop_an_evaluation_before_anything_is_written(tmp_path, capsys):
    people(tmp_path / "maps.npz", roles=["gallery"] * 12)
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single", code=1)
    assert "has no probe maps" in capsys.readouterr().err
    people(tmp_path / "maps.npz", identities=range(12))
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single", code=1)
    assert "identit" in capsys.readouterr().err
    (tmp_path / "maps.npz").write_bytes((tmp_path / "maps.npz").read_bytes()[:-10])
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single", code=1)
    assert "is not a whole file of maps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_map_that_is_no_number_stops_an_evaluation_by_name(tmp_path, capsys):
    bad = {f"map_{i}": np.full((3, 2, 4), np.nan if i == 3 else i + 1.0) for i in range(4)}
    roles = np.array(["probe", "probe", "gallery", "gallery"])
    np.savez(tmp_path / "x.npz", identities=np.array([1, 2, 1, 2]), cameras=np.array([0, 0, 1, 1]), roles=roles, **bad)
    run_evaluate(tmp_path / "x.npz", tmp_path / "out", methods="dsr_single", code=1)
    assert "map_3 has 24 values that are NaN or infinite" in capsys.readouterr().err


def test_hidden_positions_are_told_and_probes_of_nothing_named(tmp_path, capsys):
    maps = drawn([(4, 2, 8)] * 4)
    maps[0][1:] = 0
    labels = {"identities": [0, 1, 0, 1], "roles": ["probe", "probe", "gallery", "gallery"], "names": NAMES}
    path = tmp_path / "maps.npz"
    map_file.write(path, maps, **labels)
    command = (f"--maps={path}", "--methods=dsr_single", "--trials=1", "--noprogress")
    assert call(evaluate, *command, f"--workdir={tmp_path / 'a'}") == 0
    told = "1 of 2 probes have positions that are zero (masked, or dead in the network), of a.png 75 %"
    assert told in capsys.readouterr().out and told in (tmp_path / "a" / "report" / "index.html").read_text()
    maps[1][:] = 0
    map_file.write(path, maps, **labels)
    assert call(evaluate, *command, f"--workdir={tmp_path / 'b'}") == 1
    assert "the maps of 1 probes are zero everywhere, there is nothing to compare: b.png" in capsys.readouterr().err
