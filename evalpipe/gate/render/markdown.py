"""A gate as Markdown, for a job page or a pull request; texts of strangers are shown as they are."""

from collections.abc import Iterator

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.advice import change_in_words, next_steps
from evalpipe.gate.render.cells import WORDS, after_the_word, counts, mcc, rate
from evalpipe.gate.render.failing import blocking_first, failing
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.plain import plain_markdown, short

COMMENT_CHARS = 65_536  # GitHub's limit of a comment; GitLab's is 1,000,000
STEP_SUMMARY_BYTES = 1_048_576  # GitHub's limit of $GITHUB_STEP_SUMMARY; a summary above it is not shown at all
_MAX_CASES = 10  # failing cases of an evaluator that are named
_MAX_RESULTS = 60  # rows of the table, and of each list
_SIGNS = {"pass": "✅", "block": "❌", "abstain": "⚠️"}
_OUTCOMES = {"passed": "✅ passed", "failed": "❌ failed", "abstained": "⚠️ abstained", "skipped": "– skipped"}


def markdown(outcome: GateOutcome, *, links: Links | None = None, max_bytes: int = COMMENT_CHARS) -> str:
    """The decision, why, what to do, the evaluators and the failing cases, in GitHub's Markdown.

    At most `max_bytes` of UTF-8, so that it fits a comment and a step summary alike. What does not fit is left out from
    the end, part by part (the failing cases of what does not block first, the decision never), and a line says so.
    """
    links = links or Links()
    run = outcome.run.row(0, named=True)
    page = links.gate(run["gate_id"])
    where = f"; [the whole gate]({page})" if page else ""
    foot = f"<sub>Gate {plain_markdown(run['gate_id'])}{where}</sub>\n"
    cut = "*What did not fit is left out here; the gate's page and its JSON have all of it.*\n"
    room = max_bytes - len(f"{cut}\n{foot}".encode())
    text = ""
    for part in _parts(outcome, links):
        if len(f"{text}{part}\n".encode()) > room:
            return f"{text or _shortened(part, room)}{cut}\n{foot}"
        text += f"{part}\n"
    return text + foot


def _shortened(part: str, room: int) -> str:
    # Only the decision itself is cut within, where it alone is too long: between lines, so that no entity is halved.
    lines: list[str] = []
    for line in part.splitlines(keepends=True):
        if len("".join([*lines, line]).encode()) > room:
            break
        lines.append(line)
    return "".join(lines)


def _parts(outcome: GateOutcome, links: Links) -> Iterator[str]:
    """Pieces that each stand alone, the most important first; each ends with a line break."""
    run, decision = outcome.run.row(0, named=True), outcome.decision
    cases = "1 case" if run["n_cases"] == 1 else f"{run['n_cases']:,} cases"
    facts = [f"release {plain_markdown(run['release'])}"] if run["release"] else []
    if run["baseline_gate_id"]:
        facts.append(f"compared with {plain_markdown(run['baseline_release'] or 'the last gate')}")
    facts += [cases, f"{decision.n_ran} evaluators ran"]
    head = plain_markdown(after_the_word(decision.headline))
    yield f"## {_SIGNS[decision.decision]} {WORDS[decision.decision]}: evalpipe gate\n\n{head}\n\n{' · '.join(facts)}\n"
    if decision.blocking_reasons:
        yield _listed("Why", decision.blocking_reasons)
    steps = [_with_code(step) for step in next_steps(outcome)]
    yield "\n".join(["**What to do**", "", *(f"{n}. {step}" for n, step in enumerate(steps, 1)), ""])
    if decision.warnings:
        yield _listed("Also", decision.warnings)
    ordered = blocking_first(outcome)
    if ordered:
        yield _table(ordered, links)
    for result in ordered:
        if result.is_blocking or result.outcome == "failed":
            yield from _failures(outcome, result)


def _listed(title: str, reasons: tuple[str, ...]) -> str:
    more = [f"- and {len(reasons) - _MAX_RESULTS} more"] if len(reasons) > _MAX_RESULTS else []
    return "\n".join([f"**{title}**", "", *(f"- {plain_markdown(one)}" for one in reasons[:_MAX_RESULTS]), *more, ""])


def _with_code(text: str) -> str:
    """Commands as code. Nothing between backquotes is a stranger's but an issue's id, which is made plain too."""
    parts = text.split("`")
    return "".join(f"<code>{plain_markdown(part)}</code>" if n % 2 else _plain(part) for n, part in enumerate(parts))


def _plain(part: str) -> str:
    # What surrounds a command keeps its spaces.
    before, after = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return f"{before and ' '}{plain_markdown(part)}{after and ' '}" if part.strip() else part


def _table(results: list[EvaluatorResult], links: Links) -> str:
    titles = ("Issue", "Outcome", "Pass rate", "Since the last release", "Pass / fail / fault", "MCC")
    rows = [f"| {' | '.join(_row(result, links))} |" for result in results[:_MAX_RESULTS]]
    more = [f"\n{len(results) - _MAX_RESULTS} more evaluators"] if len(results) > _MAX_RESULTS else []
    return "\n".join([f"| {' | '.join(titles)} |", "|---|---|---:|---|---:|---:|", *rows, *more, ""])


def _row(result: EvaluatorResult, links: Links) -> list[str]:
    run = result.run
    page = links.issue(run.issue_id)
    name = plain_markdown(run.failure_mode)
    role = "**blocks**" if result.is_blocking else result.role
    link = f", {result.link}" if result.link else ""
    return [
        f"[{name}]({page})" if page else f"{name} ({plain_markdown(run.issue_id or run.evaluator_id)})",
        f"{_OUTCOMES[result.outcome]}, {role}{link}",
        plain_markdown(rate(result)),
        plain_markdown(change_in_words(result)),
        counts(result),
        plain_markdown(mcc(result)),
    ]


def _failures(outcome: GateOutcome, result: EvaluatorResult) -> Iterator[str]:
    found = failing(outcome, result)
    if found.is_empty():
        return
    cases = "1 failing case" if found.height == 1 else f"{found.height:,} failing cases"
    more = found.height - _MAX_CASES
    yield "\n".join(
        [
            f"<details><summary>{plain_markdown(result.run.name)}: {cases}</summary>",
            "",
            *(_failure(row) for row in found.head(_MAX_CASES).iter_rows(named=True)),
            *([f"- and {more:,} more"] if more > 0 else []),
            "",
            "</details>",
            "",
        ]
    )


def _failure(row: dict[str, object]) -> str:
    line = f", line {row['line']}" if row["line"] else ""
    elsewhere = "" if row["is_counted"] else " (a case of another issue, not in the pass rate)"
    said = plain_markdown(short(str(row["explanation"] or "")))
    return f"- {plain_markdown(short(str(row['case_id'])))}{line}: {said}{elsewhere}"
