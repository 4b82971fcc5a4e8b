"""CUHK03 with both boxes, both protocols, in every layout; checks of the protocol file: test_cuhk03_protocols."""

import json

import h5py
import numpy as np
import pytest
import scipy.io

import data
from data.builders import cuhk03_protocols as protocols
from data.sources import tree
from tests.trees import FORMS, picture, source

# Two people of pair 1, one each of the others; by each camera pictures 1 and 6, and of the first person 2.
PEOPLE = [(1, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)]
PICTURES = sorted([(*who, shot) for who in PEOPLE for shot in (1, 6)] + [(1, 1, 2)])
TEST_SETS = [[(1, 1), (5, 3)], [(2, 3)]]
OF_BOXES = {"detected": 0, "labeled": 100}  # grey of the pictures


def official(of, extension="png"):
    return f"{of[0]}_{of[1]:03d}_{protocols.camera(of)}_{of[2]:02d}.{extension}"


def grey(of, boxes):
    return OF_BOXES[boxes] + 3 * PICTURES.index(of)


def folders(name, *, boxes=("detected", "labeled")):
    """Pictures of both boxes, each in a folder."""
    return {f"cuhk03/images_{b}/{name(of)}": picture(grey(of, b)) for b in boxes for of in PICTURES}


def compact(of):
    return protocols.compact_name(official(of)) + ".jpg"


def mat(tmp_path):
    """A small `cuhk-03.mat` of the exact layout: MATLAB's order, references, empty matrices, test sets."""
    path = tmp_path / "made.mat"
    with h5py.File(path, "w") as file:
        for boxes in OF_BOXES:
            pairs = file.create_dataset(boxes, (1, 5), dtype=h5py.ref_dtype)
            for pair in range(1, 6):
                cells = file.create_dataset(f"{boxes}{pair}", (10, 3), dtype=h5py.ref_dtype)
                pairs[0, pair - 1] = cells.ref
                absent = file.create_dataset(f"{boxes}{pair}none", data=np.zeros(2, np.uint64))  # an empty matrix
                for person, shot in np.ndindex(3, 10):
                    of = (pair, person + 1, shot + 1)
                    if of in PICTURES:
                        pixels = np.full((3, 6, 12), grey(of, boxes), np.uint8)
                        cells[shot, person] = file.create_dataset(f"{boxes}{of}", data=pixels).ref
                    else:
                        cells[shot, person] = absent.ref
        sets = file.create_dataset("testsets", (1, len(TEST_SETS)), dtype=h5py.ref_dtype)
        for number, people in enumerate(TEST_SETS):
            sets[0, number] = file.create_dataset(f"set{number}", data=np.array(people, np.float64).T).ref
    return path.read_bytes()


def splits_json(boxes):
    """torchreid's file: paths of the machine it was written on, cameras from 0."""
    query = [
        [[f"C:\\reid\\images_{boxes}\\{official(of)}", 0, 0] for of in PICTURES if of[:2] in people and of[2] < 6]
        for people in TEST_SETS
    ]
    return json.dumps([{"train": [], "query": entries, "gallery": []} for entries in query]).encode()


def config(tmp_path, boxes):
    """The 767/700 protocol, small: person (1, 1) trains, (1, 2) and (2, 3) are tested on."""
    kept = [of for of in PICTURES if of[:2] in PEOPLE[:3]]
    content = {
        "filelist": np.array([[official(of)] for of in kept], dtype=object),
        "labels": np.array([[1 + PEOPLE.index(of[:2])] for of in kept]),
        "camId": np.array([[protocols.camera(of)] for of in kept]),
        "train_idx": np.array([[1 + kept.index(of)] for of in kept if of[:2] == (1, 1)]),
        "query_idx": np.array([[1 + kept.index(of)] for of in kept if of[:2] != (1, 1) and of[2] == 1]),
        "gallery_idx": np.array([[1 + kept.index(of)] for of in kept if of[:2] != (1, 1) and of[2] == 6]),
    }
    path = tmp_path / "config.mat"
    scipy.io.savemat(path, content)
    return {f"cuhk03/cuhk03_new_protocol_config_{boxes}.mat": path.read_bytes()}


