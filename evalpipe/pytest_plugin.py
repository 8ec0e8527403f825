"""The pytest plugin: its options, its fixtures, and nothing else, because every pytest where evalpipe is installed
loads it.

What they do is pytest_gate.py, which is loaded when a suite is given. How it is used: docs/portable-suite.md.
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from evalpipe.pytest_gate import EvalCase, Gate

_SESSION = "evalpipe_gate_session"
_OPTIONS = {
    "cases": "the cases: answered ones are judged, and unanswered ones are handed to tests as evalpipe_case",
    "release": "the release that answers them",
    "junit": "write JUnit XML of the gate here",
    "markdown": "write a Markdown summary here",
    "json": "write the decision as JSON here",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("evalpipe", "evalpipe: may this release ship?")
    group.addoption(
        "--evalpipe-suite", metavar="FILE", help="judge with this suite, as evalpipe evaluators export wrote"
    )
    for name, what in _OPTIONS.items():
        group.addoption(f"--evalpipe-{name}", metavar="VERSION" if name == "release" else "FILE", help=what)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("evalpipe_suite") is None:
        if given := [name for name in _OPTIONS if config.getoption(f"evalpipe_{name}") is not None]:
            raise pytest.UsageError(f"--evalpipe-{given[0]} needs --evalpipe-suite FILE")
        return
    from evalpipe.pytest_gate import session_of

    config.pluginmanager.register(session_of(config), _SESSION)


@pytest.fixture(scope="session")
def evalpipe_gate(request: pytest.FixtureRequest) -> "Gate":
    """Takes what the application answers: `evalpipe_gate.judge(input=..., output=...)`. All of it is gated at the end.

    A test that asks for it is skipped without --evalpipe-suite.
    """
    session: Any = request.config.pluginmanager.get_plugin(_SESSION)
    if session is None:
        pytest.skip("evalpipe_gate needs --evalpipe-suite FILE")
    return session.gate


@pytest.fixture
def evalpipe_case(request: pytest.FixtureRequest, evalpipe_gate: "Gate") -> "EvalCase":
    """One of the unanswered cases of --evalpipe-cases; the test runs once for each, and calls `answer(output)`."""
    if not hasattr(request, "param"):
        pytest.skip("evalpipe_case needs --evalpipe-cases FILE with cases that have no output yet")
    return evalpipe_gate.asked(request.param)
