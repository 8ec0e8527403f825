"""The page: complete in itself, safe with the texts of strangers, and true to the tables."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from evalpipe.report.html import coverage_page
from evalpipe.report.summary import ReportTables
from evalpipe.settings import Settings
from evalpipe.tables import AGREEMENT, PREVALENCE, QUEUE_YIELD
from evalpipe_tests.report.made import NOW, agreed, arm_yield, frame, prevalent, tables

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> {{ 7*7 }}"


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.text += data


def page(of: ReportTables, **options) -> str:
    return coverage_page(of, settings=Settings(), now=NOW, **options)


@pytest.fixture(scope="module")
def hostile() -> str:
    return page(tables(HOSTILE), made_from=4_611_686_018_427_387_903)


def test_the_page_answers_at_a_glance(hostile):
    text = " ".join(Page(hostile).text.split())
    for expected in (
        "2 of 3 active issues are covered",
        "What needs a person next",
        "7 more bad and 2 more good annotations",
        "Must not ship",
        "release 1.1",
        "7.9×",
        "30 Mar 2026, 09:30 UTC",
    ):
        assert expected in text


def test_texts_of_strangers_are_text(hostile):
    parsed = Page(hostile)
    assert "<script>alert('x')</script>" in parsed.text
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "iframe", "object")]
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    assert "{{ 7*7 }}" in parsed.text


def test_the_page_needs_nothing_else(hostile):
    for tag, attrs in Page(hostile).tags:
        assert tag != "link"
        assert not {"src", "srcset", "data", "poster"} & set(attrs)
        assert not str(attrs.get("href", "")).startswith(("http", "//"))
    assert "@import" not in hostile
    assert "url(" not in re.sub(r"url\(#", "", hostile)


def test_the_inputs_are_named_early_in_the_head(hostile):
    assert '<meta name="evalpipe-made-from" content="4611686018427387903">' in hostile[:4_096]
    assert "evalpipe-made-from" not in page(ReportTables())


def test_tables_have_captions_and_headers_and_drawings_have_names(hostile):
    tags = Page(hostile).tags
    n_tables = sum(tag == "table" for tag, _ in tags)
    assert n_tables == sum(tag == "caption" for tag, _ in tags) > 0
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")
    assert all(attrs.get("aria-label") for _, attrs in tags if attrs.get("role") == "img")
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    headed = {attrs["aria-labelledby"] for _, attrs in tags if "aria-labelledby" in attrs}
    assert headed <= set(ids)


def test_the_page_knows_light_and_dark_and_paper(hostile):
    assert "prefers-color-scheme: dark" in hostile
    assert "@media print" in hostile


def text_of(of: ReportTables) -> str:
    return " ".join(Page(page(of)).text.split())


def test_what_reviewing_found_is_told():
    text = text_of(tables())
    for expected in (
        "ceiling 0.85 (0.75 to 0.95)",
        "ceiling 0.75* (0.65 to 0.85)",
        "* borrowed from all issues",
        "all traffic of 3 Mar 2026 to 30 Mar 2026",
        "5.0% 2.5% to 7.5%",
        "of 4,600; 3 failed",
        "150 traces that the queue chose failed 7.9 times as often as 18 read at random (2.4 to 27.0).",
        "All readers 40 2 readers 0.75 0.65 to 0.85",
        "1 label is disputed: it trains nothing",
        "evalpipe issues merge iss_d iss_c evalpipe issues keep-apart iss_d iss_c",
    ):
        assert expected in text
    assert "cleo" not in text
    assert "evaluators are unsure" not in text  # no such arm was read


def test_what_nobody_read_is_said_with_what_to_do():
    text = text_of(ReportTables())
    for expected in (
        "annotate the review queue, and what fails becomes one",
        "Build one (evalpipe queue build)",
        "With two reviewers in data/reviewers.yaml, 10% of each queue goes to a second one.",
    ):
        assert expected in text
    assert "may be the same" not in text
    once = text_of(replace(tables(), agreement=AGREEMENT.empty()))
    assert once.count("nobody read twice") == 2  # under both tables with an MCC
    assert "* borrowed" not in once


def test_readers_who_all_gave_one_answer_leave_the_ceiling_undefined():
    alike = frame(AGREEMENT, [agreed("all", "", 40, None)])
    text = text_of(replace(tables(), agreement=alike))
    assert "ceiling –" in text
    assert "gave the same answer" in text


def test_a_prevalence_of_nothing_read_is_no_zero():
    unread = frame(PREVALENCE, [prevalent("a", None, None)])
    assert "iss_a nothing read yet" in text_of(replace(tables(), prevalence=unread))


def test_a_lift_without_a_failure_at_random_has_a_lower_bound_only():
    arms = [arm_yield("all", "anomaly", 60, 30, (None, 2.1, None)), arm_yield("all", "control", 8, 0)]
    weeks = [arm | {"cycle": "2026-W14"} for arm in arms]
    text = text_of(replace(tables(), queue_yield=frame(QUEUE_YIELD, arms + weeks)))
    assert text.count("≥ 2.1×") == 2  # at the top, and beside the arm


def test_undefined_is_a_dash_not_a_zero():
    text = Page(page(ReportTables())).text
    assert "No issue is tracked yet" in text
    assert not re.search(r"(?<!\d)0%", text)


def test_the_same_tables_make_the_same_page(hostile):
    assert page(tables(HOSTILE), made_from=4_611_686_018_427_387_903) == hostile
