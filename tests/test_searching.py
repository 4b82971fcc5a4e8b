"""The search command: a folder becomes a gallery that follows it, and probes are answered."""

import json
import os
import re
import signal
import time

import numpy as np
import pytest
from PIL import Image

from dsr_jax import calibration, match
from experiments import search
from experiments.searching import answers, indexing, probes
from experiments.settings.searching import Compared, Filters
from tests.runners import call, finished, listing, network, start, write_people
from tests.test_report import Page

SMALL = ("--size=64,32", "--output_stride=16", "--preprocessing=caffe", "--noprogress")
KEYS = ("gallery", "version", "pictures", "indexed", "answers", "page")
ANSWER = ("probe", "matched_size", "searched", "stages", "hits", "first_probability", "nobody", "remarks")
HIT = ("rank", "name", "identity", "camera", "time", "distance", "lower", "upper", "proven", "probability")
DONE = {"added": 0, "replaced": 0, "removed": 0, "unchanged": 0, "gone": [], "skipped": []}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def people(tmp_path):
    """A folder of five drawn people, two pictures each, and one of them as a probe: so small a network needs it all."""
    write_people(tmp_path, listing(shots=2))
    Image.open(tmp_path / "gallery" / "3_0.png").save(tmp_path / "seen.png")
    return tmp_path


@pytest.fixture
def searched(people, weights, capsys):
    """Starts the command: the object that --json prints, or the error."""

    def begin(*arguments, pictures="gallery", code=0):
        place = () if pictures is None else (f"--pictures={people / pictures}",)
        capsys.readouterr()
        assert call(search, *place, f"--network={weights}", *SMALL, "--json", *arguments) == code
        shown = capsys.readouterr()
        assert "proven against" not in shown.err, "one object in the place of tables"
        return json.loads(shown.out) if code == 0 else shown.err

    return begin


def test_a_folder_is_indexed_and_answers(people, searched):
    found = searched(f"--probe={people / 'seen.png'}", "-k", "3")
    assert tuple(found) == KEYS and found["indexed"] == DONE | {"added": 10}
    (answer,) = found["answers"]
    assert tuple(answer) == ANSWER and all(tuple(hit) == HIT for hit in answer["hits"])
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3] and answer["searched"] == 10
    first = answer["hits"][0]
    assert first["name"] == "3_0.png" and first["proven"] == "gallery" and first["identity"] is None
    assert first["lower"] <= first["distance"] <= first["upper"] < answer["hits"][1]["lower"]
    assert first["time"] == (people / "gallery" / "3_0.png").stat().st_mtime and answer["nobody"] is None
    again = searched("--gallery=" + found["gallery"], f"--probe={people / 'seen.png'}", "-k", "3", pictures=None)
    assert again["answers"] == found["answers"] and again["version"] == found["version"]


def test_the_gallery_follows_the_folder(people, searched):
    folder = people / "gallery"
    before = searched()
    assert searched()["indexed"] == DONE | {"unchanged": 10}
    os.utime(folder / "1_0.png", (1, 1))
    Image.open(folder / "3_0.png").save(folder / "0_0.png")
    (folder / "new").mkdir()
    Image.open(folder / "3_0.png").save(folder / "new" / "c4_ä.png")
    (folder / "2_1.png").unlink()
    after = searched()
    assert after["indexed"] == DONE | {"added": 1, "replaced": 2, "unchanged": 7, "gone": ["2_1.png"]}
    assert after["pictures"] == 11 and after["version"] > before["version"]
    gallery = match.Gallery.open(after["gallery"])
    cameras, times = (
        dict(zip(gallery.names, values.tolist(), strict=True)) for values in (gallery.cameras, gallery.times)
    )
    assert cameras["new/c4_ä.png"] == 4 and times["1_0.png"] == 1
    np.testing.assert_array_equal(
        gallery.maps[gallery.names.index("0_0.png")], gallery.maps[gallery.names.index("3_0.png")]
    )
    pruned = searched("--prune")
    assert pruned["indexed"] == DONE | {"removed": 1, "unchanged": 10} and pruned["pictures"] == 10


def test_a_csv_brings_identities_and_cameras(people, searched):
    found = searched(f"--probe={people / 'seen.png'}", pictures="people.csv")
    assert found["gallery"].endswith(".dsr_jax_gallery_people.csv") and found["pictures"] == 10
    assert [(hit["identity"], hit["camera"]) for hit in found["answers"][0]["hits"][:1]] == [("3", 1)]
    some = searched(f"--probe={people / 'seen.png'}", "--identities=1,2", "--cameras=1", pictures="people.csv")
    assert some["answers"][0]["searched"] == 4 and {hit["identity"] for hit in some["answers"][0]["hits"]} == {"1", "2"}
    assert "k is 10, and 4 pictures may answer" in some["answers"][0]["remarks"]
    text = (people / "people.csv").read_text().replace("gallery/0_0.png,0,1", "gallery/0_0.png,bob,1")
    (people / "people.csv").write_text(text)
    assert searched(pictures="people.csv")["indexed"] == DONE | {"replaced": 1, "unchanged": 9}
    assert searched("--role=probe", "--gallery=" + str(people / "g"), pictures="people.csv")["pictures"] == 5


