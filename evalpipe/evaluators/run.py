"""Running evaluators on traces: artifacts and the trace view in, one verdict per evaluator and trace out.

A fault is not a failure, and one broken evaluator does not stop the others: whatever goes wrong inside one becomes
its fault verdicts. What a verdict is worth, and who may block, is decided elsewhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.flagging import flags_of
from evalpipe.evaluators.ledger import Ledger
from evalpipe.evaluators.rules import Rule, columns_asked, compile_rule, reason, validate_rule
from evalpipe.settings import LlmSettings

if TYPE_CHECKING:
    from evalpipe.evaluators.learned import LearnedModel
    from evalpipe.evaluators.linear import Program

SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "evaluator_id": pl.String,
    "version": pl.Int32,
    "issue_id": pl.String,
    "trace_id": pl.String,
    "outcome": pl.String,
    "score": pl.Float64,
    "explanation": pl.String,
    "cost_usd": pl.Float64,
}
"""Columns of the result; the meanings are those of VERDICTS."""

_SAID: Mapping[str, pl.DataType | type[pl.DataType]] = {
    name: SCHEMA[name] for name in ("outcome", "score", "explanation", "cost_usd")
}
_NO_SERVICE = "unknown_service"  # the OpenTelemetry SDKs' name for a service that gave none
_MAX_REASON_CHARS = 300
# A panic inside polars is no Exception, and no reason to lose the other evaluators either.
_FAULTS = (Exception, pl.exceptions.PanicException)


def run_evaluators(artifacts: Sequence[Artifact], view: pl.DataFrame, *, llm: LlmSettings) -> pl.DataFrame:
    """What each evaluator says of each trace of `view` that it was made for; columns SCHEMA, sorted by its keys.

    An evaluator judges the traces of its `services` and those whose service is not known; one without services judges
    all. score is in [0, 1], higher is more surely a failure, null for a fault. explanation says why a trace failed or
    why it could not be judged; a judge also says why it passes. cost_usd is what the model reported; null when unknown.
    The judges of one call share one budget of `llm`.
    """
    ordered = sorted(artifacts, key=lambda artifact: (artifact.evaluator_id, artifact.version))
    in_order = view if view["trace_id"].is_sorted() else view.sort("trace_id", maintain_order=True)
    chosen = [is_served(artifact, in_order["service_name"]) for artifact in ordered]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *verdicts_of(ordered, in_order, chosen, llm=llm)])


def verdicts_of(
    artifacts: Sequence[Artifact], view: pl.DataFrame, chosen: Sequence[pl.Series], *, llm: LlmSettings
) -> list[pl.DataFrame]:
    """For each evaluator what it says of the rows of `view` that are `chosen` for it, in their order; columns SCHEMA.

    What evaluators with the same rows have in common is computed once: see `run_evaluators` for what is said.
    """
    ledger = Ledger(llm)
    parts: list[pl.DataFrame] = [pl.DataFrame(schema=SCHEMA)] * len(artifacts)
    for places in _alike(chosen):
        rows = chosen[places[0]]
        due = view if rows.all() else view.filter(rows)
        if due.is_empty():
            continue
        together = [artifacts[place] for place in places]
        for place, artifact, said in zip(places, together, _say(together, due, llm, ledger), strict=True):
            parts[place] = said.select(
                pl.lit(artifact.evaluator_id).alias("evaluator_id"),
                pl.lit(artifact.version, pl.Int32).alias("version"),
                pl.lit(artifact.issue_id).alias("issue_id"),
                due["trace_id"].cast(pl.String),
                *_SAID,
            )
    return parts


def is_served(artifact: Artifact, service_name: pl.Series) -> pl.Series:
    """Whether the evaluator judges traces of each of these services."""
    if not artifact.services:
        return pl.repeat(True, len(service_name), dtype=pl.Boolean, eager=True)
    is_unknown = service_name.is_null() | service_name.str.starts_with(_NO_SERVICE)
    return (is_unknown | service_name.is_in(artifact.services)).fill_null(True)


def fields_of(artifacts: Sequence[Artifact]) -> frozenset[str]:
    """The columns of the view that the evaluators ask for: what `evaluator_view` must compute to run them.

    A judge reads the transcript, which is always there. A broken program asks for nothing: it faults when it runs.
    """
    asked: set[str] = set()
    for artifact in artifacts:
        with suppress(*_FAULTS):
            match artifact.kind:
                case "rule":
                    asked |= columns_asked(validate_rule(artifact.program["rule"]))
                case "learned":
                    asked |= _fields_of_program(artifact.learned.program)
                case "judge":
                    pass
    return frozenset(asked)


def _alike(chosen: Sequence[pl.Series]) -> list[list[int]]:
    """The places with the same rows, together; in order of the first."""
    groups: dict[bytes, list[int]] = {}
    for place, rows in enumerate(chosen):
        groups.setdefault(rows.to_numpy().tobytes(), []).append(place)
    return list(groups.values())


def _say(artifacts: Sequence[Artifact], view: pl.DataFrame, llm: LlmSettings, ledger: Ledger) -> Iterator[pl.DataFrame]:
    """_SAID of each evaluator, one row a trace."""
    # Side by side: polars and numpy let go of the interpreter while they work, and many of their steps use one core.
    with ThreadPoolExecutor(1) as pool:
        flagging = pool.submit(_flags_of_rules, artifacts, view)
        scores = _scores_of_learned(artifacts, view)
        flags = flagging.result()
    for place, artifact in enumerate(artifacts):
        yield _say_or_fault(artifact, view, flags.get(place), scores.get(place), llm, ledger)


def _flags_of_rules(artifacts: Sequence[Artifact], view: pl.DataFrame) -> dict[int, pl.Series]:
    """By place, for each rule whether it is true of each trace, all together; broken rules are not there."""
    rules: dict[str, Rule] = {}
    for place, artifact in enumerate(artifacts):
        if artifact.kind == "rule":
            with suppress(*_FAULTS):
                rules[str(place)] = validate_rule(artifact.program["rule"])
    try:
        return {int(place): flags for place, flags in flags_of(rules, view).items()}
    except _FAULTS:
        # One of them is broken; each is then run by itself, and faults by itself.
        return {}


def _scores_of_learned(artifacts: Sequence[Artifact], view: pl.DataFrame) -> dict[int, pl.Series]:
    """By place, the scores of the learned evaluators, all in one pass, which splits each text once."""
    places = [place for place, artifact in enumerate(artifacts) if artifact.kind == "learned"]
    if not places:
        return {}
    # Imported here: who has rules alone does not pay for it.
    from evalpipe.evaluators.learned import scores

    models: dict[int, LearnedModel] = {}
    for place in places:
        with suppress(*_FAULTS):
            models[place] = artifacts[place].learned
    try:
        found = scores(list(models.values()), view)
    except _FAULTS:
        return {}
    return {place: pl.Series(score, dtype=pl.Float64) for place, score in zip(models, found, strict=True)}


def _say_or_fault(
    artifact: Artifact,
    view: pl.DataFrame,
    flagged: pl.Series | None,
    score: pl.Series | None,
    llm: LlmSettings,
    ledger: Ledger,
) -> pl.DataFrame:
    """_SAID columns, one row a trace; `flagged` and `score` are what one pass of all rules, or learned ones, found."""
    try:
        match artifact.kind:
            case "rule":
                return _rule_says(artifact, view, flagged)
            case "learned":
                return _learned_says(artifact, view, score)
            case "judge":
                return _judge_says(artifact, view, llm, ledger)
    except _FAULTS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON_CHARS]
        return pl.DataFrame(
            {"outcome": ["fault"] * view.height, "score": None, "explanation": reason, "cost_usd": None}, schema=_SAID
        )


def _rule_says(artifact: Artifact, view: pl.DataFrame, flagged: pl.Series | None) -> pl.DataFrame:
    rule = validate_rule(artifact.program["rule"])
    if flagged is None:
        flagged = view.select(compile_rule(rule)).to_series()
    failed = view.select("trace_id", *sorted(columns_asked(rule))).filter(flagged)
    why = failed.select("trace_id", why=reason(rule).cast(pl.String))["why"]
    return _verdicts(flagged, score=flagged.cast(pl.Float64), why=why)


def _learned_says(artifact: Artifact, view: pl.DataFrame, score: pl.Series | None) -> pl.DataFrame:
    model = artifact.learned
    if score is None:
        score = pl.Series(model.score(view), dtype=pl.Float64)
    flagged = score >= model.program.threshold
    failed = view.select("trace_id", *sorted(_fields_of_program(model.program))).filter(flagged)
    why = pl.Series(model.explain(failed, np.ones(failed.height, dtype=bool)), dtype=pl.String)
    return _verdicts(flagged, score=score, why=why)


def _fields_of_program(program: "Program") -> set[str]:
    return {feature.field for feature in (*program.words, *program.steps, *program.numbers)}


def _judge_says(artifact: Artifact, view: pl.DataFrame, llm: LlmSettings, ledger: Ledger) -> pl.DataFrame:
    from evalpipe.evaluators.judge import judge_view

    return judge_view(artifact.program, view, llm=llm, ledger=ledger).select(*_SAID)


def _verdicts(flagged: pl.Series, *, score: pl.Series, why: pl.Series) -> pl.DataFrame:
    """A pass or a fail for each trace; `why` speaks of the flagged ones, in order."""
    explanation = pl.Series([None] * len(flagged), dtype=pl.String).scatter(flagged.arg_true(), why)
    return pl.DataFrame({"flagged": flagged, "score": score, "explanation": explanation}).select(
        pl.when("flagged").then(pl.lit("fail")).otherwise(pl.lit("pass")).alias("outcome"),
        "score",
        "explanation",
        pl.lit(None, pl.Float64).alias("cost_usd"),
    )
