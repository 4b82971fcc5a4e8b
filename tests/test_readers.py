"""The data sets of the field in their exact layouts: as folder and archive, and every wrong one with its message."""

from pathlib import Path

import numpy as np
import pytest

import data
from data.builders import parts
from data.builders.cropping import encoded
from data.inspection.check import check
from data.prepare import prepare, remarks
from data.sources import levels, options, tree
from tests.trees import FORMS, picture, source

# Small trees of the exact layouts: names of files, and what is read of them as split, identity, camera, name.

MARKET = {
    "Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg": ("train", 2, 1),
    "Market-1501-v15.09.15/bounding_box_train/0007_c3s3_077419_03.jpg": ("train", 7, 3),
    "Market-1501-v15.09.15/bounding_box_test/-1_c1s1_000401_03.jpg": None,
    "Market-1501-v15.09.15/bounding_box_test/0000_c1s1_000151_01.jpg": ("gallery", 0, 1),
    "Market-1501-v15.09.15/bounding_box_test/0001_c6s2_011741_02.jpg": ("gallery", 1, 6),
    "Market-1501-v15.09.15/query/0001_c1s1_001051_00.jpg": ("probe", 1, 1),
    "Market-1501-v15.09.15/query/Thumbs.db": None,
    "Market-1501-v15.09.15/gt_bbox/0001_c1s1_001051_00.jpg": None,
    "Market-1501-v15.09.15/readme.txt": None,
}
MULTI_QUERY = {
    **{name: read for name, read in MARKET.items() if "query" not in name and "gt_bbox" not in name},
    "Market-1501-v15.09.15/query/0001_c1s1_001051_00.jpg": None,
    "Market-1501-v15.09.15/gt_bbox/0001_c1s1_001051_00.jpg": ("probe", 1, 1),
    "Market-1501-v15.09.15/gt_bbox/0001_c1s1_009376_00.jpg": ("probe", 1, 1),
    "Market-1501-v15.09.15/gt_bbox/0001_c2s1_001051_00.jpg": None,  # the person, but no query by that camera
    "Market-1501-v15.09.15/gt_bbox/0002_c1s1_000451_00.jpg": None,  # trained on
}
PARTIAL = {
    "Partial-REID_Dataset/partial_body_images/001_001.jpg": ("probe", 1, -1),
    "Partial-REID_Dataset/partial_body_images/060_005.jpg": ("probe", 60, -1),
    "Partial-REID_Dataset/occluded_body_images/001_001.jpg": None,
    "Partial-REID_Dataset/whole_body_images/001_001.jpg": ("gallery", 1, -1),
    "Partial-REID_Dataset/whole_body_images/060_001.jpg": ("gallery", 60, -1),
}
REPACKAGED = {
    "Partial_REID/query/001_c1_1.jpg": ("probe", 1, -1),
    "Partial_REID/gallery/001_c2_1.jpg": ("gallery", 1, -1),
    "Partial_REID/gallery/002_c2_1.jpg": ("gallery", 2, -1),
}
PARTIAL_OCCLUDED = {
    "Partial-REID_Dataset/partial_body_images/001_001.jpg": None,
    "Partial-REID_Dataset/occluded_body_images/001_003.jpg": ("probe", 1, -1),
    "Partial-REID_Dataset/whole_body_images/001_001.jpg": ("gallery", 1, -1),
}
OCCLUDED = {
    "Occluded_REID/occluded_body_images/001/001_01.tif": ("probe", 1, -1),
    "Occluded_REID/occluded_body_images/200/200_05.tif": ("probe", 200, -1),
    "Occluded_REID/whole_body_images/001/001_01.tif": ("gallery", 1, -1),
}
OCCLUDED_REPACKAGED = {
    "OccludedREID/query/001_01.jpg": ("probe", 1, -1),
    "OccludedREID/gallery/001_01.jpg": ("gallery", 1, -1),
}
PARTIAL_ILIDS = {
    "Partial_iLIDS/Probe/1.jpg": ("probe", 1, -1),
    "Partial_iLIDS/Probe/119.jpg": ("probe", 119, -1),
    "Partial_iLIDS/Gallery/1.jpg": ("gallery", 1, -1),
    "Partial_iLIDS/Gallery/119.jpg": ("gallery", 119, -1),
    "Partial_iLIDS/Probe.txt": None,
}
PARTIAL_ILIDS_REPACKAGED = {
    "PartialiLIDS/query/001_000.jpg": ("probe", 1, -1),
    "PartialiLIDS/gallery/001_001.jpg": ("gallery", 1, -1),
}
LAYOUTS = [
    ("market1501", MARKET),
    ("market1501_multi_query", MULTI_QUERY),
    ("partial_reid", PARTIAL),
    ("partial_reid", REPACKAGED),
    ("partial_reid_occluded", PARTIAL_OCCLUDED),
    ("occluded_reid", OCCLUDED),
    ("occluded_reid", OCCLUDED_REPACKAGED),
    ("partial_ilids", PARTIAL_ILIDS),
    ("partial_ilids", PARTIAL_ILIDS_REPACKAGED),
]


