"""The charts: valid SVG that holds no markup of strangers and takes its colours from the page."""

import re
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import polars as pl
import pytest

from evalpipe.report import charts
from evalpipe.report.releases import release_frame
from evalpipe.report.reviewing import rates_table
from evalpipe.report.summary import ReportTables, issue_table
from evalpipe.settings import QualitySettings
from evalpipe.tables import AGREEMENT, QUEUE_YIELD
from evalpipe_tests.report.made import NOW, arm_yield, frame, gate_result, tables

HOSTILE = "</text><script>alert(1)</script>"


def drawn(of: ReportTables) -> dict[str, str | None]:
    rows = issue_table(of)
    return {
        "mcc": charts.mcc_over_time(of.quality, rows.filter(pl.col("evaluator_id").is_not_null()), QualitySettings()),
        "coverage": charts.coverage_over_time(of.coverage),
        "failures": charts.failures_per_issue(rows),
        "gates": charts.gate_history(of.gate_runs, of.gate_results),
        "yield": charts.yield_over_cycles(of.queue_yield),
        "prevalence": charts.prevalence_over_time(rates_table(of.rates, rows), of.releases),
    }


@pytest.fixture(scope="module")
def svgs() -> dict[str, str | None]:
    return drawn(tables(HOSTILE))


def texts(svg: str | None) -> list[str]:
    return [str(e.text) for e in ElementTree.fromstring(str(svg)).iter("{http://www.w3.org/2000/svg}text")]


def test_every_chart_is_well_formed_svg(svgs):
    for svg in svgs.values():
        assert ElementTree.fromstring(str(svg)).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_names_of_strangers_are_text(svgs):
    for name in ("mcc", "failures", "gates", "prevalence"):
        assert "<script" not in str(svgs[name])
        assert any("<script>" in text for text in texts(svgs[name]))


def test_nothing_is_fetched(svgs):
    for svg in svgs.values():
        assert not re.search(r"(href|src|url\()\s*=?\s*[\"']?http", str(svg).replace("http://www.w3.org", ""))


def test_colours_are_those_of_the_page(svgs):
    for svg in svgs.values():
        assert "var(--" in str(svg)
        assert not re.search(r'"#0[1-9]0[1-9]0[1-9]"', str(svg))


def test_the_ids_of_two_charts_on_one_page_differ(svgs):
    ids = [re.findall(r'\sid="([^"]+)"', str(svg)) for svg in svgs.values()]
    assert len(set(sum(ids, []))) == sum(len(set(own)) for own in ids)  # noqa: RUF017


def test_the_limits_stand_on_the_axis_of_the_mcc(svgs):
    assert {"0.4", "0.6"} <= set(texts(svgs["mcc"]))


def test_a_gate_says_its_outcome_by_more_than_colour(svgs):
    assert {"✓", "✗"} <= set(texts(svgs["gates"]))


def test_the_ceiling_is_drawn_where_it_is_known():
    of = tables()
    lines = [
        str(drawn(replace(of, agreement=known))["mcc"]).count('stroke-dasharray="2,2"')
        for known in (of.agreement, AGREEMENT.empty())
    ]
    assert lines == [2, 0]  # one an evaluator


def test_the_yield_is_drawn_by_week_and_not_for_all_of_them(svgs):
    assert {"2026-W13", "2026-W14"} <= set(texts(svgs["yield"]))
    assert "all" not in texts(svgs["yield"])


def test_a_week_of_which_nothing_was_read_is_not_drawn():
    unread = frame(QUEUE_YIELD, [arm_yield("2026-W14", "anomaly", 0, 0)])
    assert charts.yield_over_cycles(unread) is None


def test_the_share_of_a_week_has_its_mark_and_a_week_without_a_figure_has_none(svgs):
    """Of four weeks one has no figure, and between the second and the third one is missing: two lines and bands."""
    svg = str(svgs["prevalence"])
    assert {"23 Feb", "2 Mar", "16 Mar"} <= set(texts(svg))
    assert "30 Mar" not in texts(svg)
    runs = {kind: svg.count(f'class="mark-{kind} ') for kind in ("line", "area")}
    assert runs == {"line": 2, "area": 2}


def test_a_release_is_marked_on_its_first_day_if_it_is_among_the_weeks():
    of = tables()
    rates = rates_table(of.rates, issue_table(of))
    without = charts.prevalence_over_time(rates, of.releases.clear())
    late = charts.prevalence_over_time(rates, of.releases.with_columns(first_day=pl.lit(NOW.date())))
    assert str(charts.prevalence_over_time(rates, of.releases)).count("var(--warn") == 1
    assert str(without).count("var(--warn") == str(late).count("var(--warn") == 0


def test_a_release_begins_on_the_first_day_that_it_was_judged_and_the_first_of_a_service_is_none():
    days = [date(2026, 3, day) for day in (1, 2, 3, 4, 5)]
    rows = zip(["shop"] * 4 + ["mail"], ["1.0", "1.1", "1.1", "", "7"], days, strict=True)
    counts = pl.DataFrame(list(rows), schema=["service_name", "service_version", "day"], orient="row")
    assert release_frame(counts.lazy()).rows() == [("shop", "1.1", date(2026, 3, 2))]


def test_of_nothing_nothing_is_drawn():
    assert set(drawn(ReportTables()).values()) == {None}


def test_an_undefined_mcc_is_not_drawn():
    of = tables()
    undefined = of.quality.with_columns(mcc=pl.lit(None, pl.Float64))
    assert drawn(replace(of, quality=undefined))["mcc"] is None


def test_names_that_are_cut_to_the_same_text_stay_two_rows():
    long = "the assistant promises something that no tool said "
    of = tables(long + "first")
    issues = of.issues.with_columns(
        name=pl.when(pl.col("issue_id") == "iss_b").then(pl.lit(long + "second")).otherwise("name")
    )
    names = texts(drawn(replace(of, issues=issues))["failures"])
    assert len([name for name in names if name.startswith("the assistant promises")]) == 2


def test_only_the_newest_gates_are_drawn():
    of = tables()
    runs = pl.concat([of.gate_runs.head(1).with_columns(gate_id=pl.lit(f"g{n:03}")) for n in range(30)])
    svg = charts.gate_history(runs, of.gate_results)
    assert texts(svg).count("✓") == 20
    assert gate_result(0, "a", "passed")["gate_id"] not in str(svg)


def test_the_same_tables_draw_the_same_chart(svgs):
    assert drawn(tables(HOSTILE)) == svgs
