"""COCO JSONs as other tools write them: keys that are nearly right, tracks, sizes, EXIF, numbers as text."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import data
from data.builders import frames
from data.builders.coco_boxes import CocoBoxes
from data.inspection.check import check
from data.prepare import prepare, remarks
from data.sources.decoding import decode
from tests.trees import source

WIDTH, HEIGHT = 40, 60


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def picture(seed=0, *, orientation=1, form="PNG", size=(WIDTH, HEIGHT)):
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(pixels(seed)).resize(size, Image.Resampling.NEAREST).save(buffer, form, exif=exif)
    return buffer.getvalue()


def document(image=None, annotation=None, **more):
    """One person in one picture, whose image and annotation have what is given, or lack what is None."""
    one = {"id": 1, "file_name": "p.png", "width": WIDTH, "height": HEIGHT, "camera_id": 1} | (image or {})
    box = {"id": 1, "image_id": 1, "bbox": [5, 10, 8, 20], "category_id": 1, "person_id": 7} | (annotation or {})
    kept = [{key: value for key, value in entry.items() if value is not None} for entry in (one, box)]
    return {"images": [kept[0]], "annotations": [kept[1]], "categories": [{"id": 1, "name": "person"}]} | more


def place(folder, *, options="", pictures=None, **documents):
    files = {f"{name}.json": json.dumps(content).encode() for name, content in documents.items()}
    source(folder, files | {f"images/{n}": c for n, c in (pictures or {"p.png": picture()}).items()}, "folder")
    return folder.with_name(folder.name + options)


def listing(folder, **arguments):
    return CocoBoxes.listing(place(folder / "set", **arguments))


def seen(listing):
    return [(split, r.identity, r.camera) for split, records in listing.splits.items() for r in records]


@pytest.mark.parametrize("key", ["cam_id", "camid", "cameraId", "cam", "cameras", "CAMERA_ID", "camara_id"])
@pytest.mark.parametrize("level", ["annotation", "attributes", "image", "video"])
def test_a_key_that_is_nearly_camera_id_is_an_error_at_every_level(tmp_path, key, level):
    video = {"id": 1, "name": "hall"}
    extra = {"annotation": {}, "image": {"camera_id": None, "video_id": 1}}
    if level == "attributes":
        extra["annotation"] = {"attributes": {key: 3}}
    elif level == "video":
        video[key] = 3
    else:
        extra[level][key] = 3
    with pytest.raises(ValueError, match=f"have {key} and no camera_id: rename it to camera_id"):
        listing(tmp_path, gallery=document(**extra, videos=[video]))
    extra["image"]["camera_id"] = 4  # beside the known key it is told
    read = listing(tmp_path, gallery=document(**extra, videos=[video]))
    assert seen(read) == [("gallery", 7, 4)]
    assert any("that are not read" in line and f"{key} (camera is read)" in line for line in read.remarks)


@pytest.mark.parametrize("level", ["annotation", "attributes", "image", "video"])
@pytest.mark.parametrize("key", ["camera_id", "camera"])
def test_a_camera_is_read_at_every_level(tmp_path, key, level):
    video = {"id": 1, "name": "hall"} | ({key: 3} if level == "video" else {})
    of_box = {"annotation": {key: 3}, "attributes": {"attributes": {key: 3}}}.get(level, {})
    image = {"camera_id": None, "video_id": 1} | ({key: 3.0} if level == "image" else {})
    assert seen(listing(tmp_path, gallery=document(image, of_box, videos=[video]))) == [("gallery", 7, 3)]
    with pytest.raises(ValueError, match="has the camera_id 3, and its image or video 4: correct one"):
        listing(tmp_path, gallery=document({"camera_id": 4}, {"camera_id": 3}))


@pytest.mark.parametrize("key", ["personId", "pid", "person", "PersonID", "persons", "subject_id"])
def test_a_key_that_is_nearly_person_id_does_not_give_way_to_a_track(tmp_path, key):
    with pytest.raises(ValueError, match=f"annotation 1 has {key} and no person_id: rename it to person_id"):
        listing(tmp_path, gallery=document(annotation={"person_id": None, "track_id": 3, key: 9}))
    read = listing(tmp_path, gallery=document(annotation={key: 9}))
    assert seen(read) == [("gallery", 7, 1)] and f"{key} (identity is read)" not in read.remarks
    inner = document(annotation={"person_id": None, "track_id": 3, "attributes": {"person_id": 8}})
    assert seen(listing(tmp_path, gallery=inner)) == [("gallery", 8, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document(annotation={"person_id": None, "trackId": 3}), "says not who it is: .*; rename trackId to track_id"),
        (document({"file_name": None, "filename": "p.png"}), "no picture.*; rename filename to file_name"),
        (
            document({"videoId": 1}, {"person_id": None, "track_id": 3}),
            "image 1 has videoId and no video_id: rename it",
        ),
        ({"image": [], "annotations": []}, "has image and no images: rename it to images"),
        (document(video=[{"id": 1}]), "has video and no videos: rename it"),
        (document(sequences=[{"id": 1}]), "has sequences and no videos: rename it"),
        (document({"video_id": 9}, videos=[{"id": 1}]), "image 1 is of video 9, which the file does not list"),
        (document(annotation={"category_id": 9}), "has the category_id 9, which the file does not list: there are 1"),
        (document(annotation={"role": "probe"}), "has the role probe, and its file is called gallery"),
        (document(annotation={"person_id": 1.5}), "has the person_id 1.5: a whole number or a string is needed"),
        (document(annotation={"person_id": True}), "has the person_id true: a whole number or a string"),
        (document({"camera_id": [1]}), r"has the camera_id \[1\]: a whole number or a string"),
        (document(annotation={"person_id": "1.5"}), "the person_id 1.5 is a number, but not a whole one"),
        (document(annotation={"person_id": 2**63}), "is beyond"),
        (
            document(annotation={"person_id": float("nan")}),
            "identity is missing in 1 of 1, annotation 1 of gallery.json",
        ),
        (document(annotation={"iscrowd": "maybe"}), "has the iscrowd 'maybe': 0 or 1 is needed"),
        (document({"width": "wide"}), "image 1 has the width 'wide': a whole number of pixels"),
    ],
)
def test_documents_that_are_nearly_right_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        listing(tmp_path, gallery=content)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    written = place(tmp_path / "set", gallery=document())
    file = written / "gallery.json"
    file.write_text(file.read_text().replace('"camera_id": 1', '"camera_id": 1, "camera_id": 2'))
    with pytest.raises(ValueError, match="gallery.json in .* has an object with the key camera_id twice"):
        CocoBoxes.listing(written)


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ({"file_name": "./images/p.png"}, {}),
        ({"file_name": "images//p.png"}, {}),
        ({"file_name": ".\\images\\p.png"}, {}),
        ({"file_name": "images/../images/p.png"}, {}),
        ({}, {"iscrowd": "0"}),
        ({}, {"iscrowd": 0.0}),
        ({}, {"iscrowd": False}),
        ({}, {"category_id": "1"}),
        ({}, {"category_id": 1.0}),
        ({}, {"category_id": None}),
        ({}, {"image_id": "1"}),
        ({"id": 1.0}, {"image_id": 1.0, "id": 1.0}),
        ({}, {"person_id": "7"}),
        ({}, {"person_id": 7.0}),
        ({}, {"person_id": "7.0"}),
        ({"camera_id": "1.0"}, {}),
        ({"width": "40", "height": 60.0}, {}),
        ({"license": 1, "frame_id": 3}, {"area": 160, "segmentation": [], "visibility": 0.5}),
    ],
)
@pytest.mark.parametrize("single", [False, True])
def test_numbers_as_text_and_paths_of_other_systems_are_read_without_a_word(tmp_path, image, annotation, single):
    name = "people" if single else "gallery"
    written = place(tmp_path / "set", **{name: document(image, annotation | {"role": "gallery"})})
    read = CocoBoxes.listing(written / "people.json" if single else written)
    assert seen(read) == [("gallery", 7, 1)] and read.remarks == []
    np.testing.assert_array_equal(decode(read.splits["gallery"][0].read()), pixels()[10:30, 5:13])
    crowd = listing(tmp_path, train=document(), gallery=document(annotation={"iscrowd": "1"}))
    assert crowd.remarks == ["1 annotations are crowds: left out."]


def track(video_id, number=1, **more):
    return document({"video_id": video_id}, {"person_id": None, "track_id": number}, **more)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (track(1), track(1), None),  # ids alone count from 1 in every file
        (track(1, videos=[{"id": 1, "name": "a"}]), track(1, videos=[{"id": 1, "name": "b"}]), False),
        (track(1, videos=[{"id": 1, "file_name": "a"}]), track(5, videos=[{"id": 5, "name": "a"}]), True),
        (track(None), track(None), None),
    ],
)
def test_a_track_is_of_its_file_and_video(tmp_path, first, second, shared):
    def who(word):
        read = listing(tmp_path, probe=first, gallery=second, options=f"#tracks={word}")
        return [records[0].identity for records in read.splits.values()]

    with pytest.raises(ValueError, match=r"1 is a track in .*\.json, and a track in .*\.json: add #tracks=same"):
        listing(tmp_path, probe=first, gallery=second)
    assert who("same") == [1, 1]
    if first["images"][0].get("video_id") is None:
        with pytest.raises(ValueError, match="#tracks=apart needs to know the video of every picture, and image 1 of "):
            who("apart")
    else:
        assert len(set(who("apart"))) == 2
    if shared is None:
        with pytest.raises(ValueError, match="#tracks=named needs"):
            who("named")
    else:
        assert (len(set(who("named"))) == 1) == shared


def test_nobody_is_nobody_in_every_video_and_a_gap_is_no_track(tmp_path):
    for written in (-1, -1.0, "-1", "-1.0", "\N{MINUS SIGN}1"):
        for word in ("once", "same", "apart"):
            both = {name: track(1, written) for name in ("probe", "gallery")}
            assert {who for _, who, _ in seen(listing(tmp_path, **both, options=f"#tracks={word}"))} == {-1}
    with pytest.raises(ValueError, match="identity is missing in 1 of 2"):
        listing(tmp_path, gallery=track(1, "nan"), options="#tracks=apart")


def test_videos_of_one_name_in_a_file_are_two(tmp_path):
    content = track(1, videos=[{"id": 1, "name": "hall"}, {"id": 2, "name": "hall"}])
    content["images"].append(content["images"][0] | {"id": 2, "video_id": 2, "file_name": "q.png"})
    content["annotations"].append(content["annotations"][0] | {"id": 2, "image_id": 2})
    pictures = {"p.png": picture(), "q.png": picture(1)}
    with pytest.raises(ValueError, match="1 is a track in video 1 of gallery.json, and a track in video 2"):
        listing(tmp_path, gallery=content, pictures=pictures)
    apart = listing(tmp_path, gallery=content, pictures=pictures, options="#tracks=apart")
    assert apart.labels == {0: "gallery.json/1/1", 1: "gallery.json/2/1"}
    for image in content["images"]:
        del image["video_id"]
    (told,) = listing(tmp_path, gallery=content, pictures=pictures).remarks
    assert told.startswith("Take care: the images of gallery.json have no video_id: a track is taken for one person")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((80, 120), r"80 x 120, gallery.json says 40 x 60 \(scaled by 2 after"),
        ((20, 30), r"20 x 30, gallery.json says 40 x 60 \(scaled by 0.5 after"),
        ((60, 40), r"60 x 40, gallery.json says 40 x 60 \(turned"),
        ((90, 60), r"90 x 60, gallery.json says 40 x 60 \(scaled by 1.5 and turned"),
        ((41, 90), r"41 x 90, gallery.json says 40 x 60 \(another picture, or cut"),
    ],
)
@pytest.mark.parametrize("of_video", [False, True])
def test_pictures_of_another_size_are_refused_with_both_sizes(tmp_path, size, reason, of_video):
    pictures = {"p.png": picture(size=size)}
    content = document()
    if of_video:
        content = document({"width": None, "height": None, "video_id": 1})
        content["videos"] = [{"id": 1, "name": "hall", "width": WIDTH, "height": HEIGHT}]
    with pytest.raises(
        ValueError, match=f"1 of 1 pictures have another size than their JSON says: images/p.png is {reason}"
    ):
        listing(tmp_path, gallery=content, pictures=pictures)
    half = document({"height": None})
    if size[0] != WIDTH:
        with pytest.raises(ValueError, match=r"says 40 x \?"):
            listing(tmp_path, gallery=half, pictures=pictures)


@pytest.mark.parametrize("size", [{"width": None, "height": None}, {"width": 0, "height": 0}, {"width": None}])
def test_pictures_without_a_size_work_with_a_word(tmp_path, size):
    read = listing(tmp_path, gallery=document(size))
    assert seen(read) == [("gallery", 7, 1)]
    (told,) = read.remarks
    assert told.startswith("The JSON does not say width and height of 1 of 1 pictures, such as images/p.png")


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("sized", [True, False])
def test_pictures_to_be_turned_ask_when_their_boxes_were_drawn(tmp_path, orientation, form, sized):
    name = {"PNG": "p.png", "TIFF": "p.tif"}[form]
    pictures = {name: picture(orientation=orientation, form=form)}
    upright = decode(pictures[name])
    np.testing.assert_array_equal(frames.turned(pixels(), orientation), upright)
    np.testing.assert_array_equal(frames.unturned(upright, orientation), pixels())

    def cut(turn, width, height):
        size = {"width": width, "height": height} if sized else {"width": None, "height": None}
        content = document({"file_name": name} | size)
        read = listing(tmp_path, gallery=content, pictures=pictures, options=f"#exif={turn}" if turn else "")
        return decode(read.splits["gallery"][0].read())

    with pytest.raises(
        ValueError, match=rf"1 of 1 pictures are to be turned .* images/{name} has orientation {orientation}"
    ):
        cut("", WIDTH, HEIGHT)
    stored = pixels()[10:30, 5:13]
    np.testing.assert_array_equal(cut("never", WIDTH, HEIGHT), stored)
    np.testing.assert_array_equal(cut("after", WIDTH, HEIGHT), frames.turned(stored, orientation))
    np.testing.assert_array_equal(cut("before", *upright.shape[1::-1]), upright[10:30, 5:13])
    if sized and orientation >= 5:  # width and height say that the boxes are of the turned picture
        np.testing.assert_array_equal(cut("", HEIGHT, WIDTH), upright[10:30, 5:13])
        for turn, size in (("before", (WIDTH, HEIGHT)), ("after", (HEIGHT, WIDTH)), ("never", (HEIGHT, WIDTH))):
            with pytest.raises(ValueError, match=r"another size than their JSON says: .* \(turned, by its EXIF"):
                cut(turn, *size)


def test_boxes_that_leave_their_picture_are_counted(tmp_path):
    content = document()
    boxes = [[-2, 10, 10, 20], [35, 10, 10, 20], [-0.5, 10, 10, 20], [5, 50, 10, 20], [-8, -5, 60, 80]]
    content["annotations"] = [content["annotations"][0] | {"id": i, "bbox": box} for i, box in enumerate(boxes)]
    written = place(tmp_path / "set", gallery=content, probe=document())
    told = "Take care: 4 of 6 boxes leave their picture by more than a tenth of their area, such as images/p.png:0"
    report = check(CocoBoxes, written)
    assert told in report.text and report.usable is False  # nobody has a mate by another camera
    builder = prepare("coco_boxes", written, data_dir=tmp_path / "data")
    assert any(line.startswith(told) for line in remarks(builder))


def test_damaged_frames_are_still_refused_by_name_or_left_out(tmp_path):
    content = document()
    content["images"].append(content["images"][0] | {"id": 2, "file_name": "q.png"})
    content["annotations"].append(content["annotations"][0] | {"id": 2, "image_id": 2})
    written = place(tmp_path / "set", gallery=content, pictures={"p.png": picture(), "q.png": b"no picture"})
    with pytest.raises(ValueError, match="1 of 2 images cannot be read"):
        prepare("coco_boxes", written, data_dir=tmp_path / "data")
    builder = prepare("coco_boxes", written, data_dir=tmp_path / "data", skip_bad=True)
    assert len(data.load("coco_boxes", "gallery", data_dir=tmp_path / "data")) == 1 and builder.info.metadata["skipped"]


def test_an_option_that_is_said_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--source: tracks is there twice, tracks=apart and tracks=same"):
        listing(tmp_path, gallery=document(), options="#tracks=apart,tracks=same")


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"ignore": 1}, "to be ignored"),
        ({"attributes": {"ignore": True}}, "to be ignored"),
        ({"attributes": {"outside": True}}, "outside their picture"),
    ],
)
def test_boxes_that_do_not_count_are_left_out_and_counted(tmp_path, more, what):
    content = document()
    content["annotations"].append(content["annotations"][0] | {"id": 2, "person_id": 8} | more)
    found = listing(tmp_path / "a", gallery=content)
    assert len(found.splits["gallery"]) == 1
    assert f"1 annotations are {what}: left out." in found.remarks


@pytest.mark.parametrize("rotation", [90, 30.5, "12"])
def test_a_turned_box_is_an_error(tmp_path, rotation):
    content = document(annotation={"attributes": {"rotation": rotation}})
    with pytest.raises(ValueError, match=f"annotation 1 .*rotation {rotation}, and boxes are cut upright"):
        listing(tmp_path / "a", gallery=content)
    still = document(annotation={"attributes": {"rotation": 0.0, "outside": False}, "ignore": 0})
    assert len(listing(tmp_path / "b", gallery=still).splits["gallery"]) == 1


@pytest.mark.parametrize("more", [{"identity": 8}, {"attributes": {"person_id": 8}}])
def test_two_people_in_one_annotation_are_an_error(tmp_path, more):
    with pytest.raises(ValueError, match="annotation 1 .*person_id 7 and the .* 8: correct one"):
        listing(tmp_path / "a", gallery=document(annotation=more))
    same = document(annotation={"identity": "7"})
    assert len(listing(tmp_path / "b", gallery=same).splits["gallery"]) == 1
