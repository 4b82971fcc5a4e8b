"""A gallery on disk: what was written comes back, is searched as in memory, and changes whole or not at all."""

import threading
from datetime import UTC, datetime

import lance
import numpy as np
import pyarrow as pa
import pytest

from dsr_jax import match
from dsr_jax.gallery import description, place, table
from dsr_jax.matching import coarse, comparison, parts
from tests import disks

SHAPES = [(4, 3, 8), (2, 5, 8), (9, 1, 8), (6, 2, 8), (8, 4, 8), (3, 3, 8)]
NAMES = ["a.png", "b.png", "ü.png", "d'd.png", "e.png", "f.png"]
IDENTITIES, CAMERAS, TIMES = [3, 3, 5, 7, 5, 3], [0, 1, 1, -1, 0, 2], [1.5, None, 3.0, 4.0, 5.0, 6.0]
NETWORK = {"sha256": "0b1c", "size": [256, 128]}


def drawn(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random(shape, np.float32) ** 3 for shape in shapes]


def made(folder, count=None, **options):
    maps = drawn()[:count]
    how = {"names": NAMES[:count], "identities": IDENTITIES[:count], "dtype": "float32"} | options
    return match.Gallery.create(folder, iter(maps), **how)


@pytest.fixture
def folder(tmp_path):
    made(tmp_path / "people", cameras=CAMERAS, times=TIMES)
    return tmp_path / "people"


def content(folder, **options):
    """All of a gallery, to compare it with what it was."""
    found = match.Gallery.open(folder, **options)
    maps = {name: m.tobytes() for name, m in zip(found.names, found.maps, strict=True)}
    return maps, dict(zip(found.names, found.people, strict=True))


# What is written and read


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("bfloat16", 2**-8), ("float16", 2**-11)])
def test_everything_comes_back(tmp_path, dtype, tolerance):
    vectors = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    masks = [None, (np.arange(10).reshape(2, 5) % 3 > 0).astype(int), None, None, np.eye(8, 4, dtype=bool), None]
    beside = {"vectors": iter(vectors), "masks": iter(masks), "cameras": CAMERAS, "times": TIMES, "dtype": dtype}
    made(tmp_path / "people", network=NETWORK, **beside)
    some = match.Gallery.open(tmp_path / "people").where(names=["b.png", "e.png"])
    np.testing.assert_array_equal(some.vectors, vectors[[1, 4]])
    assert [mask.tolist() for mask in some.masks] == [masks[1].tolist(), masks[4].tolist()]
    found = match.Gallery.open(tmp_path / "people", network=NETWORK)
    assert isinstance(found, match.Gallery) and found.names == tuple(NAMES) and found.identities == tuple(IDENTITIES)
    assert found.entries == 3 and found.labels == (3, 5, 7) and found.scales == (1, 2, 3) and found.channels == 8
    assert found.cameras.tolist() == CAMERAS and found.network == NETWORK and found.version == 1
    np.testing.assert_array_equal(found.times, np.array(TIMES, float))
    np.testing.assert_array_equal(found.vectors, vectors)
    for mask, wanted, shape in zip(found.masks, masks, SHAPES, strict=True):
        np.testing.assert_array_equal(mask, np.ones(shape[:2], bool) if wanted is None else wanted)
    assert found.maps.shapes.tolist() == [list(shape) for shape in SHAPES] and len(found.maps) == 6
    for m, wanted, mask in zip(found.maps, drawn(), found.masks, strict=True):
        assert m.dtype == np.float32
        np.testing.assert_allclose(m, wanted * mask[..., None], rtol=tolerance, atol=1e-7)
    np.testing.assert_array_equal(found.maps[2:4][-1], found.maps[3])
    with pytest.raises(IndexError):
        found.maps[6]
    assert repr(found) == f"StoredGallery({str(tmp_path / 'people')!r}, version 1, 6 maps)"


def test_stripes_are_those_of_the_unmasked_maps(tmp_path):
    masks = [None] * 4 + [np.arange(32).reshape(8, 4) % 4 > 0, None]
    found = np.concatenate(list(made(tmp_path / "people", masks=masks).stripes()))
    shown = [m if mask is None else m * mask[..., None] for m, mask in zip(drawn(), masks, strict=True)]
    assert found.shape == (6, 8, 8)
    for stripes, m in zip(found, shown, strict=True):
        wanted = coarse.stripes(m)[:, 0]
        np.testing.assert_allclose(stripes[: len(wanted)], wanted, atol=1e-3)
        assert (stripes[len(wanted) :] == stripes[len(wanted) - 1]).all()
    chosen = match.Gallery.open(tmp_path / "people").where(names=["e.png", "b.png"])
    np.testing.assert_array_equal(np.concatenate(list(chosen.stripes())), found[[1, 4]])


