from typing import Any

import polars as pl
import pytest

from evalpipe.issues.events import PIPELINE, event
from evalpipe.issues.replay import ALLOWED_IN, replay
from evalpipe.issues.telling import LIFE, in_words, story
from evalpipe_tests.issues.made import SLOW, issues_named, later


@pytest.mark.parametrize(
    ("kind", "author", "evidence", "sentence"),
    [
        ("promoted", PIPELINE, {"n_failures": 3}, "became an issue: 3 traces show it"),
        ("rated", "ada", {"severity": "critical"}, "called critical by ada"),
        ("fix_claimed", "ada", {"release": "1.1"}, "said to be fixed in release 1.1: ada said so"),
        ("fix_claimed", PIPELINE, {}, "said to be fixed: a gate passed that had failed"),
        ("resolved", "ada", {"why": "we removed it"}, "called solved by ada, without verification: we removed it"),
        ("recurred", PIPELINE, {"release": "1.2", "reason": "r"}, "came back in release 1.2: r"),
        ("calmed", PIPELINE, {}, "as frequent as usual again"),
        ("unignored", "bo", {}, "unignored by bo"),
    ],
)
def test_an_event_is_a_sentence(kind: str, author: str, evidence: dict[str, Any], sentence: str):
    assert in_words(kind, author, evidence) == sentence


@pytest.mark.parametrize("kind", ["sighted", *ALLOWED_IN])
def test_every_kind_of_event_has_words_whatever_its_evidence_says(kind: str):
    assert in_words(kind, "ada", {})
    assert in_words(kind, PIPELINE, {"release": "<1.0>", "unknown": [1]})


def test_a_story_is_told_in_order_and_of_one_issue():
    events = issues_named("slow", "rude")
    ignored = event(replay(events)[SLOW], "ignored", author="ada", now=later(5), evidence={})
    told = story(pl.concat([ignored, events, ignored]), SLOW)
    assert [each.kind for each in told] == ["sighted", "ignored"]
    assert {each.kind for each in told} <= set(LIFE)
