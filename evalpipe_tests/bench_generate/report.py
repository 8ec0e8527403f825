"""Runs as Markdown tables, so that docs/quality.md can be read alone."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from evalpipe_tests.bench_generate.baselines import BASELINES
from evalpipe_tests.bench_generate.coverage import declined, share, summary
from evalpipe_tests.bench_generate.peers import Judged
from evalpipe_tests.bench_generate.runs import CHOICE, JUDGE, KINDS
from evalpipe_tests.bench_generate.whole import OutOfFold
from evalpipe_tests.bench_triage.report import table

_TRUSTED = pl.col("status").is_in(["active", "monitoring"])
_IS_PERFECT = (pl.col("held_out_mcc") > 0.999) & (pl.col("later_mcc") > 0.999)
_COVERAGE = (
    "runs",
    "n",
    "interval contains later MCC",
    "lower bound holds",
    "upper bound holds",
    "held-out",
    "later",
    "held-out minus later",
    "mean distance",
    "width of interval",
    "in-sample minus later",
)
_CELL = ["source", "mode", "size"]  # of a table: the runs in it differ by seed alone


def prospective_table(runs: pl.DataFrame) -> str:
    """Per mode and number of failures: what was stated by choice, and what every evaluator reached later.

    Means over the seeds, undefined as 0; later MCCs are at the prevalence of the examples.
    """
    judges = [JUDGE] if JUDGE in runs["evaluator"] else []
    headings = (
        "failure mode",
        "failures + others",
        "seeds",
        "by choice",
        "status",
        "held-out [90 %]",
        "in-sample",
        "**later**",
        "later as it is",
        *(f"{kind} alone: held-out, later" for kind in (*KINDS, *judges)),
        *(f"{name}: later" for name in BASELINES),
    )
    rows = []
    for cell in runs.partition_by(_CELL, maintain_order=True):
        means = {row["evaluator"]: row for row in _means(cell).iter_rows(named=True)}
        chosen = means[CHOICE]
        rows.append(
            (
                f"`{cell['mode'][0]}`",
                _sizes(cell),
                str(cell["seed"].n_unique()),
                _tally(cell, "kind"),
                _tally(cell, "status"),
                _with_bounds(chosen["held_out_mcc"], chosen["lower"], chosen["upper"]),
                figure(chosen["in_sample_mcc"]),
                f"**{figure(chosen['later_mcc'])}**",
                figure(chosen["later_mcc_as_it_is"]),
                *(_stated_and_later(means.get(k)) for k in (*KINDS, *judges)),
                *(figure(means[name]["later_mcc"]) for name in BASELINES),
            )
        )
    return table(headings, rows)


def later_table(runs: pl.DataFrame) -> str:
    """The same for single runs on real traces, where the later MCC is as it is and has an interval of its own."""
    judges = [JUDGE] if JUDGE in runs["evaluator"] else []
    headings = (
        "service, failure mode",
        "failures + others",
        "by choice",
        "status",
        "held-out [90 %]",
        "in-sample",
        "later: failures of traces",
        "**later** [90 %]",
        *(f"{kind} alone: held-out, later" for kind in (*KINDS, *judges)),
        *(f"{name}: later" for name in BASELINES),
    )
    rows = []
    for cell in runs.partition_by([*_CELL, "seed"], maintain_order=True):
        of = {row["evaluator"]: row for row in cell.iter_rows(named=True)}
        chosen = of[CHOICE]
        rows.append(
            (
                f"{chosen['source']} `{chosen['mode']}`",
                _sizes(cell),
                chosen["kind"],
                chosen["status"],
                _with_bounds(chosen["held_out_mcc"], chosen["lower"], chosen["upper"]),
                figure(chosen["in_sample_mcc"]),
                f"{chosen['later_n_positives']} of {chosen['later_n']}",
                _with_bounds(chosen["later_mcc_as_it_is"], chosen["later_lower"], chosen["later_upper"], bold=True),
                *(_stated_and_later(of.get(k), "later_mcc_as_it_is") for k in (*KINDS, *judges)),
                *(figure(of[name]["later_mcc_as_it_is"]) for name in BASELINES),
            )
        )
    return table(headings, rows)


def whole_table(results: Iterable[tuple[str, str, int, int, Sequence[OutOfFold]]]) -> str:
    """(service, mode, failures, traces, out-of-fold figures) of all labelled traces."""
    others = (*KINDS, *BASELINES)
    headings = (
        "service, failure mode",
        "failures of traces",
        "by choice",
        "status",
        "**held-out** [90 %]",
        "in-sample",
        *(f"{name} [90 %]" for name in others),
    )
    rows = []
    for source, mode, n_positives, n, figures in results:
        of = {each.evaluator: each for each in figures}
        chosen = of[CHOICE]
        rows.append(
            (
                f"{source} `{mode}`",
                f"{n_positives} of {n}",
                chosen.kind or "",
                chosen.status or "",
                _with_bounds(*chosen.stated[:3], bold=True),
                figure(chosen.stated.in_sample),
                *(_with_bounds(*of[name].stated[:3]) for name in others),
            )
        )
    return table(headings, rows)


def judges_table(judges: Iterable[Judged]) -> str:
    """Judges that were evolved from the same reviewed traces."""
    headings = ("judge", "held-out traces", "MCC before", "**held-out MCC**", "calls to find it", "seconds")
    rows = [
        (
            each.name,
            str(each.n_test),
            figure(each.mcc_before),
            f"**{figure(each.mcc)}**",
            str(each.n_calls),
            f"{each.seconds:.0f}",
        )
        for each in judges
    ]
    return table(headings, rows)


def coverage_tables(runs: pl.DataFrame) -> str:
    """How often the stated intervals were right, and what became of shuffled labels."""
    rows = [_coverage_row("**all**", summary(runs).row(0, named=True))]
    is_imperfect = ~_IS_PERFECT.fill_null(value=False)
    for name, of in (("active or monitoring", _TRUSTED), ("without those perfect in both", is_imperfect)):
        rows.append(_coverage_row(name, summary(runs.filter(of)).row(0, named=True)))
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
        [(status, str(count), in_percent(count, n)) for status, count in statuses.items()],
    )


def in_percent(n_true: int, n: int) -> str:
    """A share with its interval."""
    found = share(n_true, n)
    if found is None:
        return "-"
    value, bounds = found
    return f"{100 * value:.0f} % [{100 * bounds.lower:.0f}, {100 * bounds.upper:.0f}]"


def figure(value: float | None) -> str:
    """Two digits; undefined is a dash."""
    return "-" if value is None else f"{value:.2f}"


def _means(cell: pl.DataFrame) -> pl.DataFrame:
    """Per evaluator, undefined as 0 unless it is so for every seed."""
    names = ("held_out_mcc", "lower", "upper", "in_sample_mcc", "later_mcc", "later_mcc_as_it_is")
    mean = (
        pl.when(pl.col(n).is_null().all()).then(None).otherwise(pl.col(n).fill_null(0).mean()).alias(n) for n in names
    )
    return cell.group_by("evaluator", maintain_order=True).agg(mean)


def _stated_and_later(row: dict[str, Any] | None, later: str = "later_mcc") -> str:
    return "" if row is None else f"{figure(row['held_out_mcc'])}, {figure(row[later])}"


def _sizes(cell: pl.DataFrame) -> str:
    return f"{cell['n_positives'][0]} + {cell['n_negatives'][0]}"


def _tally(cell: pl.DataFrame, column: str) -> str:
    """'rule', or 'rule 2, learned 1' where seeds differ."""
    counts = (
        cell.filter(evaluator=CHOICE)[column].value_counts(sort=True).sort("count", column, descending=[True, False])
    )
    if counts.height == 1:
        return str(counts[column][0])
    return ", ".join(f"{value} {count}" for value, count in counts.iter_rows())


def _with_bounds(value: float | None, lower: float | None, upper: float | None, *, bold: bool = False) -> str:
    shown = f"**{figure(value)}**" if bold else figure(value)
    if lower is None or upper is None:
        return shown
    return f"{shown} [{lower:.2f}, {upper:.2f}]"


def _coverage_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    n = row["n"]
    figures = (row[c] for c in ("held_out_mcc", "later_mcc", "gap", "absolute_gap", "width", "optimism"))
    shares = (in_percent(row[c], n) for c in ("n_contained", "n_lower", "n_upper"))
    return (name, str(n), *shares, *(figure(f) for f in figures))
