"""The coverage report as one HTML page that needs nothing else: no script, no font, no request.

What it says is made in summary.py, what it draws in charts.py. Issue names and traces are texts of strangers: the
templates escape everything, and only the charts and the style sheet are let through as they are.
"""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from evalpipe.pages import templates
from evalpipe.report import charts
from evalpipe.report.reviewing import rates_table
from evalpipe.report.summary import ReportTables, issue_table, summarise
from evalpipe.settings import Settings

if TYPE_CHECKING:
    from jinja2 import Environment

_AXIS_PX = 120  # from an MCC of 0 to 1, in a table cell
_STATES = {
    "active": ("blocks releases", "good"),
    "monitoring": ("monitors", "warn"),
    "candidate": ("not trusted yet", "idle"),
    None: ("no evaluator", "idle"),
}
_DECISIONS = {"pass": ("May ship", "good"), "block": ("Must not ship", "bad"), "abstain": ("Could not decide", "warn")}
_OUTCOMES = {"passed": "good", "failed": "bad", "abstained": "warn", "skipped": "idle"}
_ARMS = {  # shape and tone as in the chart
    "anomaly": ("circle", "accent", "chosen as unusual"),
    "uncertainty": ("square", "warn", "drawn where evaluators are unsure"),
    "control": ("diamond", "idle", "drawn at random"),
}


def coverage_page(tables: ReportTables, *, settings: Settings, now: datetime, made_from: int | None = None) -> str:
    """The page as of `now`. `made_from`, the fingerprint of its inputs, is kept in its head so that a later run can
    tell whether the page is stale."""
    from markupsafe import Markup

    summary = summarise(tables, now=now, settings=settings)
    rows = issue_table(tables)
    drawings = {
        "mcc": charts.mcc_over_time(
            tables.quality, rows.filter(pl.col("evaluator_id").is_not_null()), settings.quality
        ),
        "coverage": charts.coverage_over_time(tables.coverage),
        "failures": charts.failures_per_issue(rows),
        "gates": charts.gate_history(tables.gate_runs, tables.gate_results),
        "yield": charts.yield_over_cycles(tables.queue_yield),
        "prevalence": charts.prevalence_over_time(rates_table(tables.rates, rows), tables.releases),
    }
    return (
        environment()
        .get_template("coverage.html")
        .render(
            summary=summary,
            charts={name: None if svg is None else Markup(svg) for name, svg in drawings.items()},  # drawn by Vega
            has_releases=not tables.releases.is_empty(),
            settings=settings,
            made_from=made_from,
            states=_STATES,
            decisions=_DECISIONS,
            outcomes=_OUTCOMES,
            arms=[(row, _ARMS[row["arm"]][-1]) for row in summary.queue.arms],
            arm_keys=[_ARMS[row["arm"]] for row in summary.queue.arms],
            services=sorted({name for names in tables.issues["services"].to_list() for name in names}),
        )
    )


@cache
def environment() -> "Environment":
    """The templates of the reports, with their filters."""
    return templates("evalpipe.report", "templates", {"percent": _percent, "two": _two, "on_axis": _on_axis})


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _two(figure: float | None) -> str:
    """Two decimals with a true minus sign; a dash for what is undefined."""
    return "–" if figure is None else f"{figure:.2f}".replace("-", "\u2212")


def _on_axis(mcc: float) -> float:
    """Where an MCC stands on the axis of a table cell, in pixels; below zero is at its left end."""
    return round(max(0.0, min(1.0, mcc)) * _AXIS_PX, 1)
