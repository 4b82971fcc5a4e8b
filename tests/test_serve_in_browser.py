"""The page of a search in a real browser: by mouse, finger and keyboard, in silence, without requests elsewhere."""

import contextlib

import pytest

from tests import browser as browsers
from tests import page_server

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
EVIL = '<img src=x onerror="window.broken=1">"><script>window.broken=1</script>'
GIVEN = """([name, kind, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
    const options = {bubbles: true, cancelable: true};
    options[kind] = files;
    document.dispatchEvent(kind === "clipboardData" ? new ClipboardEvent(name, options) : new DragEvent(name, options));
}"""


@pytest.fixture(scope="module")
def browser():
    with browsers.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def client(browser, tmp_path_factory):
    folder = page_server.people(tmp_path_factory.mktemp("browser"))
    with page_server.open_page(page_server.settings(folder), folder) as client:
        yield client


@contextlib.contextmanager
def visited(browser, client, **options):
    """The page in a context of its own, which must neither complain nor ask anybody else."""
    context = browser.new_context(**options)
    address = f"http://127.0.0.1:{client.port}/"
    requests, complaints = [], []
    try:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.get_by_text("The gallery has").wait_for()
        yield page, complaints
        assert complaints == []
        assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
        assert page.evaluate("window.broken") is None
    finally:
        context.close()


def choose(page, client, name="gallery/3_0.png"):
    page.set_input_files("#file", str(client.people / name))
    page.locator("#canvas").wait_for()
    said(page, "Your picture has")


def said(page, text):
    page.locator("#status").filter(has_text=text).wait_for()


def search(page):
    with page.expect_response(lambda response: "/search" in response.url):
        page.get_by_role("button", name="Search").click()
    said(page, "Found")


def box(page):
    return [int(page.locator(f"#box-{i}").input_value()) for i in range(4)]


def first(page):
    return page.locator(".hit").first


def drag(page, start, end):
    """Presses at one place of the picture, moves, and lets go; places are shares of its sides."""
    area = page.locator("#canvas").bounding_box()
    places = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def test_choose_draw_search_explain_mark_and_add(browser, client):
    with visited(browser, client, viewport={"width": 1200, "height": 900}) as (page, _):
        choose(page, client)
        assert box(page) == [0, 0, 32, 64]
        search(page)
        assert first(page).get_by_role("heading").inner_text() == "1. 3" and page.locator(".hit").count() == 10
        assert "gallery/3_0.png" in first(page).inner_text() and "against the whole gallery" in first(page).inner_text()
        drag(page, (0.5, 0.3), (0.02, 0.9))
        left, top, width, height = box(page)
        assert left <= 2 and 12 <= width <= 17 and 15 <= top <= 22 and 34 <= height <= 42
        drag(page, (0.2, 0.6), (0.4, 0.6))  # within: it is moved
        assert box(page)[0] >= left + 4 and box(page)[2:] == [width, height]
        search(page)
        first(page).get_by_role("button", name="Why").click()
        page.locator("#explanation .map").wait_for()
        assert page.evaluate("document.activeElement.id") == "explanation"
        page.locator("#explanation .of-gallery .cell").first.click()
        assert page.locator("#explanation .said").inner_text().startswith("Gallery row 1, column 1")
        page.get_by_role("button", name="Close the map").click()
        assert page.locator("#explanation").is_hidden()
        verdict = first(page).get_by_role("button", name="Right", exact=True)
        verdict.click()
        said(page, "The mark is kept")
        assert verdict.get_attribute("aria-pressed") == "true"
        assert "1 answer is marked right and 0 wrong" in page.locator("#marks-said").inner_text()
        verdict.click()
        page.locator("#marks-said").filter(has_text="0 answers are marked right").wait_for()
        page.get_by_text("Add this picture").click()
        page.get_by_label("Name", exact=True).fill(EVIL)
        page.get_by_label("Identity").fill("7")
        page.get_by_label("Camera", exact=True).fill("5")
        page.get_by_role("button", name="Add to the gallery").click()
        said(page, "which has 11 pictures")
        search(page)
        assert EVIL in page.locator("#hits").inner_text()
        page.get_by_text("Filters and more").click()
        page.get_by_label("5", exact=True).check()
        search(page)
        said(page, "Found 1 of 1.")
        first(page).get_by_role("button", name="Why").click()
        page.locator("#explanation h3").filter(has_text=EVIL).wait_for()


