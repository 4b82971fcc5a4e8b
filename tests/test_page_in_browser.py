"""The page in a real browser: silent, asks nobody, and its reconstruction maps answer mouse, finger and keyboard."""

import time

import numpy as np
import pytest

from data import synthetic
from dsr_jax import report
from dsr_jax.report.curves import Curve, Plot
from tests import browser as browsers

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
EVIL = "</script><script>window.broken = 1</script>"
STRIDE = 16


@pytest.fixture(scope="module")
def browser():
    with browsers.launched() as browser:
        yield browser


def reconstruction():
    """A probe of 4 x 2 positions, and a remainder; a gallery image of 6 x 3. The last position of each has no code."""
    rng = np.random.default_rng(0)
    codes = rng.uniform(-0.5, 1, (4, 2, 6, 3)) * (rng.random((4, 2, 6, 3)) < 0.3)
    codes[3, 1] = codes[:, :, 5, 2] = 0
    rebuilt = rng.uniform(0, 1, (4, 2))
    rebuilt[2, 0] = 1.0
    rebuilt[3, 1] = np.nan
    who = synthetic.people(1)[0]
    probe = synthetic.draw(who, 0, 0, height=70, width=40)
    image = synthetic.draw(who, 1, 0, height=96, width=48)
    return report.Reconstruction(f"Probe 7 {EVIL}", probe, image, codes, rebuilt, 0.31, STRIDE, True)


SHOWN = reconstruction()
CODES = SHOWN.codes.reshape(8, 18)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    table = report.Table("Rank-k", "method", ("rank-1", "mAP"), (report.Row("DSR", (24.2, report.Compared(30, 33.1))),))
    hits = tuple(report.Hit(SHOWN.image, i, 0.1 * i, i == 2) for i in range(12))
    return report.write_evaluation(
        tmp_path_factory.mktemp("browser") / "a report",
        title="A run",
        tables=[table],
        curves=[Plot("CMC", (Curve("DSR", (24.0, 30.0, 33.0)),))],
        distances=[report.DistancePlot("Distances", (0.0, 0.5, 1.0), (3, 1), (1, 9), (("equal error 18.2 %", 0.5),))],
        ranked=[report.RankedList("Probe 7", SHOWN.probe, 2, hits, 2)],
        reconstructions=[SHOWN, SHOWN],
        config={"l1": 0.4, "a rather long value": "word" * 60},
    )


@pytest.fixture
def visit(browser, path):
    with browsers.visited(browser, path) as visit:
        yield visit
        assert visit.complaints == []


# What is marked: (place, whether, strength, number shown, negative).
MARKS = """cells => cells.map((cell, i) => [
    i, cell.classList.contains("part"), cell.style.getPropertyValue("--strength"), cell.dataset.code,
    cell.classList.contains("negative")])"""
BOXES = "cells => cells.map(cell => cell.getBoundingClientRect()).map(box => [box.x, box.y, box.width])"


def cells(visit, side):
    return visit.page.locator(".map").first.locator(f".of-{side} .cell")


def cell(visit, side, place):
    return cells(visit, side).nth(place)


def marks(visit, side):
    """What is marked on one side of the first map: place -> (strength, number shown, negative)."""
    found = cells(visit, side).evaluate_all(MARKS)
    return {i: (float(strength), code, negative) for i, part, strength, code, negative in found if part}


def expected(codes):
    """The same of one row or column of the codes."""
    top = np.abs(CODES).max()
    return {
        int(i): (pytest.approx(abs(codes[i]) / top, abs=2e-3), number(codes[i]), codes[i] < 0)
        for i in np.flatnonzero(codes)
    }


def number(code):
    return f"{code:.2f}".replace("-", "\N{MINUS SIGN}")


def said(visit):
    return visit.page.get_by_role("status").first.text_content()


def chosen(visit):
    return visit.page.locator(".map").first.locator("[aria-selected=true]").get_attribute("aria-label")


