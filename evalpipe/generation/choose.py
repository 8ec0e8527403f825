"""Which kind of evaluator ships, and whether it takes the incumbent's place: decided on predictions of unseen examples.

What competes is made in competitors.py, the statistics are in compare.py and quality/.
"""

from collections.abc import Sequence
from typing import NamedTuple

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.agreement import Agreement, mcc_of, shown
from evalpipe.generation.compare import Comparison, compare, incumbent_flags
from evalpipe.generation.competitors import Competitor
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.quality.trust import may_be_chance, shortfall, status_of
from evalpipe.settings import GenerationSettings, LlmSettings, QualitySettings


class Challenge(NamedTuple):
    """Whether the new version is the issue's evaluator from now on, and why or why not."""

    replaces: bool
    reason: str


def choose(competitors: Sequence[Competitor], examples: Examples, settings: GenerationSettings) -> Competitor:
    """The simplest kind within noise of the best. `competitors` stand in order from the simplest to the dearest.

    A later one must agree better with people than the best before it, on the same held-out examples. One of a dearer
    kind must do so by more than its margin (`learned_margin`, `judge_margin`), or surely (`learned_probability`,
    paired). The figure of the winner is
    flattered by having won, by a hundredth or two where the kinds are close; less than fitting on nine tenths of the
    examples takes away (docs/decisions/generation.md).
    """
    best = competitors[0]
    for challenger in competitors[1:]:
        if _is_worth_it(challenger, best, examples, settings):
            best = challenger
    return best


def _is_worth_it(challenger: Competitor, best: Competitor, examples: Examples, settings: GenerationSettings) -> bool:
    duel = compare(examples, challenger.held_out, best.held_out, seed=settings.seed)
    gain = (duel.challenger_mcc or 0.0) - (duel.incumbent_mcc or 0.0)
    if not best.can_flag:
        return (duel.challenger_mcc or 0.0) > 0
    if challenger.kind == best.kind:
        # The search of a rule weighs what naming a predicate takes, and says how it came to be: it wins a tie.
        return gain >= 0
    margin = settings.judge_margin if challenger.kind == "judge" else settings.learned_margin
    return gain > margin or (gain > 0 and duel.probability_better >= settings.learned_probability)


def with_prefilter(judge: Competitor, competitors: Sequence[Competitor], examples: Examples) -> Competitor:
    """A judge that carries the rule among its competitors which best chooses what is worth reading.

    That is the one with the largest share of the failures found less the share of the others flagged, both held out
    (Youden's index): unlike the MCC it does not depend on how common failures are among the examples. The first of
    equals. What is no judge, or has no rule that tells anything, stays as it is.
    """
    if judge.kind != "judge":
        return judge
    best, best_index, best_recall = None, 0.0, 0.0
    for rule in competitors:
        known = rule.held_out.is_known
        failures, others = known & examples.is_failure, known & ~examples.is_failure
        if rule.kind == "rule" and rule.can_flag and failures.any() and others.any():
            recall = float(rule.held_out.said[failures].mean())
            index = recall - float(rule.held_out.said[others].mean())
            if index > best_index:
                best, best_index, best_recall = rule, index, recall
    if best is None:
        return judge
    prefilter = {"rule": best.program["rule"], "recall": round(best_recall, 6)}
    finds = f"Where the failure is rare it reads first what this rule flags, with {best_recall:.0%} of the failures"
    return judge._replace(
        program=judge.program | {"prefilter": prefilter},
        explanation=f"{judge.explanation.rstrip('.')}. {finds}: {best.explanation}",
    )


def challenge(
    incumbent: Artifact | None,
    measured: Agreement,
    status: str,
    examples: Examples,
    flags: Flags,
    *,
    generation: GenerationSettings,
    quality: QualitySettings,
    llm: LlmSettings,
) -> Challenge:
    """Does the new version, with this held-out agreement and status, replace the incumbent? A tie keeps it.

    One that was never trusted makes way for anything that agrees better; a trusted one only for a version that may be
    trusted too and is better on the same examples with the paired probability `replace_probability`.
    """
    if incumbent is None:
        return Challenge(True, "It is the first version")
    duel = compare(examples, flags, incumbent_flags(incumbent, examples, llm), seed=generation.seed)
    figures = _duel_in_words(duel, incumbent)
    is_better = (duel.challenger_mcc or 0.0) > (duel.incumbent_mcc or 0.0)
    past = incumbent.quality
    was_trusted = status_of(past["mcc"], past["mcc_lower"], past["tp"] + past["fn"], quality) != "candidate"
    if not was_trusted:
        if is_better or (duel.n_examples == 0 and measured.mcc is not None):
            return Challenge(True, f"It replaces version {incumbent.version}, which was never trusted: {figures}")
        return Challenge(False, f"Version {incumbent.version} stays, though it is not trusted either: {figures}")
    if is_better and status != "candidate" and duel.probability_better >= generation.replace_probability:
        return Challenge(True, f"It replaces version {incumbent.version}: {figures}")
    return Challenge(
        False,
        f"Version {incumbent.version} stays: {figures}; a new version must be better with a probability of "
        f"{generation.replace_probability:.2f}",
    )


def why_this_one(
    chosen: Competitor,
    competitors: Sequence[Competitor],
    examples: Examples,
    measured: Agreement,
    flattering: Agreement,
    quality: QualitySettings,
) -> str:
    """Why this kind ships, or why nothing is trusted, in words and with the figures that decided."""
    figures = (
        f"held-out MCC {measured.in_words()} on {measured.counts.n} traces with "
        f"{measured.counts.n_positives} failures, in-sample {shown(flattering.mcc)}"
    )
    tried = ", ".join(
        f"{other.name} reaches {shown(mcc_of(examples, other.held_out))}"
        for other in competitors
        if other.name != chosen.name
    )
    if measured.mcc is None or may_be_chance(measured.lower):
        return f"Declined: no pattern holds on unseen traces better than chance ({figures}; {tried}). {_WHAT_HELPS}"
    if measured.mcc < quality.monitor_mcc:
        return (
            f"Declined: what was found agrees too little with people on unseen traces ({figures}; {tried}; "
            f"{quality.monitor_mcc:.2f} is needed to watch). {_WHAT_HELPS}"
        )
    said = f"A {chosen.kind} evaluator, {figures}; {tried}"
    lacks = shortfall(measured.mcc, measured.lower, measured.counts.n_positives, quality)
    return said if lacks is None else f"{said}. It only monitors: {lacks}"


_WHAT_HELPS = "More annotations or a judge model (EVALPIPE_JUDGE_MODEL) are needed"


def _duel_in_words(duel: Comparison, incumbent: Artifact) -> str:
    return (
        f"on the same {duel.n_examples} examples MCC {shown(duel.challenger_mcc)} against "
        f"{shown(duel.incumbent_mcc)} ({incumbent.kind}), better with a probability of {duel.probability_better:.2f}"
    )
