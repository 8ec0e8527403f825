"""A gate's failing cases as SARIF 2.1.0, which code scanning shows at the lines of the file of cases."""

from typing import Any
from urllib.parse import quote

import orjson

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.failing import NO_EXPLANATION, failing, reasons_without_evaluator
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.plain import plain_xml, short
from evalpipe.ids import content_hash

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MAX_RESULTS = 1_000  # of an evaluator; GitHub shows 5,000 of an upload, and takes 25,000


def sarif(outcome: GateOutcome, *, cases_file: str | None = None, links: Links | None = None) -> str:
    """SARIF 2.1.0: a rule per evaluator, a result per failing case.

    The level is error where the evaluator keeps the release from shipping, and the case counts; else note. A case
    stands at its line of `cases_file`, a path relative to the repository; traffic, and cases without a known file, have
    a logical location alone. What blocks without an evaluator is a notification of the run. `partialFingerprints` say
    that a case is the same one in the next gate.
    """
    links = links or Links()
    run, results = outcome.run.row(0, named=True), outcome.decision.results
    found = [
        _result(row, place, result, cases_file)
        for place, result in enumerate(results)
        for row in failing(outcome, result).head(_MAX_RESULTS).iter_rows(named=True)
    ]
    told = [{"level": "error", "message": _text(reason)} for reason in reasons_without_evaluator(outcome)]
    told += [
        {"level": "warning", "message": _text(f"line {one.line}: {one.reason}")}
        for one in outcome.refused[:_MAX_RESULTS]
    ]
    content = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "evalpipe gate",
                        "rules": [_rule(result, links) for result in results],
                    }
                },
                "automationDetails": {"id": f"evalpipe/gate/{run['gate_id']}"},
                "invocations": [
                    {
                        "executionSuccessful": outcome.decision.decision != "abstain",
                        "exitCode": outcome.decision.exit_code,
                        "exitCodeDescription": plain_xml(outcome.decision.headline),
                        "endTimeUtc": run["decided_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
                        "toolExecutionNotifications": told,
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": found,
            }
        ],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _rule(result: EvaluatorResult, links: Links) -> dict[str, Any]:
    run = result.run
    page = links.issue(run.issue_id)
    rule = {
        "id": run.evaluator_id,
        "shortDescription": _text(run.failure_mode),
        "fullDescription": _text(result.reason),
        "defaultConfiguration": {"level": "error" if result.is_blocking else "note"},
        "properties": {
            "issue": run.issue_id,
            "version": run.version,
            "role": result.role,
            "outcome": result.outcome,
            "pass_rate": result.pass_rate,
            "link": result.link,
        },
    }
    return rule | ({"helpUri": page} if page else {})


def _result(row: dict[str, Any], place: int, result: EvaluatorResult, cases_file: str | None) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"name": plain_xml(row["case_id"]), "kind": "object"}]}
    if cases_file is not None and row["line"] is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": quote(plain_xml(cases_file).removeprefix("./"))},
            "region": {"startLine": row["line"]},
        }
    said = short(row["explanation"] or NO_EXPLANATION)
    return {
        "ruleId": result.run.evaluator_id,
        "ruleIndex": place,
        "level": "error" if result.is_blocking and row["is_counted"] else "note",
        "message": _text(f"{row['case_id']} shows {result.run.failure_mode}: {said}"),
        "locations": [location],
        "partialFingerprints": {"case/v1": content_hash([result.run.evaluator_id, row["case_id"]])},
    }


def _text(text: str) -> dict[str, str]:
    # In a message, {0} is a placeholder (SARIF 3.11.5), and [text](1) a link to a location (3.11.6).
    text = plain_xml(text)
    return {
        "text": text.replace("{", "{{").replace("}", "}}").replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    }
