"""A pytest run as a gate: items for a file of answered cases, cases that tests answer, and the decision at the end.

Options and fixtures are pytest_plugin.py; what a decision is, gate/. With pytest-xdist the process that starts the
workers decides: they run items whose outcome it tells them, and send it the cases that their tests answered.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from evalpipe.errors import EvalpipeError, InputError
from evalpipe.extras import missing_part
from evalpipe.files import write_whole
from evalpipe.gate.bundle import Bundle, read_bundle
from evalpipe.gate.cases import Cases, cases_of_documents, read_cases
from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import Asked, GateOutcome
from evalpipe.gate.live import Judged, Judges, unanswered, with_ids_apart
from evalpipe.gate.portable import judge, settings_for
from evalpipe.gate.render.decision import decision_json
from evalpipe.gate.render.junit import junit_xml
from evalpipe.gate.render.markdown import markdown
from evalpipe.gate.render.plain import plain_terminal, short
from evalpipe.gate.render.terminal import terminal_text
from evalpipe.settings import Settings, load_settings

DECISION = "decision"
"""The name of the item that is the whole gate."""

_KEY = "evalpipe"  # of what processes tell one another
_MAX_CASES_SHOWN = 10
_PIPED_WIDTH = 140  # a log has no width; 80 columns would break every name
_DECIDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


class Said(NamedTuple):
    """The outcome of an item."""

    outcome: str  # passed, failed, xfailed or skipped
    text: str


class GateFailure(Exception):  # noqa: N818  # it is no error of a program
    """An item that is not passed; its text is all there is to show."""


def session_of(config: pytest.Config) -> "GateSession":
    """The gate of this run. Raises pytest.UsageError for a suite or cases that cannot be used."""
    try:
        return GateSession(config)
    except EvalpipeError as error:
        raise pytest.UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        if (words := missing_part(error, "--evalpipe-cases", is_portable=True)) is None:
            raise
        raise pytest.UsageError(words) from error


class Gate:
    """What the fixture `evalpipe_gate` gives: it takes the answers of the application."""

    def __init__(self, bundle: Bundle, settings: Settings, *, is_answered: bool) -> None:
        self._bundle = bundle
        self._settings = settings
        self._is_answered = is_answered
        self._judges: Judges | None = None
        self._node = ""  # the test that runs
        self._answers: dict[str, list[dict[str, Any]]] = {}

    def judge(
        self,
        *,
        input: Any = None,
        output: Any = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        tool_calls: Sequence[Mapping[str, Any]] | None = None,
        id: str | None = None,
        issues: Sequence[Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Judged:
        """Record what the application answered, in the form of a case in a file; it counts in the decision.

        The verdicts are at hand: `assert not evalpipe_gate.judge(input=..., output=...).failures`. Raises InputError
        for what is no case.
        """
        given = {
            "id": id,
            "input": input,
            "output": output,
            "messages": messages,
            "tool_calls": tool_calls,
            "issues": issues,
            "metadata": metadata,
        }
        document = _plain({name: value for name, value in given.items() if value is not None})
        judged = self._of(document)
        self._answers.setdefault(self._node, []).append(document)
        return judged

    def asked(self, document: dict[str, Any]) -> "EvalCase":
        """A case that this test has to answer; while it has not, it counts as one that could not be judged."""
        pending = {name: value for name, value in document.items() if name != "output"}
        self._answers.setdefault(self._node, []).append(pending)
        return EvalCase(self, pending)

    def begin(self, node: str) -> None:
        """A test begins; one that runs again answers anew."""
        self._node = node
        self._answers.pop(node, None)

    def take(self, answers: Mapping[str, list[dict[str, Any]]]) -> None:
        """What tests of another process answered."""
        self._answers.update(answers)

    @property
    def answers(self) -> dict[str, list[dict[str, Any]]]:
        """The cases of each test, in order."""
        return self._answers

    def _of(self, document: dict[str, Any]) -> Judged:
        if self._is_answered:
            raise InputError(
                "the cases of --evalpipe-cases are answered, and they alone are judged. Leave the option out"
            )
        self._judges = self._judges or Judges(self._bundle, self._settings)
        return self._judges.judged(document)


class EvalCase:
    """A case for the application to answer."""

    def __init__(self, gate: Gate, document: dict[str, Any]) -> None:
        self._gate = gate
        self._document = document

    @property
    def id(self) -> str | None:
        return self._document.get("id")

    @property
    def input(self) -> Any:
        """What the user said last."""
        return self._document.get("input")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation up to and with it; empty where there was none before."""
        return self._document.get("messages") or []

    @property
    def expected_output(self) -> str | None:
        """What a reviewer would have had answered."""
        return self._document.get("expected_output")

    @property
    def metadata(self) -> dict[str, Any]:
        return self._document.get("metadata") or {}

    def answer(self, output: Any, *, tool_calls: Sequence[Mapping[str, Any]] | None = None) -> Judged:
        """What the application answered, and the tools it called before. Raises InputError for a second answer."""
        if "output" in self._document:
            raise InputError(f"case {self.id} is answered already: a case has one answer")
        answered = _plain({"output": output, **({} if tool_calls is None else {"tool_calls": tool_calls})})
        judged = self._gate._of({**self._document, **answered})
        self._document.update(answered)
        return judged


