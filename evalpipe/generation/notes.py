"""What reviewers wrote of the traces of an issue: a judge is told why a trace is a failure, not only that it is one."""

from collections.abc import Mapping

import polars as pl

from evalpipe.review.annotations import effective_annotations, with_mode_key
from evalpipe.tables import TRUTH_SOURCES

_PARTS: Mapping[str, str] = {"comment": "", "evidence": "Passage: ", "correction": "It should have been: "}
"""Columns of ANNOTATIONS that say why, and how each is introduced."""


def notes_of(labels: pl.DataFrame, annotations: pl.DataFrame, mode_owners: pl.DataFrame) -> dict[str, str]:
    """trace_id -> what people wrote of it; traces of which nothing was written are absent.

    `labels` are LABELS of one issue, `mode_owners` has mode_key and issue_id. Of a trace that shows the issue only the
    annotations that say so are quoted: what else went wrong there is another issue's business.
    """
    said = with_mode_key(effective_annotations(annotations.filter(pl.col("label_source").is_in(TRUTH_SOURCES))))
    claimed = said.join(mode_owners.rename({"issue_id": "claims"}), on="mode_key", how="left")
    own = labels.select("trace_id", "issue_id", "is_failure")
    texts = [
        pl.when(pl.col(name).str.contains(r"\S")).then(pl.concat_str(pl.lit(opening), name))
        for name, opening in _PARTS.items()
    ]
    written = (
        claimed.join(own, on="trace_id")
        .filter(~pl.col("is_failure") | (pl.col("claims") == pl.col("issue_id")))
        .with_columns(note=pl.concat_str(texts, separator="\n", ignore_nulls=True))
        .filter(pl.col("note").str.len_chars() > 0)
        .sort("annotated_at", "annotation_id")
        .group_by("trace_id", maintain_order=True)
        .agg(pl.col("note").unique(maintain_order=True).str.join("\n"))
    )
    return dict(written.iter_rows())
