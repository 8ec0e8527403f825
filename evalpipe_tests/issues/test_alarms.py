"""Which issues alarm, and the figures of the event that says so."""

import json
from datetime import timedelta
from typing import Any

import polars as pl

from evalpipe.issues.alarms import alarms
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe_tests.issues.made import NOON, RUDE, SLOW, issues_named


def after(events: pl.DataFrame, issue: str, *kinds: str, **evidence: Any) -> pl.DataFrame:
    for kind in kinds:
        new = event(replay(events)[issue], kind, author="pipeline", now=NOON, evidence=evidence)
        events = pl.concat([events, new])
    return events


def test_an_issue_alarms_while_it_escalates_and_no_longer():
    events = after(issues_named("rude", "slow"), RUDE, "promoted", "escalated", n_flagged=40, n_usual=9.5)
    (row,) = alarms(events, NOON).to_dicts()
    assert (row["issue_id"], row["name"], row["flag"]) == (RUDE, "rude", "escalating")
    assert json.loads(row["evidence"]) == {"n_flagged": 40, "n_usual": 9.5}
    assert alarms(after(events, RUDE, "calmed"), NOON).is_empty()


def test_an_issue_alarms_from_its_return_until_it_is_solved_again():
    events = after(issues_named("rude", "slow"), SLOW, "promoted", "resolved", "recurred", release="1.6")
    assert alarms(events, NOON + timedelta(days=300))["flag"].to_list() == ["regressed"]
    assert alarms(after(events, SLOW, "resolved"), NOON).is_empty()


def test_a_new_issue_is_no_alarm():
    assert alarms(after(issues_named("rude"), RUDE, "promoted"), NOON).is_empty()
