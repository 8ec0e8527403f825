"""The parts of the report: each runs its piece of work and says in Markdown what came of it, with its targets."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evalpipe.settings import VerificationSettings
from evalpipe_tests.bench_ingest.measure import Finding
from evalpipe_tests.bench_lifecycle.cost import N_ISSUES, asking
from evalpipe_tests.bench_lifecycle.report import (
    CONFIDENCE,
    coverage_table,
    covered_of,
    middle,
    proofs_table,
    share,
    surges_table,
    watched_table,
)
from evalpipe_tests.bench_lifecycle.studies import (
    CARELESS,
    NEVER,
    RETURNS,
    WEEKS_AFTER_RETURN,
    WEEKS_OF_PROOF,
    WEEKS_OF_QUIET,
    Lived,
    Watched,
    fixes,
    lived,
)
from evalpipe_tests.bench_lifecycle.surges import surge, usual

_MAX_FALSE = 0.05
_MAX_DELAY = 400  # traces, median


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    n_histories: int = 200
    n_issues: int = N_ISSUES
    first_seed: int = 0


QUICK = Sizes(1, 2)
"""A smoke test: the figures mean nothing."""


class Section(NamedTuple):
    """A part of the report."""

    findings: list[Finding]
    markdown: str


Tick = Callable[[], None]


def on_fixes(sizes: Sizes, settings: VerificationSettings, tick: Tick) -> Iterator[Section]:
    """Fixes, returns and prevalence: the same histories tell all three."""
    lives: list[Lived] = []
    for fix in fixes():
        for seed in range(sizes.first_seed, sizes.first_seed + sizes.n_histories):
            lives.append(lived(seed, fix, settings))
        tick()
    yield _proven(lives)
    yield _watched([each for life in lives for each in life.watched])
    yield _covered(lives)


def on_surges(sizes: Sizes, settings: VerificationSettings) -> Section:
    """Escalations of usual traffic, and of rates that rise."""
    seeds = range(sizes.first_seed, sizes.first_seed + sizes.n_histories)
    quiet = [usual(seed, settings) for seed in seeds]
    years = sum(each.weeks for each in quiet) / 52
    n_false = sum(each.n_escalated for each in quiet)
    surges = [surge(seed, factor, settings) for factor in (2.0, 3.0) for seed in seeds]
    threefold = [each for each in surges if each.factor == 3.0]
    found = [each.hours_until for each in threefold if each.hours_until is not None]
    findings = [
        Finding("false escalations in usual traffic", f"{n_false} in {years:.0f} issue-years", "", n_false / years),
        Finding(
            "three times the usual rate, noticed",
            f"{middle(found)} hours (median, p90)",
            f"{len(found)} of {len(threefold)} in four weeks",
        ),
    ]
    return Section(
        findings,
        f"""## Escalation

Half a year of traffic a history with its days and weekends, nothing rises; in every second one failures are also
three times as frequent by day as by night. {n_false} escalations in {years:.0f} issue-years: {n_false / years:.2f} an
issue-year; {sum(each.n_escalated > 0 for each in quiet)} of {len(quiet)} issues had one. Then, after eight usual
weeks, the true rate is multiplied, at a time of its own, while false alarms stay as they are, so that flags rise by
less.

{surges_table(surges)}
""",
    )


def on_cost(sizes: Sizes, settings: VerificationSettings) -> Section:
    """CPU time."""
    asked = asking(sizes.n_issues, settings)
    states = ", ".join(f"{n} {state}" for state, n in asked.n_states.items())
    finding = Finding(
        f"`transition` of {asked.n_issues} issues with a year of history",
        f"{asked.cost.cpu_s:.2f} CPU s",
        f"{asked.n_hours:,} hours of verdicts; {states}",
    )
    return Section(
        [finding],
        f"""## Cost

`transition` of {asked.n_issues} issues with a year of history each ({asked.n_hours:,} hours with traffic; {states}):
{asked.cost.cpu_s:.2f} s of CPU, {1_000 * asked.cost.cpu_s / asked.n_issues:.0f} ms an issue.
""",
    )


def _proven(lives: Sequence[Lived]) -> Section:
    kinds = fixes()
    findings = []
    untrue = [life.proof for life in lives if not life.proof.fix.is_true]
    groups = [("all fixes that are none", untrue)]
    groups += [(fix.name, [p for p in untrue if p.fix.name == fix.name]) for fix in kinds if not fix.is_true]
    for name, proofs in groups:
        n = sum(proof.is_false for proof in proofs)
        findings.append(
            Finding(
                f"called solved wrongly: {name}", share(n, len(proofs)), "by hand: 100 %", n / len(proofs),
                at_most=_MAX_FALSE,
            )
        )  # fmt: skip
    true = [life.proof for life in lives if life.proof.fix.is_true and not life.proof.fix.is_careless]
    solved = [proof for proof in true if proof.kind == "verified"]
    n_refuted = sum(proof.kind == "refuted" for proof in true)
    took = f"{middle([p.n_exposed for p in solved])} traces, {middle([p.n_passes for p in solved])} passes read"
    findings += [
        Finding(
            "a true fix is verified after",
            f"{middle([proof.weeks for proof in solved], 1)} weeks (median, p90)",
            f"{took}; {len(solved)} of {len(true)} in {WEEKS_OF_PROOF} weeks",
        ),
        Finding("true fixes that were refuted", share(n_refuted, len(true))),
    ]
    return Section(
        findings,
        f"""## Is it fixed?

