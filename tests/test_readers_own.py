"""One's own pictures: a CSV in an archive, a folder per person, boxes in a COCO JSON, people drawn as asked."""

import json
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
from data import synthetic
from data.builders import coco, coco_boxes
from data.builders.cropping import encoded
from data.builders.labels import camera_of
from data.prepare import prepare, remarks
from tests.trees import FORMS, picture, source


def rows_of(listing):
    return [(split, r.name, r.identity, r.camera) for split, records in listing.splits.items() for r in records]


# A CSV in an archive

TABLE = "path,identity,role\n../pictures/a.jpg,7,probe\n..\\pictures\\b.JPG,ann,gallery\n"


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
def test_folder_reads_a_csv_in_an_archive(tmp_path, form):
    files = {"top/lists/people.csv": TABLE.encode(), "top/pictures/a.jpg": picture(1), "top/pictures/b.JPG": picture(2)}
    listing = data.DATASETS["folder"].listing(source(tmp_path, files, form))
    assert rows_of(listing) == [("probe", "../pictures/a.jpg", 7, -1), ("gallery", "..\\pictures\\b.JPG", 8, -1)]
    assert [data.decode(r.read())[0, 0, 0] for rs in listing.splits.values() for r in rs] == [1, 2]
    assert list(listing.files) == [""] and listing.labels == {8: "ann"}
    del files["top/pictures/b.JPG"]
    with pytest.raises(ValueError, match=r"(?s)people.csv names 1 files that are not there.*line 3: ..\\pictures"):
        data.DATASETS["folder"].listing(source(tmp_path, files, form))
    files["second.csv"] = b""
    with pytest.raises(ValueError, match=r"needs one .csv, found 2"):
        data.DATASETS["folder"].listing(source(tmp_path, files, form))


def test_folder_reads_a_csv_in_a_folder(tmp_path):
    files = {"people.csv": b"path,identity,role\na.jpg,7,probe\n", "a.jpg": picture(1), "other.jpg": picture(2)}
    place = source(tmp_path / "set", files, "folder")
    listings = [data.DATASETS["folder"].listing(given) for given in (place, place / "people.csv")]
    assert rows_of(listings[0]) == rows_of(listings[1]) == [("probe", "a.jpg", 7, -1)]
    assert listings[0].fingerprint() == listings[1].fingerprint()
    (place / "second.csv").touch()
    with pytest.raises(ValueError, match=r"(?s)needs one .csv, found 2. Expected beside found.*│   people.csv"):
        data.DATASETS["folder"].listing(place)


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_folder_reads_both_forms_of_umlauts(tmp_path, written, stored):
    (tmp_path / unicodedata.normalize(stored, "müller.png")).write_bytes(picture(1))
    name = unicodedata.normalize(written, "müller.png")
    (tmp_path / "people.csv").write_text(f"path,identity,role\n{name},1,probe\n", encoding="utf-8")
    assert rows_of(data.DATASETS["folder"].listing(tmp_path / "people.csv")) == [("probe", name, 1, -1)]


def test_folder_takes_one_path_spelt_twice_for_one_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "people.csv").write_text("path,identity,role\na.png,1,probe\n./a.png,1,probe\n")
    with pytest.raises(ValueError, match="line 3: ./a.png is in probe already, see line 2"):
        data.DATASETS["folder"].listing(tmp_path / "people.csv")


# A folder per person

OWN = {
    "people/train/7/a_c3.png": ("train", "7/a_c3.png", 7, 3),
    "people/train/ann/cam12-1.BMP": ("train", "ann/cam12-1.BMP", 8, 12),
    "people/Probe/bob/c1/deep.png": ("probe", "bob/c1/deep.png", 9, -1),  # of a folder, not of the picture's name
    "people/gallery/-1/x.png": ("gallery", "-1/x.png", -1, -1),
    "people/gallery/bob/0009_c2s1_000.png": ("gallery", "bob/0009_c2s1_000.png", 9, 2),
    "people/cover.png": None,
    "people/other/bob/a.png": None,
}