def test_a_folder_per_person(people, searched):
    for name in ("ann", "bob"):
        (people / "crowd" / name).mkdir(parents=True)
        Image.open(people / "gallery" / "1_0.png").save(people / "crowd" / name / "c2_a.png")
    found = searched(f"--probe={people / 'seen.png'}", "--form=people", pictures="crowd")
    assert {(h["identity"], h["name"], h["camera"]) for h in found["answers"][0]["hits"]} == {
        ("ann", "ann/c2_a.png", 2),
        ("bob", "bob/c2_a.png", 2),
    }
    assert "form" in searched("--form=pictures", pictures="crowd", code=1)
    assert "is in no person's folder" in searched("--form=people", "--gallery=" + str(people / "g"), code=1)


def test_boxes_of_a_coco_json(people, searched):
    box = {"id": 5, "image_id": 1, "bbox": [0, 0, 32, 64], "category_id": 1, "person_id": 7, "role": "gallery"}
    document = {
        "images": [{"id": 1, "file_name": "gallery/3_0.png", "camera_id": 2}],
        "annotations": [box, box | {"id": 6, "bbox": [4, 8, 20, 40], "person_id": 8}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (people / "boxes.json").write_text(json.dumps(document))
    found = searched(f"--probe={people / 'seen.png'}", pictures="boxes.json")
    first = found["answers"][0]["hits"][0]
    assert found["pictures"] == 2 and (first["name"], first["identity"], first["camera"]) == (
        "gallery/3_0.png:5",
        "7",
        2,
    )


def test_times_filter(people, searched):
    for number in range(5):
        for shot in range(2):
            os.utime(people / "gallery" / f"{number}_{shot}.png", (1000 * number, 1000 * number))
    kept = searched(f"--probe={people / 'seen.png'}", "--after=1000", "--before=3000")["answers"][0]["hits"]
    assert {hit["name"][0] for hit in kept} == {"1", "2"}
    day = searched(f"--probe={people / 'seen.png'}", "--before=1970-01-03")["answers"][0]
    assert day["searched"] == 10
    assert "leaves none" in searched(f"--probe={people / 'seen.png'}", "--after=2100-01-01", code=1)
    assert "after must be a date" in searched(f"--probe={people / 'seen.png'}", "--after=noon", code=1)


def test_a_box_is_cut_and_several_probes_are_answered(people, searched):
    frame = Image.new("RGB", (100, 90), "green")
    frame.paste(Image.open(people / "seen.png"), (11, 7))
    frame.save(people / "frame.png")
    part = searched(f"--probe={people / 'frame.png'}", "--box=11,7,32,64")["answers"][0]
    whole = searched(f"--probe={people / 'seen.png'}")["answers"][0]
    assert part["hits"] == whole["hits"] and part["matched_size"] == [64, 32]
    keep = searched(f"--probe={people / 'seen.png'}", "--probe_scale=keep")["answers"][0]
    assert keep["hits"] == whole["hits"]
    several = searched(f"--probe={people / 'probe'}")["answers"]
    assert [os.path.basename(answer["probe"]) for answer in several] == [f"{i}.png" for i in range(5)]


@pytest.mark.parametrize("kind", ["orientation 6", "CMYK", "alpha", "16 bit"])
def test_probes_are_decoded_as_pictures_of_a_data_set(people, searched, kind):
    picture = Image.open(people / "seen.png").convert("RGB")
    place, options = people / "odd.tif", {}
    if kind == "orientation 6":  # stored lying: turned by 90 degrees when it is read
        place, exif = people / "odd.png", Image.Exif()
        exif[0x0112], picture = 6, picture.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = exif
    elif kind == "CMYK":
        picture = picture.convert("CMYK")
    elif kind == "alpha":
        picture.putalpha(77)
    else:
        grey = np.asarray(picture.convert("L"))
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    picture.save(place, **options)
    (answer,) = searched(f"--probe={place}")["answers"]
    assert answer["matched_size"] == [64, 32]
    if kind != "16 bit":  # grey
        assert answer["hits"][0]["name"] == "3_0.png"


def test_pictures_that_cannot_be_read(people, searched):
    (people / "gallery" / "bad.png").write_bytes(b"\x89PNG no picture")
    said = searched(code=1)
    assert "bad.png" in said and "--skip_bad" in said
    found = searched("--skip_bad")
    assert found["indexed"]["added"] == 10 and found["indexed"]["skipped"][0].startswith("bad.png: ")


def test_another_call_that_indexes_at_once_is_named(people, searched, weights, monkeypatch):
    read = indexing._read

    def slow(*arguments):
        monkeypatch.setattr(indexing, "_read", read)
        assert call(search, f"--pictures={people / 'gallery'}", f"--weights={weights}", *SMALL) == 0  # the other call
        return read(*arguments)

    monkeypatch.setattr(indexing, "_read", slow)
    assert "was changed meanwhile by another call" in searched(code=1)
    monkeypatch.setattr(indexing, "_read", slow)
    (people / "gallery" / "new.png").write_bytes((people / "seen.png").read_bytes())
    assert "was changed meanwhile by another call" in searched(code=1)
    assert searched()["indexed"] == DONE | {"unchanged": 11}


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("--probe=nowhere.png",), "probe nowhere.png does not exist"),
        (("--probe=people.csv",), r"probe .*people.csv cannot be read"),
        (("--probe=seen.png", "--box=10,10,30,10"), r"box=10,10,30,10 is not inside .*32 x 64"),
        (("--probe=seen.png", "--box=1,2,3"), "box must be x,y,width,height"),
        (("--probe=seen.png", "--box=0,0,1,60"), "give another part of it"),
        (("--probe=probe", "--box=0,0,9,9"), "box is of one picture"),
        (("--probe=seen.png", "--cameras=7"), r"cameras=.*leaves none"),
        (("--probe=seen.png", "--out=gallery/page"), "out=.*is among --pictures"),
        (("--probe=seen.png", "--out=probe"), "out=.*holds something else"),
        (("--probe=seen.png", "--false_positive_rate=0"), "false_positive_rate must be"),
        (("--cameras=1",), "cameras is about an answer"),
        (("--calibration=seen.png",), "calibration: path must be"),
        (("--pictures=empty",), "empty has no picture"),
        (("--pictures=nowhere",), "nowhere does not exist"),
        (("--gallery=seen.png",), "seen.png"),
        (("--size=96,32",), "size is .* in the gallery"),
        (("--weights=",), "weights is missing"),
    ],
)
def test_errors_name_the_flag(people, searched, monkeypatch, arguments, wrong):
    monkeypatch.chdir(people)
    (people / "empty").mkdir()
    searched()
    assert re.search(wrong, searched(*arguments, code=1))


