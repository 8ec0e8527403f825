"""The page of a backtest: BACKTESTS rows in, one HTML page that needs nothing else out.

What the rows say is worked out in backtest/. Issue names and releases are texts of strangers: the template escapes all.
"""

from datetime import date
from typing import Any

import polars as pl

from evalpipe.pages import counted
from evalpipe.report.charts import backtest_timeline
from evalpipe.report.html import environment
from evalpipe.settings import Settings

_HOW = {
    "rate": "flagged more than the release before",
    "recurrence": "a solved issue returned",
    "escalation": "far more than is usual",
}
_ROLES = {"blocking": "may block", "monitoring": "only warns"}
_GATES = {
    "blocked": "the gate would have blocked the release",
    "warned": "the gate would have warned",
    "passed": "the gate would have let it pass",
    "abstained": "the gate could not have told",
    "skipped": "the gate would not have asked",
}


def backtest_page(
    rows: pl.DataFrame, *, backtest_id: str, first_day: date, last_day: date, n_compared: int, settings: Settings
) -> str:
    """The page of one backtest. `rows` are its BACKTESTS rows, which may be none."""
    from markupsafe import Markup

    drawing = backtest_timeline(rows)
    return (
        environment()
        .get_template("backtest.html")
        .render(
            backtest_id=backtest_id,
            first_day=first_day,
            last_day=last_day,
            headline=headline(rows, n_compared),
            rows=[row | {"tone": _tone(row), "outcome": _outcome(row)} for row in rows.iter_rows(named=True)],
            timeline=None if drawing is None else Markup(drawing),  # drawn by Vega
            how=_HOW,
            roles=_ROLES,
            gates=_GATES,
            settings=settings,
        )
    )


def headline(rows: pl.DataFrame, n_compared: int) -> str:
    """The backtest in one or two sentences."""
    real = rows.filter(~pl.col("is_false_alarm"))
    caught = real.filter(pl.col("caught_at").is_not_null())
    n_false = rows.height - real.height
    of = f" in {counted(n_compared, 'comparison')} of a release with the one before" if n_compared else ""
    false = f"{counted(n_false, 'false alarm') if n_false else 'No false alarm'}{of}."
    if real.is_empty():
        return f"No regression in these weeks, as far as is known today. {false}"
    days, traces = caught["delay_days"].median(), caught["delay_traces"].median()
    after = f", after {days:.1f} days and {traces:.0f} traces in the median" if days is not None else ""
    said = f"{caught.height} of {counted(real.height, 'regression')} would have been caught{after}."
    return f"{said} {false}"


def _tone(row: dict[str, Any]) -> str:
    return "idle" if row["is_false_alarm"] else "bad" if row["caught_at"] is None else "good"


def _outcome(row: dict[str, Any]) -> str:
    return "false alarm" if row["is_false_alarm"] else "not caught" if row["caught_at"] is None else "caught"
