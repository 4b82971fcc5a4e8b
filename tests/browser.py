"""A real browser for the tests of the page: the system's chromium, without a window and without a network."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
_NAMELESS = """() => [...document.querySelectorAll("a, input, summary, img, [tabindex], [role], section, article, nav")]
    .filter(element => {
        const by = (element.getAttribute("aria-labelledby") || "").split(" ").map(id => document.getElementById(id));
        const texts = [...by, ...(element.labels || [])].map(other => other ? other.textContent : "");
        const name = [element.getAttribute("aria-label"), element.alt, element.textContent, ...texts].join("");
        return !name.trim() && !element.matches("[role=row]");
    })
    .map(element => element.outerHTML.slice(0, 80))"""


@dataclass
class Visit:
    """An opened page, the addresses it asked for, and what the console and the scripts complained of."""

    page: Page
    requests: list[str]
    complaints: list[str]


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none, and says so."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("needs chromium: apt-get install chromium")
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has no sandbox
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=rights)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visited(browser: Browser, path: Path, **options: Any) -> Iterator[Visit]:
    """The page of a file, from disk, in a context of its own with these options."""
    context = browser.new_context(offline=True, **options)
    try:
        visit = Visit(context.new_page(), [], [])
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.goto(path.resolve().as_uri())
        yield visit
    finally:
        context.close()


def nameless(page: Page) -> list[str]:
    """The beginnings of those elements that a screen reader could not name."""
    return page.evaluate(_NAMELESS)