@pytest.mark.parametrize("grouped", [True, False], ids=["identities", "maps"])
def test_distances_and_searches_are_those_of_memory(folder, monkeypatch, grouped):
    built = match.Gallery.build(drawn(), names=NAMES, identities=IDENTITIES if grouped else None, scales=(1, 2))
    stored = match.Gallery.open(folder, grouped=grouped, scales=(1, 2))
    whole = parts.in_memory
    monkeypatch.setattr(comparison.parts, "in_memory", lambda entries: whole(entries, 4 * 8 * 40))
    probe = drawn([(3, 2, 8)], seed=5)[0]
    wanted, found = match.distances(probe, built), match.distances(probe, stored)
    np.testing.assert_allclose(found.distance, wanted.distance, atol=1e-6)
    assert found.identities == wanted.identities
    wanted, found = match.search(probe, built, 2), match.search(probe, stored, 2)
    assert (found.names, found.identities) == (wanted.names, wanted.identities)
    assert found.certified.tolist() == wanted.certified.tolist() == [True, True]
    whole_map = match.explain(probe, match.Gallery.open(folder, grouped=False, scales=(1, 2)).where(names=["e.png"]))
    np.testing.assert_allclose(whole_map.codes, match.explain(probe, drawn()[4], scales=(1, 2)).codes, atol=1e-5)
    as_probes = match.distances(stored, built).distance
    np.testing.assert_allclose(as_probes, match.distances(drawn(), built).distance, atol=1e-6)


def test_a_gallery_on_disk_is_saved_as_one_in_memory(folder, tmp_path):
    match.Gallery.open(folder).where(cameras=[0, 1]).save(tmp_path / "part.npz")
    found = match.Gallery.load(tmp_path / "part.npz")
    assert found.names == ("a.png", "b.png", "ü.png", "e.png") and found.identities == (3, 3, 5, 5)
    np.testing.assert_array_equal(found.maps[3], drawn()[4])


def test_times_may_be_datetimes(tmp_path):
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 7)]
    found = made(tmp_path / "people", times=moments)
    assert found.where(after=moments[2], before=moments[4]).names == tuple(NAMES[2:4])
    assert found.times[0] == moments[0].timestamp()


@pytest.mark.parametrize("part_bytes", [4 * 8 * 20, 1 << 28])
def test_masks_are_looked_at_as_in_memory(tmp_path, monkeypatch, part_bytes):
    rng, whole = np.random.default_rng(2), parts.in_memory
    masks = [rng.random(shape[:2]) < 0.7 for shape in SHAPES]
    built = match.Gallery.build(drawn(), names=NAMES, identities=IDENTITIES, masks=masks)
    stored = made(tmp_path / "people", masks=masks)
    monkeypatch.setattr(comparison.parts, "in_memory", lambda entries: whole(entries, part_bytes))
    probe = drawn([(3, 2, 8)], seed=5)[0]
    for gallery, wanted in ((stored, built), (stored.part([1, 2]), built.part([1, 2]))):
        distances = (match.distances(probe, one).distance for one in (gallery, wanted))
        np.testing.assert_allclose(*distances, atol=1e-6)
    np.testing.assert_allclose(
        match.distances(probe, built.part([1, 2])).distance, match.distances(probe, built).distance[:, 1:], atol=1e-6
    )


def test_filters(folder):
    found = match.Gallery.open(folder)
    assert found.masks is None
    assert found.where(cameras=[1, 2]).names == ("b.png", "ü.png", "f.png")
    assert found.where(identities=[5, 99]).names == ("ü.png", "e.png")
    assert found.where(after=3, before=5).names == ("ü.png", "d'd.png")
    assert found.where(before=100).where(cameras=[0]).names == ("a.png", "e.png")  # an unknown time is not before
    chosen = found.where(identities=[5]).where(cameras=[0])
    assert chosen.entries == 1 and chosen.maps.shapes.tolist() == [[8, 4, 8]] and chosen.cameras.tolist() == [0]
    np.testing.assert_array_equal(chosen.maps[0], drawn()[4])
    with pytest.raises(ValueError, match=r"cameras=\[9\]"):
        found.where(cameras=[9])
    with pytest.raises(ValueError, match="identities are of another kind"):
        found.where(identities=["three"])
    with pytest.raises(ValueError, match="names must be a sequence"):
        found.where(names="a.png")


