"""What is stale: for each asset, the partitions whose inputs differ from those its table was last made from.

Each table remembers, in the commit that wrote a partition, a fingerprint of what went in (lake/store.py). Here the
fingerprint that a partition should have is computed from the inputs as they are now; where the two differ, or there
is none, the partition is stale. Nothing is compared by time, so replays and restores are safe; `now` says only which
traces are open.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import polars as pl

from evalpipe.errors import StateError
from evalpipe.evaluators.on_lake import judging, rates_of
from evalpipe.generation.on_lake import attempts
from evalpipe.generation.triggers import Due, issues_due
from evalpipe.home import Home
from evalpipe.ids import content_hash, fingerprint
from evalpipe.issues.frame import new_issues
from evalpipe.issues.grouping import mode_owners
from evalpipe.issues.replay import replay
from evalpipe.ranges import days_around
from evalpipe.review.annotations import inbox_files
from evalpipe.review.queue.cycles import cycle_of
from evalpipe.signals.drift import BEFORE_DAYS, RECENT_DAYS
from evalpipe.tables import (
    AGREEMENT,
    ANNOTATIONS,
    CANDIDATES,
    COVERAGE,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RUNS,
    ISSUE_EVENTS,
    ISSUE_PROPOSALS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    SETTLED,
    SPANS,
    TABLES,
    TRACE_FEATURES,
    TRACE_SIGNALS,
    TRACES,
    TRAFFIC_DRIFT,
    VERDICT_COUNTS,
    VERDICTS,
    Table,
)
from evalpipe.traces.on_lake import n_open_traces

WHOLE = "all"

CODE_VERSIONS: Mapping[str, str] = {
    # Raise one when the asset's logic changes what it makes: its partitions and all that follow become stale.
    "raw_otlp": "2",
    "spans": "2",
    "traces": "2",
    "sessions": "2",
    "trace_features": "1",
    "trace_signals": "2",
    "annotations": "1",
    "issue_events": "1",
    "labels": "3",
    "issues": "2",
    "issue_proposals": "1",
    "agreement": "1",
    "evaluators": "1",
    "verdicts": "3",
    "verdict_counts": "2",
    "candidates": "2",
    "queue_yield": "1",
    "prevalence": "1",
    "traffic_drift": "1",
    "evaluator_quality": "3",
    "evaluator_health": "2",
    "issue_rates": "1",
    "issue_transitions": "1",
    "verifications": "1",
    "coverage": "3",
    "coverage_report": "4",
}
"""Every asset in the order in which `evalpipe run` materialises them, which is an order of the asset graph."""

TRANSITIONS = "issue_transitions"
"""The asset that adds what the evidence says to `issue_events`, and the scope under which that table remembers it."""

UP_TO_QUEUE = (
    *("raw_otlp", "spans", "traces", "sessions", "trace_features", "trace_signals"),
    *("verdicts", "candidates"),
)
"""What new traffic needs before people can read it. The evaluators there are judge it first, so that the queue knows
where they are unsure."""


class Stale(NamedTuple):
    """An asset with partitions to be made; a whole table has the one partition 'all'."""

    asset: str
    partitions: tuple[str, ...]
    should_be: dict[str, int]  # of each of these, the fingerprint of its inputs as they are
    made_from: dict[str, int | None]  # and that of the inputs it was last made from


def stale(home: Home, asset: str, now: datetime) -> Stale:
    """The partitions of `asset` that should be made again, in order. Reads ledgers and key columns only."""
    should_be = expected(home, asset, now)
    if asset == "coverage_report":
        made_from = {WHOLE: report_made_from(home)}
    elif asset == TRANSITIONS:
        made_from = {TRANSITIONS: home.lake.made_from(ISSUE_EVENTS, [TRANSITIONS])[TRANSITIONS]}
    else:
        made_from = home.lake.made_from(TABLES[asset], list(should_be))
    partitions = tuple(sorted(scope for scope, inputs in should_be.items() if made_from[scope] != inputs))
    return Stale(
        asset, partitions, {scope: should_be[scope] for scope in partitions}, {s: made_from[s] for s in partitions}
    )


def anything_stale(home: Home, now: datetime, only: Sequence[str] = ()) -> bool:
    """Whether `evalpipe run` has something to do. Raises StateError for an asset that does not exist."""
    if unknown := sorted(set(only) - set(CODE_VERSIONS)):
        raise StateError(f"there is no asset {', '.join(unknown)}; there are: {', '.join(CODE_VERSIONS)}")
    return any(stale(home, asset, now).partitions for asset in only or CODE_VERSIONS)


def expected(home: Home, asset: str, now: datetime) -> dict[str, int]:
    """For each partition that `asset` should have, the fingerprint of its inputs as they are at `now`."""
    if asset == "evaluators":
        # An attempt is remembered by the labels it was made from, so that the triggers can compare them.
        return {due.issue_id: due.labels_fingerprint for due in due_issues(home)}
    inputs_of = _INPUTS_AT[asset](home, now) if asset in _INPUTS_AT else _INPUTS[asset](home)
    return {scope: made_from(asset, inputs) for scope, inputs in inputs_of.items()}


def made_from(asset: str, inputs: object) -> int:
    """The fingerprint of what a partition of `asset` is made from, this code included."""
    return fingerprint(asset, CODE_VERSIONS[asset], inputs)


def verdicts_expected(home: Home, days: Sequence[str], issue_ids: Collection[str] = ()) -> dict[str, int]:
    """The fingerprint of what the verdicts of these days are made from, inside the window or not.

    A day on which the evaluators of some issues alone have judged remembers these, so that what follows from it is
    made again, and inside the window the other evaluators judge it in their turn.
    """
    return {day: made_from("verdicts", inputs) for day, inputs in _judged(home, days, issue_ids).items()}


def verdicts_missing(home: Home, first: date, last: date, issue_ids: Collection[str] = ()) -> list[str]:
    """The days with traffic from `first` to `last` that these evaluators have not judged as they are, or not wholly.

    A day on which one of them could not judge a trace is among them. Sorted.
    """
    days = [str(day) for day in traffic_days(home) if first <= day <= last]
    should_be = verdicts_expected(home, days, issue_ids)
    whole = should_be if not issue_ids else verdicts_expected(home, days)
    made = home.lake.made_from(VERDICTS, days)
    suite = judging(home.lake, home.settings.quality, issue_ids)
    faults = home.lake.scan(VERDICTS).filter(pl.col("day").is_between(first, last), pl.col("outcome") == "fault")
    by_them = faults.join(suite.lazy().select("evaluator_id", "version"), on=["evaluator_id", "version"], how="semi")
    faulty = {str(day) for day in by_them.select("day").unique().collect()["day"]}
    return [day for day, inputs in should_be.items() if made[day] not in (inputs, whole[day]) or day in faulty]


def traffic_days(home: Home) -> list[date]:
    """The UTC days on which spans start, from the landing ledger, in order."""
    return [day for day in home.landing.days() if day >= home.settings.observe.first_day]


def due_issues(home: Home) -> list[Due]:
    """The issues whose labels changed enough for their evaluator to be generated again."""
    issues = home.lake.read(ISSUES)
    return issues_due(
        home.lake.read(LABELS, SETTLED),
        issues,
        home.lake.read(EVALUATORS),
        attempts(home.lake, issues["issue_id"].to_list()),
        home.settings.generation,
        home.lake.read(EVALUATOR_HEALTH),
    )


def report_made_from(home: Home) -> int | None:
    """The fingerprint that the coverage report says it was made from; None without a report."""
    if not home.coverage_report.exists():
        return None
    with home.coverage_report.open(encoding="utf-8") as page:
        head = page.read(4_096)
    _, mark, rest = head.partition('<meta name="evalpipe-made-from" content="')
    digits = rest.partition('"')[0]
    return int(digits) if mark and digits.isdigit() else None


def _raw_otlp(home: Home) -> dict[str, object]:
    """Day by day the segments with a span on it, and which of them have expired since."""
    ledgers = {day: home.landing.ledger_of(day) for day in traffic_days(home)}
    return {str(day): ledger.select("segment_id", "is_expired").rows() for day, ledger in ledgers.items()}


def _spans(home: Home) -> dict[str, object]:
    """Day by day the segments with a span on it, in the order of landing."""
    return {str(day): home.landing.ledger_of(day)["segment_id"].to_list() for day in traffic_days(home)}


def _traces(home: Home, now: datetime) -> dict[str, object]:
    """Day by day the spans of the days around it, and how many traces may still grow: closing one changes the day."""
    days = traffic_days(home)
    settings = home.settings.observe
    around = {day: days_around(day, settings.window_days) for day in days}
    spans = home.lake.made_from(SPANS, sorted({str(d) for window in around.values() for d in window}))
    active = home.landing.landed_since(now - timedelta(seconds=settings.quiet_s))
    n_open = {
        day: n_open_traces(home.lake, day, settings=settings, now=now)
        for day, window in around.items()
        if active.intersection(window)
    }
    return {str(day): [[spans[str(d)] for d in window], n_open.get(day, 0)] for day, window in around.items()}


def _after(table: Table) -> Callable[[Home], dict[str, object]]:
    """Day by day from the same day of one table.

    Not from the days before it, which teach what is usual: what reviewers were shown is not reordered because an older
    day has changed since.
    """

    def inputs(home: Home) -> dict[str, object]:
        made_from = home.lake.made_from(table, [str(day) for day in traffic_days(home)])
        return {day: upstream for day, upstream in made_from.items() if upstream is not None}

    return inputs


def _candidates(home: Home) -> dict[str, object]:
    signals = home.lake.made_from(TRACE_SIGNALS, [str(day) for day in traffic_days(home)])
    reviewers = content_hash(home.reviewers.read_bytes()) if home.reviewers.exists() else None
    cycles: dict[str, object] = {}
    for day, upstream in signals.items():
        if upstream is not None:
            days = cycles.setdefault(cycle_of(date.fromisoformat(day)), [reviewers])
            assert isinstance(days, list)
            days.append(upstream)
    return cycles


def _annotations(home: Home) -> dict[str, object]:
    files = inbox_files(home.inbox)
    return {WHOLE: [content_hash(file.read_bytes()) for file in files]} if files else {}


def _issue_events(home: Home) -> dict[str, object]:
    return {WHOLE: _rows(home, ANNOTATIONS)} if home.lake.version(ANNOTATIONS) is not None else {}


def _labels(home: Home) -> dict[str, object]:
    if home.lake.version(ISSUE_EVENTS) is None:
        return {}
    # Whose the failure modes are is all that labels take from the issues; their states change oftener.
    return {WHOLE: [_rows(home, ANNOTATIONS), mode_owners(home.lake.read(ISSUE_EVENTS)).rows()]}


def _issues(home: Home, now: datetime) -> dict[str, object]:
    if home.lake.version(LABELS) is None:
        return {}
    new = new_issues(replay(home.lake.read(ISSUE_EVENTS)), now, home.settings.verification)
    return {WHOLE: [_made_from(home, LABELS), _rows(home, ISSUE_EVENTS), new]}


def _issue_proposals(home: Home) -> dict[str, object]:
    if home.lake.version(ISSUES) is None:
        return {}
    return {WHOLE: [_made_from(home, ISSUES), _rows(home, ANNOTATIONS), _rows(home, ISSUE_EVENTS)]}


def _agreement(home: Home) -> dict[str, object]:
    if home.lake.version(ISSUE_EVENTS) is None:
        return {}
    return {WHOLE: [_rows(home, ANNOTATIONS), _rows(home, ISSUE_EVENTS)]}


def _queue_yield(home: Home) -> dict[str, object]:
    if home.lake.version(CANDIDATES) is None or home.lake.version(ANNOTATIONS) is None:
        return {}
    return {WHOLE: [_queues(home), _rows(home, ANNOTATIONS)]}


def _prevalence(home: Home) -> dict[str, object]:
    if home.lake.version(CANDIDATES) is None or home.lake.version(ISSUES) is None:
        return {}
    days = [str(day) for day in traffic_days(home)]
    verdicts = home.lake.made_from(VERDICTS, days)
    return {WHOLE: [_queues(home), _made_from(home, LABELS), _made_from(home, ISSUES), verdicts]}


def _queues(home: Home) -> dict[str, int | None]:
    cycles = sorted({cycle_of(day) for day in traffic_days(home)})
    return home.lake.made_from(CANDIDATES, cycles)


def _verdicts(home: Home) -> dict[str, object]:
    days = [str(day) for day in traffic_days(home)]
    if not days:
        return {}
    last = date.fromisoformat(days[-1])
    window = {str(last - timedelta(days=n)) for n in range(home.settings.monitor.window_days)}
    return _judged(home, [day for day in days if day in window])


def _judged(home: Home, days: Sequence[str], issue_ids: Collection[str] = ()) -> dict[str, object]:
    """Day by day the traces, and who judges how much of them."""
    suite = judging(home.lake, home.settings.quality, issue_ids)
    if not days or suite.is_empty():
        return {}
    # A changed rate makes the window anew, so that a new one holds for all of it; what was judged is kept.
    rates = rates_of(home.lake, suite, home.settings.monitor)
    who = [f"{name} at {rate}" for name, rate in zip(_names(suite), rates, strict=True)]
    # What evaluators ask of sessions is counted in the features, which follow the traces of the day.
    features = home.lake.made_from(TRACE_FEATURES, days)
    return {day: [features[day], who] for day in days if features[day] is not None}


def suite_of(home: Home) -> list[str]:
    """The evaluators trusted now, as 'id@version', in order: what judges new traffic."""
    return _names(judging(home.lake, home.settings.quality))


def _names(suite: pl.DataFrame) -> list[str]:
    return [f"{evaluator}@{version}" for evaluator, version in suite.select("evaluator_id", "version").iter_rows()]


def _evaluator_quality(home: Home) -> dict[str, object]:
    if home.lake.version(EVALUATORS) is None:
        return {}
    return {WHOLE: [_made_from(home, LABELS), _rows(home, EVALUATORS)]}


def _issue_rates(home: Home) -> dict[str, object]:
    if home.lake.version(VERDICT_COUNTS) is None:
        return {}
    counts = home.lake.made_from(VERDICT_COUNTS, [str(day) for day in traffic_days(home)])
    return {WHOLE: [counts, _rows(home, EVALUATOR_QUALITY)]}


def _issue_transitions(home: Home) -> dict[str, object]:
    return {TRANSITIONS: _evidence(home)} if home.lake.version(ISSUE_EVENTS) is not None else {}


def _verifications(home: Home) -> dict[str, object]:
    return {WHOLE: _evidence(home)} if home.lake.version(ISSUE_EVENTS) is not None else {}


def _evidence(home: Home) -> list[object]:
    """All that an issue's state may follow from."""
    counts = home.lake.made_from(VERDICT_COUNTS, [str(day) for day in traffic_days(home)])
    tables = [_made_from(home, table) for table in (LABELS, EVALUATOR_QUALITY, ISSUE_RATES)]
    return [counts, tables, _rows(home, ISSUE_EVENTS), _rows(home, GATE_RUNS)]


