"""Labels as other tools write them, names that are nearly right, paths as tables spell them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.builders import keys, labels
from data.sources import paths

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


def numbers(*written):
    return labels.identities(written, [f"line {i}" for i in range(2, 2 + len(written))])


@pytest.mark.parametrize(
    "same",
    [
        ("-1", "-1.0", "-1.", "\N{MINUS SIGN}1", "\N{EN DASH}1", "\N{FULLWIDTH HYPHEN-MINUS}1", " -1 ", "-1e0"),
        ("1", "1.0", "1.000", "+1", "0001", "01.0", "\ufeff1", "1\xa0", "1.000000000000000000e+00", "1E0", "\uff11"),
        ("1000", "1e3", "1.0e3", "1000.0"),
        ("0", "-0", "-0.0", "0.0", "000"),
        (str(2**63 - 1), "0" + str(2**63 - 1)),
        (NFC, NFD, f" {NFC}\u200b", f"\ufeff{NFD}"),
        ("Ann Lee", "Ann  Lee", "Ann\xa0Lee"),
    ],
)
def test_identities_of_one_label_in_many_spellings(same):
    read = numbers(*same)
    assert len(set(read.numbers)) == 1
    if same[0].lstrip("-").isdigit():
        assert read.numbers[0] == int(same[0]) and read.names == {}
        assert labels.cameras(same, same).numbers == read.numbers


@pytest.mark.parametrize(
    "gap", ["nan", "NaN", "-nan", "None", "null", "<NA>", "NA", "N/A", "#N/A", "", " ", "?", "NaT"]
)
def test_identities_and_cameras_of_a_gap(gap):
    with pytest.raises(
        ValueError, match=r"identity is missing in 2 of 3, line 3 \(.*\), line 4 \(.*write -1 for nobody"
    ):
        numbers("1", gap, gap)
    read = labels.cameras(["1.0", gap, "-1"], ["line 2", "line 3", "line 4"])
    assert read.numbers == [1, -1, -1] and len(read.remarks) == 1
    assert read.remarks[0].startswith("Take care: the camera is unknown in 1 of 3, line 3 (")
    assert labels.cameras([gap], ["line 2"]).remarks[0].startswith("No camera is known")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("1.5", "line 3: the identity 1.5 is a number, but not a whole one; write whole numbers"),
        ("inf", "not a whole one"),
        ("1,0", "not a whole one without commas"),
        ("1,000", "not a whole one without commas"),
        ("1.23457E+12", "has lost its last digits"),
        ("1e+16", "has lost its last digits"),
        ("90071992547409930.0", "has lost its last digits"),
        ("-2.0", "-2.0 must be at least -1"),
        ("\N{MINUS SIGN}2", "must be at least -1"),
        (str(2**63), f"is beyond {2**63 - 1}"),
        ("9" * 5000, "is beyond"),
        ("1e999", "is beyond"),
    ],
)
def test_identities_and_cameras_refuse_numbers_that_are_no_labels(label, message):
    for read in (labels.identities, labels.cameras):
        with pytest.raises(ValueError, match=message.replace("identity", "(identity|camera)")):
            read(["1", label], ["line 2", "line 3"])


def test_identities_keep_numbers_within_64_bits_and_hexadecimal_apart():
    read = numbers("a3f", "12e4", "12e5", "0b1", "7")
    assert read.numbers == [11, 9, 10, 8, 7] and read.names == {8: "0b1", 9: "12e4", 10: "12e5", 11: "a3f"}
    with pytest.raises(ValueError, match="leaves no numbers for names, such as bob"):
        numbers(str(2**63 - 1), "bob")


def test_identities_remark_on_two_ways_to_write_one_number_and_on_case():
    assert numbers("1", "0001", "2").remarks == [
        "Take care: numbers written in several ways are one: 0001 and 1 as identity 1."
    ]
    cameras = labels.cameras(["Cam1", "cam1", "x"], ["a", "b", "c"])
    assert len(set(cameras.numbers)) == 3 and cameras.remarks == [
        "Take care: cameras that differ only in upper and lower case are different: Cam1 and cam1."
    ]
    assert numbers("1", "2", "-1").remarks == numbers("ann", "bob", "-1").remarks == []


@given(st.lists(st.one_of(st.integers(-1, 20).map(str), st.text("abc", min_size=1, max_size=3)), min_size=1))
def test_identities_are_numbered_one_to_one_and_integers_stay(written):
    number_of = dict(zip(written, numbers(*written).numbers, strict=True))
    assert len(set(number_of.values())) == len(number_of)
    for label, number in number_of.items():
        assert number == int(label) if label.lstrip("-").isdigit() else number >= 0
    named = [label for label in sorted(number_of) if not label.lstrip("-").isdigit()]
    assert [number_of[label] for label in named] == sorted(number_of[label] for label in named)


@pytest.mark.parametrize(
    ("meaning", "names"),
    [
        (
            "camera",
            "camid cam_id CamID camera_id cameraId CAMERA_ID CAMERAID cameras cam cams camids camara kamera caméra "
            "camra camera.1 cam1 camera_no cam-name cid",
        ),
        ("identity", "pid pids person person_id personId PersonID person-id people identities identiy subject_id"),
        ("track", "trackid trackId track tracks instanceId object_id tid"),
        ("video", "video videoId vid vid_id seq_id sequence video_name"),
        ("path", "file filename file_name filePath img_path image_path image impath"),
        ("role", "split set subset roles"),
        (None, "age note comment index Unnamed frame gamma area camera_height person_count is_crowd caption score"),
    ],
)
def test_meaning_of_names_that_are_nearly_right(meaning, names):
    assert {name: keys.meaning(name) for name in names.split()} == dict.fromkeys(names.split(), meaning)


def test_paths_in_either_form_of_unicode_and_with_any_separators(tmp_path):
    mixed = unicodedata.normalize("NFD", "Ä") + "/" + unicodedata.normalize("NFC", "ü.png")
    (tmp_path / mixed).parent.mkdir()
    (tmp_path / mixed).touch()
    for asked in ("Ä/ü.png", unicodedata.normalize("NFD", "Ä/ü.png"), mixed):
        assert paths.on_disk(tmp_path, asked) == mixed
        assert paths.Names([mixed]).first(paths.written("", asked)) == mixed
    assert paths.on_disk(tmp_path, "Ö/ü.png") is None and paths.on_disk(tmp_path, "Ä") is None
    for spelt in ("./a/b.png", "a//b.png", "a\\b.png", ".\\a\\b.png", "a/../a/b.png"):
        assert paths.Names(["a/b.png"]).first(paths.written("", spelt)) == "a/b.png"
    assert paths.Names(["a\\b.png", "a/b.png"]).first(paths.written("", "a\\b.png")) == "a\\b.png"


@pytest.mark.parametrize("written", [["cam1", "1"], ["2", "c2", "nan"], ["-1", "0", "door"]])
def test_cameras_refuse_numbers_beside_names(written):
    places = [f"line {i}" for i in range(len(written))]
    with pytest.raises(ValueError, match="cameras are numbers and names: .*write all of them as numbers"):
        labels.cameras(written, places)


def test_identities_caution_of_numbers_beside_names():
    remarks = labels.identities(["1", "2", "'1"], ["a", "b", "c"]).remarks
    assert any("Take care: identities are numbers and names" in remark and "'1" in remark for remark in remarks)
    assert not labels.identities(["ann", "bob", "-1"], ["a", "b", "c"]).remarks