# Changes


def test_each_change_is_a_version(folder):
    first = match.Gallery.open(folder)
    more = drawn([(5, 2, 8), (2, 2, 8)], seed=1)
    second = first.add(iter(more), names=["g.png", "h.png"], identities=[9, 3], cameras=[4, 5])
    assert second.names == (*NAMES, "g.png", "h.png") and second.cameras.tolist() == [*CAMERAS, 4, 5]
    third = second.replace(more[:1], names=["ü.png"], identities=[11])
    assert sorted(third.names) == sorted(second.names)
    placed = third.names.index("ü.png")
    np.testing.assert_array_equal(third.maps[placed], more[0])
    assert third.people[placed] == 11 and third.cameras[placed] == -1
    fourth = third.remove(names=["d'd.png", "g.png"])
    fifth = fourth.remove(identities=[3])
    assert fifth.names == ("e.png", "ü.png")
    kept = [(1, 6), (2, 8), (3, 8), (4, 6), (5, 2)]
    assert [(one.number, one.maps) for one in fifth.versions()] == kept
    assert [len(one.maps) for one in (first, second, third, fourth, fifth)] == [count for _, count in kept]
    for number, gallery in enumerate((first, second, third, fourth, fifth), start=1):
        again = match.Gallery.open(folder, version=number)
        assert again.names == gallery.names and again.people == gallery.people
        np.testing.assert_array_equal(again.maps[0], gallery.maps[0])
    assert first.refresh().version == 5
    back = fifth.restore(2)
    assert back.version == 6 and back.names == second.names
    np.testing.assert_array_equal(back.maps[7], more[1])


def test_notes_belong_to_a_version(folder):
    first = match.Gallery.open(folder)
    second = first.note("calibration", {"slope": [1.5, 2]}).note("other", "ü")
    third = second.remove(names=["a.png"]).note("other", None)
    assert first.notes == {} and second.notes == {"calibration": {"slope": [1.5, 2]}, "other": "ü"}
    assert third.notes == match.Gallery.open(folder).notes == {"calibration": {"slope": [1.5, 2]}}
    assert third.restore(1).notes == {}
    with pytest.raises(ValueError, match="note 'other' must be what JSON has"):
        first.note("other", np.ones(2))


def test_what_is_open_stays_as_it_is(folder):
    open_before = match.Gallery.open(folder)
    probe = drawn()[3]
    match.Gallery.open(folder).remove(names=NAMES[:5])
    assert match.search(probe, open_before, 1).names == ("d'd.png",)
    assert match.search(probe, open_before.refresh(), 1).names == ("f.png",)


def test_all_can_be_removed_and_others_added(folder):
    empty = match.Gallery.open(folder).remove(names=NAMES)
    assert empty.entries == 0 and match.Gallery.open(folder).names == ()
    with pytest.raises(ValueError, match="gallery_maps"):
        match.search(drawn()[0], empty, 1)
    assert empty.add(drawn()[:1], names=["a.png"], identities=[1]).names == ("a.png",)


def test_compact_drops_versions_and_what_was_removed(folder):
    gallery = match.Gallery.open(folder)
    for i in range(4):
        gallery = gallery.add(drawn([(15, 60, 8)], seed=i), names=[f"{i}"], identities=[20])
    gallery = gallery.remove(names=["0", "1", "2"])
    before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    names = gallery.names
    compacted = gallery.compact()
    assert compacted.names == names and len(compacted.versions()) == 1
    np.testing.assert_array_equal(compacted.maps[6], drawn([(15, 60, 8)], seed=3)[0])
    after = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert after < before - 3 * 15 * 60 * 8 * 4
    with pytest.raises(ValueError, match="version must be one of those"):
        gallery.restore(1)
    with pytest.raises(ValueError, match="keep must be"):
        gallery.compact(keep=0)


