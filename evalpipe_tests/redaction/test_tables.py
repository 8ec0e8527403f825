import base64
from datetime import UTC, datetime

import polars as pl
import pytest

from evalpipe.otlp.payload import Refused, rejection_frame
from evalpipe.redaction.tables import CONTENT, IDENTITY, LEFTOVER, redacted, redacted_rejections, redacted_traces
from evalpipe.settings import RedactionSettings
from evalpipe.tables import SPANS, TRACES
from evalpipe_tests.evaluators.made import traces, transcript
from evalpipe_tests.traces.made import written

KEY = b"k" * 32
EVERYWHERE = "ann@example.com 4242424242424242"
ROW = {"span_id": "1", **dict.fromkeys((*CONTENT, *LEFTOVER, *IDENTITY), EVERYWHERE)}


def settings(**groups: str) -> RedactionSettings:
    return RedactionSettings.model_validate({name: detectors.split() for name, detectors in groups.items()})


def finds(column: str | None) -> set[str]:
    """The names of the detectors that found something in a text."""
    return {name for name in ("email", "card") if f"[{name}:" in (column or "")}


@pytest.mark.parametrize(
    ("groups", "in_content", "in_leftover", "in_identity"),
    [
        ({}, set(), set(), set()),
        ({"content": "email"}, {"email"}, {"email"}, set()),
        ({"identity": "email", "attributes": "card"}, set(), {"email", "card"}, {"email"}),
        ({"content": "email card", "identity": "card"}, {"email", "card"}, {"email", "card"}, {"card"}),
    ],
    ids=["none", "content", "identity and attributes", "content and identity"],
)
def test_each_group_of_columns_has_its_detectors_and_what_is_left_over_has_all(
    groups: dict, in_content: set, in_leftover: set, in_identity: set
):
    (row,) = redacted(written(ROW), settings(**groups), KEY).to_dicts()
    for columns, expected in ((CONTENT, in_content), (LEFTOVER, in_leftover), (IDENTITY, in_identity)):
        assert [finds(row[name]) for name in columns] == [expected] * len(columns)


def test_nothing_but_texts_changes():
    before = written(ROW, {"span_id": "2"})
    after = redacted(before, settings(content="email", attributes="email", identity="email"), KEY)
    texts = [*CONTENT, *LEFTOVER, *IDENTITY]
    assert after.schema == SPANS.schema
    assert after.drop(texts).equals(before.drop(texts))
    assert after.row(1) == before.row(1)


def test_a_trace_without_spans_has_the_placeholders_that_its_spans_would_have():
    said = [("user", "I am ann@example.com"), ("tool_call", '{"to": "ann@example.com"}')]
    row = {"span_id": "1", "input": "I am ann@example.com", "user_id": "ann@example.com"}
    before = traces(transcript(*said), [], transcript(("assistant", "Hello"))).with_columns(
        request=pl.lit("I am ann@example.com"), user_id=pl.lit("ann@example.com")
    )
    asked = settings(content="email", identity="email")
    after = redacted_traces(before, asked, KEY)
    (span,) = redacted(written(row), asked, KEY).to_dicts()
    (trace, empty, other) = after.to_dicts()
    assert (trace["request"], trace["user_id"]) == (span["input"], span["user_id"])
    assert [step["content"] for step in trace["transcript"]] == [span["input"], f'{{"to": "{span["user_id"]}"}}']
    assert (empty["transcript"], other["transcript"]) == ([], before["transcript"].to_list()[2])
    assert after.schema == TRACES.schema
    kept = ["transcript", "request", "user_id"]
    assert after.drop(kept).equals(before.drop(kept))


def test_a_trace_stays_as_it_is_where_nothing_is_asked_for():
    before = traces(transcript(("user", EVERYWHERE)))
    assert redacted_traces(before, settings(), KEY).equals(before)


def test_a_user_is_the_same_across_columns_and_runs():
    row = {"span_id": "1", "user_id": "ann@example.com", "input": "I am Ann@Example.com"}
    one, other = (redacted(written(row), settings(content="email", identity="email"), KEY) for _ in range(2))
    (user, said) = one.select("user_id", "input").row(0)
    assert said == f"I am {user}"
    assert one.equals(other)


def test_a_refused_thing_is_redacted_whether_it_was_text_or_bytes():
    broken = b"\xff\x00 ann@example.com \x8f"
    refused = [
        Refused("line 1", "not JSON", b"{ann@example.com"),
        Refused("line 2", "no", broken),
        Refused("3", "name is ann@example.com", None),
    ]
    rejections = rejection_frame(refused, kind="payload", source="s", now=datetime(2026, 3, 1, tzinfo=UTC))
    after = redacted_rejections(rejections, settings(content="email"), KEY)
    text, coded, nothing = after["content"].to_list()
    inside = base64.b64decode(coded.removeprefix("base64:"))
    assert finds(text) == finds(inside.decode("latin-1")) == {"email"}
    assert (inside[:3], inside[-2:]) == (b"\xff\x00 ", b" \x8f")
    assert nothing is None
    assert [finds(reason) for reason in after["reason"]] == [set(), set(), {"email"}]
    assert after.drop("content", "reason").equals(rejections.drop("content", "reason"))


def test_without_detectors_a_rejection_stays_as_it_is():
    refused = [Refused("line 1", "not JSON", b"{ann@example.com")]
    rejections = rejection_frame(refused, kind="payload", source="s", now=datetime(2026, 3, 1, tzinfo=UTC))
    assert redacted_rejections(rejections, settings(), KEY).equals(rejections)
