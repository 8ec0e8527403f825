"""A home with a suite of rules and learned evaluators, and files of cases for it: what the gate is timed on.

Traffic is the demo's, whose failures are known; the evaluators are fitted on them by evalpipe's own functions.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.traffic import week_of_traffic
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.features import features_of
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.generation.bank import predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.patterns import strongest
from evalpipe.lake.store import Lake
from evalpipe.settings import GenerationSettings
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUES
from evalpipe_tests.bench_generate.makers import examples_of
from evalpipe_tests.bench_triage.worlds import MONDAY, traces_of
from evalpipe_tests.evaluators.made import artifact

SERVICE = "shop-assistant"
_NOW = datetime(2026, 3, 2, tzinfo=UTC)
_SESSIONS_PER_DAY = 60
_N_POSITIVES, _N_NEGATIVES = 60, 240  # an evaluator is made from at most so many
_CONFIDENCE = 0.9
_TEXT = frozenset({"contains", "regex", "said", "similar", "overlap"})
_DIGITS = str.maketrans("123456789", "234567891")  # one step; a number that was equal in a case still is


@dataclass(frozen=True)
class SuiteSizes:
    """Of the suite."""

    n_rules: int = 14
    n_learned: int = 6


class Traffic(NamedTuple):
    """TRACES rows, and the failure mode of each, null for none."""

    traces: pl.DataFrame
    mode: pl.Series


def make_home(root: Path, sizes: SuiteSizes) -> list[Artifact]:
    """A home at `root` whose tables hold a suite of blocking quality, and nothing else; the suite."""
    suite = suite_of(sizes)
    make_home_of(root, suite)
    return suite


def make_home_of(root: Path, suite: Sequence[Artifact]) -> None:
    """The same, with this suite."""
    lake = Lake(root / "lake")
    rows = [
        {
            "evaluator_id": made.evaluator_id,
            "version": made.version,
            "issue_id": made.issue_id,
            "failure_mode": made.failure_mode,
            "kind": made.kind,
            "status": "active",
            "artifact": made.to_json(),
            "artifact_sha256": made.sha256,
            "n_positives": _N_POSITIVES,
            "n_negatives": _N_NEGATIVES,
            "labels_fingerprint": 1,
            "created_at": _NOW,
            "reason": "made for the bench",
        }
        for made in suite
    ]
    evaluators = EVALUATORS.conform(pl.DataFrame(rows, schema=EVALUATORS.schema))
    figures = {"tp": 50, "fp": 5, "tn": 235, "fn": 10, "n_faults": 0, "mcc": 0.84, "mcc_lower": 0.75, "mcc_upper": 0.9}
    measured = {**figures, "split": "held_out", "confidence": _CONFIDENCE, "n_sessions": 300, "measured_at": _NOW}
    quality = evaluators.select("evaluator_id", "version", "issue_id", "kind", "labels_fingerprint").with_columns(
        **{name: pl.lit(value) for name, value in measured.items()}
    )
    times = {name: pl.lit(_NOW) for name in ("first_seen_at", "last_seen_at", "updated_at")}
    issues = evaluators.select("issue_id", name="failure_mode").with_columns(
        state=pl.lit("active"),
        flags=pl.lit([], pl.List(pl.String)),
        services=pl.lit([SERVICE], pl.List(pl.String)),
        n_failures=pl.lit(_N_POSITIVES),
        **times,
    )
    lake.append_new(EVALUATORS, evaluators)
    lake.append_new(EVALUATOR_QUALITY, EVALUATOR_QUALITY.conform(quality))
    lake.append_new(ISSUES, ISSUES.conform(issues))


def suite_of(sizes: SuiteSizes) -> list[Artifact]:
    """Rules of two predicates each, as the search finds them, and learned evaluators, each for one of the modes."""
    by_mode = [_examples(mode) for mode in _modes()]
    settings = GenerationSettings()
    made: list[Artifact] = []
    for number in range(sizes.n_rules + sizes.n_learned):
        examples, names = by_mode[number % len(by_mode)], _names(number)
        if number < sizes.n_rules:
            made.append(artifact({"rule": _rule(examples, number // len(by_mode))}, "rule", **names))
            continue
        rows = np.flatnonzero(np.arange(len(examples.is_failure)) % 10 != number % 10)
        y, weight, groups = examples.is_failure, examples.weight, examples.groups
        model = LearnedModel.fit_rows(
            features_of(examples.view), rows, y, weight, groups, settings, settings.seed + number
        )
        made.append(artifact(model.to_program(), "learned", **names))
    return made


def cases_of(n: int, *, first: int = 0, release: str = "2.0.0") -> Iterator[dict[str, Any]]:
    """Cases with the demo's conversations, as CI writes them: messages, tool calls, answer; ids from `first` on.

    Where there are more than the demo has, its own come again with other digits in all their numbers.
    """
    base = _base_cases()
    for number in range(first, first + n):
        copy, place = divmod(number, len(base))
        text = base[place]
        for _ in range(copy % 9):
            text = text.translate(_DIGITS)
        metadata = {"service": SERVICE, "version": release}
        yield {"id": f"case-{number:06}", **orjson.loads(text), "metadata": metadata}


def write_cases(path: Path, n: int, **options: Any) -> Path:
    """The same as a file of JSON lines."""
    with path.open("wb") as file:
        file.writelines(orjson.dumps(case) + b"\n" for case in cases_of(n, **options))
    return path


@cache
def traffic() -> Traffic:
    """A week of the demo in which failures are common."""
    plan = DemoPlan(MONDAY, 1, _SESSIONS_PER_DAY)
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
        week = week_of_traffic(plan, 0, Path(folder) / "traffic")
        traces = traces_of(week.paths, Path(folder) / "home").sort("start_unix_ns", "trace_id")
    return Traffic(traces, pl.Series("mode", [week.truth.get(trace_id) or None for trace_id in traces["trace_id"]]))


@cache
def _base_cases() -> list[str]:
    """The demo's traces as JSON texts: all but the id and the metadata."""
    texts = []
    for transcript in traffic().traces["transcript"].to_list():
        messages, calls, results = [], [], []
        for step in transcript:
            match step["role"]:
                case "tool_call":
                    calls.append({"name": step["tool"] or "tool", "arguments": step["content"]})
                case "tool_result":
                    results.append({"result": step["content"], "is_error": bool(step["is_error"])})
                case role:
                    messages.append({"role": role, "content": step["content"] or ""})
        asked = [message["content"] for message in messages if message["role"] == "user"]
        if not asked or messages[-1]["role"] != "assistant":
            continue
        done = [call | result for call, result in zip(calls, results, strict=False)]
        case = {"input": asked[-1], "output": messages[-1]["content"], "messages": messages, "tool_calls": done}
        texts.append(orjson.dumps(case).decode())
    return texts


