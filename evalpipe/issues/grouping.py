"""Which failure mode belongs to which issue, and the first sighting of new ones. States are in replay.py."""

import polars as pl

from evalpipe.ids import issue_id
from evalpipe.issues.claims import claims_of
from evalpipe.issues.events import sighted
from evalpipe.issues.replay import owners_of, replay
from evalpipe.tables import ISSUE_EVENTS


def sightings(annotations: pl.DataFrame, events: pl.DataFrame, traces: pl.DataFrame | None = None) -> pl.DataFrame:
    """'sighted' ISSUE_EVENTS for the failure modes that no issue owns yet, each dated by its first annotation.

    `annotations` are effective ones; those of models sight nothing. With `traces` (trace_id, service_name) the event
    says in which service. The id of the issue comes from the mode's words, so who names it first does not matter.
    """
    new = claims_of(annotations, replay(events)).filter((pl.col("mode_key") != "") & pl.col("issue_id").is_null())
    if traces is not None:
        new = new.join(traces.select("trace_id", "service_name").unique("trace_id"), on="trace_id", how="left")
    else:
        new = new.with_columns(service_name=pl.lit(None, pl.String))
    first = new.sort("annotated_at", "annotation_id").unique("mode_key", keep="first", maintain_order=True)
    rows = [
        sighted(issue_id(mode), failure_mode=mode, at=at, trace_id=trace_id, service_name=service_name)
        for mode, at, trace_id, service_name in first.select(
            "failure_mode", "annotated_at", "trace_id", "service_name"
        ).iter_rows()
    ]
    return pl.concat(rows) if rows else ISSUE_EVENTS.empty()


def mode_owners(events: pl.DataFrame) -> pl.DataFrame:
    """mode_key (a normalised failure mode) and the issue_id that owns it now, after merges and splits."""
    owners = sorted(owners_of(replay(events)).items())
    return pl.DataFrame(owners, schema={"mode_key": pl.String, "issue_id": pl.String}, orient="row")