def test_versions_are_read_again_if_some_are_dropped_meanwhile(folder, monkeypatch):
    gallery, dropped = match.Gallery.open(folder), []

    def versions(self):
        if len(dropped) < 2:
            dropped.append(self)
            raise ValueError("Not found: 1.manifest")
        return [{"version": 7, "timestamp": datetime.now(UTC), "metadata": {"total_rows": "6"}}]

    monkeypatch.setattr(lance.LanceDataset, "versions", versions)
    assert [one.number for one in gallery.versions()] == [7]
    monkeypatch.setattr(table, "TIMES", 1)
    dropped.clear()
    with pytest.raises(ValueError, match="gallery .* is damaged"):
        gallery.versions()


# What is refused


def test_another_network_is_refused(tmp_path):
    made(tmp_path / "people", network=NETWORK)
    with pytest.raises(ValueError, match=r'network: .* \(sha256 is "0b1c" in the gallery, "ff" here\)'):
        match.Gallery.open(tmp_path / "people", network={**NETWORK, "sha256": "ff"})
    nameless = match.Gallery.open(tmp_path / "people")
    with pytest.raises(ValueError, match="network: .* name that of the new maps"):
        nameless.add(drawn()[:1], names=["new"], identities=[1])
    assert nameless.remove(names=["a.png"]).version == 2
    named = match.Gallery.open(tmp_path / "people", network=NETWORK)
    assert named.add(drawn()[:1], names=["new"], identities=[1]).version == 3
    made(tmp_path / "unsaid")
    with pytest.raises(ValueError, match="network: .* does not say which"):
        match.Gallery.open(tmp_path / "unsaid", network=NETWORK)
    with pytest.raises(ValueError, match="network must be"):
        match.Gallery.open(tmp_path / "unsaid", network="osnet")


def test_other_windows_must_fit_and_have_a_pooling(folder):
    assert match.Gallery.open(folder, scales=(1,), pooling="max").pooling == "max"
    with pytest.raises(ValueError, match=r"scales=\(2,\): a map .* 1 positions"):
        match.Gallery.open(folder, scales=(2,))
    with pytest.raises(ValueError, match="pooling must be one of"):
        match.Gallery.open(folder, pooling="sum")


def test_a_card_names_its_network(tmp_path):
    from dsr_jax import weights

    card = weights.Card(architecture="osnet", preprocessing="torch", sha256="0b1c", extra={"rank-1": 0.9})
    found = made(tmp_path / "people", network=card).network
    assert found["sha256"] == "0b1c" and found["preprocessing"] == "torch" and "extra" not in found
    with pytest.raises(ValueError, match="network is a card without sha256"):
        match.Gallery.open(tmp_path / "people", network=weights.Card())


def test_another_format_is_refused(tmp_path, monkeypatch):
    made(tmp_path / "people")
    monkeypatch.setattr(description, "FORMAT", 2)
    with pytest.raises(ValueError, match="format 1"):
        match.Gallery.open(tmp_path / "people")
    lance.write_dataset(pa.table({"a": [1]}), str(tmp_path / "other"), mode="create")
    with pytest.raises(ValueError, match="no gallery"):
        match.Gallery.open(tmp_path / "other")


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"maps": [np.ones((2, 2, 9))]}, r"maps\[0\] \(new\) has 9 channels"),
        ({"maps": [np.full((2, 2, 8), np.nan)]}, r"maps\[0\] \(new\) has 32 values that are NaN"),
        ({"maps": []}, "names must have one entry per map"),
        ({"maps": drawn()[:2]}, "names must have one entry per map"),
        ({"names": ["a.png"]}, r"names: 1 are in gallery .* \('a.png'\)"),
        ({"names": ["new", "new"]}, r"names\[1\] is 'new', twice"),
        ({"names": "new"}, "names must be a sequence"),
        ({"identities": ["new"]}, "identities must be whole numbers"),
        ({"identities": None}, "identities must be given"),
        ({"identities": [-1]}, r"identities\[0\] is -1"),
        ({"cameras": [1, 2]}, "cameras must have one entry per map"),
        ({"cameras": [-2]}, "cameras must be whole numbers"),
        ({"times": ["noon"]}, r"times\[0\] must be seconds"),
        ({"vectors": np.ones((1, 3))}, "vectors must be given"),
        ({"masks": [np.ones((3, 4))]}, r"masks\[0\] must be \(4, 3\)"),
        ({"masks": [np.full((4, 3), 0.5)]}, r"masks\[0\] holds 0.5"),
        ({"masks": [np.zeros((4, 3), bool)]}, r"masks\[0\] has no visible position"),
        ({"masks": []}, "masks must have one entry per map"),
        ({"masks": [None, None]}, "masks must have one entry per map"),
    ],
)
def test_wrong_maps_and_labels_change_nothing(folder, changed, wrong):
    before = content(folder)
    arguments = {"maps": drawn()[:1], "names": ["new"], "identities": [1]} | changed
    with pytest.raises(ValueError, match=wrong):
        match.Gallery.open(folder).add(arguments.pop("maps"), **arguments)
    assert content(folder) == before and match.Gallery.open(folder).version == 1


