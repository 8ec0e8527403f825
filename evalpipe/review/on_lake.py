"""The reviewers' desk over the lake: build a cycle's queue, take annotation files in, find what was annotated."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.files import write_whole
from evalpipe.ids import content_hash
from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.review.agreement import agreement_frame
from evalpipe.review.annotations import (
    AnnotationFile,
    effective_annotations,
    file_rejection,
    inbox_files,
    read_annotations,
    settle,
)
from evalpipe.review.estimates import prevalence_frame, yield_frame
from evalpipe.review.queue.arms import unsureness_frame
from evalpipe.review.queue.confirming import wanted_frame
from evalpipe.review.queue.cycles import cycle_days, cycle_of, cycles_before
from evalpipe.review.queue.experience import finding_frame, history_frame
from evalpipe.review.queue.queues import N_DISPUTE_CYCLES, Past, candidate_frame
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import ReviewSettings
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    EVALUATORS,
    ISSUES,
    LABELS,
    PREVALENCE,
    PRODUCTION,
    RAW_OTLP,
    REJECTIONS,
    REVIEW_EVENTS,
    SPANS,
    TRACE_SIGNALS,
    TRACES,
    TRUTH_SOURCES,
    VERDICTS,
    VERIFICATIONS,
)


def queue_of_cycle(lake: Lake, cycle: str, reviewers: Sequence[Reviewer], settings: ReviewSettings) -> pl.DataFrame:
    """The CANDIDATES of `cycle`. What has been read stays in it as reviewed, so that its yield can be measured."""
    in_cycle = pl.col("day").is_between(*cycle_days(cycle))
    queued = lake.read(CANDIDATES)
    annotations = lake.read(ANNOTATIONS, pl.col("label_source").is_in(TRUTH_SOURCES))
    earlier = queued.filter(pl.col("cycle") < cycle)
    past = Past(
        queued=queued,
        skipped=_skipped(lake.read(REVIEW_EVENTS)),
        disputed=_disputed(lake),
        unsureness=unsureness_frame(_verdicts_before_reading(lake, queued, annotations, cycle)),
        history=history_frame(earlier, finding_frame(annotations)),
        wanted=_wanted(lake, cycle, settings),
    )
    traces = lake.scan(TRACES).filter(PRODUCTION)
    of_cycle = traces.filter(in_cycle)
    if any(reviewer.specificity for reviewer in reviewers):
        back = earlier.filter(pl.col("cycle").is_in(cycles_before(cycle, max(settings.carry_cycles, N_DISPUTE_CYCLES))))
        days, ids = back["day"].unique().implode(), back["trace_id"].unique().implode()
        of_cycle = pl.concat([of_cycle, traces.filter(pl.col("day").is_in(days), pl.col("trace_id").is_in(ids))])
    signals = lake.read(TRACE_SIGNALS, in_cycle)
    return candidate_frame(cycle, signals, of_cycle, _read_by(queued, annotations), reviewers, settings, past)


def queue_now(lake: Lake, cycle: str | None) -> pl.DataFrame:
    """CANDIDATES of a cycle (None: the newest) in reading order, as reviewed where somebody annotated them since.

    Raises StateError where there is no such queue, naming those there are.
    """
    cycles = lake.scan(CANDIDATES).select(pl.col("cycle").unique().sort()).collect()["cycle"].to_list()
    if not cycles:
        raise StateError("no queue was built yet. Run: evalpipe queue build")
    if cycle is not None and cycle not in cycles:
        raise StateError(f"there is no queue for {cycle}; there are {', '.join(cycles)}")
    queued = lake.read(CANDIDATES, pl.col("cycle") == (cycle or cycles[-1]))
    read = _read_by(queued, lake.read(ANNOTATIONS, pl.col("label_source").is_in(TRUTH_SOURCES)))
    return (
        queued.join(read.with_columns(is_read=True), on=["trace_id", "reviewer"], how="left", maintain_order="left")
        .with_columns(status=pl.when("is_read").then(pl.lit("reviewed")).otherwise(pl.lit("queued")))
        .select(CANDIDATES.column_names)
        .sort("reviewer", "rank")
    )


def queue_yield(lake: Lake, settings: ReviewSettings) -> pl.DataFrame:
    """QUEUE_YIELD of the queues of the last `estimate_days`, on the annotations there are."""
    days = _estimated_days(lake, settings)
    annotations = lake.read(ANNOTATIONS)
    queued = lake.read(CANDIDATES, pl.col("cycle").is_in([*{cycle_of(day) for day in days}]))
    return yield_frame(queued, finding_frame(annotations), settings)


def prevalence(lake: Lake, settings: ReviewSettings) -> pl.DataFrame:
    """PREVALENCE of every issue that is somebody's concern, over the last `estimate_days` with a queue."""
    days = _estimated_days(lake, settings)
    if not days:
        return PREVALENCE.empty()
    in_days = pl.col("day").is_between(days[0], days[-1])
    traffic = (
        lake.scan(TRACES).filter(in_days, PRODUCTION).group_by("day", "service_name").agg(n_traces=pl.len()).collect()
    )
    names = {day: cycle_of(day) for day in traffic["day"].unique()}
    queued = lake.read(CANDIDATES, pl.col("cycle").is_in(sorted(set(names.values()))))
    drawn = queued["trace_id"].unique().implode()
    verdicts = lake.read(VERDICTS, in_days, pl.col("trace_id").is_in(drawn))
    return prevalence_frame(
        queued,
        lake.read(LABELS, in_days),
        traffic.with_columns(cycle=pl.col("day").replace_strict(names, return_dtype=pl.String)),
        verdicts,
        lake.read(ISSUES, ~pl.col("state").is_in(["merged", "ignored"])),
        settings,
    )


