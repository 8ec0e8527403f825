"""A gate in each of its forms, by name: what the command line writes and what a home keeps. Each form has its file."""

from typing import Literal

from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.decision import decision_json
from evalpipe.gate.render.junit import junit_xml
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.markdown import COMMENT_CHARS, markdown
from evalpipe.gate.render.page import gate_page
from evalpipe.gate.render.sarif import sarif
from evalpipe.settings import Settings

Form = Literal["json", "junit", "markdown", "sarif", "html"]

KEPT: dict[Form, str] = {
    "json": "decision.json",
    "junit": "junit.xml",
    "markdown": "summary.md",
    "sarif": "sarif.json",
    "html": "gate.html",
}
"""What the files of a gate are called in its folder."""


def rendered(
    form: Form, outcome: GateOutcome, settings: Settings, *, cases_file: str | None, max_bytes: int = COMMENT_CHARS
) -> str:
    """The gate in this form. `cases_file` is the file of cases as the repository names it; `max_bytes` of Markdown."""
    links = Links(settings.alerts.base_url)
    match form:
        case "json":
            return decision_json(outcome)
        case "junit":
            return junit_xml(outcome)
        case "markdown":
            return markdown(outcome, links=links, max_bytes=max_bytes)
        case "sarif":
            return sarif(outcome, cases_file=cases_file, links=links)
        case "html":
            return gate_page(outcome, links=links, confidence=settings.gate.confidence)
