"""Charts as SVG, drawn offline; they take their colours from the page, so that they fit its light and dark.

Which figures are worth drawing is decided in summary.py and html.py.
"""

import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from evalpipe.review.estimates import ALL_CYCLES
from evalpipe.settings import QualitySettings

if TYPE_CHECKING:
    import altair as alt

# Vega writes colours into the SVG as it gets them. These stand for the page's own and are exchanged afterwards; the
# second colour of each serves where there is no page around the drawing, on light and on dark.
_COLOURS = {
    "#010101": "var(--ink, #64748b)",
    "#020202": "var(--muted, #7b8794)",
    "#030303": "var(--line, #c3cad2)",
    "#040404": "var(--accent, #3b7de0)",
    "#050505": "var(--good, #1f9d5c)",
    "#060606": "var(--warn, #c07a12)",
    "#070707": "var(--bad, #d2453d)",
    "#080808": "var(--idle, #8a95a1)",
    "#090909": "var(--surface, #ffffff)",
}
_INK, _MUTED, _LINE, _ACCENT, _GOOD, _WARN, _BAD, _IDLE, _SURFACE = _COLOURS
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_WIDE_PX = 1050
_HALF_PX = 440
_NAME_PX = 265  # room for such a name beside an axis, in the widest of the page's fonts
_AXIS_PX = 40
_GAP_PX = 28
_PER_ROW = 3  # small multiples side by side
_MAX_TICKS = 4  # of an axis of weeks
_MAX_NAME = 36  # characters of a failure mode in an axis or a title
_MAX_GATES = 20  # the newest; more columns cannot be told apart


def mcc_over_time(quality: pl.DataFrame, names: pl.DataFrame, settings: QualitySettings) -> str | None:
    """Held-out MCC of each evaluator over time with its interval, one small chart each; None without a measurement.

    `quality` is EVALUATOR_QUALITY; `names` gives evaluator_id, name and ceiling of those to draw, in order.
    """
    drawn = (
        quality.filter((pl.col("split") == "held_out") & pl.col("mcc").is_not_null())
        .join(
            names.with_row_index("place").select("evaluator_id", "place", "ceiling", name=_short("name")),
            on="evaluator_id",
        )
        .sort("place", "measured_at")
        .select("evaluator_id", "name", "ceiling", "mcc", "mcc_lower", "mcc_upper", at=_time("measured_at"))
    )
    if drawn.is_empty():
        return None
    import altair as alt

    lowest = min(0.0, float(drawn.select(pl.min_horizontal("mcc", "mcc_lower").min()).item()))
    limits = [0, settings.monitor_mcc, settings.block_mcc, 1]
    mcc: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(domain=[lowest, 1], nice=False),
        "axis": alt.Axis(values=limits, format=".2~f", labelOverlap=False),
    }
    base = alt.Chart().encode(x=alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=_time_axis(drawn["at"])))
    interval = base.encode(y=alt.Y("mcc_lower:Q", **mcc), y2="mcc_upper:Q")
    figure = base.encode(y=alt.Y("mcc:Q", **mcc))
    band = interval.mark_area(color=_ACCENT, opacity=0.18)
    bars = interval.mark_rule(color=_ACCENT, opacity=0.45)
    line = figure.mark_line(color=_ACCENT, strokeWidth=2)
    points = figure.mark_circle(color=_ACCENT, size=38, opacity=1)
    blocks, monitors = (
        alt.Chart().mark_rule(color=colour, strokeDash=[5, 3]).encode(y=alt.YDatum(limit, **mcc))
        for colour, limit in ((_GOOD, settings.block_mcc), (_WARN, settings.monitor_mcc))
    )
    ceiling = (
        alt.Chart()
        .transform_filter(alt.expr.isValid(alt.datum.ceiling))
        .mark_rule(color=_ACCENT, strokeDash=[2, 2])
        .encode(y=alt.Y("mean(ceiling):Q", **mcc))
    )
    n_columns = min(_PER_ROW, drawn["evaluator_id"].n_unique())
    width = (_WIDE_PX - _AXIS_PX - _GAP_PX * n_columns) // n_columns
    drawn = drawn.with_columns(name=_unique_name())
    names_in_order = drawn["name"].unique(maintain_order=True).to_list()
    chart = (
        alt.layer(band, bars, blocks, monitors, ceiling, line, points, data=drawn)
        .properties(width=width, height=110)
        .facet(
            facet=alt.Facet(
                "name:N", title=None, sort=names_in_order, header=alt.Header(labelFontSize=12, labelLimit=width)
            ),
            columns=n_columns,
            spacing=_GAP_PX,
        )
        .resolve_axis(x="independent")
    )
    return _svg(chart, "mcc")