def test_a_calibration_stays_with_the_gallery(people, searched):
    rng = np.random.default_rng(0)
    near, far = rng.uniform(0.1, 0.2, 40), rng.uniform(0.18, 1, (40, 9))
    same = np.eye(10, dtype=bool)[np.zeros(40, int)]
    fitted = calibration.fit(np.concatenate([near[:, None], far], axis=1), same, fitted_on=calibration.settings("auto"))
    fitted.save(people / "fitted.json")
    first = searched(
        f"--calibration={people / 'fitted.json'}", "--false_positive_rate=0.1", f"--probe={people / 'seen.png'}"
    )
    (answer,) = first["answers"]
    assert answer["nobody"] is False and answer["first_probability"] > 0.5
    assert answer["hits"][0]["probability"] > answer["hits"][-1]["probability"]
    (later,) = searched(f"--probe={people / 'seen.png'}")["answers"]
    assert later["hits"] == answer["hits"] and later["nobody"] is None
    assert "whether it is nobody is not known: false_positive_rate" in later["remarks"][0]
    strict = searched(f"--probe={people / 'seen.png'}", "--false_positive_rate=0.01", code=1)
    assert "false_positive_rate=0.01" in strict
    calibration.fit([0.1, 0.2], [True, False], fitted_on={"images_per_entry": 3}).save(people / "three.json")
    assert "belongs to images_per_entry=3" in searched(f"--calibration={people / 'three.json'}", code=1)
    assert "belongs to l1" in searched(f"--probe={people / 'seen.png'}", "--l1=0.3", code=1)
    assert "belongs to probe_weights" in searched(f"--probe={people / 'seen.png'}", "--probe_weights=norm", code=1)


@pytest.mark.parametrize("coder", ["auto", "maxsim"])
def test_parts_of_the_probe_count_by_their_norms(people, searched, coder):
    """In the list and on the page, by the same distances as of `match`."""
    probe, out = people / "seen.png", people / "page"
    plain, weighted = (
        searched(
            "--map_dtype=float32", f"--probe={probe}", f"--coder={coder}", f"--probe_weights={how}", f"--out={out}"
        )["answers"][0]["hits"]
        for how in ("equal", "norm")
    )
    gallery = match.Gallery.open(people / "gallery" / ".dsr_jax_gallery")
    maps = [gallery.maps[i] for i in range(10)]
    seen = maps[gallery.names.index("3_0.png")]  # the picture that the probe is a copy of
    found = match.distances([seen], maps, coder=coder, probe_weights="norm").distance[0]
    for hit in weighted:
        assert hit["distance"] == pytest.approx(float(found[gallery.names.index(hit["name"])]), abs=1e-4)
    assert [hit["distance"] for hit in plain][1:] != [hit["distance"] for hit in weighted][1:]
    assert f"distance {weighted[1]['distance']:.3f}</p>" in (out / "index.html").read_text()


