"""The page: complete in itself, safe with the texts of strangers, and true to the tables."""

import re
from html.parser import HTMLParser

import pytest

from evalpipe.report.html import coverage_page
from evalpipe.report.summary import ReportTables
from evalpipe.settings import Settings
from evalpipe_tests.report.made import NOW, tables

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
        "needs 6 more annotated failures",
        "Must not ship",
        "release 1.1",
        "3.0×",
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


def test_undefined_is_a_dash_not_a_zero():
    text = Page(page(ReportTables())).text
    assert "No issue is tracked yet" in text
    assert not re.search(r"(?<!\d)0%", text)


def test_the_same_tables_make_the_same_page(hostile):
    assert page(tables(HOSTILE), made_from=4_611_686_018_427_387_903) == hostile