def contents(names, *, form="PNG"):
    return {name: picture(number, form=form) for number, name in enumerate(names)}


def read_of(listing):
    return sorted(
        (split, record.identity, record.camera, record.name, data.decode(record.read())[0, 0, 0].item())
        for split, records in listing.splits.items()
        for record in records
    )


def expected_of(layout):
    numbered = enumerate(layout.items())
    return sorted((*read, name.rpartition("/")[2], value) for value, (name, read) in numbered if read)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dataset", "layout"), LAYOUTS)
def test_parts_read_every_layout_in_every_form(tmp_path, dataset, layout, form):
    place = source(tmp_path / "0009_c9", contents(layout), form)  # what lies above must not matter
    listing = data.DATASETS[dataset].listing(place)
    assert read_of(listing) == expected_of(layout)
    for records in listing.splits.values():
        assert [r.name for r in records] == sorted(r.name for r in records)
    assert list(listing.splits) == [split for split in data.SPLITS if split in listing.splits]


@pytest.mark.parametrize(("dataset", "layout"), LAYOUTS)
def test_parts_ignore_top_folder_case_and_extension(tmp_path, dataset, layout):
    renamed = {
        name.partition("/")[2].replace("query", "Query").replace("gallery", "GALLERY").replace("jpg", "BMP"): content
        for name, content in contents(layout, form="BMP").items()
    }
    listing = data.DATASETS[dataset].listing(source(tmp_path / "set", renamed, "folder"))
    assert [row[:3] for row in read_of(listing)] == [row[:3] for row in expected_of(layout)]


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    for form in FORMS:
        place = source(tmp_path / form / "a", contents(PARTIAL), form)
        before = data.DATASETS["partial_reid"].listing(place).fingerprint()
        moved = (tmp_path / form / "a").rename(tmp_path / form / "b")
        again = moved if place.is_dir() or place.name == "a" else moved / place.name
        assert data.DATASETS["partial_reid"].listing(again).fingerprint() == before
        source(moved, contents(PARTIAL) | {"Partial-REID_Dataset/partial_body_images/001_001.jpg": b"x"}, form)
        assert data.DATASETS["partial_reid"].listing(again).fingerprint() != before


def test_market1501_is_built_with_its_remark(tmp_path):
    top = "Market-1501-v15.09.15"
    place = source(tmp_path / "m", contents(MARKET) | {f"{top}/readme.txt": b"by Zheng et al."}, "zip")
    builder = prepare("market1501", place, data_dir=tmp_path / "data")
    assert remarks(builder) == [
        "1 of 1 probe identities are in the gallery.",
        "1 of 3 pictures in bounding_box_test are junk (identity -1): evaluation ignores them, so they are left out.",
        f"1 picture is in folders that this data set does not use: {top}/gt_bbox.",
        f"1 other file is no picture: {top}/readme.txt.",
        levels.remark([f"train/{name}" for name in TRAINED] + ["probe/" + ASKED] + [f"gallery/{n}" for n in FOUND], 5),
    ]
    gallery = data.load("market1501", "gallery", data_dir=tmp_path / "data")
    assert gallery.identities.tolist() == [0, 1] and gallery.cameras.tolist() == [1, 6]


