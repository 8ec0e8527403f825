"""What generating and judging cost: a process of its own for each piece of work, so that memory is its alone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.features import features_of
from evalpipe.evaluators.flagging import flags_of
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.rules import validate_rule
from evalpipe.evaluators.run import run_evaluators
from evalpipe.generation.bank import predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.optimise import evolve_rule
from evalpipe.generation.patterns import strongest
from evalpipe.settings import Settings
from evalpipe.signals.features import feature_frame
from evalpipe.tables import TRACES
from evalpipe_tests.bench_generate.makers import alone, by_choice, examples_of, learned_on, view_of
from evalpipe_tests.bench_generate.tasks import Part, drawn, planted_task, stored_task, whole_service
from evalpipe_tests.bench_ingest.measure import Cost, Finding, cost_of, peak_memory_bytes
from evalpipe_tests.bench_triage.load import Days
from evalpipe_tests.bench_triage.worlds import MONDAY
from evalpipe_tests.evaluators.made import artifact, rule_artifact

_GIB = 2**30
_MODE, _N_FAILURES = "two_arms", 40  # 200 traces with the negatives
_REPEATS = 5
_PLAIN = frozenset({"contains", "regex", "tool", "tool_before", "tool_then", "last_tool", "number"})
_NINE: dict[str, Any] = {
    "op": "all",
    "of": [
        {
            "op": "any",
            "of": [
                {"op": "contains", "field": "assistant", "any": ["refund", "sorry"]},
                {"op": "regex", "field": "final", "pattern": r"(?i)\bpolic(y|ies)\b"},
                {"op": "tool", "name": "issue_refund", "status": "any", "min": 1, "max": None},
                {"op": "tool_before", "first": "issue_refund", "then": "check_refund_policy"},
            ],
        },
        {"op": "not", "of": {"op": "last_tool", "name": "search_orders"}},
        {
            "op": "at_least",
            "k": 2,
            "of": [
                {"op": "number", "field": "n_tool_calls", "compare": ">=", "value": 2.0},
                {"op": "number", "field": "n_final_words", "compare": ">=", "value": 10.0},
                {"op": "contains", "field": "user", "any": ["order"]},
                {"op": "tool_then", "first": "get_order", "then": "issue_refund"},
            ],
        },
    ],
}
"""Nine predicates over text, tools and numbers."""


@dataclass(frozen=True)
class CostSizes:
    """How much is measured."""

    pieces: tuple[str, ...] = ("rule fit", "folds", "generate")
    n_traces: int = 100_000
    n_rules: int = 50
    n_suite_rules: int = 20  # of a suite that judges a large day,
    n_suite_learned: int = 3  # with so many learned evaluators
    base_sessions_per_day: int = 400  # of the demo's week that is repeated


class Measured(NamedTuple):
    """A piece of work in a process of its own."""

    n_traces: int
    cost: Cost
    peak_bytes: int

    def __str__(self) -> str:
        peak = f"peak {self.peak_bytes / _GIB:.2f} GiB"
        return f"{self.cost.wall_s:.2f} s wall, {self.cost.cpu_s:.2f} CPU s, {peak}"


class Scored(NamedTuple):
    """Seconds for all traces of the large day."""

    n_traces: int
    view: Cost
    rule: Cost
    plain_rules: Cost
    rules: Cost
    learned: Cost
    suite: Cost
    peak_bytes: int


def generating(sizes: CostSizes, settings: Settings, largest: tuple[Path, str, str] | None) -> Iterator[Finding]:
    """One evaluator, and the pieces of making one; `largest` is the folder, service and mode with the most traces."""
    for name in sizes.pieces:
        seconds = _TARGETS_S.get(name)
        done = _in_process(_make, name, settings, None)
        claim = f"{_SAID[name]}, {done.n_traces} traces"
        if seconds is None:
            yield Finding(claim, str(done))
        else:
            yield Finding(claim, str(done), f"{seconds:g} CPU s", done.cost.cpu_s / seconds, at_most=1.0)
    if largest is not None:
        done = _in_process(_make, "generate", settings, largest)
        yield Finding(f"{_SAID['generate']}, {largest[1]} `{largest[2]}`, {done.n_traces:,} traces", str(done))


def judging(sizes: CostSizes, demo: Path, source: str, mode: str) -> Iterator[Finding]:
    """A large day of traces seen and judged."""
    scored = _in_process(_score, sizes, demo, source, mode)
    n = scored.n_traces
    yield Finding(
        f"trace view of {n:,} traces",
        f"{scored.view.wall_s:.2f} s wall, {scored.view.cpu_s:.2f} CPU s",
        f"{n / scored.view.cpu_s:,.0f} traces per CPU s, 15,000",
        n / scored.view.cpu_s / 15_000,
        at_least=1.0,
    )
    yield Finding(
        f"a rule of nine predicates on {n:,} traces",
        f"{1e3 * scored.rule.wall_s:.0f} ms wall, {1e3 * scored.rule.cpu_s:.0f} CPU ms",
        f"{n / scored.rule.wall_s:,.0f} traces/s, 1,000,000",
        n / scored.rule.wall_s / 1e6,
        at_least=1.0,
    )
    for what, cost in (("of text, tools and numbers", scored.plain_rules), ("of all kinds", scored.rules)):
        yield Finding(
            f"{sizes.n_rules} rules {what} on {n:,} traces",
            f"{cost.wall_s:.2f} s wall, {cost.cpu_s:.2f} CPU s",
            "0.5 s wall",
            cost.wall_s / 0.5,
            at_most=1.0,
        )
    yield Finding(
        f"a learned evaluator on {n:,} traces",
        f"{scored.learned.wall_s:.1f} s wall, {scored.learned.cpu_s:.1f} CPU s, "
        f"{n / scored.learned.cpu_s:,.0f} traces per CPU s",
    )
    yield Finding(
        f"{sizes.n_suite_rules} rules and {sizes.n_suite_learned} learned evaluators with reasons, {n:,} traces",
        f"{scored.suite.wall_s:.2f} s wall, {scored.suite.cpu_s:.2f} CPU s",
        f"{n / scored.suite.wall_s:,.0f} traces/s, 50,000",
        n / scored.suite.wall_s / 50_000,
        at_least=1.0,
    )
    yield Finding("peak memory of all that", f"{scored.peak_bytes / _GIB:.2f} GiB")


_TARGETS_S = {"rule fit": 0.5, "folds": 15.0}
_SAID = {
    "rule fit": "one rule: predicates mined and the rule evolved",
    "folds": "ten folds and the final fit, rule and learned",
    "generate": "`generate`: all of it, with figures and artifact",
}


def _in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _make(name: str, settings: Settings, largest: tuple[Path, str, str] | None) -> Measured:
    part = _first_200() if largest is None else whole_service(*largest)
    examples = examples_of(part.traces, part.is_failure, settings.generation)
    if name != "generate":
        by_choice(_few(settings), settings.generation, settings.quality, settings.llm)  # libraries are loaded
    generation, quality = settings.generation, settings.quality

    def work() -> None:
        match name:
            case "rule fit":
                bank = predicate_bank(examples.view, examples.groups)
                rows = np.arange(len(examples.is_failure))
                evolve_rule(bank, rows, examples.is_failure, examples.weight, generation, generation.seed)
            case "folds":
                alone("rule", examples, generation, quality)
                alone("learned", examples, generation, quality)
            case _:
                by_choice(examples, generation, quality, settings.llm)

    return Measured(len(examples.is_failure), cost_of(work, repeats=1), peak_memory_bytes())


def _first_200() -> Part:
    part = planted_task(_MODE, 1).earlier
    rows = drawn(part.is_failure, _N_FAILURES, 1)
    return Part(part.traces[rows], part.is_failure[rows])


def _few(settings: Settings) -> Examples:
    part = planted_task("loop", 1).earlier
    rows = drawn(part.is_failure, settings.generation.min_positives, 1)
    return examples_of(part.traces[rows], part.is_failure[rows], settings.generation)


def _score(sizes: CostSizes, demo: Path, source: str, mode: str) -> Scored:
    settings = Settings()
    task = stored_task(demo, source, mode)
    rows = drawn(task.earlier.is_failure, _N_FAILURES, 1)
    examples = examples_of(task.earlier.traces[rows], task.earlier.is_failure[rows], settings.generation)
    plain, several = (_telling_pairs(examples, sizes.n_rules, only=only) for only in (_PLAIN, None))
    model = learned_on(examples, settings.generation)
    suite = _suite(examples, sizes, settings)
    traces = Days(sizes.n_traces, base_sessions_per_day=sizes.base_sessions_per_day).on(MONDAY)
    features = feature_frame(traces, TRACES.empty())  # in production the pipeline has counted them before
    view = view_of(traces, features)
    return Scored(
        traces.height,
        cost_of(lambda: view_of(traces, features), repeats=1),
        cost_of(lambda: _flags(view, [_NINE]), repeats=_REPEATS),
        cost_of(lambda: _flags(view, plain), repeats=_REPEATS),
        cost_of(lambda: _flags(view, several), repeats=1),
        cost_of(lambda: model(view), repeats=1),
        cost_of(lambda: run_evaluators(suite, view, llm=settings.llm), repeats=1),
        peak_memory_bytes(),
    )


def _suite(examples: Examples, sizes: CostSizes, settings: Settings) -> list[Artifact]:
    """Rules of all kinds, and learned evaluators, each fitted on another part of the examples."""
    rules = [
        rule_artifact(rule, evaluator_id=f"ev_rule_{i}")
        for i, rule in enumerate(_telling_pairs(examples, sizes.n_suite_rules, only=None))
    ]
    n_parts = sizes.n_suite_learned + 1
    made = features_of(examples.view)
    learned = [
        LearnedModel.fit_rows(
            made,
            np.flatnonzero(np.arange(made.n) % n_parts != i),
            examples.is_failure,
            examples.weight,
            examples.groups,
            settings.generation,
            settings.generation.seed,
        )
        for i in range(sizes.n_suite_learned)
    ]
    return [
        *rules,
        *(artifact(m.to_program(), "learned", evaluator_id=f"ev_learned_{i}") for i, m in enumerate(learned)),
    ]


def _flags(view: pl.DataFrame, rules: Sequence[dict[str, Any]]) -> dict[str, pl.Series]:
    """As run_evaluators does it: all together, dear predicates only where cheap ones leave it open."""
    return flags_of({str(i): validate_rule(rule) for i, rule in enumerate(rules)}, view)


def _telling_pairs(examples: Examples, n: int, *, only: frozenset[str] | None) -> list[dict[str, Any]]:
    """Rules of two predicates each, of those that the search is given, from all kinds or of some operations `only`."""
    bank = predicate_bank(examples.view, examples.groups)
    chosen = strongest(bank, np.arange(bank.n_examples), examples.is_failure, examples.weight).tolist()
    told = [bank.predicates[i] for i in chosen if only is None or bank.predicates[i]["op"] in only]
    spread = [told[i] for i in np.linspace(0, len(told) - 1, 2 * n).astype(int).tolist()]
    return [{"op": "all", "of": list(pair)} for pair in zip(spread[:n], spread[n:], strict=True)]
