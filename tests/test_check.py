"""The check: every oddity is found, told with its place, and decides rightly whether a source is usable."""

import dataclasses
import io
import itertools
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import data
from data import prepare, synthetic
from data.builders.builder import Builder
from data.builders.folder import Folder
from data.builders.listing import Listing, Record
from data.inspection import counts, duplicates
from data.inspection.check import Report, check
from data.inspection.statistics import aligned, spread
from data.inspection.survey import Inspection, difference_hash, inspect
from data.sources import levels
from tests.commands import command
from tests.test_data import people_csv

CROWD = synthetic.people(12)


def drawn(who: int, camera: int, index: int = 0, **size: int) -> Image.Image:
    return Image.fromarray(synthetic.draw(CROWD[who], camera, index, **size))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def people(place: Path) -> dict[tuple[str, int, int], Path]:
    """A good source: two people to train on and two to test on, by two cameras."""
    rows = [(f"train/{who}_{c}.png", str(who), str(c), "train") for who in (0, 1) for c in (0, 1)]
    rows += [(f"probe/{who}_0.png", str(who), "0", "probe") for who in (2, 3)]
    rows += [(f"gallery/{who}_1.png", str(who), "1", "gallery") for who in (2, 3)]
    people_csv(place, rows)
    files = {(role, int(who), int(camera)): place / path for path, who, camera, role in rows}
    for (_, who, camera), path in files.items():
        path.write_bytes(encoded(drawn(who, camera)))
    return files


def add(place: Path, path: str, who: object, camera: object, role: str, content: bytes) -> None:
    """One more row and file."""
    (place / path).parent.mkdir(parents=True, exist_ok=True)
    (place / path).write_bytes(content)
    with (place / "people.csv").open("a") as file:
        file.write(f"{path},{who},{camera},{role}\r\n")


def checked(place: Path, **options: bool) -> Report:
    return check(Folder, place / "people.csv", **options)


def found(report: Report, title: str) -> tuple[int, list[str]]:
    """How many of what a title begins with, and the lines below it."""
    lines = report.text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"  {title}"))
    count = lines[at].split()[-1]
    below = itertools.takewhile(lambda line: line.startswith("      "), lines[at + 1 :])
    return 0 if count == "none" else int(count), [line.strip() for line in below]


def test_check_of_a_good_source_has_no_caution(tmp_path):
    people(tmp_path)
    report = checked(tmp_path)
    assert report.usable and report.cautions == 0
    lines = str(report).splitlines()
    assert lines[-1] == "usable"
    assert (
        "path,identity,camera,role" in report.text and "│   people.csv" in report.text and "│   probe/" in report.text
    )
    assert "train             2       4        2            2     128     48" in lines
    looked = lines[lines.index("looked for") + 1 : -2]
    assert len(looked) == 13 and all(line.endswith("  none") for line in looked)
    assert len({len(line) for line in looked}) == 1, "the numbers stand under each other"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_check_of_unreadable_images(tmp_path):
    files = people(tmp_path)
    files["train", 0, 0].write_bytes(files["train", 0, 0].read_bytes()[:300])
    files["gallery", 3, 1].write_bytes(b"<html>")
    report = checked(tmp_path)
    count, lines = found(report, "images that cannot be read")
    assert count == 2 and lines[0].startswith("train/train/0_0.png: a damaged image file")
    assert str(report).splitlines()[-1] == (
        "not usable: 2 of 8 images cannot be read: replace them, or pass --skip_bad"
    )
    lenient = checked(tmp_path, skip_bad=True)
    assert lenient.usable and lenient.cautions == 2  # left out, and so one probe has no mate
    assert found(lenient, "probes whose person")[1] == ["probe/probe/3_0.png: identity 3, camera 0"]
    for path in files.values():
        path.write_bytes(b"")
    assert checked(tmp_path, skip_bad=True).reason.startswith("none of 8 images can be read")


def test_check_of_odd_sizes(tmp_path):
    people(tmp_path)
    for name, height, width in (("flat", 30, 100), ("tall", 350, 50), ("tiny", 31, 16), ("large", 520, 200)):
        add(tmp_path, f"{name}.png", 0, 0, "train", encoded(drawn(0, 0, height=height, width=width)))
    report = checked(tmp_path)
    assert report.usable and report.cautions == 3
    assert found(report, "images of odd shape") == (
        2,
        ["train/flat.png: 30 x 100 (height x width)", "train/tall.png: 350 x 50 (height x width)"],
    )
    assert [line.split(":")[0] for line in found(report, "tiny images")[1]] == ["train/flat.png", "train/tiny.png"]
    far = found(report, "sizes 4 times from their split's median")[1]
    assert [line.split(":")[0] for line in far] == ["train/flat.png", "train/tiny.png", "train/large.png"]
    assert "smallest / median / largest" in report.text and "30 / 128 / 520" in report.text