def test_names_and_identities_that_are_not_there(folder):
    gallery = match.Gallery.open(folder)
    for wrong, act in (
        ("names: .*'zz'", lambda: gallery.remove(names=["a.png", "zz"])),
        ("identities: .*99", lambda: gallery.remove(identities=[99])),
        ("identities are of another kind", lambda: gallery.remove(identities=["99"])),
        ("names: .*'zz'", lambda: gallery.replace(drawn()[:1], names=["zz"], identities=[1])),
        ("names or identities", lambda: gallery.remove()),
        ("names must be a sequence", lambda: gallery.remove(names="a.png")),
    ):
        with pytest.raises(ValueError, match=wrong):
            act()
    assert match.Gallery.open(folder).version == 1


def test_an_identity_is_written_in_one_way(tmp_path):
    gallery = made(tmp_path / "people", 2, identities=["Anna", "Ben"])
    with pytest.raises(ValueError, match="identities has 'Anna' and 'Anna '"):
        gallery.add(drawn()[2:3], names=["c"], identities=["Anna "])
    assert gallery.add(drawn()[2:3], names=["c"], identities=["Anna"]).entries == 2


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"pooling": "sum"}, "pooling must be one of"),
        ({"scales": (0,)}, "scales must be"),
        ({"vectors": np.ones(6)}, "vectors must be"),
        ({"names": NAMES[:5], "identities": None}, "names must have one entry per map"),
        ({"names": [*NAMES, "g"], "identities": None}, "names must have one entry per map"),
    ],
)
def test_a_gallery_of_wrong_arguments_is_not_made(tmp_path, changed, wrong):
    with pytest.raises(ValueError, match=wrong):
        made(tmp_path / "people", **changed)
    assert not (tmp_path / "people").exists()


# Folders


def test_folders_that_are_no_gallery(tmp_path, folder):
    with pytest.raises(ValueError, match="does not exist"):
        match.Gallery.open(tmp_path / "none")
    with pytest.raises(ValueError, match="has a gallery already"):
        made(folder)
    assert content(folder)[1] == dict(zip(NAMES, IDENTITIES, strict=True))
    (tmp_path / "pictures" / "data").mkdir(parents=True)
    (tmp_path / "pictures" / "data" / "a.lance").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        made(tmp_path / "pictures")
    assert (tmp_path / "pictures" / "data" / "a.lance").read_text() == "mine"
    with pytest.raises(ValueError, match="is a file"):
        made(tmp_path / "pictures" / "data" / "a.lance")


def test_a_gallery_that_was_never_finished(tmp_path):
    """What a process leaves that was killed while it made one."""
    (tmp_path / "people" / "data").mkdir(parents=True)
    (tmp_path / "people" / "data" / "half.lance").write_bytes(b"half")
    (tmp_path / "people" / place.LOCK).write_text("process 1 on a host")
    with pytest.raises(ValueError, match="never finished"):
        match.Gallery.open(tmp_path / "people")
    assert made(tmp_path / "people").names == tuple(NAMES)
    assert not (tmp_path / "people" / "data" / "half.lance").exists()


def test_an_error_of_the_maps_comes_out_as_it_is(tmp_path, folder):
    def broken():
        yield drawn()[0]
        raise KeyError("of the caller")

    with pytest.raises(KeyError, match="of the caller"):
        match.Gallery.create(tmp_path / "other", broken(), names=["a", "b"])
    assert not (tmp_path / "other").exists()
    with pytest.raises(KeyError, match="of the caller"):
        match.Gallery.open(folder).add(broken(), names=["g", "h"], identities=[1, 2])
    assert match.Gallery.open(folder).version == 1


