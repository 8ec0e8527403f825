"""The next version of an issue's evaluator: its examples become competitors, one of them an artifact with its figures.

What competes is in competitors.py, what is chosen and why in choose.py, the figures in agreement.py. Nothing is read
or written here: on_lake.py does that.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import polars as pl

from evalpipe.errors import EvaluatorFaultError, NotEnoughEvidenceError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.rules import Rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.agreement import agreement_at, agreement_of, mistakes_of, quality_block, quality_row
from evalpipe.generation.choose import challenge, choose, why_this_one, with_prefilter
from evalpipe.generation.competitors import (
    Competitor,
    Material,
    judge_competitor,
    learned_competitor,
    on_one_thread,
    rule_competitor,
    single_pattern_competitor,
)
from evalpipe.generation.examples import Examples, require_evidence
from evalpipe.generation.patterns import pattern_table
from evalpipe.generation.provenance import provenance_of
from evalpipe.ids import evaluator_id
from evalpipe.quality.trust import status_of
from evalpipe.settings import GenerationSettings, JudgeSettings, LlmSettings, QualitySettings
from evalpipe.tables import EVALUATOR_QUALITY


class IssueRef(NamedTuple):
    """The issue to check: its id, the failure mode in the expert's words, and the services it was seen in."""

    issue_id: str
    name: str
    services: list[str]


@dataclass(frozen=True)
class Known:
    """What is known beside the labels; an application that was never observed has none of it."""

    notes: Mapping[str, str] = field(default_factory=dict)  # trace_id -> what the reviewer wrote of the trace
    prevalence: float | None = None  # estimated share of all traffic that shows the failure
    background: pl.DataFrame | None = None  # view rows of unlabelled traffic: what is usual, never a negative


@dataclass(frozen=True)
class Generated:
    """What came of it. `replaces`: the artifact is the issue's evaluator from now on; `reason` says why or why not."""

    artifact: Artifact | None
    status: str
    reason: str
    replaces: bool
    quality: pl.DataFrame  # EVALUATOR_QUALITY rows of the artifact: held_out and in_sample
    is_interrupted: bool = False  # a judge could not be evolved because its model failed: worth another try


@on_one_thread()
def generate(
    issue: IssueRef,
    examples: Examples,
    *,
    incumbent: Artifact | None,
    version: int,
    labels_fingerprint: int,
    lake_versions: dict[str, int],
    generation: GenerationSettings,
    quality: QualitySettings,
    now: datetime,
    known: Known | None = None,
    llm: LlmSettings | None = None,
    judges: JudgeSettings | None = None,
) -> Generated:
    """The next version of an issue's evaluator, or the reason why the incumbent stays.

    One that agrees too little with people on unseen traces comes back as a candidate, for people to look at. A judge
    competes where a model is configured and nothing cheaper is surely good. Equal inputs (and answers of the model)
    give an equal artifact, byte for byte. Raises NotEnoughEvidenceError, saying what is missing.
    """
    require_evidence(examples, generation)
    known, llm = known or Known(), llm or LlmSettings()
    material = Material.of(examples, generation)
    simplest = single_pattern_competitor(material)
    competitors = [simplest, rule_competitor(material), learned_competitor(material)]
    chosen = choose(competitors, examples, generation)
    measured = agreement_of(examples, chosen.held_out, quality, generation.seed)
    interruption = ""
    # A model may be worth its price where what is cheap is not surely good.
    if llm.judge_model is not None and (measured.lower is None or measured.lower < generation.judge_below):
        try:
            competitors += _with_model(issue.name, material, known, incumbent, llm, judges or JudgeSettings())
            chosen = choose(competitors, examples, generation)
            measured = agreement_of(examples, chosen.held_out, quality, generation.seed)
        except EvaluatorFaultError as error:
            interruption = f" The model could not be asked, so neither rules nor a judge are of it: {error}"

    chosen = with_prefilter(chosen, competitors, examples)
    flattering = agreement_of(examples, chosen.in_sample, quality, generation.seed)
    baseline = agreement_of(examples, simplest.held_out, quality, generation.seed)
    at_production = agreement_at(known.prevalence, measured, examples, chosen.held_out, quality, generation.seed)
    status = status_of(measured.mcc, measured.lower, measured.counts.n_positives, quality)
    artifact = Artifact(
        evaluator_id=evaluator_id(issue.issue_id),
        version=version,
        issue_id=issue.issue_id,
        failure_mode=issue.name,
        kind=chosen.kind,
        services=sorted(issue.services),
        program=chosen.program,
        explanation=chosen.explanation,
        patterns=pattern_table(  # type: ignore[arg-type]
            material.bank, examples.view, examples.is_failure, examples.groups, background=known.background
        ),
        provenance=provenance_of(chosen, competitors, material, incumbent, labels_fingerprint, lake_versions),
        held_out=dict(zip(examples.trace_ids, chosen.held_out.to_list(), strict=True)),
        quality=quality_block(
            measured,
            flattering,
            {simplest.name: baseline},
            at_production,
            chosen,
            quality.confidence,
        ),
        mistakes=mistakes_of(examples, chosen.held_out),
        created_at=now.isoformat(),
    )
    why = why_this_one(chosen, competitors, examples, measured, flattering, quality)
    new = challenge(
        incumbent, measured, status, examples, chosen.held_out, generation=generation, quality=quality, llm=llm
    )
    rows = [
        quality_row(artifact, split, agreement, labels_fingerprint, quality.confidence, now)
        for split, agreement in (("held_out", measured), ("in_sample", flattering))
    ]
    return Generated(
        artifact,
        status,
        f"{why}. {new.reason}{interruption}",
        new.replaces,
        EVALUATOR_QUALITY.conform(pl.DataFrame(rows, infer_schema_length=None)),
        is_interrupted=bool(interruption),
    )


def _with_model(
    issue_name: str,
    material: Material,
    known: Known,
    incumbent: Artifact | None,
    llm: LlmSettings,
    judges: JudgeSettings,
) -> list[Competitor]:
    """What competes where a model is configured: a rule for which it proposes predicates, and a judge."""
    # Imported here: what needs a model server is no part of generating without one.
    from evalpipe.generation.authoring import propose_predicates

    def author(rows: Ints) -> list[Rule]:
        examples, seed = material.examples, material.settings.seed
        return propose_predicates(
            examples.view, examples.is_failure, known.notes, rows, issue_name=issue_name, llm=llm, seed=seed
        )

    found = [rule_competitor(material, author)]
    with suppress(NotEnoughEvidenceError):  # a judge holds out more than folds do; without it the others compete
        found.append(judge_competitor(issue_name, material, known.notes, incumbent, llm, judges))
    return found
