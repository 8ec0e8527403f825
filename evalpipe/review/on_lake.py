"""The reviewers' desk over the lake: build a cycle's queue, take annotation files in, find what was annotated."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.files import write_whole
from evalpipe.ids import content_hash
from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.review.annotations import AnnotationFile, file_rejection, inbox_files, read_annotations, settle
from evalpipe.review.queues import Reviewer, candidate_frame, cycle_days
from evalpipe.settings import ReviewSettings
from evalpipe.tables import ANNOTATIONS, CANDIDATES, CLOSED, RAW_OTLP, REJECTIONS, TRACE_SIGNALS, TRACES


def queue_of_cycle(lake: Lake, cycle: str, reviewers: Sequence[Reviewer], settings: ReviewSettings) -> pl.DataFrame:
    """The CANDIDATES of `cycle`. What has been read stays in it as reviewed, so that its yield can be measured.

    A queued trace that anyone annotated counts as read by the reviewer it was queued for: annotators need not go by
    the names in reviewers.yaml.
    """
    in_cycle = pl.col("day").is_between(*cycle_days(cycle))
    annotated = lake.read(ANNOTATIONS).select("trace_id", reviewer="annotator").unique()
    queued = lake.read(CANDIDATES, pl.col("cycle") == cycle).select("trace_id", "reviewer")
    read = pl.concat([annotated, queued.join(annotated, on="trace_id", how="semi")]).unique().sort(pl.all())
    return candidate_frame(
        cycle, lake.read(TRACE_SIGNALS, in_cycle), lake.read(TRACES, in_cycle, CLOSED), read, reviewers, settings
    )


def queue_now(lake: Lake, cycle: str | None) -> pl.DataFrame:
    """CANDIDATES of a cycle (None: the newest) in reading order, as reviewed where somebody annotated them since.

    Raises StateError where there is no such queue, naming those there are.
    """
    cycles = lake.scan(CANDIDATES).select(pl.col("cycle").unique().sort()).collect()["cycle"].to_list()
    if not cycles:
        raise StateError("no queue was built yet. Run: evalpipe queue build")
    if cycle is not None and cycle not in cycles:
        raise StateError(f"there is no queue for {cycle}; there are {', '.join(cycles)}")
    annotated = lake.scan(ANNOTATIONS).select(pl.col("trace_id").unique()).collect()["trace_id"]
    is_read = pl.col("trace_id").is_in(annotated.implode())
    return (
        lake.read(CANDIDATES, pl.col("cycle") == (cycle or cycles[-1]))
        .with_columns(status=pl.when(is_read).then(pl.lit("reviewed")).otherwise("status"))
        .sort("reviewer", "rank")
    )


def take_in_annotations(
    lake: Lake, landing: Landing, inbox: Path, file: Path, now: datetime, default_annotator: str | None = None
) -> AnnotationFile:
    """Append the good rows of an inbox file, send the refused ones to `rejections`, and settle the file.

    Rows are committed before the file moves: a crash in between imports it again, which changes nothing.
    A trace counts as known when its spans have landed, decoded or not. Raises InputError for a file that cannot be
    read as annotations, after it has gone to inbox/rejected and `rejections`, so that it is not met again.
    """

    def known_traces(trace_ids: list[str]) -> set[str]:
        asked = pl.Series("trace_id", trace_ids)
        found = lake.scan(TRACES).filter(pl.col("trace_id").is_in(asked.implode())).select("trace_id").collect()
        known = set(found["trace_id"])
        if known.issuperset(trace_ids):
            return known
        decoded = set(lake.scan(RAW_OTLP).select("segment_id").collect()["segment_id"])
        pending = [segment for segment in landing.ledger()["segment_id"] if segment not in decoded]
        return known | landing.pending_trace_ids(pending)

    try:
        taken = read_annotations(file, known_traces=known_traces, now=now, default_annotator=default_annotator)
    except InputError as error:
        lake.append_new(REJECTIONS, file_rejection(file, error, now))
        settle(file, error, inbox)
        raise
    if taken.rejections.height:
        lake.append_new(REJECTIONS, taken.rejections)
    if taken.rows.height:
        lake.append_new(ANNOTATIONS, taken.rows)
    settle(file, taken, inbox)
    return taken


def take_in_inbox(lake: Lake, landing: Landing, inbox: Path, now: datetime) -> list[AnnotationFile | InputError]:
    """Take in every file that waits; one that cannot be read is refused and the rest goes on."""
    results: list[AnnotationFile | InputError] = []
    for file in inbox_files(inbox):
        try:
            results.append(take_in_annotations(lake, landing, inbox, file, now))
        except InputError as error:
            results.append(error)
    return results


def deliver(file: Path, inbox: Path) -> Path:
    """Copy a file into the inbox, whole or not at all; a name that other content has is made its own by a hash."""
    content = file.read_bytes()
    target = inbox / file.name
    if target.exists() and target.read_bytes() != content:
        target = inbox / f"{file.stem}-{content_hash(content, 8)}{file.suffix}"
    write_whole(target, content)
    return target


def labelled_traces(lake: Lake, annotations: pl.DataFrame) -> pl.DataFrame:
    """trace_id, day, session_id, service_name of the annotated traces; reads these columns only."""
    asked = annotations["trace_id"].unique()
    return (
        lake.scan(TRACES)
        .filter(pl.col("trace_id").is_in(asked.implode()))
        .select("trace_id", "day", "session_id", "service_name")
        .collect()
    )
