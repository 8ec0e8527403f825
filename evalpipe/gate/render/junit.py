"""A gate as JUnit XML, which CI systems show as tests: red exactly where the gate is."""

from collections.abc import Mapping
from xml.etree import ElementTree

import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.failing import NO_EXPLANATION, reasons_without_evaluator, said_of
from evalpipe.gate.render.plain import plain_xml

_MAX_CASES = 1_000  # of one evaluator and outcome: a CI page lists every test case, and GitLab takes 30 MB; the rest
# is one line
_MAX_CHARS = 2_000  # of an explanation
_MAX_REFUSED = 100


def junit_xml(outcome: GateOutcome) -> str:
    """JUnit XML: a test suite per evaluator, a test case per case.

    There is a failure or an error if and only if the gate does not pass. The failing cases of an evaluator that keeps
    the release from shipping are failures; where such a one could not tell, its faults are errors, and it has an error
    of its own. What is said elsewhere is skipped, with words: the cases that an evaluator saw the failure in and yet
    passed, what monitors say, evaluators that were not asked. What blocks without an evaluator, such as too many
    refused cases, and a gate that could not decide, is an error of the suite named after the gate.
    """
    root = ElementTree.Element("testsuites", name="evalpipe gate", time="0")
    suites = [_of_gate(outcome), *(_of_evaluator(outcome, result) for result in outcome.decision.results)]
    decided_at = outcome.run["decided_at"][0].strftime("%Y-%m-%dT%H:%M:%S")
    totals = {"tests": 0, "failures": 0, "errors": 0}
    for place, suite in enumerate(suites):
        for counted, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            n = sum(1 for _ in suite.iter(tag))
            suite.set(counted, str(n))
            # The schema of Jenkins has no such total of skipped ones.
            totals |= {counted: totals[counted] + n} if counted in totals else {}
        for name, value in (("id", str(place)), ("package", "evalpipe"), ("time", "0"), ("timestamp", decided_at)):
            suite.set(name, value)
        root.append(suite)
    for name, total in totals.items():
        root.set(name, str(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _of_gate(outcome: GateOutcome) -> ElementTree.Element:
    """What is said of no evaluator; a test case that passes where there is nothing of it."""
    decision, run = outcome.decision, outcome.run.row(0, named=True)
    facts = {name: run[name] for name in ("gate_id", "decision", "release", "commit", "baseline_release")}
    suite = _suite("gate", facts | {"headline": decision.headline})
    lines = [f"line {one.line}: {one.reason}" for one in outcome.refused[:_MAX_REFUSED]]
    for reason in reasons_without_evaluator(outcome):
        _tell(_case(suite, "gate", "cases that could not be read"), "error", reason, text="\n".join([reason, *lines]))
    if outcome.refused and "error" not in {element.tag for element in suite.iter()}:
        said = f"{len(outcome.refused)} cases could not be read and were not judged"
        _tell(_case(suite, "gate", "cases that could not be read"), "skipped", said, text="\n".join(lines))
    undecided = _case(suite, "gate", "decision")
    if decision.decision == "abstain":
        _tell(undecided, "error", decision.headline)
    return suite


def _of_evaluator(outcome: GateOutcome, result: EvaluatorResult) -> ElementTree.Element:
    run = result.run
    facts = {
        "evaluator": f"{run.evaluator_id} version {run.version}",
        "issue": run.issue_id,
        "role": result.role,
        "outcome": result.outcome,
        "is_blocking": str(result.is_blocking).lower(),
        "pass_rate": result.pass_rate,
        "pass_rate_asked": result.pass_rate_asked,
        "pass_rate_change": run.comparison.change if run.comparison else None,
        "mcc": run.mcc,
        "link": result.link,
        "reason": result.reason,
    }
    suite = _suite(run.name, facts)
    said = said_of(outcome, result)
    for spoken, others in (("fail", "show the failure"), ("fault", "could not be judged"), ("pass", "pass")):
        cases = said.filter(pl.col("outcome") == spoken)
        for row in cases.head(_MAX_CASES).iter_rows(named=True):
            _tell_case(_case(suite, run.name, row["case_id"]), row, result)
        if (n_more := cases.height - _MAX_CASES) > 0:
            tag = _tag(spoken, is_counted=True, result=result)
            more = f"{n_more} more cases, all of which {others}"
            _tell(_case(suite, run.name, more), tag, more)
    if result.outcome in ("abstained", "skipped"):
        _tell(_case(suite, run.name, "evaluator"), "error" if result.is_blocking else "skipped", result.reason)
    return suite


def _tell_case(case: ElementTree.Element, row: dict[str, object], result: EvaluatorResult) -> None:
    said = str(row["explanation"] or NO_EXPLANATION)[:_MAX_CHARS]
    outcome, is_counted = str(row["outcome"]), bool(row["is_counted"])
    tag = _tag(outcome, is_counted=is_counted, result=result)
    if tag != "skipped":
        _tell(case, tag, said, text=f"{said}\n\n{result.reason}")
        return
    if not is_counted:
        why = "it is a case of another issue, and not in the pass rate"
    elif result.role != "blocking":
        why = "this evaluator only monitors"
    elif result.outcome == "passed":
        why = "this evaluator passed all the same"
    else:
        why = "this does not keep the release from shipping"
    prefix = "shows the failure" if outcome == "fail" else "could not be judged"
    _tell(case, tag, f"{prefix}, but {why}: {said}")


def _tag(outcome: str, *, is_counted: bool, result: EvaluatorResult) -> str | None:
    """The element that says it; none for a case that passes."""
    if outcome == "pass":
        return None
    if not (is_counted and result.is_blocking):
        return "skipped"
    if outcome == "fail":
        return "failure"
    return "error" if result.outcome == "abstained" else "skipped"


def _suite(name: str, facts: Mapping[str, object]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=plain_xml(name))
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in facts.items():
        if value is not None:
            ElementTree.SubElement(properties, "property", name=key, value=plain_xml(str(value)))
    return suite


def _case(suite: ElementTree.Element, of: str, name: str) -> ElementTree.Element:
    # GitLab shows the class as the suite; Jenkins takes what is before its last full stop for the package.
    classname = "evalpipe." + plain_xml(of).replace(".", " ")
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=plain_xml(name), time="0")


def _tell(case: ElementTree.Element, tag: str | None, message: str, *, text: str | None = None) -> None:
    """Jenkins shows the message, GitLab the text alone."""
    if tag is None:
        return
    child = ElementTree.SubElement(case, tag, message=" ".join(plain_xml(message).split()), type="evalpipe")
    child.text = plain_xml(text or message)