@pytest.mark.parametrize("form", FORMS)
def test_identity_folders_are_read_in_every_form(tmp_path, form):
    place = source(tmp_path / "0001_c2" / "train" / "9", {name: picture(1) for name in OWN}, form)
    listing = data.DATASETS["identity_folders"].listing(place)
    assert sorted(rows_of(listing)) == sorted(row for row in OWN.values() if row)
    assert listing.labels == {8: "ann", 9: "bob"}


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        ("c1.png", 1), ("C02.png", 2), ("0001_c3s2_1.png", 3), ("a-cam4.png", 4), ("a.c5.b.png", 5), ("x c6.png", 6),
        ("c1_c1.png", 1), ("c1_c2.png", -1), ("abc1.png", -1), ("c1x.png", -1), ("1.png", -1), ("c.png", -1),
        ("c1/a.png", -1), ("camera1.png", 1), ("cameras1.png", -1), ("c" + "9" * 12 + ".png", -1),
    ],
)  # fmt: skip
def test_identity_folders_camera_of_clear_names(name, camera):
    assert camera_of(name) == camera


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png"], "has no pictures in train, probe or gallery"),
        (["probe/a.png"], "has probe/a.png, which is in no person's folder"),
        (["train/-1/a.png", "probe/1/a.png"], "has train/-1/a.png: a training image must show somebody"),
        (["probe/1/a.png", "query/1/a.png"], "has 1/a.png twice in probe"),
        (["probe/-2/a.png"], "-2 must be at least -1"),
        (
            ["gallery/probe/1/a.png", "gallery/gallery/1/a.png"],
            "has gallery/gallery: give the folder that holds the splits",
        ),
    ],
)
def test_identity_folders_name_wrong_folders(tmp_path, names, message):
    place = source(tmp_path / "set", {name: picture(1) for name in names}, "zip")
    with pytest.raises(ValueError, match=message):
        data.DATASETS["identity_folders"].listing(place)


# Boxes in a COCO JSON

FRAMES = {f"cam{c}/{t:06d}.png": (c, t) for c in (1, 2) for t in (1, 2)}


def frame(camera, time):
    """40 x 60 pixels: red is the column, green the row, blue the frame."""
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = np.arange(40), np.arange(60)[:, None], 10 * camera + time
    return encoded(pixels)


def document(annotations, **more):
    images = [
        {"id": number, "file_name": name, "camera_id": c, "frame_id": t, "width": 40, "height": 60}
        for number, (name, (c, t)) in enumerate(FRAMES.items(), 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}], **more}


def annotation(number, image, bbox=(5, 10, 8, 20), **more):
    return {"id": number, "image_id": image, "bbox": list(bbox), "category_id": 1, **more}


def frames(prefix="images/"):
    return {f"{prefix}{name}": frame(*of) for name, of in FRAMES.items()}


def as_json(**documents):
    return {f"annotations/{name}.json": json.dumps(content).encode() for name, content in documents.items()}


