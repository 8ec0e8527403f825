"""The page of a backtest: what it says at a glance, and safe with the texts of strangers."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from evalpipe.report.backtest import backtest_page, headline
from evalpipe.settings import Settings
from evalpipe.tables import BACKTESTS
from evalpipe_tests.report.made import frame
from evalpipe_tests.report.test_html import HOSTILE, Page
from evalpipe_tests.report.test_page_in_chromium import CHROMIUM, FLAGS

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 29)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def row(letter: str, **fields: Any) -> dict[str, Any]:
    """A regression of 1.1.0 on the 16th that nobody caught."""
    names = {"backtest_id": "bt_1", "issue_id": f"iss_{letter}", "service_name": "shop", "release": "1.1.0"}
    days = {"first_day": FIRST, "last_day": LAST, "week": date(2026, 3, 16), "regressed_at": at(16)}
    said = {"issue_name": f"mode {letter}", "release_before": "1.0.0", "known_by": ["rate"], "reason": "nobody could"}
    rates = {"rate_before": 0.04, "rate_before_lower": 0.02, "rate_before_upper": 0.07}
    rates |= {"rate_after": 0.15, "rate_after_lower": 0.1, "rate_after_upper": 0.21, "confidence": 0.95}
    exposed = {"exposed_until": at(30), "delay_traces": 280, "is_false_alarm": False}
    return names | days | said | rates | exposed | fields


def alarm(day: int, **fields: Any) -> dict[str, Any]:
    by = {"caught_how": "rate", "caught_by": "ev_1", "version": 2, "role": "blocking", "mcc": 0.9, "gate": "passed"}
    return (
        {"caught_at": at(day), "exposed_until": at(day), "delay_days": float(day - 16), "delay_traces": 20 * (day - 16)}
        | by
        | fields
    )


ROWS = frame(
    BACKTESTS,
    [
        row("a"),
        row("b", **alarm(18), reason="6 of 40 traces flagged"),
        row("c", **alarm(20), issue_name=HOSTILE),
        row("d", **alarm(17, delay_days=None, role="monitoring"), regressed_at=None, known_by=[], is_false_alarm=True),
    ],
)


def page(rows: Any = ROWS) -> str:
    return backtest_page(rows, backtest_id="bt_1", first_day=FIRST, last_day=LAST, n_compared=8, settings=Settings())


def test_the_headline_counts_what_was_caught_how_late_and_what_was_false():
    # Caught after 2 and 4 days, 40 and 80 traces.
    assert headline(ROWS, 8) == (
        "2 of 3 regressions would have been caught, after 3.0 days and 60 traces in the median. 1 false alarm in 8 "
        "comparisons of a release with the one before."
    )
    assert headline(BACKTESTS.empty(), 0) == "No regression in these weeks, as far as is known today. No false alarm."


def test_the_page_says_of_each_what_happened_and_what_it_was_worth():
    text = " ".join(Page(page()).text.split())
    for expected in (
        "2 Mar 2026 to 29 Mar 2026",
        "mode a shop 1.1.0, after 1.0.0 not caught regressed 16 Mar 2026",
        "4.0% 2.0% to 7.0% 15% 10% to 21%",
        "18 Mar 2026 00:00 UTC 2.0 d 40 traces 6 of 40 traces flagged",
        "ev_1, version 2, may block, MCC 0.90 the gate would have let it pass",
        "false alarm",
        "only warns",
    ):
        assert expected in text


def test_texts_of_strangers_are_text_and_the_page_needs_nothing_else():
    parsed = Page(page())
    assert HOSTILE in parsed.text
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "iframe", "object", "link")]
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on") or name == "src"]


def test_a_backtest_that_found_nothing_says_so_and_draws_nothing():
    empty = page(BACKTESTS.empty())
    assert "no alarm would have been raised" in empty
    assert "<svg" not in empty


def test_the_same_rows_make_the_same_page():
    assert page() == page()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs Debian's")
def test_the_page_fits_wide_and_narrow_screens_and_logs_no_error(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    complained: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width in (390, 1280):
            shown = browser.new_page(viewport={"width": width, "height": 900})
            shown.on("console", lambda message: complained.append(message.text))
            shown.goto(path.as_uri())
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.locator("figure svg").count() == 1
        hidden = "cards => cards.filter(card => card.scrollWidth > card.clientWidth).length"
        assert shown.locator(".scroll").evaluate_all(hidden) == 0
        browser.close()
    assert complained == []
