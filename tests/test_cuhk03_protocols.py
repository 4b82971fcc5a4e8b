"""CUHK03 by its 767/700 protocol: every layout of the pictures, files that contradict themselves, missing pictures."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

import data
from data.builders import cuhk03
from data.builders import cuhk03_protocols as protocols
from data.prepare import prepare


def picture(value: int) -> bytes:
    """The file of a picture of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (6, 12), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


FILELIST = [
    "1_001_1_01.png", "1_001_1_02.png", "1_001_2_06.png",  # label 1, trained on
    "2_003_1_01.png", "2_003_2_07.png", "2_003_2_08.png", "2_003_1_02.png",  # label 2, tested on
]  # fmt: skip
LABELS, CAMERAS = [1, 1, 1, 2, 2, 2, 2], [1, 1, 2, 1, 2, 2, 1]


def config(place: Path, **changes: object) -> None:
    """A protocol file of the exact layout: columns, 1-based indices, names as cells."""
    place.mkdir(parents=True, exist_ok=True)
    content = {
        "filelist": np.array([[name] for name in FILELIST], dtype=object),
        "labels": np.array(LABELS, np.uint16)[:, None],
        "camId": np.array(CAMERAS, np.uint8)[:, None],
        "train_idx": np.array([[1], [2], [3]], np.uint16),
        "query_idx": np.array([[4], [5]], np.uint16),
        "gallery_idx": np.array([[7], [6]], np.uint16),
    }
    scipy.io.savemat(place / "cuhk03_new_protocol_config_detected.mat", content | changes)


def as_tree(place: Path) -> None:
    for number, name in enumerate(FILELIST):
        for boxes, value in (("detected", 10 * number), ("labeled", 255)):
            (place / f"images_{boxes}").mkdir(exist_ok=True)
            (place / f"images_{boxes}" / name).write_bytes(picture(value))


def as_zip(place: Path) -> None:
    with zipfile.ZipFile(place / "cuhk03_detected.zip", "w") as archive:
        for number, name in enumerate(FILELIST):
            archive.writestr(f"cuhk03_detected/{protocols.compact_name(name)}.jpg", picture(10 * number))


def as_mat(place: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(place / "cuhk-03.mat", "w") as file:
        pairs = file.create_dataset("detected", (1, 5), dtype=h5py.ref_dtype)
        for pair in range(5):
            cells = file.create_dataset(f"pair{pair}", (10, 4), dtype=h5py.ref_dtype)
            pairs[0, pair] = cells.ref
            for person, shot in np.ndindex(4, 10):
                name = f"{pair + 1}_{person + 1:03d}_{1 if shot < 5 else 2}_{shot + 1:02d}.png"
                if name in FILELIST:  # MATLAB's order: channel, column, row
                    pixels = np.full((3, 6, 12), 10 * FILELIST.index(name), np.uint8)
                else:  # how an empty matrix is stored
                    pixels = np.zeros(2, np.uint64)
                cells[shot, person] = file.create_dataset(f"{pair}/{person}/{shot}", data=pixels).ref


@pytest.mark.parametrize("write", [as_tree, as_zip, as_mat])
def test_cuhk03_is_the_same_in_every_layout(tmp_path, write):
    config(tmp_path / "cuhk03")
    write(tmp_path / "cuhk03")
    builder = prepare("cuhk03", tmp_path / "cuhk03", data_dir=tmp_path / "data")
    expected = {"train": [0, 1, 2], "probe": [3, 4], "gallery": [5, 6]}
    for split, positions in expected.items():
        read = builder.source(split)
        assert read.names == [FILELIST[i] for i in positions]
        assert read.identities.tolist() == [LABELS[i] for i in positions]
        assert read.cameras.tolist() == [CAMERAS[i] for i in positions]
        for example, i in zip(read, positions, strict=True):
            np.testing.assert_array_equal(example.image, np.full((12, 6, 3), 10 * i))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_idx": [[1]]}, "training and test people must differ"),
        ({"gallery_idx": [[8]]}, "indices of gallery must lie in 1..7"),
        ({"gallery_idx": np.zeros((0, 1))}, "have a mate"),
        ({"labels": [[1]]}, "7 pictures, 1 labels"),
        ({"filelist": "no cells"}, "lists 1 pictures, 7 labels"),
    ],
)
def test_protocol_refuses_contradictions(tmp_path, changes, message):
    config(tmp_path, **changes)
    as_tree(tmp_path)
    with pytest.raises(ValueError, match=message):
        cuhk03.Cuhk03.listing(tmp_path)


