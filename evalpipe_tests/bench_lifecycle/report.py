"""The figures as Markdown tables. What they mean is said beside them, so that docs/lifecycle.md can be read alone."""

from collections.abc import Iterable, Sequence

import numpy as np

from evalpipe.quality.intervals import wilson, wilson_of_share
from evalpipe_tests.bench_lifecycle.studies import Fix, Lived, Proof, Watched
from evalpipe_tests.bench_lifecycle.surges import Surge
from evalpipe_tests.bench_triage.report import table

CONFIDENCE = 0.95


def proofs_table(fixes: Sequence[Fix], lives: Sequence[Lived]) -> str:
    """What was said of each kind of fix, and what it took to verify one."""
    headings = (
        "the fix",
        "histories",
        "called solved wrongly",
        "solved",
        "refuted",
        "still open",
        "weeks (median, p90)",
        "traces",
        "passes read",
        "hits read",
        "by hand: called solved wrongly",
    )
    rows = []
    for fix in fixes:
        proofs = [life.proof for life in lives if life.proof.fix.name == fix.name]
        solved = [proof for proof in proofs if proof.kind == "verified"]
        n = len(proofs)
        rows.append(
            (
                fix.name,
                str(n),
                share(sum(proof.is_false for proof in proofs), n),
                str(len(solved)),
                share(sum(proof.kind == "refuted" for proof in proofs), n) if fix.is_true else str(_n_refuted(proofs)),
                str(sum(proof.kind is None for proof in proofs)),
                middle([proof.weeks for proof in solved], 1),
                middle([proof.n_exposed for proof in solved]),
                middle([proof.n_passes for proof in solved]),
                middle([proof.n_hits for proof in solved]),
                "0 %" if fix.is_true else "100 %",
            )
        )
    return table(headings, rows)


def watched_table(watched: Sequence[Watched]) -> str:
    """What was said of solved issues, in quiet and after a return."""
    headings = (
        "the fix",
        "it comes back",
        "histories",
        "called returned wrongly",
        "returns found",
        "traces until it was said (median, p90)",
        "in the right releases",
        "by hand: opened wrongly",
        "by hand: traces until the first flag",
    )
    kinds = dict.fromkeys((each.fix, each.back) for each in watched)
    rows = []
    for fix, back in kinds:
        part = [each for each in watched if (each.fix, each.back) == (fix, back)]
        n, quiet = len(part), back == "never"
        found = [each.n_until for each in part if each.n_until is not None]
        rows.append(
            (
                fix,
                back,
                str(n),
                share(sum(each.is_false for each in part), n),
                "" if quiet else f"{len(found)} of {sum(not each.is_false for each in part)}",
                "" if quiet else middle(found),
                "" if quiet else f"{sum(each.is_named for each in part)} of {len(found)}",
                share(sum(each.is_false_by_hand for each in part), n),
                "" if quiet else middle([each.n_until_by_hand for each in part]),
            )
        )
    return table(headings, rows)


def coverage_table(parts: Iterable[tuple[str, Sequence[Lived]]]) -> str:
    """How many weeks' intervals of prevalence hold the truth."""
    rows = []
    for name, lives in parts:
        covered = covered_of(lives)
        rows.append((name, str(covered.n_histories), f"{covered.n_weeks:,}", covered.told, f"{covered.width:.3f}"))
    return table(("weeks", "histories", "of them weeks", "intervals that hold the truth", "their mean width"), rows)


class Covered:
    """Of intervals of one kind. A history's weeks share its evaluator's held-out labels and count as one unit."""

    def __init__(self, told: Sequence[Sequence[tuple[bool, float]]]) -> None:
        self.n_histories = len(told)
        self.n_weeks = sum(map(len, told))
        self.share = sum(holds for weeks in told for holds, _ in weeks) / max(1, self.n_weeks)
        self.width = float(np.mean([width for weeks in told for _, width in weeks])) if self.n_weeks else 0.0
        bounds = wilson_of_share(self.share, max(1, self.n_histories), CONFIDENCE)
        self.told = f"{100 * self.share:.1f} % [{100 * bounds.lower:.0f}, {100 * bounds.upper:.0f}]"


def covered_of(lives: Sequence[Lived]) -> Covered:
    """Weeks without an estimate, as the evaluator tells nothing, count nowhere."""
    return Covered(
        [
            [
                (each.told.lower <= each.rate <= each.told.upper, each.told.upper - each.told.lower)
                for each in life.proof.estimates
                if each.told is not None
            ]
            for life in lives
        ]
    )


def surges_table(surges: Sequence[Surge]) -> str:
    """How soon a rate that rose was noticed, by how many flags are usual in the hours that are compared."""
    bands = ((0.0, 1.0), (1.0, 2.5), (2.5, 7.5), (7.5, float("inf")))
    rows = []
    for factor in sorted({each.factor for each in surges}):
        for low, high in bands:
            part = [each for each in surges if each.factor == factor and low <= each.usual_flags < high]
            if not part:
                continue
            hours = [each.hours_until for each in part if each.hours_until is not None]
            usual = f"{low:g} to {high:g}" if high < float("inf") else f"{low:g} or more"
            rows.append((f"{factor:g} times", usual, str(len(part)), share(len(hours), len(part)), middle(hours)))
    return table(
        ("the rate", "usual flags in 6 hours", "histories", "noticed in 4 weeks", "hours until (median, p90)"), rows
    )


def share(n: int, of: int) -> str:
    """In per cent, with its Wilson interval."""
    bounds = wilson(n, of, CONFIDENCE)
    if bounds is None:
        return "-"
    return f"{100 * n / of:.1f} % [{100 * bounds.lower:.1f}, {100 * bounds.upper:.1f}]"


def middle(figures: Sequence[float | None], digits: int = 0) -> str:
    """The median and the 90th percentile."""
    known = [figure for figure in figures if figure is not None]
    if not known:
        return "-"
    median, late = np.percentile(known, [50, 90])
    return f"{median:,.{digits}f}, {late:,.{digits}f}"


def _n_refuted(proofs: Sequence[Proof]) -> int:
    return sum(proof.kind == "refuted" for proof in proofs)
