"""Which failure mode belongs to which issue, and the first sighting of new ones. States are in lifecycle.py."""

import polars as pl

from evalpipe.ids import issue_id, normalised_failure_mode
from evalpipe.issues.lifecycle import replay, root_of, sighted
from evalpipe.tables import ISSUE_EVENTS, TRUTH_SOURCES


def sightings(annotations: pl.DataFrame, events: pl.DataFrame, traces: pl.DataFrame | None = None) -> pl.DataFrame:
    """'sighted' ISSUE_EVENTS for the failure modes that no issue owns yet, each dated by its first annotation.

    `annotations` are effective ones; those of models sight nothing. With `traces` (trace_id, service_name) the event
    says in which service. The id of the issue comes from the mode's words, so who names it first does not matter.
    """
    claims = annotations.filter(
        pl.col("label_source").is_in(TRUTH_SOURCES)
        & pl.col("failure_mode").is_not_null()
        & (pl.col("verdict") != "good")
    )
    if traces is not None:
        claims = claims.join(traces.select("trace_id", "service_name").unique("trace_id"), on="trace_id", how="left")
    else:
        claims = claims.with_columns(service_name=pl.lit(None, pl.String))
    first = (
        claims.with_columns(mode_key=_mode_keys(claims["failure_mode"]))
        .filter(pl.col("mode_key") != "")
        .sort("annotated_at", "annotation_id")
        .unique("mode_key", keep="first", maintain_order=True)
        .join(mode_owners(events), on="mode_key", how="anti")
    )
    rows = [
        sighted(issue_id(mode), failure_mode=mode, at=at, trace_id=trace_id, service_name=service_name)
        for mode, at, trace_id, service_name in first.select(
            "failure_mode", "annotated_at", "trace_id", "service_name"
        ).iter_rows()
    ]
    return pl.concat(rows) if rows else ISSUE_EVENTS.empty()


def mode_owners(events: pl.DataFrame) -> pl.DataFrame:
    """mode_key (a normalised failure mode) and the issue_id that owns it now. Merges are followed, renames keep it."""
    issues = replay(events)
    owners = sorted(
        (mode, root_of(issues, issue.issue_id).issue_id) for issue in issues.values() for mode in issue.modes
    )
    return pl.DataFrame(owners, schema={"mode_key": pl.String, "issue_id": pl.String}, orient="row")


def _mode_keys(failure_modes: pl.Series) -> pl.Series:
    names = failure_modes.unique()
    keys = pl.Series([normalised_failure_mode(name) for name in names], dtype=pl.String)
    return failure_modes.replace_strict(names, keys, return_dtype=pl.String)
