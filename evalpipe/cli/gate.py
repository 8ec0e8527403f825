"""The gate from the command line: what is asked, where the answer is written, and what CI reads as its exit code."""

import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from evalpipe.cli.show import err, out, progress, warn, whisper

if TYPE_CHECKING:
    from evalpipe.gate.judge import GateOutcome
    from evalpipe.gate.render.forms import Form
    from evalpipe.gate.request import GateRequest
    from evalpipe.home import Home
    from evalpipe.settings import GithubSettings, Settings

File = Path | None


def gate(
    context: typer.Context,
    cases: Annotated[File, typer.Option(help="Cases to judge: JSONL or CSV with input and output, or OTLP.")] = None,
    release: Annotated[str | None, typer.Option(help="Judge the traces of this service.version instead.")] = None,
    gate_ref: Annotated[
        str | None,
        typer.Option(
            "--gate-id", help="Judge the traces with this resource attribute evalpipe.gate.id, which CI sets."
        ),
    ] = None,
    suite: Annotated[
        File, typer.Option(help="Judge with this exported suite, without a home; nothing is kept. Needs --cases.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until the traces have arrived.")] = 0.0,
    expect: Annotated[int | None, typer.Option(min=1, help="Traces that have to arrive.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a file with a malformed case.")] = False,
    policy: Annotated[
        Literal["default", "article"] | None,
        typer.Option(
            help="article: the point figures alone decide. Default: EVALPIPE_GATE__POLICY.", show_default=False
        ),
    ] = None,
    on_abstain: Annotated[
        Literal["block", "warn"] | None,
        typer.Option(
            help="When an evaluator cannot tell. Default: EVALPIPE_GATE__ON_ABSTAIN, else block.", show_default=False
        ),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Commit of the application; it is kept with the decision.")] = None,
    junit: Annotated[File, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[
        File, typer.Option(help="Write a Markdown summary here; a file that $GITHUB_STEP_SUMMARY names is appended to.")
    ] = None,
    json_file: Annotated[File, typer.Option("--json", help="Write the decision as JSON here; - prints it.")] = None,
    html: Annotated[File, typer.Option(help="Write the page of the gate here.")] = None,
    sarif: Annotated[File, typer.Option(help="Write the failing cases as SARIF 2.1.0 here.")] = None,
    annotations: Annotated[
        bool | None,
        typer.Option(
            "--annotations/--no-annotations",
            help="Print the failing cases as GitHub annotations. Default: where GITHUB_ACTIONS is true.",
            show_default=False,
        ),
    ] = None,
    otlp: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Send an event for each verdict there, such as http://localhost:4318. "
            "Default: EVALPIPE_GATE__OTLP_ENDPOINT.",
            show_default=False,
        ),
    ] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Set the commit's status on GitHub, and comment on the pull request.")
    ] = False,
) -> None:
    """May this release ship? Exit 0 yes, 1 no, 2 could not decide.

    Examples: `evalpipe gate --cases cases.jsonl --junit gate.xml`, `evalpipe gate --release 1.4.0`,
    `evalpipe gate --gate-id $CI_RUN --wait 120 --expect 200`, `evalpipe gate --suite suite.json --cases cases.jsonl`
    """
    from datetime import UTC, datetime

    from evalpipe.gate.request import GateRequest
    from evalpipe.settings import load_settings

    settings = load_settings(context.find_root().obj)
    if otlp is not None:
        settings = settings.model_copy(update={"gate": settings.gate.model_copy(update={"otlp_endpoint": otlp})})
    request = GateRequest(
        cases=cases,
        release=release,
        gate_ref=gate_ref,
        is_strict=strict,
        n_expected=expect,
        wait_s=wait,
        policy=policy,
        on_abstain=on_abstain,
        commit=commit,
    )
    tell_github = _github_reporter(settings.github, settings.alerts.base_url) if github else None
    # What is loaded when the judging begins (gc.freeze) stays until the end. To look through it for cycles again and
    # again takes 0.3 s, a sixth of a gate of a thousand cases.
    if suite is not None:
        from evalpipe.gate.export import export_events
        from evalpipe.gate.portable import gate_with

        gc.freeze()
        outcome = gate_with(suite, request, settings=settings, now=datetime.now(UTC))
        exported = export_events(outcome, settings.gate.otlp_endpoint)
    else:
        from evalpipe.gate.on_lake import export
        from evalpipe.gate.on_lake import gate as decide
        from evalpipe.home import Home

        home = Home(settings)
        if cases is None and (wait or expect):
            _wait(home, request)
        gc.freeze()
        outcome = decide(home.lake, home.artifacts, request, settings=settings, now=datetime.now(UTC))
        exported = export(home.lake, outcome, settings)
    written: dict[Form, File] = {"junit": junit, "html": html, "sarif": sarif, "markdown": markdown, "json": json_file}
    _write(outcome, written, settings, cases, is_annotated=annotations)
    if exported is not None:
        # Not on standard output, which may be JSON.
        (warn if exported.problem else whisper)(exported.in_words)
    if tell_github is not None:
        tell_github(outcome)
    raise typer.Exit(outcome.decision.exit_code)