def test_check_of_the_same_file_and_the_same_picture(tmp_path):
    files = people(tmp_path)
    gallery = files["gallery", 2, 1].read_bytes()
    add(tmp_path, "again.png", 2, 1, "probe", gallery)  # the same bytes
    add(tmp_path, "jpeg.jpg", 3, 0, "gallery", encoded(drawn(3, 0), "JPEG", quality=75))  # probe 3 as another file
    report = checked(tmp_path)
    assert report.usable and report.cautions == 3  # its only mate is by its own camera
    assert found(report, "the same file in probe and gallery")[1] == ["probe/again.png = gallery/gallery/2_1.png"]
    assert found(report, "the same picture in two splits")[1] == ["probe/probe/3_0.png = gallery/jpeg.jpg"]
    add(tmp_path, "leak.png", 1, 1, "train", gallery)
    leaking = checked(tmp_path)
    assert found(leaking, "the same file trained on")[1][-1].endswith(", as two people")
    assert str(leaking).splitlines()[-1].startswith("not usable: 2 files are both trained on and tested on")


def test_check_of_shared_identities(tmp_path):
    people(tmp_path)
    add(tmp_path, "more.png", 0, 1, "gallery", encoded(drawn(0, 1, 3)))
    report = checked(tmp_path)
    assert found(report, "identities trained on and tested on") == (1, ["identity 0"])
    assert report.reason == "1 identity is both trained on and tested on: give each to one of them"


def test_check_of_nobody(tmp_path):
    people(tmp_path)
    add(tmp_path, "nobody.png", -1, 1, "gallery", encoded(drawn(7, 1)))
    add(tmp_path, "asks.png", -1, 0, "probe", encoded(drawn(8, 0)))
    report = checked(tmp_path)
    assert found(report, "identities trained on and tested on")[0] == 0
    assert found(report, "probes whose person")[1] == ["probe/asks.png: identity -1, camera 0"]


def only(splits: Mapping[str, list[tuple[int, int]]], rule: str = "cross") -> Report:
    """A check of drawn people given as (identity, camera) per split."""

    class Toy(Builder):
        VERSION = "1.0.0"
        CAMERA_RULE = rule

        @classmethod
        def listing(cls, source: Path | None) -> Listing:
            return Listing({
                split: [
                    Record(f"{who}_{c}_{i}", who, c, lambda who=who, c=c, i=i: encoded(drawn(who, max(c, 0), i + 7)))
                    for i, (who, c) in enumerate(rows)
                ]
                for split, rows in splits.items()
            })  # fmt: skip

    return check(Toy, None)


def test_check_of_mates_follows_the_camera_rule():
    sides = {"probe": [(1, 0), (2, 0)], "gallery": [(1, 0), (1, 1), (2, 0)]}
    assert found(only(sides), "probes whose person")[1] == ["probe/2_0_1: identity 2, camera 0"]
    assert found(only(sides, "any"), "probes whose person")[0] == 0
    unknown = {"probe": [(1, -1)], "gallery": [(1, -1)]}
    assert only(unknown).usable
    assert only({"probe": [(1, 0)], "gallery": [(2, 1)]}).reason == (
        "no probe has its person in the gallery by another camera: check how both number people and cameras"
    )
    assert only({"probe": [(1, 0)]}).reason == "nothing can be tested, there is no gallery image"
    assert only({"gallery": [(1, 0)]}).reason == "nothing can be tested, there is no probe image"
    assert only({"train": [(1, 0), (2, 0)]}).usable
    assert only({}).reason.endswith("holds no picture: name the folder that does")


@pytest.mark.parametrize(
    ("name", "source", "reason", "told"),
    [
        ("folder", "gone.csv", "--source=PLACE/gone.csv does not exist", "│ (nothing)"),
        ("folder", None, "--source is needed", "(no --source)"),
        ("cuhk03", ".", "--source=PLACE", "cuhk03_new_protocol_config"),
        ("folder", "bad.csv", "PLACE/bad.csv names 1 files that are not there (paths are", "line 2: "),
        ("synthetic", "x", "--source", "synthetic:"),
    ],
)  # fmt: skip
def test_check_of_a_source_that_cannot_be_listed(tmp_path, name, source, reason, told):
    (tmp_path / "bad.csv").write_text("path,identity,role\nnone.png,1,probe\n")
    report = check(data.DATASETS[name], tmp_path / source if source else None)
    assert str(report).splitlines()[-1].startswith(f"not usable: {reason.replace('PLACE', str(tmp_path))}")
    assert told in str(report) and not report.usable
    assert str(report).count("Expected") == 0, "the trees are there once"


