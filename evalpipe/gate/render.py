"""A gate's outcome as others read it: JUnit XML for CI, Markdown for a page, JSON for programs, a table for a terminal.

Everything here that came from traces or people is text of strangers: it is escaped for the form it is put into.
"""

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import orjson
import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome

if TYPE_CHECKING:
    from rich.console import Group

SCHEMA_VERSION = "evalpipe.gate/1"

_MAX_PASSING_CASES = 1_000  # a CI page lists every test case; the rest is counted in one line
_MAX_CASES_SHOWN = 10  # failing cases named in a summary
_MAX_CHARS = 300  # of an explanation in a summary
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # and what turns the direction of writing
_MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&$]")
_BECOMES_LINK = re.compile(r"@|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_WORDS = {"pass": "May ship", "block": "Must not ship", "abstain": "Could not decide"}


def junit_xml(outcome: GateOutcome) -> str:
    """JUnit XML: a test suite per evaluator, a test case per case; a case that shows the failure is a failure.

    A fault is an error. What an evaluator without the power to block says is told as skipped, so that CI is red only
    where the gate is; so is an evaluator that was not asked. A blocking evaluator that could not tell has an error of
    its own. Of very many passing cases all but the first are one line.
    """
    run = outcome.run.row(0, named=True)
    root = ElementTree.Element("testsuites", name="evalpipe gate")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for result in outcome.decision.results:
        suite = _junit_suite(result, outcome.verdicts.filter(pl.col("evaluator_id") == result.run.evaluator_id))
        suite.set("timestamp", run["decided_at"].strftime("%Y-%m-%dT%H:%M:%S"))
        root.append(suite)
        totals = {name: total + int(suite.get(name, "0")) for name, total in totals.items()}
    for name, total in totals.items():
        root.set(name, str(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(outcome: GateOutcome) -> str:
    """A summary for a job page or a pull request, in GitHub's Markdown; texts of strangers are shown as they are."""
    run, decision = outcome.run.row(0, named=True), outcome.decision
    facts = [f"{run['n_cases']} cases", f"{decision.n_ran} evaluators ran"]
    if run["release"]:
        facts.insert(0, f"release {_plain_markdown(run['release'])}")
    lines = [
        f"## {_WORDS[decision.decision]}: evalpipe gate",
        "",
        f"{_plain_markdown(decision.headline)} ({', '.join(facts)})",
        "",
    ]
    for title, reasons in (("Why", decision.blocking_reasons), ("Also", decision.warnings)):
        if reasons:
            lines += [f"**{title}**", "", *(f"- {_plain_markdown(reason)}" for reason in reasons), ""]
    if decision.results:
        lines += [
            "| Failure mode | Role | Outcome | Pass rate | Cases: pass / fail / fault | MCC | Issue |",
            "|---|---|---|---|---|---|---|",
            *(_markdown_row(result) for result in decision.results),
            "",
        ]
    for result in decision.results:
        if result.outcome == "failed":
            lines += _markdown_failures(result, outcome.verdicts)
    return "\n".join([*lines, f"Gate `{run['gate_id']}`", ""])


def decision_json(outcome: GateOutcome) -> str:
    """The decision for programs: the columns of GATE_RUNS, `exit_code`, the reasons apart, and `results`."""
    run = outcome.run.row(0, named=True)
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **run,
        "exit_code": outcome.decision.exit_code,
        "headline": outcome.decision.headline,
        "blocking_reasons": outcome.decision.blocking_reasons,
        "warnings": outcome.decision.warnings,
        "results": outcome.results.drop("gate_id").to_dicts(),
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE).decode()


def terminal(outcome: GateOutcome) -> "Group":
    """The decision for a terminal: print it with a rich console. Control characters of strangers do not reach it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    decision = outcome.decision
    colour = {"pass": "green", "block": "red", "abstain": "yellow"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Failure mode", "Role", "Outcome", "Pass rate", "Cases", "MCC", "Issue"):
        table.add_column(title, justify="right" if title in ("Pass rate", "Cases", "MCC") else "left")
    styles = {"failed": "red", "abstained": "yellow", "passed": "green", "skipped": "dim"}
    for result in decision.results:
        cells = [_plain_terminal(cell) for cell in _cells(result)]
        style = styles[result.outcome]
        table.add_row(*(Text(cell, style if cell == result.outcome else "") for cell in cells))
    reasons = [Text(f"x {_plain_terminal(reason)}", "red") for reason in decision.blocking_reasons]
    reasons += [Text(f"! {_plain_terminal(reason)}", "yellow") for reason in decision.warnings]
    headline = Text(_plain_terminal(decision.headline), f"bold {colour[decision.decision]}")
    return Group(
        *([table, Text()] if decision.results else []), *(Padding(line, (0, 0, 0, 2)) for line in reasons), headline
    )


def _cells(result: EvaluatorResult) -> list[str]:
    run = result.run
    mcc = "undefined" if run.mcc is None else f"{run.mcc:.2f}"
    if run.mcc is not None and run.mcc_lower is not None:
        mcc += f" (from {run.mcc_lower:.2f})"
    rate = "" if result.pass_rate is None else f"{result.pass_rate:.1%}"
    if result.interval is not None:
        rate += f" ({result.interval.lower:.0%} to {result.interval.upper:.0%})"
    counts = f"{run.n_pass} / {run.n_fail} / {run.n_fault}" if run.n_pass + run.n_fail + run.n_fault else ""
    issue = f"{run.issue_id or ''}{f': {result.link}' if result.link else ''}"
    return [run.failure_mode, result.role, result.outcome, rate, counts, mcc, issue]


def _junit_suite(result: EvaluatorResult, verdicts: pl.DataFrame) -> ElementTree.Element:
    run = result.run
    suite = ElementTree.Element("testsuite", name=_plain_xml(f"{run.name}, {run.evaluator_id} v{run.version}"))
    properties = ElementTree.SubElement(suite, "properties")
    facts = {
        "issue": run.issue_id,
        "role": result.role,
        "outcome": result.outcome,
        "pass_rate": result.pass_rate,
        "mcc": run.mcc,
        "link": result.link,
        "reason": result.reason,
    }
    for name, value in facts.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", name=name, value=_plain_xml(str(value)))

    def case(name: str) -> ElementTree.Element:
        return ElementTree.SubElement(
            suite, "testcase", classname=f"evalpipe.{run.evaluator_id}", name=_plain_xml(name), time="0"
        )

    n_passing = 0
    for row in verdicts.sort("outcome", "trace_id").iter_rows(named=True):
        if row["outcome"] == "pass":
            n_passing += 1
            if n_passing <= _MAX_PASSING_CASES:
                case(row["trace_id"])
            continue
        said = _plain_xml(row["explanation"] or "no explanation was given")
        is_fail = row["outcome"] == "fail"
        if result.role != "blocking":
            prefix = "shows the failure" if is_fail else "could not be judged"
            _tell(case(row["trace_id"]), "skipped", f"{prefix}, and this evaluator only monitors: {said}")
        else:
            _tell(
                case(row["trace_id"]), "failure" if is_fail else "error", said, text=f"{_plain_xml(run.name)}\n{said}"
            )
    if n_passing > _MAX_PASSING_CASES:
        case(f"{n_passing - _MAX_PASSING_CASES} more cases, all of which pass")
    if result.outcome == "skipped" or (result.outcome == "abstained" and result.role == "skipped"):
        _tell(case("evaluator"), "skipped", _plain_xml(result.reason))
    elif result.outcome == "abstained" and result.role == "blocking":
        _tell(case("evaluator"), "error", _plain_xml(result.reason))
    for counted, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(counted, str(sum(1 for _ in suite.iter(tag))))
    return suite


def _tell(case: ElementTree.Element, tag: str, message: str, *, text: str | None = None) -> None:
    child = ElementTree.SubElement(case, tag, message=message.replace("\n", " "))
    if tag != "skipped":
        child.set("type", "evalpipe")
    child.text = text


def _markdown_row(result: EvaluatorResult) -> str:
    return f"| {' | '.join(_plain_markdown(cell) for cell in _cells(result))} |"


def _markdown_failures(result: EvaluatorResult, verdicts: pl.DataFrame) -> list[str]:
    failing = verdicts.filter((pl.col("evaluator_id") == result.run.evaluator_id) & (pl.col("outcome") == "fail")).sort(
        "trace_id"
    )
    rows = failing.head(_MAX_CASES_SHOWN).iter_rows(named=True)
    more = failing.height - _MAX_CASES_SHOWN
    return [
        f"<details><summary>{_plain_markdown(result.run.name)}: {failing.height} failing cases</summary>",
        "",
        *(f"- {_plain_markdown(row['trace_id'])}: {_plain_markdown(_short(row['explanation']))}" for row in rows),
        *([f"- and {more} more"] if more > 0 else []),
        "",
        "</details>",
        "",
    ]


def _short(text: str | None) -> str:
    text = text or "no explanation was given"
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"


def _plain_xml(text: str) -> str:
    """Text that XML 1.0 can hold; ElementTree escapes the rest."""
    return _NOT_XML.sub("\ufffd", text)


def _plain_markdown(text: str) -> str:
    """Text that stays text: no markup, no HTML, no table cell, no link, and no mention of a person."""
    one_line = " ".join(_CONTROL.sub(" ", text).split())
    escaped = _MARKDOWN.sub(lambda found: f"&#{ord(found.group())};", one_line)
    # Links and mentions are found after entities are read, so an invisible word joiner parts them.
    return _BECOMES_LINK.sub(lambda found: found.group() + "\u2060", escaped)


def _plain_terminal(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())
