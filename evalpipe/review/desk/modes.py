"""The failure modes that a reviewer completes from: known issues, and words so new that no issue has them yet.

Which words belong to which issue is decided in issues/; here only its table is read.
"""

from dataclasses import dataclass

import polars as pl

from evalpipe.ids import issue_id
from evalpipe.review.annotations import effective_annotations
from evalpipe.tables import TRACKED

_OPEN = ("new", "candidate", *TRACKED)
_MAX_DESCRIPTION_CHARS = 160  # two lines in a list


@dataclass(frozen=True, slots=True)
class Mode:
    """A failure mode to complete from."""

    name: str
    description: str  # what a person said of it last; '' when nobody did
    n_failures: int
    issue_id: str | None  # null as long as the pipeline has not met it
    state: str  # of its issue, or new


class Modes:
    """All failure modes with the services they were seen in."""

    def __init__(self, issues: pl.DataFrame, annotations: pl.DataFrame, candidates: pl.DataFrame) -> None:
        """From ISSUES, ANNOTATIONS and CANDIDATES. Comments on traces that two people read are kept from the other."""
        said = _claims(annotations, candidates, issues)
        comments = said.filter(pl.col("comment").is_not_null(), ~pl.col("is_second_opinion"))
        description = comments.group_by("issue_id").agg(pl.col("comment").last().str.head(_MAX_DESCRIPTION_CHARS))
        new = (
            said.join(issues, on="issue_id", how="anti")
            .group_by("issue_id")
            .agg(
                name=pl.col("failure_mode").last(),
                state=pl.lit("new"),
                services=pl.col("service_name").drop_nulls().unique(),
                n_failures=pl.col("trace_id").n_unique().cast(pl.Int64),
            )
        )
        known = issues.filter(pl.col("state") != "merged").select(new.columns)
        self._modes = (
            pl.concat([known, new])
            .join(description, on="issue_id", how="left")
            .with_columns(pl.col("comment").fill_null(""), is_open=pl.col("state").is_in(_OPEN))
        )

    def of(self, service_name: str | None) -> list[Mode]:
        """Open ones first, of those the service's own, of those the most frequent."""
        is_ours = pl.col("services").list.contains(service_name).fill_null(False)
        ranked = self._modes.sort("is_open", is_ours, "n_failures", "name", descending=[True, True, True, False])
        shown = ranked.select(
            "name", "comment", "n_failures", pl.when(pl.col("state") != "new").then("issue_id"), "state"
        )
        return [Mode(*row) for row in shown.iter_rows()]


def _claims(annotations: pl.DataFrame, candidates: pl.DataFrame, issues: pl.DataFrame) -> pl.DataFrame:
    """The failures people claim, in order of time: failure_mode, comment, trace_id, issue_id and what the queue says.

    issue_id is what the words have by themselves, followed through merges.
    """
    failures = effective_annotations(annotations).filter(pl.col("failure_mode").is_not_null())
    words = failures["failure_mode"].unique()
    ids = pl.Series([issue_id(mode) for mode in words], dtype=pl.String)
    into = dict(issues.filter(pl.col("merged_into").is_not_null()).select("issue_id", "merged_into").iter_rows())
    queued = candidates.group_by("trace_id").agg(
        pl.col("service_name").first(), pl.col("is_second_opinion").fill_null(False).any()
    )
    return (
        failures.select(
            "trace_id", "failure_mode", "comment", issue_id=pl.col("failure_mode").replace_strict(words, ids)
        )
        .with_columns(pl.col("issue_id").replace({name: _root(name, into) for name in into}))
        .join(queued, on="trace_id", how="left", maintain_order="left")
        .with_columns(pl.col("is_second_opinion").fill_null(False))
    )


def _root(name: str, into: dict[str, str]) -> str:
    for _ in into:
        name = into.get(name, name)
    return name
