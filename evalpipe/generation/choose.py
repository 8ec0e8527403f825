"""From the examples of one issue to an evaluator with an honest figure: folds, both kinds, choice, refit, challenge.

Everything that looks at a label happens inside a fold once and on all examples once: the first gives the figures, the
second the evaluator that ships. How a rule is found is in optimise.py, a learned evaluator in evaluators/fitting.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as installed_version
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.features import Features, features_of
from evalpipe.evaluators.folds import grouped_folds
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.rules import compile_rule, explain_rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.agreement import (
    Agreement,
    agreement_of,
    quality_block,
    quality_row,
    shown,
    stored,
)
from evalpipe.generation.bank import Bank, predicate_bank
from evalpipe.generation.compare import Comparison, compare, incumbent_flags
from evalpipe.generation.examples import Examples, require_evidence
from evalpipe.generation.optimise import Evolved, evolve_rule
from evalpipe.generation.patterns import pattern_table
from evalpipe.ids import content_hash, evaluator_id
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.quality.trust import shortfall, status_of
from evalpipe.settings import GenerationSettings, QualitySettings
from evalpipe.tables import EVALUATOR_QUALITY

Bools = NDArray[np.bool_]
Kind = Literal["rule", "learned"]


class IssueRef(NamedTuple):
    """The issue to check: its id, the failure mode in the expert's words, and the services it was seen in."""

    issue_id: str
    name: str
    services: list[str]


@dataclass(frozen=True)
class Generated:
    """What came of it. `replaces`: the artifact is the issue's evaluator from now on; `reason` says why or why not."""

    artifact: Artifact | None
    status: str
    reason: str
    replaces: bool
    quality: pl.DataFrame  # EVALUATOR_QUALITY rows of the artifact: held_out and in_sample


@dataclass(frozen=True)
class _Material:
    """What all folds share: made from the traces, without their labels."""

    examples: Examples
    bank: Bank
    features: Features
    settings: GenerationSettings