def test_check_of_a_device():
    report = check(data.DATASETS["cuhk03"], Path("/dev/null"))
    assert not report.usable and "│ (Not a directory)" in report.text
    assert report.reason.startswith("--source=/dev/null") or "Not a directory" in report.reason


# Published counts


def test_compared_names_the_fitting_version_or_the_nearest(monkeypatch, tmp_path):
    class Published(Folder):
        VERSION = "1.0.0"
        HOMEPAGE = "https://example.org/people"
        LICENCE = "for research"
        COUNTS: ClassVar = {
            "old": {"train": (4, 2), "probe": (2, 2), "gallery": (9, 2)},
            "new": {"train": (4, 2), "probe": (2, 2), "gallery": (2, 2)},
        }

    people(tmp_path)
    report = check(Published, tmp_path / "people.csv")
    assert 'fits the version "new"' in report.text and report.cautions == 0
    assert "from: https://example.org/people" in report.text and "licence: for research" in report.text
    add(tmp_path, "more.png", 2, 1, "gallery", encoded(drawn(2, 1, 5)))
    add(tmp_path, "other.png", 9, 1, "gallery", encoded(drawn(9, 1, 5)))
    report = check(Published, tmp_path / "people.csv")
    said = 'nearest to the version "new", which differs: 2 images of gallery more, 1 identity of gallery more'
    assert said in report.text and report.usable and report.cautions == 1
    assert "gallery       4          2  +2           3          2  +1" in report.text


def test_compared_without_published_counts():
    assert counts.nearest({"probe": (1, 1)}, {}) is None
    table, said, fits = counts.compared({"probe": (3, 2), "train": (9, 9)}, {"v": {"probe": (3, 2)}})
    assert fits and "unknown" in table and said == 'fits the version "v"'
    table, said, fits = counts.compared({}, {"v": {"probe": (3, 2)}})
    assert not fits and "3 images of probe fewer, 2 identities of probe fewer" in said


# Looks