def coverage_over_time(coverage: pl.DataFrame) -> str | None:
    """Coverage by issues and by occurrences at each measurement; None without one."""
    if coverage.is_empty():
        return None
    import altair as alt

    is_covered = pl.col("is_covered")
    shares = (
        coverage.group_by("measured_at")
        .agg(
            is_covered.mean().alias("of issues"),
            pl.col("n_occurrences").filter(is_covered).sum().alias("covered"),
            pl.col("n_occurrences").sum().alias("all"),
        )
        .sort("measured_at")
        .select(_time("measured_at").alias("at"), "of issues", (pl.col("covered") / pl.col("all")).alias("of failures"))
        .unpivot(index="at", variable_name="share")
        .filter(pl.col("value").is_not_nan())
    )
    colour = alt.Color(
        "share:N",
        scale=alt.Scale(domain=["of issues", "of failures"], range=[_ACCENT, _GOOD]),
        legend=None,
    )
    base = alt.Chart(shares).encode(
        x=alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=_time_axis(shares["at"])),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=4)),
        color=colour,
    )
    lines = base.mark_line(strokeWidth=2, interpolate="step-after").encode(
        strokeDash=alt.StrokeDash(
            "share:N", scale=alt.Scale(domain=["of issues", "of failures"], range=[[1, 0], [4, 3]]), legend=None
        )
    )
    return _svg((lines + base.mark_circle(size=45, opacity=1)).properties(width=_HALF_PX, height=220), "coverage")


def failures_per_issue(issues: pl.DataFrame) -> str | None:
    """Annotated failures of each issue, coloured by who watches it; `issues` are rows of summary.issue_table."""
    if issues.is_empty():
        return None
    import altair as alt

    kinds = {"active": "blocks releases", "monitoring": "monitored", "uncovered": "not covered"}
    status = pl.when("is_covered").then("status").otherwise(pl.lit("uncovered"))
    rows = issues.select(
        "n_failures", "issue_id", name=_short("name"), status=status.replace_strict(kinds, default="not covered")
    ).with_columns(name=_unique_name("issue_id"))
    y = alt.Y("name:N", sort=None, title=None, axis=_name_axis())
    base = alt.Chart(rows).encode(y=y, x=alt.X("n_failures:Q", title=None, axis=None))
    bars = base.mark_bar(height=14, cornerRadiusEnd=3).encode(
        color=alt.Color(
            "status:N",
            scale=alt.Scale(domain=list(kinds.values()), range=[_GOOD, _WARN, _IDLE]),
            legend=None,
        )
    )
    labels = base.mark_text(align="left", dx=5, color=_INK).encode(text="n_failures:Q")
    return _svg((bars + labels).properties(width=_HALF_PX - _NAME_PX, height=alt.Step(26)), "failures")


