"""From the examples of one issue to a judge with honest predictions: split, search, choice, cases, and one look at
the held-out part. Whether it is worth its price beside a rule is decided in choose.py.

Everything that is asked is kept by its content, so that a run that was stopped resumes by asking again, and ends with
the same judge.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from evalpipe.errors import ArtifactError, BudgetError, EvaluatorFaultError
from evalpipe.evaluators.judge_program import MAX_CASE_CHARS, MIN_TRACE_CHARS, Case, JudgeProgram
from evalpipe.evaluators.ledger import Ledger, total_cost
from evalpipe.evaluators.llm import LanguageModel
from evalpipe.generation.examples import Examples
from evalpipe.generation.judge_search import Found, calls_of_end, search, with_instruction
from evalpipe.generation.judge_split import JudgeSplit, split_for_judge
from evalpipe.generation.judge_trials import Trials
from evalpipe.generation.reflection import Reflector
from evalpipe.settings import JudgeSettings, LlmSettings
from evalpipe.traces.rendering import cut, render

_CASE_CHARS = 2_000  # of a case's trace: every verdict pays for it
_MAX_NOTE_CHARS = 500
_FRESH = """{issue}

This is what reviewers call the failure. It is present when the application did this in the trace."""


class EvolvedJudge(NamedTuple):
    """The judge, and for each example what it says of it; None where it said nothing or was not asked.

    `held_out` holds verdicts on examples that played no part in finding the judge, `in_sample` those on the examples
    that it was found on. `spent` counts what a run with an empty cache asks, whether or not this one found answers.
    """

    program: dict[str, Any]
    explanation: str
    held_out: list[bool | None]
    in_sample: list[bool | None]
    lineage: list[dict[str, Any]]
    stop_reason: str
    spent: dict[str, Any]
    split: dict[str, Any]
    n_faults: int  # held-out examples of which it gave no verdict
    cost_usd_per_verdict: float | None  # on the held-out ones; None: the model has no known price


class _Candidate(NamedTuple):
    program: JudgeProgram
    mcc: float  # on validation


def evolve_judge(
    issue_name: str,
    examples: Examples,
    notes: Mapping[str, str],
    *,
    incumbent: Mapping[str, Any] | None,
    llm: LlmSettings,
    judges: JudgeSettings,
    seed: int,
    ledger: Ledger | None = None,
) -> EvolvedJudge:
    """Evolve a judge for an issue. Equal inputs and answers give an equal result.

    `notes` are what reviewers said of traces, by trace_id; without them a reflection has little to learn from.
    `incumbent` is the program of the judge that there is; it and a fresh one compete for being the start. `ledger`
    is handed in by who wants to see the requests that really went out.

    Raises EvaluatorFaultError when no model is configured, when it is down or gives too few verdicts, and when the
    budget does not even suffice for measuring the first instruction; NotEnoughEvidenceError when the examples cannot
    be split.
    """
    if llm.judge_model is None:
        raise EvaluatorFaultError("no judge model is configured; set EVALPIPE_JUDGE_MODEL")
    split = split_for_judge(examples.is_failure, examples.groups, judges, seed)
    model = LanguageModel(llm.judge_model, llm, ledger=ledger)
    try:
        trials = Trials(examples, notes, model, llm, judges)
        reflector = Reflector(model.beside(llm.reflection_model or llm.judge_model, llm), issue_name, llm)
        return _evolved(issue_name, incumbent, trials, reflector, split, seed)
    finally:
        model.cache.close()


def _evolved(
    issue_name: str,
    incumbent: Mapping[str, Any] | None,
    trials: Trials,
    reflector: Reflector,
    split: JudgeSplit,
    seed: int,
) -> EvolvedJudge:
    starts = _starts(issue_name, incumbent, trials.llm, trials.judges)
    _require_budget(trials, split, n_starts=len(starts))
    tried = [_Candidate(program, trials.mcc(program, split.validation)) for program in starts]
    start = _best(tried)
    found = _search(start.program, trials, reflector, split, seed)
    candidates = [
        _Candidate(program, trials.mcc(program, split.validation))
        for program in (with_instruction(start.program, text) for text in found.instructions)
    ]
    chosen = _with_cases(_best([*candidates, *tried]), trials, split)
    n_search = trials.model.ledger.n_calls

    n = len(trials.trace_ids)
    in_sample: list[bool | None] = [None] * n
    held_out: list[bool | None] = [None] * n
    seen = [*split.train, *split.validation]
    on_seen, on_unseen = (trials.verdicts(chosen.program, part) for part in (seen, split.test))
    for part, verdicts, flags in ((seen, on_seen, in_sample), (split.test, on_unseen, held_out)):
        for row, verdict in zip(part, verdicts, strict=True):
            flags[row] = verdict.has_failed
    cost_usd = total_cost([verdict.cost_usd for verdict in on_unseen])
    spent = {
        **trials.model.ledger.as_dict(),
        "cached": trials.n_reused,
        "search_calls": n_search,
        "faults": trials.n_faults,
    }
    return EvolvedJudge(
        program=chosen.program.to_program(),
        explanation=_in_words(chosen, start, split),
        held_out=held_out,
        in_sample=in_sample,
        lineage=_lineage(candidates, found, reflector),
        stop_reason=found.stop_reason,
        spent=spent,
        split=split.as_dict(trials.trace_ids),
        n_faults=sum(verdict.has_failed is None for verdict in on_unseen),
        cost_usd_per_verdict=None if cost_usd is None else cost_usd / len(on_unseen),
    )


def _search(start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit, seed: int) -> Found:
    if trials.judges.backend == "dspy":
        from evalpipe.generation.judge_dspy import search_with_dspy

        return search_with_dspy(start, trials, reflector, split, seed)
    return search(start, trials, reflector, split, seed)


def _starts(
    issue_name: str, incumbent: Mapping[str, Any] | None, llm: LlmSettings, judges: JudgeSettings
) -> list[JudgeProgram]:
    """The fresh judge, and the incumbent as it would run today."""
    max_chars = max(MIN_TRACE_CHARS, llm.max_prompt_chars)
    run = {"model": llm.judge_model, "max_chars": max_chars, "n_samples": judges.n_samples}
    starts = [JudgeProgram.from_program({"instruction": _FRESH.format(issue=issue_name.strip()), **run})]
    if incumbent is not None:
        try:
            known = JudgeProgram.from_program(incumbent)
        except ArtifactError:
            # Another kind of evaluator, or one of another release: nothing to go on from.
            return starts
        starts.append(known.model_copy(update={**run, "prefilter": None}))  # which has no part in judging
    return starts


def _require_budget(trials: Trials, split: JudgeSplit, *, n_starts: int) -> None:
    n_least = trials.judges.n_samples * n_starts * len(split.validation) + calls_of_end(trials.judges, split)
    if not trials.model.ledger.affords(n_least):
        raise BudgetError(
            f"a judge for these examples takes {n_least} calls before it is evolved at all, and the budget of this run "
            "has fewer left. Raise EVALPIPE_LLM__MAX_CALLS, MAX_TOKENS or MAX_COST_USD"
        )


def _best(candidates: list[_Candidate]) -> _Candidate:
    """By agreement on the validation examples, then the simplest; gepa's own choice is by the mean score."""
    return min(candidates, key=lambda c: (-round(c.mcc, 9), *c.program.size, c.program.instruction))