def _traffic_drift(home: Home) -> dict[str, object]:
    days = [str(day) for day in traffic_days(home)]
    features = home.lake.made_from(TRACE_FEATURES, days[-(RECENT_DAYS + BEFORE_DAYS) :])
    made = {day: upstream for day, upstream in features.items() if upstream is not None}
    return {WHOLE: made} if made else {}


def _evaluator_health(home: Home) -> dict[str, object]:
    if home.lake.version(EVALUATOR_QUALITY) is None:
        return {}
    return {WHOLE: [_made_from(home, EVALUATOR_QUALITY), _made_from(home, TRAFFIC_DRIFT)]}


def _coverage(home: Home) -> dict[str, object]:
    if home.lake.version(ISSUES) is None:
        return {}
    days = [str(day) for day in traffic_days(home)]
    counts = home.lake.made_from(VERDICT_COUNTS, days)
    measured = [_made_from(home, table) for table in (EVALUATOR_QUALITY, EVALUATOR_HEALTH, PREVALENCE, ISSUE_RATES)]
    return {WHOLE: [_made_from(home, ISSUES), measured, suite_of(home), counts]}


def _coverage_report(home: Home) -> dict[str, object]:
    if home.lake.version(COVERAGE) is None:
        return {}
    traces = home.lake.made_from(TRACES, [str(day) for day in traffic_days(home)])
    findings = [_made_from(home, table) for table in (QUEUE_YIELD, PREVALENCE, AGREEMENT, ISSUE_PROPOSALS, ISSUE_RATES)]
    return {WHOLE: [_made_from(home, COVERAGE), _rows(home, GATE_RUNS), findings, traces]}


