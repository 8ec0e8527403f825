from datetime import UTC, datetime, timedelta, timezone

import pytest
from jinja2 import UndefinedError

from evalpipe.pages import counted, templates

PAGES = templates("evalpipe.report", "templates", {"twice": lambda n: 2 * n})


def test_what_is_filled_in_is_escaped():
    assert PAGES.from_string("{{ name }}").render(name="<script>") == "&lt;script&gt;"


def test_a_name_that_nobody_filled_in_is_an_error():
    with pytest.raises(UndefinedError):
        PAGES.from_string("{{ name }}").render()


def test_times_are_said_in_utc():
    at = datetime(2026, 3, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert PAGES.from_string("{{ at|minute }}").render(at=at) == "1 Mar 2026, 23:30 UTC"
    assert PAGES.from_string("{{ at|day }}").render(at=at.astimezone(UTC)) == "1 Mar 2026"


def test_a_page_brings_filters_of_its_own():
    assert PAGES.from_string("{{ 2|twice }}").render() == "4"


def test_one_is_said_otherwise_than_many():
    assert [counted(1, "issue"), counted(1_200, "issue"), counted(2, "label is", "labels are")] == [
        "1 issue",
        "1,200 issues",
        "2 labels are",
    ]
