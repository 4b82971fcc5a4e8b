"""CSVs as spreadsheets, pandas and people of re-identification write them: read rightly, told, or refused by name."""

import unicodedata

import pytest

import data
from data.builders import table
from data.builders.folder import Folder
from data.inspection.check import check
from data.prepare import prepare, remarks
from tests.trees import picture, source

ROWS = "a.png,1,0,probe\nb.png,1,1,gallery\n"


def place(folder, text, *, encoding="utf-8"):
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(picture(1))
    (folder / "people.csv").write_bytes(text.encode(encoding))
    return folder / "people.csv"


def listing(folder, text, **options):
    return Folder.listing(place(folder, text, **options))


@pytest.mark.parametrize(
    "name", ["camid", "cam", "camera_id", "cameras", "cameraID", "Cam Id", "camara", "cam1", "cid"]
)
def test_a_column_that_is_nearly_camera_is_an_error(tmp_path, name):
    written = place(tmp_path, f"path,identity,{name},role\n{ROWS}")
    with pytest.raises(ValueError, match=f"has the column {name} and no column camera: rename it to camera, or"):
        Folder.listing(written)
    report = check(Folder, written)
    assert not report.usable and f"the column {name}" in report.reason


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,pid,camera,role", "lacks the column identity: .*; rename pid to identity"),
        ("filename,personId,camera,split", "rename filename to path, personId to identity, split to role"),
        ("path,id,camera,subset", "rename id to identity, subset to role"),
        ("path,identity,camera,role,camera", "has the column camera twice"),
        ("path,identity,Camera,role, camera ", "has the column camera twice"),
        ("path,identity,note,role,note", "has the column note twice"),
    ],
)
def test_headers_that_are_refused(tmp_path, header, message):
    cells = header.count(",") + 1
    with pytest.raises(ValueError, match=message):
        listing(tmp_path, header + "\n" + ",".join(["a.png", "1", "0", "probe", "x"][:cells]) + "\n")


def test_columns_of_something_else_go_through_and_are_told(tmp_path):
    text = ",path,identity,camera,role,age,note,camid,empty\n0,a.png,1,0,probe,30,x,c7,\n1,b.png,1,1,gallery,31,,c8,\n"
    written = place(tmp_path, text)
    read = Folder.listing(written)
    assert [(r.identity, r.camera) for rows in read.splits.values() for r in rows] == [(1, 0), (1, 1)]
    (told,) = read.remarks
    assert told.startswith("Take care: columns of ") and told.endswith(
        "that are not read: number 1 (without a name), age, note, camid (camera is read), empty; "
        "read are path, identity, camera, role."
    )
    assert told in remarks(prepare("folder", written, data_dir=tmp_path / "data"))
    report = check(Folder, written)
    assert report.usable and told in report.text
    plain = check(Folder, place(tmp_path, f"path,identity,camera,role\n{ROWS}"))
    assert report.cautions == plain.cautions + 1
    trailing = "path,identity,camera,role,,\na.png,1,0,probe,,\nb.png,1,1,gallery,,\n"
    assert listing(tmp_path, trailing).remarks == []


def test_identities_of_pandas_are_those_of_before(tmp_path):
    text = "path,identity,camera,role\na.png,1.0,0.0,probe\nb.png,-1.0,1,gallery\n"
    read = listing(tmp_path, text)
    assert [(r.identity, r.camera) for rows in read.splits.values() for r in rows] == [(1, 0), (-1, 1)]
    with pytest.raises(ValueError, match=r"people.csv: the identity is missing in 1 of 2, line 3 \(nan\): write -1"):
        listing(tmp_path, text.replace("-1.0", "nan"))
    with pytest.raises(ValueError, match="line 3: a training image must show somebody"):
        listing(tmp_path, text.replace("gallery", "train"))
    told = listing(tmp_path, text.replace("0.0", "")).remarks
    assert told[0].startswith("Take care: the camera is unknown in 1 of 2, line 2 (empty)")


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("quoted", [False, True])
def test_other_separators_are_named(tmp_path, mark, name, quoted):
    header = mark.join(f'"{cell}"' if quoted else cell for cell in ("path", "identity", "camera", "role"))
    for text in (header + "\n" + ROWS.replace(",", mark), f"sep={mark}\n{header}\n"):
        with pytest.raises(ValueError, match=f"people.csv is separated by {name}: save it with commas"):
            listing(tmp_path, text)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "is UTF-16 text, as Excel"),
        ("utf-16-be", "has zero bytes, as UTF-16"),
        ("utf-16-le", "has zero bytes, as UTF-16"),
        ("cp1252", "is not UTF-8 text"),
    ],
)
def test_other_encodings_are_named(tmp_path, encoding, message):
    with pytest.raises(ValueError, match=f"people.csv {message}.*save it as CSV UTF-8"):
        listing(tmp_path, f"path,identity,camera,role\n{ROWS}ü.png,1,1,gallery\n", encoding=encoding)
    (tmp_path / "people.csv").write_bytes(b"PK\x03\x04 a workbook")
    with pytest.raises(ValueError, match="is an Excel workbook"):
        Folder.listing(tmp_path / "people.csv")


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_people_and_files_are_the_same_in_either_form_of_unicode(tmp_path, form):
    nfc, nfd = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
    folders = {f"probe/{nfc}/a.png": picture(1), f"gallery/{nfd}/a.png": picture(2)}
    read = data.DATASETS["identity_folders"].listing(source(tmp_path / "a", folders, form))
    assert [r.identity for rows in read.splits.values() for r in rows] == [0, 0] and read.labels == {0: nfc}
    table = f"path,identity,role\n{nfc}/a.png,{nfd},probe\n{nfd}/b.png,{nfc},gallery\n".encode()
    files = {f"{nfd}/a.png": picture(1), f"{nfc}/b.png": picture(2), "people.csv": table}
    read = Folder.listing(source(tmp_path / "b", files, form))
    assert [r.identity for rows in read.splits.values() for r in rows] == [0, 0]


def test_folders_of_a_gap_are_refused_and_of_floats_are_numbers(tmp_path):
    names = ["probe/7.0/a.png", "gallery/7/a.png", "gallery/-1.0/a.png"]
    place = source(tmp_path / "a", {name: picture(1) for name in names}, "folder")
    read = data.DATASETS["identity_folders"].listing(place)
    assert [r.identity for rows in read.splits.values() for r in rows] == [7, -1, 7]
    (place / "probe/nan").mkdir()
    (place / "probe/nan/a.png").write_bytes(picture(1))
    with pytest.raises(ValueError, match=r"identity is missing in 1 of 4, probe/nan/a.png \(nan\)"):
        data.DATASETS["identity_folders"].listing(place)


def test_a_quote_that_is_not_closed_is_an_error():
    text = 'path,identity,camera,role\nimg/0.png,"1,0,probe\nimg/1.png,2",0,probe\nimg/2.png,1,1,gallery\n'
    with pytest.raises(ValueError, match="the identity goes over several lines.*a quote before it is not closed"):
        table.read(text.encode(), title="people.csv")
    notes = 'path,identity,role,note\na.png,1,probe,"two\nlines"\nb.png,1,gallery,\n'
    assert len(table.read(notes.encode(), title="people.csv").rows) == 2


def test_query_is_another_word_for_probe():
    text = "path,identity,role\na.png,1,Query\nb.png,1,gallery\n"
    assert [row.role for row in table.read(text.encode(), title="people.csv").rows] == ["probe", "gallery"]