PROBE = document([annotation(10, 2, (-3, 50.4, 10.2, 30), track_id=4), annotation(9, 1, track_id=3)])
GALLERY = document([
    annotation(1, 3, person_id="4"),
    annotation(2, 4, attributes={"track_id": 3.0}),
    annotation(3, 4, instance_id=-1),
    annotation(4, 4, track_id=5, iscrowd=1),
    {**annotation(5, 4), "category_id": 2},
], categories=[{"id": 1, "name": "Pedestrian"}, {"id": 2, "name": "dog"}])  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", ["images/", "annotations/", ""])
def test_coco_boxes_are_cut_out_of_frames_in_every_form(tmp_path, form, prefix):
    files = as_json(query=PROBE, gallery=GALLERY) | frames(prefix)
    place = source(tmp_path / "set", files, form)
    with pytest.raises(ValueError, match=r"4 is a track in .*query.json, and a person_id or identity: add #tracks="):
        data.DATASETS["coco_boxes"].listing(place)
    listing = data.DATASETS["coco_boxes"].listing(place.with_name(f"{place.name}#tracks=same"))
    assert [
        (split, name.removeprefix("Set.ZIP/").removeprefix(prefix), *rest) for split, name, *rest in rows_of(listing)
    ] == [
        ("probe", "cam1/000001.png:9", 3, 1),
        ("probe", "cam1/000002.png:10", 4, 1),
        ("gallery", "cam2/000001.png:1", 4, 2),
        ("gallery", "cam2/000002.png:2", 3, 2),
        ("gallery", "cam2/000002.png:3", -1, 2),
    ]
    first, second = (data.decode(record.read()) for record in listing.splits["probe"])
    np.testing.assert_array_equal(first, data.decode(frame(1, 1))[10:30, 5:13])
    np.testing.assert_array_equal(second, data.decode(frame(1, 2))[50:60, 0:7])  # cut at the border
    assert listing.remarks[:2] == ["1 annotations are crowds: left out.", "1 annotations are not people: left out."]
    (leaving,) = listing.remarks[2:]
    assert leaving.startswith("Take care: 1 of 5 boxes leave their picture") and "cam1/000002.png:10" in leaving


def test_coco_boxes_of_a_single_json_with_roles_and_names(tmp_path):
    content = document([annotation(1, 1, person_id="bob", role="Query"), annotation(2, 3, person_id="bob")])
    for image, camera in zip(content["images"], ("hall", "hall", "door"), strict=False):
        image["camera_id"] = camera
    content["images"][2]["role"] = "gallery"
    source(tmp_path, {"people.json": json.dumps(content).encode()} | frames(), "folder")
    (tmp_path / "unrelated.png").write_bytes(b"not of ours")
    builder = prepare("coco_boxes", tmp_path / "people.json", data_dir=tmp_path / "data")
    assert builder.source("probe").identities.tolist() == builder.source("gallery").identities.tolist() == [0]
    assert builder.source("gallery").names == ["images/cam2/000001.png:2"]
    assert any("bob = 0" in line for line in remarks(builder))
    assert builder.source("probe")[0].image.shape == (20, 8, 3)


def tracked(video_of):
    content = document([annotation(1, 1, track_id=7), annotation(2, 3, track_id=7)])
    content["videos"] = [{"id": 1, "name": "hall"}, {"id": 2, "name": "door", "camera": 5}]
    for image, video in zip(content["images"], video_of, strict=False):
        image["video_id"] = video
        del image["camera_id"]
    return content


def test_coco_tracks_in_two_videos_need_an_option(tmp_path):
    place = source(tmp_path / "set", as_json(gallery=tracked([1, 1, 2, 2])) | frames(), "folder")
    builder = data.DATASETS["coco_boxes"]
    with pytest.raises(
        ValueError,
        match=r"7 is a track in video hall of \S+gallery.json, and a track in video door of \S+: add #tracks=same",
    ):
        builder.listing(place)
    same, apart = (builder.listing(place.with_name(f"set#tracks={word}")) for word in ("same", "apart"))
    assert [r.identity for r in same.splits["gallery"]] == [7, 7]
    assert [r.identity for r in apart.splits["gallery"]] == [1, 0] and apart.labels == {
        0: "annotations/gallery.json/door/7",
        1: "annotations/gallery.json/hall/7",
    }
    assert [r.camera for r in same.splits["gallery"]] == [-1, 5]
    assert same.fingerprint() != apart.fingerprint()
    once = source(tmp_path / "once", as_json(gallery=tracked([1, 1, 1, 1])) | frames(), "folder")
    assert [r.identity for r in builder.listing(once).splits["gallery"]] == [7, 7]


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