def test_tables_and_page(people, searched, weights, capsys):
    probe, out = people / "seen.png", people / "page"
    assert call(search, f"--pictures={people / 'people.csv'}", f"--weights={weights}", *SMALL, f"--probe={probe}") == 0
    shown = capsys.readouterr().out
    assert "10 added" in shown and "gallery/3_0.png" in shown and "dsr of 10" in shown
    found = searched(f"--probe={probe}", f"--out={out}", "--reconstructions=2", "-k", "3", pictures="people.csv")
    page = (out / "index.html").read_text()
    assert found["page"] == str(out / "index.html") and page.count('class="card map"') == 2
    assert "seen.png from gallery/3_0.png" in page and "✗ other" not in page
    assert len(list(out.glob("picture-*.jpg"))) == 3, "the probe is the first answer"
    found = searched(f"--probe={probe}", f"--out={out}", "--coder=maxsim", pictures="people.csv")
    assert f"distance {found['answers'][0]['hits'][1]['distance']:.3f}</p>" in (out / "index.html").read_text()
    shown = Page(page)
    ids = [attrs["id"] for _, attrs, _ in shown.elements if "id" in attrs]
    named = [attrs["aria-labelledby"] for _, attrs, _ in shown.elements if "aria-labelledby" in attrs]
    linked = [attrs["href"][1:] for attrs, _ in shown.all("a") if attrs["href"].startswith("#")]
    assert len(ids) == len(set(ids)) and set(named) | set(linked) <= set(ids)
    assert all(attrs["alt"] for attrs, _ in shown.all("img"))
    (people / "gallery" / "3_0.png").unlink()
    (people / "people.csv").write_text((people / "people.csv").read_text().replace("gallery/3_0.png,3,1,gallery\n", ""))
    assert searched(f"--probe={probe}", f"--out={out}", pictures="people.csv")["page"]  # its own page is replaced
    assert "1 of the nearest pictures are not among" in (out / "index.html").read_text()


@pytest.mark.slow
def test_a_killed_index_goes_on(people, weights):
    arguments = (f"--pictures={people / 'gallery'}", f"--weights={weights}", *SMALL, "--index_batch=1")
    process = start("experiments.search", *arguments)
    versions = people / "gallery" / ".dsr_jax_gallery" / "_versions"
    while process.poll() is None and len(list(versions.glob("*.manifest"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(match.Gallery.open(versions.parent).maps)
    output, _ = finished(start("experiments.search", *arguments, "--json"))
    assert json.loads(output)["indexed"] == DONE | {"added": 10 - there, "unchanged": there}


def test_a_mask_counts_in_a_whole_search_and_in_stages(monkeypatch):
    rng = np.random.default_rng(0)
    maps = (rng.random((6, 4, 2, 16)) ** 4).astype(np.float32)
    gallery, mask = match.Gallery.build(maps), np.array([[1, 1], [1, 1], [0, 0], [0, 0]], bool)
    halves = np.concatenate([maps[3, :2], maps[1, 2:]])
    probe = probes.Seen("a.png", np.zeros((64, 32, 3), np.uint8), halves, mask)
    (answer,) = answers.answer([probe], gallery, k=2, matching=Compared(), rate=0.01, insist=False)
    assert answer.found.hits.entries[0] == 3 and answer.found.proven[0] == "gallery"
    assert [stage.by for stage in answer.found.stages] == ["dsr"]
    for name, entries in {"WHOLE": 5, "FIRST": 4, "SECOND": 2}.items():
        monkeypatch.setattr(answers, name, entries)
    (staged,) = answers.answer([probe], gallery, k=2, matching=Compared(), rate=0.01, insist=False)
    assert len(staged.found.stages) == 3 and staged.found.hits.entries[0] == 3
    assert staged.found.hits.distance[0] == pytest.approx(answer.found.hits.distance[0], abs=1e-6)


def test_identities_that_are_numbers_are_asked_for_as_text(tmp_path):
    maps = (np.random.default_rng(0).random((3, 4, 2, 16)) ** 4).astype(np.float32)
    gallery = match.Gallery.create(tmp_path / "gallery", maps, names=["a", "b", "c"], identities=[7, 8, 9])
    assert answers.filtered(gallery, Filters(identities=("8",))).people == (8,)
    with pytest.raises(ValueError, match="whole numbers, got eight"):
        answers.filtered(gallery, Filters(identities=("eight",)))
