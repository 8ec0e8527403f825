"""The coverage page as a person sees it: in a real browser, wide and narrow, asking nothing of the network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from playwright.sync_api import Browser, sync_playwright

from evalpipe.home import Home
from evalpipe.report.html import coverage_page
from evalpipe.report.on_lake import write_coverage_report
from evalpipe.settings import Settings
from evalpipe.tables import COVERAGE, ISSUES
from evalpipe_tests.report.made import NOW, tables

CHROMIUM = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
Scheme = Literal["light", "dark"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs Debian's")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page on which every section has something to say."""
    path = tmp_path_factory.mktemp("made") / "page.html"
    path.write_text(
        coverage_page(tables("a failure with a name of some length"), settings=Settings(), now=NOW), encoding="utf-8"
    )
    return path.as_uri()


def test_the_page_asks_nothing_of_the_network_and_logs_no_error(walked, browser: Browser):
    asked, complained = [], []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complained.append(message.text))
    page.on("pageerror", lambda error: complained.append(str(error)))
    page.goto(walked[0].coverage_report.as_uri())
    assert asked == [walked[0].coverage_report.as_uri()]
    assert complained == []
    assert page.locator("svg").count() >= 3
    page.close()


def test_every_active_issue_is_on_the_page_with_how_many_are_covered(walked, browser: Browser):
    home, _ = walked
    page = browser.new_page()
    page.goto(home.coverage_report.as_uri())
    newest = home.lake.read(COVERAGE).filter(pl.col("measured_at") == pl.col("measured_at").max())
    assert page.locator("h1").count() == 1
    text = page.inner_text("body")
    assert f"{newest['is_covered'].sum()} of {newest.height} active issues are covered" in text
    assert all(name in text for name in home.lake.read(ISSUES, pl.col("state") == "active")["name"])
    page.close()


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_the_page_needs_no_sideways_scrolling(walked, browser: Browser, width: int):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(walked[0].coverage_report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_what_reviewing_found_fits_the_page_and_stands_out_from_it(
    made: str, browser: Browser, width: int, scheme: Scheme
):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(made)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for section in ("prevalence", "queue", "people", "same"):
        box = page.locator(f"section[aria-labelledby={section}]").bounding_box()
        assert box is not None
        assert box["height"] > 100
    if width == 1280:  # nothing is hidden behind a scroll bar inside a card either
        hidden = "cards => cards.filter(card => card.scrollWidth > card.clientWidth).length"
        assert page.locator(".scroll").evaluate_all(hidden) == 0
    colour = "line => getComputedStyle(line).stroke"
    ceiling = page.locator(".glyph line[style*=dasharray]").first.evaluate(colour)
    assert ceiling != page.locator(".glyph line").first.evaluate(colour)
    page.close()


def test_a_hostile_name_is_shown_as_text_and_runs_nothing(home_copy: Home, browser: Browser, tmp_path: Path):
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    issues = home_copy.lake.read(ISSUES).with_columns(name=pl.lit(hostile))
    home_copy.lake.replace(ISSUES, issues)
    written = write_coverage_report(
        home_copy.lake,
        tmp_path / "page.html",
        home_copy.settings,
        made_from=1,
        now=home_copy.landing.ledger()["landed_at"].max(),
    )
    page = browser.new_page()
    page.goto(written.path.as_uri())
    assert page.title() != "owned"
    assert hostile in page.inner_text("body")
    page.close()