@dataclass(frozen=True)
class _HeldOut:
    """Predictions for each example by a procedure that did not see it, and the folds that kept it from seeing."""

    folds: list[Ints]  # of each repeat
    rule: list[Bools]
    learned: list[Bools]


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """Sums then do not depend on the number of cores, and issues are generated side by side."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


@_on_one_thread()
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
) -> Generated:
    """The next version of an issue's evaluator, or the reason why the incumbent stays.

    A rule, unless a learned evaluator agrees better with people on traces that neither saw: by more than
    `learned_margin`, or surely so (`learned_probability`, paired), which takes many examples. One that agrees too
    little comes back as a candidate, for people to look at. Equal inputs give an equal artifact, byte for byte.
    Raises NotEnoughEvidenceError, saying what is missing.
    """
    require_evidence(examples, generation)
    material = _Material(
        examples, predicate_bank(examples.view, examples.groups), features_of(examples.view), generation
    )
    everything = np.arange(len(examples.is_failure))
    held_out = _predict_held_out(material)
    rule = _fit_rule(material, everything, generation.seed)
    can_fire = rule.rule["op"] != "constant"
    kind, flags = _choose(examples, held_out, generation, can_fire)
    program, explanation, in_sample = _shipped(kind, rule, material, everything)

    measured = agreement_of(examples, flags, quality.confidence, generation.seed)
    flattering = agreement_of(examples, in_sample, quality.confidence, generation.seed)
    status = status_of(measured.mcc, measured.lower, measured.counts.n_positives, quality)
    artifact = Artifact(
        evaluator_id=evaluator_id(issue.issue_id),
        version=version,
        issue_id=issue.issue_id,
        failure_mode=issue.name,
        kind=kind,
        services=sorted(issue.services),
        program=program,
        explanation=explanation,
        patterns=pattern_table(material.bank, examples.view, examples.is_failure, examples.groups),  # type: ignore[arg-type]
        provenance=_provenance(material, held_out, rule, kind, labels_fingerprint, lake_versions),
        held_out=dict(zip(examples.trace_ids, flags.tolist(), strict=True)),
        quality=quality_block(measured, flattering, examples, quality.confidence, program),  # type: ignore[arg-type]
        created_at=now.isoformat(),
    )
    why = _why_this_kind(kind, held_out, examples, measured, flattering, quality)
    replaces, why_now = _challenge(incumbent, measured, status, examples, flags, generation, quality)
    rows = [
        quality_row(artifact, split, agreement, examples, labels_fingerprint, quality.confidence, now)
        for split, agreement in (("held_out", measured), ("in_sample", flattering))
    ]
    return Generated(artifact, status, f"{why}. {why_now}", replaces, EVALUATOR_QUALITY.conform(pl.DataFrame(rows)))


def _predict_held_out(material: _Material) -> _HeldOut:
    examples, settings = material.examples, material.settings
    folds, rules, learned = [], [], []
    for repeat in range(settings.n_repeats):
        seed = settings.seed + repeat
        fold_of = grouped_folds(examples.is_failure, examples.groups, n_folds=settings.n_folds, seed=seed)
        by_rule, by_learned = np.zeros((2, len(fold_of)), dtype=bool)
        for fold in range(int(fold_of.max()) + 1):
            train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            unseen = examples.view[test]
            # Judged as in production, by the compiled rule and the stored program, not by the search's own matrices.
            by_rule[test] = _rule_flags(_fit_rule(material, train, seed), unseen)
            by_learned[test] = _fit_learned(material, train, seed).flag(unseen)
        folds.append(fold_of)
        rules.append(by_rule)
        learned.append(by_learned)
    return _HeldOut(folds, rules, learned)


def _fit_rule(material: _Material, rows: Ints, seed: int) -> Evolved:
    examples = material.examples
    return evolve_rule(material.bank, rows, examples.is_failure, examples.weight, material.settings, seed)


def _fit_learned(material: _Material, rows: Ints, seed: int) -> LearnedModel:
    examples = material.examples
    return LearnedModel.fit_rows(
        material.features, rows, examples.is_failure, examples.weight, examples.groups, material.settings, seed
    )


def _rule_flags(evolved: Evolved, view: pl.DataFrame) -> Bools:
    return view.select(compile_rule(evolved.rule)).to_series().to_numpy()


def _choose(examples: Examples, held_out: _HeldOut, settings: GenerationSettings, can_fire: bool) -> tuple[Kind, Bools]:
    """The kind that ships, and its held-out predictions.

    They are of the kind that came out better, which flatters it by a hundredth or two where the kinds are close; less
    than fitting on nine tenths of the examples takes away (docs/decisions/generation.md).
    """
    by_rule, by_learned = (_majority(flags) for flags in (held_out.rule, held_out.learned))
    rule_mcc, learned_mcc = (mcc(confusion(examples.is_failure, flags)) or 0.0 for flags in (by_rule, by_learned))
    if learned_mcc > rule_mcc + settings.learned_margin or (not can_fire and learned_mcc > 0):
        return "learned", by_learned
    paired = compare(examples, by_learned, by_rule.tolist(), seed=settings.seed)
    if learned_mcc > rule_mcc and paired.probability_better >= settings.learned_probability:
        return "learned", by_learned
    return "rule", by_rule


def _majority(repeats: list[Bools]) -> Bools:
    return 2 * np.sum(repeats, axis=0) > len(repeats)


def _shipped(kind: Kind, rule: Evolved, material: _Material, everything: Ints) -> tuple[dict[str, Any], str, Bools]:
    """Program, explanation and its own verdicts on the examples it was made from."""
    view = material.examples.view
    if kind == "rule":
        return {"rule": rule.rule}, explain_rule(rule.rule), _rule_flags(rule, view)
    model = _fit_learned(material, everything, material.settings.seed)
    return model.to_program(), model.describe(), model.flag(view)


def _challenge(
    incumbent: Artifact | None,
    measured: Agreement,
    status: str,
    examples: Examples,
    flags: Bools,
    generation: GenerationSettings,
    quality: QualitySettings,
) -> tuple[bool, str]:
    """Whether the new version takes the incumbent's place, and why."""
    if incumbent is None:
        return True, "It is the first version"
    duel = compare(examples, flags, incumbent_flags(incumbent, examples), seed=generation.seed)
    figures = _duel_in_words(duel, incumbent)
    is_better = (duel.challenger_mcc or 0.0) > (duel.incumbent_mcc or 0.0)
    past = incumbent.quality
    was_trusted = status_of(past["mcc"], past["mcc_lower"], past["tp"] + past["fn"], quality) != "candidate"
    if not was_trusted:
        if is_better or (duel.n_examples == 0 and measured.mcc is not None):
            return True, f"It replaces version {incumbent.version}, which was never trusted: {figures}"
        return False, f"Version {incumbent.version} stays, though it is not trusted either: {figures}"
    if is_better and status != "candidate" and duel.probability_better >= generation.replace_probability:
        return True, f"It replaces version {incumbent.version}: {figures}"
    return False, (
        f"Version {incumbent.version} stays: {figures}; a new version must be better with a probability of "
        f"{generation.replace_probability:.2f}"
    )