def _write(
    outcome: "GateOutcome",
    paths: "Mapping[Form, File]",
    settings: "Settings",
    cases: File,
    *,
    is_annotated: bool | None,
) -> None:
    """The files that were asked for, and the answer for a terminal, or as JSON where that is asked for instead.

    They are written in place: CI may name a pipe, a link or /dev/stdout, which no other file may take the place of.
    """
    from evalpipe.gate.render.forms import rendered
    from evalpipe.gate.render.markdown import COMMENT_CHARS, STEP_SUMMARY_BYTES

    cases_file = None if cases is None else _in_repository(cases)
    is_printed = str(paths["json"]) == "-"
    for form, path in paths.items():
        if path is None or str(path) == "-":
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # Steps before this one have written there too.
        is_summary = form == "markdown" and str(path) == os.environ.get("GITHUB_STEP_SUMMARY")
        with path.open("a" if is_summary else "w", encoding="utf-8") as file:
            max_bytes = STEP_SUMMARY_BYTES - file.tell() if is_summary else COMMENT_CHARS
            file.write(rendered(form, outcome, settings, cases_file=cases_file, max_bytes=max_bytes))
    if is_printed:
        print(rendered("json", outcome, settings, cases_file=cases_file), end="")
        return
    from evalpipe.gate.render.terminal import terminal

    out.print(terminal(outcome))
    # Beside JSON a command line of GitHub's would spoil it.
    if is_annotated or (is_annotated is None and os.environ.get("GITHUB_ACTIONS") == "true"):
        from evalpipe.gate.render.annotations import annotations

        print(annotations(outcome, cases_file=cases_file), end="")


def _in_repository(path: Path) -> str:
    """The path as the checkout that CI stands in names it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def _wait(home: "Home", request: "GateRequest") -> None:
    """Until the traces that are asked for are in the tables: land and materialise what comes, again and again."""
    import time
    from datetime import UTC, datetime

    from evalpipe.dagster_home import instance_of
    from evalpipe.gate.on_lake import n_arrived
    from evalpipe.gate.waiting import wait_for_traces
    from evalpipe.materialise import take_in

    with progress() as bar, instance_of(home) as instance:
        task = bar.add_task("traces arriving", total=request.n_expected)

        def look() -> int:
            take_in(home, instance, datetime.now(UTC))
            n = n_arrived(home.lake, request)
            bar.update(task, completed=n)
            return n

        wait_for_traces(request, look, clock=time.monotonic, sleep=time.sleep)


def _github_reporter(settings: "GithubSettings", base_url: str | None) -> "Callable[[GateOutcome], None]":
    """Tells GitHub of a gate; what it cannot tell is a warning, and changes no exit code.

    Raises SettingsError without a token, InputError outside a run that says which commit it is: before anything is
    judged.
    """
    from evalpipe.errors import InputError
    from evalpipe.gate.github import context_from, report, settings_from
    from evalpipe.gate.render.links import Links
    from evalpipe.gate.render.markdown import markdown

    settings = settings_from(os.environ, settings)
    context = context_from(os.environ)
    if context is None:
        raise InputError(
            "--github: it is not said which commit is judged. Set GITHUB_REPOSITORY=OWNER/NAME and GITHUB_SHA, as "
            "GitHub Actions does; and GITHUB_REF=refs/pull/NUMBER/head for a pull request"
        )

    def tell_github(outcome: "GateOutcome") -> None:
        decision, text = outcome.decision, markdown(outcome, links=Links(base_url))
        reported = report(decision.decision, decision.headline, context, settings, markdown=text)
        for problem in reported.problems:
            warn(problem)
        if reported.taken:
            err.print(Text(f"told GitHub of {context}: {', '.join(reported.taken)}"))

    return tell_github