def broken(**changes):
    """A document with one good annotation whose entries are replaced."""
    return document([annotation(1, 1, track_id=1) | changes])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document([]), "has no box of a person"),
        (broken(bbox=None), r"annotation 1 has the bbox None; left, top, width and height"),
        (broken(bbox=[1, 2, 3]), "the last two positive"),
        (broken(bbox=[1, 2, 0, 3]), "the last two positive"),
        (broken(bbox=[1, 2, float("nan"), 3]), "the last two positive"),
        (broken(bbox=[1, 2, 1e300, 3]), "the last two positive"),
        (broken(bbox=[1, 2, 10**400, 3]), "the last two positive"),
        (broken(bbox=[1, 2, "3", 3]), "the last two positive"),
        (broken(image_id=99), "annotation 1 is of image 99, which the file does not list"),
        (document([annotation(1, 1)]), "annotation 1 says not who it is: add person_id, or track_id"),
        (document([annotation(1, 1, track_id=" ")]), "says not who it is"),
        (document([annotation(1, 1, track_id=1)] * 2), "annotations have the id 1 twice"),
        (document([without(annotation(1, 1), "id")]), "annotations must have an id each"),
        (document([annotation(1, 1, track_id=-2)]), "-2 must be at least -1"),
        (document([annotation(1, 1, track_id=1)], categories=[{"id": 1, "name": "car"}]), "there are car: rename"),
        ({"images": []}, "annotations must be a list of objects"),
        ({"images": [1], "annotations": []}, "images must be a list of objects"),
        ([1], "is no COCO file"),
    ],
)
def test_coco_boxes_name_wrong_documents(tmp_path, content, message):
    place = source(tmp_path / "set", as_json(gallery=content) | frames(), "zip")
    with pytest.raises(ValueError, match=message):
        data.DATASETS["coco_boxes"].listing(place)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mp4", "'a.mp4', which is no picture; of a video, unpack the frames first"),
        ("", "'', which is no picture"),
        ("../set/images/cam1/000001.png", "which leaves the folder"),
        ("/etc/passwd.png", "which leaves the folder"),
        ("..\\images\\cam1\\000001.png", "which leaves the folder"),
        ("gone.png", "gone.png of image 1 is not there"),
    ],
)
@pytest.mark.parametrize("single", [True, False])
def test_coco_boxes_name_wrong_frames(tmp_path, name, message, single):
    content = document([annotation(1, 1, track_id=1, role="gallery")])
    content["images"][0]["file_name"] = name
    files = as_json(gallery=content) | frames() | {"people.json": json.dumps(content).encode()}
    place = source(tmp_path / "set", files, "folder")
    with pytest.raises(ValueError, match=message):
        data.DATASETS["coco_boxes"].listing(place / "people.json" if single else place)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"gallery.json": b"{"}, "gallery.json in .* is no JSON"),
        ({"gallery.json": b"[" * 200_000}, "is no JSON"),
        ({"gallery.json": b"\xff\xfe\x00"}, "is no JSON"),
        ({"people.json": b"{}"}, "has no train.json, probe.json or gallery.json"),
        ({"query.json": b"{}", "probe.json": b"{}"}, "has two files for a split among probe.json, query.json"),
    ],
)
def test_coco_boxes_name_wrong_files(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        data.DATASETS["coco_boxes"].listing(source(tmp_path / "set", files | frames(), "folder"))


def test_coco_boxes_need_roles_in_a_single_json(tmp_path):
    place = source(tmp_path, {"people.json": json.dumps(broken()).encode()} | frames(), "folder")
    with pytest.raises(ValueError, match="annotation 1 has no role among train, probe, gallery, nor has its image"):
        data.DATASETS["coco_boxes"].listing(place / "people.json")


def test_coco_boxes_refuse_training_boxes_of_nobody(tmp_path):
    content = document([annotation(1, 1, track_id=-1)])
    with pytest.raises(ValueError, match="a training image must show somebody"):
        data.DATASETS["coco_boxes"].listing(source(tmp_path, as_json(train=content) | frames(), "folder"))


def test_coco_boxes_refuse_a_box_outside_its_picture_or_skip_it(tmp_path):
    content = document([annotation(1, 1, (50, 10, 8, 20), track_id=1), annotation(2, 1, (5, 5, 0.2, 9), track_id=1)])
    content["annotations"].append(annotation(3, 1, track_id=1))
    place = source(tmp_path / "set", as_json(gallery=content) | frames(), "folder")
    with pytest.raises(
        ValueError, match=r"2 of 3 images cannot be read[\s\S]*png:1: the box .* lies outside its picture"
    ):
        prepare("coco_boxes", place, data_dir=tmp_path / "data")
    builder = prepare("coco_boxes", place, data_dir=tmp_path / "data", skip_bad=True)
    assert builder.source("gallery").names == ["images/cam1/000001.png:3"]


def test_coco_boxes_of_a_frame_share_its_decoding_in_bounded_memory(tmp_path, monkeypatch):
    decoded = []
    genuine = coco_boxes.decode
    monkeypatch.setattr(coco_boxes, "decode", lambda content: (decoded.append(1), genuine(content))[1])
    boxes = [annotation(i, 1 + i % 4, track_id=i) for i in range(40)]
    listing = data.DATASETS["coco_boxes"].listing(source(tmp_path, as_json(gallery=document(boxes)) | frames(), "zip"))
    tracemalloc.start()
    for record in listing.splits["gallery"]:
        record.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded) == 4 and peak < 2 << 20
    assert coco.role("sub/Train.JSON") == "train"


