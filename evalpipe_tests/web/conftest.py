"""A browser on the review page of the `home` of a test."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from evalpipe.home import Home
from evalpipe_tests.web.chromium import CHROMIUM, FLAGS, Opened
from evalpipe_tests.web.reviewed import serving_review

PAINTED = "() => new Promise((done) => new PerformanceObserver(() => done()).observe({type: 'paint', buffered: true}))"

# An answer is a commit to a table, and a shared disk was seen to take ten seconds for one; the default waits five.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; .ci/run installs Debian's")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def site(home: Home) -> Iterator[str]:
    with serving_review(home) as address:
        yield address


@pytest.fixture
def opened(browser: Browser, site: str) -> Opened:
    @contextmanager
    def opened(path: str = "", *, reviewer: str = "maria", **options: object) -> Iterator[Page]:
        """A script error or a broken policy fails the test."""
        complaints: list[str] = []
        context = browser.new_context(base_url=site, **options)  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
        page.goto("/review")
        page.get_by_role("button", name=reviewer).click()
        page.wait_for_url("**/review/20*")
        if path:
            page.goto(path)
        page.evaluate(PAINTED)  # Chromium drops keys that come before: nobody presses what they do not see
        yield page
        context.close()
        assert complaints == []

    return opened