def read_of(listing):
    return {
        split: [(r.name, r.identity, r.camera, data.decode(r.read())[0, 0, 0].item()) for r in records]
        for split, records in listing.splits.items()
    }


def pictures_as(layout, tmp_path):
    return {
        "official names": lambda: folders(official),
        "compact names": lambda: folders(compact),
        "mat": lambda: {"cuhk03_release/cuhk-03.mat": mat(tmp_path)},
    }[layout]()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["official names", "compact names", "mat"])
@pytest.mark.parametrize(("dataset", "boxes"), [("cuhk03", "detected"), ("cuhk03_labelled", "labeled")])
def test_the_new_protocol_in_every_layout(tmp_path, dataset, boxes, layout, form):
    files = pictures_as(layout, tmp_path) | config(tmp_path, "detected") | config(tmp_path, "labeled")
    found = read_of(data.DATASETS[dataset].listing(source(tmp_path / "set", files, form)))
    expected = {
        "train": [(1, 1, 1), (1, 1, 2), (1, 1, 6)],
        "probe": [(1, 2, 1), (2, 3, 1)],
        "gallery": [(1, 2, 6), (2, 3, 6)],
    }
    for split, members in expected.items():
        assert found[split] == [
            (official(of), 1 + PEOPLE.index(of[:2]), protocols.camera(of), grey(of, boxes)) for of in members
        ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["official names", "compact names", "mat"])
@pytest.mark.parametrize(("dataset", "boxes"), [("cuhk03_classic", "detected"), ("cuhk03_classic_labelled", "labeled")])
def test_the_classic_protocol_in_every_layout(tmp_path, dataset, boxes, layout, form):
    files = pictures_as(layout, tmp_path)
    if layout != "mat":
        files |= {f"cuhk03/splits_classic_{b}.json": splits_json(b) for b in OF_BOXES}
    place = source(tmp_path / "set", files, form)
    for split, people in enumerate(TEST_SETS):
        asked = place if split == 0 else place.with_name(f"{place.name}#split={split}")
        listing = data.DATASETS[dataset].listing(asked)
        found = read_of(listing)
        assert listing.remarks == [f"This is test set {split} of 2."]
        role = {of: "train" if of[:2] not in people else "probe" if of[2] < 6 else "gallery" for of in PICTURES}
        for name in data.SPLITS:
            assert found[name] == [
                (official(of), protocols.identity(of), protocols.camera(of), grey(of, boxes))
                for of in PICTURES
                if role[of] == name
            ]
    with pytest.raises(ValueError, match="split=2 must be a whole number from 0 to 1"):
        data.DATASETS[dataset].listing(place.with_name(f"{place.name}#split=2"))


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("dataset", "boxes"), [("cuhk03", "detected"), ("cuhk03_labelled", "labeled")])
def test_cuhk03_np_needs_no_protocol_file(tmp_path, dataset, boxes, form):
    files = {}
    for number, b in enumerate(("detected", "labeled")):
        for inner in ("bounding_box_train/0001_c1_1", "query/0002_c1_1", "bounding_box_test/0002_c2_6"):
            files[f"cuhk03-np/{b}/{inner}.png"] = picture(50 * number)
    listing = data.DATASETS[dataset].listing(source(tmp_path / "set", files, form))
    value = 0 if boxes == "detected" else 50
    assert read_of(listing) == {
        "train": [("0001_c1_1.png", 1, 1, value)],
        "probe": [("0002_c1_1.png", 2, 1, value)],
        "gallery": [("0002_c2_6.png", 2, 2, value)],
    }


