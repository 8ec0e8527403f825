"""The page of one issue as a reviewer reads it: in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from evalpipe.home import Home
from evalpipe_tests.web.chromium import LOW_CONTRASTS, NAMELESS, TWICE, Opened
from evalpipe_tests.web.dossier_home import PLANTED, Known, dossier_home
from evalpipe_tests.web.reviewed import serving_review

ADDRESS = f"/review/issues/{PLANTED}"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return dossier_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def home(known: Known) -> Home:
    return known.home


@pytest.fixture(scope="module")
def site(known: Known) -> Iterator[str]:
    with serving_review(known.home) as address:
        yield address


def test_the_page_is_reached_and_left_from_the_keyboard(opened: Opened):
    with opened("/review/issues") as page:
        page.locator(f"#{PLANTED} summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("h2#worth")).to_be_visible()
        page.locator(".traces a").first.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/review/2026-W\d\d/[0-9a-f]{32}$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_stands_out(opened: Opened, scheme: str):
    with opened(ADDRESS, color_scheme=scheme) as page:
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(TWICE) == []
        assert page.evaluate(LOW_CONTRASTS) == []
        assert page.locator("h1").count() == page.get_by_role("main").count() == 1


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180), (390, 844)])
def test_the_page_does_not_scroll_sideways(opened: Opened, width: int, height: int):
    with opened(ADDRESS, viewport={"width": width, "height": height}) as page:
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_is_asked_of_another_server(opened: Opened, site: str):
    with opened() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(ADDRESS)
        page.wait_for_load_state("networkidle")
        assert [url for url in asked if not url.startswith(site)] == []


def test_the_charts_stand_where_their_figures_say(opened: Opened):
    with opened(ADDRESS) as page:
        chart = page.locator("svg.scale.main")
        left, width = (chart.bounding_box() or {})["x"], (chart.bounding_box() or {})["width"]
        dot = chart.locator(".dot").bounding_box() or {}
        # A held-out MCC of 1 stands at the end of the axis: 96 % of the width.
        assert (dot["x"] + dot["width"] / 2 - left) / width == pytest.approx(0.96, abs=0.01)
