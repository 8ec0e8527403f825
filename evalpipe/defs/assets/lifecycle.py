"""The lifecycle of issues: what the evidence says of them, and what a fix still has to show."""

import dagster as dg

from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import WHEN_INPUTS_CHANGE, spec
from evalpipe.defs.tell import told
from evalpipe.issues.on_lake import transitions
from evalpipe.issues.on_lake import verifications as verifications_now
from evalpipe.plan import CODE_VERSIONS, TRANSITIONS, WHOLE, expected
from evalpipe.tables import (
    EVALUATOR_QUALITY,
    GATE_RUNS,
    ISSUE_EVENTS,
    ISSUE_RATES,
    LABELS,
    VERDICT_COUNTS,
    VERIFICATIONS,
)

_EVIDENCE = [ISSUE_EVENTS.name, LABELS.name, VERDICT_COUNTS.name, EVALUATOR_QUALITY.name, ISSUE_RATES.name]


_ABOUT_TRANSITIONS = {
    "name": TRANSITIONS,
    "description": "What the evidence says of the issues, added to issue_events: fixes claimed, deployed, verified or "
    "refuted, failures that returned, rates that escalate.",
    "code_version": CODE_VERSIONS[TRANSITIONS],
}


@asset(
    **{**spec(ISSUE_EVENTS, "iterate"), **_ABOUT_TRANSITIONS},
    deps=[*_EVIDENCE, GATE_RUNS.name],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def issue_transitions(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, TRANSITIONS, home.now()).get(TRANSITIONS)
    rows = transitions(opened.lake, opened.settings.verification)
    opened.lake.append_new(ISSUE_EVENTS, rows, scope=TRANSITIONS, made_from=made_from)
    return dg.MaterializeResult(metadata=told(opened, ISSUE_EVENTS, rows, **dict(rows["kind"].value_counts().rows())))


@asset(**spec(VERIFICATIONS, "iterate"), deps=[TRANSITIONS, *_EVIDENCE[1:]], automation_condition=WHEN_INPUTS_CHANGE)
def verifications(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "verifications", home.now()).get(WHOLE)
    rows = verifications_now(opened.lake, opened.settings.verification)
    opened.lake.replace(VERIFICATIONS, rows, made_from=made_from)
    return dg.MaterializeResult(metadata=told(opened, VERIFICATIONS, rows))