def gate_history(runs: pl.DataFrame, results: pl.DataFrame) -> str | None:
    """What each evaluator said in the last gates with its pass rate, oldest left, the decision on top; None before the
    first gate."""
    if runs.is_empty():
        return None
    import altair as alt

    newest = runs.sort("decided_at", "gate_id").tail(_MAX_GATES).with_row_index("place")
    label = pl.format(
        "{}  {}", pl.col("decided_at").dt.strftime("%d %b"), pl.coalesce("release", pl.lit("cases")).str.slice(0, 14)
    )
    newest = newest.select("gate_id", "place", "decision", gate=pl.format("{}. {}", pl.col("place") + 1, label))
    words = {"pass": "passed", "block": "failed", "abstain": "abstained"}
    decisions = newest.select(
        "gate", "place", outcome=pl.col("decision").replace(words), name=pl.lit("Decision"), pass_rate=pl.lit(None)
    )
    said = (
        results.join(newest, on="gate_id")
        .sort("place", "evaluator_id")
        .select("gate", "place", "outcome", "issue_id", "pass_rate", name=_short("failure_mode"))
        .with_columns(name=_unique_name("issue_id"))
        .select(decisions.columns)
    )
    rows = pl.concat([decisions, said], how="vertical_relaxed")
    outcomes = {"passed": _GOOD, "failed": _BAD, "abstained": _WARN, "skipped": _LINE}
    marks = {"passed": "✓", "failed": "✗", "abstained": "?", "skipped": "–"}
    # Rounded down: what is not all is never called so.
    share = pl.format(" {}%", (pl.col("pass_rate") * 100 + 1e-9).floor().cast(pl.Int32)).fill_null("")
    base = alt.Chart(rows.with_columns(mark=pl.col("outcome").replace(marks) + share)).encode(
        x=alt.X(
            "gate:N",
            sort=None,
            title=None,
            axis=alt.Axis(labelAngle=-40, orient="bottom", ticks=False, domain=False, labelLimit=150),
        ),
        y=alt.Y("name:N", sort=None, title=None, axis=_name_axis()),
    )
    cells = base.mark_rect(cornerRadius=4, stroke=_SURFACE, strokeWidth=3).encode(
        color=alt.Color(
            "outcome:N",
            scale=alt.Scale(domain=list(outcomes), range=list(outcomes.values())),
            legend=None,
        )
    )
    # A letter in each cell: the colours alone do not reach every reader.
    is_skipped = alt.datum.outcome == "skipped"
    letters = base.mark_text(fontWeight="bold", fontSize=11).encode(
        text="mark:N", color=alt.condition(is_skipped, alt.value(_MUTED), alt.value(_SURFACE))
    )
    return _svg((cells + letters).properties(width=alt.Step(52), height=alt.Step(30)), "gates")