TRAINED, ASKED = ("0002_c1s1_000451_03.jpg", "0007_c3s3_077419_03.jpg"), "0001_c1s1_001051_00.jpg"
FOUND = ("0000_c1s1_000151_01.jpg", "0001_c6s2_011741_02.jpg")


@pytest.mark.parametrize("form", ["zip", "tgz", "zip in a folder"])
def test_check_draws_the_tree_of_an_archive_and_prints_remarks(tmp_path, form):
    text = check(data.DATASETS["market1501"], source(tmp_path / "m", contents(MARKET), form)).text
    assert "/Market-1501-v15.09.15\n" in text and "│   bounding_box_train/\n" in text and "│   query/\n" in text
    assert "are junk (identity -1): evaluation ignores them, so they are left out." in text


def test_remarks_of_occluded_reid_and_multi_query(tmp_path):
    for layout, version in ((OCCLUDED, "the authors' Occluded_REID"), (OCCLUDED_REPACKAGED, "the repackaged")):
        place = source(tmp_path / version, contents(layout), "folder")
        assert version in data.DATASETS["occluded_reid"].listing(place).remarks[0]
    place = source(tmp_path / "m", contents(MULTI_QUERY), "tar")
    assert (
        "2 hand-drawn boxes stand for 1 queries" in data.DATASETS["market1501_multi_query"].listing(place).remarks[-1]
    )
    nobody = {name.replace("gt_bbox/0001_c1", "gt_bbox/0001_c3"): b"" for name in MULTI_QUERY}
    with pytest.raises(ValueError, match="has no picture in gt_bbox of a query's person and camera"):
        data.DATASETS["market1501_multi_query"].listing(source(tmp_path / "n", nobody, "folder"))


# What is wrong is said, with the expected tree beside the found one