def test_deleted_under_an_open_search(folder):
    gallery = match.Gallery.open(folder)
    assert gallery.entries == 3
    for path in [*folder.rglob("*.lance"), *folder.rglob("*.manifest")]:
        path.unlink()
    with pytest.raises(ValueError, match="gallery .* cannot be read any more"):
        match.search(drawn()[0], gallery, 1)
    with pytest.raises(ValueError, match="does not exist"):
        gallery.refresh()
    for change in (lambda: gallery.remove(names=["a.png"]), gallery.compact, lambda: gallery.note("a", 1)):
        with pytest.raises(ValueError, match="does not exist"):
            change()


def test_a_damaged_map_is_named(tmp_path):
    maps = [np.full((4, 4, 8), 1.0 + i) for i in range(3)]
    gallery = match.Gallery.create(tmp_path / "people", maps, names=list("abc"), dtype="float32")
    (file,) = (tmp_path / "people" / "data").glob("*.lance")
    whole = file.read_bytes()
    place = whole.index(np.full(128, 2.0, np.float32).tobytes())
    file.write_bytes(whole[: place + 8] + b"\1" + whole[place + 9 :])
    found = match.Gallery.open(tmp_path / "people")
    np.testing.assert_array_equal(found.maps[0], gallery.maps[0])
    with pytest.raises(ValueError, match="the map of 'b' is damaged"):
        match.distances(drawn()[0], found)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="gallery .* cannot be read"):
        list(match.Gallery.open(tmp_path / "people").maps)


def test_a_damaged_table_is_named(folder):
    for path in folder.glob("_versions/*.manifest"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="damaged"):
        match.Gallery.open(folder)


# Writers beside each other, and a full disk


def test_a_full_disk_changes_nothing(tmp_path, folder):
    gallery = match.Gallery.open(folder).remove(names=["f.png"])
    before, large = content(folder), drawn([(15, 200, 8)] * 4)
    names, identities = [f"{i}" for i in range(4)], [1] * 4
    with disks.full(100_000):
        with pytest.raises(OSError, match="people cannot be written .*free some space"):
            gallery.add(large, names=names, identities=identities)
        with pytest.raises(OSError, match="other cannot be written .*free some space"):
            match.Gallery.create(tmp_path / "other", large, names=names)
    with disks.full(10):
        for act in (lambda: gallery.remove(names=["a.png"]), lambda: gallery.restore(1), gallery.compact):
            with pytest.raises(OSError, match="cannot be written"):
                act()
    assert content(folder) == before and match.Gallery.open(folder).version == 2
    assert not (tmp_path / "other").exists()
    assert gallery.add(large, names=names, identities=identities).version == 3


def test_two_writers_at_once(folder):
    """Each adds maps of its own and one of a name that both want: one of them is refused, and nothing is lost."""
    both, refused, start = threading.Barrier(2), [], threading.Barrier(2)

    def write(number):
        gallery = match.Gallery.open(folder)

        def maps():
            both.wait()  # both have looked at the names by now
            yield drawn()[0]

        start.wait()
        try:
            gallery.add(maps(), names=["same"], identities=[number])
        except ValueError as error:
            refused.append((number, str(error)))
        for i in range(5):
            gallery.add(drawn()[1:2], names=[f"{number}-{i}"], identities=[number])

    threads = [threading.Thread(target=write, args=(number,)) for number in (100, 101)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = match.Gallery.open(folder)
    assert len(refused) == 1 and "'same'" in refused[0][1]
    assert found.people[found.names.index("same")] == 201 - refused[0][0]
    assert sorted(set(found.names) - set(NAMES)) == sorted(
        ["same", *(f"{n}-{i}" for n in (100, 101) for i in range(5))]
    )


def test_a_writer_that_knows_no_lock(folder):
    """A program of its own on Lance changes the same rows: that is said, and nothing is changed."""
    gallery = match.Gallery.open(folder)

    def decide(newest):
        places = newest.columns(["name"], places=True)["_rowaddr"].to_numpy()[:1]
        lance.dataset(str(folder)).delete("name = 'b.png'")
        return places, []

    with pytest.raises(OSError, match="was changed meanwhile"):
        gallery._table.change(decide, "remove one")
    assert set(match.Gallery.open(folder).names) == set(NAMES) - {"b.png"}
