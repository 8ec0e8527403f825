"""Coverage: which tracked issues have an evaluator that can be trusted, how much harm they stand for, what is lacking.

What makes an evaluator trusted is in trust.py. The words of `lacks` are made here, so that table, report and command
line say the same.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.pages import counted
from evalpipe.quality.drift import demotions
from evalpipe.quality.trust import may_be_chance, shortfall, status_of
from evalpipe.settings import Settings
from evalpipe.tables import (
    COVERAGE,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    SETTLED,
    SEVERITY_WEIGHTS,
    TRACKED,
    VERDICTS,
)

_USUAL_SEVERITY = "major"  # unless somebody said otherwise


class CoverageFigures(NamedTuple):
    """Coverage as a whole. A share of nothing is None, not zero."""

    n_active: int  # issues that are tracked
    n_covered: int
    n_blocking: int  # of these, with an evaluator that may block a release
    n_monitoring: int  # and with one that only monitors
    issue_share: float | None  # of the issues, in [0, 1]
    occurrence_share: float | None  # of their annotated failures, in [0, 1]
    traffic_share: float | None  # of the failing traffic, in [0, 1]; issues of unknown prevalence are left out


@dataclass(frozen=True)
class CoverageTables:
    """What coverage is made from; those not given are empty."""

    issues: pl.DataFrame = field(default_factory=ISSUES.empty)
    evaluators: pl.DataFrame = field(default_factory=EVALUATORS.empty)  # current versions
    quality: pl.DataFrame = field(default_factory=EVALUATOR_QUALITY.empty)
    health: pl.DataFrame = field(default_factory=EVALUATOR_HEALTH.empty)
    labels: pl.DataFrame = field(default_factory=LABELS.empty)
    rates: pl.DataFrame = field(default_factory=lambda: verdict_rates(VERDICTS.empty()))  # what `verdict_rates` gives
    issue_rates: pl.DataFrame = field(default_factory=ISSUE_RATES.empty)
    prevalence: pl.DataFrame = field(default_factory=PREVALENCE.empty)


def coverage_frame(tables: CoverageTables, *, now: datetime, settings: Settings) -> pl.DataFrame:
    """COVERAGE of the tracked issues as of `now`, the most harmful first.

    Of the quality the latest held-out row of each version counts. An issue is covered by an evaluator of at least
    monitoring quality; one below that is named, with its figures, but covers nothing.
    """
    tracked = tables.issues.filter(pl.col("state").is_in(TRACKED)).with_columns(
        pl.col("severity").fill_null(_USUAL_SEVERITY)
    )
    n_occurrences = pl.col("n_failures")
    is_covered = pl.col("status").is_in(["active", "monitoring"]).fill_null(False)
    rows = (
        tracked.join(_checks(tables, settings), on="issue_id", how="left")
        .join(_known_prevalence(tables), on="issue_id", how="left")
        .join(_labelled(tables.labels), on="issue_id", how="left")
        .with_columns(
            pl.col("n_bad", "n_good", "n_disputed").fill_null(0),
            measured_at=pl.lit(now),
            is_covered=is_covered,
            n_occurrences=n_occurrences,
            # Issues that nobody has annotated a failure of weigh nothing.
            occurrence_share=(n_occurrences / n_occurrences.sum()).fill_nan(0.0),
            traffic_share=pl.when(is_covered & (pl.col("n_judged") > 0)).then(pl.col("n_failed") / pl.col("n_judged")),
        )
        .with_columns(
            harm=pl.coalesce("prevalence", "occurrence_share")
            * pl.col("severity").replace_strict(SEVERITY_WEIGHTS, return_dtype=pl.Float64)
        )
        .sort("harm", "issue_id", descending=[True, False])
    )
    lacks = [_lacks(row, settings) for row in rows.iter_rows(named=True)]
    return COVERAGE.conform(rows.with_columns(lacks=pl.Series(lacks, dtype=pl.String)))


def coverage_figures(coverage: pl.DataFrame) -> CoverageFigures:
    """The figures of one measurement: COVERAGE rows of one measured_at."""
    covered = coverage.filter("is_covered")
    return CoverageFigures(
        n_active=coverage.height,
        n_covered=covered.height,
        n_blocking=covered.filter(pl.col("status") == "active").height,
        n_monitoring=covered.filter(pl.col("status") == "monitoring").height,
        issue_share=covered.height / coverage.height if coverage.height else None,
        occurrence_share=_part(covered["n_occurrences"], coverage["n_occurrences"]),
        traffic_share=_part(covered["prevalence"], coverage["prevalence"]),
    )


def latest_coverage(coverage: pl.DataFrame) -> pl.DataFrame:
    """The COVERAGE rows that were measured last, the most harmful first."""
    last = coverage.filter(pl.col("measured_at") == pl.col("measured_at").max())
    return last.sort("harm", "n_occurrences", "issue_id", descending=[True, True, False], nulls_last=True)


def verdict_rates(verdicts: pl.DataFrame) -> pl.DataFrame:
    """evaluator_id, version, n_judged, n_failed from VERDICTS; a fault is no judgement."""
    return (
        verdicts.filter(pl.col("outcome") != "fault")
        .group_by("evaluator_id", "version")
        .agg(n_judged=pl.len().cast(pl.Int64), n_failed=(pl.col("outcome") == "fail").sum().cast(pl.Int64))
        .sort("evaluator_id", "version")
    )


def latest_quality(quality: pl.DataFrame, split: str) -> pl.DataFrame:
    """The last measurement of every evaluator version on one split, by evaluator and version."""
    return (
        quality.filter(pl.col("split") == split)
        .sort("measured_at", "labels_fingerprint")
        .unique(["evaluator_id", "version"], keep="last", maintain_order=True)
        .sort("evaluator_id", "version")
    )


def _part(some: pl.Series, whole: pl.Series) -> float | None:
    total = float(whole.sum())
    return float(some.sum()) / total if total > 0 else None


def _checks(tables: CoverageTables, settings: Settings) -> pl.DataFrame:
    """The living evaluator of each issue with its figures, what it failed and what it is worth: one row an issue."""
    version = ["evaluator_id", "version"]
    measured = latest_quality(tables.quality, "held_out").select(
        *version, "mcc", "mcc_lower", n_positives=pl.col("tp") + pl.col("fn")
    )
    checks = (
        tables.evaluators.filter(pl.col("status") != "retired")
        .select("issue_id", *version)
        .sort(version)
        .unique("issue_id", keep="last", maintain_order=True)
        .join(measured, on=version, how="left", maintain_order="left")
        .join(tables.rates, on=version, how="left", maintain_order="left")
        .join(demotions(tables.health), on=version, how="left", maintain_order="left")
        .with_columns(pl.col("n_positives").fill_null(0))
    )
    figures = checks.select("mcc", "mcc_lower", "n_positives", "demotion").rows()
    status = [status_of(mcc, lower, n, settings.quality, demotion) for mcc, lower, n, demotion in figures]
    return checks.with_columns(status=pl.Series(status, dtype=pl.String))


def _known_prevalence(tables: CoverageTables) -> pl.DataFrame:
    """issue_id, prevalence: of the latest week in which the evaluator tells it, else what the queues tell."""
    by_evaluator = (
        tables.issue_rates.filter(pl.col("prevalence").is_not_null())
        .sort("first_day")
        .unique("issue_id", keep="last", maintain_order=True)
    )
    # None seen among the few that were read by chance is no share: harm would be nothing, for failures that people saw.
    by_queues = tables.prevalence.filter(pl.col("prevalence") > 0)
    known = [each.select("issue_id", "prevalence") for each in (by_evaluator, by_queues)]
    return pl.concat(known).unique("issue_id", keep="first", maintain_order=True)


def _labelled(labels: pl.DataFrame) -> pl.DataFrame:
    """Settled labels of each issue that show it and that do not, and disputed ones."""
    is_failure = pl.col("is_failure")
    return labels.group_by("issue_id").agg(
        n_bad=(is_failure & SETTLED).sum(), n_good=(~is_failure & SETTLED).sum(), n_disputed=(~SETTLED).sum()
    )


def _lacks(row: dict[str, Any], settings: Settings) -> str | None:
    """What an issue needs before its evaluator blocks, as something a person can do or wait for; None when nothing."""
    mcc, lower, fell = row["mcc"], row["mcc_lower"], row["demotion"]
    if row["status"] in ("active", "monitoring"):
        return shortfall(mcc, lower, row["n_positives"], settings.quality, fell)
    n_bad = max(0, settings.generation.min_positives - row["n_bad"])
    n_good = max(0, settings.generation.min_negatives - row["n_good"])
    if n_bad or n_good:
        missing = [f"{n} more {kind}" for n, kind in ((n_bad, "bad"), (n_good, "good")) if n]
        return f"{' and '.join(missing)} {'annotation' if n_bad + n_good == 1 else 'annotations'}"
    if row["evaluator_id"] is None:
        return "nothing but its evaluator: run evalpipe generate"
    if row["n_disputed"]:
        labels = counted(row["n_disputed"], "label is", "labels are")
        return f"people disagree: agree on what counts as this failure, {labels} disputed"
    if mcc is not None and mcc >= settings.quality.monitor_mcc and may_be_chance(lower):
        return f"its MCC of {mcc:.2f} may be chance: annotate more of both kinds"
    reached = "is undefined" if mcc is None else f"reaches only {mcc:.2f}"
    demoted = "" if fell is None else f"demoted: {fell}; "
    return f"{demoted}its MCC {reached}: say more sharply what counts as this failure, or annotate more of both kinds"
