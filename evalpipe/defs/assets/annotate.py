"""Annotate: what is unusual -> the review queue -> people's annotations -> issues and labels."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from evalpipe.defs.partitions import BY_DAY, CYCLES, cycle_of_partition
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import QUEUE_FRESH, spec
from evalpipe.defs.tell import each_partition, share, told
from evalpipe.errors import InputError
from evalpipe.issues.frame import issue_frame
from evalpipe.issues.grouping import mode_owners, sightings
from evalpipe.issues.lifecycle import promotions
from evalpipe.plan import WHOLE, expected
from evalpipe.review.annotations import effective_annotations
from evalpipe.review.labels import label_frame
from evalpipe.review.on_lake import labelled_traces, queue_of_cycle, take_in_inbox
from evalpipe.review.queue.reviewers import load_reviewers
from evalpipe.signals.on_lake import measure_day, score_day
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    ISSUE_EVENTS,
    ISSUES,
    LABELS,
    TRACE_FEATURES,
    TRACE_SIGNALS,
    TRACES,
    TRACKED,
    VERDICTS,
)


@asset(**spec(TRACE_FEATURES, "annotate"), **BY_DAY, deps=[TRACES.name])
def trace_features(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "trace_features", home.now())

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        rows = measure_day(opened.lake, day, opened.settings.observe, made_from=should_be.get(key))
        return told(opened, TRACE_FEATURES, rows)

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(**spec(TRACE_SIGNALS, "annotate", {"scikitlearn"}), **BY_DAY, deps=[TRACE_FEATURES.name])
def trace_signals(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "trace_signals", home.now())

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        rows = score_day(opened.lake, day, opened.settings.signals, made_from=should_be.get(key))
        return told(opened, TRACE_SIGNALS, rows, flagged_share=share(rows["flagged"].list.len() > 0))

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(
    **spec(CANDIDATES, "annotate"),
    partitions_def=CYCLES,
    deps=[TRACE_SIGNALS.name, VERDICTS.name, LABELS.name],
    freshness_policy=QUEUE_FRESH,
)
def candidates(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    cycle = cycle_of_partition(context.partition_key)
    made_from = expected(opened, "candidates", home.now()).get(cycle)
    reviewers = load_reviewers(opened.reviewers, opened.settings.review)
    rows = queue_of_cycle(opened.lake, cycle, reviewers, opened.settings.review)
    opened.lake.replace(CANDIDATES, rows, partition=cycle, made_from=made_from)
    return dg.MaterializeResult(
        metadata=told(opened, CANDIDATES, rows, cycle=cycle, n_patterns=rows["pattern_id"].n_unique())
    )


@asset(**spec(ANNOTATIONS, "annotate"))
def annotations(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    results = take_in_inbox(opened.lake, opened.landing, opened.inbox, home.now())
    errors = [str(result) for result in results if isinstance(result, InputError)]
    n_refused = sum(0 if isinstance(result, InputError) else result.rejections.height for result in results)
    context.log.info("%d files from the inbox, %d rows refused %s", len(results), n_refused, errors)
    rows = opened.lake.read(ANNOTATIONS)
    figures = {"n_files": len(results), "n_refused_rows": n_refused, "refused_files": errors}
    return dg.MaterializeResult(metadata=told(opened, ANNOTATIONS, rows, **figures))


@asset(**spec(ISSUE_EVENTS, "annotate"), deps=[ANNOTATIONS.name])
def issue_events(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "issue_events", home.now()).get(WHOLE)
    effective = effective_annotations(opened.lake.read(ANNOTATIONS))
    known = opened.lake.read(ISSUE_EVENTS)
    seen = pl.concat([known, sightings(effective, known, labelled_traces(opened.lake, effective))])
    new = pl.concat([seen, promotions(seen, effective, opened.settings.issues)])
    opened.lake.append_new(ISSUE_EVENTS, new, made_from=made_from)
    return dg.MaterializeResult(metadata=told(opened, ISSUE_EVENTS, new))


@asset(**spec(LABELS, "annotate"), deps=[ANNOTATIONS.name, ISSUE_EVENTS.name, TRACES.name])
def labels(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "labels", home.now()).get(WHOLE)
    said = opened.lake.read(ANNOTATIONS)
    rows = label_frame(
        said,
        labelled_traces(opened.lake, said),
        mode_owners(opened.lake.read(ISSUE_EVENTS)),
        opened.settings.review,
    )
    opened.lake.replace(LABELS, rows, made_from=made_from)
    figures = {"n_failures": int(rows["is_failure"].sum()), "disputed_share": share(rows["is_disputed"])}
    return dg.MaterializeResult(metadata=told(opened, LABELS, rows, **figures))


@asset(**spec(ISSUES, "annotate"), deps=[ISSUE_EVENTS.name, LABELS.name])
def issues(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "issues", home.now()).get(WHOLE)
    rows = issue_frame(
        opened.lake.read(ISSUE_EVENTS),
        opened.lake.read(LABELS),
        now=home.now(),
        settings=opened.settings.verification,
    )
    opened.lake.replace(ISSUES, rows, made_from=made_from)
    n_tracked = rows.filter(pl.col("state").is_in(TRACKED)).height
    return dg.MaterializeResult(metadata=told(opened, ISSUES, rows.sort("n_failures"), n_tracked=n_tracked))
