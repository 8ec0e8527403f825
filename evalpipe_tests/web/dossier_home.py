"""The home of reviewed.py with an evaluator that was really generated, of planted traces, some of them in a queue."""

from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.on_lake import generate_for_issue
from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.tables import CANDIDATES, ISSUE_RATES, LABELS, TRACES, VERDICT_COUNTS
from evalpipe_tests.generation.made import QUICK
from evalpipe_tests.generation.planted import NOW, planted
from evalpipe_tests.review.made import CYCLE
from evalpipe_tests.web.reviewed import PROMISED, issues_home

PLANTED = issue_id(PROMISED)
"""The issue with the evaluator: it refunds before it checks the policy."""


class Known(NamedTuple):
    """Planted traces by what the page must do with them. missed: people called it a failure after it was generated."""

    home: Home
    artifact: Artifact
    read: str  # a failure that Maria has read
    unread: str  # a failure that she is still to read
    elsewhere: str  # a failure in nobody's queue
    missed: str
    false_alarm: str  # read


def dossier_home(root: Path) -> Known:
    """Takes about two seconds, most of them for the evaluator."""
    home = issues_home(root)
    home = Home(home.settings.model_copy(update={"generation": QUICK}))
    made = planted("ordering", 12, 48, seed=1)
    labels = made.labels.with_columns(issue_id=pl.lit(PLANTED))
    home.lake.append_new(TRACES, made.traces)
    home.lake.replace(LABELS, labels)
    generated = generate_for_issue(home.lake, home.artifacts, PLANTED, settings=home.settings, now=NOW)
    assert generated.artifact is not None
    failures = sorted(labels.filter("is_failure")["trace_id"])
    others = sorted(labels.filter(~pl.col("is_failure"))["trace_id"])
    read, unread, elsewhere, false_alarm, missed = *failures[:3], failures[-1], others[0]
    is_flipped = pl.col("trace_id").is_in([missed, false_alarm])
    home.lake.replace(LABELS, labels.with_columns(is_failure=pl.col("is_failure") ^ is_flipped))
    queued = home.lake.read(CANDIDATES).filter(pl.col("reviewer") == "maria", pl.col("cycle") == CYCLE).head(4)
    rows = queued.with_columns(
        trace_id=pl.Series([read, unread, missed, false_alarm]),
        rank=pl.lit(90),
        status=pl.Series(["reviewed", "queued", "reviewed", "reviewed"]),
    )
    home.lake.append_new(CANDIDATES, CANDIDATES.conform(rows))
    _judge_traffic(home, generated.artifact)
    return Known(home, generated.artifact, read, unread, elsewhere, missed, false_alarm)


def _judge_traffic(home: Home, artifact: Artifact) -> None:
    """Weeks in which 2, 4, nobody knows, and 8 % of the traffic showed the issue; release 1.1 came in the second."""
    of_it = {"issue_id": PLANTED, "evaluator_id": artifact.evaluator_id, "version": artifact.version}
    monday = date(2026, 1, 5)
    weeks = [
        of_it
        | {"first_day": monday + timedelta(weeks=n), "n_judged": 1_000, "n_flagged": 50, "confidence": 0.95}
        | {"prevalence": share, "prevalence_lower": share and share / 2, "prevalence_upper": share and share * 1.25}
        for n, share in enumerate([0.02, 0.04, None, 0.08])
    ]
    home.lake.replace(ISSUE_RATES, ISSUE_RATES.conform(pl.DataFrame(weeks)))
    numbers = {c.name: 1 for c in VERDICT_COUNTS.columns if c.dtype in (pl.Int64, pl.Float64)}
    for day, release in ((monday, "1.0"), (monday + timedelta(days=8), "1.1")):
        row = numbers | of_it | {"day": day, "hour": 9, "service_name": "shop", "service_version": release}
        home.lake.replace(VERDICT_COUNTS, VERDICT_COUNTS.conform(pl.DataFrame([row])), partition=day)