def _duel_in_words(duel: Comparison, incumbent: Artifact) -> str:
    return (
        f"on the same {duel.n_examples} examples MCC {shown(duel.challenger_mcc)} against "
        f"{shown(duel.incumbent_mcc)} ({incumbent.kind}), better with a probability of {duel.probability_better:.2f}"
    )


def _why_this_kind(
    kind: Kind,
    held_out: _HeldOut,
    examples: Examples,
    measured: Agreement,
    flattering: Agreement,
    quality: QualitySettings,
) -> str:
    figures = (
        f"held-out MCC {measured.in_words()} on {measured.counts.n} traces with "
        f"{measured.counts.n_positives} failures, in-sample {shown(flattering.mcc)}"
    )
    if measured.mcc is None or measured.mcc < quality.monitor_mcc:
        return (
            f"No pattern holds on unseen traces ({figures}); more annotations or a judge model are needed "
            "(EVALPIPE_JUDGE_MODEL)"
        )
    alone = {
        name: mcc(confusion(examples.is_failure, _majority(flags)))
        for name, flags in (("rule", held_out.rule), ("learned", held_out.learned))
    }
    other = "learned" if kind == "rule" else "rule"
    chosen = f"A {kind} evaluator, {figures}; the {other} one reaches {shown(alone[other])}"
    lacks = shortfall(measured.mcc, measured.lower, measured.counts.n_positives, quality)
    return chosen if lacks is None else f"{chosen}. It only monitors: {lacks}"


def _provenance(
    material: _Material,
    held_out: _HeldOut,
    rule: Evolved,
    kind: Kind,
    labels_fingerprint: int,
    lake_versions: dict[str, int],
) -> dict[str, Any]:
    examples, settings = material.examples, material.settings
    engines = ("gepa", "polars", "numpy") if kind == "rule" else ("scikit-learn", "polars", "numpy")
    alone = {"rule": _majority(held_out.rule), "learned": _majority(held_out.learned)}
    return {
        "labels_fingerprint": labels_fingerprint,
        "lake_versions": dict(sorted(lake_versions.items())),
        "n_positives": examples.n_positives,
        "n_negatives": examples.n_negatives,
        "n_groups": len(set(examples.groups)),
        "group_key": "session, near-duplicate first request, first id in the tool calls, same tool results",
        "split": {
            "scheme": "stratified group folds, the whole procedure inside; refit on all",
            "n_folds": int(held_out.folds[0].max()) + 1,
            "n_repeats": settings.n_repeats,
            "folds_sha256": [
                content_hash(list(zip(examples.trace_ids, fold_of.tolist(), strict=True)), 64)
                for fold_of in held_out.folds
            ],
        },
        "held_out_mcc_by_kind": {
            name: stored(mcc(confusion(examples.is_failure, flags))) for name, flags in alone.items()
        },
        "seed": settings.seed,
        "engines": {name: installed_version(name) for name in engines},
        "settings_sha256": content_hash(settings.model_dump(mode="json"), 64),
        "lineage": rule.lineage if kind == "rule" else [],
        "stop_reason": rule.stop_reason if kind == "rule" else "fitted",
        "n_metric_calls": rule.n_metric_calls if kind == "rule" else 0,
    }