class GateSession:
    """The hooks of a run with a suite."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._input: dict[str, Any] | None = getattr(config, "workerinput", {}).get(_KEY)
        self._is_worker = hasattr(config, "workerinput")
        suite, cases = self._path("suite"), self._path("cases")
        assert suite is not None
        self._suite = suite
        self._bundle = read_bundle(suite)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._settings = self._with_answers(settings_for(self._bundle, load_settings()))
        limit = self._settings.observe.max_payload_bytes
        self._to_answer = None if cases is None else unanswered(cases, limit)
        self._is_answered = cases is not None and self._to_answer is None
        # Workers judge nothing of a file, so they need not read it.
        self._cases: Cases | None = None
        if self._is_answered and not self._is_worker:
            assert cases is not None
            self._cases = read_cases(cases)
        self._outcome: GateOutcome | None = None
        self._problem: str | None = None
        self.gate = Gate(self._bundle, self._settings, is_answered=self._is_answered)

    def said(self, name: str) -> Said:
        """The outcome of an item: the evaluator of this id, or DECISION."""
        if self._input is not None:
            return Said(*self._input["said"][name])
        return _said_by(self._decided())[name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        # First, so that -k and --lf choose among them too.
        if self._is_answered:
            name = plain_terminal(self._suite.name)
            parent = GateSuite.from_parent(session, name=name, nodeid=name)
            names = {member.run.evaluator_id: member.run.failure_mode for member in self._bundle.members}
            items += [
                GateItem.from_parent(parent, name=f"{short(plain_terminal(mode))} ({key})", key=key, gate=self)
                for key, mode in names.items()
            ]
            items.append(GateItem.from_parent(parent, name=DECISION, key=DECISION, gate=self))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "evalpipe_case" in metafunc.fixturenames and self._to_answer is not None:
            names = [str(case.get("id") or f"line {n}") for n, case in enumerate(self._to_answer, start=1)]
            metafunc.parametrize("evalpipe_case", self._to_answer, ids=names, indirect=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.gate.begin(item.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """pytest-xdist: what a worker is told."""
        said = _said_by(self._decided()) if self._is_answered else {}
        node.workerinput[_KEY] = {"said": {name: tuple(one) for name, one in said.items()}, "cache": self._cache}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """pytest-xdist: what a worker says when it ends. That of one that crashed is lost, and pytest tells of it."""
        self.gate.take(json.loads(getattr(node, "workeroutput", {}).get(_KEY, "{}")))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._is_worker:
            self._config.workeroutput[_KEY] = json.dumps(self.gate.answers)  # pyright: ignore[reportAttributeAccessIssue]
            return
        if exitstatus not in _DECIDED or self._config.getoption("collectonly"):
            return
        try:
            if not self._is_answered:
                self._decide_on_answers()
            if self._outcome is not None:
                self._write(self._outcome)
        except (EvalpipeError, OSError) as error:
            self._problem = str(error)
        is_good = self._outcome is None or self._outcome.decision.decision == "pass"
        if exitstatus == pytest.ExitCode.OK and (self._problem is not None or (not self._is_answered and not is_good)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._outcome is None and self._problem is None:
            return
        terminalreporter.section("evalpipe gate")
        if self._outcome is not None:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
            terminalreporter.write(terminal_text(self._outcome, width=width, is_coloured=terminalreporter.hasmarkup))
        if self._problem is not None:
            terminalreporter.write_line(f"Could not decide: {plain_terminal(self._problem)}", red=True)

    def pytest_unconfigure(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _decide_on_answers(self) -> None:
        # By test, not by the order in which workers came to them: the same answers are the same question.
        answers = [answer for _, of_test in sorted(self.gate.answers.items()) for answer in of_test]
        if not answers:
            raise InputError(
                "no test gave an answer to judge, and a gate without cases decides nothing. Ask for the fixture "
                "evalpipe_gate or evalpipe_case, give answered cases with --evalpipe-cases, or leave --evalpipe-suite"
            )
        self._cases = cases_of_documents(with_ids_apart(answers))
        self._decided()

    def _decided(self) -> GateOutcome:
        if self._outcome is None:
            assert self._cases is not None
            asked = Asked("cases", self._config.getoption("evalpipe_release"), "pytest")
            now = datetime.now(UTC)
            self._outcome = judge(self._cases, self._bundle, asked, settings=self._settings, now=now)
        return self._outcome

    def _write(self, outcome: GateOutcome) -> None:
        for name, render in (("junit", junit_xml), ("markdown", markdown), ("json", decision_json)):
            if (path := self._path(name)) is not None:
                write_whole(path, render(outcome))

    def _path(self, option: str) -> Path | None:
        given = self._config.getoption(f"evalpipe_{option}")
        return None if given is None else self._config.invocation_params.dir / given

    @property
    def _cache(self) -> str:
        return str(self._settings.llm.cache)

    def _with_answers(self, settings: Settings) -> Settings:
        """A judge is asked once of each case in the whole run: by the test that looks, and again by the decision."""
        if settings.llm.cache is not None or settings.llm.judge_model is None:
            return settings
        if self._input is None:
            self._folder = tempfile.TemporaryDirectory(prefix="evalpipe-")
            cache = Path(self._folder.name) / "answers.sqlite"
        else:
            cache = Path(self._input["cache"])
        return settings.model_copy(update={"llm": settings.llm.model_copy(update={"cache": cache})})


class GateSuite(pytest.Collector):
    """The parent of the items of a suite."""

    def collect(self) -> list[pytest.Item]:
        return []


class GateItem(pytest.Item):
    """One evaluator, or the whole decision, over the cases of a file."""

    def __init__(self, *, key: str, gate: GateSession, **options: Any) -> None:
        super().__init__(**options)
        self._key = key
        self._gate = gate

    def runtest(self) -> None:
        outcome, text = self._gate.said(self._key)
        if outcome == "skipped":
            pytest.skip(text)
        if outcome == "xfailed":
            pytest.xfail(text)
        if outcome == "failed":
            raise GateFailure(text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, GateFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


def _said_by(outcome: GateOutcome) -> dict[str, Said]:
    """What each item says: failed exactly where the gate blocks, or could not decide; what only monitors is xfailed."""
    said = {result.run.evaluator_id: _said_of(result, outcome.verdicts) for result in outcome.decision.results}
    decision = outcome.decision
    reasons = "\n".join(plain_terminal(reason) for reason in (decision.headline, *decision.blocking_reasons))
    return {**said, DECISION: Said("passed" if decision.decision == "pass" else "failed", reasons)}


def _said_of(result: EvaluatorResult, verdicts: pl.DataFrame) -> Said:
    reason = plain_terminal(result.reason)
    if result.is_blocking:
        return Said("failed", "\n".join([reason, *_failing_cases(result.run.evaluator_id, verdicts)]))
    if result.role == "skipped" or result.outcome == "skipped":
        return Said("skipped", reason)
    return Said("passed" if result.outcome == "passed" else "xfailed", reason)


def _failing_cases(evaluator_id: str, verdicts: pl.DataFrame) -> list[str]:
    failing = verdicts.filter(pl.col("evaluator_id") == evaluator_id, pl.col("outcome") == "fail").sort("trace_id")
    shown = failing.select("trace_id", "explanation").head(_MAX_CASES_SHOWN).rows()
    lines = [f"  {plain_terminal(name)}: {plain_terminal(short(why))}" for name, why in shown]
    more = failing.height - _MAX_CASES_SHOWN
    return [*lines, *([f"  and {more} more"] if more > 0 else [])]


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """The case as JSON has it. Raises InputError for what JSON has not."""
    try:
        return json.loads(json.dumps(document, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the case is no JSON: {error}. Give texts, numbers, lists and dicts.") from error