def _modes() -> list[str]:
    counts = traffic().mode.drop_nulls().value_counts(sort=True)
    return counts.filter(pl.col("count") >= GenerationSettings().min_positives)["mode"].sort().to_list()


def _examples(mode: str) -> Examples:
    traces, modes = traffic()
    is_failure = modes.eq_missing(mode).to_numpy()
    failing, others = np.flatnonzero(is_failure)[:_N_POSITIVES], np.flatnonzero(~is_failure)[:_N_NEGATIVES]
    rows = np.sort(np.concatenate([failing, others]))
    return examples_of(traces[rows], is_failure[rows], GenerationSettings())


def _rule(examples: Examples, rank: int) -> dict[str, Any]:
    """Two of the predicates that tell most, other ones for each rank; every second one asks of text."""
    bank = predicate_bank(examples.view, examples.groups)
    chosen = strongest(bank, np.arange(bank.n_examples), examples.is_failure, examples.weight).tolist()
    told = [bank.predicates[i] for i in chosen]
    of_text = [predicate for predicate in told if predicate["op"] in _TEXT]
    return {"op": "all", "of": [told[rank], of_text[rank] if rank % 2 else told[rank + 1]]}


def _names(number: int) -> dict[str, Any]:
    return {"evaluator_id": f"ev_{number:02}", "issue_id": f"iss_{number:02}", "failure_mode": f"failure mode {number}"}