Four weeks with the failure, then a release that is said to fix it, and more releases every 1 to 3 weeks, for
{WEEKS_OF_PROOF} weeks at most. Wrongly: its true rate is at or above the target that the event names. *A residue* is
5 to 25 % of the target, *just above* 105 to 125 % of it, *half fixed* half of the rate before; an evaluator that is
*fooled* flags 0 to 30 % of the failures after the fix and none the less is taken for what it was. By hand: somebody
says that it is fixed, and it is closed.

{proofs_table(kinds, lives)}

In *{100 * CARELESS:.0f} % of answers wrong* every answer, of hits and passes, is wrong with that chance: a failure of
3 % and such readers look the same in single answers. In *failing ones read twice* what one reader calls a failure a
second one must, too.
""",
    )


def _watched(watched: Sequence[Watched]) -> Section:
    quiet = [each for each in watched if each.back == NEVER.name]
    findings = []
    for name, part in (("a year of quiet", [q for q in quiet if not q.is_careless]),):
        n = sum(each.is_false for each in part)
        n_releases = statistics.fmean(each.n_releases for each in part) if part else 0
        by_hand = share(sum(each.is_false_by_hand for each in part), len(part))
        told = share(n, len(part))
        ratio = n / len(part) if part else None
        claim = f"called returned wrongly in {name}, {n_releases:.0f} releases"
        findings.append(Finding(claim, told, f"by hand: {by_hand}", ratio, at_most=_MAX_FALSE))
    for back in RETURNS:
        part = [each for each in watched if each.back == back.name and not each.is_false]
        found = [each.n_until for each in part if each.n_until is not None]
        by_hand = middle([each.n_until_by_hand for each in part])
        is_target = back is RETURNS[0]
        findings.append(
            Finding(
                f"it returns {back.name}: traces until it is said",
                f"{middle(found)} (median, p90)",
                f"{len(found)} of {len(part)} found; by hand: {by_hand}",
                statistics.median(found) if found and is_target else None,
                at_most=_MAX_DELAY if is_target else None,
            )
        )
    return Section(
        findings,
        f"""## Has it returned?

Each history whose fix was verified goes on. *Never*: {WEEKS_OF_QUIET} weeks with more releases and what the fix left of
it. Else it comes back after 4 to 12 weeks, with the next release or slowly, and is watched for {WEEKS_AFTER_RETURN}
weeks; traces are counted over all releases from its return on. Wrongly: said before it returned. By hand: the first hit
opens the issue again, counted from the release with the fix; each time somebody closes it again.

{watched_table(watched)}
""",
    )


def _covered(lives: Sequence[Lived]) -> Section:
    kinds = fixes()
    # The weeks before are the same in all studies of one issue; they count once.
    gone = [life for life in lives if life.proof.fix.name == kinds[0].name]
    before = [life._replace(proof=life.proof._replace(estimates=life.proof.estimates[:4])) for life in gone]
    half = [life for life in lives if life.proof.fix.name == "half fixed"]
    after = [life._replace(proof=life.proof._replace(estimates=life.proof.estimates[4:])) for life in half]
    absent = [life._replace(proof=life.proof._replace(estimates=life.proof.estimates[5:])) for life in gone]
    covered = covered_of([*before, *after])
    finding = Finding(
        "weekly intervals of prevalence that hold the truth", covered.told,
        f"nominal 95 %; {covered.n_weeks:,} weeks", covered.share, at_least=0.93, at_most=0.97,
    )  # fmt: skip
    parts = [
        ("before the fix", before),
        ("half fixed", after),
        ("gone", absent),
        ("before, and half fixed", before + after),
    ]
    return Section(
        [finding],
        f"""## How common is it?

Weekly intervals of {CONFIDENCE:.0%} by the evaluator's held-out errors (10 to 40 failures and four times as many
others), where these are still its errors. A history's weeks share these labels, so that its intervals miss together:
it counts as one unit in the brackets. Of what is gone the interval begins at 0 and can miss on one side only; it is
not in the claim.

{coverage_table(parts)}
""",
    )
