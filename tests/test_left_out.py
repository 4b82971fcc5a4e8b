"""No picture vanishes without a word: what every reader takes is the same, and what it does not take is named."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
from data.builders.listing import checked
from data.inspection.check import check
from data.prepare import prepare, remarks
from data.sources import decoding, left_out, signatures, tree
from tests import pictures_of_all_kinds as pictures
from tests.pictures_of_all_kinds import RGB, saved
from tests.test_check import found
from tests.test_readers_own import annotation, as_json, document
from tests.trees import FORMS, source

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80)
JPEG = saved(Image.fromarray(RGB), "JPEG")
FORM_OF = {"JPEG 2000": "JPEG2000", "WebP": "WEBP", "PGM": "PPM", "PBM": "PPM"}
ENDS = (
    *("jpg", "JPG", "jpeg", "jpe", "JFIF", "png", "apng", "bmp", "tif", "TIFF", "webp", "WEBP", "gif"),
    *("ppm", "pgm", "pbm", "pnm", "avif", "jp2", "j2k", "mpo"),
)


def noise(number: int, form: str = "PNG") -> bytes:
    """A picture like no other."""
    values = np.random.default_rng(number).integers(0, 256, (64, 24, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


# Which files are pictures


def test_form_of_every_kind_that_is_decoded():
    for name, kind in pictures.kinds().items():
        first = name.split(",")[0]
        assert signatures.form_of(kind.encoded[: signatures.HEAD]) == FORM_OF.get(first, first), name
    assert not set(signatures.UNREAD) & set(decoding.FORMATS)


@pytest.mark.parametrize(
    "text", [b"", b"P", b"Python", b"P5", b"BMW, a car\n", b"II. Methods", b"MM", b"GIF", b"\0" * 64]
)
def test_form_of_texts_is_none(text):
    assert signatures.form_of(text) == ""


def test_pictures_have_the_extensions_of_pillow():
    Image.init()
    of_pillow = {end for end, form in Image.registered_extensions().items() if form in (*decoding.FORMATS, "MPO")}
    assert of_pillow - set(tree.PICTURES) == {".pfm"}, "of floating point: refused"
    assert set(tree.PICTURES) <= of_pillow


# Every reader takes the same


@pytest.mark.parametrize("form", FORMS)
def test_folders_of_people_take_every_form_and_pictures_without_an_extension(tmp_path, form):
    names = [*(f"a.{end}" for end in ENDS), "plain", "frame.000123", "c2_0001"]
    files = {f"gallery/{number}/{name}": noise(number) for number, name in enumerate(names)}
    files |= {"probe/1/a.png": noise(99), "gallery/1/README": b"about", "gallery/1/Thumbs.db": b"x"}
    listing = data.DATASETS["identity_folders"].listing(source(tmp_path / "set", files, form))
    assert sorted(r.identity for r in listing.splits["gallery"]) == list(range(len(names)))
    assert not listing.left_out and [r for r in listing.remarks if "README" not in r] == []
    assert {r.name: r.camera for r in listing.splits["gallery"]}[f"{len(names) - 1}/c2_0001"] == 2


LAYOUTS = {
    "market1501": [f"{folder}_c{camera}s1_000451_03" for folder, camera in
                   (("bounding_box_train/0007", 1), ("bounding_box_test/0001", 2), ("query/0001", 1))],
    "partial_reid": ["partial_body_images/001_001", "whole_body_images/001_001"],
    "occluded_reid": ["occluded_body_images/001/001_01", "whole_body_images/001/001_01"],
    "partial_ilids": ["Probe/1", "Gallery/1"],
    "cuhk01": ["campus/0001001", "campus/0001003"],
    "cuhk03": [f"detected/{name}" for name in
               ("bounding_box_train/0001_c1_1", "query/0002_c1_1", "bounding_box_test/0002_c2_2")],
}  # fmt: skip
OPTIONS = {"cuhk01": "#test=1"}


@pytest.mark.parametrize("end", ["", ".webp", ".JFIF", ".jpe", ".gif", ".avif", ".jp2", ".TIF"])
@pytest.mark.parametrize("dataset", LAYOUTS)
def test_data_sets_by_names_take_every_form(tmp_path, dataset, end):
    files = {f"set/{name}{end}": noise(number) for number, name in enumerate(LAYOUTS[dataset])}
    place = source(tmp_path / "set", files, "zip")
    listing = data.DATASETS[dataset].listing(place.with_name(place.name + OPTIONS.get(dataset, "")))
    assert len(listing) == len(files) and not listing.left_out


@pytest.mark.parametrize("name", ["plain", "a.webp", "a.JFIF", "a.jpe", "frame.000123"])
def test_lists_take_every_form(tmp_path, name):
    (tmp_path / name).write_bytes(JPEG)
    (tmp_path / "people.csv").write_text(f"path,identity,role\n{name},1,gallery\n")
    assert len(data.DATASETS["folder"].listing(tmp_path / "people.csv")) == 1
    content = document([annotation(1, 1, (0, 0, 8, 8), track_id=1)])
    content["images"] = [{"id": 1, "file_name": name, "width": 16, "height": 32}]
    place = source(tmp_path / "coco", as_json(gallery=content) | {f"images/{name}": JPEG}, "folder")
    assert len(data.DATASETS["coco_boxes"].listing(place)) == 1


# What is not taken is named

PEOPLE = {"probe/ann/a.png": noise(1), "gallery/ann/b.png": noise(2)}
NOT_TAKEN = {
    "gallery/bob/a.heic": (HEIC, "HEIF, which is not read: save them as .jpg or .png"),
    "gallery/bob/plain": (HEIC, "HEIF, which is not read: save them as .jpg or .png"),
    "gallery/bob/a.HEIF": (b"x", ".heif is not read: if they are pictures, save them as .jpg or .png"),
    "gallery/bob/b.tga": (b"x", ".tga is not read: if they are pictures, save them as .jpg or .png"),
    "gallery/bob/c.dat": (JPEG, "JPEG by the bytes, not by the name: let it end in .jpg if it belongs"),
    "gallery/bob/d.txt": (JPEG, "JPEG by the bytes, not by the name: let it end in .jpg if it belongs"),
    "gallery/bob/e.jpg.part": (b"x", ".part is not read: if they are pictures, save them as .jpg or .png"),
    "galery/bob/f.jpg": (JPEG, "in none of the folders train, probe (or query) and gallery"),
}  # fmt: skip


def files_of(extra):
    return PEOPLE | {name: content for name, (content, _) in extra.items()}


@pytest.mark.parametrize("form", FORMS)
def test_reasons_of_files_that_may_be_pictures(tmp_path, form):
    place = source(tmp_path / "set", files_of(NOT_TAKEN), form)
    listing = data.DATASETS["identity_folders"].listing(place)
    reasons = {name.removeprefix("Set.ZIP/"): reason for name, reason in listing.left_out.items()}
    assert reasons == {name: reason for name, (_, reason) in NOT_TAKEN.items()} and len(listing) == 2


def test_prepare_and_check_name_files_that_are_not_taken(tmp_path):
    place = source(tmp_path / "set", files_of(NOT_TAKEN), "folder")
    builder = prepare("identity_folders", place, data_dir=tmp_path / "data")
    told = [line for line in remarks(builder) if line.startswith("Not taken")]
    assert len(told) == 6
    assert (
        "Not taken: 2 files (HEIF, which is not read: save them as .jpg or .png): gallery/bob/a.heic, "
        "gallery/bob/plain." in told
    )
    report = check(data.DATASETS["identity_folders"], place)
    count, lines = found(report, "files that may be pictures and are not taken")
    assert count == len(NOT_TAKEN) and lines == told and report.usable and report.cautions == 1
    many = {f"gallery/bob/{i}.heic": HEIC for i in range(5)}
    (line,) = left_out.sentences(
        data.DATASETS["identity_folders"].listing(source(tmp_path / "many", PEOPLE | many, "tar")).left_out
    )
    assert line.startswith("Not taken: 5 files") and line.endswith(
        "bob/0.heic, gallery/bob/1.heic, gallery/bob/2.heic and 2 more."
    )


def test_prepare_names_files_that_have_come_since(tmp_path):
    place = source(tmp_path / "set", PEOPLE, "folder")
    assert not any("Not taken" in line for line in remarks(prepare("identity_folders", place, data_dir=tmp_path / "d")))
    (place / "gallery" / "ann" / "c.heic").write_bytes(HEIC)
    for _ in range(2):
        told = remarks(prepare("identity_folders", place, data_dir=tmp_path / "d"))
        assert [line for line in told if "c.heic" in line] == [
            "Not taken: 1 file (HEIF, which is not read: save them as .jpg or .png): gallery/ann/c.heic."
        ]


def test_links_to_nothing_are_named_and_links_to_folders_followed(tmp_path):
    place = source(tmp_path / "set", PEOPLE, "folder")
    source(tmp_path / "real", {"c.webp": noise(3, "WEBP")}, "folder")
    (place / "gallery" / "dan").symlink_to(tmp_path / "real")
    for name in ("gallery/ann/gone.jpg", "gallery/eve", "gallery/ann/loop", "gallery/ann/readme.txt"):
        (place / name).symlink_to(place / name if name.endswith("loop") else tmp_path / "nowhere")
    os.mkfifo(place / "gallery" / "ann" / "pipe.jpg")
    listing = data.DATASETS["identity_folders"].listing(place)
    assert [r.name for r in listing.splits["gallery"]] == ["ann/b.png", "dan/c.webp"]
    assert listing.left_out == {
        "gallery/ann/gone.jpg": "a link to nothing",
        "gallery/ann/loop": "a link to nothing",
        "gallery/eve": "a link to nothing",
        "gallery/ann/pipe.jpg": "a pipe, a socket or a device",
    }


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    place = source(tmp_path / "set", PEOPLE | {"gallery/ann/plain": JPEG, "gallery/ann/c.jpg": JPEG}, "folder")
    opened = Path.open

    def refuse(path, *arguments, **options):
        if path.name in ("plain", "c.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    listing = data.DATASETS["identity_folders"].listing(place)
    assert listing.left_out == {"gallery/ann/plain": "Permission denied"}
    with pytest.raises(ValueError, match=r"1 of 3 images cannot be read[\s\S]*c.jpg: .*Permission denied"):
        checked(listing)


def test_a_picture_by_its_name_alone_is_named(tmp_path):
    place = source(tmp_path / "set", PEOPLE | {"gallery/ann/c.jpg": b"<html>", "gallery/ann/d.jpg": b""}, "zip")
    with pytest.raises(ValueError, match=r"2 of 4 images cannot be read[\s\S]*c.jpg: not an image file of a known"):
        prepare("identity_folders", place, data_dir=tmp_path / "data")


# What is nobody's picture is no noise


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_picture_is_one_quiet_remark_at_most(tmp_path, form):
    left = ("Thumbs.db", ".DS_Store", "Icon\r", "._b.png", "@eaDir/b.png/SYNOPHOTO_THUMB_M.jpg", "desktop.ini")
    files = PEOPLE | {f"gallery/ann/{name}": JPEG for name in left} | {"__MACOSX/gallery/ann/._b.png": JPEG}
    builder = data.DATASETS["identity_folders"]
    listing = builder.listing(source(tmp_path / "a", files, form))
    assert (listing.left_out, listing.remarks) == ({}, [])
    names = ("readme.txt", "LICENSE", "a.json", "people.csv", "notes.MD")
    listing = builder.listing(source(tmp_path / "b", files | {name: b"text" for name in names}, form))
    assert not listing.left_out and len(listing.remarks) == 1
    assert listing.remarks[0].startswith("5 other files are no pictures: ") and "and 2 more." in listing.remarks[0]
    report = check(builder, tmp_path / "a" if form == "folder" else source(tmp_path / "a", files, form))
    assert report.cautions == 0


def test_hidden_pictures_and_archives_beside_pictures_are_quiet_remarks(tmp_path):
    hidden = {"gallery/ann/.c.jpg": JPEG, ".thumbs/d.png": JPEG, "gallery/ann/.IMG_1.jpg.icloud": b"x"}
    place = source(tmp_path / "set", PEOPLE | hidden | {"gallery/more.zip": b"", "probe.rar": b""}, "folder")
    listing = data.DATASETS["identity_folders"].listing(place)
    assert not listing.left_out and listing.remarks == [
        "3 pictures are hidden by a dot in the name and left out: .thumbs/d.png, gallery/ann/.IMG_1.jpg.icloud, "
        "gallery/ann/.c.jpg.",
        "2 archives are not looked into, since pictures lie beside: gallery/more.zip, probe.rar. Unpack what belongs.",
    ]


# Data sets by names


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_data_sets_by_names_name_what_they_do_not_take(tmp_path, dataset):
    files = {f"set/{name}.png": noise(number) for number, name in enumerate(LAYOUTS[dataset])}
    folder = next(iter(files)).rpartition("/")[0]
    more = {f"{folder}/a.heic": HEIC, f"{folder}/b.dat": JPEG, "set/other/c.jpg": JPEG, "set/readme.txt": b"text"}
    if dataset == "cuhk03":
        more = {name.replace("set/other", "set/detected/other"): content for name, content in more.items()}
    place = source(tmp_path / "set", files | more, "tgz")
    listing = data.DATASETS[dataset].listing(place.with_name(place.name + OPTIONS.get(dataset, "")))
    assert sorted(listing.left_out) == sorted([f"{folder}/a.heic", f"{folder}/b.dat"])
    told = " ".join(listing.remarks)
    assert "1 picture is in folders that this data set does not use: set/" in told and "/readme.txt" in told


def test_other_folders_of_market_are_told_quietly_and_once(tmp_path):
    files = {f"M/{name}.jpg": noise(i) for i, name in enumerate(LAYOUTS["market1501"])}
    files |= {f"M/gt_bbox/0001_c1s1_001051_0{i}.jpg": noise(i + 9) for i in range(3)}
    listing = data.DATASETS["market1501_multi_query"].listing(source(tmp_path / "a", files, "zip"))
    assert listing.remarks == ["3 hand-drawn boxes stand for 1 queries (person and camera)."]
    listing = data.DATASETS["market1501"].listing(source(tmp_path / "b", files, "zip"))
    assert listing.remarks == ["3 pictures are in folders that this data set does not use: M/gt_bbox."]
    assert not listing.left_out


def test_pictures_of_cuhk03_that_are_named_otherwise_are_named(tmp_path):
    split = [{"query": [["x/1_001_1_01.png"]], "gallery": []}]
    files = {f"images_detected/1_00{who}_1_0{kk}.png": noise(9 * who + kk) for who in (1, 2) for kk in (1, 6)}
    files |= {"images_detected/1_003_1_01 (copy).png": noise(77), "images_detected/1_003_1_02.heic": HEIC}
    files |= {"splits_classic_detected.json": str(split).replace("'", '"').encode(), "images_labeled/odd.png": noise(5)}
    listing = data.DATASETS["cuhk03_classic"].listing(source(tmp_path / "c", files, "folder").with_name("c#split=0"))
    assert listing.left_out == {
        "images_detected/1_003_1_01 (copy).png": "not named like 1_001_1_01.png or 0000_00.jpg",
        "images_detected/1_003_1_02.heic": "HEIF, which is not read: save them as .jpg or .png",
    }


OTHERS = {"synthetic", "folder", "coco_boxes", "cuhk03_labelled", "cuhk03_classic", "cuhk03_classic_labelled"}


@pytest.mark.parametrize("dataset", sorted(set(data.DATASETS) - OTHERS))
def test_no_builder_drops_what_its_reader_says(dataset, tmp_path, monkeypatch):
    """A builder that makes a listing of another passes on its remarks and what was left out."""
    layouts = {
        **LAYOUTS,
        "market1501_multi_query": [*LAYOUTS["market1501"], "gt_bbox/0001_c1s1_000451_00"],
        "partial_reid_occluded": ["occluded_body_images/001_001", "whole_body_images/001_001"],
        "partial_ilids_simulated": ["Persons/0001001", "Persons/0001002"],
        "identity_folders": ["probe/1/a", "gallery/1/b"],
    }
    files = {f"set/{name}.png": noise(number) for number, name in enumerate(layouts[dataset])}
    folder = next(iter(files)).rpartition("/")[0]
    place = source(tmp_path / "set", files | {f"{folder}/a.heic": HEIC, "set/readme.txt": b"text"}, "tar")
    listing = data.DATASETS[dataset].listing(place.with_name(place.name + OPTIONS.get(dataset, "")))
    assert list(listing.left_out) == [f"{folder}/a.heic"] and any("readme.txt" in line for line in listing.remarks)