# Drawn people


def test_synthetic_listing_by_default_is_unchanged():
    """The settings and the cameras determine every pixel."""
    listing = data.DATASETS["synthetic"].listing(None)
    assert listing.settings == "synthetic 1.0.0 150 60 4 0 128 48"
    assert listing.fingerprint() == "960cfe01515bb02334b1c680b7753d0c0f8302926b50561782cb065495ece964"
    asked = data.DATASETS["synthetic"].listing(Path("people=210"))
    assert asked.fingerprint() == listing.fingerprint() and asked.splits == listing.splits
    assert synthetic.cameras() is synthetic.CAMERAS


def test_synthetic_listing_by_options(tmp_path):
    builder = prepare("synthetic", Path("people=7,seed=3,images=2,difficulty=hard"), data_dir=tmp_path)
    counts = {split: (len(builder.source(split)), len(set(builder.source(split).identities))) for split in data.SPLITS}
    assert counts == {"train": (20, 5), "probe": (4, 2), "gallery": (4, 2)}
    assert data.load("synthetic", "probe", data_dir=tmp_path)[0].image.shape == (128, 48, 3)
    with pytest.raises(ValueError, match="has changed since synthetic was built"):
        prepare("synthetic", Path("people=7,seed=4"), data_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.csv", "x.csv is no option; there are people=210, seed=0.*leave --source out"),
        ("people=1", "people=1 must be a whole number from 2"),
        ("difficulty=brutal", "difficulty=brutal must be one of easy, normal, hard"),
        ("images=0", "images=0 must be a whole number from 1"),
    ],
)
def test_synthetic_listing_refuses_bad_options(text, message):
    with pytest.raises(ValueError, match=message):
        data.DATASETS["synthetic"].listing(Path(text))
    with pytest.raises(ValueError, match="difficulty is 'brutal'"):
        synthetic.cameras("brutal")


def test_synthetic_difficulty_makes_people_harder_to_find():
    """Nearest by mean colour of the body, camera 0 asking camera 1: rank-1 falls from easy to hard."""
    crowd = synthetic.people(40, seed=5)

    def colours(camera, difficulty):
        images = [synthetic.draw(who, camera, 0, difficulty=difficulty) for who in crowd]
        small = [np.asarray(Image.fromarray(image[10:118, 12:36]).resize((2, 8)), float).ravel() for image in images]
        return np.stack(small)

    def rank1(difficulty):
        probes, gallery = colours(0, difficulty), colours(1, difficulty)
        distances = ((probes[:, None] - gallery[None]) ** 2).sum(-1)
        return (distances.argmin(1) == np.arange(len(crowd))).mean()

    easy, normal, hard = map(rank1, ("easy", "normal", "hard"))
    assert easy > normal > hard, (easy, normal, hard)
