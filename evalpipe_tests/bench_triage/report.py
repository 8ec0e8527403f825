"""The findings as Markdown tables. What they mean is said beside them, so that docs/triage.md can be read alone."""

import math
from collections.abc import Iterable, Sequence

import polars as pl

from evalpipe.quality.intervals import Interval
from evalpipe_tests.bench_triage.reading import ANOMALY, LONGEST, QUEUE
from evalpipe_tests.bench_triage.studies import ANY, Sighting, Study, best_scores
from evalpipe_tests.bench_triage.yields import Found

_FOUND = ("read", "traces", "failures", "per 100", "lift over random", "the queue finds, times as many")


def found_table(results: Sequence[Found], *, has_rate_interval: bool) -> str:
    """What each order found; brackets are 90 % intervals."""
    rows = []
    for each in results:
        rate = 100 * each.n_failures / each.n_read if each.n_read else math.nan
        bounds = _bounds(each.rate, 100, 0) if has_rate_interval and each.rate else ""
        behind = _ratio(each.behind_first, each.behind_first_interval) if each is not results[0] else ""
        lift = _ratio(each.lift, each.lift_interval)
        rows.append((each.order, f"{each.n_read:,}", f"{each.n_failures:,}", f"{rate:.1f}{bounds}", lift, behind))
    return table(_FOUND, rows)


def sightings_table(study: Study, sightings: Sequence[Sighting], n_read: int) -> str:
    """When each planted mode was first met, and which signal tells it."""
    scores = {row["mode"]: row for row in best_scores(study).iter_rows(named=True)}
    headings = (
        "planted mode",
        "traces a week",
        "first met after (median, worst)",
        f"met within {n_read:,}",
        "random reading meets it",
        *_PRECISIONS,
    )
    n_shown = dict(study.modes().select("mode", "n").iter_rows())
    n_weeks = study.rows.select("world", pl.col("day").dt.week()).unique().height
    return table(
        headings,
        [
            (
                f"`{each.mode}`",
                f"{n_shown[each.mode] / n_weeks:.1f}",
                "never" if each.median is None else f"{each.median:.0f}, {each.last}",
                f"{each.n_seen} of {each.n_worlds}",
                f"{100 * each.random_share:.0f} %",
                *_precisions(scores[each.mode]),
            )
            for each in sightings
        ],
    )


def modes_table(study: Study) -> str:
    """Per service and failure mode, the lift of the queue and of two other orders, and which signal tells it.

    Without the modes of which there is less than one trace a thinning.
    """
    scores = {(row["service_name"], row["mode"]): row for row in best_scores(study).iter_rows(named=True)}
    n_shown = {(service, mode): n for service, mode, n in study.modes().iter_rows()}
    rows = []
    for (service, mode), score in scores.items():
        of_service = pl.col("service_name") == service
        failing = study.rows.filter(of_service)["modes"].list.len() > 0
        n = failing.sum() if mode == ANY else n_shown[service, mode]
        if n < study.n_worlds:
            continue
        results = study.found(of_service, mode, (QUEUE, ANOMALY, LONGEST))
        lifts = [_ratio(each.lift, each.lift_interval) for each in results]
        name = f"**{service}**" if mode == ANY else f"`{mode}`"
        rows.append((name, f"{n / study.n_worlds:.1f}", *lifts, *_precisions(score)))
    headings = ("service, failure mode", "traces a thinning", *(f"lift of {o}" for o in (QUEUE, ANOMALY, LONGEST)))
    return table((*headings, *_PRECISIONS), rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_PRECISIONS = ("prevalence", "precision of the score", "of the best signal")


def _precisions(row: dict[str, float | str]) -> tuple[str, ...]:
    figures = [f"{row[name]:.3f}" for name in ("prevalence", "anomaly", "best_precision")]
    return figures[0], figures[1], f"{figures[2]} {row['best']}"


def _ratio(ratio: float, interval: Interval) -> str:
    return "-" if math.isnan(ratio) else f"{_figure(ratio)}{_bounds(interval)}"


def _bounds(interval: Interval, factor: float = 1, digits: int = 2) -> str:
    if math.isnan(interval.lower):
        return ""
    return f" [{', '.join(_figure(factor * bound, digits) for bound in interval)}]"


def _figure(figure: float, digits: int = 2) -> str:
    return "∞" if math.isinf(figure) else f"{figure:.{digits}f}"
