"""A gate as JUnit XML, which CI systems show as tests."""

from xml.etree import ElementTree

import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.plain import plain_xml

_MAX_PASSING_CASES = 1_000  # a CI page lists every test case; the rest is counted in one line


def junit_xml(outcome: GateOutcome) -> str:
    """JUnit XML: a test suite per evaluator, a test case per case; a case that shows the failure is a failure.

    CI is red exactly where the gate is: what an evaluator says that does not keep the release from shipping, because it
    passed or only monitors, is told as skipped; so is an evaluator that was not asked. A fault is an error. A blocking
    evaluator that could not tell has an error of its own. Of very many passing cases all but the first are one line.
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


def _junit_suite(result: EvaluatorResult, verdicts: pl.DataFrame) -> ElementTree.Element:
    run = result.run
    suite = ElementTree.Element("testsuite", name=plain_xml(f"{run.name}, {run.evaluator_id} v{run.version}"))
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
            ElementTree.SubElement(properties, "property", name=name, value=plain_xml(str(value)))

    def case(name: str) -> ElementTree.Element:
        return ElementTree.SubElement(
            suite, "testcase", classname=f"evalpipe.{run.evaluator_id}", name=plain_xml(name), time="0"
        )

    n_passing = 0
    for row in verdicts.sort("outcome", "trace_id").iter_rows(named=True):
        if row["outcome"] == "pass":
            n_passing += 1
            if n_passing <= _MAX_PASSING_CASES:
                case(row["trace_id"])
            continue
        said = plain_xml(row["explanation"] or "no explanation was given")
        is_fail = row["outcome"] == "fail"
        if not result.is_blocking:
            prefix = "shows the failure" if is_fail else "could not be judged"
            why = "this evaluator only monitors" if result.role != "blocking" else "this evaluator let the release pass"
            _tell(case(row["trace_id"]), "skipped", f"{prefix}, and {why}: {said}")
        else:
            _tell(case(row["trace_id"]), "failure" if is_fail else "error", said, text=f"{plain_xml(run.name)}\n{said}")
    if n_passing > _MAX_PASSING_CASES:
        case(f"{n_passing - _MAX_PASSING_CASES} more cases, all of which pass")
    if result.outcome == "skipped" or (result.outcome == "abstained" and result.role == "skipped"):
        _tell(case("evaluator"), "skipped", plain_xml(result.reason))
    elif result.outcome == "abstained" and result.is_blocking:
        _tell(case("evaluator"), "error", plain_xml(result.reason))
    for counted, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(counted, str(sum(1 for _ in suite.iter(tag))))
    return suite


def _tell(case: ElementTree.Element, tag: str, message: str, *, text: str | None = None) -> None:
    child = ElementTree.SubElement(case, tag, message=message.replace("\n", " "))
    if tag != "skipped":
        child.set("type", "evalpipe")
    child.text = text
