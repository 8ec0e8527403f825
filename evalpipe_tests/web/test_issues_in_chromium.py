"""The issues page as a reviewer uses it: in a real browser, without a mouse."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from evalpipe.home import Home
from evalpipe.tables import ISSUE_EVENTS
from evalpipe_tests.web.chromium import LOW_CONTRASTS, NAMELESS, TWICE, Opened
from evalpipe_tests.web.reviewed import LOUD, PROMISED, UNSENT, issue_names, issues_home

ISSUES = "/review/issues"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return issues_home(tmp_path)


def says(page: Page, text: str) -> None:
    """Waits until the live region says it."""
    expect(page.locator("#said")).to_contain_text(text)


def test_a_pair_is_merged_under_the_other_name_and_taken_back_from_the_keyboard(home: Home, opened: Opened):
    with opened() as page:
        page.keyboard.press("i")
        expect(page.locator(".pair-card")).to_be_focused()
        page.keyboard.press("2")
        page.keyboard.press("m")
        says(page, f"Merged: “{PROMISED}” now counts as “{UNSENT}”.")
        assert issue_names(home)[UNSENT] == [UNSENT, PROMISED.lower()]
        page.keyboard.press("u")
        expect(page.locator(".issues > .notice")).to_have_count(0)
        assert set(issue_names(home)) == {PROMISED, UNSENT, LOUD}


def test_a_pair_is_kept_apart_with_one_key(home: Home, opened: Opened):
    with opened(ISSUES) as page:
        page.keyboard.press("a")
        says(page, "Kept apart")
        expect(page.locator(".pair-card")).to_have_count(0)
        page.keyboard.press("u")  # nothing to press it on
    assert home.lake.read(ISSUE_EVENTS)["kind"].to_list().count("kept_apart") == 1


def test_an_issue_is_walked_to_renamed_and_stays_in_sight(home: Home, opened: Opened):
    with opened(ISSUES) as page:
        page.keyboard.press("j")  # past the pair, to the first issue
        page.keyboard.press("r")
        page.keyboard.type("No money came")
        page.keyboard.press("Enter")
        says(page, "Renamed")
        expect(page.locator("summary:focus")).to_contain_text("No money came")
        expect(page.locator("summary:focus")).to_be_in_viewport()
        expect(page.locator("details[open] .wordings")).to_contain_text(PROMISED)
    assert issue_names(home)["No money came"] == [PROMISED.lower(), "no money came"]


def test_a_key_for_pairs_does_nothing_at_an_issue(home: Home, opened: Opened):
    with opened(ISSUES) as page:
        page.keyboard.press("j")
        page.keyboard.press("m")
        page.keyboard.press("a")
        page.keyboard.press("r")  # the page still listens
        expect(page.locator("[name=name]").first).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("summary").first).to_be_focused()
    assert len(issue_names(home)) == 3


def test_a_decision_that_somebody_else_took_first_is_told(home: Home, opened: Opened):
    with opened(ISSUES, reviewer="maria") as maria, opened(ISSUES, reviewer="ben") as ben:
        ben.keyboard.press("m")
        says(ben, "Merged")
        maria.keyboard.press("m")
        says(maria, "Not done")
        expect(maria.get_by_role("alert").first).to_contain_text(f"issue “{UNSENT}” is merged")
    assert home.lake.read(ISSUE_EVENTS)["kind"].to_list().count("merged") == 1


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180), (390, 844)])
def test_the_page_does_not_scroll_sideways(opened: Opened, width: int, height: int):
    with opened(ISSUES, viewport={"width": width, "height": height}) as page:
        page.locator("summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_stands_out(opened: Opened, scheme: str):
    with opened(ISSUES, color_scheme=scheme) as page:
        page.keyboard.press("a")
        says(page, "Kept apart")
        page.locator("summary").first.click()
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(TWICE) == []
        assert page.evaluate(LOW_CONTRASTS) == []
        assert page.locator("h1").count() == page.get_by_role("main").count() == 1