def test_what_the_classic_protocol_lacks_is_named(tmp_path):
    builder = data.DATASETS["cuhk03_classic"]
    files = folders(official)
    with pytest.raises(ValueError, match=r"(?s)has neither cuhk-03.mat nor splits_classic_detected.json.*images_"):
        builder.listing(source(tmp_path / "a", files, "folder"))
    gone = {name: c for name, c in files.items() if "5_003" not in name}
    gone["cuhk03/splits_classic_detected.json"] = splits_json("detected")
    with pytest.raises(ValueError, match=r"no picture of 1 people of test set 0, such as person 3 of camera pair 5"):
        builder.listing(source(tmp_path / "b", gone, "folder"))
    only = {"cuhk03/splits_classic_detected.json": splits_json("detected")}
    with pytest.raises(ValueError, match="holds no pictures of CUHK03"):
        builder.listing(source(tmp_path / "c", only, "folder"))


@pytest.mark.parametrize(
    "content",
    [b"no JSON", b"{}1", b"[1]", b'[{"query": [[]]}]', b'[{"query": [["a.png"]]}]', b'[{"query": []}]', b"[" * 100_000],
)
def test_a_file_that_holds_no_test_sets_is_named(content):
    with pytest.raises(ValueError, match=r"splits.json(:| is no list)"):
        protocols.test_sets_of_json(content, title="splits.json")


def test_a_mat_that_is_none_is_named(tmp_path):
    place = source(tmp_path / "set", {"cuhk-03.mat": b"no HDF5"}, "folder")
    with pytest.raises(ValueError, match=r"cuhk-03.mat in .* has no test sets .*: copy it again"):
        data.DATASETS["cuhk03_classic"].listing(place)
    for content in ({}, {"detected": [1.0]}, {"detected": [[1.0]], "testsets": [[1.0]]}):
        with h5py.File(place / "cuhk-03.mat", "w") as file:
            for name, value in content.items():
                file[name] = value
        with pytest.raises(ValueError, match=r"cuhk-03.mat in .* has no test sets .*: copy it again"):
            data.DATASETS["cuhk03_classic"].listing(place)
        files = config(tmp_path, "detected") | {"cuhk-03.mat": (place / "cuhk-03.mat").read_bytes()}
        with pytest.raises(ValueError, match=r"cuhk-03.mat in .* is no release of CUHK03 .*: copy it again"):
            data.DATASETS["cuhk03"].listing(source(tmp_path / "new", files, "folder"))


def test_the_labelled_protocol_is_held_to_its_counts(tmp_path):
    count = 14_096
    content = {
        "filelist": np.array([["1_001_1_01.png"]] * count, dtype=object),
        "labels": np.repeat([1, 2], [7368, count - 7368])[:, None],
        "camId": np.ones((count, 1)),
        "train_idx": np.arange(1, 7369)[:, None],
        "query_idx": np.arange(7369, 8769)[:, None],
        "gallery_idx": np.arange(8769, count + 1)[:, None],
    }
    scipy.io.savemat(tmp_path / "config.mat", content)
    with pytest.raises(ValueError, match="CUHK03 has .*7368, 767"):
        protocols.protocol(tmp_path / "config.mat")


def test_both_names_of_a_picture_are_one():
    for pair, people in protocols.PEOPLE.items():
        for person in (1, people):
            of = (pair, person, 7)
            assert protocols.picture_of(official(of)) == of == protocols.picture_of(compact(of))
    identities = [
        protocols.identity((pair, person, 1)) for pair, n in protocols.PEOPLE.items() for person in range(1, n + 1)
    ]
    assert identities == list(range(1467))


def test_real_cuhk03_builds_with_its_counts(shared, tmp_path):
    listing = data.DATASETS["cuhk03"].listing(shared("data/cuhk03"))
    counts = data.DATASETS["cuhk03"].COUNTS["detected, 767/700"]
    assert {s: (len(rs), len({r.identity for r in rs})) for s, rs in listing.splits.items()} == counts
    found = tree.opened(shared("data/cuhk03"), "x")
    assert len(found.pictures) == 14_097 and set(listing.files) == {
        "cuhk03_detected.zip",
        "cuhk03_new_protocol_config_detected.mat",
    }