def test_difference_hash_of_copies_and_of_people():
    images = [drawn(who, camera, index) for who in range(12) for camera in (0, 1) for index in range(3)]
    looks = np.array([difference_hash(np.asarray(image)) for image in images])
    apart = np.bitwise_count(looks[:, None] ^ looks[None]).sum(axis=-1, dtype=int)
    assert apart[~np.eye(len(images), dtype=bool)].min() > duplicates.NEAR
    for change in (
        lambda image: Image.open(io.BytesIO(encoded(image, "JPEG", quality=75))),
        lambda image: image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC),
        lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
        lambda image: image.resize((5 * image.width // 7, 5 * image.height // 7), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    ):
        copies = np.array([difference_hash(np.asarray(change(image))) for image in images])
        assert (np.bitwise_count(copies ^ looks).sum(axis=1) <= duplicates.NEAR).mean() > 0.95


def test_difference_hash_is_of_means_over_exact_areas():
    image = np.random.default_rng(0).integers(0, 256, (13, 11, 1), dtype=np.uint8).repeat(3, axis=2)
    large = image[..., 0].repeat(16, axis=0).repeat(9, axis=1).astype(float)  # a whole number of pixels each
    means = np.rint(large.reshape(16, 13, 9, 11).mean(axis=(1, 3)))
    expected = np.packbits(means[:, 1:] > means[:, :-1]).view(np.uint64)
    np.testing.assert_array_equal(difference_hash(image), expected)


def pictures(count: int, looks: np.ndarray, contents: np.ndarray) -> Inspection:
    """So many pictures in each of two splits, that were never drawn."""
    zeros = np.zeros(2 * count, np.int64)
    splits = np.array(["train", "probe"]).repeat(count)
    names = [f"{split}/{i}" for i, split in enumerate(splits)]
    sizes = np.ones((2 * count, 2), np.int64)
    return Inspection(names, splits, zeros, zeros, sizes, contents, contents, looks, zeros + 256, {})


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 4])
def test_same_looks_of_a_placeholder_is_one_pair_per_picture(noise):
    """Not one per pair, of which 20,000 pictures that nobody replaced have 400 million; noise: bits that differ."""
    count = 20_000
    looks = np.ones((2 * count, 2), np.uint64)
    bits = np.random.default_rng(0).integers(1, 63, (2 * count, noise // 2), dtype=np.uint64)
    for at in bits.T:
        looks[:, 0] ^= np.uint64(1) << at
    contents = np.arange(2 * count, dtype=np.uint64)[:, None].repeat(2, axis=1)
    seen = pictures(count, looks, contents)
    tracemalloc.start()
    found = duplicates.same_looks(seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.total == count**2 and sorted(second for _, second in found.pairs) == list(range(count, 2 * count))
    assert noise or {first for first, _ in found.pairs} == {0}
    assert peak < 60 << 20


def test_same_looks_and_same_bytes_of_thousands_of_copies():
    count = 20_000
    ones = np.ones((2 * count, 2), np.uint64)
    assert duplicates.same_looks(pictures(count, ones, ones)) == ([], 0)
    assert len(duplicates.same_bytes(pictures(count, ones, ones))) == count


def test_check_counts_all_pairs_that_look_the_same(tmp_path):
    people(tmp_path)
    for i in range(3):  # a placeholder, saved again and again
        for split in ("probe", "gallery"):
            content = encoded(drawn(6, 0), "JPEG", quality=75 + i + 5 * (split == "probe"))
            add(tmp_path, f"{split}{i}.jpg", 2, 0, split, content)
    count, lines = found(checked(tmp_path), "the same picture in two splits")
    assert count == 3 and lines[-1] == "each beside the one most like it; there are 9 such pairs in all"
    assert [line.split(" = ")[1] for line in lines[:-1]] == [f"gallery/gallery{i}.jpg" for i in range(3)]


def test_same_looks_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 7)  # several blocks
    rng = np.random.default_rng(0)
    seen = inspect(Listing({split: [Record(f"{i}", 0, 0, bytes) for i in range(9)] for split in data.SPLITS}))
    assert len(seen.refused) == 27 and not seen.readable.any() and duplicates.same_looks(seen) == ([], 0)
    looks = np.repeat(rng.integers(1, 2**63, (4, 2), dtype=np.uint64), 4, axis=0)
    looks ^= np.uint64(1) << rng.integers(0, 63, (16, 2), dtype=np.uint64)
    contents = rng.integers(0, 16, (27, 1), dtype=np.uint64).repeat(2, axis=1)
    object.__setattr__(seen, "sizes", np.ones((27, 2), int))
    object.__setattr__(seen, "looks", looks[contents[:, 0]])  # the same bytes look the same
    object.__setattr__(seen, "contents", contents)
    nearest: dict[int, tuple[int, int]] = {}
    count = 0
    for a, b in itertools.combinations(range(27), 2):
        bits = sum(int(x ^ y).bit_count() for x, y in zip(seen.looks[a], seen.looks[b], strict=True))
        if seen.splits[a] != seen.splits[b] and contents[a, 0] != contents[b, 0] and bits <= 4:
            count += 1
            nearest[b] = min(nearest.get(b, (bits, a)), (bits, a))
    expected = sorted((a, b) for b, (_, a) in nearest.items())
    assert duplicates.same_looks(seen, near=4) == (expected, count) and len(expected) > 5
    for a, b in duplicates.same_bytes(seen):
        assert contents[a, 0] == contents[b, 0] and seen.splits[a] != seen.splits[b]
    again = {int(c) for c in contents[:, 0] if len({str(s) for s in seen.splits[contents[:, 0] == c]}) > 1}
    assert {int(contents[a, 0]) for a, _ in duplicates.same_bytes(seen)} == again


def test_same_looks_leaves_out_pictures_of_one_colour():
    flat = [encoded(Image.new("RGB", (8, 16), (value,) * 3)) for value in (10, 20)]
    splits = {split: [Record("a", 0, 0, lambda b=b: b)] for split, b in zip(("train", "probe"), flat, strict=True)}
    assert duplicates.same_looks(inspect(Listing(splits))) == ([], 0)


def test_statistics_table_lines_up():
    assert str(spread(np.array([], int))) == "0" and str(spread(np.array([1000, 5]))) == "5 / 5 / 1,000"
    assert {len(line) for line in aligned([["a", "1"], ["probe and more", "1,000"]]).splitlines()} == {21}


# The same picture within a split, and pictures that show nothing


def test_check_of_one_picture_under_two_people_of_a_split(tmp_path):
    files = people(tmp_path)
    gallery, train = files["gallery", 2, 1].read_bytes(), files["train", 0, 0].read_bytes()
    add(tmp_path, "g/wrong.png", 3, 1, "gallery", gallery)  # the same bytes
    add(tmp_path, "t/wrong.bmp", 1, 0, "train", encoded(drawn(0, 0), "BMP"))  # the same pixels
    report = checked(tmp_path)
    assert report.usable and report.cautions == 1 and str(report).endswith("usable, with 1 caution")
    assert found(report, "the same picture in one split as two people") == (
        2,
        [
            "train/train/0_0.png = train/t/wrong.bmp, as two people",
            "gallery/gallery/2_1.png = gallery/g/wrong.png, as two people",
        ],
    )
    assert found(report, "the same picture in one split twice")[0] == 0
    add(tmp_path, "g/junk.png", -1, 1, "gallery", gallery)
    assert found(checked(tmp_path), "the same picture in one split as two people")[1][-1].endswith(", once as nobody")
    assert train == files["train", 0, 0].read_bytes()


def test_check_of_one_picture_twice_under_one_person(tmp_path):
    files = people(tmp_path)
    add(tmp_path, "again.png", 2, 1, "gallery", files["gallery", 2, 1].read_bytes())
    report = checked(tmp_path)
    assert report.cautions == 0 and str(report).endswith("\nusable")
    assert found(report, "the same picture in one split twice as one person") == (
        1,
        ["gallery/gallery/2_1.png = gallery/again.png"],
    )


def test_same_pixels_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    count = 60
    contents = rng.integers(0, 6, (2 * count, 1), dtype=np.uint64).repeat(2, axis=1)
    seen = dataclasses.replace(pictures(count, contents, contents), identities=rng.integers(0, 3, 2 * count))
    strangers, same = duplicates.same_pixels(seen)
    for i in range(2 * count):
        before = [j for j in range(i) if seen.splits[j] == seen.splits[i] and contents[j, 0] == contents[i, 0]]
        others = [j for j in before if seen.identities[j] != seen.identities[i]]
        assert ((min(others), i) in strangers) if others else not any(second == i for _, second in strangers)
        assert ((min(before), i) in same) if before and not others else not any(second == i for _, second in same)
    assert strangers and same


def deep(who: int, camera: int) -> bytes:
    """A drawn person in grey of 12 bits in a PNG of 16 that does not say so."""
    return encoded(Image.fromarray(np.asarray(drawn(who, camera).convert("L")).astype(np.uint16) << 4))


def test_check_and_prepare_of_pictures_of_one_colour(tmp_path):
    files = people(tmp_path)
    files["gallery", 2, 1].write_bytes(deep(2, 1))
    files["train", 1, 0].write_bytes(encoded(Image.new("RGBA", (48, 128))))
    report = checked(tmp_path)
    assert report.usable and report.cautions == 1
    count, lines = found(report, "images of (nearly) one colour")
    assert count == 2 and lines == ["train/train/1_0.png", "gallery/gallery/2_1.png", levels.REMEDY]
    builder = prepare.prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    assert prepare.remarks(builder)[-1] == levels.remark(["train/train/1_0.png", "gallery/gallery/2_1.png"], 8)
    assert "2 of 8 pictures are of (nearly) one colour, train/train/1_0.png" in prepare.remarks(builder)[-1]


# The command


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """`python -m data.prepare` in this process: exit code, output, errors."""
    code = command(prepare, *arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_check_command_exit_code(tmp_path, capsys):
    files = people(tmp_path)
    arguments = ["--dataset=folder", f"--source={tmp_path / 'people.csv'}", "--check"]
    code, said, errors = run(capsys, *arguments)
    assert (code, said.splitlines()[-1], errors) == (0, "usable", "")
    files["train", 0, 0].write_bytes(b"")
    code, said, errors = run(capsys, *arguments)
    assert code == 1 and said.splitlines()[-1].startswith("not usable: 1 of 8") and errors == ""
    assert run(capsys, *arguments, "--skip_bad")[0] == 0
    code, _, errors = run(capsys, *arguments, "--overwrite")
    assert code == 1 and "--check builds nothing, and --overwrite builds again" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "people.csv", "probe", "train"]


@pytest.mark.slow
def test_check_of_real_cuhk03(shared):
    report = check(data.DATASETS["cuhk03"], shared("data/cuhk03"))
    assert report.usable and report.cautions == 1
    assert found(report, "the same picture in two splits")[1] == ["probe/1_823_1_03.png = gallery/1_823_1_02.png"]
