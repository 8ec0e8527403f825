"""The coverage report over the lake: measure coverage as it is now, write the page whole or not at all."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.evaluators.catalog import current_evaluators
from evalpipe.files import write_whole
from evalpipe.lake.store import Lake
from evalpipe.quality.coverage import CoverageTables, coverage_frame, verdict_rates
from evalpipe.report.charts import mcc_over_time
from evalpipe.report.completeness import completeness_frame
from evalpipe.report.html import coverage_page
from evalpipe.report.releases import release_frame
from evalpipe.report.summary import ReportTables, issue_table, summarise
from evalpipe.settings import Settings
from evalpipe.tables import (
    AGREEMENT,
    CANDIDATES,
    COVERAGE,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_PROPOSALS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
)


class Written(NamedTuple):
    """A report on disk, with what a run's page shows of it."""

    path: Path
    n_covered: int
    n_active: int
    chart_markdown: str


def coverage_now(lake: Lake, settings: Settings, now: datetime) -> pl.DataFrame:
    """COVERAGE of the tracked issues as of `now`; traffic shares are over the days that evaluators still judge."""
    recent = (
        _recent(lake.scan(VERDICTS), settings).select("evaluator_id", "version", "trace_id", "day", "outcome").collect()
    )
    tables = CoverageTables(
        issues=lake.read(ISSUES),
        evaluators=current_evaluators(lake.read(EVALUATORS)),
        quality=lake.read(EVALUATOR_QUALITY),
        health=lake.read(EVALUATOR_HEALTH),
        labels=lake.read(LABELS),
        rates=verdict_rates(recent),
        issue_rates=lake.read(ISSUE_RATES),
        prevalence=lake.read(PREVALENCE),
    )
    return coverage_frame(tables, now=now, settings=settings)


def write_coverage_report(lake: Lake, path: Path, settings: Settings, *, made_from: int, now: datetime) -> Written:
    """Write the page; a reader never sees half of it. `made_from` is kept in its head."""
    tables = ReportTables(
        issues=lake.read(ISSUES),
        evaluators=lake.read(EVALUATORS),
        quality=lake.read(EVALUATOR_QUALITY),
        coverage=lake.read(COVERAGE),
        labels=lake.read(LABELS),
        candidates=lake.read(CANDIDATES),
        queue_yield=lake.read(QUEUE_YIELD),
        prevalence=lake.read(PREVALENCE),
        agreement=lake.read(AGREEMENT),
        proposals=lake.read(ISSUE_PROPOSALS),
        rates=lake.read(ISSUE_RATES),
        releases=release_frame(lake.scan(VERDICT_COUNTS)),
        gate_runs=lake.read(GATE_RUNS),
        gate_results=lake.read(GATE_RESULTS),
        completeness=completeness_frame(_recent(lake.scan(TRACES), settings)),
    )
    page = coverage_page(tables, settings=settings, now=now, made_from=made_from)
    write_whole(path, page)
    figures = summarise(tables, now=now, settings=settings).figures
    rows = issue_table(tables).filter(pl.col("evaluator_id").is_not_null())
    chart = mcc_over_time(tables.quality, rows, settings.quality)
    return Written(path, figures.n_covered, figures.n_active, _as_markdown_image(chart, "MCC over time"))


def _recent(rows: pl.LazyFrame, settings: Settings) -> pl.LazyFrame:
    """The rows of the days that evaluators still judge, counted from the last."""
    last = rows.select(pl.col("day").max()).collect().item()
    first = last - timedelta(days=settings.monitor.window_days) if last is not None else None
    return rows.filter(pl.col("day") > first)


def _as_markdown_image(svg: str | None, title: str) -> str:
    """A chart as Dagster's pages can show it: they strip SVG elements but show images in data URIs."""
    if svg is None:
        return "nothing to draw yet"
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