@pytest.mark.parametrize(
    ("dataset", "layout", "without", "message"),
    [
        ("market1501", MARKET, "bounding_box_train", "lacks pictures in bounding_box_train"),
        ("market1501", MARKET, "bounding_box_test", "lacks pictures in bounding_box_test"),
        ("market1501", MARKET, "query", "lacks pictures in query"),
        ("market1501_multi_query", MULTI_QUERY, "gt_bbox", "lacks pictures in gt_bbox"),
        ("partial_reid", PARTIAL, "partial_body", "lacks pictures in partial_body_images"),
        ("partial_reid", PARTIAL, "whole_body", "lacks pictures in whole_body_images"),
        ("partial_reid", REPACKAGED, "query", "lacks pictures in query"),
        ("partial_reid_occluded", PARTIAL_OCCLUDED, "occluded_body", "lacks pictures in occluded_body_images"),
        (
            "partial_reid_occluded",
            REPACKAGED,
            "nothing",
            "lacks pictures in occluded_body_images and whole_body_images",
        ),
        ("occluded_reid", OCCLUDED, "whole_body", "lacks pictures in whole_body_images"),
        ("partial_ilids", PARTIAL_ILIDS, "Gallery", "lacks pictures in Gallery"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "tgz"])
def test_parts_name_missing_folders(tmp_path, dataset, layout, without, message, form):
    place = source(tmp_path / "set", {n: c for n, c in contents(layout).items() if without not in n}, form)
    with pytest.raises(ValueError, match=message) as raised:
        data.DATASETS[dataset].listing(place)
    lines = str(raised.value).splitlines()
    first = next(iter(layout)).split("/")[0]
    assert data.DATASETS[dataset].EXPECTED.splitlines()[0] in lines[1]  # the expected tree on the left
    assert any(first in line.partition("│")[2] for line in lines[1:]) and "Expected beside found" in lines[0]


@pytest.mark.parametrize("dataset", sorted(set(data.DATASETS) - {"synthetic"}))
def test_builders_have_an_expected_tree(tmp_path, dataset):
    builder = data.DATASETS[dataset]
    first = builder.EXPECTED.splitlines()[0]
    for place, message in [(None, "--source is needed"), (tmp_path / "gone", "does not exist")]:
        with pytest.raises(ValueError, match=message) as raised:
            builder.listing(place)
        assert first in str(raised.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Expected beside found|--source=.* names|is not") as raised:
        builder.listing(tmp_path / "empty")
    assert "(empty)" in str(raised.value) or dataset == "folder"
    if dataset not in ("folder", "identity_folders", "coco_boxes"):
        assert builder.CITATION and builder.LICENCE and builder.HOMEPAGE
        assert builder.COUNTS or "classic" in dataset
    assert builder.ABOUT and builder.VERSION


@pytest.mark.parametrize("dataset", sorted(data.DATASETS))
def test_datasets_have_the_names_of_their_builders(dataset, tmp_path):
    assert data.dataset_builder(dataset, data_dir=tmp_path).name == dataset
    for splits in data.DATASETS[dataset].COUNTS.values():
        assert set(splits) <= set(data.SPLITS)
        assert all(images >= people > 0 for images, people in splits.values())


@pytest.mark.parametrize(
    ("dataset", "layout", "odd"),
    [
        ("market1501", MARKET, "Market-1501-v15.09.15/query/1_c1s1_001051_00.jpg"),
        ("market1501", MARKET, "Market-1501-v15.09.15/query/0001_c7s1_001051_00.jpg"),
        ("market1501", MARKET, "Market-1501-v15.09.15/query/-1_c1s1_001051.jpg"),
        ("market1501", MARKET, "Market-1501-v15.09.15/bounding_box_train/0002_c1.jpg"),
        ("partial_reid", PARTIAL, "Partial-REID_Dataset/whole_body_images/a_001.jpg"),
        ("partial_reid", PARTIAL, "Partial-REID_Dataset/whole_body_images/001.jpg"),
        ("partial_reid", PARTIAL, "Partial-REID_Dataset/whole_body_images/12345_001.jpg"),
        ("occluded_reid", OCCLUDED, "Occluded_REID/whole_body_images/002/picture.tif"),
        ("partial_ilids", PARTIAL_ILIDS, "Partial_iLIDS/Gallery/copy of 1.jpg"),
    ],
)
def test_parts_refuse_names_without_a_person(tmp_path, dataset, layout, odd):
    place = source(tmp_path / "set", contents([*layout, odd]), "zip")
    with pytest.raises(
        ValueError, match=r"1 of \d pictures in \w+ are not named like .*, such as .*: the name must"
    ) as r:
        data.DATASETS[dataset].listing(place)
    assert odd in str(r.value)


def test_parts_without_junk_read_it_as_nobody(tmp_path):
    layout = {**MARKET, "Market-1501-v15.09.15/query/-1_c1s1_001051_00.jpg": ("probe", -1, 1)}
    listing = data.DATASETS["market1501"].listing(source(tmp_path / "set", contents(layout), "folder"))
    assert read_of(listing) == expected_of(layout)


def test_parts_refuse_repeated_pictures_and_folders(tmp_path):
    twice = [*PARTIAL, "Partial-REID_Dataset/whole_body_images/001_001.PNG"]
    with pytest.raises(ValueError, match=r"holds the picture 001_001 twice, as .*001_001.PNG and .*001_001.jpg: keep"):
        data.DATASETS["partial_reid"].listing(source(tmp_path / "a", contents(twice), "folder"))
    copies = [*PARTIAL, *(name.replace("Dataset", "Copy") for name in PARTIAL)]
    with pytest.raises(ValueError, match="has the folder partial_body_images twice, Partial-REID_Copy/partial"):
        data.DATASETS["partial_reid"].listing(source(tmp_path / "b", contents(copies), "folder"))
    deeper = [*MARKET, "Market-1501-v15.09.15/pytorch/query/0001/0001_c1s1_001051_00.jpg"]
    assert (
        len(data.DATASETS["market1501"].listing(source(tmp_path / "c", contents(deeper), "tar")).splits["probe"]) == 1
    )


def test_parts_refuse_a_picture_in_two_splits(tmp_path):
    inner = [name.replace("PartialiLIDS", "query") for name in PARTIAL_ILIDS_REPACKAGED]
    with pytest.raises(ValueError, match="has query/gallery/001_001.jpg, which lies in query and in Gallery"):
        data.DATASETS["partial_ilids"].listing(source(tmp_path / "set", contents(inner), "zip"))


def test_stem_removes_repeated_extensions():
    assert tree.stem("a/0002_c1s1_000451_03.jpg.jpg") == "0002_c1s1_000451_03" == tree.stem("0002_c1s1_000451_03.TIFF")


def test_prepare_skips_damaged_pictures_of_an_archive(tmp_path):
    files = contents(PARTIAL)
    files["Partial-REID_Dataset/whole_body_images/060_001.jpg"] = b"no picture"
    place = source(tmp_path / "set", files, "tgz")
    with pytest.raises(ValueError, match=r"1 of 4 images cannot be read[\s\S]*060_001.jpg: not an image"):
        prepare("partial_reid", place, data_dir=tmp_path / "data")
    builder = prepare("partial_reid", place, data_dir=tmp_path / "data", skip_bad=True)
    assert builder.source("gallery").names == ["001_001.jpg"]


# Drawn splits and cuts

CAMPUS = [f"campus/{person:04d}00{shot}.png" for person in range(1, 8) for shot in range(1, 5)]


@pytest.mark.parametrize("form", FORMS)
def test_cuhk01_has_two_cameras_and_draws_its_test_people(tmp_path, form):
    place = source(tmp_path / "set", contents(CAMPUS), form)
    listing = data.DATASETS["cuhk01"].listing(place.with_name(place.name + "#test=3,seed=1"))
    people = {split: {record.identity for record in records} for split, records in listing.splits.items()}
    assert len(people["probe"]) == 3 and people["probe"] == people["gallery"]
    assert people["train"] == set(range(1, 8)) - people["probe"]
    assert {r.camera for r in listing.splits["probe"]} == {1} and {r.camera for r in listing.splits["gallery"]} == {2}
    assert {r.name[4:7] for r in listing.splits["gallery"]} == {"003", "004"}
    assert sum(map(len, listing.splits.values())) == 28
    other = data.DATASETS["cuhk01"].listing(place.with_name(place.name + "#test=3,seed=2"))
    assert other.fingerprint() != listing.fingerprint()


def test_cuhk01_refuses_more_test_people_than_there_are(tmp_path):
    place = source(tmp_path / "set", contents(CAMPUS), "folder")
    with pytest.raises(ValueError, match="test=486, but there are 7 people"):
        data.DATASETS["cuhk01"].listing(place)
    everybody = data.DATASETS["cuhk01"].listing(place.with_name("set#test=7"))
    assert list(everybody.splits) == ["probe", "gallery"]
    odd = source(tmp_path / "odd", contents([*CAMPUS, "campus/0001005.png"]), "folder")
    with pytest.raises(ValueError, match="1 of 29 pictures in campus are not named like 0001001.png"):
        data.DATASETS["cuhk01"].listing(odd)


def test_partial_ilids_simulated_cuts_the_first_picture_of_each_person(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"i-LIDS_Pedestrian/Persons/{who:04d}{shot:03d}.jpg" for who in (1, 2) for shot in (1, 2, 3)]
    noise = {name: rng.integers(0, 256, (40, 20, 3), np.uint8) for name in names}
    place = source(tmp_path / "set", {name: encoded(pixels) for name, pixels in noise.items()}, "tgz")
    listing = data.DATASETS["partial_ilids_simulated"].listing(place)
    assert [(r.name, r.identity) for r in listing.splits["probe"]] == [("0001001.jpg", 1), ("0002001.jpg", 2)]
    assert [r.name for r in listing.splits["gallery"]] == [f"000{w}00{s}.jpg" for w in (1, 2) for s in (2, 3)]
    cuts = [data.decode(record.read()) for record in listing.splits["probe"]]
    for cut, name in zip(cuts, [names[0], names[3]], strict=True):
        assert 20 <= cut.shape[0] <= 30 and 14 <= cut.shape[1] <= 20
        windows = np.lib.stride_tricks.sliding_window_view(noise[name], cut.shape)
        assert (windows == cut).all(axis=(-3, -2, -1)).any()  # a part of the picture, to the pixel
    other = data.DATASETS["partial_ilids_simulated"].listing(place.with_name(place.name + "#seed=7"))
    assert other.splits["probe"][0].read() != listing.splits["probe"][0].read()
    assert other.fingerprint() != listing.fingerprint()
    again = data.DATASETS["partial_ilids_simulated"].listing(place)
    assert again.splits["probe"][0].read() == listing.splits["probe"][0].read()


# Options


@pytest.mark.parametrize("text", ["split", "split=", "=3", "other=3", "split=1,split", ""])
def test_options_refuse_unknown_ones(text):
    with pytest.raises(ValueError, match="is no option; there are split=0"):
        options.options(text, {"split": "0"})


@pytest.mark.parametrize("value", ["-1", "20", "1.0", "x", "９", "1" * 40])
def test_options_integer_refuses_numbers_out_of_range(value):
    with pytest.raises(ValueError, match="must be a whole number from 0 to 19"):
        options.integer({"split": value}, "split", low=0, high=19)


def test_options_parted_leaves_an_existing_path_with_a_sign(tmp_path):
    place = source(tmp_path / "set#test=3", contents(PARTIAL), "folder")
    assert options.parted(place, {"test": "1"}) == (place, {"test": "1"})
    assert options.parted(tmp_path / "set#test=3#test=4", {"test": "1"}) == (place, {"test": "4"})
    assert options.parted(None, {"test": "1"}) == (None, {"test": "1"})
    with pytest.raises(ValueError, match="tracks=thrice must be one of"):
        options.choice({"tracks": "thrice"}, "tracks", ["same"])


def test_parts_take_the_first_complete_layout(tmp_path):
    both = tree.opened(source(tmp_path / "set", contents([*PARTIAL, *REPACKAGED]), "folder"), "x")
    assert [r.name for r in parts.listing(both, data.builders.partial_reid.REPACKAGED, "x").splits["probe"]] == [
        "001_c1_1.jpg"
    ]


# The page


@pytest.mark.parametrize("dataset", sorted(data.DATASETS))
def test_docs_data_page_agrees_with_the_builders(dataset):
    page = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text()
    builder = data.DATASETS[dataset]
    section = page.partition(f"\n### {dataset}\n")[2].partition("\n### ")[0]
    assert f"--dataset={dataset} " in section
    for text in (builder.EXPECTED, builder.CITATION, builder.LICENCE, builder.HOMEPAGE):
        assert text in section
    rows = [line for line in page.splitlines() if line.startswith(f"| `{dataset}`")]
    assert rows and all(row.endswith(f"| {builder.PROBES} | {builder.CAMERA_RULE} |") for row in rows)
    for row, splits in zip(rows, builder.COUNTS.values(), strict=bool(builder.COUNTS)):
        assert all(f"| {images:,} / {people:,} |" in row for images, people in splits.values())