def _made_from(home: Home, table: Table) -> int | None:
    return home.lake.made_from(table)[WHOLE]


def _rows(home: Home, table: Table) -> str:
    """A content hash of a small table's keys; its rows never change under their key."""
    keys = home.lake.scan(table).select(table.key).unique().sort(table.key).collect()
    return content_hash(keys.cast(pl.String).rows())


_INPUTS: Mapping[str, Callable[[Home], dict[str, object]]] = {
    "raw_otlp": _raw_otlp,
    "spans": _spans,
    "sessions": _after(TRACES),
    "trace_features": _after(TRACES),
    "trace_signals": _after(TRACE_FEATURES),
    "candidates": _candidates,
    "annotations": _annotations,
    "issue_events": _issue_events,
    "labels": _labels,
    "issue_proposals": _issue_proposals,
    "agreement": _agreement,
    "queue_yield": _queue_yield,
    "prevalence": _prevalence,
    "verdicts": _verdicts,
    "verdict_counts": _after(VERDICTS),
    "evaluator_quality": _evaluator_quality,
    "issue_rates": _issue_rates,
    TRANSITIONS: _issue_transitions,
    "verifications": _verifications,
    "traffic_drift": _traffic_drift,
    "evaluator_health": _evaluator_health,
    "coverage": _coverage,
    "coverage_report": _coverage_report,
}

_INPUTS_AT: Mapping[str, Callable[[Home, datetime], dict[str, object]]] = {"traces": _traces, "issues": _issues}
"""Those that also depend on the time."""