def test_protocol_refuses_another_file(tmp_path):
    path = tmp_path / "config_detected.mat"
    path.write_text("no MATLAB file")
    with pytest.raises(ValueError, match="is not the 767/700 protocol"):
        protocols.protocol(path)
    scipy.io.savemat(path, {"labels": 1})
    with pytest.raises(ValueError, match="is not the 767/700 protocol.*filelist"):
        protocols.protocol(path)


def test_protocol_compares_the_real_one_with_its_counts(tmp_path):
    count = 14_097
    changes = {
        "filelist": np.array([["1_001_1_01.png"]] * count, dtype=object),
        "labels": np.repeat([1, 2], [7365, count - 7365])[:, None],
        "camId": np.ones((count, 1)),
        "train_idx": np.arange(1, 7366)[:, None],
        "query_idx": np.arange(7366, 8766)[:, None],
        "gallery_idx": np.arange(8766, count + 1)[:, None],
    }
    config(tmp_path, **changes)
    with pytest.raises(ValueError, match="CUHK03 has .*7365.*767"):
        protocols.protocol(tmp_path / "cuhk03_new_protocol_config_detected.mat")


def test_cuhk03_names_what_is_missing(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)does not exist. Expected beside found.*\(nothing\).*cuhk03_new_protocol"
    ):
        cuhk03.Cuhk03.listing(tmp_path / "gone")
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"(?s)needs one \*config_detected.mat, found 0.*other/"):
        cuhk03.Cuhk03.listing(tmp_path)
    config(tmp_path)
    with pytest.raises(ValueError, match="holds no pictures"):
        cuhk03.Cuhk03.listing(tmp_path)
    as_tree(tmp_path)
    (tmp_path / "images_detected" / FILELIST[3]).unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of the protocol's 7 pictures, such as 2_003_1_01.png \(or 0845_00"):
        cuhk03.Cuhk03.listing(tmp_path)
    (tmp_path / "images_labeled").rename(tmp_path / "copy")
    with pytest.raises(ValueError, match="twice"):
        cuhk03.Cuhk03.listing(tmp_path)


def test_cuhk03_names_a_damaged_zip(tmp_path):
    config(tmp_path)
    (tmp_path / "cuhk03_detected.zip").write_text("no zip")
    with pytest.raises(ValueError, match="cuhk03_detected.zip is not a zip file"):
        cuhk03.Cuhk03.listing(tmp_path)
    as_zip(tmp_path)
    content = (tmp_path / "cuhk03_detected.zip").read_bytes()
    (tmp_path / "cuhk03_detected.zip").write_bytes(content.replace(picture(30), picture(30)[::-1]))
    with pytest.raises(ValueError, match=r"1 of 7 images.*\n.*2_003_1_01.png: .*0845_00.jpg in .* is damaged"):
        prepare("cuhk03", tmp_path, data_dir=tmp_path / "data")


def test_compact_name_counts_over_the_camera_pairs():
    assert protocols.compact_name("1_001_1_01.png") == "0000_00"
    assert protocols.compact_name("5_049_2_10.png") == "1466_09"
    with pytest.raises(ValueError, match="p_iii_c_kk"):
        protocols.compact_name("0001_01.jpg")


def test_cuhk03_real_has_its_counts(shared):
    listing = cuhk03.Cuhk03.listing(shared("data/cuhk03"))
    sizes = {split: (len(records), len({r.identity for r in records})) for split, records in listing.splits.items()}
    assert sizes == {"train": (7365, 767), "probe": (1400, 700), "gallery": (5332, 700)}
    for record in [listing.splits["train"][0], listing.splits["gallery"][-1]]:
        assert data.decode(record.read()).shape == (128, 64, 3)