def test_it_loads_from_disk_in_silence_and_asks_nobody(visit, path):
    visit.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    visit.page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    inside = path.parent.as_uri() + "/"
    assert visit.requests and all(url.startswith((inside, "data:")) for url in visit.requests)
    assert visit.page.evaluate("window.broken") is None
    assert visit.page.get_by_role("heading", name=EVIL).count() == 2


def test_its_policy_stops_other_scripts_and_addresses(browser, path):
    with browsers.visited(browser, path) as visit:
        visit.page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.broken = 1";
                const image = document.createElement("img");
                image.src = "https://example.org/a.png";
                document.body.append(script, image);
            }"""
        )
        end = time.monotonic() + 600
        while len(visit.complaints) < 2 and time.monotonic() < end:
            visit.page.wait_for_timeout(10)
        assert visit.page.evaluate("window.broken") is None
        assert len(visit.complaints) == 2 and all("Content Security Policy" in text for text in visit.complaints)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_pointing_at_a_probe_position_marks_what_rebuilt_it(visit, place):
    assert chosen(visit) == "row 3, column 1: 100 % rebuilt"  # the best one, before anything is pointed at
    cell(visit, "probe", place).hover()
    assert marks(visit, "gallery") == expected(CODES[place])
    assert marks(visit, "probe") == {}
    visit.page.get_by_role("heading", name="A run").hover()
    assert marks(visit, "gallery") == expected(CODES[4])


def test_pointing_at_a_gallery_position_marks_what_it_helped_to_rebuild(visit):
    for place in (0, 4, 11, 17):
        cell(visit, "gallery", place).hover()
        assert marks(visit, "probe") == expected(CODES[:, place])
        assert marks(visit, "gallery") == {}


def test_it_is_said_in_words(visit):
    cell(visit, "probe", 0).hover()
    strongest = int(np.argmax(np.abs(CODES[0])))
    others = np.count_nonzero(CODES[0]) - 1
    assert said(visit) == (
        f"Probe row 1, column 1: {100 * SHOWN.rebuilt[0, 0]:.0f} % rebuilt, from gallery row {strongest // 3 + 1}, "
        f"column {strongest % 3 + 1} ({number(CODES[0, strongest])}) and {others} others."
    )
    cell(visit, "probe", 7).hover()
    assert said(visit) == "Probe row 4, column 2: nothing to rebuild."
    cell(visit, "gallery", 17).hover()
    assert said(visit) == "Gallery row 6, column 3: rebuilt nothing."


def test_a_click_stays_and_maps_do_not_disturb_each_other(visit):
    second = visit.page.locator(".map").nth(1)
    before = second.locator(".said").text_content()
    cell(visit, "probe", 1).click()
    cell(visit, "probe", 2).hover()
    visit.page.get_by_role("heading", name="A run").hover()
    assert chosen(visit).startswith("row 1, column 2:")
    assert marks(visit, "gallery") == expected(CODES[1])
    assert second.locator(".said").text_content() == before


def test_a_tap_chooses(browser, path):
    with browsers.visited(browser, path, **PHONE) as visit:
        cell(visit, "probe", 1).tap()
        assert marks(visit, "gallery") == expected(CODES[1])
        cell(visit, "gallery", 2).tap()
        assert marks(visit, "probe") == expected(CODES[:, 2]) and marks(visit, "gallery") == {}
        assert visit.complaints == []


def test_arrow_keys_move_and_every_grid_is_one_tab_stop(visit):
    assert visit.page.locator(".map").first.locator("[tabindex='0']").count() == 2
    cell(visit, "gallery", 0).focus()
    steps = {"ArrowRight": 1, "ArrowDown": 4, "End": 5, "ArrowLeft": 4, "ArrowUp": 1, "Home": 0, "Control+End": 17}
    for key, place in {**steps, "ArrowRight ": 17, "ArrowDown ": 17, "Control+Home": 0, "ArrowUp ": 0}.items():
        visit.page.keyboard.press(key.strip())
        assert chosen(visit) == f"row {place // 3 + 1}, column {place % 3 + 1}", key
        assert visit.page.evaluate("document.activeElement.getAttribute('aria-label')") == chosen(visit)
        assert said(visit).startswith(f"Gallery {chosen(visit)}")
        assert marks(visit, "probe") == expected(CODES[:, place])
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Shift+Tab")
    visit.page.keyboard.press("Tab")
    assert chosen(visit) == "row 2, column 1"  # where it was left
    assert visit.page.locator(".map").first.locator("[tabindex='0']").count() == 2
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.type") == "checkbox"


@pytest.mark.parametrize("options", [PHONE, {"viewport": {"width": 1200, "height": 800}}], ids=["phone", "desktop"])
def test_grids_lie_on_their_pictures_and_nothing_overflows(browser, path, options):
    with browsers.visited(browser, path, **options) as visit:
        wide, room = visit.page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert wide <= room
        scales = []
        for side, (height, width) in (("probe", (70, 40)), ("gallery", (96, 48))):
            picture = visit.page.locator(f".picture:has(.of-{side}) img").first.bounding_box()
            scales.append(picture["width"] / width)
            assert picture["height"] / height == pytest.approx(scales[-1], rel=0.01)
            step = STRIDE * scales[-1]
            for place, box in enumerate(cells(visit, side).evaluate_all(BOXES)):
                row, column = divmod(place, width // STRIDE)
                want = [picture["x"] + column * step, picture["y"] + row * step, step]
                assert box == pytest.approx(want, abs=0.75)
        assert scales[0] == pytest.approx(scales[1], rel=0.01)


def colours_of(visit):
    return cells(visit, "probe").evaluate_all("cells => cells.map(cell => getComputedStyle(cell).backgroundColor)")


def test_without_scripts_the_colours_and_numbers_are_there(browser, path):
    with browsers.visited(browser, path, java_script_enabled=False) as visit:
        colours = colours_of(visit)
        assert len(set(colours[:7])) == 7 and "rgba(0, 0, 0, 0)" not in colours[:7]
        assert cell(visit, "probe", 4).inner_text() == "100 %" and cell(visit, "probe", 4).is_visible()
        assert visit.page.get_by_text("Without JavaScript").is_visible()
        assert visit.page.get_by_text("dashed and hatched").first.is_hidden()
        visit.page.get_by_label("Colours over the probe").first.uncheck()
        assert set(colours_of(visit)) == {"rgba(0, 0, 0, 0)"}
        assert visit.complaints == []


def test_colours_can_be_taken_off(visit):
    box = visit.page.get_by_label("Colours over the probe").first
    assert box.is_checked() and len(set(colours_of(visit)[:7])) == 7
    assert visit.page.get_by_text("Without JavaScript").is_hidden()
    box.uncheck()
    assert set(colours_of(visit)) == {"rgba(0, 0, 0, 0)"}
    assert not cell(visit, "probe", 0).locator("span").is_visible()


def test_dark_and_calm_readers_are_respected(browser, path):
    with browsers.visited(browser, path, color_scheme="dark", reduced_motion="reduce") as visit:
        page = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, page.removeprefix("rgb(").removesuffix(")").split(","))) < 100
        assert (
            cell(visit, "gallery", 0).evaluate("cell => getComputedStyle(cell, '::before').transitionDuration") == "0s"
        )
        assert visit.complaints == []


def test_everything_has_a_name(visit):
    assert browsers.nameless(visit.page) == []
    levels = visit.page.locator("h1, h2, h3").evaluate_all("found => found.map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    snapshot = visit.page.locator(".map").first.aria_snapshot()
    assert 'grid "Probe positions"' in snapshot and 'gridcell "row 1, column 2:' in snapshot
