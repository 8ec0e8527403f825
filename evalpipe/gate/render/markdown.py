"""A gate as Markdown, for a job page or a pull request."""

import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.cells import TITLES, WORDS, cells
from evalpipe.gate.render.plain import plain_markdown, short

_MAX_CASES_SHOWN = 10  # failing cases named in a summary


def markdown(outcome: GateOutcome) -> str:
    """A summary for a job page or a pull request, in GitHub's Markdown; texts of strangers are shown as they are."""
    run, decision = outcome.run.row(0, named=True), outcome.decision
    facts = [f"{run['n_cases']} cases", f"{decision.n_ran} evaluators ran"]
    if run["release"]:
        facts.insert(0, f"release {plain_markdown(run['release'])}")
    lines = [
        f"## {WORDS[decision.decision]}: evalpipe gate",
        "",
        f"{plain_markdown(decision.headline)} ({', '.join(facts)})",
        "",
    ]
    for title, reasons in (("Why", decision.blocking_reasons), ("Also", decision.warnings)):
        if reasons:
            lines += [f"**{title}**", "", *(f"- {plain_markdown(reason)}" for reason in reasons), ""]
    if decision.results:
        lines += [
            f"| {' | '.join(TITLES)} |",
            f"{'|---' * len(TITLES)}|",
            *(_markdown_row(result) for result in decision.results),
            "",
        ]
    for result in decision.results:
        if result.outcome == "failed":
            lines += _markdown_failures(result, outcome.verdicts)
    return "\n".join([*lines, f"Gate `{run['gate_id']}`", ""])


def _markdown_row(result: EvaluatorResult) -> str:
    return f"| {' | '.join(plain_markdown(cell) for cell in cells(result))} |"


def _markdown_failures(result: EvaluatorResult, verdicts: pl.DataFrame) -> list[str]:
    failing = verdicts.filter((pl.col("evaluator_id") == result.run.evaluator_id) & (pl.col("outcome") == "fail")).sort(
        "trace_id"
    )
    rows = failing.head(_MAX_CASES_SHOWN).iter_rows(named=True)
    more = failing.height - _MAX_CASES_SHOWN
    return [
        f"<details><summary>{plain_markdown(result.run.name)}: {failing.height} failing cases</summary>",
        "",
        *(f"- {plain_markdown(row['trace_id'])}: {plain_markdown(short(row['explanation']))}" for row in rows),
        *([f"- and {more} more"] if more > 0 else []),
        "",
        "</details>",
        "",
    ]