def agreement(lake: Lake, issue_of: pl.DataFrame, settings: ReviewSettings) -> pl.DataFrame:
    """AGREEMENT on every annotation there is; `issue_of` says which issue owns a failure mode."""
    said = lake.read(ANNOTATIONS)
    return agreement_frame(said, labelled_traces(lake, said), issue_of, settings)


def _estimated_days(lake: Lake, settings: ReviewSettings) -> list[date]:
    """The last `estimate_days` of the traffic that queues were built for, in order; none without a queue."""
    newest = lake.scan(CANDIDATES).select(pl.col("cycle").max()).collect().item()
    if newest is None:
        return []
    last = lake.scan(TRACES).filter(pl.col("day") <= cycle_days(newest)[1]).select(pl.col("day").max()).collect().item()
    return [last - timedelta(days=n) for n in reversed(range(settings.estimate_days))] if last else []


def _read_by(queued: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """trace_id, reviewer of what still stands as read: by the annotator's name, and by the name it was queued for.

    Annotators need not go by the names in reviewers.yaml: what somebody annotated who had it in no queue counts as read
    by its first reviewer.
    """
    said = effective_annotations(annotations).select("trace_id", reviewer="annotator").unique()
    strangers = said.join(queued, on=["trace_id", "reviewer"], how="anti").select("trace_id")
    firsts = queued.filter(~pl.col("is_second_opinion").fill_null(False)).join(strangers, on="trace_id", how="semi")
    return pl.concat([said, firsts.select("trace_id", "reviewer")]).unique().sort(pl.all())


def _disputed(lake: Lake) -> pl.DataFrame:
    """trace_id of what one more reader should see: ties, and failures of fixed releases that one reader alone saw.

    People slip, and a slip among the few failures of a fixed release looks like the failure itself.
    """
    verifying = lake.read(VERIFICATIONS, pl.col("state") == "verifying")["issue_id"].to_list()
    is_alone = pl.col("is_failure") & (pl.col("n_yes") == 1) & (pl.col("n_no") == 0)
    decides = pl.col("issue_id").is_in(verifying) & is_alone
    return lake.read(LABELS, pl.col("is_disputed") | decides).select("trace_id").unique()


def _wanted(lake: Lake, cycle: str, settings: ReviewSettings) -> pl.DataFrame:
    """What fixes need read, out of the traffic of the cycle."""
    asked = lake.read(VERIFICATIONS)
    in_cycle, of_issues = (
        pl.col("day").is_between(*cycle_days(cycle)),
        pl.col("issue_id").is_in(asked["issue_id"].to_list()),
    )
    columns = ("issue_id", "version", "trace_id", "outcome")
    verdicts = lake.scan(VERDICTS).filter(in_cycle, of_issues).select(columns).collect()
    releases = lake.scan(TRACES).filter(in_cycle, PRODUCTION).select("trace_id", "service_version").collect()
    return wanted_frame(asked, verdicts, releases, cycle, settings)


def _skipped(events: pl.DataFrame) -> pl.DataFrame:
    """trace_id, reviewer of what was skipped and not taken back."""
    last = events.sort("at", "event_id").unique(["cycle", "trace_id", "reviewer"], keep="last", maintain_order=True)
    return last.filter(pl.col("kind") == "skipped").select("trace_id", "reviewer").unique().sort(pl.all())


def _verdicts_before_reading(lake: Lake, queued: pl.DataFrame, annotations: pl.DataFrame, cycle: str) -> pl.DataFrame:
    """VERDICTS on the cycle's days, of versions made before its first trace was read.

    A version that learned from answers to this queue is no longer unsure of them: what it says would depend on what
    was read, and a queue that is built again would be no random sample.
    """
    mine = queued.filter(pl.col("cycle") == cycle)
    first_answer = annotations.join(mine, on="trace_id", how="semi")["annotated_at"].min()
    made = lake.scan(EVALUATORS).select("evaluator_id", "version", "created_at").collect()
    before = made if first_answer is None else made.filter(pl.col("created_at") < first_answer)
    verdicts = lake.scan(VERDICTS).filter(pl.col("day").is_between(*cycle_days(cycle)))
    columns = ("evaluator_id", "version", "trace_id", "outcome", "score")
    return verdicts.select(columns).join(before.lazy(), on=["evaluator_id", "version"], how="semi").collect()


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

    def traces_of_spans(span_ids: list[str]) -> dict[str, str]:
        asked = pl.Series("span_id", span_ids)
        found = lake.scan(SPANS).filter(pl.col("span_id").is_in(asked.implode())).select("span_id", "trace_id")
        return dict(found.collect().iter_rows())

    try:
        taken = read_annotations(
            file,
            known_traces=known_traces,
            now=now,
            default_annotator=default_annotator,
            traces_of_spans=traces_of_spans,
        )
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