def yield_over_cycles(yields: pl.DataFrame) -> str | None:
    """Failures per 100 traces read, of each arm of each week's queue, with their intervals; None while nothing was
    read. `yields` is QUEUE_YIELD."""
    read = yields.filter((pl.col("cycle") != ALL_CYCLES) & (pl.col("n_reviewed") > 0))
    if read.is_empty():
        return None
    import altair as alt

    arms = {"anomaly": (_ACCENT, "circle"), "uncertainty": (_WARN, "square"), "control": (_IDLE, "diamond")}
    rates = ("failure_rate", "failure_rate_lower", "failure_rate_upper")
    drawn = read.sort("cycle").select("cycle", "arm", *(pl.col(name) * 100 for name in rates))
    base = alt.Chart(drawn).encode(
        x=alt.X("cycle:O", title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        xOffset=alt.XOffset("arm:N", sort=list(arms), scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color(
            "arm:N", scale=alt.Scale(domain=list(arms), range=[colour for colour, _ in arms.values()]), legend=None
        ),
    )
    y = {"title": None, "axis": alt.Axis(tickCount=4), "scale": alt.Scale(domainMin=0, nice=True)}
    bars = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        y=alt.Y("failure_rate_lower:Q", **y), y2="failure_rate_upper:Q"
    )
    points = base.mark_point(size=75, filled=True, opacity=1).encode(
        y=alt.Y("failure_rate:Q", **y),
        shape=alt.Shape(
            "arm:N", scale=alt.Scale(domain=list(arms), range=[shape for _, shape in arms.values()]), legend=None
        ),
    )
    return _svg((bars + points).properties(width=_HALF_PX, height=220), "yield")


def prevalence_over_time(rates: pl.DataFrame, releases: pl.DataFrame) -> str | None:
    """How much of each week's traffic shows an issue, with its interval, one small chart each; None without a figure.

    `rates` are ISSUE_RATES rows with the `name` of their issue, in the order in which the issues are drawn; `releases`
    gives service_version and the first_day of those that are marked by a rule. A week without a figure is a gap.
    """
    shares = ("prevalence", "prevalence_lower", "prevalence_upper")
    drawn = (
        rates.filter(pl.col("prevalence").is_not_null())
        .select("issue_id", "first_day", *shares, name=_short("name"), at=_day("first_day"))
        .with_columns(name=_unique_name("issue_id"))
    )
    if drawn.is_empty():
        return None
    import altair as alt

    # A rule belongs to the charts of the weeks it falls into; all charts share one axis of time.
    first, last = drawn["first_day"].min(), drawn["first_day"].max()
    marked = releases.filter(pl.col("first_day").is_between(first, last)).select(at=_day("first_day")).unique()
    rows = pl.concat(
        [
            # A new run of weeks begins after a gap: neither band nor line goes across it.
            drawn.with_columns(
                run=(pl.col("first_day").diff() > timedelta(weeks=1)).fill_null(True).cum_sum().over("name")
            ),
            drawn.select("name").unique(maintain_order=True).join(marked.rename({"at": "released_at"}), how="cross"),
        ],
        how="diagonal",
    )
    y: dict[str, Any] = {
        "title": None,
        "scale": alt.Scale(domainMin=0),
        "axis": alt.Axis(format=".1~%", tickCount=3, minExtent=_AXIS_PX),
    }
    x: dict[str, Any] = {"title": None, "scale": alt.Scale(type="utc"), "axis": _week_axis(drawn["first_day"])}
    base = alt.Chart().transform_filter(alt.expr.isValid(alt.datum.prevalence)).encode(x=alt.X("at:T", **x))
    interval = base.encode(y=alt.Y("prevalence_lower:Q", **y), y2="prevalence_upper:Q")
    figure = base.encode(y=alt.Y("prevalence:Q", **y))
    band = interval.mark_area(color=_ACCENT, opacity=0.18).encode(detail="run:N")
    bars = interval.mark_rule(color=_ACCENT, opacity=0.45)
    line = figure.mark_line(color=_ACCENT, strokeWidth=2).encode(detail="run:N")
    points = figure.mark_circle(color=_ACCENT, size=38, opacity=1)
    rules = (
        alt.Chart()
        .transform_filter(alt.expr.isValid(alt.datum.released_at))
        .mark_rule(color=_WARN, strokeDash=[5, 3])
        .encode(x=alt.X("released_at:T", **x))
    )
    names = drawn["name"].unique(maintain_order=True).to_list()
    n_columns = min(_PER_ROW, len(names))
    width = (_WIDE_PX - (_AXIS_PX + _GAP_PX) * n_columns) // n_columns
    chart = (
        alt.layer(band, bars, rules, line, points, data=rows)
        .properties(width=width, height=110)
        .facet(
            facet=alt.Facet("name:N", title=None, sort=names, header=alt.Header(labelFontSize=12, labelLimit=width)),
            columns=n_columns,
            spacing=_GAP_PX,
        )
        .resolve_axis(x="independent", y="independent")
        .resolve_scale(y="independent")
    )
    return _svg(chart, "prevalence")


def backtest_timeline(rows: pl.DataFrame) -> str | None:
    """When each issue regressed, until when nobody was told, and which alarms were false; None without a row.

    `rows` are BACKTESTS rows of one backtest, one line of the chart an issue.
    """
    if rows.is_empty():
        return None
    import altair as alt

    end = pl.col("last_day").cast(pl.Datetime("us", "UTC")) + timedelta(days=1)
    drawn = (
        rows.sort(pl.coalesce("regressed_at", "caught_at"))
        .select(
            "issue_id",
            name=_short("issue_name"),
            began=_time("regressed_at"),
            told=_time("caught_at"),
            until=_time("exposed_until"),
            end=end.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            what=pl.when("is_false_alarm")
            .then(pl.lit("false alarm"))
            .when(pl.col("caught_at").is_null())
            .then(pl.lit("never caught"))
            .otherwise(pl.lit("caught")),
        )
        .with_columns(name=_unique_name("issue_id"))
    )
    begins = rows.select(pl.date_ranges(pl.col("first_day").min(), pl.col("last_day").max(), interval="1w"))
    axis = _week_axis(begins.to_series().explode())
    domain = [str(bound) for bound in (rows.select(_day("first_day").min()).item(), drawn["end"].max())]
    x: dict[str, Any] = {"title": None, "scale": alt.Scale(type="utc", domain=domain), "axis": axis}
    base = alt.Chart(drawn).encode(y=alt.Y("name:N", sort=None, title=None, axis=_name_axis()))
    tones = {"caught": _WARN, "never caught": _BAD}
    exposed = (
        base.transform_filter(alt.datum.what != "false alarm")
        .mark_bar(height=10, opacity=0.55, cornerRadius=2)
        .encode(
            x=alt.X("began:T", **x),
            x2="until:T",
            color=alt.Color("what:N", scale=alt.Scale(domain=list(tones), range=list(tones.values())), legend=None),
        )
    )
    began = (
        base.transform_filter(alt.datum.what != "false alarm")
        .mark_point(shape="circle", size=70, filled=True, opacity=1, color=_BAD)
        .encode(x=alt.X("began:T", **x))
    )
    caught = (
        base.transform_filter(alt.datum.what == "caught")
        .mark_point(shape="square", size=80, filled=True, opacity=1, color=_GOOD)
        .encode(x=alt.X("told:T", **x))
    )
    false = (
        base.transform_filter(alt.datum.what == "false alarm")
        .mark_point(shape="diamond", size=80, filled=True, opacity=1, color=_IDLE)
        .encode(x=alt.X("told:T", **x))
    )
    chart = (exposed + began + caught + false).properties(width=_WIDE_PX - _NAME_PX - _GAP_PX, height=alt.Step(30))
    return _svg(chart, "backtest")


def _svg(chart: "alt.TopLevelMixin", name: str) -> str:
    import vl_convert

    text = {"labelFont": _FONT, "titleFont": _FONT, "labelColor": _MUTED, "titleColor": _INK, "labelFontSize": 11}
    specification: dict[str, Any] = chart.to_dict()
    specification["background"] = "transparent"
    specification["config"] = {
        "aria": False,  # the figure around it is named, and a table says the same
        "font": _FONT,
        "view": {"stroke": None},
        "axis": text | {"gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE},
        "header": text | {"labelColor": _INK, "labelFontWeight": "bold", "labelAnchor": "start"},
        "text": {"font": _FONT, "fontSize": 12},
    }
    svg = vl_convert.vegalite_to_svg(specification)
    for placeholder, variable in _COLOURS.items():
        svg = svg.replace(f'"{placeholder}"', f'"{variable}"')
    # Vega numbers its clip paths for as long as the process lives; here they are counted per drawing, so that equal
    # tables give equal bytes, and named after it, because several drawings share one page.
    for number, found in enumerate(dict.fromkeys(re.findall(r'\sid="([\w-]+)"', svg))):
        svg = svg.replace(f'id="{found}"', f'id="{name}-{number}"').replace(f"url(#{found})", f"url(#{name}-{number})")
    return svg


def _day(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%dT00:00:00Z")


def _time(column: str) -> pl.Expr:
    return pl.col(column).dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _time_axis(times: pl.Series) -> "alt.Axis":
    """Days, or the time of day when all lie within two of them."""
    import altair as alt

    first, last = (datetime.fromisoformat(str(at)) for at in (times.min(), times.max()))
    is_short = last - first < timedelta(days=2)
    return alt.Axis(format="%-d %b, %H:%M" if is_short else "%-d %b", tickCount=4, labelOverlap=True, grid=False)


def _week_axis(mondays: pl.Series) -> "alt.Axis":
    """Some of these Mondays, evenly apart: a tick between two weeks would mean nothing."""
    import altair as alt

    weeks = mondays.unique().sort()
    shown = weeks.gather_every(math.ceil(len(weeks) / _MAX_TICKS))
    at_ms = shown.cast(pl.Datetime("ms")).dt.epoch("ms").to_list()
    return alt.Axis(format="%-d %b", values=at_ms, labelOverlap=True, labelBound=False, grid=False)


def _name_axis() -> "alt.Axis":
    """Names that start at the left edge: they are measured here in another font than they are shown in."""
    import altair as alt

    room = {"labelAlign": "left", "labelPadding": _NAME_PX, "minExtent": _NAME_PX, "maxExtent": _NAME_PX}
    return alt.Axis(domain=False, ticks=False, labelLimit=0, **room)


def _short(column: str) -> pl.Expr:
    name = pl.col(column).str.replace_all(r"\s+", " ")
    is_long = name.str.len_chars() > _MAX_NAME
    return pl.when(is_long).then(name.str.slice(0, _MAX_NAME - 1) + "…").otherwise(name)


def _unique_name(by: str = "evaluator_id") -> pl.Expr:
    """Names that were cut to the same text would fall into one row of a chart: their ids tell them apart."""
    is_shared = pl.col(by).n_unique().over("name") > 1
    return pl.when(is_shared).then(pl.format("{} ({})", "name", pl.col(by).str.slice(-4))).otherwise("name")
