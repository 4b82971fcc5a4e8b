"""Data sets from disk: what is read is what was there, in every layout, and bad input is named before it is used."""

import csv
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import data
from data.builders.builder import Builder, build
from data.builders.listing import Listing, Record, checked
from data.inspection import statistics
from data.prepare import prepare, remarks
from data.sources import layout

ROOT = Path(__file__).resolve().parent.parent


def picture(value: int, *, size: tuple[int, int] = (6, 12), form: str = "PNG") -> bytes:
    """The file of a picture of one grey, (width, height) pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, form)
    return buffer.getvalue()


def people_csv(place: Path, rows: list[tuple[str, str, str, str]], *, name: str = "people.csv") -> Path:
    """A CSV of the rows, and a picture for every path in it."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / name).open("w", newline="") as file:
        csv.writer(file).writerows([("path", "identity", "camera", "role"), *rows])
    for number, (path, *_) in enumerate(rows):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(picture(10 * number))
    return place / name


ROWS = [("a.png", "4", "0", "train"), ("sub/b.png", "7", "0", "probe"), ("c, d.PNG", "7", "1", "gallery")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m data.prepare` with the arguments."""
    command = [sys.executable, "-m", "data.prepare", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# Decoding


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_decode_gives_rgb_whatever_the_format(form, mode):
    buffer = io.BytesIO()
    made = Image.new("RGB", (5, 9), (96, 96, 96)).convert(mode, palette=Image.Palette.ADAPTIVE)
    (made.convert("L") if mode == "P" and form in ("JPEG", "WEBP", "PPM") else made).save(buffer, form)
    image = data.decode(buffer.getvalue())
    assert image.shape == (9, 5, 3) and image.dtype == np.uint8 and image.flags.writeable
    assert np.abs(image.astype(int) - 96).max() <= 4


def test_decode_turns_the_picture_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5)).save(buffer, "JPEG", exif=exif)
    assert data.decode(buffer.getvalue()).shape == (9, 5, 3)


def test_decode_drops_transparency_and_scales_16_bits():
    for made, expected in [
        (Image.new("RGBA", (2, 3), (9, 8, 7, 0)), [9, 8, 7]),
        (Image.fromarray(np.full((3, 2), 0x8040, np.uint16)), [128, 128, 128]),
    ]:
        buffer = io.BytesIO()
        made.save(buffer, "PNG")
        np.testing.assert_array_equal(data.decode(buffer.getvalue())[0, 0], expected)


@given(st.integers(0, 10_000), st.sampled_from(["PNG", "JPEG"]))
def test_decode_of_any_damage_is_a_value_error_or_a_picture(seed, form):
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, form)
    damaged = bytearray(buffer.getvalue())
    damaged[rng.integers(len(damaged))] ^= int(rng.integers(1, 256))
    try:
        assert data.decode(bytes(damaged)).shape[-1] == 3
    except ValueError:
        pass
    with pytest.raises(ValueError, match="image"):
        data.decode(buffer.getvalue()[: len(damaged) // 2])


# A folder with a CSV


def test_folder_is_read_as_it_was_written(tmp_path):
    source = people_csv(tmp_path / "mine", ROWS)
    prepare("folder", source, data_dir=tmp_path / "data")
    for split, name, identity, camera, value in [
        ("train", "a.png", 4, 0, 0), ("probe", "sub/b.png", 7, 0, 10), ("gallery", "c, d.PNG", 7, 1, 20)
    ]:  # fmt: skip
        read = data.load("folder", split, data_dir=tmp_path / "data")
        assert read.names == [name] and len(read) == 1
        assert read.identities.tolist() == [identity] and read.cameras.tolist() == [camera]
        assert read.identities.dtype == read.cameras.dtype == np.int64
        assert read[0][1:] == (identity, camera, name) == read[-1][1:]
        np.testing.assert_array_equal(read[0].image, np.full((12, 6, 3), value))
        with pytest.raises(IndexError):
            read[1]


def test_build_stores_the_original_files_in_order_across_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("data.builders.builder.SHARD_SIZE", 3)
    rows = [(f"{9 - i}.png", str(i), "0", "gallery") for i in range(8)]
    source = people_csv(tmp_path, rows)
    builder = prepare("folder", source, data_dir=tmp_path / "data")
    assert builder.info.splits["gallery"].num_shards == 3
    read = data.load("folder", "gallery", data_dir=tmp_path / "data")
    assert read.names == [row[0] for row in rows] and [e.identity for e in read] == list(range(8))
    assert [read._records[i]["image"] for i in range(8)] == [(tmp_path / row[0]).read_bytes() for row in rows]
    copy = pickle.loads(pickle.dumps(read))
    np.testing.assert_array_equal(copy[5].image, read[5].image)


def test_folder_reads_windows_line_ends_mark_quotes_and_no_camera(tmp_path):
    text = '\ufeffPath, Identity ,ROLE\r\n"a, b.JPG",Ann, probe\r\n\r\nsub\\c.JpEg,"Bob, Jr.",gallery\r\n'
    (tmp_path / "people.csv").write_bytes(text.encode())
    (tmp_path / "sub").mkdir()
    for path in ("a, b.JPG", "sub/c.JpEg"):
        (tmp_path / path).write_bytes(picture(50, form="JPEG"))
    builder = prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    probe, gallery = builder.source("probe"), builder.source("gallery")
    assert (probe[0].identity, gallery[0].identity) == (0, 1) and probe[0].camera == data.UNKNOWN_CAMERA
    assert builder.info.metadata["labels"] == {"0": "Ann", "1": "Bob, Jr."}
    assert any("Ann = 0, Bob, Jr. = 1" in line for line in remarks(builder))
    assert any("0 of 1 probe identities" in line for line in remarks(builder))
    assert "unknown" in statistics.table([statistics.of_source(probe)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("path,identity,camera,role\n", "no rows"),
        ("file,person,role\na.png,1,probe\n", r"lacks the columns path, identity.*found file,person,role"),
        ("path;identity;role\na.png;1;probe\n", r"expected the header path,identity,camera,role.*found path;identity"),
        ("path,identity,role\na.png,1,tested\n", r"line 2: role 'tested' must be one of train, probe, gallery"),
        ("path,identity,role\na.png,1\n", "line 2: 2 entries for 3 columns"),
        ("path,identity,role\na.png,,probe\n", "line 2: path and identity must not be empty"),
        ("path,identity,role\na.png,-1,train\n", "line 2: a training image must show somebody"),
        ("path,identity,role\na.png,-3,probe\n", "-3 must be at least -1"),
        ("path,identity,role\na.png,1,probe\n\ngone.png,1,gallery\n", r"(?s)1 files that are not.*line 4: .*gone.png"),
        ("path,identity,role\na.png,1,probe\na.png,1,probe\n", "line 3: a.png is in probe already, see line 2"),
        ('path,identity,role\n"a.png,1,probe\n', "is not a CSV"),
        ("path,identity,role\na\udcff.png,1,probe\n", "is not UTF-8"),
    ],
)  # fmt: skip
def test_folder_names_a_bad_csv(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "people.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_checked_refuses_damaged_pictures_or_leaves_them_out(tmp_path):
    source = people_csv(tmp_path, [*ROWS, ("e.png", "8", "1", "gallery"), ("f.png", "8", "1", "gallery")])
    (tmp_path / "e.png").write_bytes(picture(0)[:40])
    (tmp_path / "f.png").write_text("not a picture")
    with pytest.raises(
        ValueError, match=r"(?s)2 of 5 images cannot be read, nothing was written.*e\.png.*f\.png.*skip_bad"
    ):
        prepare("folder", source, data_dir=tmp_path / "data")
    assert not (tmp_path / "data").exists()
    builder = prepare("folder", source, data_dir=tmp_path / "data", skip_bad=True)
    assert builder.source("gallery").names == ["c, d.PNG"]
    assert [line.split(":")[0] for line in builder.info.metadata["skipped"]] == ["e.png", "f.png"]
    assert "2 images were left out:" in remarks(builder)
    prepare("folder", source, data_dir=tmp_path / "data")  # the same source: ready


def test_checked_refuses_nothing_but_damaged_pictures():
    def fail() -> bytes:
        raise OSError("unplugged")

    with pytest.raises(ValueError, match="(?s)no image to build.*unplugged"):
        checked(Listing({"probe": [Record("a", 0, 0, fail)]}), skip_bad=True)


def test_build_that_fails_leaves_nothing(tmp_path):
    def fail() -> bytes:
        raise OSError("the disk went away")

    builder = data.dataset_builder("folder", data_dir=tmp_path)
    content = Listing({"probe": [Record("a", 0, 0, lambda: picture(0)), Record("b", 0, 0, fail)]})
    with pytest.raises(OSError, match="went away"):
        build(builder, content, fingerprint="")
    assert not builder.is_built and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_build_that_fails_leaves_the_older_data_set(tmp_path):
    builder = prepare("folder", people_csv(tmp_path / "mine", ROWS), data_dir=tmp_path / "data")

    def fail() -> bytes:
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        build(builder, Listing({"train": [Record("b", 0, 0, fail)]}), fingerprint="", overwrite=True)
    assert data.load("folder", "train", data_dir=tmp_path / "data").names == ["a.png"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["folder"]


def test_prepare_notices_a_changed_source_and_overwrites_with_the_flag(tmp_path):
    source = people_csv(tmp_path / "mine", ROWS)
    prepare("folder", source, data_dir=tmp_path / "data")
    (tmp_path / "mine" / "a.png").write_bytes(picture(77))
    with pytest.raises(ValueError, match="has changed since folder was built.*--overwrite"):
        prepare("folder", source, data_dir=tmp_path / "data")
    prepare("folder", None, data_dir=tmp_path / "data")
    assert data.load("folder", "train", data_dir=tmp_path / "data")[0].image.max() == 0
    prepare("folder", source, data_dir=tmp_path / "data", overwrite=True)
    assert data.load("folder", "train", data_dir=tmp_path / "data")[0].image.max() == 77
    moved = (tmp_path / "mine").rename(tmp_path / "elsewhere")
    prepare("folder", moved / "people.csv", data_dir=tmp_path / "data")  # moved is not changed


# Loading, and the command


def test_load_names_the_command_that_prepares(tmp_path):
    with pytest.raises(ValueError, match="dataset 'market' is unknown: use one of coco_boxes, cuhk01, cuhk03"):
        data.load("market", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="split 'test' is unknown"):
        data.load("folder", "test", data_dir=tmp_path)
    with pytest.raises(ValueError, match="(?s)not prepared.*python -m data.prepare --dataset=folder --source=PATH"):
        data.load("folder", "train", data_dir=tmp_path)
    prepare("folder", people_csv(tmp_path / "mine", ROWS[1:]), data_dir=tmp_path)
    with pytest.raises(ValueError, match="has no split 'train', only probe, gallery"):
        data.load("folder", "train", data_dir=tmp_path)


def test_listing_refuses_unknown_splits(tmp_path):
    class Odd(Builder):
        VERSION = "1.0.0"

    with pytest.raises(ValueError, match="splits .'val'. are unknown"):
        build(Odd(data_dir=tmp_path), Listing({"val": []}), fingerprint="")
    with pytest.raises(NotImplementedError, match="Odd must define"):
        Odd.listing(None)


def test_layout_error_shows_two_trees_side_by_side(tmp_path):
    for name in [*"abcdefghij", "k/l"]:
        (tmp_path / name).mkdir(parents=True)
    drawn = layout.drawing(tmp_path)
    assert "a/" in drawn and "..." in drawn and len(drawn.splitlines()) <= 15
    assert layout.beside("xx\ny", "z") == "  xx │ z\n  y  │"
    assert "(a file)" in str(layout.layout_error(Path(__file__), "x/"))
    assert "--source is needed" in str(layout.layout_error(None, "x/"))


@pytest.mark.slow
def test_prepare_command_prints_the_table_and_needs_no_tensorflow(tmp_path):
    rows = [*ROWS, ("e.png", "4", "1", "train"), ("f.png", "-1", "1", "gallery")]
    source = people_csv(tmp_path / "mine", rows)
    arguments = ["--dataset=folder", f"--source={source}", f"--data_dir={tmp_path / 'data'}"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1:5] == [
        "split    identities  images  cameras  images each  height  width",
        "train             1       2        2            2      12      6",
        "probe             1       1        1            1      12      6",
        "gallery           1       2        1            1      12      6",
    ]
    assert lines[5:7] == [
        "1 of 1 probe identities are in the gallery.",
        "1 images show nobody (identity -1): no evaluation counts them.",
    ]
    assert len(lines) == 8 and lines[7].startswith("5 of 5 pictures are of (nearly) one colour, train/a.png, ")
    assert run(*arguments).stdout == done.stdout
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["folder"]
    script = (
        "import sys, data; s = data.load('folder', 'train', data_dir=sys.argv[1]); s[0];"
        "print('tensorflow' in sys.modules, len(s))"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "data")]
    read = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (read.stdout, read.stderr) == ("False 2\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=folder"], "--data_dir is needed"),
        (["--dataset=folder", "--data_dir=DATA"], "--source is needed"),
        (["--dataset=cuhk03", "--data_dir=DATA", "--source=nowhere"], "--source=nowhere does not exist"),
        (["--data_dir=DATA", "--source=x.csv"], "leave --source out"),
        (["--data_dir=DATA", "--sourse=x.csv"], "Unknown command line flag 'sourse'"),
        (["--data_dir=DATA", "folder"], "what is 'folder'?"),
    ],
)
def test_prepare_command_refuses_in_one_paragraph(tmp_path, arguments, message):
    done = run(*[argument.replace("DATA", str(tmp_path / "data")) for argument in arguments])
    assert done.returncode == 1 and done.stdout == ""
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_prepare_command_help():
    shown = run("--help").stdout
    assert all(word in shown for word in ("people.csv has the columns", "--skip_bad", "--overwrite", "cuhk03|"))


def test_build_writes_metadata_as_plain_json(tmp_path):
    builder = prepare("folder", people_csv(tmp_path, ROWS), data_dir=tmp_path / "data")
    stored = json.loads((Path(builder.data_dir) / "metadata.json").read_text())
    assert stored["index"]["probe"] == {"identities": [7], "cameras": [0], "names": ["sub/b.png"]}
    assert len(stored["fingerprint"]) == 64
