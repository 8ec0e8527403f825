"""The suite that a gate asks: each evaluator with its program and how far it is trusted.

Where it comes from is on_lake.py (the tables) or bundle.py (a file that travels without them).
"""

from typing import NamedTuple

import polars as pl

from evalpipe.gate.decide import EvaluatorRun


class Member(NamedTuple):
    """One evaluator of the suite. `run` has counted nothing yet."""

    run: EvaluatorRun
    artifact: str  # its JSON
    artifact_sha256: str


def members_of(suite: pl.DataFrame, issues: pl.DataFrame) -> tuple[Member, ...]:
    """The suite from the tables, by evaluator_id.

    `suite` is EVALUATORS rows of current versions with their held-out mcc, mcc_lower, tp and fn (null when never
    measured) and demotion, as evaluators/on_lake.standing gives them; `issues` is ISSUES.
    """
    states = issues.select("issue_id", issue_state="state", has_returned=pl.col("flags").list.contains("regressed"))
    rows = suite.join(states, on="issue_id", how="left").sort("evaluator_id")
    return tuple(
        Member(
            EvaluatorRun(
                evaluator_id=row["evaluator_id"],
                version=row["version"],
                issue_id=row["issue_id"],
                failure_mode=row["failure_mode"],
                kind=row["kind"],
                issue_state=row["issue_state"] or "active",
                has_returned=bool(row["has_returned"]),
                mcc=row["mcc"],
                mcc_lower=row["mcc_lower"],
                n_positives=(row["tp"] or 0) + (row["fn"] or 0),
                demotion=row.get("demotion"),
            ),
            row["artifact"],
            row["artifact_sha256"],
        )
        for row in rows.iter_rows(named=True)
    )