def test_by_keyboard_alone(browser, client):
    with visited(browser, client) as (page, _):
        choose(page, client)
        page.locator("#canvas").focus()
        for key in ("Shift+ArrowLeft",) * 8 + ("Shift+ArrowUp",) * 10 + ("ArrowRight",) * 3 + ("ArrowDown",) * 40:
            page.keyboard.press(key)
        assert box(page) == [3, 10, 24, 54]
        page.locator("#canvas-status").filter(has_text="Box: left 3, top 10, 24 wide, 54 high").wait_for(
            state="attached"
        )
        page.locator("#box-2").fill("20")
        page.locator("#box-2").press("Enter")
        page.get_by_label("Paint").focus()
        page.keyboard.press("Space")
        assert box(page) == [3, 10, 20, 54]
        page.locator("#brush-size").press("End")
        page.locator("#canvas").focus()
        for key in ("Space", "ArrowDown", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        with page.expect_request(lambda request: "/search" in request.url) as request:
            page.locator("#search").press("Enter")
        assert "mask=" in request.value.url and "box=3%2C10%2C20%2C54" in request.value.url
        said(page, "Found")
        assert page.evaluate("document.activeElement.id") == "answer"
        page.get_by_role("button", name="Remove all paint").press("Enter")
        with page.expect_request(lambda request: "/search" in request.url) as request:
            page.locator("#search").press("Enter")
        assert "mask=" not in request.value.url
        said(page, "Found")


@pytest.mark.parametrize("options", [PHONE, {"viewport": {"width": 640, "height": 450}}], ids=["phone", "200 % zoom"])
def test_narrow_screens(browser, client, options):
    with visited(browser, client, **options) as (page, _):
        choose(page, client)
        area = page.locator("#canvas").bounding_box()
        if "has_touch" in options:
            page.touchscreen.tap(area["x"] + 5, area["y"] + 5)
        drag(page, (0.5, 0.3), (0.02, 0.9))
        search(page)
        first(page).get_by_role("button", name="Why").click()
        page.locator("#explanation .map").wait_for()
        wide, room = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert wide <= room
        buttons = page.locator("button:visible, .button:visible").all()
        assert all(button.bounding_box()["height"] >= 24 for button in buttons)


@pytest.mark.parametrize(("event", "kind"), [("paste", "clipboardData"), ("drop", "dataTransfer")])
def test_pictures_are_pasted_and_dropped(browser, client, event, kind):
    with visited(browser, client) as (page, _):
        page.evaluate(GIVEN, [event, kind, list(client.picture("gallery/1_0.png"))])
        said(page, "Your picture has 32 x 64 pixels")


def test_errors_are_sentences_and_alerts(browser, client, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.png").write_bytes(b"\x89PNG no picture")
    with visited(browser, client) as (page, complaints):
        alert = page.get_by_role("alert")
        for name, wrong in (("a.txt", "take another file"), ("b.png", "save it again")):
            page.set_input_files("#file", str(tmp_path / name))
            alert.filter(has_text=wrong).wait_for()
        choose(page, client)
        assert alert.is_hidden()
        page.get_by_text("Filters and more").click()
        page.locator("#before").fill("1999-01-01T00:00")
        assert page.locator("#filters-said").inner_text() == "(1 in use)"
        page.get_by_role("button", name="Search").click()
        alert.filter(has_text="No picture of the gallery fits the filters").wait_for()
        assert [text for text in complaints if "404" not in text] == []  # the browser's own line about the status
        complaints.clear()
        page.route("**/search*", lambda route: route.abort())
        page.get_by_role("button", name="Search").click()
        alert.filter(has_text="does not answer").wait_for()
        complaints.clear()


def test_a_busy_program_is_asked_again(browser, client):
    with visited(browser, client) as (page, complaints):
        choose(page, client)
        busy = iter([True])

        def answer(route):
            if next(busy, False):
                route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": "Many are searching."})
            else:
                route.continue_()

        page.route("**/search*", answer)
        page.get_by_role("button", name="Search").click()
        said(page, "another try in 1 seconds")
        said(page, "Found")
        complaints.clear()  # the browser's own line about the status


def test_another_picture_takes_the_answer_away(browser, client):
    """And what comes late is not shown: a map of the former answer, a search for the former picture."""
    with visited(browser, client) as (page, _):
        choose(page, client)
        search(page)
        held = []
        page.route("**/map", lambda route: held.append(route))
        first(page).get_by_role("button", name="Why").click()
        page.wait_for_function("document.querySelector('.why').disabled")
        choose(page, client, "gallery/1_0.png")
        page.locator(".hit").first.wait_for(state="detached")
        search(page)
        with page.expect_response(lambda response: "/map" in response.url) as late:
            held[0].continue_()
        late.value.finished()
        page.wait_for_timeout(200)
        assert page.locator("#explanation").is_hidden()
        assert first(page).get_by_role("heading").inner_text() == "1. 1"
        page.route("**/search*", lambda route: held.append(route))
        with page.expect_event("requestfailed", lambda request: "/search" in request.url):
            page.get_by_role("button", name="Search").click()
            said(page, "Searching")
            choose(page, client, "gallery/2_0.png")
        page.wait_for_timeout(200)
        assert page.locator(".hit").count() == 0 and page.get_by_role("alert").is_hidden()
        assert page.locator("#search").get_attribute("aria-busy") is None


def test_of_two_pictures_the_last_one_is_taken(browser, client):
    with visited(browser, client) as (page, _):
        page.evaluate(
            """() => {
            const read = window.createImageBitmap;
            let slow = true;
            window.createImageBitmap = async (...given) => {
                if (slow) {
                    slow = false;
                    await new Promise((resolve) => setTimeout(resolve, 500));
                    window.late = true;
                }
                return read(...given);
            };
        }"""
        )
        page.set_input_files("#file", str(client.people / "gallery/3_0.png"))
        choose(page, client, "gallery/1_0.png")
        page.wait_for_timeout(700)
        page.wait_for_timeout(200)
        search(page)
        assert first(page).get_by_role("heading").inner_text() == "1. 1"


def test_everything_has_a_name(browser, client):
    with visited(browser, client) as (page, _):
        choose(page, client)
        search(page)
        first(page).get_by_role("button", name="Why").click()
        page.locator("#explanation .map").wait_for()
        for details in page.locator("details").all():
            details.evaluate("details => { details.open = true; }")
        assert [text for text in browsers.nameless(page) if 'role="alert"' not in text] == []  # empty, and hidden
        unnamed = page.locator("button, input").evaluate_all(
            "found => found.filter(e => !e.textContent.trim() && !e.ariaLabel && !e.labels?.length).length"
        )
        assert unnamed == 0
        levels = page.locator("h1, h2, h3").evaluate_all("found => found.map(h => Number(h.tagName[1]))")
        assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
        ids = page.locator("[id]").evaluate_all("found => found.map(element => element.id)")
        assert len(ids) == len(set(ids))
        assert page.locator("html").get_attribute("lang") == "en"
