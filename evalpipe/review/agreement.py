"""AGREEMENT: how far people agree on the traces that two of them read. The statistics are in quality/agreement.py."""

import polars as pl

from evalpipe.quality.agreement import Agreement, agreement
from evalpipe.review.annotations import effective_annotations, with_mode_key
from evalpipe.settings import ReviewSettings
from evalpipe.tables import AGREEMENT

_MIN_TRACES = 20  # read by two, below which an issue borrows the figure of all


def agreement_frame(
    annotations: pl.DataFrame, traces: pl.DataFrame, issue_of: pl.DataFrame, settings: ReviewSettings
) -> pl.DataFrame:
    """AGREEMENT of people's ANNOTATIONS: over all, for each issue that was claimed, for each reader with the others.

    `traces` has trace_id, session_id, service_name; `issue_of` has mode_key (a normalised failure mode) and issue_id.
    Over all, and for a reader, the question is whether the trace is a failure at all. For an issue it is whether the
    reader claims it, on the traces of the services where it was ever claimed: one who names another failure denies it,
    as the label that they would give alone does. What programs and models say is no reading.
    """
    opinions = _opinions(annotations, traces, issue_of)
    of_issues = _claimed_in(opinions).join(opinions, on="service_name")
    rows = [_row("all", "", opinions, pl.col("is_failure"), settings)]
    rows += [
        _row("issue", str(issue), said, pl.col("issues").list.contains(issue), settings)
        for (issue,), said in of_issues.group_by("issue_id", maintain_order=True)
    ]
    rows += [
        _row("reviewer", reader, opinions, pl.col("is_failure"), settings, of_reader=reader)
        for reader in opinions["annotator"].unique().sort()
    ]
    return AGREEMENT.conform(pl.concat(rows))


def ceiling_of(agreement: pl.DataFrame, issue_ids: pl.Series) -> pl.DataFrame:
    """What an evaluator of each issue could reach at best, from AGREEMENT rows, in the order of `issue_ids`.

    Columns: issue_id, ceiling, ceiling_lower, ceiling_upper (null where nobody knows), n_traces read by two, and
    is_own: false where fewer than 20 traces of the issue were read twice, so that the figure is that of all.
    """
    figures = ("ceiling", "ceiling_lower", "ceiling_upper", "n_traces")
    own = agreement.filter(
        (pl.col("scope") == "issue") & (pl.col("n_traces") >= _MIN_TRACES) & pl.col("ceiling").is_not_null()
    ).select(*figures, issue_id="name", is_own=pl.lit(True))
    of_all = agreement.filter(pl.col("scope") == "all").select(pl.col(figures).name.suffix("_of_all"))
    asked = pl.DataFrame({"issue_id": issue_ids})
    return (
        asked.join(own, on="issue_id", how="left", maintain_order="left")
        .join(of_all, how="cross")
        .with_columns(pl.col("is_own").fill_null(False))
        .select("issue_id", *(pl.when("is_own").then(c).otherwise(f"{c}_of_all").alias(c) for c in figures), "is_own")
        if of_all.height
        else asked.select(
            "issue_id", *(pl.lit(None, AGREEMENT.schema[c]).alias(c) for c in figures), is_own=pl.lit(False)
        )
    )


def _opinions(annotations: pl.DataFrame, traces: pl.DataFrame, issue_of: pl.DataFrame) -> pl.DataFrame:
    """One row a reader and trace that others read too: trace_id, annotator, group, service_name, is_failure, issues."""
    said = effective_annotations(annotations.filter(pl.col("label_source") == "human"))
    return (
        with_mode_key(said)
        .join(issue_of.unique("mode_key"), on="mode_key", how="left", maintain_order="left")
        .join(traces.select("trace_id", "session_id", "service_name").unique("trace_id"), on="trace_id")
        .group_by("trace_id", "annotator", "service_name", group=pl.coalesce("session_id", "trace_id"))
        .agg(is_failure=(pl.col("verdict") != "good").any(), issues=pl.col("issue_id").drop_nulls().unique())
        .filter(pl.len().over("trace_id") > 1)
        .sort("trace_id", "annotator")
    )


def _claimed_in(opinions: pl.DataFrame) -> pl.DataFrame:
    return (
        opinions.select("service_name", issue_id="issues")
        .explode("issue_id", empty_as_null=False, keep_nulls=False)
        .unique()
        .sort("issue_id", "service_name")
    )


def _row(
    scope: str,
    name: str,
    opinions: pl.DataFrame,
    says_yes: pl.Expr,
    settings: ReviewSettings,
    *,
    of_reader: str | None = None,
) -> pl.DataFrame:
    found = agreement(
        opinions["trace_id"].to_list(),
        opinions["annotator"].to_list(),
        opinions.select(says_yes).to_series().to_numpy(),
        opinions["group"].to_list(),
        confidence=settings.confidence,
        seed=settings.seed,
        of_reader=of_reader,
    )
    return AGREEMENT.conform(
        pl.DataFrame({"scope": scope, "name": name, "confidence": settings.confidence, **_columns(found)})
    )


def _columns(found: Agreement) -> dict[str, object]:
    columns: dict[str, object] = {"n_traces": found.n_units, "n_annotators": found.n_readers}
    for name, figure in (("kappa", found.kappa), ("alpha", found.alpha), ("ceiling", found.ceiling)):
        columns[name] = figure.value
        columns[f"{name}_lower"], columns[f"{name}_upper"] = figure.interval or (None, None)
    return columns
