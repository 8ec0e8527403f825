"""A small suite, its issues and case files for the tests of this room."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.gate.cases import Cases, cases_of_traffic, read_cases
from evalpipe.gate.judge import Asked, GateOutcome, History, judge_cases
from evalpipe.gate.members import members_of
from evalpipe.settings import Settings
from evalpipe.tables import ISSUES
from evalpipe_tests.evaluators.made import artifact

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def flags(number: int, phrase: str, **fields: Any) -> Artifact:
    """The evaluator of issue `number`: an answer that contains `phrase` shows the failure."""
    rule = {"op": "contains", "field": "final", "any": [phrase]}
    names = {"evaluator_id": f"ev_{number}", "issue_id": f"iss_{number}", "failure_mode": f"says {phrase}"}
    return artifact({"rule": rule}, **names | fields)


def suite(*artifacts: Artifact, mcc: float | None = 0.9, mcc_lower: float | None = 0.7, n: int = 20) -> pl.DataFrame:
    """The artifacts as evaluators/on_lake.standing gives them, all with the same figures."""
    return pl.DataFrame(
        [
            {
                "evaluator_id": made.evaluator_id,
                "version": made.version,
                "issue_id": made.issue_id,
                "failure_mode": made.failure_mode,
                "kind": made.kind,
                "artifact": made.to_json(),
                "artifact_sha256": made.sha256,
                "mcc": mcc,
                "mcc_lower": mcc_lower,
                "tp": n,
                "fn": 0,
            }
            for made in artifacts
        ],
        schema_overrides={"mcc": pl.Float64, "mcc_lower": pl.Float64},
    )


def issues(suite: pl.DataFrame, state: str = "active") -> pl.DataFrame:
    rows = suite.select("issue_id", name="failure_mode").with_columns(
        state=pl.lit(state),
        flags=pl.lit([], pl.List(pl.String)),
        services=pl.lit([], pl.List(pl.String)),
        n_failures=pl.lit(20),
        **{name: pl.lit(NOW) for name in ("first_seen_at", "last_seen_at", "updated_at")},
    )
    return ISSUES.conform(rows)


def case_file(folder: Path, *cases: Any, name: str = "cases.jsonl") -> Path:
    """JSON lines; a text stands as it is."""
    path = folder / name
    path.write_text("\n".join(c if isinstance(c, str) else json.dumps(c) for c in cases), encoding="utf-8")
    return path


def answers(folder: Path, *outputs: str, **metadata: Any) -> pl.DataFrame:
    """Cases with these outputs, named c0, c1..."""
    cases = [{"id": f"c{i}", "input": "q", "output": o, "metadata": metadata} for i, o in enumerate(outputs)]
    return read_cases(case_file(folder, *cases)).traces


def judge(
    cases: Cases | pl.DataFrame, suite_rows: pl.DataFrame, *, release: str | None = None, **options: Any
) -> GateOutcome:
    """The outcome of these cases, or of these TRACES rows as traffic, by a suite of active issues."""
    of_issues = options.pop("issues", None)
    members = members_of(suite_rows, issues(suite_rows) if of_issues is None else of_issues)
    asked = Asked("cases", release)
    given = cases if isinstance(cases, Cases) else cases_of_traffic(cases)
    return judge_cases(given, members, asked=asked, **{"settings": Settings(), "now": NOW, **options})


def after(*earlier: GateOutcome) -> History:
    """These gates as the tables hold them."""
    runs, results, cases = (pl.concat([getattr(one, name) for one in earlier]) for name in ("run", "results", "cases"))
    return History(runs, results, cases.lazy())
