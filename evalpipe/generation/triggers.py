"""When an issue's evaluator is worth generating: (labels, issues, evaluators, attempts) -> what is due, and why.

Pure: what was attempted is read and written in on_lake.py and plan.py. What enough evidence is stands in examples.py.
"""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from evalpipe.evaluators.catalog import current_evaluators
from evalpipe.evaluators.measure import labels_fingerprint
from evalpipe.generation.examples import Evidence, missing_evidence
from evalpipe.quality.drift import demotions
from evalpipe.settings import GenerationSettings
from evalpipe.tables import TRACKED

__all__ = ["Attempt", "Due", "Waiting", "issues_due", "labels_fingerprint", "waiting"]

_MAX_TRIES = 3  # with a model that fails: then it needs a person, or new labels
_GROWTH_SHARE = 0.2  # a fifth more failures: below that the old version was as good on fresh traces


class Attempt(NamedTuple):
    """The last time an evaluator was generated for an issue, whether it was kept, declined or lost to the incumbent."""

    labels_fingerprint: int
    n_positives: int | None = None  # failures then; None: not remembered, and any change of the labels counts
    n_interrupted: int = 0  # tries on these labels that ended because a model failed; 0: it was carried through


class Due(NamedTuple):
    """An issue to generate for, why, and the labels that call for it."""

    issue_id: str
    reason: str
    labels_fingerprint: int
    n_tries: int = 0  # on these labels before


class Waiting(NamedTuple):
    """An active issue without enough evidence, and what is missing."""

    issue_id: str
    reason: str


def issues_due(
    labels: pl.DataFrame,
    issues: pl.DataFrame,
    evaluators: pl.DataFrame,
    attempted: Mapping[str, Attempt],
    settings: GenerationSettings,
    health: pl.DataFrame | None = None,
) -> list[Due]:
    """The tracked issues whose labels call for a new evaluator, in order of their id.

    One without an evaluator is due as soon as it has enough labels; one with, when its failures changed by
    `min_new_labels` and by a fifth since it was made, or when its agreement with people fell (`health`, which is
    EVALUATOR_HEALTH). Nothing is tried twice on the same labels, unless a model failed.
    """
    made_from = _made_from(evaluators)
    fallen = _fallen(evaluators, health)
    due: list[Due] = []
    for issue in _active(issues):
        own = labels.filter(pl.col("issue_id") == issue)
        evidence = _evidence(own)
        if missing_evidence(evidence, settings):
            continue
        labels_now = labels_fingerprint(own)
        last = attempted.get(issue)
        if last is not None and last.labels_fingerprint == labels_now:
            if 0 < last.n_interrupted < _MAX_TRIES:
                due.append(Due(issue, "the model failed at the last try", labels_now, last.n_interrupted))
            continue
        reason = _reason(evidence, made_from.get(issue), last, settings) or fallen.get(issue)
        if reason is not None:
            due.append(Due(issue, reason, labels_now))
    return due


def waiting(labels: pl.DataFrame, issues: pl.DataFrame, settings: GenerationSettings) -> list[Waiting]:
    """The active issues that cannot be generated for yet, and what is missing, such as '4 more failures'."""
    found: list[Waiting] = []
    for issue in _active(issues):
        missing = missing_evidence(_evidence(labels.filter(pl.col("issue_id") == issue)), settings)
        if missing:
            found.append(Waiting(issue, missing))
    return found


def _reason(
    evidence: Evidence, made_from: int | None, last: Attempt | None, settings: GenerationSettings
) -> str | None:
    """Why the issue is due; None when its labels changed too little since it was last generated or tried."""
    n = evidence.n_failures
    if made_from is None and last is None:
        return f"{n} failures and {evidence.n_others} other labels, and no evaluator yet"
    known = made_from if last is None or last.n_positives is None else last.n_positives
    if known is None:
        return f"no evaluator yet, and the labels changed since the last try: now {n} failures"
    if abs(n - known) < max(settings.min_new_labels, _GROWTH_SHARE * known):
        return None
    since = "since the last version" if known == made_from else "since the last try"
    return f"{abs(n - known)} {'more' if n > known else 'fewer'} failures {since} ({known} then, {n} now)"


def _active(issues: pl.DataFrame) -> list[str]:
    return issues.filter(pl.col("state").is_in(TRACKED))["issue_id"].sort().to_list()


def _evidence(labels: pl.DataFrame) -> Evidence:
    failures = labels.filter("is_failure")
    # A session is at most one case; that two sessions are one is seen only with the traces in hand.
    n_cases = failures.select(pl.coalesce("session_id", "trace_id").n_unique()).item()
    return Evidence(failures.height, labels.height - failures.height, n_cases)


def _fallen(evaluators: pl.DataFrame, health: pl.DataFrame | None) -> dict[str, str]:
    """For each issue whose evaluator fell since its newest version was made, in words how far."""
    if health is None:
        return {}
    newest = current_evaluators(evaluators).select("issue_id", "evaluator_id", "version")
    fallen = newest.join(demotions(health), on=["evaluator_id", "version"])
    return dict(fallen.select("issue_id", "demotion").iter_rows())


def _made_from(evaluators: pl.DataFrame) -> dict[str, int]:
    """For each issue with a living evaluator, the failures that its newest version was made from."""
    newest = evaluators.filter(pl.col("status") != "retired").sort("version").group_by("issue_id").last()
    return dict(newest.select("issue_id", "n_positives").iter_rows())
