"""The home of reviewed.py with an evaluator that was really generated, of planted traces, some of them in a queue."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.on_lake import generate_for_issue
from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.tables import CANDIDATES, LABELS, TRACES
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
    return Known(home, generated.artifact, read, unread, elsewhere, missed, false_alarm)
