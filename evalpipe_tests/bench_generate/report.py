"""Runs as Markdown tables, so that docs/quality.md can be read alone."""

import polars as pl

from evalpipe_tests.bench_generate.coverage import claims, declined, share, summary
from evalpipe_tests.bench_triage.report import table

_TRUSTED = pl.col("status").is_in(["active", "monitoring"])
_COVERAGE = (
    "runs",
    "n",
    "interval contains later MCC",
    "lower bound holds",
    "upper bound holds",
    "held-out",
    "later",
    "gap",
    "mean |gap|",
    "width",
    "in-sample minus later",
)


def coverage_tables(runs: pl.DataFrame) -> str:
    """How often the stated intervals were right, and what became of shuffled labels."""
    rows = [_coverage_row("**all**", summary(runs).row(0, named=True))]
    rows += [_coverage_row("active or monitoring", summary(runs.filter(_TRUSTED)).row(0, named=True))]
    for by in ("source", "size", "kind", "status"):
        rows += [_coverage_row(f"{by} {row[by]}", row) for row in summary(runs, [by]).sort(by).iter_rows(named=True)]
    for row in summary(runs, ["source", "mode"]).sort("source", "mode").iter_rows(named=True):
        rows.append(_coverage_row(f"{row['source']} `{row['mode']}`", row))
    return f"{table(_COVERAGE, rows)}\n\n{declined_table(runs)}\n"


def declined_table(runs: pl.DataFrame) -> str:
    """What became of shuffled labels."""
    statuses = declined(runs)
    n = sum(statuses.values())
    return table(
        ("shuffled labels end as", "runs", "share"),
        [(status, str(count), _share(count, n)) for status, count in statuses.items()],
    )


def _coverage_row(name: str, row: dict) -> tuple[str, ...]:
    n = row["n"]
    figures = (row[c] for c in ("held_out_mcc", "later_mcc", "gap", "absolute_gap", "width", "optimism"))
    shares = (_share(row[c], n) for c in ("n_contained", "n_lower", "n_upper"))
    return (name, str(n), *shares, *(figure(f) for f in figures))


def _share(n_true: int, n: int) -> str:
    found = share(n_true, n)
    if found is None:
        return "-"
    value, bounds = found
    return f"{100 * value:.0f} % [{100 * bounds.lower:.0f}, {100 * bounds.upper:.0f}]"


def figure(value: float | None) -> str:
    """Two digits; undefined is a dash."""
    return "-" if value is None else f"{value:.2f}"