def _with_cases(best: _Candidate, trials: Trials, split: JudgeSplit) -> _Candidate:
    """The judge with cases from the training examples, if that agrees better on validation; they cost every verdict."""
    if best.mcc >= 1.0 or not trials.judges.n_cases:
        return best
    cases = _cases(best.program, trials, split)
    if not cases:
        return best
    program = best.program.model_copy(update={"cases": cases})
    return _best([best, _Candidate(program, trials.mcc(program, split.validation))])


def _cases(program: JudgeProgram, trials: Trials, split: JudgeSplit) -> list[Case]:
    """Half failures, half others: first those with a note that the judge is known to get wrong, then short ones."""

    def order(row: int) -> tuple[bool, bool, int, str]:
        verdict = trials.known(program, row)
        is_wrong = verdict is not None and verdict.has_failed != trials.is_failure(row)
        return not trials.note(row), not is_wrong, len(shown[row]), trials.trace_ids[row]

    shown = {row: render(trials.transcripts[row], min(_CASE_CHARS, MAX_CASE_CHARS)).text for row in split.train}
    rows = sorted((row for row in split.train if shown[row].strip()), key=order)
    classes = [[row for row in rows if trials.is_failure(row) == wanted] for wanted in (True, False)]
    n_each = min(trials.judges.n_cases // 2, *map(len, classes))
    # In turn, so that the model does not learn that failures come first.
    chosen = [row for pair in zip(*(of_class[:n_each] for of_class in classes), strict=True) for row in pair]
    return [Case(trace=shown[row], failed=trials.is_failure(row), critique=_why(row, trials)) for row in chosen]


def _why(row: int, trials: Trials) -> str:
    said = "Reviewers find the failure here." if trials.is_failure(row) else "Reviewers find no such failure here."
    return cut(trials.note(row) or said, _MAX_NOTE_CHARS)


def _lineage(candidates: list[_Candidate], found: Found, reflector: Reflector) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "parents": parents,
            "change": reflector.lessons.get(candidate.program.instruction, "start"),
            "validation_mcc": round(candidate.mcc, 6),
            "instruction": candidate.program.instruction,
        }
        for index, (candidate, parents) in enumerate(zip(candidates, found.parents, strict=True))
    ]


def _in_words(chosen: _Candidate, start: _Candidate, split: JudgeSplit) -> str:
    program = chosen.program
    shown = f" after {len(program.cases)} cases" if program.cases else ""
    asked = f'{program.model} is asked{shown}: "{program.instruction}"'
    figures = f"validation MCC {chosen.mcc:.2f} on {len(split.validation)} traces"
    if program == start.program:
        return f"{asked} ({figures}; no other instruction was better than this first one)"
    return f"{asked} ({figures}, against {start.mcc:.2f} for the first instruction)"
