"""The contact sheet: it shows what is in the splits, as training and evaluation see it, in a browser without a word."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

import data
from data import browse as program
from data import synthetic, views
from data.browse import browse
from data.inspection import sheet
from data.prepare import prepare
from dsr_jax import report
from dsr_jax.evaluation import partial_crops, training_pairs
from dsr_jax.evaluation.partial_crops import Box
from dsr_jax.report import contact_sheet
from dsr_jax.report.contact_sheet import Card, Section, Shot, Strip
from experiments.evaluation import pictures
from experiments.settings.pictures import Shown
from tests import browser as browsers
from tests.commands import command

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
EVIL = "a&b<b>.png"
AMOUNT = sheet.Amount(identities=2, images=2, pairs=4, crops=3)
SIZE = (64, 24)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Five people to train on by two cameras, three to test on, and nobody; heights differ."""
    folder = tmp_path_factory.mktemp("browse")
    rows = [("path", "identity", "camera", "role")]
    for who in synthetic.people(9):
        for camera, index in np.ndindex(2, 3):
            role = "train" if who.identity < 5 else ("probe", "gallery")[camera]
            identity = -1 if who.identity == 8 else who.identity
            name = f"{who.identity}_{camera}_{index}.png" if (who.identity, index) != (5, 0) else f"{camera}{EVIL}"
            image = synthetic.draw(who, camera, index, height=40 + 2 * who.identity, width=20)
            Image.fromarray(image).save(folder / name)
            if identity >= 0 or role == "gallery":
                rows.append((name, str(identity), str(camera), role))
    with (folder / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare("folder", folder / "people.csv", data_dir=folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def page(data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("sheet") / "a sheet"
    return browse("folder", data_dir=data_dir, out=out, amount=sheet.Amount(identities=3), size=SIZE)[0]


@pytest.fixture(scope="module")
def browser():
    with browsers.launched() as browser:
        yield browser


def sources(data_dir):
    return {split: data.load("folder", split, data_dir=data_dir) for split in data.SPLITS}


def sections(data_dir, **changes):
    found = sheet.sections(sources(data_dir), amount=AMOUNT._replace(**changes), size=SIZE)
    return {section.heading: section for section in found}


# What is shown


def test_cards_have_all_images_of_a_person_by_split_and_camera(data_dir):
    trained = sections(data_dir, identities=5, images=9)["Trained on"]
    assert [card.title for card in trained.cards] == [f"Identity {who}" for who in range(5)]
    train = sources(data_dir)["train"]
    for who, card in enumerate(trained.cards):
        assert [strip.label for strip in card.strips] == ["camera 0", "camera 1"] and card.note == "6 images"
        for camera, strip in enumerate(card.strips):
            at = np.flatnonzero((train.identities == who) & (train.cameras == camera))
            for shot, i in zip(strip.shots, at, strict=True):
                np.testing.assert_array_equal(shot.image, train[i].image)
                assert train.names[i] in shot.spoken and f"identity {who}" in shot.spoken


def test_probes_stand_before_their_mates_and_nobody_comes_last(data_dir):
    tested = sections(data_dir, identities=9)["Tested on"]
    assert [card.title for card in tested.cards[:-1]] == ["Identity 5", "Identity 6", "Identity 7"]
    for card in tested.cards[:-1]:
        assert [strip.label for strip in card.strips] == ["probe, camera 0", "gallery, camera 1"]
        assert card.note == "6 images, 4 shown"
    assert tested.cards[-1].title.startswith("Nobody (identity -1)")
    assert [strip.label for strip in tested.cards[-1].strips] == ["camera 1"]


def test_pairs_are_those_that_training_draws(data_dir):
    train = sources(data_dir)["train"]
    drawn = training_pairs.draw_pairs(train.identities, train.cameras, positives=2, negatives=2, seed=(0, 0))
    cards = sections(data_dir)["Training pairs"].cards
    assert [card.right for card in cards] == (drawn.sign > 0).tolist() and sum(drawn.sign > 0) == 2
    for number, (card, whole, patch) in enumerate(zip(cards, drawn.whole, drawn.patch, strict=True)):
        rng = np.random.default_rng([0, number])
        full = views.whole(train[whole].image, rng, size=SIZE, augmentation=views.Augmentation())
        part = views.patch(train[patch].image, rng, size=SIZE, augmentation=views.Augmentation())
        first, second = card.strips[0].shots
        np.testing.assert_array_equal(first.image, full.pixels)
        np.testing.assert_array_equal(second.image, part.pixels[: part.size[0], : part.size[1]])
        assert second.tall == part.size[0] / SIZE[0]
        assert card.title == ("Identity {}" if card.right else "Identities {} and {}").format(
            *sorted({int(train.identities[whole]), int(train.identities[patch])})
        )


def test_partial_probes_are_those_that_an_evaluation_cuts(data_dir):
    probe = sources(data_dir)["probe"]
    cut = pictures.fit_probes(
        pictures.read(probe),
        Shown(crop_height=views.HEIGHT_RANGE, crop_width=views.WIDTH_RANGE, crop_seed=4),
        size=SIZE,
        gallery_shape=SIZE,
        partial="crop",
    )
    cards = sections(data_dir, seed=4, crops=99)["Partial probes"].cards
    for card, image, name in zip(cards, cut.pictures, probe.names, strict=True):
        whole, part = card.strips[0].shots
        np.testing.assert_array_equal(part.image, image)
        np.testing.assert_array_equal(partial_crops.crop(whole.image, whole.box), image)
        assert card.note == name


def test_the_seed_draws_and_the_amount_bounds(data_dir):
    def titles(**changes):
        return [card.title for section in sections(data_dir, **changes).values() for card in section.cards]

    assert titles() == titles() and len({tuple(titles(seed=seed)) for seed in range(4)}) > 1
    assert list(sections(data_dir, identities=0, pairs=0, crops=0)) == []
    assert len(sections(data_dir)["Partial probes"].cards) == 3


@pytest.mark.parametrize(
    ("rows", "headings"),
    [
        (["0.png,1,0,train", "1.png,1,1,train"], ["Trained on", "Training pairs"]),
        (["0.png,1,0,train", "1.png,2,1,train"], ["Trained on", "Training pairs"]),
        (["0.png,1,0,train"], ["Trained on"]),
        (["0.png,1,0,gallery", "1.png,-1,1,gallery"], ["Tested on"]),
        (["0.png,1,-1,probe", "1.png,2,1,gallery"], ["Tested on", "Partial probes"]),
    ],
)
def test_data_sets_without_some_splits_or_pairs(tmp_path, rows, headings):
    for i in range(2):
        Image.fromarray(synthetic.draw(synthetic.people(1)[0], i, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "people.csv").write_text("path,identity,camera,role\n" + "\n".join(rows))
    prepare("folder", tmp_path / "people.csv", data_dir=tmp_path / "data")
    page, text = browse("folder", data_dir=tmp_path / "data", out=tmp_path / "out", amount=AMOUNT, size=SIZE)
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page.read_text()) == ["Figures", *headings]
    assert text.startswith("split    identities  images")


def test_large_data_sets_are_drawn_by_few_points():
    rng = np.random.default_rng(0)
    sizes = {"train": rng.integers(40, 1000, (3000, 2))}
    records = [{}] * 3000
    source = data.Source(
        records, identities=range(3000), cameras=[0] * 3000, names=list(map(str, range(3000))), title="x/train"
    )
    plots = {plot.caption: plot for plot in sheet.spreads({"train": source}, sizes)}
    assert list(plots) == ["Heights", "Widths"]  # one image each is nothing to draw
    (curve,) = plots["Heights"].curves
    assert len(curve.values) <= 60 and curve.values[-1] == 100 and list(curve.values) == sorted(curve.values)
    middle = np.searchsorted(curve.values, 50)
    assert abs(curve.places[middle] - np.median(sizes["train"][:, 0])) < 20


# The page


def test_it_is_silent_asks_nobody_and_every_picture_is_there(browser, page):
    with browsers.visited(browser, page) as visit:
        shown = visit.page.evaluate(
            "Promise.all([...document.images].map(async i => {"
            "i.loading = 'eager'; await i.decode(); return i.naturalWidth}))"
        )
        inside = page.parent.as_uri() + "/"
        assert len(shown) > 60 and min(shown) > 0
        assert visit.requests and all(url.startswith((inside, "data:")) for url in visit.requests)
        assert visit.complaints == [] and browsers.nameless(visit.page) == []
        assert visit.page.get_by_role("heading", level=2).all_text_contents() == [
            "Figures", "Trained on", "Training pairs", "Tested on", "Partial probes"
        ]  # fmt: skip
        assert visit.page.locator("figcaption", has_text=EVIL).count() > 0


def test_parts_are_shown_at_the_scale_of_the_whole(browser, page):
    heights = "articles => articles.map(a => [...a.querySelectorAll('img')].map(i => i.getBoundingClientRect().height))"
    places = "spans => spans.map(s => [s, s.previousElementSibling].map(e => e.getBoundingClientRect().toJSON()))"
    with browsers.visited(browser, page) as visit:
        section = visit.page.locator("section", has=visit.page.get_by_role("heading", name="Partial probes"))
        found = section.locator("article").evaluate_all(heights)
        boxes = section.locator(".seen").evaluate_all(places)
        assert len(found) == len(boxes) > 0
        for (whole, part), (seen, image) in zip(found, boxes, strict=True):
            assert part < whole and abs(seen["height"] - part) <= 2
            assert image["top"] - 1 <= seen["top"] and seen["bottom"] <= image["bottom"] + 1
            assert image["left"] - 1 <= seen["left"] and seen["right"] <= image["right"] + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_themes(browser, page, scheme):
    with browsers.visited(browser, page, color_scheme=scheme, **PHONE) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
        dark = visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 25)"
        assert dark == (scheme == "dark") and visit.complaints == []


def test_the_keyboard_reaches_every_section(browser, page):
    with browsers.visited(browser, page) as visit:
        reached = []
        for _ in range(14):
            visit.page.keyboard.press("Tab")
            reached.append(visit.page.evaluate("document.activeElement.textContent.trim()"))
        assert reached[:7] == [
            "Skip to the pictures", "Figures", "Trained on", "Training pairs", "Tested on", "Partial probes", reached[6]
        ]  # fmt: skip
        assert reached[6].startswith("Splits"), "the table, which scrolls"
        visit.page.get_by_role("link", name="Tested on").focus()
        visit.page.keyboard.press("Enter")
        top = visit.page.get_by_role("heading", name="Tested on").evaluate("e => e.getBoundingClientRect().top")
        assert abs(top) < 100


def test_an_older_sheet_is_replaced_and_leaves_no_picture(data_dir, tmp_path):
    browse("folder", data_dir=data_dir, out=tmp_path, amount=AMOUNT, size=SIZE)
    page, _ = browse("folder", data_dir=data_dir, out=tmp_path, amount=AMOUNT._replace(seed=1, pairs=0), size=SIZE)
    named = set(re.findall(r'src="(picture-[^"]+)"', page.read_text()))
    assert {path.name for path in tmp_path.glob("picture-*")} == named


def test_a_box_must_lie_in_its_picture(tmp_path):
    shot = Shot(np.zeros((10, 5, 3), np.uint8), "x", box=Box(0, 0, 11, 5))
    section = Section("a", "b", (Card("c", (Strip("", (shot,)),)),))
    with pytest.raises(ValueError, match="box .* is not inside its picture of 10 x 5 pixels"):
        contact_sheet.context(section, {})


# Bad input


def test_other_peoples_pages_are_not_overwritten(data_dir, tmp_path):
    report.write_evaluation(tmp_path / "run", title="A run", tables=[], curves=[], ranked=[], config={})
    before = (tmp_path / "run" / "index.html").read_bytes()
    with pytest.raises(ValueError, match=r"--out=.*run holds another page, index.html: name another folder"):
        browse("folder", data_dir=data_dir, out=tmp_path / "run")
    assert (tmp_path / "run" / "index.html").read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--out=.*file is a file: name a folder"):
        browse("folder", data_dir=data_dir, out=tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": AMOUNT._replace(pairs=-1)}, "pairs is -1: it must be 0 or more"),
        ({"size": (4, 40)}, "size is 4,40: height and width must be at least 8"),
        ({"dataset": "cuhk03"}, "cuhk03 is not prepared in .*: run"),
        ({"dataset": "people"}, "dataset 'people' is unknown: use one of"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(data_dir, tmp_path, changes, message):
    arguments = {"dataset": "folder", "amount": AMOUNT, "size": SIZE} | changes
    with pytest.raises(ValueError, match=message):
        browse(arguments.pop("dataset"), data_dir=data_dir, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_statistics_and_where_to_look(data_dir, tmp_path, capsys):
    few = ["--identities=1", "--images=1", "--pairs=1", "--crops=1", "--size=64,24"]
    assert command(program, "--dataset=folder", f"--data_dir={data_dir}", f"--out={tmp_path / 'out'}", *few) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split() == ["split", "identities", "images", "cameras", "images", "each", "height", "width"]
    assert lines[1].split() == ["train", "5", "30", "2", "6", "40", "/", "44", "/", "48", "20"]
    assert lines[-1] == f"open {tmp_path / 'out' / 'index.html'}" and said.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=x"], "--data_dir is needed"),
        (["--data_dir=x"], "--out is needed: the folder of the page"),
        (["--data_dir=x", "--out=OUT", "--size=64"], "size must be height,width such as 320,120"),
        (["--data_dir=x", "--out=OUT", "--size=a,b"], "size must be height,width"),
        (["folder"], "what is 'folder'?"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, capsys, arguments, message):
    assert command(program, *[argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]) == 1
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()
