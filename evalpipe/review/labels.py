"""Several opinions become one label: does this trace show this issue? Only people and programmatic outcomes count.

Reading opinions is in annotations.py; how far they agree is in quality/agreement.py.
"""

import polars as pl

from evalpipe.review.annotations import effective_annotations, with_mode_key
from evalpipe.settings import ReviewSettings
from evalpipe.tables import LABELS, TRUTH_SOURCES


def label_frame(
    annotations: pl.DataFrame, traces: pl.DataFrame, issue_of: pl.DataFrame, settings: ReviewSettings
) -> pl.DataFrame:
    """LABELS: one row for every annotated trace and every issue that was ever claimed in the trace's service.

    `traces` has trace_id, day, session_id, service_name; `issue_of` has mode_key (a normalised failure mode) and
    issue_id. Of an annotator who claims the issue the vote is yes; who calls the trace good, no; who names another
    failure abstains. The majority decides; without a vote the issue is absent. On a tie an outcome that is known
    decides, if there is one on one side only; else the label is disputed and says, until one more opinion is there,
    what the newest vote does. A present failure weighs the mean of its claims (1 for bad, `partial_weight` for
    partial), an absent one 1.
    """
    said = (
        effective_annotations(annotations.filter(pl.col("label_source").is_in(TRUTH_SOURCES)))
        .join(traces.select("trace_id", "day", "session_id", "service_name").unique("trace_id"), on="trace_id")
        .select("trace_id", "day", "session_id", "service_name", "verdict", "failure_mode", "annotator", "label_source",
                "annotated_at")
    )  # fmt: skip
    claims = with_mode_key(said.filter(pl.col("verdict") != "good")).join(issue_of.unique("mode_key"), on="mode_key")
    scope = claims.select("service_name", "issue_id").unique()
    is_good, is_outcome = pl.col("verdict") == "good", pl.col("label_source") == "programmatic"
    annotated = said.group_by("trace_id", "day", "session_id", "service_name").agg(
        n_annotators=pl.col("annotator").n_unique(),
        sources=pl.col("label_source").unique().sort(),
        last_said_at=pl.col("annotated_at").max(),
        n_no=pl.col("annotator").filter(is_good).n_unique(),
        is_known_no=(is_good & is_outcome).any(),
        last_no_at=pl.col("annotated_at").filter(is_good).max(),
    )
    weight = pl.when(pl.col("verdict") == "partial").then(settings.partial_weight).otherwise(1.0)
    yes = claims.group_by("trace_id", "issue_id").agg(
        n_yes=pl.col("annotator").n_unique(),
        is_known_yes=is_outcome.any(),
        last_yes_at=pl.col("annotated_at").max(),
        weight=weight.mean(),
    )
    is_newest_yes = (pl.col("last_yes_at") >= pl.col("last_no_at")).fill_null(False)
    is_tie = (pl.col("n_yes") > 0) & (pl.col("n_yes") == pl.col("n_no"))
    is_known = pl.col("is_known_yes") != pl.col("is_known_no")
    return LABELS.conform(
        annotated.join(scope, on="service_name")
        .join(yes, on=["trace_id", "issue_id"], how="left")
        .with_columns(pl.col("n_yes").fill_null(0), pl.col("is_known_yes").fill_null(False))
        .with_columns(
            is_failure=pl.when(is_tie & is_known)
            .then("is_known_yes")
            .when(is_tie)
            .then(is_newest_yes)
            .otherwise(pl.col("n_yes") > pl.col("n_no")),
            is_disputed=is_tie & ~is_known,
            labelled_at=pl.coalesce(pl.max_horizontal("last_yes_at", "last_no_at"), "last_said_at"),
        )
        .with_columns(weight=pl.when("is_failure").then("weight").otherwise(1.0))
        .sort("trace_id", "issue_id")
    )
